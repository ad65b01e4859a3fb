package resources

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// properties are those of a resource, in the forms that the schema has.
type properties map[string]any

func (p properties) has(name string) bool { _, ok := p[name]; return ok }

func (p properties) str(name string) string {
	s, _ := p[name].(string)
	return s
}

func (p properties) int(name string) (int64, bool) {
	n, ok := p[name].(int64)
	return n, ok
}

// sub is an object, empty when there is none.
func (p properties) sub(name string) properties {
	m, _ := p[name].(map[string]any)
	return m
}

func (p properties) list(name string) []any {
	l, _ := p[name].([]any)
	return l
}

func (p properties) strings(name string) []string {
	var all []string
	for _, v := range p.list(name) {
		if s, ok := v.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

// objects are the objects of a list.
func (p properties) objects(name string) []properties {
	var all []properties
	for _, v := range p.list(name) {
		if m, ok := v.(map[string]any); ok {
			all = append(all, m)
		}
	}
	return all
}

// pick copies properties that are there.
func (p properties) pick(names ...string) map[string]any {
	out := map[string]any{}
	for _, name := range names {
		if v, ok := p[name]; ok {
			out[name] = v
		}
	}
	return out
}

// document is a policy, or another JSON document, as text.
func (p properties) document(name string) (string, error) { return documentText(p[name]) }

func documentText(v any) (string, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	text, err := marshal(v)
	return string(text), err
}

// changed reports whether a property is another than it was.
func (w *work) changed(name string) bool {
	a, had := w.old[name]
	b, has := w.in[name]
	return had != has || !equal(a, b)
}

// The tags by which resources are known to be a stack's.
const (
	tagStackID   = "aws:cloudformation:stack-id"
	tagStackName = "aws:cloudformation:stack-name"
	tagLogicalID = "aws:cloudformation:logical-id"
)

// tagsOf are the tags of a resource, those of its stack among them.
func tagsOf(p properties, stack map[string]string) map[string]string {
	all := maps.Clone(stack)
	if all == nil {
		all = map[string]string{}
	}
	switch tags := p["Tags"].(type) {
	case []any:
		for _, t := range p.objects("Tags") {
			all[t.str("Key")] = t.str("Value")
		}
	case map[string]any:
		for key := range tags {
			all[key] = properties(tags).str(key)
		}
	}
	return all
}

func (w *work) tags() map[string]string { return tagsOf(w.in, w.Stack.Tags) }

// allTags are the tags with those that say whose the resource is.
func (w *work) allTags() map[string]string {
	all := w.tags()
	all[tagStackID], all[tagStackName], all[tagLogicalID] = w.Stack.ID, w.Stack.Name, w.LogicalID
	return all
}

// tagChanges are what an update does to tags.
func (w *work) tagChanges() (set map[string]string, remove []string) {
	old := w.OldTags
	if old == nil {
		old = w.Stack.Tags
	}
	was, is := tagsOf(w.old, old), w.tags()
	set = map[string]string{}
	for key, value := range is {
		if before, had := was[key]; !had || before != value {
			set[key] = value
		}
	}
	for key := range was {
		if _, has := is[key]; !has {
			remove = append(remove, key)
		}
	}
	slices.Sort(remove)
	return set, remove
}

// ours reports whether tags say that a resource is the step's.
func (w *work) ours(tags map[string]string) bool {
	return tags[tagStackID] == w.Stack.ID && tags[tagLogicalID] == w.LogicalID
}

// generated is the name that CloudFormation gives a resource, with at most so many
// characters: what is too long of the stack's and the resource's names goes.
func (w *work) generated(most int) string {
	const random = 12
	stack, logical := w.Stack.Name, w.LogicalID
	room := most - random - 2
	if len(stack)+len(logical) > room {
		half := room / 2
		switch {
		case len(stack) <= half:
			logical = logical[:room-len(stack)]
		case len(logical) <= half:
			stack = stack[:room-len(logical)]
		default:
			stack, logical = stack[:half], logical[:half]
		}
	}
	return strings.TrimRight(stack, "-") + "-" + logical + "-" + w.Seed
}

// name is the one that the template gives, or a generated one.
func (w *work) name(property string, most int) (name string, given bool) {
	if name := w.in.str(property); name != "" {
		return name, true
	}
	return w.generated(most), false
}

// marshal is json.Marshal without escapes for HTML.
func marshal(v any) ([]byte, error) {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(out.String(), "\n")), nil
}
