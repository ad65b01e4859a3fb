package template

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Limits of a template.
const (
	MaxResources   = 500
	MaxParameters  = 200
	MaxMappings    = 200
	MaxOutputs     = 200
	maxDescription = 1024
	maxName        = 255
)

// Version is the only AWSTemplateFormatVersion that there is.
const Version = "2010-09-09"

// Transforms that templates name.
const (
	Serverless = "AWS::Serverless-2016-10-31"
	Extensions = "AWS::LanguageExtensions"
)

// Template is what a template says. It is not to be changed.
type Template struct {
	Version     string // empty when not given
	Description string
	Transforms  []string // in the order in which they are applied
	Metadata    map[string]any
	Parameters  map[string]Parameter
	Mappings    map[string]map[string]map[string]any
	Conditions  map[string]any
	Rules       map[string]Rule
	Resources   map[string]Resource
	Outputs     map[string]Output
}

// Resource is a member of the Resources section.
type Resource struct {
	Type                string
	Properties          map[string]any // nil when not given
	Condition           string         // empty for none
	DependsOn           []string
	DeletionPolicy      string // Delete, Retain, RetainExceptOnCreate or Snapshot; empty when not given
	UpdateReplacePolicy string // Delete, Retain or Snapshot; empty when not given
	CreationPolicy      map[string]any
	UpdatePolicy        map[string]any
	Metadata            map[string]any
}

// Output is a member of the Outputs section.
type Output struct {
	Value       any
	Description string
	Export      any // its name; nil when it is not exported
	Condition   string
}

// Rule is a member of the Rules section.
type Rule struct {
	Condition  any // nil when the assertions always hold
	Assertions []Assertion
}

// Assertion is what a rule asserts of parameters.
type Assertion struct {
	Assert      any
	Description string
}

// Read checks a template that [Parse] or a transform made. One that names
// transforms may have what those make of: types of resources of theirs, Globals,
// loops. The error is an [*Error].
func Read(body map[string]any) (*Template, error) {
	r := reader{body: body, t: &Template{}}
	if err := r.read(); err != nil {
		return nil, err
	}
	return r.t, nil
}

type reader struct {
	body map[string]any
	t    *Template
}

// loops reports whether the body may have Fn::ForEach and what it makes.
func (r *reader) loops() bool { return slices.Contains(r.t.Transforms, Extensions) }

func (r *reader) serverless() bool { return slices.Contains(r.t.Transforms, Serverless) }

var sections = []string{
	"AWSTemplateFormatVersion", "Description", "Metadata", "Parameters", "Rules", "Mappings", "Conditions", "Transform", "Resources", "Outputs", "Hooks",
}

func (r *reader) read() error {
	t := r.t
	var err error
	if t.Transforms, err = Transforms(r.body); err != nil {
		return err
	}
	var wrong []string
	for name := range r.body {
		if !slices.Contains(sections, name) && !(name == "Globals" && r.serverless()) {
			wrong = append(wrong, printable(name))
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return errorf("Invalid template property or properties [%s]", strings.Join(wrong, ", "))
	}
	if _, ok := r.body["Hooks"]; ok {
		return formatError("Lamina does not offer the Hooks section.")
	}
	if err := nulls(r.body, nil, 0); err != nil {
		return err
	}
	if v, ok := r.body["AWSTemplateFormatVersion"]; ok {
		if t.Version, _ = v.(string); t.Version != Version {
			return formatError("unsupported value for AWSTemplateFormatVersion.")
		}
	}
	if v, ok := r.body["Description"]; ok {
		if t.Description, ok = text(v); !ok {
			return formatError("Template 'Description' must be a string.")
		}
		if len(t.Description) > maxDescription {
			return formatError("'Description' length is greater than %d", maxDescription)
		}
	}
	if v, ok := r.body["Metadata"]; ok {
		if t.Metadata, ok = v.(map[string]any); !ok {
			return formatError("Metadata must be an object.")
		}
	}
	for _, section := range []func() error{r.resources, r.parameters, r.mappings, r.conditions, r.rules, r.outputs, r.check} {
		if err := section(); err != nil {
			return err
		}
	}
	return nil
}

// Transforms are the names in the Transform section of a body.
func Transforms(body map[string]any) ([]string, error) {
	v, ok := body["Transform"]
	if !ok {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var names []string
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			if v, ok = m["Name"]; !ok {
				return nil, errorf("Key Name of transform definition must be a string.")
			}
			if _, ok := v.(string); !ok {
				return nil, errorf("Key Name of transform definition must be a string.")
			}
		}
		name, ok := v.(string)
		if !ok || name == "" {
			return nil, formatError("Every Transform must be a string or an object with a Name.")
		}
		if slices.Contains(names, name) {
			return nil, formatError("Transform %s is named twice.", printable(name))
		}
		names = append(names, name)
	}
	return names, nil
}

