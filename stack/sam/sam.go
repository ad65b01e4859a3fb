package sam

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
)

// Name is what templates call the transform.
const Name = "AWS::Serverless-2016-10-31"

// maxBytes bounds what a template becomes: globals are repeated in each function.
const maxBytes = 8 << 20

// Options says what the transform needs to know beside the template.
type Options struct {
	// Region is where the stack is; us-east-1 when empty.
	Region string

	// Partition is the region's; aws when empty.
	Partition string

	// Parameters are values of the template's parameters. Defaults stand for those
	// that are not here.
	Parameters map[string]any

	// ManagedPolicies are ARNs by name, of policies that AWS does not have or has
	// elsewhere.
	ManagedPolicies map[string]string

	// Order returns the keys of the map at a path of the template as they are
	// written in it, which maps don't tell and of which the order of tags and the
	// hash of their function depend. It may be nil, or return nil: then keys are
	// sorted.
	Order func(path ...string) []string
}

// Transform returns what the transform AWS::Serverless-2016-10-31 makes of a
// template: the same as AWS's translator does, names and hashes included. The
// template is as package template parses it, and is not changed. The error is an
// [*Error] when the template is at fault.
func Transform(body map[string]any, o Options) (map[string]any, error) {
	t := &transform{
		options:  o,
		body:     clone(body).(map[string]any),
		values:   map[string]any{},
		made:     map[[2]string]string{},
		ids:      map[string]string{},
		managed:  o.ManagedPolicies,
		deployed: map[string]*deployment{},
		tagOrder: map[string][]string{},
	}
	t.options.Region = cmp.Or(o.Region, "us-east-1")
	t.options.Partition = cmp.Or(o.Partition, "aws")
	out, err := t.run()
	if err == nil {
		return out, nil
	}
	if c, ok := errors.AsType[*cause](err); ok {
		return nil, document(c)
	}
	return nil, err
}

type transform struct {
	options    Options
	managed    map[string]string
	values     map[string]any // of parameters
	mappings   map[string]any
	body       map[string]any // the template, changed on the way
	out        map[string]any // a copy in which resources of SAM's are replaced
	conditions map[string]any // of out; nil when it has none
	globals    map[string]map[string]any
	ids        map[string]string    // logical IDs that changed
	made       map[[2]string]string // what Function.Alias and its like mean
	tagOrder   map[string][]string  // keys of the tags of a resource
	deployed   map[string]*deployment
	deployOf   []string // keys of deployed, in order
	errs       []error
}

// keys returns the keys of m in the order of the template's text.
func (t *transform) keys(m map[string]any, path ...string) []string {
	var order []string
	if t.options.Order != nil {
		order = t.options.Order(path...)
	}
	return ordered(m, order)
}

// ordered returns the keys of m: first those that order has, as it has them.
func ordered(m map[string]any, order []string) []string {
	out := make([]string, 0, len(m))
	seen := make(map[string]bool, len(m))
	for _, name := range order {
		if _, ok := m[name]; ok && !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if !seen[name] {
			out = append(out, name)
		}
	}
	return out
}

// offered are the types that the transform does, in the order in which it does
// them.
var offered = []string{functionType, layerType, applicationType}

// refused are types of SAM's that Lamina does not offer, with the reason.
var refused = map[string]string{
	"AWS::Serverless::Api":              "there is no API Gateway; FunctionUrlConfig gives a function an address",
	"AWS::Serverless::HttpApi":          "there is no API Gateway; FunctionUrlConfig gives a function an address",
	"AWS::Serverless::WebSocketApi":     "there is no API Gateway",
	"AWS::Serverless::GraphQLApi":       "there is no AppSync",
	"AWS::Serverless::SimpleTable":      "there is no DynamoDB",
	"AWS::Serverless::StateMachine":     "there are no Step Functions",
	"AWS::Serverless::Connector":        "write the permissions in Policies",
	"AWS::Serverless::WebFunction":      "there are no web functions",
	"AWS::Serverless::CapacityProvider": "there are no managed instances",
	"AWS::Serverless::MicrovmImage":     "there are no images of micro VMs",
	"AWS::Serverless::NetworkConnector": "there are no network connectors",
}

func (t *transform) run() (map[string]any, error) {
	if err := noMacros(t.body); err != nil {
		return nil, err
	}
	resources, err := t.validate()
	if err != nil {
		return nil, err
	}
	t.readParameters()
	if err := t.merge(resources); err != nil {
		return nil, err
	}
	if t.mappings, err = t.readMappings(); err != nil {
		return nil, err
	}
	if err := t.refuse(resources); err != nil {
		return nil, err
	}

	t.out = clone(t.body).(map[string]any)
	t.conditions, _ = t.out["Conditions"].(map[string]any)
	for _, typ := range offered {
		for _, id := range t.keys(resources, "Resources") {
			body := resources[id].(map[string]any)
			if body["Type"] != typ {
				continue
			}
			if err := t.expand(id, body); err != nil {
				if _, ok := errors.AsType[*cause](err); !ok {
					return nil, err
				}
				t.errs = append(t.errs, err)
			}
		}
	}
	if err := t.deploy(); err != nil {
		return nil, err
	}
	delete(t.out, "Transform")
	if len(t.errs) > 0 {
		return nil, document(t.errs...)
	}
	dependsOn(t.out, t.ids)
	if _, err := renamed(t.out, t.ids); err != nil {
		return nil, err
	}
	if _, err := properties(t.out, t.made); err != nil {
		return nil, err
	}
	if !fits(t.out) {
		return nil, document(templatef("It becomes larger than %d bytes.", maxBytes))
	}
	return t.out, nil
}

