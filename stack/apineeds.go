package stack

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
	"github.com/lamina-run/lamina/wire/query"
)

// stacksARN begins the ARNs of stacks of an account and region.
func stacksARN(in lamina.Scope) string {
	return "arn:" + lamina.Partition + ":cloudformation:" + in.Region + ":" + in.Account + ":stack/"
}

// nowhere are the operations that are about no stack.
var nowhere = []string{"ValidateTemplate", "ListExports", "ListImports", "DescribeAccountLimits"}

// permit answers CloudFormation's AccessDenied when the caller may not do what a
// request asks for, as the Service Authorization Reference has it.
func (a *api) permit(ctx context.Context, action string, form query.Form) error {
	c, _ := identity.CallerOf(ctx) // proven
	in := request{Form: form, Caller: c}
	n := identity.Need{Action: "cloudformation:" + action, Resource: "*", Account: c.Account}
	n.Set("cloudformation:CreateAction", action)
	for param, key := range map[string]string{
		"TemplateURL": "cloudformation:TemplateUrl", "RoleARN": "cloudformation:RoleArn", "ChangeSetName": "cloudformation:ChangeSetName",
		"StackPolicyURL": "cloudformation:StackPolicyUrl",
	} {
		if v := in.Get(param); v != "" {
			n.Set(key, v)
		}
	}
	if types := in.List("ResourceTypes"); len(types) > 0 {
		n.Set("cloudformation:ResourceTypes", types...)
	}
	if tags, err := in.tags(); err == nil && len(tags) > 0 {
		keys := make([]string, 0, len(tags))
		for key, value := range tags {
			n.Set("aws:RequestTag/"+key, value)
			keys = append(keys, key)
		}
		slices.Sort(keys)
		n.Set("aws:TagKeys", keys...)
	}
	found, err := a.about(ctx, in, action)
	if err != nil {
		return err
	}
	if found.ID != "" {
		for key, value := range found.Tags {
			n.Set("aws:ResourceTag/"+key, value)
		}
	}
	named := n
	switch reference := cmpOr(in.Get("StackName"), changeSetStack(found, in)); {
	case slices.Contains(nowhere, action), action == "GetTemplateSummary" && reference == "":
	case strings.HasPrefix(reference, "arn:"):
		n.Resource, named.Resource = reference, reference
	case reference == "":
		n.Resource = stacksARN(in.scope()) + "*/*"
		named.Resource = n.Resource
	default:
		n.Resource = stacksARN(in.scope()) + reference + "/*"
		named.Resource = n.Resource
		if found.ID != "" {
			n.Resource = found.ID
		}
	}
	if err := a.may(ctx, c, n, named); err != nil {
		return err
	}
	role := in.Get("RoleARN")
	if role == "" {
		return nil
	}
	m := roleARN.FindStringSubmatch(role)
	if m == nil {
		return told(Validation.Errorf("Role %s is invalid or cannot be assumed", query.Printable(role)))
	}
	pass := identity.Need{Action: "iam:PassRole", Resource: role, Account: m[1]}
	pass.Set("iam:PassedToService", principal)
	return a.may(ctx, c, pass, pass)
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// changeSetStack is the stack of a change set that is named by its ARN alone.
func changeSetStack(found store.Stack, in request) string {
	if strings.HasPrefix(in.Get("ChangeSetName"), "arn:") {
		return found.ID
	}
	return ""
}

// principal is the service that assumes roles of stacks.
const principal = "cloudformation.amazonaws.com"

// about is the stack that a request names, the zero value when there is none.
func (a *api) about(ctx context.Context, in request, action string) (s store.Stack, err error) {
	name, set := in.Get("StackName"), in.Get("ChangeSetName")
	if slices.Contains(nowhere, action) || name == "" && !strings.HasPrefix(set, "arn:") {
		return s, nil
	}
	err = a.view(ctx, func(tx *store.Tx) error {
		if name == "" {
			c, err := tx.StackChangeSet(ctx, set)
			if err != nil {
				return err
			}
			name = c.Stack
		}
		s, err = a.find(ctx, tx, name)
		return err
	})
	if _, ok := errors.AsType[*wire.Exception](err); ok || errors.Is(err, lamina.ErrNotFound) {
		return store.Stack{}, nil // the operation tells
	}
	return s, err
}

// may asks for a permission on what a request is about. The answer names it as the
// client did, so that it does not tell what there is.
func (a *api) may(ctx context.Context, c identity.Caller, n, named identity.Need) error {
	d, err := a.Authority.Decide(ctx, c, n)
	if err != nil || d.Allowed {
		return err
	}
	if named.Resource != n.Resource {
		again, err := a.Authority.Decide(ctx, c, named)
		if err != nil {
			return err
		}
		if !again.Allowed {
			d = again
		}
	}
	return query.Errorf(http.StatusForbidden, "AccessDenied", "%s", d.Message())
}
