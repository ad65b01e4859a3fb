package template

import (
	"maps"
	"slices"
	"strings"
)

// The functions that there are, and of those the ones whose value is a boolean.
var (
	functions = []string{
		"Ref", "Fn::Base64", "Fn::Cidr", "Fn::FindInMap", "Fn::GetAtt", "Fn::GetAZs", "Fn::If", "Fn::ImportValue", "Fn::Join", "Fn::Length",
		"Fn::Select", "Fn::Split", "Fn::Sub", "Fn::ToJsonString", "Condition", "Fn::And", "Fn::Equals", "Fn::Not", "Fn::Or",
		"Fn::Contains", "Fn::EachMemberEquals", "Fn::EachMemberIn",
	}
	boolean = map[string]bool{
		"Condition": true, "Fn::And": true, "Fn::Equals": true, "Fn::Not": true, "Fn::Or": true,
		"Fn::Contains": true, "Fn::EachMemberEquals": true, "Fn::EachMemberIn": true,
	}
	extensions = []string{"Fn::Length", "Fn::ToJsonString"}
)

// function tells whether a value is an intrinsic function: a map of one key that
// is a function's name.
func function(v any) (name string, arg any, ok bool) {
	m, isMap := v.(map[string]any)
	if !isMap || len(m) != 1 {
		return "", nil, false
	}
	for name, arg = range m {
	}
	return name, arg, name == "Ref" || name == "Condition" || strings.HasPrefix(name, "Fn::")
}

// block is a part of a template where functions are.
type block struct {
	name    string          // as the section is called
	missing map[string]bool // what is referred to and not there
	t       *Template
}

// check holds every function to what it takes. A template that a transform is
// going to change is only searched for what is never offered.
func (r *reader) check() error {
	t := r.t
	if len(t.Transforms) > 0 {
		if err := macros(r.body); err != nil {
			return err
		}
		return t.conditionCycle()
	}
	for _, name := range slices.Sorted(maps.Keys(t.Conditions)) {
		b := block{name: "Conditions", missing: map[string]bool{}, t: t}
		if err := b.walk(t.Conditions[name]); err != nil {
			return err
		}
		if len(b.missing) > 0 {
			return formatError("Unresolved dependencies %s. Cannot reference resources in the Conditions block of the template", names(b.missing))
		}
	}
	if err := t.conditionCycle(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(t.Rules)) {
		b := block{name: "Rules", missing: map[string]bool{}, t: t}
		all := []any{t.Rules[name].Condition}
		for _, a := range t.Rules[name].Assertions {
			all = append(all, a.Assert)
		}
		for i, v := range all {
			if fn, _, ok := function(v); v != nil && (!ok || !boolean[fn]) {
				return formatError("[/Rules/%s] Rules can only be boolean operations on parameters.", name)
			} else if i == 0 && v == nil {
				continue
			}
			if err := b.walk(v); err != nil {
				return err
			}
		}
		if len(b.missing) > 0 {
			return formatError("Unresolved dependencies %s. Cannot reference resources in the Rules block of the template", names(b.missing))
		}
	}
	condition := func(name, section string) error {
		if _, ok := t.Conditions[name]; name != "" && !ok {
			return formatError("Unresolved condition dependency %s in the %s block of the template", printable(name), section)
		}
		return nil
	}
	b := block{name: "Resources", missing: map[string]bool{}, t: t}
	for _, id := range slices.Sorted(maps.Keys(t.Resources)) {
		res := t.Resources[id]
		for _, on := range res.DependsOn {
			if _, ok := t.Resources[on]; !ok {
				b.missing[on] = true
			}
		}
		if err := condition(res.Condition, "Resources"); err != nil {
			return err
		}
		for _, v := range []map[string]any{res.Properties, res.UpdatePolicy, res.CreationPolicy} {
			if v != nil {
				if err := b.members(v); err != nil {
					return err
				}
			}
		}
	}
	if len(b.missing) > 0 {
		return formatError("Unresolved resource dependencies %s in the Resources block of the template", names(b.missing))
	}
	b = block{name: "Outputs", missing: map[string]bool{}, t: t}
	for _, name := range slices.Sorted(maps.Keys(t.Outputs)) {
		o := t.Outputs[name]
		if err := condition(o.Condition, "Outputs"); err != nil {
			return err
		}
		for _, v := range []any{o.Value, o.Export} {
			if err := b.walk(v); err != nil {
				return err
			}
		}
	}
	if len(b.missing) > 0 {
		return formatError("Unresolved resource dependencies %s in the Outputs block of the template", names(b.missing))
	}
	return nil
}

