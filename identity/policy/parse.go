package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Rules are what a document must keep to, besides the language.
type Rules struct {
	Kind DocumentKind
	// Limit is the most characters other than white space that the text may have.
	// 0 means MaxText.
	Limit int
	// SecondVersion demands "Version": "2012-10-17", as IAM does of managed
	// policies. Elsewhere a document without a version is of the first.
	SecondVersion bool
}

// What no document may exceed, whatever the rules.
const (
	// MaxText is the length of a text in bytes, white space included.
	MaxText = 131072
	// MaxStatements is the number of statements of a document. AWS's quotas of
	// size leave room for half as many.
	MaxStatements = 1000
)

// Malformed is an error of a document. Its text is what IAM answers with
// MalformedPolicyDocument.
type Malformed struct{ Text string }

func (m *Malformed) Error() string { return m.Text }

// TooLarge says which limit a document exceeds: characters, or statements.
type TooLarge struct {
	What  string
	Limit int
}

func (t *TooLarge) Error() string {
	return fmt.Sprintf("the policy has more than %d %s", t.Limit, t.What)
}

func malformed(format string, args ...any) error { return &Malformed{fmt.Sprintf(format, args...)} }

// The texts that several rules share.
const (
	textSyntax       = "Syntax errors in policy."
	textJSON         = "This policy contains invalid Json"
	textLegacy       = "The policy failed legacy parsing"
	textNoPrincipal  = "Missing required field Principal"
	textNoActions    = "Policy statement must contain actions."
	textNoResources  = "Policy statement must contain resources."
	textNoPrincipals = "Policy document should not specify a principal."
)

// Effects.
const (
	allow = "Allow"
	deny  = "Deny"
)

// Parse compiles the text of a policy. Errors are [Malformed] or [TooLarge].
//
// A text of n bytes takes time and memory in proportion to n, whatever it says.
func Parse(text string, rules Rules) (*Document, error) {
	limit := rules.Limit
	if limit == 0 {
		limit = MaxText
	}
	switch {
	case len(text) > MaxText:
		return nil, &TooLarge{"characters", min(limit, MaxText)}
	case Size(text) > limit:
		return nil, &TooLarge{"characters", limit}
	case !utf8.ValidString(text) || !json.Valid([]byte(text)):
		return nil, malformed(textJSON)
	}
	r := newReader(text, rules.Kind)
	doc, err := r.document()
	if err != nil {
		return nil, err
	}
	if err := doc.check(rules); err != nil {
		return nil, err
	}
	return doc.compile(rules.Kind), nil
}

// source is a document as it was written.
type sourceDocument struct {
	version    string
	statements []sourceStatement
}

// list is one string or several. It is nil when the element is absent.
type list []string

type sourceStatement struct {
	sid, effect             string
	action, notAction       list
	resource, notResource   list
	principal, notPrincipal *sourcePrincipal
	conditions              []sourceCondition
}

// sourcePrincipal has pairs of a type and a name. {"AWS": …} and "*" are the same.
type sourcePrincipal struct{ pairs [][2]string }

type sourceCondition struct {
	operator operator
	key      string
	values   list
}

// reader walks through JSON that is known to be valid. It goes no deeper than a
// policy does: what is nested further ends the walk.
type reader struct {
	json *json.Decoder
	kind DocumentKind
}

func newReader(text string, kind DocumentKind) *reader {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	return &reader{d, kind}
}

func (r *reader) syntax() error { return malformed(textSyntax) }

// unknown is the error of an element that the language does not have here.
func (r *reader) unknown(name string) error {
	if r.kind == Trust {
		return malformed("Unknown field %.128s", name)
	}
	return r.syntax()
}

// next reads a token. Valid JSON never fails here.
func (r *reader) next() json.Token {
	t, err := r.json.Token()
	if err != nil {
		return nil
	}
	return t
}

// object reads an object's members, the opening brace being the next token or
// already read. A name that comes twice is an error.
func (r *reader) object(open json.Token, member func(name string) error) error {
	if open != json.Delim('{') {
		return r.syntax()
	}
	seen := map[string]bool{}
	for r.json.More() {
		name, _ := r.next().(string)
		if seen[name] {
			return r.syntax()
		}
		seen[name] = true
		if err := member(name); err != nil {
			return err
		}
	}
	r.next()
	return nil
}

func (r *reader) string() (string, error) {
	s, ok := r.next().(string)
	if !ok {
		return "", r.syntax()
	}
	return s, nil
}