// validate checks the shape of the resources.
func (t *transform) validate() (map[string]any, error) {
	resources, ok := t.body["Resources"].(map[string]any)
	if !ok || len(resources) == 0 {
		return nil, templatef("'Resources' section is required")
	}
	for _, r := range resources {
		if !isMap(r) {
			return nil, templatef("All 'Resources' must be Objects. If you're using YAML, this may be an indentation issue.")
		}
	}
	for _, id := range t.keys(resources, "Resources") {
		r := resources[id].(map[string]any)
		if condition := r["Condition"]; isTrue(condition) && !isString(condition) {
			return nil, templatef("Every Condition member must be a string.")
		}
		typ, _ := r["Type"].(string)
		if p, ok := r["Properties"]; ok && !isMap(p) && isSAM(typ) {
			return nil, resourcef(id, "Attribute 'Properties' should be a map.")
		}
	}
	return resources, nil
}

// isSAM reports whether a type is one that the translator knows.
func isSAM(typ string) bool {
	return slices.Contains(offered, typ) || refused[typ] != ""
}

// refuse tells all that Lamina does not offer at once.
func (t *transform) refuse(resources map[string]any) error {
	var errs []error
	for _, id := range t.keys(resources, "Resources") {
		r := resources[id].(map[string]any)
		typ, _ := r["Type"].(string)
		if why := refused[typ]; why != "" {
			errs = append(errs, resourcef(id, "Lamina does not offer %s: %s.", typ, why))
		}
		if _, ok := r["Connectors"]; ok {
			errs = append(errs, resourcef(id, "Lamina does not offer connectors: %s.", refused["AWS::Serverless::Connector"]))
		}
	}
	if len(errs) > 0 {
		return document(errs...)
	}
	return nil
}

// noMacros refuses templates that have parts of them made elsewhere.
func noMacros(v any) error {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["Fn::Transform"]; ok {
			return templatef("Lamina does not offer Fn::Transform: templates can't have parts of them made by macros.")
		}
		for _, value := range v {
			if err := noMacros(value); err != nil {
				return err
			}
		}
	case []any:
		for _, value := range v {
			if err := noMacros(value); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *transform) readParameters() {
	for name, value := range t.options.Parameters {
		t.values[name] = value
	}
	declared, _ := t.body["Parameters"].(map[string]any)
	for name, body := range declared {
		if body, ok := body.(map[string]any); ok {
			if _, given := t.values[name]; !given {
				if value, ok := body["Default"]; ok {
					t.values[name] = value
				}
			}
		}
	}
	for name, value := range map[string]string{"AWS::Region": t.options.Region, "AWS::Partition": t.options.Partition} {
		if _, ok := t.values[name]; !ok {
			t.values[name] = value
		}
	}
	// A value that refers to parameters, which CloudFormation has not, could refer
	// to itself.
	maps.DeleteFunc(t.values, func(_ string, v any) bool { return hasMap(v) })
}

func hasMap(v any) bool {
	if list, ok := v.([]any); ok {
		return slices.ContainsFunc(list, hasMap)
	}
	return isMap(v)
}

func (t *transform) readMappings() (map[string]any, error) {
	given, ok := t.body["Mappings"]
	if !ok {
		return nil, nil
	}
	mappings, ok := given.(map[string]any)
	if !ok {
		return nil, templatef("'Mappings' or 'Parameters' is either null or not a valid dictionary.")
	}
	return clone(mappings).(map[string]any), nil
}

// expand replaces one resource by what it stands for.
func (t *transform) expand(id string, body map[string]any) error {
	var (
		made []*resource
		now  = id
		err  error
	)
	switch body["Type"] {
	case functionType:
		made, err = t.function(id, body)
	case layerType:
		made, err = t.layer(id, body)
		if err == nil {
			now = made[0].id
		}
	case applicationType:
		made, err = t.application(id, body)
	}
	if err != nil {
		return err
	}
	if now != id {
		t.ids[id] = now
	}
	resources := t.body["Resources"].(map[string]any)
	out := t.out["Resources"].(map[string]any)
	delete(out, id)
	for _, r := range made {
		if !mayBe(r, resources) {
			t.errs = append(t.errs, &cause{text: "Transforming resource with id [" + id + "] attempts to create a new resource with id [" + r.id +
				`] and type "` + r.typ + `". A resource with that id already exists within this template. Please use a different id for that resource.`})
			continue
		}
		out[r.id] = r.body()
	}
	return nil
}

// replaces are types that may take the logical ID of another.
var replaces = map[string]string{
	"AWS::Lambda::Function":      functionType,
	"AWS::Lambda::LayerVersion":  layerType,
	"AWS::CloudFormation::Stack": applicationType,
	"AWS::S3::Bucket":            "AWS::S3::Bucket",
	"AWS::SNS::Topic":            "AWS::SNS::Topic",
}

// mayBe reports whether a resource takes no logical ID that another has.
func mayBe(r *resource, resources map[string]any) bool {
	existing, ok := resources[r.id].(map[string]any)
	return !ok || replaces[r.typ] != "" && existing["Type"] == replaces[r.typ]
}

// fits reports whether the template is of a size that can be handled.
func fits(v any) bool {
	left := maxBytes
	var count func(any) bool
	count = func(v any) bool {
		left -= 4
		switch v := v.(type) {
		case string:
			left -= len(v)
		case json.Number:
			left -= len(v)
		case map[string]any:
			for name, value := range v {
				if left -= len(name) + 4; !count(value) {
					return false
				}
			}
		case []any:
			for _, value := range v {
				if !count(value) {
					return false
				}
			}
		}
		return left > 0
	}
	return count(v)
}
