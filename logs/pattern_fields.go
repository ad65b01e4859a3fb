package logs

import (
	"strings"
	"unicode"
)

// fieldPattern is one field of a pattern for text that spaces delimit.
type fieldPattern struct {
	ellipsis bool
	matches  condition[string] // nil is anything
}

// parseFieldsPattern parses what is between the brackets.
func parseFieldsPattern(text string) (func([]byte) bool, error) {
	var fields []fieldPattern
	ellipsis := -1
	regexps := 0
	for rest, more := text, true; more; {
		var part string
		part, rest, more = cutField(rest)
		f, err := parseField(part, &regexps)
		if err != nil {
			return nil, err
		}
		if f.ellipsis {
			if ellipsis >= 0 {
				return nil, invalidPattern()
			}
			ellipsis = len(fields)
		}
		fields = append(fields, f)
	}
	return func(message []byte) bool {
		values := splitFields(string(message))
		head, tail := fields, []fieldPattern(nil)
		if ellipsis >= 0 {
			head, tail = fields[:ellipsis], fields[ellipsis+1:]
			if len(values) < len(head)+len(tail) {
				return false
			}
		} else if len(values) != len(fields) {
			return false
		}
		return fieldsMatch(head, values) && fieldsMatch(tail, values[len(values)-len(tail):])
	}, nil
}

func fieldsMatch(fields []fieldPattern, values []string) bool {
	for i, f := range fields {
		if f.matches != nil && !f.matches(values[i]) {
			return false
		}
	}
	return true
}

// cutField cuts a pattern at its first comma outside quotes and regular expressions.
func cutField(text string) (field, rest string, more bool) {
	inside := byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inside != 0 && c == '\\' && inside == '"':
			i++
		case inside == c:
			inside = 0
		case inside != 0:
		case c == '"' || c == '%':
			inside = c
		case c == ',':
			return text[:i], text[i+1:], true
		}
	}
	return text, "", false
}

// parseField parses a name, with conditions on it or without, or an ellipsis, or
// nothing: any field.
func parseField(text string, regexps *int) (fieldPattern, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "...":
		return fieldPattern{ellipsis: true}, nil
	case text == "" || strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == "":
		return fieldPattern{}, nil
	}
	name := ""
	p := conditions[string]{text: text, regexps: *regexps, one: func(p *conditions[string]) (condition[string], error) {
		p.space()
		n := 0
		for n < len(p.text) && isNameByte(p.text[n]) {
			n++
		}
		if n == 0 || name != "" && p.text[:n] != name {
			return nil, invalidPattern() // all of it is about the one field
		}
		name, p.text = p.text[:n], p.text[n:]
		operator, ok := p.operator()
		if !ok {
			return nil, invalidPattern()
		}
		o, err := p.operand()
		if err != nil {
			return nil, err
		}
		if strings.ContainsAny(operator, "<>") && !o.isNum {
			return nil, invalidPattern()
		}
		return func(v string) bool { return o.compare(operator, v) }, nil
	}}
	matches, err := p.or()
	if err != nil {
		return fieldPattern{}, err
	}
	if p.space(); p.text != "" {
		return fieldPattern{}, invalidPattern()
	}
	*regexps = p.regexps
	return fieldPattern{matches: matches}, nil
}

// splitFields cuts a message at its spaces. What is in quotes or brackets is one
// field, without them.
func splitFields(text string) []string {
	var fields []string
	for {
		text = strings.TrimLeftFunc(text, unicode.IsSpace)
		if text == "" {
			return fields
		}
		if closing := map[byte]byte{'"': '"', '[': ']'}[text[0]]; closing != 0 {
			if end := strings.IndexByte(text[1:], closing); end >= 0 {
				fields, text = append(fields, text[1:1+end]), text[end+2:]
				continue
			}
		}
		end := strings.IndexFunc(text, unicode.IsSpace)
		if end < 0 {
			end = len(text)
		}
		fields, text = append(fields, text[:end]), text[end:]
	}
}
