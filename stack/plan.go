package stack

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/lamina-run/lamina/stack/resources"
	"github.com/lamina-run/lamina/stack/template"
	"github.com/lamina-run/lamina/store"
)

// knownAfter takes the place of values that only the change itself can tell.
const knownAfter = "{{changeSet:KNOWN_AFTER_APPLY}}"

// plan is what an update changes.
type plan struct {
	Changes []Change
	outputs bool // change, too
	tags    bool // of the stack
}

func (p *plan) empty() bool { return len(p.Changes) == 0 && !p.outputs && !p.tags }

// plan computes what it changes when a stack becomes what the deployment says.
func (e *Engine) plan(ctx context.Context, s store.Stack, d *deployment) (*plan, error) {
	var rows []store.StackResource
	var source store.StackTemplate
	err := e.o.Store.View(ctx, func(tx *store.Tx) (err error) {
		if rows, err = tx.StackResources(ctx, s.ID); err != nil || s.Template == "" {
			return err
		}
		source, err = tx.StackTemplate(ctx, s.ID, s.Template)
		return err
	})
	if err != nil {
		return nil, err
	}
	b := planner{e: e, s: s, d: d, live: map[string]store.StackResource{}, changes: map[string]Change{}, plan: &plan{}}
	for _, row := range rows {
		if row.Standing == store.StackLive && row.Status != deleteComplete {
			b.live[row.LogicalID] = row
		}
	}
	if s.Template != "" {
		if b.before, err = read(s, s.Deployment, source); err != nil {
			b.before = nil // an earlier release may have understood it
		}
	}
	return b.plan, b.run(ctx)
}

type planner struct {
	e       *Engine
	s       store.Stack
	d       *deployment
	before  *deployment // nil when the stack has none
	live    map[string]store.StackResource
	changes map[string]Change
	plan    *plan
	scope   template.Scope
	masked  template.Scope
}

