package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/stack/resources"
	"github.com/lamina-run/lamina/stack/template"
	"github.com/lamina-run/lamina/store"
)

// nestedType is the type of resources that are stacks.
const nestedType = "AWS::CloudFormation::Stack"

// isCustom reports whether resources of a type are custom ones.
func isCustom(typ string) bool {
	return typ == "AWS::CloudFormation::CustomResource" || strings.HasPrefix(typ, "Custom::")
}

// waits reports whether a step of a type may wait for what others do, so that it
// has to be interrupted to end soon, and must not keep others from working.
func waits(typ string) bool {
	return typ == nestedType || typ == "AWS::CloudFormation::WaitCondition" || isCustom(typ)
}

// deployment is what a stack is to be, read.
type deployment struct {
	store.Deployment
	source store.StackTemplate
	t      *template.Template
	scope  *template.Scope
	masked *template.Scope // the same without secrets
	graph  map[string][]string
}

// templateOf is a source as the store has it.
func templateOf(s Source) store.StackTemplate {
	h := sha256.New()
	h.Write([]byte(s.Original))
	h.Write([]byte{0})
	h.Write([]byte(s.Processed))
	return store.StackTemplate{Digest: hex.EncodeToString(h.Sum(nil)), Original: s.Original, Processed: s.Processed}
}

// refuse makes what a template's errors are to a client.
func refuse(err error) error {
	if e, ok := errors.AsType[*template.Error](err); ok {
		return Validation.New(e.Error())
	}
	return err
}

// read reads a template and what its functions come to but for resources.
func read(s store.Stack, d store.Deployment, source store.StackTemplate) (*deployment, error) {
	text := source.Processed
	if text == "" {
		text = source.Original
	}
	body, err := template.Parse(text)
	if err != nil {
		return nil, refuse(err)
	}
	out := &deployment{Deployment: d, source: source}
	if out.t, err = template.Read(body); err != nil {
		return nil, refuse(err)
	}
	return out, out.evaluate(s)
}

// evaluate makes the scope of the deployment's parameters.
func (d *deployment) evaluate(s store.Stack) (err error) {
	values, secrets := map[string]string{}, map[string]string{}
	for _, p := range d.Parameters {
		values[p.Key] = p.Value
		if p.SSM {
			values[p.Key] = p.Resolved
		}
		if p.NoEcho {
			secrets[p.Key] = Mask
		}
	}
	d.scope, err = d.t.Scope(values, template.Pseudo{
		AccountID: s.Scope.Account, Region: s.Scope.Region, Partition: lamina.Partition, URLSuffix: "amazonaws.com",
		StackID: s.ID, StackName: s.Name, NotificationARNs: d.NotificationARNs,
	})
	if err != nil {
		return refuse(err)
	}
	d.masked = d.scope.With(secrets)
	d.graph, err = d.scope.Graph()
	return refuse(err)
}