// names lists what is missing, as AWS does.
func names(set map[string]bool) string {
	all := slices.Sorted(maps.Keys(set))
	for i := range all {
		all[i] = printable(all[i])
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// macros refuses Fn::Transform wherever it is.
func macros(v any) error {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["Fn::Transform"]; ok {
			return noMacros()
		}
		for _, member := range v {
			if err := macros(member); err != nil {
				return err
			}
		}
	case []any:
		for _, member := range v {
			if err := macros(member); err != nil {
				return err
			}
		}
	}
	return nil
}

// CheckExtensions refuses the functions of AWS::LanguageExtensions in a template
// that does not name this transform, as AWS does.
func CheckExtensions(body map[string]any) error {
	used, err := Transforms(body)
	if err != nil || slices.Contains(used, Extensions) {
		return err
	}
	return undeclared(body)
}

func undeclared(v any) error {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if slices.Contains(extensions, name) && len(v) == 1 || strings.HasPrefix(name, forEach) {
				return unsupported(name)
			}
			if err := undeclared(member); err != nil {
				return err
			}
		}
	case []any:
		for _, member := range v {
			if err := undeclared(member); err != nil {
				return err
			}
		}
	}
	return nil
}

func unsupported(name string) error {
	return errorf("Template Error: Encountered unsupported function: %s Supported functions are: [%s]", printable(name), strings.Join(functions, ", "))
}

func (b *block) members(m map[string]any) error {
	if _, ok := m["Fn::Transform"]; ok {
		return noMacros()
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if err := b.walk(m[name]); err != nil {
			return err
		}
	}
	return nil
}

func (b *block) walk(v any) error {
	name, arg, ok := function(v)
	if ok && name == "Condition" {
		// Policy documents have maps whose one member is a Condition.
		_, isText := arg.(string)
		ok = isText && (b.name == "Conditions" || b.name == "Rules")
	}
	if ok {
		return b.function(name, arg)
	}
	switch v := v.(type) {
	case map[string]any:
		return b.members(v)
	case []any:
		for _, member := range v {
			if err := b.walk(member); err != nil {
				return err
			}
		}
	}
	return nil
}

// refer notes a reference to a parameter or a resource.
func (b *block) refer(name string) {
	if _, ok := b.t.Parameters[name]; ok || isPseudo(name) {
		return
	}
	if _, ok := b.t.Resources[name]; !ok || b.name == "Conditions" || b.name == "Rules" {
		b.missing[name] = true
	}
}