func (b *planner) run(ctx context.Context) error {
	b.scope, b.masked = *b.d.scope, *b.d.masked
	imports := func(name string) (any, error) {
		var found store.StackExport
		err := b.e.o.Store.View(ctx, func(tx *store.Tx) (err error) {
			found, err = tx.StackExport(ctx, b.s.Scope, name)
			return err
		})
		if missing(err) {
			return nil, Validation.New(noExport(name))
		}
		return found.Value, err
	}
	b.scope.Import, b.masked.Import = imports, imports
	b.scope.Ref, b.masked.Ref = b.ref, b.ref
	b.scope.GetAtt = func(id, name string) (any, error) { return b.attribute(id, name, false) }
	b.masked.GetAtt = func(id, name string) (any, error) { return b.attribute(id, name, true) }
	for _, id := range inOrder(b.d.graph) {
		if err := b.resource(id); err != nil {
			return refuse(err)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(b.live)) {
		row := b.live[id]
		if _, stays := b.d.graph[id]; stays {
			continue
		}
		c := Change{Action: "Remove", LogicalID: id, PhysicalID: row.PhysicalID, Type: row.Type, Policy: "Delete", Before: shownContext(row.StackResourceState)}
		if retains(row.DeletionPolicy) {
			c.Policy = "Retain"
		}
		b.changes[id] = c
	}
	for _, id := range slices.Sorted(maps.Keys(b.changes)) {
		b.plan.Changes = append(b.plan.Changes, b.changes[id])
	}
	b.plan.tags = b.before != nil && !maps.Equal(b.s.Tags, b.d.Tags)
	return b.outputs()
}

// inOrder sorts a graph so that what is needed comes first.
func inOrder(graph map[string][]string) []string {
	var all []string
	seen := map[string]bool{}
	var visit func(id string)
	visit = func(id string) {
		if seen[id] {
			return
		}
		seen[id] = true
		for _, on := range graph[id] {
			visit(on)
		}
		all = append(all, id)
	}
	for _, id := range slices.Sorted(maps.Keys(graph)) {
		visit(id)
	}
	return all
}

func (b *planner) ref(id string) (any, error) {
	row, ok := b.live[id]
	if c, changes := b.changes[id]; !ok || !made(row) || changes && (c.Action == "Add" || c.Replacement != "False") {
		return nil, template.ErrUnknown
	}
	return row.PhysicalID, nil
}

func (b *planner) attribute(id, name string, masked bool) (any, error) {
	row, ok := b.live[id]
	if _, changes := b.changes[id]; !ok || !made(row) || changes {
		return nil, template.ErrUnknown
	}
	if masked && row.NoEcho {
		return Mask, nil
	}
	if v, ok := row.Attributes[name]; ok {
		return v, nil
	}
	return nil, template.ErrUnknown
}

// resource computes what happens to a resource, after those that it needs.
func (b *planner) resource(id string) error {
	def := b.d.t.Resources[id]
	properties, err := b.scope.PreviewProperties(id)
	if err != nil {
		return err
	}
	masked, err := b.masked.PreviewProperties(id)
	if err != nil {
		return err
	}
	metadata, err := b.d.metadata(id)
	if err != nil {
		return err
	}
	next := store.StackResourceState{Properties: known(masked).(map[string]any), Metadata: metadata, DeletionPolicy: def.DeletionPolicy, UpdateReplacePolicy: def.UpdateReplacePolicy}
	row, exists := b.live[id]
	if !exists || row.PhysicalID == "" {
		b.changes[id] = Change{Action: "Add", LogicalID: id, Type: def.Type, After: shownContext(next)}
		return nil
	}
	if row.Type != def.Type {
		return Validation.Errorf("%s[%s]", typeChanged, id)
	}
	typ, ok := b.e.o.Types.Type(def.Type)
	if !ok {
		return Validation.Errorf("Template format error: Unrecognized resource types: [%s]", def.Type)
	}
	c := Change{
		Action: "Modify", LogicalID: id, PhysicalID: row.PhysicalID, Type: def.Type, Replacement: "False",
		Before: shownContext(row.StackResourceState), After: shownContext(next),
	}
	for _, diff := range typ.Compare(row.Properties, properties) {
		b.property(&c, row, properties, masked, diff)
	}
	scopes := map[string]bool{}
	for _, detail := range c.Details {
		scopes[detail.Attribute] = true
	}
	attribute := func(name string) {
		c.Details = append(c.Details, Detail{Attribute: name, Recreation: string(resources.Never), Evaluation: "Static", Source: "DirectModification", ChangeType: "Modify"})
		scopes[name] = true
	}
	if text(row.Metadata) != text(metadata) {
		attribute("Metadata")
	}
	if row.DeletionPolicy != def.DeletionPolicy {
		attribute("DeletionPolicy")
	}
	if row.UpdateReplacePolicy != def.UpdateReplacePolicy {
		attribute("UpdateReplacePolicy")
	}
	if typ.TakesTags() && !maps.Equal(row.Tags, b.d.Tags) {
		attribute("Tags")
	}
	if len(c.Details) == 0 && row.Type == nestedType {
		c.Details = append(c.Details, Detail{Attribute: "Properties", Recreation: string(resources.Never), Evaluation: "Dynamic", Source: "Automatic"})
		scopes["Properties"] = true
	}
	if row.Status == createFailed {
		c.Replacement = "True"
	} else if len(c.Details) == 0 && row.Status != updateFailed {
		return nil
	}
	c.Scope = slices.Sorted(maps.Keys(scopes))
	if c.Replacement == "True" {
		c.Policy = "ReplaceAndDelete"
		if def.UpdateReplacePolicy == "Retain" {
			c.Policy = "ReplaceAndRetain"
		}
	}
	b.changes[id] = c
	return nil
}

// property adds why a property differs.
func (b *planner) property(c *Change, row store.StackResource, properties, masked map[string]any, diff resources.Difference) {
	name := diff.Property
	now, stays := properties[name]
	_, had := row.Properties[name]
	shown := row.Properties
	if row.Secret != nil {
		shown = row.Secret
	}
	d := Detail{Attribute: "Properties", Name: name, Path: "/Properties/" + name, Recreation: string(diff.Recreation), Evaluation: "Static", ChangeType: "Modify"}
	switch {
	case !had:
		d.ChangeType = "Add"
	case !stays:
		d.ChangeType = "Remove"
	}
	if had {
		d.Before = shownValue(shown[name])
	}
	if stays {
		d.After = shownValue(known(masked[name]))
	}
	expression := b.d.t.Resources[c.LogicalID].Properties[name]
	var earlier any
	if b.before != nil {
		earlier = b.before.t.Resources[c.LogicalID].Properties[name]
	}
	unknown := unresolved(now)
	if unknown {
		d.Evaluation = "Dynamic"
	}
	var reasons []Detail
	for _, ref := range references(expression) {
		id, attribute, dotted := strings.Cut(ref, ".")
		_, parameter := b.d.t.Parameters[id]
		_, changes := b.changes[id]
		one := d
		one.Entity = ref
		switch {
		case parameter && b.differs(id):
			one.Source = "ParameterReference"
		case !parameter && changes && dotted && attribute != "" && unknown:
			one.Source = "ResourceAttribute"
		case !parameter && changes && !dotted && unknown:
			one.Source = "ResourceReference"
		default:
			continue
		}
		reasons = append(reasons, one)
	}
	if len(reasons) == 0 || !reflect.DeepEqual(expression, earlier) {
		d.Source, d.Evaluation = "DirectModification", "Static"
		if unknown && len(reasons) > 0 {
			d.Evaluation = "Dynamic"
		}
		reasons = append([]Detail{d}, reasons...)
	}
	c.Details = append(c.Details, reasons...)
	switch {
	case diff.Recreation == resources.Always && !(unknown && reasons[0].Evaluation == "Dynamic"):
		c.Replacement = "True"
	case diff.Recreation != resources.Never && c.Replacement == "False":
		c.Replacement = "Conditional"
	}
}

// differs reports whether a parameter has another value than before.
func (b *planner) differs(key string) bool {
	value := func(all []store.StackParameter) (string, bool) {
		for _, p := range all {
			if p.Key == key {
				return p.Value + "\x00" + p.Resolved, true
			}
		}
		return "", false
	}
	now, _ := value(b.d.Parameters)
	was, had := value(b.s.Parameters)
	return !had || now != was
}

// outputs tells whether the outputs differ. What is not known yet depends on
// resources that change.
func (b *planner) outputs() error {
	var all []store.StackOutput
	for _, key := range slices.Sorted(maps.Keys(b.d.t.Outputs)) {
		o := b.d.t.Outputs[key]
		if !b.scope.Condition(o.Condition) {
			continue
		}
		out := store.StackOutput{Key: key, Description: o.Description}
		v, err := b.scope.Resolve(o.Value)
		if err == nil && o.Export != nil {
			var export any
			if export, err = b.scope.Resolve(o.Export); err == nil {
				out.Export, _ = scalar(export)
			}
		}
		if errors.Is(err, template.ErrUnknown) {
			b.plan.outputs = true
			return nil
		}
		if err != nil {
			return refuse(err)
		}
		out.Value, _ = scalar(v)
		all = append(all, out)
	}
	b.plan.outputs = b.plan.outputs || !slices.Equal(all, b.s.Outputs)
	return nil
}

// unresolved reports whether a value has functions in it whose values are not
// known.
func unresolved(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		if isFunction(v) {
			return true
		}
		for _, member := range v {
			if unresolved(member) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, unresolved)
	}
	return false
}

