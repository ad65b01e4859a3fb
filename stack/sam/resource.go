package sam

import (
	"encoding/json"
	"slices"
)

// property is what a resource of SAM's may have.
type property struct {
	name     string
	is       func(any) bool
	expected string // what is told when it is not; "" for a general text
	required bool
	// literal properties may not be the call of an intrinsic function, unless is
	// takes one.
	literal bool
}

func isAny(any) bool      { return true }
func isMap(v any) bool    { _, ok := v.(map[string]any); return ok }
func isList(v any) bool   { _, ok := v.([]any); return ok }
func isString(v any) bool { _, ok := v.(string); return ok }
func isBool(v any) bool   { _, ok := v.(bool); return ok }

// isInt takes booleans too, which Python counts among its integers.
func isInt(v any) bool {
	n, ok := v.(json.Number)
	return ok && isInteger(n) || isBool(v)
}

func isStringOrMap(v any) bool { return isString(v) || isMap(v) }

func isListOf(is func(any) bool) func(any) bool {
	return func(v any) bool {
		list, ok := v.([]any)
		return ok && !slices.ContainsFunc(list, func(one any) bool { return !is(one) })
	}
}

func isMapOf(is func(any) bool) func(any) bool {
	return func(v any) bool {
		m, ok := v.(map[string]any)
		for _, value := range m {
			ok = ok && is(value)
		}
		return ok
	}
}

func isEither(one, other func(any) bool) func(any) bool {
	return func(v any) bool { return one(v) || other(v) }
}

// passed is a property that goes to CloudFormation as it is.
func passed(names ...string) []property {
	out := make([]property, len(names))
	for i, name := range names {
		out[i] = property{name: name, is: isAny, literal: true}
	}
	return out
}

func stringProperty(name string) property {
	return property{name: name, is: isString, expected: "string"}
}

func mapProperty(name string) property {
	return property{name: name, is: isMap, expected: "map"}
}

// source is a resource of SAM's, or an event of one.
type source struct {
	typ        string
	id         string
	properties map[string]any
	dependsOn  any
	attributes map[string]any // all that are carried onto the resource itself
	schema     []property
}

// inherited are the attributes that every generated resource gets.
var inherited = []string{"Condition", "DeletionPolicy", "UpdateReplacePolicy"}

// carried are the attributes that the resource itself keeps.
var carried = []string{"DeletionPolicy", "UpdatePolicy", "Condition", "UpdateReplacePolicy", "Metadata"}

// read checks a resource or event against its schema.
func (t *transform) read(id string, body map[string]any, schema []property, path ...string) (*source, error) {
	if !isAlphanumeric(id) {
		return nil, resourcef(id, "Logical ids must be alphanumeric.")
	}
	s := &source{typ: body["Type"].(string), id: id, properties: map[string]any{}, attributes: map[string]any{}, schema: schema}
	if given, ok := body["Properties"]; ok {
		p, ok := given.(map[string]any)
		if !ok {
			return nil, resourcef(id, "Properties of a resource must be an object.")
		}
		s.properties = p
	}
	for _, name := range t.keys(s.properties, append(path, "Properties")...) {
		if !slices.ContainsFunc(schema, func(p property) bool { return p.name == name }) {
			return nil, resourcef(id, "property %s not defined for resource of type %s", name, s.typ)
		}
	}
	s.dependsOn = body["DependsOn"]
	for _, name := range carried {
		if value, ok := body[name]; ok {
			s.attributes[name] = value
		}
	}
	return s, s.check()
}

// check holds the properties to the schema.
func (s *source) check() error {
	for _, p := range s.schema {
		value := s.properties[p.name]
		if m, ok := value.(map[string]any); ok && len(m) == 1 && !p.literal {
			continue // what it becomes is CloudFormation's to check
		}
		switch {
		case value == nil && p.required:
			return resourcef(s.id, "Missing required property '%s'.", p.name)
		case value == nil || p.is(value):
		case p.expected != "":
			return resourcef(s.id, "Property '%s' should be a %s.", p.name, p.expected)
		default:
			return resourcef(s.id, "Type of property '%s' is invalid.", p.name)
		}
	}
	return nil
}

// get returns a property that has a value.
func (s *source) get(name string) any { return s.properties[name] }

// inherit returns the attributes that every generated resource gets.
func (s *source) inherit() map[string]any {
	out := make(map[string]any)
	for _, name := range inherited {
		if value, ok := s.attributes[name]; ok {
			out[name] = value
		}
	}
	return out
}

// body is the resource as the translator writes it out.
func (s *source) body() map[string]any {
	return (&resource{typ: s.typ, dependsOn: s.dependsOn, attributes: s.attributes, properties: s.properties}).body()
}

func isAlphanumeric(s string) bool {
	for _, r := range []byte(s) {
		if (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return false
		}
	}
	return s != ""
}

// resource is what the transform makes.
type resource struct {
	id         string
	typ        string
	dependsOn  any
	attributes map[string]any
	properties map[string]any // those that are nil are not there
	tagged     bool           // its type has tags
}

func (r *resource) body() map[string]any {
	out := map[string]any{"Type": r.typ}
	if isTrue(r.dependsOn) {
		out["DependsOn"] = r.dependsOn
	}
	for name, value := range r.attributes {
		out[name] = value
	}
	properties := make(map[string]any, len(r.properties))
	for name, value := range r.properties {
		if value != nil {
			properties[name] = value
		}
	}
	out["Properties"] = properties
	return out
}
