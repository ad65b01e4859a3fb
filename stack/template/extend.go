package template

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// forEach begins the keys of loops.
const forEach = "Fn::ForEach::"

// Extend applies AWS::LanguageExtensions to a body that names it, and returns
// others as they are: loops are unrolled, Fn::Length and functions in deletion
// policies and in the names of Ref and Fn::GetAtt are evaluated. Fn::ToJsonString
// and default values of Fn::FindInMap stay; [Scope.Resolve] knows them. The
// transform is no longer named in what it returns. The body is not changed. The
// error is an [*Error].
func Extend(body map[string]any, parameters map[string]string, pseudo Pseudo) (map[string]any, error) {
	used, err := Transforms(body)
	if err != nil || !slices.Contains(used, Extensions) {
		return body, err
	}
	t, err := Read(body)
	if err != nil {
		return nil, err
	}
	x := &extender{s: &Scope{t: t, parameters: parameters, pseudo: pseudo}}
	out := make(map[string]any, len(body))
	for section, v := range body {
		switch section {
		case "Transform":
			if rest := without(v); rest != nil {
				out[section] = rest
			}
		case "Resources", "Outputs", "Conditions":
			if out[section], err = x.value(v, nil); err != nil {
				return nil, err
			}
		default:
			out[section] = v
		}
	}
	resources, _ := out["Resources"].(map[string]any)
	for _, id := range slices.Sorted(maps.Keys(resources)) {
		res, _ := resources[id].(map[string]any)
		for _, member := range []string{"DeletionPolicy", "UpdateReplacePolicy"} {
			if _, _, ok := function(res[member]); !ok {
				continue
			}
			if res[member], err = x.constant(res[member], errorf("Template error: %s of resource %s must come to a string", member, printable(id))); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// without is a Transform section without AWS::LanguageExtensions, nil when nothing
// else is in it.
func without(v any) any {
	list, ok := v.([]any)
	if !ok {
		return nil // it alone was named
	}
	var rest []any
	for _, v := range list {
		m, _ := v.(map[string]any)
		if v != Extensions && m["Name"] != Extensions {
			rest = append(rest, v)
		}
	}
	if rest == nil {
		return nil
	}
	return rest
}

// extender copies a body. Loops are bounded by what they make.
type extender struct {
	s     *Scope
	nodes int
	depth int
}

// local is the variable of a loop that is being unrolled.
type local struct {
	name, value string
	outer       *local
}

// replace puts the values of loop variables into a text.
func (l *local) replace(text string) string {
	for ; l != nil && strings.Contains(text, "{"); l = l.outer {
		text = strings.ReplaceAll(text, "${"+l.name+"}", l.value)
		if strings.Contains(text, "&{"+l.name+"}") {
			text = strings.ReplaceAll(text, "&{"+l.name+"}", strings.Map(func(r rune) rune {
				if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
					return r
				}
				return -1
			}, l.value))
		}
	}
	return text
}

func (l *local) find(name string) (string, bool) {
	for ; l != nil; l = l.outer {
		if l.name == name {
			return l.value, true
		}
	}
	return "", false
}

func (x *extender) spend(n int) error {
	if x.nodes += n; x.nodes > maxNodes {
		return errorf("Template error: Fn::ForEach makes more than %d values", maxNodes)
	}
	return nil
}

func (x *extender) value(v any, l *local) (any, error) {
	if x.depth++; x.depth > 4*maxDepth {
		return nil, errorf("Template error: Fn::ForEach is too deep")
	}
	defer func() { x.depth-- }()
	if err := x.spend(1); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case string:
		s := l.replace(v)
		return s, x.spend(len(s) / 256)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			var err error
			if out[i], err = x.value(v[i], l); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		return x.object(v, l)
	}
	return v, nil
}

func (x *extender) object(m map[string]any, l *local) (any, error) {
	if name, arg, ok := function(m); ok && !strings.HasPrefix(name, forEach) {
		return x.function(name, arg, l)
	}
	out := make(map[string]any, len(m))
	put := func(name string, v any) error {
		if _, twice := out[name]; twice {
			return errorf("Template error: Fn::ForEach makes %s twice", printable(name))
		}
		out[name] = v
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if strings.HasPrefix(name, forEach) {
			if err := x.loop(name, m[name], l, put); err != nil {
				return nil, err
			}
			continue
		}
		v, err := x.value(m[name], l)
		if err != nil {
			return nil, err
		}
		if err := put(l.replace(name), v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// loop unrolls [variable, collection, {key: value}].
func (x *extender) loop(name string, v any, l *local, put func(string, any) error) error {
	list, _ := v.([]any)
	wrong := errorf("Template error: %s requires three parameters, an identifier, a collection of strings, and an object of one output key and its value", printable(name))
	if len(list) != 3 {
		return wrong
	}
	variable, _ := list[0].(string)
	body, _ := list[2].(map[string]any)
	if !alphanumeric.MatchString(variable) || len(body) == 0 {
		return wrong
	}
	if _, taken := l.find(variable); taken || x.s.t.Parameters[variable].Type != "" {
		return errorf("Template error: %s: the identifier %s is taken", printable(name), variable)
	}
	collection, err := x.value(list[1], l)
	if err != nil {
		return err
	}
	e := evaluator{s: x.s, budget: maxResult}
	got, err := e.eval(collection)
	if err != nil {
		return fromParameters(name, err)
	}
	items, ok := got.([]any)
	if !ok {
		return wrong
	}
	for _, item := range items {
		if inner, ok := item.([]any); ok { // a list parameter among the elements
			for _, v := range inner {
				if err := x.turn(variable, v, body, l, put, wrong); err != nil {
					return err
				}
			}
			continue
		}
		if err := x.turn(variable, item, body, l, put, wrong); err != nil {
			return err
		}
	}
	return nil
}

// turn is a loop's body with one value of its variable.
func (x *extender) turn(variable string, item any, body map[string]any, l *local, put func(string, any) error, wrong error) error {
	value, ok := text(item)
	if !ok {
		return wrong
	}
	if err := x.spend(1); err != nil {
		return err
	}
	inner := &local{name: variable, value: value, outer: l}
	for _, key := range slices.Sorted(maps.Keys(body)) {
		if strings.HasPrefix(key, forEach) {
			if x.depth++; x.depth > 4*maxDepth {
				return errorf("Template error: Fn::ForEach is too deep")
			}
			err := x.loop(key, body[key], inner, put)
			x.depth--
			if err != nil {
				return err
			}
			continue
		}
		v, err := x.value(body[key], inner)
		if err != nil {
			return err
		}
		if err := put(inner.replace(key), v); err != nil {
			return err
		}
	}
	return nil
}

// function copies a function, evaluated where the transform does that.
func (x *extender) function(name string, arg any, l *local) (any, error) {
	if id, ok := arg.(string); ok && name == "Ref" {
		if v, ok := l.find(id); ok {
			return v, nil
		}
	}
	v, err := x.value(arg, l)
	if err != nil {
		return nil, err
	}
	switch name {
	case "Ref":
		if _, _, ok := function(v); ok {
			if v, err = x.constant(v, errorf("Template error: every Ref object must have a single String value.")); err != nil {
				return nil, err
			}
		}
	case "Fn::GetAtt":
		list, _ := v.([]any)
		for i := range list {
			if _, _, ok := function(list[i]); ok {
				if list[i], err = x.constant(list[i], errorf("Template error: every Fn::GetAtt object requires two non-empty parameters, the resource name and the resource attribute")); err != nil {
					return nil, err
				}
			}
		}
	case "Fn::Length":
		e := evaluator{s: x.s, budget: maxResult}
		got, err := e.function(name, v)
		if err != nil {
			return nil, fromParameters(name, err)
		}
		return got, nil
	}
	return map[string]any{name: v}, nil
}

// constant evaluates what has to be known before anything is made.
func (x *extender) constant(v any, wrong error) (string, error) {
	e := evaluator{s: x.s, budget: maxResult}
	s, err := e.text(v, wrong)
	if err != nil {
		return "", fromParameters("AWS::LanguageExtensions", err)
	}
	return s, nil
}

// fromParameters says of an unknown value why it may not be one.
func fromParameters(name string, err error) error {
	if _, ok := err.(*Error); ok { //nolint:errorlint // made by this package, never wrapped
		return err
	}
	return errorf("Template error: %s may only depend on parameters and mappings: %s", printable(name), fmt.Sprint(err))
}
