package lamina

import (
	"encoding/json"
	"fmt"
)

// Policy is the resource policy of a layer version, a function, a version or an
// alias: statements in the order they were added, and a revision of its own.
type Policy struct {
	Resource   string // ARN that the policy is attached to
	RevisionID string
	Statements []Statement
}

// Statement is one permission. Its JSON is the text that AWS answers with:
// members in this order, Condition only when there is one.
type Statement struct {
	Sid       string
	Effect    string
	Principal Principal
	Action    string
	Resource  string
	Condition map[string]map[string]string `json:",omitempty"`
}

// Principal is who a statement is about: everyone, or one value of one kind.
type Principal struct {
	Kind  string // AWS or Service; empty for everyone
	Value string
}

// MarshalJSON writes "*" or {"AWS": …}, as policies spell principals.
func (p Principal) MarshalJSON() ([]byte, error) {
	if p.Kind == "" {
		return json.Marshal(p.Value)
	}
	return json.Marshal(map[string]string{p.Kind: p.Value})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *Principal) UnmarshalJSON(data []byte) error {
	var everyone string
	if json.Unmarshal(data, &everyone) == nil {
		*p = Principal{Value: everyone}
		return nil
	}
	var one map[string]string
	if err := json.Unmarshal(data, &one); err != nil || len(one) != 1 {
		return fmt.Errorf("parse principal %s: want a string or one member", data)
	}
	for kind, value := range one {
		*p = Principal{Kind: kind, Value: value}
	}
	return nil
}

// Document returns the policy as GetPolicy answers it.
func (p Policy) Document() (string, error) {
	data, err := json.Marshal(struct {
		Version   string
		ID        string `json:"Id"`
		Statement []Statement
	}{"2012-10-17", "default", p.Statements})
	if err != nil {
		return "", fmt.Errorf("write policy of %s: %w", p.Resource, err)
	}
	return string(data), nil
}

// Find returns the statement with an identifier.
func (p Policy) Find(sid string) (Statement, bool) {
	for _, s := range p.Statements {
		if s.Sid == sid {
			return s, true
		}
	}
	return Statement{}, false
}

// Without returns the statements but the one with an identifier.
func (p Policy) Without(sid string) []Statement {
	var rest []Statement
	for _, s := range p.Statements {
		if s.Sid != sid {
			rest = append(rest, s)
		}
	}
	return rest
}
