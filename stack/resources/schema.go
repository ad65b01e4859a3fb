package resources

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// typesText says which types there are, which properties they have and what
// Fn::GetAtt knows of them. A line is a property, its own members are indented
// below it: its name, ! when it is required, * when another value makes a new
// resource, and its shape: string, integer, number, boolean, json (an object of any
// shape, or its text), map (of strings), tags, object, or [shape] for a list.
// string(a|b) has these values only. A property that is refused is known and not
// offered; the line says why.
//
//go:embed types.txt
var typesText string

// shape is what a value looks like.
type shape struct {
	name     string
	required bool
	replaces bool
	refused  string // why the property is not offered; empty when it is
	form     form
	values   []string // of a string; nil for any
	item     *shape   // of a list
	members  []*shape // of an object
}

type form string

const (
	formString  form = "string"
	formInteger form = "integer"
	formNumber  form = "number"
	formBoolean form = "boolean"
	formJSON    form = "json"
	formMap     form = "map"
	formTags    form = "tags"
	formObject  form = "object"
	formList    form = "list"
)

// schema is what is known of a type.
type schema struct {
	shape
	gets     []string
	anything bool   // further properties are allowed
	refusal  string // why the type is not offered; empty when it is
}

// readSchemas reads typesText. It panics about a mistake in it.
func readSchemas(text string) map[string]*schema {
	all := map[string]*schema{}
	var current *schema
	var open []*shape // by depth: whose members the next lines may be
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		depth := len(line) - len(strings.TrimLeft(line, "\t"))
		word := line[depth:]
		gets, isGets := strings.CutPrefix(word, "gets: ")
		refusal, isRefusal := strings.CutPrefix(word, "refused: ")
		switch {
		case word == "":
		case depth == 0:
			current = &schema{shape: shape{name: word, form: formObject}}
			all[word] = current
			open = []*shape{&current.shape}
		case current == nil || depth > len(open):
			panic("types.txt: " + line)
		case depth == 1 && isGets:
			current.gets = strings.Fields(gets)
		case depth == 1 && isRefusal:
			current.refusal = refusal
		case depth == 1 && strings.HasPrefix(word, "anything:"):
			current.anything = true
		default:
			s := readShape(word)
			parent := open[depth-1]
			parent.members = append(parent.members, s)
			for s.item != nil {
				s = s.item
			}
			open = append(open[:depth], s)
			if parent.form != formObject {
				panic("types.txt: members of " + parent.name)
			}
		}
	}
	return all
}

func readShape(line string) *shape {
	name, form, ok := strings.Cut(line, " ")
	if !ok {
		panic("types.txt: " + line)
	}
	s := &shape{}
	name, s.replaces = strings.CutSuffix(name, "*")
	name, s.required = strings.CutSuffix(name, "!")
	s.name = name
	if reason, refused := strings.CutPrefix(form, "refused: "); refused {
		s.refused, s.form = reason, formJSON
		return s
	}
	s.setForm(form, line)
	return s
}

func (s *shape) setForm(text, line string) {
	if inner, ok := strings.CutPrefix(text, "["); ok {
		s.form, s.item = formList, &shape{name: s.name}
		s.item.setForm(strings.TrimSuffix(inner, "]"), line)
		return
	}
	text, values, some := strings.Cut(strings.TrimSuffix(text, ")"), "(")
	if some {
		s.values = strings.Split(values, "|")
	}
	s.form = form(text)
	if !slices.Contains([]form{formString, formInteger, formNumber, formBoolean, formJSON, formMap, formTags, formObject}, s.form) {
		panic("types.txt: " + line)
	}
}

func (s *shape) member(name string) *shape {
	for _, m := range s.members {
		if m.name == name {
			return m
		}
	}
	return nil
}

// unknown reports whether a value is an intrinsic function that is not known yet.
func unknown(v any) bool {
	m, ok := v.(map[string]any)
	if !ok || len(m) != 1 {
		return false
	}
	for key := range m {
		return key == "Ref" || key == "Condition" || strings.HasPrefix(key, "Fn::")
	}
	return false
}

const maxViolations = 20 // that one message tells

// checker collects what is wrong.
type checker struct{ found []string }

func (c *checker) add(at, format string, args ...any) {
	if len(c.found) < maxViolations {
		c.found = append(c.found, "#"+at+": "+fmt.Sprintf(format, args...))
	}
}

// violations is what a schema has against properties.
type violations []string

func (v violations) Error() string { return strings.Join(v, "\n") }

func (s *schema) check(properties map[string]any) error {
	var c checker
	c.object("", &s.shape, properties, s.anything)
	if len(c.found) == 0 {
		return nil
	}
	return violations(c.found)
}

func (c *checker) object(at string, s *shape, value map[string]any, anything bool) {
	for _, m := range s.members {
		if _, ok := value[m.name]; m.required && !ok {
			c.add(at, "required key [%s] not found", m.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(value)) {
		m := s.member(name)
		switch {
		case m != nil && m.refused != "":
			c.add(at+"/"+name, "Lamina does not offer this property: %s", m.refused)
		case m != nil:
			c.value(at+"/"+name, m, value[name])
		case !anything:
			c.add(at, "extraneous key [%s] is not permitted", name)
		}
	}
}

// kindOf is what AWS calls the kind of a value.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "Null"
	case string:
		return "String"
	case bool:
		return "Boolean"
	case []any:
		return "JSONArray"
	case map[string]any:
		return "JSONObject"
	}
	return "Number"
}