// nulls refuses values that are null, as AWS does.
func nulls(v any, path []string, depth int) error {
	if depth > 2*maxDepth {
		return formatError("[/%s] is too deep.", printable(strings.Join(path, "/")))
	}
	switch v := v.(type) {
	case nil:
		return errorf("[/%s] 'null' values are not allowed in templates", printable(strings.Join(path, "/")))
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if err := nulls(v[name], append(path, name), depth+1); err != nil {
				return err
			}
		}
	case []any:
		for i, member := range v {
			if err := nulls(member, append(path, fmt.Sprint(i)), depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// text is a scalar as a string.
func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		if v {
			return "true", true
		}
		return "false", true
	}
	return "", false
}

var alphanumeric = regexp.MustCompile(`^[A-Za-z0-9]+$`)

// named checks the name of a section's member.
func named(what, name string) error {
	if !alphanumeric.MatchString(name) {
		return formatError("%s name %s is non alphanumeric.", what, printable(name))
	}
	if len(name) > maxName {
		return formatError("%s name %s has more than %d characters.", what, printable(name), maxName)
	}
	return nil
}

// section returns the members of a section, nil when it is not given.
func (r *reader) section(name string, most int) (map[string]any, error) {
	v, ok := r.body[name]
	if !ok {
		return nil, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, formatError("%s must be an object.", name)
	}
	if len(m) > most {
		return nil, formatError("Number of %s, %d, is greater than maximum allowed, %d", strings.ToLower(name), len(m), most)
	}
	return m, nil
}

var resourceMembers = []string{
	"Type", "Properties", "Condition", "DependsOn", "DeletionPolicy", "UpdateReplacePolicy", "CreationPolicy", "UpdatePolicy", "Metadata", "Description", "Version",
}

func (r *reader) resources() error {
	all, err := r.section("Resources", MaxResources)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return formatError("At least one Resources member must be defined.")
	}
	r.t.Resources = make(map[string]Resource, len(all))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if r.loop(id) {
			continue
		}
		if id == "Fn::Transform" {
			return noMacros()
		}
		if err := named("Resource", id); err != nil {
			return err
		}
		m, ok := all[id].(map[string]any)
		if !ok {
			return formatError("Any Resources member must be an object.")
		}
		if r.t.Resources[id], err = r.resource(id, m); err != nil {
			return err
		}
	}
	return nil
}

// loop reports whether a member is one of AWS::LanguageExtensions that [Extend]
// has not unrolled yet.
func (r *reader) loop(name string) bool { return r.loops() && strings.HasPrefix(name, forEach) }

func (r *reader) resource(id string, m map[string]any) (res Resource, err error) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if name == "Fn::Transform" {
			return res, noMacros()
		}
		if !slices.Contains(resourceMembers, name) && !(r.serverless() && (name == "Connectors" || name == "IgnoreGlobals")) {
			return res, errorf("Invalid template resource property '%s'", printable(name))
		}
	}
	var ok bool
	if res.Type, ok = m["Type"].(string); !ok || res.Type == "" {
		return res, formatError("[/Resources/%s] Every Resources object must contain a Type member.", id)
	}
	object := func(name string) (map[string]any, error) {
		v, ok := m[name]
		if !ok {
			return nil, nil
		}
		o, ok := v.(map[string]any)
		if !ok {
			return nil, formatError("[/Resources/%s/%s] Every %s member must be an object.", id, name, name)
		}
		return o, nil
	}
	for name, to := range map[string]*map[string]any{
		"Properties": &res.Properties, "CreationPolicy": &res.CreationPolicy, "UpdatePolicy": &res.UpdatePolicy, "Metadata": &res.Metadata,
	} {
		if *to, err = object(name); err != nil {
			return res, err
		}
	}
	if v, ok := m["Condition"]; ok {
		if res.Condition, ok = v.(string); !ok {
			return res, formatError("Every Condition member must be a string.")
		}
	}
	if v, ok := m["DependsOn"]; ok {
		list, isList := v.([]any)
		if !isList {
			list = []any{v}
		}
		for _, v := range list {
			on, ok := v.(string)
			if !ok {
				return res, formatError("DependsOn must be a string or list of strings.")
			}
			if !slices.Contains(res.DependsOn, on) {
				res.DependsOn = append(res.DependsOn, on)
			}
		}
	}
	for name, to := range map[string]*string{"DeletionPolicy": &res.DeletionPolicy, "UpdateReplacePolicy": &res.UpdateReplacePolicy} {
		v, ok := m[name]
		if !ok {
			continue
		}
		if *to, ok = v.(string); !ok {
			if _, function := v.(map[string]any); function && r.loops() {
				continue // Extend makes a string of it
			}
			return res, formatError("Every %s member must be a string.", name)
		}
		switch *to {
		case "Delete", "Retain":
		case "RetainExceptOnCreate":
			if name == "DeletionPolicy" {
				break
			}
			fallthrough
		default:
			if *to == "Snapshot" {
				return res, errorf("Template error: resource type %s does not support deletion policy Snapshot", printable(res.Type))
			}
			return res, errorf("Template error: Unrecognized %s %s for resource %s", name, printable(*to), id)
		}
	}
	return res, nil
}

