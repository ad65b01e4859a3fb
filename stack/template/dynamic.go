package template

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
)

// Reference is a dynamic reference: {{resolve:ssm:name:version}}.
type Reference struct {
	Name    string
	Version int64 // 0 is the latest
}

var (
	dynamic = regexp.MustCompile(`\{\{resolve:[^{}]*\}\}`)
	ssmName = regexp.MustCompile(`^[a-zA-Z0-9_.\-/]+$`)
)

// reference reads the text between the braces.
func reference(text string) (Reference, error) {
	service, rest, _ := strings.Cut(strings.TrimPrefix(text, "resolve:"), ":")
	if service != "ssm" {
		return Reference{}, errorf("Lamina does not offer dynamic references to %s, only to ssm: {{%s}}", printable(service), printable(text))
	}
	r := Reference{Name: rest}
	if name, version, ok := strings.Cut(rest, ":"); ok {
		n, err := strconv.ParseInt(version, 10, 64)
		if err != nil || n < 1 {
			return Reference{}, errorf("Incorrect format is used in the following SSM reference: [{{%s}}]", printable(text))
		}
		r.Name, r.Version = name, n
	}
	if !ssmName.MatchString(r.Name) {
		return Reference{}, errorf("Incorrect format is used in the following SSM reference: [{{%s}}]", printable(text))
	}
	return r, nil
}

// References are the dynamic references in a value. The error is an [*Error] for
// one of a service that is not offered.
func References(v any) ([]Reference, error) {
	var all []Reference
	_, err := Dereference(v, func(r Reference) (string, error) {
		all = append(all, r)
		return "", nil
	})
	return all, err
}

// Dereference is a resolved value with its dynamic references looked up. What a
// reference leads to is not searched again.
func Dereference(v any, look func(Reference) (string, error)) (any, error) {
	switch v := v.(type) {
	case string:
		if !strings.Contains(v, "{{resolve:") {
			return v, nil
		}
		var failed error
		out := dynamic.ReplaceAllStringFunc(v, func(found string) string {
			if failed != nil {
				return found
			}
			r, err := reference(strings.TrimSuffix(strings.TrimPrefix(found, "{{"), "}}"))
			if err == nil {
				found, err = look(r)
			}
			failed = err
			return found
		})
		if len(out) > maxResult {
			failed = cmp.Or(failed, errorf("Template error: a value comes to more than %d bytes", maxResult))
		}
		return out, failed
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, member := range v {
			got, err := Dereference(member, look)
			if err != nil {
				return nil, err
			}
			out[name] = got
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, member := range v {
			got, err := Dereference(member, look)
			if err != nil {
				return nil, err
			}
			out[i] = got
		}
		return out, nil
	}
	return v, nil
}
