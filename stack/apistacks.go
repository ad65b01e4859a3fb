package stack

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lamina-run/lamina/stack/template"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire/query"
)

const (
	maxTags  = 50
	maxSkips = 500
	pageSize = 100
)

// tags are the tags of a request, nil when it says nothing of them.
func (in request) tags() (map[string]string, error) {
	n := in.Members("Tags")
	if n == 0 && in.Given("Tags") == nil {
		return nil, nil
	}
	if n > maxTags && !in.nested {
		return nil, Validation.Errorf("1 validation error detected: Value at 'tags' failed to satisfy constraint: Member must have length less than or equal to %d", maxTags)
	}
	tags := make(map[string]string, n)
	for i := 1; i <= n; i++ {
		at := "Tags.member." + strconv.Itoa(i) + "."
		key, value := in.Get(at+"Key"), in.Get(at+"Value")
		switch _, twice := tags[key]; {
		case key == "" || len(key) > 128:
			return nil, Validation.Errorf("1 validation error detected: Value '%s' at 'tags.%d.member.key' failed to satisfy constraint: Member must have length between 1 and 128", query.Printable(key), i)
		case len(value) > 256:
			return nil, Validation.Errorf("1 validation error detected: Value at 'tags.%d.member.value' failed to satisfy constraint: Member must have length less than or equal to 256", i)
		case strings.HasPrefix(strings.ToLower(key), "aws:") && in.nested:
			continue // those of the outer stack
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return nil, Validation.New("aws: prefixed tag key names are not allowed for external use.")
		case twice:
			return nil, Validation.Errorf("Duplicate tag keys found: %s", query.Printable(key))
		}
		tags[key] = value
	}
	return tags, nil
}

// parameters are the values that a request gives to parameters.
func (in request) parameters() ([]Parameter, error) {
	var all []Parameter
	n := in.Members("Parameters")
	if n > template.MaxParameters {
		return nil, Validation.Errorf("Number of parameters, %d, is greater than maximum allowed, %d", n, template.MaxParameters)
	}
	for i := 1; i <= n; i++ {
		at := "Parameters.member." + strconv.Itoa(i) + "."
		p := Parameter{Key: in.Get(at + "ParameterKey"), Value: in.Get(at + "ParameterValue")}
		var err error
		if p.Previous, err = in.is(at + "UsePreviousValue"); err != nil {
			return nil, err
		}
		value := in.Given(at + "ParameterValue")
		switch {
		case p.Key == "":
			return nil, Validation.Errorf("1 validation error detected: Value null at 'parameters.%d.member.parameterKey' failed to satisfy constraint: Member must not be null", i)
		case p.Previous && value != nil:
			return nil, Validation.Errorf("Invalid input for parameter key %s. Cannot specify usePreviousValue as true and non empty value for a parameter", query.Printable(p.Key))
		case !p.Previous && value == nil:
			continue // its default
		}
		all = append(all, p)
	}
	return all, nil
}

// listed returns a list that may be given empty, nil when it is not given.
func (in request) listed(name string) []string {
	all := in.List(name)
	if all == nil && in.Given(name) != nil {
		return []string{}
	}
	return all
}