func (b *block) function(name string, arg any) error {
	list, isList := arg.([]any)
	switch name {
	case "Ref":
		id, ok := arg.(string)
		if !ok || id == "" {
			return errorf("Template error: every Ref object must have a single String value.")
		}
		b.refer(id)
		return nil
	case "Condition":
		id, _ := arg.(string)
		if _, ok := b.t.Conditions[id]; !ok {
			return formatError("Unresolved condition dependency %s in the %s block of the template", printable(id), b.name)
		}
		return nil
	case "Fn::GetAtt":
		id, attribute, ok := attributeOf(arg)
		if !ok {
			return errorf("Template error: every Fn::GetAtt object requires two non-empty parameters, the resource name and the resource attribute")
		}
		if b.name == "Conditions" || b.name == "Rules" {
			b.missing[id] = true
			return nil
		}
		if _, ok := b.t.Resources[id]; !ok {
			return errorf("Template error: instance of Fn::GetAtt references undefined resource %s", printable(id))
		}
		return b.walk(attribute)
	case "Fn::Sub":
		return b.sub(arg)
	case "Fn::If":
		if b.name == "Conditions" || b.name == "Rules" {
			return formatError("Conditions can only be boolean operations on parameters and other conditions")
		}
		var id string
		if isList && len(list) == 3 {
			id, _ = list[0].(string)
		}
		if id == "" {
			return errorf("Template error: Fn::If requires a list argument with the first element being a condition")
		}
		if _, ok := b.t.Conditions[id]; !ok {
			return errorf("Template error: unresolved condition dependency %s in Fn::If", printable(id))
		}
		return b.walk(list[1:])
	case "Fn::And", "Fn::Or", "Fn::Not":
		least, most, wants := 2, 10, "at least 2 and at most 10 boolean parameters."
		if name == "Fn::Not" {
			least, most, wants = 1, 1, "1 boolean parameter."
		}
		if !isList || len(list) < least || len(list) > most {
			return errorf("Template error: every %s object requires a list of %s", name, wants)
		}
		for _, v := range list {
			if fn, _, ok := function(v); !ok || !boolean[fn] {
				return errorf("Template error: every %s object requires a list of %s", name, wants)
			}
		}
	case "Fn::Equals":
		if !isList || len(list) != 2 {
			return errorf("Template error: every Fn::Equals object requires a list of 2 string parameters.")
		}
	case "Fn::Contains", "Fn::EachMemberEquals", "Fn::EachMemberIn":
		if b.name != "Rules" {
			return unsupported(name)
		}
		if !isList || len(list) != 2 {
			return errorf("Template error: every %s object requires a list of 2 parameters.", name)
		}
	case "Fn::RefAll", "Fn::ValueOf", "Fn::ValueOfAll":
		return errorf("Template error: Lamina does not offer %s: it knows no properties of AWS-specific parameter types.", name)
	case "Fn::Join":
		if !isList || len(list) != 2 || !textual(list[0]) || !listed(list[1]) {
			return joinError()
		}
	case "Fn::Split":
		if !isList || len(list) != 2 || !textual(list[0]) {
			return splitError()
		}
	case "Fn::Select":
		if !isList || len(list) != 2 || !listed(list[1]) {
			return selectError()
		}
	case "Fn::FindInMap":
		if !isList || len(list) != 3 && len(list) != 4 {
			return errorf("Template error: every Fn::FindInMap object requires three parameters, the map name, map key and the attribute for return value")
		}
		_, fallback := defaultOf(list)
		if len(list) == 4 && !fallback {
			return errorf("Template error: the fourth parameter of Fn::FindInMap must be an object with a DefaultValue")
		}
		if m, ok := list[0].(string); ok {
			if _, ok := b.t.Mappings[m]; !ok && !fallback {
				return noMapping(m)
			}
		}
	case "Fn::Cidr":
		if !isList || len(list) != 2 && len(list) != 3 {
			return cidrError()
		}
	case "Fn::Transform":
		return noMacros()
	case "Fn::Base64", "Fn::GetAZs", "Fn::ImportValue", "Fn::Length", "Fn::ToJsonString":
	default:
		return unsupported(name)
	}
	if boolean[name] && b.name != "Conditions" && b.name != "Rules" {
		return errorf("Template error: %s cannot be partially collapsed", name)
	}
	if name == "Fn::ImportValue" && b.name == "Conditions" {
		return errorf("Template error: Cannot use Fn::ImportValue in Conditions.")
	}
	return b.walk(arg)
}

func (b *block) sub(arg any) error {
	text, variables, ok := subArguments(arg)
	if !ok {
		return subError()
	}
	parts, err := parseSub(text)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if _, ok := variables[p.name]; p.name == "" || ok {
			continue
		}
		if id, _, dotted := strings.Cut(p.name, "."); dotted {
			if _, ok := b.t.Resources[id]; !ok || b.name == "Conditions" || b.name == "Rules" {
				return errorf("Template error: instance of Fn::Sub references invalid resource attribute %s", printable(p.name))
			}
			continue
		}
		b.refer(p.name)
	}
	return b.members(variables)
}

// textual reports whether a value may come to a string.
func textual(v any) bool {
	if _, _, ok := function(v); ok {
		return true
	}
	_, ok := text(v)
	return ok
}

// listed reports whether a value may come to a list.
func listed(v any) bool {
	if _, _, ok := function(v); ok {
		return true
	}
	_, ok := v.([]any)
	return ok
}

// conditionCycle refuses conditions that depend on themselves.
func (t *Template) conditionCycle() error {
	edges := map[string][]string{}
	var collect func(of string, v any)
	collect = func(of string, v any) {
		if name, arg, ok := function(v); ok && name == "Condition" {
			if on, ok := arg.(string); ok {
				edges[of] = append(edges[of], on)
				return
			}
		}
		switch v := v.(type) {
		case map[string]any:
			for _, member := range v {
				collect(of, member)
			}
		case []any:
			for _, member := range v {
				collect(of, member)
			}
		}
	}
	for name, v := range t.Conditions {
		edges[name] = nil
		collect(name, v)
	}
	if cycle := circle(edges); len(cycle) > 0 {
		return formatError("Circular dependencies for conditions: [%s]", strings.Join(cycle, ", "))
	}
	return nil
}
