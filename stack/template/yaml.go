package template

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// shortForm returns what a tag such as !Sub is short for.
func shortForm(tag string) (string, bool) {
	name, ok := strings.CutPrefix(tag, "!")
	switch {
	case !ok:
		return "", false
	case name == "Ref" || name == "Condition":
		return name, true
	case shortNames[name]:
		return "Fn::" + name, true
	}
	return "", false
}

// shortNames are the functions that have a short form beside Ref and Condition.
var shortNames = map[string]bool{
	"Base64": true, "Cidr": true, "FindInMap": true, "GetAtt": true, "GetAZs": true, "If": true, "Equals": true, "And": true, "Or": true, "Not": true,
	"ImportValue": true, "Join": true, "Select": true, "Split": true, "Sub": true, "Transform": true, "Length": true, "ToJsonString": true,
	"Contains": true, "EachMemberEquals": true, "EachMemberIn": true, "RefAll": true, "ValueOf": true, "ValueOfAll": true,
}

// yamlReader makes plain values of one document's nodes.
type yamlReader struct {
	nodes int
	path  []string
	order order
}

func parseYAML(text string, o order) (any, error) {
	d := yaml.NewDecoder(strings.NewReader(text))
	var document yaml.Node
	switch err := d.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, formatError("unsupported structure.")
	case err != nil:
		return nil, formatError("YAML not well-formed. (%s)", printable(strings.TrimPrefix(err.Error(), "yaml: ")))
	}
	var more yaml.Node
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		if err == nil {
			return nil, formatError("YAML not well-formed. (line %d: a template is one document)", more.Line)
		}
		return nil, formatError("YAML not well-formed. (%s)", printable(strings.TrimPrefix(err.Error(), "yaml: ")))
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 {
		return nil, formatError("unsupported structure.")
	}
	r := &yamlReader{order: o}
	return r.value(document.Content[0], 0)
}

func (r *yamlReader) wrong(n *yaml.Node, cause string) error {
	return formatError("YAML not well-formed. %s (line %d, column %d)", cause, n.Line, n.Column)
}

func (r *yamlReader) value(n *yaml.Node, depth int) (any, error) {
	if r.nodes++; depth > maxDepth || r.nodes > maxNodes {
		return nil, r.wrong(n, "It is too deep or too large.")
	}
	if n.Kind == yaml.AliasNode {
		// An alias within its own anchor ends at the depth.
		return r.value(n.Alias, depth+1)
	}
	if n.Style&yaml.TaggedStyle == 0 {
		return r.plain(n, depth)
	}
	if name, ok := shortForm(n.Tag); ok {
		bare := *n
		bare.Style &^= yaml.TaggedStyle
		var v any
		var err error
		if n.Kind == yaml.ScalarNode {
			v = n.Value // !Ref 080 is a name, whatever it looks like
		} else if v, err = r.plain(&bare, depth+1); err != nil {
			return nil, err
		}
		if text, ok := v.(string); ok && name == "Fn::GetAtt" {
			id, attribute, _ := strings.Cut(text, ".")
			v = []any{id, attribute}
		}
		return map[string]any{name: v}, nil
	}
	switch tag := n.ShortTag(); {
	case n.Kind == yaml.ScalarNode && (tag == "!!str" || tag == "!"):
		return n.Value, nil
	case n.Kind == yaml.ScalarNode && (tag == "!!int" || tag == "!!float" || tag == "!!bool" || tag == "!!null"):
		return scalar(n.Value), nil
	case n.Kind == yaml.MappingNode && tag == "!!map", n.Kind == yaml.SequenceNode && tag == "!!seq":
		return r.plain(n, depth)
	}
	return nil, r.wrong(n, "Unsupported tag "+printable(n.Tag)+".")
}

// plain is the value of a node whose tag says nothing.
func (r *yamlReader) plain(n *yaml.Node, depth int) (any, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			return n.Value, nil
		}
		return scalar(n.Value), nil
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			v, err := r.value(c, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		return r.mapping(n, depth)
	}
	return nil, r.wrong(n, "Unsupported structure.")
}

