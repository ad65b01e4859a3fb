package policy

import (
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/lamina-run/lamina"
)

// DocumentKind is what a document is attached to, and so what its statements must
// have and must not have.
type DocumentKind uint8

// The kinds of documents.
const (
	// Identity documents are the policies of users, groups and roles, permissions
	// boundaries, session policies and service control policies. They name
	// resources and no principals.
	Identity DocumentKind = iota
	// Resource documents are attached to a function, a layer version or a bucket.
	// They name principals and resources.
	Resource
	// Trust documents say who may assume a role. They name principals and no
	// resources.
	Trust
)

// Document is a compiled policy. It never changes, so that many may use it at
// once.
type Document struct {
	kind       DocumentKind
	statements []statement
}

// statement is one of a document's statements, ready to be matched.
type statement struct {
	deny        bool
	notAction   bool
	notResource bool
	actions     actions
	resources   []pattern   // nil for every resource
	who         *principals // nil in documents that name nobody
	conditions  []condition
}

// The versions of the policy language. Only the second has variables.
const (
	firstVersion  = "2008-10-17"
	secondVersion = "2012-10-17"
)

// FromPolicy compiles the permissions of a function or a layer version. Their text
// was checked when they were added; a statement that is not understood all the same
// permits nothing.
func FromPolicy(p lamina.Policy) *Document {
	d := &Document{kind: Resource, statements: make([]statement, 0, len(p.Statements))}
	for i := range p.Statements {
		if s, ok := fromStatement(&p.Statements[i]); ok {
			d.statements = append(d.statements, s)
		}
	}
	return d
}

func fromStatement(s *lamina.Statement) (statement, bool) {
	if s.Effect != allow && s.Effect != deny {
		return statement{}, false
	}
	out := statement{
		deny:      s.Effect == deny,
		actions:   actions{classify(encode(s.Action))},
		resources: []pattern{compileResource(s.Resource, true)},
		who:       &principals{},
	}
	kind := s.Principal.Kind
	if kind == "" {
		if s.Principal.Value != "*" {
			return statement{}, false
		}
		kind = "AWS"
	}
	if !out.who.add(kind, s.Principal.Value) {
		return statement{}, false
	}
	for _, name := range slices.Sorted(maps.Keys(s.Condition)) {
		o, ok := parseOperator(name)
		if !ok {
			return statement{}, false
		}
		for _, key := range slices.Sorted(maps.Keys(s.Condition[name])) {
			out.conditions = append(out.conditions, newCondition(o, key, []string{s.Condition[name][key]}, true))
		}
	}
	return out, true
}

// Mentions reports whether a condition or a variable of the document asks for a
// condition key that begins with a prefix, such as aws:ResourceTag/.
func (d *Document) Mentions(prefix string) bool {
	prefix = strings.ToLower(prefix)
	asks := func(k key) bool { return strings.HasPrefix(k.name, prefix) }
	varies := func(p pattern) bool {
		return slices.ContainsFunc(p.parts, func(part part) bool { return asks(part.key) })
	}
	for i := range d.statements {
		s := &d.statements[i]
		if slices.ContainsFunc(s.resources, varies) {
			return true
		}
		for j := range s.conditions {
			c := &s.conditions[j]
			if asks(c.key) || slices.ContainsFunc(c.operands, func(o operand) bool { return varies(o.pattern) }) {
				return true
			}
		}
	}
	return false
}

// Size is the length of a document as AWS's quotas count it, in characters other
// than white space.
func Size(text string) int {
	n := 0
	for _, r := range text {
		if !unicode.IsSpace(r) {
			n++
		}
	}
	return n
}
