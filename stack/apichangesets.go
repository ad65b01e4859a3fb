package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/lamina-run/lamina/store"
)

// CreateChangeSet computes what an update would change, or a creation make.
func (a *api) CreateChangeSet(ctx context.Context, in request) (any, error) {
	name, err := in.stack()
	if err != nil {
		return nil, err
	}
	set := ChangeSetWanted{Description: in.Get("Description")}
	if set.Name, err = in.sized("ChangeSetName", true, 128, newStackName); err != nil {
		return nil, err
	}
	if len(set.Description) > 8192 {
		return nil, Validation.New("1 validation error detected: Value at 'description' failed to satisfy constraint: Member must have length less than or equal to 8192")
	}
	if set.Type, err = in.one("ChangeSetType", "CREATE", "UPDATE", "IMPORT"); err != nil {
		return nil, err
	}
	if set.Type == "" {
		set.Type = "UPDATE"
	}
	if set.Type == "IMPORT" || in.Members("ResourcesToImport") > 0 {
		return nil, Validation.New("Lamina does not offer change sets of type IMPORT: it imports no resources.")
	}
	if mode := in.Get("DeploymentMode"); mode != "" {
		return nil, Validation.New("Lamina does not offer DeploymentMode: it does not look for drift.")
	}
	if set.Nested, err = in.is("IncludeNestedStacks"); err != nil {
		return nil, err
	}
	if set.ImportExist, err = in.is("ImportExistingResources"); err != nil {
		return nil, err
	}
	var previous store.Stack
	if set.Type == "UPDATE" {
		if previous, err = a.existing(ctx, in); err != nil {
			if Validation.Is(err) && !strings.HasPrefix(name, "arn:") {
				err = Validation.Errorf("Stack [%s] does not exist", name)
			}
			return nil, err
		}
	}
	if set.Wanted, err = in.wanted(); err != nil {
		return nil, err
	}
	if set.Token, err = in.sized("ClientToken", false, 128, nil); err != nil {
		return nil, err
	}
	if set.OnFailure, err = in.one("OnStackFailure", "DO_NOTHING", "ROLLBACK", "DELETE"); err != nil {
		return nil, err
	}
	if err := a.deploys(ctx, in, previous, false, &set.Wanted); err != nil {
		return nil, err
	}
	c, err := a.Engine.CreateChangeSet(ctx, name, set)
	if err != nil {
		return nil, err
	}
	return struct {
		ID      string `xml:"Id"`
		StackID string `xml:"StackId"`
	}{c.ID, c.Stack}, nil
}

// changeSet returns the change set that a request names, and its stack.
func (a *api) changeSet(ctx context.Context, in request) (c store.StackChangeSet, s store.Stack, err error) {
	set, err := in.sized("ChangeSetName", true, longest, changeSetName)
	if err != nil {
		return c, s, err
	}
	name, err := in.sized("StackName", false, longest, nameOrARN)
	if err != nil {
		return c, s, err
	}
	if name == "" && !strings.HasPrefix(set, "arn:") {
		return c, s, Validation.New("StackName must be specified if ChangeSetName is not specified as an ARN.")
	}
	err = a.view(ctx, func(tx *store.Tx) error {
		if c, err = a.Engine.FindChangeSet(ctx, tx, name, set); err != nil {
			return err
		}
		s, err = tx.Stack(ctx, c.Stack)
		return err
	})
	return c, s, err
}

type changeXML struct {
	Type           string
	ResourceChange struct {
		PolicyAction       string `xml:",omitempty"`
		Action             string
		LogicalResourceID  string `xml:"LogicalResourceId"`
		PhysicalResourceID string `xml:"PhysicalResourceId,omitempty"`
		ResourceType       string
		Replacement        string `xml:",omitempty"`
		Scope              members[string]
		Details            members[detailXML]
		BeforeContext      string `xml:",omitempty"`
		AfterContext       string `xml:",omitempty"`
	}
}

type detailXML struct {
	Target struct {
		Attribute           string
		Name                string `xml:",omitempty"`
		RequiresRecreation  string
		Path                string `xml:",omitempty"`
		BeforeValue         string `xml:",omitempty"`
		AfterValue          string `xml:",omitempty"`
		AttributeChangeType string `xml:",omitempty"`
	}
	Evaluation    string
	ChangeSource  string `xml:",omitempty"`
	CausingEntity string `xml:",omitempty"`
}

func changeAsXML(c Change, values bool) changeXML {
	x := changeXML{Type: "Resource"}
	r := &x.ResourceChange
	r.PolicyAction, r.Action, r.LogicalResourceID, r.PhysicalResourceID = c.Policy, c.Action, c.LogicalID, c.PhysicalID
	r.ResourceType, r.Replacement, r.Scope = c.Type, c.Replacement, list(c.Scope)
	if values {
		r.BeforeContext, r.AfterContext = c.Before, c.After
	}
	for _, d := range c.Details {
		var y detailXML
		y.Target.Attribute, y.Target.Name, y.Target.RequiresRecreation = d.Attribute, d.Name, d.Recreation
		if values {
			y.Target.Path, y.Target.BeforeValue, y.Target.AfterValue, y.Target.AttributeChangeType = d.Path, d.Before, d.After, d.ChangeType
		}
		y.Evaluation, y.ChangeSource, y.CausingEntity = d.Evaluation, d.Source, d.Entity
		r.Details.All = append(r.Details.All, y)
	}
	return x
}