func (r *yamlReader) mapping(n *yaml.Node, depth int) (any, error) {
	m := map[string]any{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.ScalarNode && k.Value == "<<" && k.ShortTag() == "!!merge" {
			merged = append(merged, v)
			continue
		}
		name, err := r.key(k)
		if err != nil {
			return nil, err
		}
		if _, twice := m[name]; twice {
			return nil, r.wrong(k, "Duplicate key "+printable(name)+".")
		}
		r.path = append(r.path, name)
		if m[name], err = r.value(v, depth+1); err != nil {
			return nil, err
		}
		r.path = r.path[:len(r.path)-1]
		r.order.note(m, name)
	}
	for _, v := range merged {
		if err := r.merge(m, v, depth+1, true); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// merge adds the members of a map, or of each map of a list, that m does not have.
func (r *yamlReader) merge(m map[string]any, n *yaml.Node, depth int, lists bool) error {
	v, err := r.value(n, depth)
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			member := v[name]
			if _, has := m[name]; !has {
				m[name] = member
				r.order.note(m, name)
			}
		}
		return nil
	case []any:
		all := n
		for all.Kind == yaml.AliasNode {
			all = all.Alias
		}
		if lists && all.Kind == yaml.SequenceNode {
			for _, c := range all.Content {
				if err := r.merge(m, c, depth+1, false); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return r.wrong(n, "A merge needs a map.")
}

// key is a member's name. Numbers are not taken for one, as CloudFormation does;
// what else looks like no text (On, Null) is the text.
func (r *yamlReader) key(n *yaml.Node) (string, error) {
	v, err := r.value(n, maxDepth-1)
	if err != nil {
		return "", err
	}
	kind := ""
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		kind = "numeric [" + v.String() + "]"
	case bool, nil:
		for n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		return n.Value, nil
	case []any:
		kind = "a list"
	default:
		kind = "a map"
	}
	return "", formatError("[/%s] map keys must be strings; received %s instead", printable(strings.Join(r.path, "/")), printable(kind))
}

// The scalars of YAML 1.1, as the parser that CloudFormation uses has them.
var (
	yamlDecimal = regexp.MustCompile(`^[-+]?(?:0|[1-9][0-9_]*)$`)
	yamlOctal   = regexp.MustCompile(`^[-+]?0[0-7_]+$`)
	yamlHex     = regexp.MustCompile(`^[-+]?0x[0-9a-fA-F_]+$`)
	yamlBinary  = regexp.MustCompile(`^[-+]?0b[01_]+$`)
	yamlSixty   = regexp.MustCompile(`^[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+$`)
	yamlFloat   = regexp.MustCompile(`^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?)$`)
)

// longestNumber bounds the text that is taken for a number.
const longestNumber = 256

// scalar is what a scalar without quotes or tag means.
func scalar(text string) any {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return nil
	case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON":
		return true
	case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF":
		return false
	}
	if c := text[0]; len(text) > longestNumber || c != '-' && c != '+' && c != '.' && (c < '0' || c > '9') {
		return text
	}
	digits, negative := strings.TrimPrefix(text, "+"), strings.HasPrefix(text, "-")
	digits = strings.ReplaceAll(strings.TrimPrefix(digits, "-"), "_", "")
	number := func(digits string) any {
		if negative {
			digits = "-" + digits
		}
		return json.Number(digits)
	}
	based := func(digits string, base int) any {
		n, ok := new(big.Int).SetString(digits, base)
		if !ok {
			return text
		}
		return number(n.String())
	}
	switch {
	case yamlDecimal.MatchString(text):
		return number(digits)
	case yamlOctal.MatchString(text):
		return based(digits, 8)
	case yamlHex.MatchString(text):
		return based(digits[2:], 16)
	case yamlBinary.MatchString(text):
		return based(digits[2:], 2)
	case yamlSixty.MatchString(text):
		n := new(big.Int)
		for part := range strings.SplitSeq(digits, ":") {
			p, ok := new(big.Int).SetString(part, 10)
			if !ok {
				return text
			}
			n.Add(n.Mul(n, big.NewInt(60)), p)
		}
		return number(n.String())
	case yamlFloat.MatchString(text):
		return number(floatDigits(digits))
	}
	return text
}

// floatDigits spells a float of YAML as JSON does: with digits on both sides of
// the point, and no zeros before.
func floatDigits(digits string) string {
	mantissa, exponent := digits, ""
	if i := strings.IndexAny(digits, "eE"); i >= 0 {
		mantissa, exponent = digits[:i], digits[i:]
	}
	whole, fraction, point := strings.Cut(mantissa, ".")
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	if point {
		if fraction == "" {
			fraction = "0"
		}
		whole += "." + fraction
	}
	return whole + exponent
}
