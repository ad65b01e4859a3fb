package sam

import (
	"crypto/sha1" // names resources as SAM does; protects nothing
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// isTrue reports whether the translator, which is written in Python, takes the
// value for true.
func isTrue(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case json.Number:
		f, err := v.Float64()
		return err != nil || f != 0
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return true
}

// single returns the only member of a map of one.
func single(v any) (name string, value any, ok bool) {
	m, ok := v.(map[string]any)
	if !ok || len(m) != 1 {
		return "", nil, false
	}
	for name, value = range m {
	}
	return name, value, true
}

// isIntrinsic reports whether v is the call of an intrinsic function.
func isIntrinsic(v any) bool {
	name, _, ok := single(v)
	return ok && (name == "Ref" || name == "Condition" || strings.HasPrefix(name, "Fn::"))
}

func isIf(v any) bool {
	name, _, ok := single(v)
	return ok && name == "Fn::If"
}

func isNoValue(v any) bool {
	name, of, ok := single(v)
	return ok && name == "Ref" && of == "AWS::NoValue"
}

// errBranches is told within other texts.
var errBranches = errors.New("Fn::If requires 3 arguments")

// branches returns the three arguments of an Fn::If.
func branches(call any) ([]any, error) {
	_, of, _ := single(call)
	args, ok := of.([]any)
	if !ok || len(args) != 3 {
		return nil, errBranches
	}
	return args, nil
}

func ref(id string) map[string]any { return map[string]any{"Ref": id} }

func getAtt(id, name string) map[string]any {
	return map[string]any{"Fn::GetAtt": []any{id, name}}
}

func sub(text string) map[string]any { return map[string]any{"Fn::Sub": text} }

func choose(condition, then, otherwise any) map[string]any {
	if otherwise == nil {
		otherwise = ref("AWS::NoValue")
	}
	return map[string]any{"Fn::If": []any{condition, then, otherwise}}
}

func not(condition any) map[string]any {
	return map[string]any{"Fn::Not": []any{map[string]any{"Condition": condition}}}
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, value := range v {
			out[name] = clone(value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = clone(value)
		}
		return out
	}
	return v
}

// equal compares as Python does: numbers by their value.
func equal(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, equal)
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case json.Number:
		b, ok := b.(json.Number)
		return ok && (a == b || number(a) == number(b))
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

func contains(list []any, v any) bool {
	return slices.ContainsFunc(list, func(one any) bool { return equal(one, v) })
}

// isInteger reports whether Python reads the number as an int.
func isInteger(n json.Number) bool { return !strings.ContainsAny(string(n), ".eE") }

// number spells a number as Python's json.dumps does.
func number(n json.Number) string {
	if isInteger(n) {
		if i, ok := new(big.Int).SetString(string(n), 10); ok {
			return i.String()
		}
		return string(n)
	}
	f, err := n.Float64()
	if err != nil {
		if strings.HasPrefix(string(n), "-") {
			return "-Infinity"
		}
		return "Infinity"
	}
	text := strconv.FormatFloat(f, 'e', -1, 64)
	_, exponent, _ := strings.Cut(text, "e")
	if e, err := strconv.Atoi(exponent); err == nil && (e < -4 || e >= 16) {
		return text
	}
	text = strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// dumps is json.dumps(v, separators=(",", ":"), sort_keys=True), of which the
// names of resources are hashes.
func dumps(out *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		out.WriteString("null")
	case bool:
		out.WriteString(strconv.FormatBool(v))
	case json.Number:
		out.WriteString(number(v))
	case string:
		dumpString(out, v)
	case []any:
		out.WriteByte('[')
		for i, one := range v {
			if i > 0 {
				out.WriteByte(',')
			}
			dumps(out, one)
		}
		out.WriteByte(']')
	case map[string]any:
		out.WriteByte('{')
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				out.WriteByte(',')
			}
			dumpString(out, name)
			out.WriteByte(':')
			dumps(out, v[name])
		}
		out.WriteByte('}')
	default:
		fmt.Fprint(out, v)
	}
}

func dumpString(out *strings.Builder, s string) {
	out.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\r':
			out.WriteString(`\r`)
		case r == '\t':
			out.WriteString(`\t`)
		case r == '\b':
			out.WriteString(`\b`)
		case r == '\f':
			out.WriteString(`\f`)
		case r >= ' ' && r <= '~':
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(out, `\u%04x`, r)
		}
	}
	out.WriteByte('"')
}

// hash is the ten digits that end the names of resources made of v.
func hash(v any) string {
	text, ok := v.(string)
	if !ok {
		var out strings.Builder
		dumps(&out, v)
		text = out.String()
	}
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])[:10]
}

// spell writes v as Python's str does, which the messages have in them.
func spell(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	var out strings.Builder
	spellInto(&out, v)
	return out.String()
}

func spellInto(out *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		out.WriteString("None")
	case bool:
		if v {
			out.WriteString("True")
		} else {
			out.WriteString("False")
		}
	case json.Number:
		out.WriteString(number(v))
	case string:
		quote := "'"
		if strings.Contains(v, "'") && !strings.Contains(v, `"`) {
			quote = `"`
		}
		out.WriteString(quote + strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`, quote, `\`+quote).Replace(v) + quote)
	case []any:
		out.WriteByte('[')
		for i, one := range v {
			if i > 0 {
				out.WriteString(", ")
			}
			spellInto(out, one)
		}
		out.WriteByte(']')
	case map[string]any:
		out.WriteByte('{')
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				out.WriteString(", ")
			}
			spellInto(out, name)
			out.WriteString(": ")
			spellInto(out, v[name])
		}
		out.WriteByte('}')
	default:
		fmt.Fprint(out, v)
	}
}

// spellList writes names as Python writes a list of them.
func spellList(names []string) string {
	list := make([]any, len(names))
	for i, name := range names {
		list[i] = name
	}
	return spell(list)
}