func isFunction(v map[string]any) bool {
	if len(v) != 1 {
		return false
	}
	for name := range v {
		return name == "Ref" || strings.HasPrefix(name, "Fn::")
	}
	return false
}

// known is a value with something in place of what is not known yet.
func known(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if isFunction(v) {
			return knownAfter
		}
		out := make(map[string]any, len(v))
		for name, member := range v {
			out[name] = known(member)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = known(v[i])
		}
		return out
	}
	return v
}

// references are what an expression refers to: names of parameters and resources,
// and resources' attributes, sorted.
func references(v any) []string {
	found := map[string]bool{}
	var walk func(v any, locals map[string]any)
	walk = func(v any, locals map[string]any) {
		switch v := v.(type) {
		case []any:
			for _, member := range v {
				walk(member, locals)
			}
		case map[string]any:
			if id, ok := v["Ref"].(string); ok && len(v) == 1 {
				found[id] = true
				return
			}
			if arg, ok := v["Fn::GetAtt"]; ok && len(v) == 1 {
				switch arg := arg.(type) {
				case string:
					found[arg] = true
				case []any:
					if len(arg) == 2 {
						id, _ := arg[0].(string)
						attribute, _ := arg[1].(string)
						found[id+"."+attribute] = true
					}
				}
				return
			}
			if arg, ok := v["Fn::Sub"]; ok && len(v) == 1 {
				text, _ := arg.(string)
				if list, ok := arg.([]any); ok && len(list) == 2 {
					text, _ = list[0].(string)
					locals, _ = list[1].(map[string]any)
					walk(list[1], nil)
				}
				for part := range strings.SplitSeq(text, "${") {
					name, _, ok := strings.Cut(part, "}")
					if _, local := locals[name]; ok && !local && !strings.HasPrefix(name, "!") {
						found[strings.TrimSpace(name)] = true
					}
				}
				return
			}
			for _, member := range v {
				walk(member, nil)
			}
		}
	}
	walk(v, nil)
	return slices.Sorted(maps.Keys(found))
}

// shownValue is a value as change sets tell it.
func shownValue(v any) string {
	if s, ok := scalar(v); ok {
		return s
	}
	return text(v)
}

// shownContext is a resource as change sets tell it, JSON.
func shownContext(state store.StackResourceState) string {
	properties := state.Properties
	if state.Secret != nil {
		properties = state.Secret
	}
	out := map[string]any{"Properties": properties}
	if state.Metadata != nil {
		out["Metadata"] = state.Metadata
	}
	if state.DeletionPolicy != "" {
		out["DeletionPolicy"] = state.DeletionPolicy
	}
	if state.UpdateReplacePolicy != "" {
		out["UpdateReplacePolicy"] = state.UpdateReplacePolicy
	}
	return text(out)
}