// DescribeChangeSet tells what a change set would change.
func (a *api) DescribeChangeSet(ctx context.Context, in request) (any, error) {
	c, s, err := a.changeSet(ctx, in)
	if err != nil {
		return nil, err
	}
	values, err := in.is("IncludePropertyValues")
	if err != nil {
		return nil, err
	}
	first := 0
	if _, err := in.after(c.ID, &first); err != nil {
		return nil, err
	}
	var changes []Change
	if len(c.Changes) > 0 {
		if err := json.Unmarshal(c.Changes, &changes); err != nil {
			return nil, fmt.Errorf("read changes of %s: %w", c.ID, err)
		}
	}
	result := struct {
		ChangeSetName         string
		ChangeSetID           string `xml:"ChangeSetId"`
		StackID               string `xml:"StackId"`
		StackName             string
		Description           string                 `xml:",omitempty"`
		Parameters            *members[parameterXML] `xml:",omitempty"`
		CreationTime          *moment
		ExecutionStatus       string
		Status                string
		StatusReason          string `xml:",omitempty"`
		NotificationARNs      members[string]
		RollbackConfiguration struct{}
		Capabilities          members[string]
		Tags                  *members[tagXML] `xml:",omitempty"`
		Changes               members[changeXML]
		NextToken             string `xml:",omitempty"`
		IncludeNestedStacks   bool
		ParentChangeSetID     string `xml:"ParentChangeSetId,omitempty"`
		RootChangeSetID       string `xml:"RootChangeSetId,omitempty"`
		OnStackFailure        string `xml:",omitempty"`
	}{
		ChangeSetName: c.Name, ChangeSetID: c.ID, StackID: s.ID, StackName: s.Name, Description: c.Comment, Parameters: some(parametersXML(c.Parameters)),
		CreationTime: momentOf(c.Created), ExecutionStatus: c.Execution, Status: c.Status, StatusReason: c.Reason, NotificationARNs: list(c.NotificationARNs),
		Capabilities: list(c.Capabilities), Tags: some(tagsXML(c.Tags)), IncludeNestedStacks: c.Nested, ParentChangeSetID: c.Parent,
		RootChangeSetID: c.Root, OnStackFailure: c.OnFailure,
	}
	last := len(changes)
	if first = min(max(first, 0), last); last-first > pageSize {
		last = first + pageSize
		result.NextToken = next(c.ID, last)
	}
	for _, change := range changes[first:last] {
		result.Changes.All = append(result.Changes.All, changeAsXML(change, values))
	}
	return result, nil
}

// ExecuteChangeSet begins what a change set says.
func (a *api) ExecuteChangeSet(ctx context.Context, in request) (any, error) {
	c, _, err := a.changeSet(ctx, in)
	if err != nil {
		return nil, err
	}
	token, err := in.token()
	if err != nil {
		return nil, err
	}
	disable, err := in.flag("DisableRollback")
	if err != nil {
		return nil, err
	}
	if disable != nil && c.OnFailure != "" {
		return nil, Validation.New("DisableRollback cannot be specified for a change set with OnStackFailure.")
	}
	retain, err := in.is("RetainExceptOnCreate")
	if err != nil {
		return nil, err
	}
	if err := a.Engine.ExecuteChangeSet(ctx, c.Stack, c.ID, token, disable, retain); err != nil {
		return nil, err
	}
	a.settled(ctx, in, c.Stack)
	return struct{}{}, nil
}

// DeleteChangeSet forgets a change set.
func (a *api) DeleteChangeSet(ctx context.Context, in request) (any, error) {
	set, err := in.sized("ChangeSetName", true, longest, changeSetName)
	if err != nil {
		return nil, err
	}
	name, err := in.sized("StackName", false, longest, nameOrARN)
	if err != nil {
		return nil, err
	}
	if name == "" && !strings.HasPrefix(set, "arn:") {
		return nil, Validation.New("StackName must be specified if ChangeSetName is not specified as an ARN.")
	}
	if err := a.Engine.DeleteChangeSet(ctx, name, set); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}

// ListChangeSets tells a little of the change sets of a stack.
func (a *api) ListChangeSets(ctx context.Context, in request) (any, error) {
	s, err := a.existing(ctx, in)
	if err != nil {
		return nil, err
	}
	var after string
	if _, err := in.after("ListChangeSets "+s.ID, &after); err != nil {
		return nil, err
	}
	var all []store.StackChangeSet
	err = a.view(ctx, func(tx *store.Tx) (err error) {
		all, err = tx.StackChangeSets(ctx, s.ID, after, pageSize+1)
		return err
	})
	if err != nil {
		return nil, err
	}
	type summaryXML struct {
		StackID             string `xml:"StackId"`
		StackName           string
		ChangeSetID         string `xml:"ChangeSetId"`
		ChangeSetName       string
		ExecutionStatus     string
		Status              string
		StatusReason        string `xml:",omitempty"`
		CreationTime        *moment
		Description         string `xml:",omitempty"`
		IncludeNestedStacks bool
		ParentChangeSetID   string `xml:"ParentChangeSetId,omitempty"`
		RootChangeSetID     string `xml:"RootChangeSetId,omitempty"`
	}
	result := struct {
		Summaries members[summaryXML]
		NextToken string `xml:",omitempty"`
	}{}
	if len(all) > pageSize {
		all = all[:pageSize]
		result.NextToken = next("ListChangeSets "+s.ID, all[pageSize-1].Name)
	}
	for _, c := range all {
		result.Summaries.All = append(result.Summaries.All, summaryXML{
			s.ID, s.Name, c.ID, c.Name, c.Execution, c.Status, c.Reason, momentOf(c.Created), c.Comment, c.Nested, c.Parent, c.Root,
		})
	}
	return result, nil
}