func (c *checker) value(at string, s *shape, v any) {
	if unknown(v) {
		return
	}
	want := ""
	switch s.form {
	case formString:
		if text, ok := asString(v); !ok {
			want = "String"
		} else if s.values != nil && !slices.Contains(s.values, text) {
			c.add(at, "%s is not a valid enum value", text)
		}
	case formInteger:
		if _, ok := asInteger(v); !ok {
			want = "Integer"
		}
	case formNumber:
		if _, ok := asNumber(v); !ok {
			want = "Number"
		}
	case formBoolean:
		if _, ok := asBoolean(v); !ok {
			want = "Boolean"
		}
	case formJSON:
		switch v.(type) {
		case map[string]any, []any, string:
		default:
			want = "JSONObject"
		}
	case formMap:
		m, ok := v.(map[string]any)
		if !ok {
			want = "JSONObject"
		}
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if _, ok := asString(m[key]); !ok && !unknown(m[key]) {
				if _, list := m[key].([]any); !list { // parameters of nested stacks
					c.add(at+"/"+key, "expected type: String, found: %s", kindOf(m[key]))
				}
			}
		}
	case formTags, formList:
		list, ok := v.([]any)
		if !ok {
			want = "JSONArray"
		}
		item := s.item
		if s.form == formTags {
			item = tagShape
		}
		for i, v := range list {
			c.value(at+"/"+strconv.Itoa(i), item, v)
		}
	case formObject:
		m, ok := v.(map[string]any)
		if !ok {
			want = "JSONObject"
		}
		if ok {
			c.object(at, s, m, false)
		}
	}
	if want != "" {
		c.add(at, "expected type: %s, found: %s", want, kindOf(v))
	}
}

var tagShape = &shape{form: formObject, members: []*shape{
	{name: "Key", required: true, form: formString}, {name: "Value", required: true, form: formString},
}}

// asString is how CloudFormation reads a scalar where it wants a string.
func asString(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case json.Number:
		return v.String(), true
	case int:
		return strconv.Itoa(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}

func asNumber(v any) (json.Number, bool) {
	if _, ok := v.(bool); ok {
		return "", false
	}
	text, ok := asString(v)
	if !ok {
		return "", false
	}
	text = strings.TrimSpace(text)
	if _, err := strconv.ParseFloat(text, 64); err != nil {
		return "", false
	}
	if !json.Valid([]byte(text)) { // such as 007 or +1
		f, _ := strconv.ParseFloat(text, 64) // it parsed above
		text = strconv.FormatFloat(f, 'f', -1, 64)
	}
	return json.Number(text), json.Valid([]byte(text))
}

func asInteger(v any) (int64, bool) {
	n, ok := asNumber(v)
	if !ok {
		return 0, false
	}
	if i, err := n.Int64(); err == nil {
		return i, true
	}
	f, err := n.Float64()
	return int64(f), err == nil && f == float64(int64(f)) && f < 1<<53 && f > -1<<53
}

func asBoolean(v any) (value, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case string:
		switch strings.ToLower(v) {
		case "true":
			return true, true
		case "false":
			return false, true
		}
	}
	return false, false
}

// settle gives values the forms that the schema has: what a template says as text
// becomes the number that it is. Values that do not fit stay as they are.
func (s *schema) settle(properties map[string]any) map[string]any {
	if properties == nil {
		return map[string]any{}
	}
	return s.shape.settle(properties).(map[string]any)
}

func (s *shape) settle(v any) any {
	if unknown(v) {
		return v
	}
	switch s.form {
	case formString:
		if text, ok := asString(v); ok {
			return text
		}
	case formInteger:
		if n, ok := asInteger(v); ok {
			return n
		}
	case formNumber:
		if n, ok := asNumber(v); ok {
			return n
		}
	case formBoolean:
		if b, ok := asBoolean(v); ok {
			return b
		}
	case formMap:
		if m, ok := v.(map[string]any); ok {
			out := make(map[string]any, len(m))
			for key, v := range m {
				out[key] = stringOr(v)
			}
			return out
		}
	case formTags, formList:
		if list, ok := v.([]any); ok {
			item := s.item
			if s.form == formTags {
				item = tagShape
			}
			out := make([]any, len(list))
			for i, v := range list {
				out[i] = item.settle(v)
			}
			return out
		}
	case formObject:
		if m, ok := v.(map[string]any); ok {
			out := make(map[string]any, len(m))
			for key, v := range m {
				if member := s.member(key); member != nil {
					v = member.settle(v)
				}
				out[key] = v
			}
			return out
		}
	}
	return v
}

func stringOr(v any) any {
	if text, ok := asString(v); ok {
		return text
	}
	if list, ok := v.([]any); ok { // a list parameter of a nested stack
		texts := make([]string, 0, len(list))
		for _, v := range list {
			text, ok := asString(v)
			if !ok {
				return list
			}
			texts = append(texts, text)
		}
		return strings.Join(texts, ",")
	}
	return v
}

// compare lists the properties that differ.
func (s *schema) compare(old, new map[string]any) []Difference {
	old, new = s.settle(old), s.settle(new)
	var all []Difference
	names := slices.AppendSeq(slices.Collect(maps.Keys(old)), maps.Keys(new))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		was, had := old[name]
		is, has := new[name]
		if had == has && equal(was, is) {
			continue
		}
		d := Difference{Property: name, Recreation: Never}
		if m := s.member(name); m != nil && m.replaces {
			d.Recreation = Always
		}
		all = append(all, d)
	}
	return all
}

// equal compares values as CloudFormation does: what is not known yet differs from
// everything, and 1 is "1" where no schema says more.
func equal(a, b any) bool {
	if unknown(a) || unknown(b) {
		return false
	}
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for key, v := range a {
			w, ok := b[key]
			if !ok || !equal(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	}
	x, ok := asString(a)
	y, ok2 := asString(b)
	if ok && ok2 {
		return x == y
	}
	return reflect.DeepEqual(a, b)
}
