package template

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Pseudo are the pseudo parameters.
type Pseudo struct {
	AccountID        string
	Region           string
	Partition        string
	URLSuffix        string
	StackID          string
	StackName        string
	NotificationARNs []string
}

// Scope is a template with values for its parameters. It may be used by many
// goroutines at once when its functions may, and those are not set meanwhile.
type Scope struct {
	// Ref and GetAtt tell of a resource that the template has and whose condition
	// holds. They return [ErrUnknown] when it is not made yet, and an [*Error] for an
	// attribute that it does not have. Nil is ErrUnknown for all.
	Ref    func(logicalID string) (any, error)
	GetAtt func(logicalID, attribute string) (any, error)

	// Import returns the value of an export of another stack. Nil is ErrUnknown.
	Import func(name string) (any, error)

	t          *Template
	parameters map[string]string
	pseudo     Pseudo
	conditions map[string]bool
	deciding   bool // conditions are being evaluated
}

// Scope evaluates the conditions of a template and holds its rules. The parameters
// are those of [Template.Values], with the values that SSM types led to; one that
// is missing is not known. The error is an [*Error], or [ErrUnknown] when a
// condition depends on a parameter that is not known.
func (t *Template) Scope(parameters map[string]string, pseudo Pseudo) (*Scope, error) {
	s := &Scope{t: t, parameters: parameters, pseudo: pseudo, conditions: make(map[string]bool, len(t.Conditions)), deciding: true}
	for _, name := range slices.Sorted(maps.Keys(t.Conditions)) {
		if _, err := s.condition(name); err != nil {
			return nil, err
		}
	}
	if err := s.assert(); err != nil {
		return nil, err
	}
	s.deciding = false
	return s, nil
}

// condition returns whether a condition holds. Read has made sure that none needs
// itself.
func (s *Scope) condition(name string) (bool, error) {
	if holds, done := s.conditions[name]; done {
		return holds, nil
	}
	v, ok := s.t.Conditions[name]
	if !ok || !s.deciding {
		return false, errorf("Template error: unresolved condition dependency %s in Fn::If", printable(name))
	}
	e := evaluator{s: s, budget: maxResult}
	got, err := e.eval(v)
	if err != nil {
		return false, err
	}
	holds, ok := got.(bool)
	if !ok {
		return false, formatError("Conditions can only be boolean operations on parameters and other conditions")
	}
	s.conditions[name] = holds
	return holds, nil
}

// assert holds the rules.
func (s *Scope) assert() error {
	var failed []string
	for _, name := range slices.Sorted(maps.Keys(s.t.Rules)) {
		rule := s.t.Rules[name]
		holds := func(v any) (bool, error) {
			e := evaluator{s: s, budget: maxResult}
			got, err := e.eval(v)
			if err != nil {
				return false, err
			}
			b, ok := got.(bool)
			if !ok {
				return false, formatError("[/Rules/%s] Rules can only be boolean operations on parameters.", name)
			}
			return b, nil
		}
		if rule.Condition != nil {
			if applies, err := holds(rule.Condition); err != nil {
				return err
			} else if !applies {
				continue
			}
		}
		for _, a := range rule.Assertions {
			ok, err := holds(a.Assert)
			if err != nil {
				return err
			}
			if !ok {
				failed = append(failed, fmt.Sprintf("(%s) %s", name, a.Description))
			}
		}
	}
	if len(failed) > 0 {
		return errorf("Template error: Following Rules are not satisfied: %s", strings.Join(failed, ", "))
	}
	return nil
}

// Condition reports whether a condition holds; the empty one does.
func (s *Scope) Condition(name string) bool { return name == "" || s.conditions[name] }

