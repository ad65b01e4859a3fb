package logs

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// parseJSONPattern parses what is between the braces.
func parseJSONPattern(text string) (func([]byte) bool, error) {
	p := conditions[any]{text: text, one: jsonCondition}
	matches, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.space(); p.text != "" {
		return nil, invalidPattern()
	}
	return func(message []byte) bool {
		message = bytes.TrimSpace(message)
		if len(message) == 0 || message[0] != '{' && message[0] != '[' {
			return false
		}
		d := json.NewDecoder(bytes.NewReader(message))
		d.UseNumber()
		var v any
		if d.Decode(&v) != nil || d.More() {
			return false
		}
		return matches(v)
	}, nil
}

// jsonCondition parses one comparison of a property.
func jsonCondition(p *conditions[any]) (condition[any], error) {
	path, err := jsonPath(p)
	if err != nil {
		return nil, err
	}
	on := func(test func(node any, exists bool) bool) condition[any] {
		return func(v any) bool { return path.any(v, test) }
	}
	switch {
	case p.word("IS"):
		switch {
		case p.word("TRUE"):
			return on(func(n any, _ bool) bool { return n == true }), nil
		case p.word("FALSE"):
			return on(func(n any, _ bool) bool { return n == false }), nil
		case p.word("NULL"):
			return on(func(n any, exists bool) bool { return exists && n == nil }), nil
		}
		return nil, invalidPattern()
	case p.word("NOT"):
		if !p.word("EXISTS") {
			return nil, invalidPattern()
		}
		exists := on(func(_ any, exists bool) bool { return exists })
		return func(v any) bool { return !exists(v) }, nil
	case p.word("EXISTS"):
		return on(func(_ any, exists bool) bool { return exists }), nil
	}
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
	return on(func(n any, _ bool) bool {
		switch v := n.(type) {
		case string:
			if strings.ContainsAny(operator, "<>") {
				return false // numbers only
			}
			return o.equals(v) == (operator == "=")
		case json.Number:
			return o.compare(operator, v.String())
		case bool:
			return o.compare(operator, strconv.FormatBool(v))
		}
		return false // null, an object, a list, nothing: the filter does not apply
	}), nil
}

// jsonStep is one step of a path: a property, an element, or all elements.
type jsonStep struct {
	name  string
	index int
	kind  stepKind
}

type stepKind int

const (
	property stepKind = iota
	element
	everyElement
)

type jsonSteps []jsonStep

// jsonPath reads a selector: $.name, $['name'], $.list[2].name, $.list[*].
func jsonPath(p *conditions[any]) (jsonSteps, error) {
	if !p.skip("$") {
		return nil, invalidPattern()
	}
	var steps jsonSteps
	for {
		switch {
		case strings.HasPrefix(p.text, ".["):
			p.text = p.text[1:]
		case strings.HasPrefix(p.text, "."):
			n := 1
			for n < len(p.text) && (isNameByte(p.text[n]) || p.text[n] >= 0x80) {
				n++
			}
			if n == 1 {
				return nil, invalidPattern()
			}
			steps = append(steps, jsonStep{name: p.text[1:n]})
			p.text = p.text[n:]
		case strings.HasPrefix(p.text, "["):
			inside, rest, ok := cutBracket(p.text[1:])
			if !ok {
				return nil, invalidPattern()
			}
			step, ok := bracketStep(inside)
			if !ok {
				return nil, invalidPattern()
			}
			steps = append(steps, step)
			p.text = rest
		default:
			if len(steps) == 0 {
				return nil, invalidPattern()
			}
			return steps, nil
		}
	}
}

// cutBracket reads to the bracket that closes, which a quoted name may contain.
func cutBracket(text string) (inside, rest string, ok bool) {
	text = strings.TrimLeft(text, " ")
	if text != "" && (text[0] == '\'' || text[0] == '"') {
		end := strings.IndexByte(text[1:], text[0])
		if end < 0 {
			return "", "", false
		}
		inside, rest = text[:end+2], strings.TrimLeft(text[end+2:], " ")
		rest, ok = strings.CutPrefix(rest, "]")
		return inside, rest, ok
	}
	inside, rest, ok = strings.Cut(text, "]")
	return strings.TrimSpace(inside), rest, ok
}

func bracketStep(inside string) (jsonStep, bool) {
	switch {
	case inside == "*":
		return jsonStep{kind: everyElement}, true
	case len(inside) > 2 && (inside[0] == '\'' || inside[0] == '"'):
		return jsonStep{name: inside[1 : len(inside)-1]}, true
	}
	n, err := strconv.ParseUint(inside, 10, 31)
	return jsonStep{kind: element, index: int(n)}, err == nil
}

// any reports whether the test is true of what the path leads to: of any of it,
// with [*]. A path that leads nowhere has no node, and exists is false.
func (steps jsonSteps) any(v any, test func(node any, exists bool) bool) bool {
	for i, step := range steps {
		switch step.kind {
		case property:
			object, ok := v.(map[string]any)
			if ok {
				v, ok = object[step.name]
			}
			if !ok {
				return test(nil, false)
			}
		case element:
			list, ok := v.([]any)
			if !ok || step.index >= len(list) {
				return test(nil, false)
			}
			v = list[step.index]
		case everyElement:
			list, ok := v.([]any)
			if !ok {
				return test(nil, false)
			}
			for _, e := range list {
				if steps[i+1:].any(e, test) {
					return true
				}
			}
			return false
		}
	}
	return test(v, true)
}
