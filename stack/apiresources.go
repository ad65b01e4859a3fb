package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire/query"
)

// fromMillis is a time of a token.
func fromMillis(ms int64) time.Time { return time.UnixMilli(ms) }

// DescribeStackEvents tells what happened to a stack, the youngest first.
func (a *api) DescribeStackEvents(ctx context.Context, in request) (any, error) {
	s, err := a.existing(ctx, in)
	if err != nil {
		return nil, err
	}
	var before int64
	if _, err := in.after("DescribeStackEvents "+s.ID, &before); err != nil {
		return nil, err
	}
	var all []store.StackEvent
	err = a.view(ctx, func(tx *store.Tx) (err error) {
		all, err = tx.StackEvents(ctx, s.ID, before, pageSize+1)
		return err
	})
	if err != nil {
		return nil, err
	}
	type eventXML struct {
		StackID              string `xml:"StackId"`
		EventID              string `xml:"EventId"`
		StackName            string
		LogicalResourceID    string `xml:"LogicalResourceId"`
		PhysicalResourceID   string `xml:"PhysicalResourceId"`
		ResourceType         string
		Timestamp            *moment
		ResourceStatus       string
		ResourceStatusReason string `xml:",omitempty"`
		ResourceProperties   string `xml:",omitempty"`
		ClientRequestToken   string `xml:",omitempty"`
	}
	result := struct {
		StackEvents members[eventXML]
		NextToken   string `xml:",omitempty"`
	}{}
	if len(all) > pageSize {
		all = all[:pageSize]
		result.NextToken = next("DescribeStackEvents "+s.ID, all[pageSize-1].Number)
	}
	for _, e := range all {
		result.StackEvents.All = append(result.StackEvents.All, eventXML{
			s.ID, e.ID, s.Name, e.LogicalID, e.PhysicalID, e.Type, momentOf(e.Time), e.Status, e.Reason, e.Properties, e.Token,
		})
	}
	return result, nil
}

type resourceDriftXML struct {
	StackResourceDriftStatus string
}

var notChecked = resourceDriftXML{"NOT_CHECKED"}

// shown returns the resources of the stack that a request names.
func (a *api) shown(ctx context.Context, in request) (s store.Stack, all []store.StackResource, err error) {
	if s, err = a.existing(ctx, in); err != nil {
		return s, nil, err
	}
	all, err = a.shownOf(ctx, s.ID)
	return s, all, err
}

func (a *api) shownOf(ctx context.Context, id string) ([]store.StackResource, error) {
	var all []store.StackResource
	err := a.view(ctx, func(tx *store.Tx) (err error) {
		all, err = tx.StackResources(ctx, id)
		return err
	})
	return ShownResources(all), err
}

// DescribeStackResource tells of one resource.
func (a *api) DescribeStackResource(ctx context.Context, in request) (any, error) {
	id, err := in.sized("LogicalResourceId", true, 255, nil)
	if err != nil {
		return nil, err
	}
	s, all, err := a.shown(ctx, in)
	if err != nil {
		return nil, err
	}
	type detailXML struct {
		StackName            string
		StackID              string `xml:"StackId"`
		LogicalResourceID    string `xml:"LogicalResourceId"`
		PhysicalResourceID   string `xml:"PhysicalResourceId,omitempty"`
		ResourceType         string
		LastUpdatedTimestamp *moment
		ResourceStatus       string
		ResourceStatusReason string `xml:",omitempty"`
		Metadata             string
		DriftInformation     resourceDriftXML
	}
	for _, r := range all {
		if r.LogicalID != id {
			continue
		}
		metadata := "{}"
		if r.Metadata != nil {
			text, err := json.Marshal(r.Metadata)
			if err != nil {
				return nil, fmt.Errorf("encode metadata of %s: %w", id, err)
			}
			metadata = string(text)
		}
		return struct{ StackResourceDetail detailXML }{detailXML{
			s.Name, s.ID, r.LogicalID, r.PhysicalID, r.Type, momentOf(r.Updated), r.Status, r.Reason, metadata, notChecked,
		}}, nil
	}
	return nil, Validation.Errorf("Resource %s does not exist for stack %s", query.Printable(id), s.Name)
}