// wanted reads what a request wants a stack to be, all but its template.
func (in request) wanted() (w Wanted, err error) {
	for _, step := range []func() error{
		func() (err error) { w.Tags, err = in.tags(); return err },
		func() (err error) { w.Parameters, err = in.parameters(); return err },
		func() (err error) { w.Token, err = in.token(); return err },
		func() (err error) { w.DisableRollback, err = in.is("DisableRollback"); return err },
		func() (err error) { w.RetainOnCreate, err = in.is("RetainExceptOnCreate"); return err },
		func() (err error) { w.TimeoutMinutes, err = in.number("TimeoutInMinutes", 1, 60*24*366); return err },
		func() (err error) { w.Protected, err = in.is("EnableTerminationProtection"); return err },
		func() (err error) { w.RoleARN, err = in.role(); return err },
	} {
		if err := step(); err != nil {
			return w, err
		}
	}
	w.Capabilities = in.List("Capabilities")
	for _, c := range w.Capabilities {
		if c != capabilityIAM && c != capabilityNamed && c != capabilityAuto {
			return w, Validation.Errorf("1 validation error detected: Value '%s' at 'capabilities' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [%s, %s, %s]]",
				query.Printable(c), capabilityIAM, capabilityNamed, capabilityAuto)
		}
	}
	slices.Sort(w.Capabilities)
	w.Capabilities = slices.Compact(w.Capabilities)
	if w.NotificationARNs = in.listed("NotificationARNs"); len(w.NotificationARNs) > 5 {
		return w, Validation.New("1 validation error detected: Value at 'notificationARNs' failed to satisfy constraint: Member must have length less than or equal to 5")
	}
	for _, policy := range []string{"StackPolicyBody", "StackPolicyURL", "StackPolicyDuringUpdateBody", "StackPolicyDuringUpdateURL"} {
		if in.Get(policy) != "" {
			return w, Validation.Errorf("Lamina does not offer %s: it has no stack policies.", policy)
		}
	}
	if in.Members("RollbackConfiguration.RollbackTriggers") > 0 {
		return w, Validation.New("Lamina does not offer RollbackConfiguration.RollbackTriggers: it has no alarms.")
	}
	return w, nil
}

// role is the role that a stack's resources are made with; the engine assumes it.
func (in request) role() (string, error) { return in.sized("RoleARN", false, 2048, roleARN) }

// deploys reads the template of a request, held to what the request acknowledges,
// as what the engine makes of it. Previous is the stack that there is, which is
// the zero value for none; the caller sees to it that there is one when
// UsePreviousTemplate says so.
func (a *api) deploys(ctx context.Context, in request, previous store.Stack, direct bool, w *Wanted) error {
	if parent, ok := parentOf(ctx); ok {
		w.Capabilities = parent.Capabilities // what its client acknowledged
	}
	text, err := a.template(ctx, in)
	if err != nil {
		return err
	}
	again, err := in.is("UsePreviousTemplate")
	if err != nil {
		return err
	}
	switch {
	case again && text != "":
		return Validation.New("You cannot specify both usePreviousTemplate and Template Body/Template URL.")
	case again && previous.Template == "":
		return Validation.New("UsePreviousTemplate cannot be used on a stack that has no template.")
	case again:
		err := a.view(ctx, func(tx *store.Tx) error {
			t, err := tx.StackTemplate(ctx, previous.ID, previous.Template)
			text = t.Original
			return err
		})
		if err != nil {
			return err
		}
	case text == "":
		return Validation.New("Either Template URL or Template Body must be specified.")
	}
	src, err := a.read(text)
	if err != nil {
		return err
	}
	if len(src.t.Transforms) > 0 && direct && !slices.Contains(w.Capabilities, capabilityAuto) {
		return InsufficientCapabilities.Errorf("Requires capabilities : [%s]", capabilityAuto)
	}
	if slices.Contains(src.t.Transforms, template.Serverless) {
		if err := a.usesTransform(ctx, in); err != nil {
			return err
		}
	}
	values, err := valuesOf(src.t, previous, w.Parameters)
	if err != nil {
		return err
	}
	if w.Template, err = a.transform(ctx, in, src, values); err != nil {
		return err
	}
	processed := src.t
	if w.Template.Processed != "" {
		body, err := template.Parse(w.Template.Processed)
		if err != nil {
			return err
		}
		if processed, err = template.Read(body); err != nil {
			return err
		}
	}
	if err := capable(w.Capabilities, processed); err != nil {
		return err
	}
	if err := a.known(processed); err != nil {
		return err
	}
	if types := in.listed("ResourceTypes"); len(types) > 0 {
		if err := onlyTypes(processed, types); err != nil {
			return err
		}
	}
	return nil
}

