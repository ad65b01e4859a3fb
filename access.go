package lamina

import "strings"

// Access is a request as a resource policy sees it.
type Access struct {
	Action string // such as lambda:InvokeFunctionUrl
	// ARN and Account are of who asks; both are empty for a stranger.
	ARN, Account string
	// Context has the values of condition keys, the keys in lower case. Keys that
	// the request has no value for are absent.
	Context map[string]string
}

// Allows reports whether one of the policy's statements allows the access. A
// condition that Lamina does not know, or whose key has no value, is not met.
func (p Policy) Allows(a Access) bool {
	for _, s := range p.Statements {
		if s.Effect == "Allow" && s.Principal.covers(a) && actionMatches(s.Action, a.Action) && met(s.Condition, a.Context) {
			return true
		}
	}
	return false
}

func (p Principal) covers(a Access) bool {
	switch {
	case p.Kind == "" || p.Kind == "AWS" && p.Value == "*":
		return p.Value == "*"
	case p.Kind != "AWS" || a.Account == "":
		return false
	}
	return p.Value == a.ARN || p.Value == a.Account || p.Value == "arn:"+Partition+":iam::"+a.Account+":root"
}

func actionMatches(pattern, action string) bool {
	return pattern == "*" || strings.EqualFold(pattern, "lambda:*") || strings.EqualFold(pattern, action)
}

func met(conditions map[string]map[string]string, values map[string]string) bool {
	for operator, keys := range conditions {
		for key, want := range keys {
			got, ok := values[strings.ToLower(key)]
			if !ok {
				return false
			}
			switch operator {
			case "StringEquals":
				ok = got == want
			case "Bool":
				ok = strings.EqualFold(got, want)
			default:
				ok = false
			}
			if !ok {
				return false
			}
		}
	}
	return true
}