// DescribeStackResources tells of the resources of a stack, or of that which has a
// physical ID.
func (a *api) DescribeStackResources(ctx context.Context, in request) (any, error) {
	logical, err := in.sized("LogicalResourceId", false, 255, nil)
	if err != nil {
		return nil, err
	}
	physical, err := in.sized("PhysicalResourceId", false, 2048, nil)
	if err != nil {
		return nil, err
	}
	var s store.Stack
	switch {
	case physical != "" && in.Get("StackName") != "":
		return nil, Validation.New("Either StackName or PhysicalResourceId can be specified, not both.")
	case physical == "" && in.Get("StackName") == "":
		return nil, Validation.New("Either StackName or PhysicalResourceId must be specified.")
	case physical != "":
		err = a.view(ctx, func(tx *store.Tx) error {
			id, err := tx.StackOfResource(ctx, in.scope(), physical)
			if err != nil {
				return err
			}
			s, err = tx.Stack(ctx, id)
			return err
		})
		if errors.Is(err, lamina.ErrNotFound) {
			err = Validation.Errorf("Stack for %s does not exist", query.Printable(physical))
		}
	default:
		s, err = a.existing(ctx, in)
	}
	if err != nil {
		return nil, err
	}
	all, err := a.shownOf(ctx, s.ID)
	if err != nil {
		return nil, err
	}
	type resourceXML struct {
		StackName            string
		StackID              string `xml:"StackId"`
		LogicalResourceID    string `xml:"LogicalResourceId"`
		PhysicalResourceID   string `xml:"PhysicalResourceId,omitempty"`
		ResourceType         string
		Timestamp            *moment
		ResourceStatus       string
		ResourceStatusReason string `xml:",omitempty"`
		DriftInformation     resourceDriftXML
	}
	var result struct{ StackResources members[resourceXML] }
	for _, r := range all {
		if logical != "" && r.LogicalID != logical {
			continue
		}
		if len(result.StackResources.All) == pageSize {
			break // AWS tells of no more, and has no second page
		}
		result.StackResources.All = append(result.StackResources.All, resourceXML{
			s.Name, s.ID, r.LogicalID, r.PhysicalID, r.Type, momentOf(r.Updated), r.Status, r.Reason, notChecked,
		})
	}
	if logical != "" && len(result.StackResources.All) == 0 {
		return nil, Validation.Errorf("Resource %s does not exist for stack %s", query.Printable(logical), s.Name)
	}
	return result, nil
}

// ListStackResources tells of the resources of a stack, in pages.
func (a *api) ListStackResources(ctx context.Context, in request) (any, error) {
	s, all, err := a.shown(ctx, in)
	if err != nil {
		return nil, err
	}
	var after string
	if _, err := in.after("ListStackResources "+s.ID, &after); err != nil {
		return nil, err
	}
	type summaryXML struct {
		LogicalResourceID    string `xml:"LogicalResourceId"`
		PhysicalResourceID   string `xml:"PhysicalResourceId,omitempty"`
		ResourceType         string
		LastUpdatedTimestamp *moment
		ResourceStatus       string
		ResourceStatusReason string `xml:",omitempty"`
		DriftInformation     resourceDriftXML
	}
	result := struct {
		StackResourceSummaries members[summaryXML]
		NextToken              string `xml:",omitempty"`
	}{}
	for _, r := range all {
		if r.LogicalID <= after {
			continue
		}
		if n := len(result.StackResourceSummaries.All); n == pageSize {
			result.NextToken = next("ListStackResources "+s.ID, result.StackResourceSummaries.All[n-1].LogicalResourceID)
			break
		}
		result.StackResourceSummaries.All = append(result.StackResourceSummaries.All, summaryXML{
			r.LogicalID, r.PhysicalID, r.Type, momentOf(r.Updated), r.Status, r.Reason, notChecked,
		})
	}
	return result, nil
}

// ListExports tells what the stacks of the account export in the region.
func (a *api) ListExports(ctx context.Context, in request) (any, error) {
	var after string
	if _, err := in.after("ListExports", &after); err != nil {
		return nil, err
	}
	var all []store.StackExport
	err := a.view(ctx, func(tx *store.Tx) (err error) {
		all, err = tx.StackExports(ctx, in.scope(), after, pageSize+1)
		return err
	})
	if err != nil {
		return nil, err
	}
	type exportXML struct {
		ExportingStackID string `xml:"ExportingStackId"`
		Name             string
		Value            string
	}
	result := struct {
		Exports   members[exportXML]
		NextToken string `xml:",omitempty"`
	}{}
	if len(all) > pageSize {
		all = all[:pageSize]
		result.NextToken = next("ListExports", all[pageSize-1].Name)
	}
	for _, e := range all {
		result.Exports.All = append(result.Exports.All, exportXML{e.Stack, e.Name, e.Value})
	}
	return result, nil
}

// ListImports tells which stacks import an export.
func (a *api) ListImports(ctx context.Context, in request) (any, error) {
	name, err := in.sized("ExportName", true, longest, nil)
	if err != nil {
		return nil, err
	}
	var after string
	if _, err := in.after("ListImports "+name, &after); err != nil {
		return nil, err
	}
	result := struct {
		Imports   members[string]
		NextToken string `xml:",omitempty"`
	}{}
	err = a.view(ctx, func(tx *store.Tx) (err error) {
		if _, err = tx.StackExport(ctx, in.scope(), name); err == nil {
			result.Imports.All, err = tx.StackImports(ctx, in.scope(), name, after, pageSize+1)
		}
		return err
	})
	switch all := result.Imports.All; {
	case errors.Is(err, lamina.ErrNotFound):
		return nil, Validation.Errorf("No export named %s found.", query.Printable(name))
	case err != nil:
		return nil, err
	case len(all) == 0 && after == "":
		return nil, Validation.Errorf("Export '%s' is not imported by any stack.", query.Printable(name))
	case len(all) > pageSize:
		result.Imports.All = all[:pageSize]
		result.NextToken = next("ListImports "+name, all[pageSize-1])
	}
	return result, nil
}