// prepare reads what a client wants a stack to be, with what it was before, which
// may be nothing. The stack's own Deployment does not count.
func (e *Engine) prepare(ctx context.Context, s store.Stack, previous *store.Deployment, w Wanted) (*deployment, error) {
	source := templateOf(w.Template)
	if w.Template == (Source{}) {
		if previous == nil {
			return nil, Validation.New("Either Template URL or Template Body must be specified.")
		}
		err := e.o.Store.View(ctx, func(tx *store.Tx) (err error) {
			source, err = tx.StackTemplate(ctx, s.ID, previous.Template)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	text := source.Processed
	if text == "" {
		text = source.Original
	}
	body, err := template.Parse(text)
	if err != nil {
		return nil, refuse(err)
	}
	d := &deployment{source: source, Deployment: store.Deployment{
		Template: source.Digest, Tags: w.Tags, Capabilities: w.Capabilities, NotificationARNs: w.NotificationARNs, RoleARN: w.RoleARN,
		DisableRollback: w.DisableRollback, TimeoutMinutes: w.TimeoutMinutes, RetainOnCreate: w.RetainOnCreate,
	}}
	if previous != nil {
		if w.Tags == nil {
			d.Tags = previous.Tags
		}
		if w.NotificationARNs == nil {
			d.NotificationARNs = previous.NotificationARNs
		}
		if w.RoleARN == "" {
			d.RoleARN = previous.RoleARN
		}
		if w.TimeoutMinutes == 0 {
			d.TimeoutMinutes = previous.TimeoutMinutes
		}
	}
	if d.t, err = template.Read(body); err != nil {
		return nil, refuse(err)
	}
	d.Description = d.t.Description
	if d.Parameters, err = e.parameters(ctx, d.t, previous, w.Parameters); err != nil {
		return nil, err
	}
	if err := d.evaluate(s); err != nil {
		return nil, err
	}
	if err := e.check(d); err != nil {
		return nil, err
	}
	return d, nil
}

// parameters gives the parameters of a template their values.
func (e *Engine) parameters(ctx context.Context, t *template.Template, previous *store.Deployment, given []Parameter) ([]store.StackParameter, error) {
	before := map[string]string{}
	if previous != nil {
		for _, p := range previous.Parameters {
			before[p.Key] = p.Value
		}
	}
	values := make(map[string]string, len(given))
	for _, p := range given {
		if _, twice := values[p.Key]; twice {
			return nil, Validation.Errorf("Duplicate parameter key %s", p.Key)
		}
		values[p.Key] = p.Value
		if p.Previous {
			v, ok := before[p.Key]
			if !ok {
				return nil, Validation.Errorf("Invalid input for parameter key %s. Cannot specify usePreviousValue as true for a parameter key not in the previous template", p.Key)
			}
			values[p.Key] = v
		}
	}
	values, err := t.Values(values)
	if err != nil {
		return nil, refuse(err)
	}
	all := make([]store.StackParameter, 0, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		p := store.StackParameter{Key: key, Value: values[key], SSM: t.Parameters[key].SSM(), NoEcho: t.Parameters[key].NoEcho}
		if p.SSM {
			var secure bool
			p.Resolved, secure, err = e.o.Parameters.StackParameter(ctx, p.Value)
			if err != nil {
				return nil, err
			}
			if secure {
				return nil, Validation.Errorf("Parameters [%s] referenced by template have types not supported by CloudFormation.", p.Value)
			}
		}
		all = append(all, p)
	}
	return all, nil
}

// check finds what can be found wrong before anything is done.
func (e *Engine) check(d *deployment) error {
	var unknown []string
	for _, id := range slices.Sorted(maps.Keys(d.t.Resources)) {
		typ := d.t.Resources[id].Type
		if _, ok := e.o.Types.Type(typ); !ok && !slices.Contains(unknown, typ) {
			unknown = append(unknown, typ)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return Validation.Errorf("Template format error: Unrecognized resource types: [%s]", strings.Join(unknown, ", "))
	}
	scope := *d.scope
	scope.GetAtt = func(id, attribute string) (any, error) {
		typ, _ := e.o.Types.Type(d.t.Resources[id].Type)
		if !typ.HasAttribute(attribute) {
			return nil, noAttribute(id, attribute)
		}
		return nil, template.ErrUnknown
	}
	for _, id := range slices.Sorted(maps.Keys(d.graph)) {
		properties, err := scope.PreviewProperties(id)
		if err != nil {
			return refuse(err)
		}
		if _, err := template.References(properties); err != nil {
			return refuse(err)
		}
		typ, _ := e.o.Types.Type(d.t.Resources[id].Type)
		if err := typ.Check(properties); err != nil {
			return Validation.Errorf("Properties validation failed for resource %s with message: %s", id, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.t.Outputs)) {
		if o := d.t.Outputs[name]; scope.Condition(o.Condition) {
			if _, err := scope.Preview(o.Value); err != nil {
				return refuse(err)
			}
			if _, err := scope.Preview(o.Export); o.Export != nil && err != nil {
				return refuse(err)
			}
		}
	}
	return nil
}

func noAttribute(id, attribute string) error {
	return Validation.Errorf("Template error: resource %s does not support attribute type %s in Fn::GetAtt", id, attribute)
}

// metadata is the metadata of a resource with its functions evaluated as far as
// their values are known.
func (d *deployment) metadata(id string) (any, error) {
	if d.t.Resources[id].Metadata == nil {
		return nil, nil
	}
	return d.masked.Preview(d.t.Resources[id].Metadata)
}

// text is a JSON text of what is known to be JSON.
func text(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("stack: %v", err)) // strings, numbers, booleans, maps and lists
	}
	return string(data)
}

// retains reports whether a deletion policy keeps the resource of a stack that is
// deleted.
func retains(policy string) bool { return policy == "Retain" || policy == "RetainExceptOnCreate" }

// stepStack is a stack as steps see it.
func stepStack(s store.Stack, tags map[string]string) resources.Stack {
	return resources.Stack{ID: s.ID, Name: s.Name, Account: s.Scope.Account, Region: s.Scope.Region, Tags: tags}
}