func (r *reader) mappings() error {
	all, err := r.section("Mappings", MaxMappings)
	if err != nil || all == nil {
		return err
	}
	r.t.Mappings = make(map[string]map[string]map[string]any, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name == "Fn::Transform" {
			return noMacros()
		}
		if err := named("Mappings", name); err != nil {
			return err
		}
		top, ok := all[name].(map[string]any)
		if !ok {
			return formatError("Every Mappings member %s must be a map", name)
		}
		if len(top) > MaxMappings {
			return formatError("Number of attributes of mapping %s, %d, is greater than maximum allowed, %d", name, len(top), MaxMappings)
		}
		r.t.Mappings[name] = make(map[string]map[string]any, len(top))
		for _, key := range slices.Sorted(maps.Keys(top)) {
			if key == "Fn::Transform" {
				return noMacros()
			}
			second, ok := top[key].(map[string]any)
			if !ok {
				return formatError("Every Mappings member %s must be a map", printable(key))
			}
			for _, attribute := range slices.Sorted(maps.Keys(second)) {
				if !mapped(second[attribute]) {
					return formatError("Every Mappings attribute must be a String or a List.")
				}
			}
			r.t.Mappings[name][key] = second
		}
	}
	return nil
}

// mapped reports whether a mapping may have the value.
func mapped(v any) bool {
	if list, ok := v.([]any); ok {
		return !slices.ContainsFunc(list, func(v any) bool { _, ok := text(v); return !ok })
	}
	_, ok := text(v)
	return ok
}

func (r *reader) conditions() error {
	all, err := r.section("Conditions", maxNodes)
	if err != nil || all == nil {
		return err
	}
	r.t.Conditions = make(map[string]any, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if r.loop(name) {
			continue
		}
		if name == "Fn::Transform" {
			return noMacros()
		}
		if err := named("Condition", name); err != nil {
			return err
		}
		if fn, _, ok := function(all[name]); !ok || !boolean[fn] {
			return formatError("Conditions can only be boolean operations on parameters and other conditions")
		}
		r.t.Conditions[name] = all[name]
	}
	return nil
}

func (r *reader) rules() error {
	all, err := r.section("Rules", maxNodes)
	if err != nil || all == nil {
		return err
	}
	r.t.Rules = make(map[string]Rule, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := named("Rule", name); err != nil {
			return err
		}
		m, ok := all[name].(map[string]any)
		if !ok {
			return formatError("[/Rules/%s] Every Rules object must be an object.", name)
		}
		rule := Rule{Condition: m["RuleCondition"]}
		for member := range m {
			if member != "RuleCondition" && member != "Assertions" {
				return errorf("Invalid template rule property '%s'", printable(member))
			}
		}
		list, ok := m["Assertions"].([]any)
		if !ok || len(list) == 0 {
			return formatError("[/Rules/%s] Every Rules object must contain an Assertions member.", name)
		}
		for _, v := range list {
			a, _ := v.(map[string]any)
			assert, ok := a["Assert"]
			description, isText := text(a["AssertDescription"])
			if _, given := a["AssertDescription"]; !ok || given && !isText {
				return formatError("[/Rules/%s/Assertions] Every assertion must contain an Assert member, and may have an AssertDescription.", name)
			}
			rule.Assertions = append(rule.Assertions, Assertion{assert, description})
		}
		r.t.Rules[name] = rule
	}
	return nil
}

func (r *reader) outputs() error {
	all, err := r.section("Outputs", MaxOutputs)
	if err != nil || all == nil {
		return err
	}
	r.t.Outputs = make(map[string]Output, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if r.loop(name) {
			continue
		}
		if name == "Fn::Transform" {
			return noMacros()
		}
		if err := named("Output", name); err != nil {
			return err
		}
		m, ok := all[name].(map[string]any)
		if !ok {
			return formatError("Every Outputs member must contain a Value object")
		}
		if _, ok := m["Value"]; !ok {
			return formatError("Every Outputs member must contain a Value object")
		}
		o := Output{Value: m["Value"]}
		for member, v := range m {
			ok := true
			switch member {
			case "Value":
			case "Description":
				if o.Description, ok = text(v); ok && len(o.Description) > maxDescription {
					return formatError("'Description' length of output %s is greater than %d", name, maxDescription)
				}
			case "Condition":
				o.Condition, ok = v.(string)
			case "Export":
				var export map[string]any
				if export, ok = v.(map[string]any); ok {
					o.Export, ok = export["Name"]
					ok = ok && len(export) == 1
				}
				if !ok {
					return formatError("Output %s is malformed. The Name field of every Export member must be specified and consist only of alphanumeric characters, colons, or hyphens.", name)
				}
			default:
				return errorf("Invalid template output property '%s'", printable(member))
			}
			if !ok {
				return formatError("[/Outputs/%s/%s] must be a string.", name, member)
			}
		}
		r.t.Outputs[name] = o
	}
	return nil
}

// noMacros is the answer to Fn::Transform.
func noMacros() error {
	return errorf("Lamina does not offer Fn::Transform: it has no macros, and no AWS::Include.")
}