// strings reads a string or an array of them. Where scalars may stand, numbers
// and booleans are their text.
func (r *reader) strings(scalars bool) (list, error) {
	text := func(t json.Token) (string, bool) {
		switch t := t.(type) {
		case string:
			return t, true
		case json.Number:
			return t.String(), scalars
		case bool:
			return fmt.Sprint(t), scalars
		}
		return "", false
	}
	first := r.next()
	if s, ok := text(first); ok {
		return list{s}, nil
	}
	if first != json.Delim('[') {
		return nil, r.syntax()
	}
	all := list{}
	for r.json.More() {
		s, ok := text(r.next())
		if !ok {
			return nil, r.syntax()
		}
		all = append(all, s)
	}
	r.next()
	return all, nil
}

func (r *reader) document() (*sourceDocument, error) {
	doc := &sourceDocument{}
	found := false
	err := r.object(r.next(), func(name string) (err error) {
		switch name {
		case "Version":
			doc.version, err = r.string()
			if err == nil && doc.version != firstVersion && doc.version != secondVersion {
				err = malformed("The policy must contain a valid version string")
			}
		case "Id":
			_, err = r.string()
		case "Statement":
			found = true
			err = r.statements(doc)
		default:
			err = r.unknown(name)
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case found && len(doc.statements) > 0:
		return doc, nil
	case r.kind == Trust:
		return nil, malformed("Could not parse the policy: Statement is empty!")
	}
	return nil, r.syntax()
}

func (r *reader) statements(doc *sourceDocument) error {
	add := func(open json.Token) error {
		if len(doc.statements) == MaxStatements {
			return &TooLarge{"statements", MaxStatements}
		}
		s, err := r.statement(open)
		doc.statements = append(doc.statements, s)
		return err
	}
	first := r.next()
	if first != json.Delim('[') {
		return add(first)
	}
	for r.json.More() {
		if err := add(r.next()); err != nil {
			return err
		}
	}
	r.next()
	return nil
}

func (r *reader) statement(open json.Token) (s sourceStatement, err error) {
	err = r.object(open, func(name string) (err error) {
		switch name {
		case "Sid":
			s.sid, err = r.string()
		case "Effect":
			s.effect, err = r.string()
		case "Principal":
			s.principal, err = r.principal()
		case "NotPrincipal":
			s.notPrincipal, err = r.principal()
		case "Action":
			s.action, err = r.strings(false)
		case "NotAction":
			s.notAction, err = r.strings(false)
		case "Resource":
			s.resource, err = r.strings(false)
		case "NotResource":
			s.notResource, err = r.strings(false)
		case "Condition":
			s.conditions, err = r.conditions()
		default:
			err = r.unknown(name)
		}
		return err
	})
	if err == nil && (s.action != nil && s.notAction != nil || s.resource != nil && s.notResource != nil || s.principal != nil && s.notPrincipal != nil) {
		err = r.syntax()
	}
	return s, err
}

func (r *reader) principal() (*sourcePrincipal, error) {
	p := &sourcePrincipal{}
	open := r.next()
	if s, ok := open.(string); ok {
		if s != "*" {
			return nil, r.badPrincipal("AWS", s)
		}
		p.pairs = [][2]string{{"AWS", s}}
		return p, nil
	}
	err := r.object(open, func(kind string) error {
		if !slices.Contains([]string{"AWS", "Service", "Federated", "CanonicalUser"}, kind) {
			if r.kind == Trust {
				return malformed("Invalid principal in policy: %.128q", kind)
			}
			return r.syntax()
		}
		names, err := r.strings(false)
		for _, name := range names {
			p.pairs = append(p.pairs, [2]string{kind, name})
		}
		return err
	})
	return p, err
}

func (r *reader) badPrincipal(kind, name string) error {
	return malformed(`Invalid principal in policy: %q:%.256q`, kind, name)
}

func (r *reader) conditions() ([]sourceCondition, error) {
	var all []sourceCondition
	err := r.object(r.next(), func(name string) error {
		o, known := parseOperator(name)
		return r.object(r.next(), func(key string) error {
			// IAM takes an operator that it does not know, as long as there is
			// nothing below it.
			if !known {
				return r.syntax()
			}
			values, err := r.strings(true)
			all = append(all, sourceCondition{o, key, values})
			return err
		})
	})
	return all, err
}