// valuesOf are the values of parameters that transforms see.
func valuesOf(t *template.Template, previous store.Stack, given []Parameter) (map[string]string, error) {
	if len(t.Transforms) == 0 {
		return nil, nil // the engine finds them
	}
	before := map[string]string{}
	for _, p := range previous.Parameters {
		before[p.Key] = p.Value
	}
	values := map[string]string{}
	for _, p := range given {
		v, ok := p.Value, true
		if p.Previous {
			if v, ok = before[p.Key]; !ok {
				continue // the engine tells
			}
		}
		values[p.Key] = v
	}
	return t.Values(values)
}

// onlyTypes holds a template to the types that the client allows: AWS::*,
// AWS::IAM::*, Custom::*, or one.
func onlyTypes(t *template.Template, allowed []string) error {
	for _, res := range t.Resources {
		if !slices.ContainsFunc(allowed, func(a string) bool {
			prefix, wild := strings.CutSuffix(a, "::*")
			return a == res.Type || wild && strings.HasPrefix(res.Type, prefix+"::")
		}) {
			return Validation.Errorf("Resource type %s is not allowed by parameter ResourceTypes [%s]", query.Printable(res.Type), query.Printable(strings.Join(allowed, ", ")))
		}
	}
	return nil
}

type stackIDXML struct {
	StackID string `xml:"StackId"`
}

// patience is how long an operation that begins something waits for its end. Those
// who wait ask at once, and then again in half a minute; a small stack is done by
// then.
const patience = time.Second