// Active are the logical IDs of the resources whose conditions hold, sorted.
func (s *Scope) Active() []string {
	var all []string
	for id, res := range s.t.Resources {
		if s.Condition(res.Condition) {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return all
}

// made refuses a reference to what is no resource, or has a condition that does
// not hold.
func (s *Scope) made(id string) error {
	if res, ok := s.t.Resources[id]; !ok || !s.Condition(res.Condition) {
		return formatError("Unresolved resource dependencies [%s] in the Resources block of the template", printable(id))
	}
	return nil
}

// Resolve evaluates all functions in a value. Members and elements that are
// AWS::NoValue are left out; a value that is itself AWS::NoValue becomes nil. The
// error is an [*Error], or [ErrUnknown], or of the Scope's functions.
func (s *Scope) Resolve(v any) (any, error) { return s.resolve(v, false) }

// Preview is Resolve, but functions whose value is not known yet stay as they are:
// maps of one key.
func (s *Scope) Preview(v any) (any, error) { return s.resolve(v, true) }

func (s *Scope) resolve(v any, preview bool) (any, error) {
	e := evaluator{s: s, preview: preview, budget: maxResult}
	got, err := e.eval(v)
	if _, none := got.(noValue); none {
		got = nil
	}
	return got, err
}

// Properties are the resolved properties of a resource, never nil.
func (s *Scope) Properties(logicalID string) (map[string]any, error) {
	return s.properties(logicalID, false)
}

// PreviewProperties are the properties of a resource as [Scope.Preview] has them.
func (s *Scope) PreviewProperties(logicalID string) (map[string]any, error) {
	return s.properties(logicalID, true)
}

func (s *Scope) properties(id string, preview bool) (map[string]any, error) {
	e := evaluator{s: s, preview: preview, budget: maxResult}
	out := make(map[string]any, len(s.t.Resources[id].Properties))
	for name, v := range s.t.Resources[id].Properties {
		got, err := e.eval(v)
		if err != nil {
			return nil, err
		}
		if _, none := got.(noValue); !none {
			out[name] = got
		}
	}
	return out, nil
}

// Dependencies are the resources that have to be there before one, sorted: those
// it names in DependsOn and those that its properties and its metadata refer to, in
// branches of Fn::If that are taken. The error is an [*Error] for one whose condition does not
// hold.
func (s *Scope) Dependencies(logicalID string) ([]string, error) {
	found := map[string]bool{}
	res := s.t.Resources[logicalID]
	for _, on := range res.DependsOn {
		found[on] = true
	}
	for _, v := range []map[string]any{res.Properties, res.UpdatePolicy, res.Metadata} {
		for _, member := range v {
			if err := s.references(member, found); err != nil {
				return nil, err
			}
		}
	}
	if err := s.present(found, "Template format error: Unresolved resource dependencies %s in the Resources block of the template"); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// present refuses references to resources whose conditions do not hold.
func (s *Scope) present(found map[string]bool, message string) error {
	missing := map[string]bool{}
	for id := range found {
		if res, ok := s.t.Resources[id]; !ok || !s.Condition(res.Condition) {
			missing[id] = true
		}
	}
	if len(missing) > 0 {
		return errorf(message, names(missing))
	}
	return nil
}

// references collects the resources that a value refers to.
func (s *Scope) references(v any, found map[string]bool) error {
	name, arg, ok := function(v)
	switch {
	case !ok:
	case name == "Ref":
		if id, _ := arg.(string); s.t.Resources[id].Type != "" {
			found[id] = true
		}
		return nil
	case name == "Fn::GetAtt":
		if id, attribute, ok := attributeOf(arg); ok {
			found[id] = true
			return s.references(attribute, found)
		}
		return nil
	case name == "Fn::If":
		if list, ok := arg.([]any); ok && len(list) == 3 {
			id, _ := list[0].(string)
			holds, err := s.condition(id)
			if err != nil {
				return err
			}
			if holds {
				return s.references(list[1], found)
			}
			return s.references(list[2], found)
		}
		return nil
	case name == "Fn::Sub":
		text, variables, ok := subArguments(arg)
		if !ok {
			return nil
		}
		parts, err := parseSub(text)
		if err != nil {
			return err
		}
		for _, p := range parts {
			if _, local := variables[p.name]; local {
				continue
			}
			if id, _, _ := strings.Cut(p.name, "."); s.t.Resources[id].Type != "" {
				found[id] = true
			}
		}
		for _, member := range variables {
			if err := s.references(member, found); err != nil {
				return err
			}
		}
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		for _, member := range v {
			if err := s.references(member, found); err != nil {
				return err
			}
		}
	case []any:
		for _, member := range v {
			if err := s.references(member, found); err != nil {
				return err
			}
		}
	}
	return nil
}

// Graph are the dependencies of every active resource. The error is an [*Error]
// when resources need each other, or something needs a resource whose condition
// does not hold.
func (s *Scope) Graph() (map[string][]string, error) {
	graph := map[string][]string{}
	for _, id := range s.Active() {
		on, err := s.Dependencies(id)
		if err != nil {
			return nil, err
		}
		graph[id] = on
	}
	if cycle := circle(graph); len(cycle) > 0 {
		return nil, errorf("Circular dependency between resources: [%s]", strings.Join(cycle, ", "))
	}
	found := map[string]bool{}
	for _, o := range s.t.Outputs {
		if !s.Condition(o.Condition) {
			continue
		}
		for _, v := range []any{o.Value, o.Export} {
			if err := s.references(v, found); err != nil {
				return nil, err
			}
		}
	}
	if err := s.present(found, "Unresolved resource dependencies %s in the Outputs block of the template"); err != nil {
		return nil, err
	}
	return graph, nil
}

// circle returns the nodes that are on a circle, sorted.
func circle(graph map[string][]string) []string {
	// Tarjan's algorithm; the depth is that of the longest path, at most one per node.
	index, low := map[string]int{}, map[string]int{}
	onStack := map[string]bool{}
	var stack, found []string
	var visit func(n string)
	visit = func(n string) {
		index[n] = len(index) + 1
		low[n] = index[n]
		stack = append(stack, n)
		onStack[n] = true
		for _, m := range graph[n] {
			if index[m] == 0 {
				visit(m)
				low[n] = min(low[n], low[m])
			} else if onStack[m] {
				low[n] = min(low[n], index[m])
			}
		}
		if low[n] != index[n] {
			return
		}
		i := slices.Index(stack, n)
		if members := stack[i:]; len(members) > 1 || slices.Contains(graph[n], n) {
			found = append(found, members...)
		}
		for _, m := range stack[i:] {
			onStack[m] = false
		}
		stack = stack[:i]
	}
	for _, n := range slices.Sorted(maps.Keys(graph)) {
		if index[n] == 0 {
			visit(n)
		}
	}
	slices.Sort(found)
	return found
}
