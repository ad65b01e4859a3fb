package sam

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// longestText bounds what substitutions make of a string.
const longestText = 1 << 20

// walk replaces calls of Ref, Fn::Sub and Fn::GetAtt by what replace makes of
// them, in place, from the outside in, as the translator does: what a call became
// is walked too.
func walk(v any, replace func(function string, call map[string]any) (any, error)) (any, error) {
	if name, _, ok := single(v); ok && (name == "Ref" || name == "Fn::Sub" || name == "Fn::GetAtt") {
		var err error
		if v, err = replace(name, v.(map[string]any)); err != nil {
			return nil, err
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			value, err := walk(v[name], replace)
			if err != nil {
				return nil, err
			}
			v[name] = value
		}
	case []any:
		for i, one := range v {
			value, err := walk(one, replace)
			if err != nil {
				return nil, err
			}
			v[i] = value
		}
	}
	return v, nil
}

// parameters replaces references to parameters whose values are known by these
// values. What has maps in it is changed, as the translator changes it: some of
// it is put out afterwards.
func (t *transform) parameters(v any) (any, error) {
	return walk(v, func(function string, call map[string]any) (any, error) {
		switch function {
		case "Ref":
			if name, ok := call["Ref"].(string); ok {
				if value, ok := t.values[name]; ok {
					return value, nil
				}
			}
		case "Fn::Sub":
			return substituted(call, func(whole, name string) (string, error) {
				value, ok := t.values[name]
				if !ok {
					return whole, nil
				}
				text, ok := value.(string)
				if !ok {
					return "", document(templatef("Invalid Fn::Sub variable value %s. Fn::Sub expects all variables to be strings.", spell(value)))
				}
				return text, nil
			})
		}
		return call, nil
	})
}

var substitution = regexp.MustCompile(`\$\{([A-Za-z0-9.]+|AWS::[A-Z][A-Za-z]*)\}`)

// substituted replaces the ${} of a call of Fn::Sub.
func substituted(call map[string]any, replace func(whole, name string) (string, error)) (any, error) {
	change := func(text string) (string, error) {
		out := text
		for _, found := range substitution.FindAllStringSubmatch(text, -1) {
			value, err := replace(found[0], found[1])
			if err != nil {
				return "", err
			}
			if value == found[0] {
				continue
			}
			if out = strings.Replace(out, found[0], value, 1); len(out) > longestText {
				return "", document(templatef("A Fn::Sub makes a text of more than %d characters.", longestText))
			}
		}
		return out, nil
	}
	var err error
	switch of := call["Fn::Sub"].(type) {
	case string:
		call["Fn::Sub"], err = change(of)
	case []any:
		if len(of) > 0 {
			if text, ok := of[0].(string); ok {
				of[0], err = change(text)
			}
		}
	}
	return call, err
}

// renamed follows resources whose logical IDs the transform changed.
func renamed(v any, ids map[string]string) (any, error) {
	if len(ids) == 0 {
		return v, nil
	}
	return walk(v, func(function string, call map[string]any) (any, error) {
		switch function {
		case "Ref":
			if name, ok := call["Ref"].(string); ok && ids[name] != "" {
				return ref(ids[name]), nil
			}
		case "Fn::Sub":
			return substituted(call, func(whole, name string) (string, error) {
				id, _, _ := strings.Cut(name, ".")
				if ids[id] == "" {
					return whole, nil
				}
				return strings.ReplaceAll(whole, id, ids[id]), nil
			})
		case "Fn::GetAtt":
			if parts := attribute(call["Fn::GetAtt"]); parts != nil && ids[parts[0].(string)] != "" {
				parts[0] = ids[parts[0].(string)]
				call["Fn::GetAtt"] = parts
			}
		}
		return call, nil
	})
}

// properties follows references to what a resource of SAM's made, such as
// Function.Alias. The keys of made are the logical ID and the property.
func properties(v any, made map[[2]string]string) (any, error) {
	if len(made) == 0 {
		return v, nil
	}
	return walk(v, func(function string, call map[string]any) (any, error) {
		switch function {
		case "Ref":
			if text, ok := call["Ref"].(string); ok {
				id, property, _ := strings.Cut(text, ".")
				if to := made[[2]string{id, property}]; to != "" {
					return ref(to), nil
				}
			}
		case "Fn::Sub":
			return substituted(call, func(whole, name string) (string, error) {
				parts := strings.Split(name, ".")
				if len(parts) < 2 || made[[2]string{parts[0], parts[1]}] == "" {
					return whole, nil
				}
				return strings.ReplaceAll(whole, parts[0]+"."+parts[1], made[[2]string{parts[0], parts[1]}]), nil
			})
		case "Fn::GetAtt":
			if parts := attribute(call["Fn::GetAtt"]); len(parts) >= 2 {
				if to := made[[2]string{parts[0].(string), parts[1].(string)}]; to != "" {
					call["Fn::GetAtt"] = append([]any{to}, parts[2:]...)
				}
			}
		}
		return call, nil
	})
}

// attribute splits the arguments of an Fn::GetAtt at every dot. It returns nil
// for what is not a list of two strings or more.
func attribute(of any) []any {
	list, ok := of.([]any)
	if !ok || len(list) < 2 {
		return nil
	}
	var parts []any
	for _, one := range list {
		text, ok := one.(string)
		if !ok {
			return nil
		}
		for part := range strings.SplitSeq(text, ".") {
			parts = append(parts, part)
		}
	}
	return parts
}

// dependsOn follows renamed resources in every DependsOn.
func dependsOn(v any, ids map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		switch on := v["DependsOn"].(type) {
		case string:
			if ids[on] != "" {
				v["DependsOn"] = ids[on]
			}
		case []any:
			for i, one := range on {
				if text, ok := one.(string); ok && ids[text] != "" {
					on[i] = ids[text]
				}
			}
		}
		for _, value := range v {
			dependsOn(value, ids)
		}
	case []any:
		for _, value := range v {
			dependsOn(value, ids)
		}
	}
}

// mapped replaces an Fn::FindInMap of the template's own mappings by its value.
func (t *transform) mapped(v any) (any, error) {
	name, of, ok := single(v)
	if !ok || name != "Fn::FindInMap" {
		switch v := v.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				value, err := t.mapped(v[name])
				if err != nil {
					return nil, err
				}
				v[name] = value
			}
		case []any:
			for i, one := range v {
				value, err := t.mapped(one)
				if err != nil {
					return nil, err
				}
				v[i] = value
			}
		}
		return v, nil
	}
	args, ok := of.([]any)
	if !ok || len(args) != 3 {
		return nil, document(templatef("Invalid FindInMap value %s. FindInMap expects an array with 3 values.", spell(of)))
	}
	var at any = t.mappings
	for _, arg := range args {
		key, err := t.mapped(arg)
		if err != nil {
			return nil, err
		}
		text, ok := key.(string)
		if !ok {
			return v, nil
		}
		level, ok := at.(map[string]any)
		if !ok {
			return nil, document(templatef("Cannot use Fn::FindInMap on Mapping '%s' which is not a a two-level map.", spell(args[0])))
		}
		if at, ok = level[text]; !ok {
			return v, nil
		}
	}
	return at, nil
}