// settled returns when nothing changes a stack any more, or it takes too long for
// a client that waits for an answer. A step of another stack does not wait: it
// asks often.
func (a *api) settled(ctx context.Context, in request, id string) {
	if in.nested {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for tick := 5 * time.Millisecond; ; tick *= 2 {
		again := time.NewTimer(tick)
		select {
		case <-ctx.Done():
			again.Stop()
			return
		case <-again.C:
		}
		var s store.Stack
		err := a.view(ctx, func(tx *store.Tx) (err error) {
			s, err = tx.Stack(ctx, id)
			return err
		})
		if err != nil || !inProgress(s.Status) {
			return // what is wrong with it, the next request is told
		}
	}
}

// CreateStack begins to create a stack.
func (a *api) CreateStack(ctx context.Context, in request) (any, error) {
	name, err := in.sized("StackName", true, 128, newStackName)
	if err != nil {
		return nil, err
	}
	w, err := in.wanted()
	if err != nil {
		return nil, err
	}
	if w.OnFailure, err = in.one("OnFailure", "DO_NOTHING", "ROLLBACK", "DELETE"); err != nil {
		return nil, err
	}
	if w.OnFailure != "" && w.DisableRollback {
		return nil, Validation.New("Either DisableRollback or OnFailure can be specified, not both.")
	}
	if in.Given("UsePreviousTemplate") != nil {
		return nil, Validation.New("UsePreviousTemplate is not supported for CreateStack.")
	}
	if err := a.deploys(ctx, in, store.Stack{}, true, &w); err != nil {
		return nil, err
	}
	id, err := a.Engine.CreateStack(ctx, name, w)
	if err != nil {
		return nil, err
	}
	a.settled(ctx, in, id)
	return stackIDXML{id}, nil
}

// existing returns the stack that a request names.
func (a *api) existing(ctx context.Context, in request) (s store.Stack, err error) {
	name, err := in.stack()
	if err != nil {
		return s, err
	}
	err = a.view(ctx, func(tx *store.Tx) (err error) {
		s, err = a.find(ctx, tx, name)
		return err
	})
	return s, err
}

// UpdateStack begins to update a stack.
func (a *api) UpdateStack(ctx context.Context, in request) (any, error) {
	s, err := a.existing(ctx, in)
	if err != nil {
		return nil, err
	}
	w, err := in.wanted()
	if err != nil {
		return nil, err
	}
	if err := a.deploys(ctx, in, s, true, &w); err != nil {
		return nil, err
	}
	id, err := a.Engine.UpdateStack(ctx, s.ID, w)
	if err != nil {
		return nil, err
	}
	a.settled(ctx, in, id)
	return stackIDXML{id}, nil
}

// DeleteStack begins to delete a stack.
func (a *api) DeleteStack(ctx context.Context, in request) (any, error) {
	if _, err := in.stack(); err != nil {
		return nil, err
	}
	var err error
	d := Deletion{Retain: in.List("RetainResources")}
	if d.Token, err = in.token(); err != nil {
		return nil, err
	}
	if d.RoleARN, err = in.role(); err != nil {
		return nil, err
	}
	mode, err := in.one("DeletionMode", "STANDARD", "FORCE_DELETE_STACK")
	if err != nil {
		return nil, err
	}
	d.Force = mode == "FORCE_DELETE_STACK"
	s, err := a.existing(ctx, in)
	if Validation.Is(err) {
		return nil, nil // there is none
	}
	if err == nil {
		err = a.Engine.DeleteStack(ctx, s.ID, d)
	}
	if err == nil {
		a.settled(ctx, in, s.ID)
	}
	return nil, err
}

// CancelUpdateStack has an update rolled back that is under way.
func (a *api) CancelUpdateStack(ctx context.Context, in request) (any, error) {
	name, err := in.stack()
	if err != nil {
		return nil, err
	}
	token, err := in.token()
	if err != nil {
		return nil, err
	}
	return nil, a.Engine.CancelUpdateStack(ctx, name, token)
}

// ContinueUpdateRollback goes on with a rollback that failed.
func (a *api) ContinueUpdateRollback(ctx context.Context, in request) (any, error) {
	name, err := in.stack()
	if err != nil {
		return nil, err
	}
	token, err := in.token()
	if err != nil {
		return nil, err
	}
	role, err := in.role()
	if err != nil {
		return nil, err
	}
	skip := in.List("ResourcesToSkip")
	if len(skip) > maxSkips {
		return nil, Validation.Errorf("ResourcesToSkip has more than %d members", maxSkips)
	}
	if err := a.Engine.ContinueUpdateRollback(ctx, name, role, token, skip); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}

// RollbackStack rolls back what failed with rollback disabled.
func (a *api) RollbackStack(ctx context.Context, in request) (any, error) {
	name, err := in.stack()
	if err != nil {
		return nil, err
	}
	token, err := in.token()
	if err != nil {
		return nil, err
	}
	role, err := in.role()
	if err != nil {
		return nil, err
	}
	retain, err := in.is("RetainExceptOnCreate")
	if err != nil {
		return nil, err
	}
	id, err := a.Engine.RollbackStack(ctx, name, role, token, retain)
	if err != nil {
		return nil, err
	}
	return stackIDXML{id}, nil
}

// UpdateTerminationProtection says whether a stack may be deleted.
func (a *api) UpdateTerminationProtection(ctx context.Context, in request) (any, error) {
	name, err := in.stack()
	if err != nil {
		return nil, err
	}
	protect, err := in.flag("EnableTerminationProtection")
	if err != nil {
		return nil, err
	}
	if protect == nil {
		return nil, Validation.New("1 validation error detected: Value null at 'enableTerminationProtection' failed to satisfy constraint: Member must not be null")
	}
	id, err := a.Engine.UpdateTerminationProtection(ctx, name, *protect)
	if err != nil {
		return nil, err
	}
	return stackIDXML{id}, nil
}

// GetStackPolicy tells of a stack that it has no policy.
func (a *api) GetStackPolicy(ctx context.Context, in request) (any, error) {
	if _, err := a.existing(ctx, in); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}

type parameterXML struct {
	ParameterKey   string
	ParameterValue string
	ResolvedValue  string `xml:",omitempty"`
}

type tagXML struct{ Key, Value string }

type outputXML struct {
	OutputKey   string
	OutputValue string
	Description string `xml:",omitempty"`
	ExportName  string `xml:",omitempty"`
}

type stackXML struct {
	StackID                     string `xml:"StackId"`
	StackName                   string
	ChangeSetID                 string `xml:"ChangeSetId,omitempty"`
	Description                 string `xml:",omitempty"`
	Parameters                  *members[parameterXML]
	CreationTime                *moment
	DeletionTime                *moment `xml:",omitempty"`
	LastUpdatedTime             *moment `xml:",omitempty"`
	RollbackConfiguration       struct{}
	StackStatus                 string
	StackStatusReason           string `xml:",omitempty"`
	DisableRollback             bool
	NotificationARNs            members[string]
	TimeoutInMinutes            int                 `xml:",omitempty"`
	Capabilities                *members[string]    `xml:",omitempty"`
	Outputs                     *members[outputXML] `xml:",omitempty"`
	RoleARN                     string              `xml:",omitempty"`
	Tags                        members[tagXML]
	EnableTerminationProtection bool
	ParentID                    string `xml:"ParentId,omitempty"`
	RootID                      string `xml:"RootId,omitempty"`
	DriftInformation            driftXML
	RetainExceptOnCreate        bool `xml:",omitempty"`
}

type driftXML struct {
	StackDriftStatus string
}

func parametersXML(all []store.StackParameter) []parameterXML {
	var out []parameterXML
	for _, p := range all {
		x := parameterXML{p.Key, p.Value, ""}
		if p.SSM {
			x.ResolvedValue = p.Resolved
		}
		if p.NoEcho {
			x.ParameterValue = Mask
			if x.ResolvedValue != "" {
				x.ResolvedValue = Mask
			}
		}
		out = append(out, x)
	}
	return out
}

func tagsXML(tags map[string]string) []tagXML {
	var out []tagXML
	for key, value := range tags {
		out = append(out, tagXML{key, value})
	}
	slices.SortFunc(out, func(a, b tagXML) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func stackAsXML(s store.Stack) stackXML {
	x := stackXML{
		StackID: s.ID, StackName: s.Name, ChangeSetID: s.ChangeSet, Description: s.Description, Parameters: some(parametersXML(s.Parameters)),
		CreationTime: momentOf(s.Created), DeletionTime: momentOf(s.Deleted), LastUpdatedTime: momentOf(s.Updated), StackStatus: s.Status,
		StackStatusReason: s.Reason, DisableRollback: s.DisableRollback, NotificationARNs: list(s.NotificationARNs),
		TimeoutInMinutes: s.TimeoutMinutes, Capabilities: some(s.Capabilities), RoleARN: s.RoleARN, Tags: list(tagsXML(s.Tags)),
		EnableTerminationProtection: s.Protected, ParentID: s.Parent, DriftInformation: driftXML{"NOT_CHECKED"}, RetainExceptOnCreate: s.RetainOnCreate,
	}
	if s.Parent != "" {
		x.RootID = s.Root
	}
	var outputs []outputXML
	for _, o := range s.Outputs {
		outputs = append(outputs, outputXML{o.Key, o.Value, o.Description, o.Export})
	}
	x.Outputs = some(outputs)
	return x
}

// position is where a page of stacks ended.
type position struct {
	ID      string
	Created int64 // milliseconds
}

// page returns the next page of stacks that are wanted, and the token of the one
// after.
func (a *api) page(ctx context.Context, in request, of string, deleted bool, want func(store.Stack) bool) (found []store.Stack, token string, err error) {
	var at position
	if _, err := in.after(of, &at); err != nil {
		return nil, "", err
	}
	before := store.Stack{ID: at.ID, Created: fromMillis(at.Created)}
	for len(found) <= pageSize {
		var all []store.Stack
		err := a.view(ctx, func(tx *store.Tx) (err error) {
			all, err = tx.Stacks(ctx, in.scope(), deleted, before, 2*pageSize)
			return err
		})
		if err != nil {
			return nil, "", err
		}
		for _, s := range all {
			if want(s) {
				found = append(found, s)
			}
		}
		if len(all) < 2*pageSize {
			break
		}
		before = all[len(all)-1]
	}
	if len(found) > pageSize {
		found = found[:pageSize]
		last := found[pageSize-1]
		token = next(of, position{last.ID, last.Created.UnixMilli()})
	}
	return found, token, nil
}

// DescribeStacks tells all of one stack, or of those that are not deleted.
func (a *api) DescribeStacks(ctx context.Context, in request) (any, error) {
	result := struct {
		Stacks    members[stackXML]
		NextToken string `xml:",omitempty"`
	}{}
	if name, err := in.sized("StackName", false, longest, nameOrARN); err != nil {
		return nil, err
	} else if name != "" {
		s, err := a.existing(ctx, in)
		if err != nil {
			return nil, err
		}
		result.Stacks.All = []stackXML{stackAsXML(s)}
		return result, nil
	}
	all, token, err := a.page(ctx, in, "DescribeStacks", false, func(store.Stack) bool { return true })
	if err != nil {
		return nil, err
	}
	result.NextToken = token
	for _, s := range all {
		result.Stacks.All = append(result.Stacks.All, stackAsXML(s))
	}
	return result, nil
}

// statuses are those that stacks can have.
var statuses = []string{
	"CREATE_IN_PROGRESS", "CREATE_FAILED", "CREATE_COMPLETE", "ROLLBACK_IN_PROGRESS", "ROLLBACK_FAILED", "ROLLBACK_COMPLETE", "DELETE_IN_PROGRESS",
	"DELETE_FAILED", "DELETE_COMPLETE", "UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_COMPLETE", "UPDATE_FAILED",
	"UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_FAILED", "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE",
	"REVIEW_IN_PROGRESS", "IMPORT_IN_PROGRESS", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_IN_PROGRESS", "IMPORT_ROLLBACK_FAILED", "IMPORT_ROLLBACK_COMPLETE",
}

// ListStacks tells a little of the stacks that have one of some statuses; of all
// for 90 days after they were deleted.
func (a *api) ListStacks(ctx context.Context, in request) (any, error) {
	filter := in.List("StackStatusFilter")
	for _, status := range filter {
		if !slices.Contains(statuses, status) {
			return nil, Validation.Errorf("1 validation error detected: Value '[%s]' at 'stackStatusFilter' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [%s]]",
				query.Printable(strings.Join(filter, ", ")), strings.Join(statuses, ", "))
		}
	}
	all, token, err := a.page(ctx, in, "ListStacks", filter == nil || slices.Contains(filter, "DELETE_COMPLETE"), func(s store.Stack) bool {
		return filter == nil || slices.Contains(filter, s.Status)
	})
	if err != nil {
		return nil, err
	}
	type summaryXML struct {
		StackID             string `xml:"StackId"`
		StackName           string
		TemplateDescription string `xml:",omitempty"`
		CreationTime        *moment
		LastUpdatedTime     *moment `xml:",omitempty"`
		DeletionTime        *moment `xml:",omitempty"`
		StackStatus         string
		StackStatusReason   string `xml:",omitempty"`
		ParentID            string `xml:"ParentId,omitempty"`
		RootID              string `xml:"RootId,omitempty"`
		DriftInformation    driftXML
	}
	result := struct {
		StackSummaries members[summaryXML]
		NextToken      string `xml:",omitempty"`
	}{NextToken: token}
	for _, s := range all {
		x := summaryXML{
			StackID: s.ID, StackName: s.Name, TemplateDescription: s.Description, CreationTime: momentOf(s.Created), LastUpdatedTime: momentOf(s.Updated),
			DeletionTime: momentOf(s.Deleted), StackStatus: s.Status, StackStatusReason: s.Reason, ParentID: s.Parent, DriftInformation: driftXML{"NOT_CHECKED"},
		}
		if s.Parent != "" {
			x.RootID = s.Root
		}
		result.StackSummaries.All = append(result.StackSummaries.All, x)
	}
	return result, nil
}

// DescribeAccountLimits tells how much an account may have.
func (a *api) DescribeAccountLimits(context.Context, request) (any, error) {
	type limitXML struct {
		Name  string
		Value int
	}
	return struct{ AccountLimits members[limitXML] }{list([]limitXML{
		{"StackLimit", maxStacks}, {"StackOutputsLimit", template.MaxOutputs}, {"ConcurrentResourcesLimit", 2500},
	})}, nil
}
