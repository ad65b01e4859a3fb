package wire

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// maxViolations bounds the message about a hostile request: beyond it nothing
// is collected.
const maxViolations = 100

var stringNode = &node{scalar: "String", typ: reflect.TypeFor[string]()}

// verdict is the one exception about all violations, or nil.
func (d *decoder) verdict() error {
	switch n := len(d.violations); n {
	case 0:
		return nil
	case 1:
		return Validation.New("1 validation error detected: " + d.violations[0])
	default:
		return Validation.New(strconv.Itoa(n) + " validation errors detected: " + strings.Join(d.violations, "; "))
	}
}

func (d *decoder) missing(at string) {
	d.violate(at, func() string { return "null" }, "Member must not be null")
}

// violate collects one violation. A nil show keeps the value secret, as the
// service does with sensitive members.
func (d *decoder) violate(at string, show func() string, constraint string) {
	if len(d.violations) >= maxViolations {
		return
	}
	value := "Value"
	if show != nil {
		value += " " + show()
	}
	d.violations = append(d.violations, fmt.Sprintf("%s at '%s' failed to satisfy constraint: %s", value, at, constraint))
}

// check collects the violations of a value's own constraints, one each.
func (d *decoder) check(r *rule, n *node, v reflect.Value, at string, show func() string) {
	if r.sensitive {
		show = nil
	}
	for _, text := range r.violated(n, v) {
		d.violate(at, show, text)
	}
}

// items collects the one violation that stands for all wrong elements of a list.
// Nulls among them are not in the list.
func (d *decoder) items(n *node, list reflect.Value, nulls bool, at string, show func() string) {
	if n.item.empty() || n.elem.shape != nil {
		return
	}
	bad := n.item.notNull && nulls
	for i := 0; i < list.Len() && !bad; i++ {
		bad = n.item.violated(n.elem, list.Index(i)) != nil
	}
	if !bad {
		return
	}
	text := strings.Join(n.item.texts(n.elem), ", ")
	if !n.item.bare {
		text = "Member must satisfy constraint: [" + text + "]"
	}
	d.violate(at, show, text)
}

// violated are the texts of the constraints that v does not satisfy, in the
// service's order.
func (r *rule) violated(n *node, v reflect.Value) []string {
	var out []string
	size := measure(n, v)
	if r.max != nil && size > *r.max {
		out = append(out, r.maxText(n))
	}
	if r.min != nil && size < *r.min {
		out = append(out, r.minText(n))
	}
	if r.pattern != nil && !r.pattern.matches(v.String()) {
		out = append(out, r.patternText())
	}
	if r.enum != nil && !r.enum.has(v.String()) {
		out = append(out, r.enumText())
	}
	return out
}

// texts are those of all constraints of r.
func (r *rule) texts(n *node) []string {
	var out []string
	if r.max != nil {
		out = append(out, r.maxText(n))
	}
	if r.min != nil {
		out = append(out, r.minText(n))
	}
	if r.pattern != nil {
		out = append(out, r.patternText())
	}
	if r.enum != nil {
		out = append(out, r.enumText())
	}
	if r.notNull {
		out = append(out, "Member must not be null")
	}
	return out
}

func (r *rule) maxText(n *node) string {
	return "Member must have " + n.dimension() + " less than or equal to " + n.bound(*r.max)
}

func (r *rule) minText(n *node) string {
	return "Member must have " + n.dimension() + " greater than or equal to " + n.bound(*r.min)
}

func (r *rule) patternText() string {
	return "Member must satisfy regular expression pattern: " + r.pattern.text
}

func (r *rule) enumText() string {
	return "Member must satisfy enum value set: " + bracketed(r.enum.printed)
}

func (e *enum) has(s string) bool {
	return slices.Contains(e.printed, s) || slices.Contains(e.accepted, s)
}

func (n *node) dimension() string {
	if n.scalar == "Integer" || n.scalar == "Double" {
		return "value"
	}
	return "length"
}

func (n *node) bound(f float64) string {
	if n.scalar == "Double" {
		return double(f)
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// measure is what min and max speak about.
func measure(n *node, v reflect.Value) float64 {
	switch {
	case n.scalar == "String":
		return float64(units(v.String()))
	case n.scalar == "Integer":
		return float64(v.Int())
	case n.scalar == "Double":
		return v.Float()
	case n.scalar == "Blob" || n.elem != nil:
		return float64(v.Len())
	}
	return 0
}

// units is the length of a string as the service counts it: in UTF-16.
func units(s string) int {
	n := 0
	for _, r := range s {
		n += max(utf16.RuneLen(r), 1)
	}
	return n
}

// double prints a number as the service does: 2.0.
func double(f float64) string {
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func quoted(s string) string { return "'" + s + "'" }

func bracketed(words []string) string { return "[" + strings.Join(words, ", ") + "]" }

func sortedKeys(members map[string]json.RawMessage) []string {
	return slices.Sorted(maps.Keys(members))
}

// display prints a JSON value as the service prints it in messages: [a, b],
// {k=v}, Name(member=value). The JSON was bound before, so it has n's types.
func display(n *node, raw json.RawMessage) string {
	if raw == nil || string(raw) == "null" {
		return "null"
	}
	switch {
	case n.shape != nil:
		members, _ := object(raw) //nolint:errcheck // bound before
		var words []string
		for i := range n.shape.fields {
			f := &n.shape.fields[i]
			value := "***Sensitive Data Redacted***"
			if !f.rule.sensitive {
				value = display(f.of, members[f.name])
			}
			words = append(words, f.path+"="+value)
		}
		return n.shape.name + "(" + strings.Join(words, ", ") + ")"
	case n.scalar == "String":
		var s string
		_ = json.Unmarshal(raw, &s) // bound before
		return s
	case n.scalar == "Double":
		var f float64
		_ = json.Unmarshal(raw, &f) // bound before
		return double(f)
	case n.scalar != "":
		return string(raw)
	case n.typ.Kind() == reflect.Map:
		members, _ := object(raw) //nolint:errcheck // bound before
		var words []string
		for _, key := range sortedKeys(members) {
			words = append(words, key+"="+display(n.elem, members[key]))
		}
		return "{" + strings.Join(words, ", ") + "}"
	default:
		var raws []json.RawMessage
		_ = json.Unmarshal(raw, &raws) // bound before
		words := make([]string, len(raws))
		for i := range raws {
			words[i] = display(n.elem, raws[i])
		}
		return bracketed(words)
	}
}
