package identity

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
)

const (
	maxPolicyName = 128
	maxAttached   = 10
	firstVersion  = "v1" // of an account's own policy, the only one so far
)

// policy is a policy that can be attached: one of AWS's, or of the account.
type policy struct {
	id, name, arn, path, version, description, document string
	created                                             time.Time
	attached                                            int64
	own                                                 bool
}

type policyXML struct {
	PolicyName                    string
	PolicyID                      string `xml:"PolicyId"`
	Arn                           string
	Path                          string
	DefaultVersionID              string `xml:"DefaultVersionId"`
	AttachmentCount               int64
	PermissionsBoundaryUsageCount int64
	IsAttachable                  bool
	Description                   string `xml:",omitempty"`
	CreateDate                    xmlTime
	UpdateDate                    xmlTime
	Tags                          *tagsXML `xml:",omitempty"`
}

func (p policy) show() policyXML {
	return policyXML{
		PolicyName: p.name, PolicyID: p.id, Arn: p.arn, Path: p.path, DefaultVersionID: p.version, AttachmentCount: p.attached,
		IsAttachable: true, CreateDate: xmlTime(p.created), UpdateDate: xmlTime(p.created),
	}
}

func policyARN(p store.PolicyDocument) string {
	return "arn:" + lamina.Partition + ":iam::" + p.Account + ":policy" + p.Path + p.Name
}

func ownPolicy(p store.PolicyDocument) policy {
	return policy{
		id: p.ID, name: p.Name, arn: policyARN(p), path: p.Path, version: firstVersion,
		description: p.Description, document: p.Document, created: p.Created, own: true,
	}
}

func awsPolicy(p managedPolicy) policy {
	return policy{
		id: p.ID(), name: p.Name, arn: p.ARN(), path: p.Path, version: p.Version,
		description: p.Description, document: p.Document, created: managedSince,
	}
}

// findPolicy returns the policy of an ARN, lamina.ErrNotFound when there is none.
func findPolicy(ctx context.Context, tx *store.Tx, c Caller, arn string) (policy, error) {
	m := arnForm.FindStringSubmatch(arn)
	if m == nil {
		return policy{}, refuse(http.StatusBadRequest, "InvalidInput", "ARN %s is not valid.", printable(arn))
	}
	if m[1] == "aws" {
		p, ok := findManaged(arn)
		if !ok {
			return policy{}, lamina.ErrNotFound
		}
		return awsPolicy(p), nil
	}
	if m[1] != c.Account {
		return policy{}, lamina.ErrNotFound
	}
	p, err := tx.PolicyDocument(ctx, c.Account, m[2][strings.LastIndex(m[2], "/")+1:])
	if err == nil && policyARN(p) != arn {
		err = lamina.ErrNotFound
	}
	return ownPolicy(p), err
}

// storePage is how many rows are read at once where all are wanted.
const storePage = 500

// attachments counts to how many roles each policy is attached.
func attachments(ctx context.Context, tx *store.Tx, account string) (map[string]int64, error) {
	uses := map[string]int64{}
	after := ""
	for {
		roles, err := tx.Roles(ctx, account, "", after, storePage)
		if err != nil {
			return nil, err
		}
		for _, r := range roles {
			arns, err := tx.AttachedRolePolicies(ctx, account, r.Name)
			if err != nil {
				return nil, err
			}
			for _, arn := range arns {
				uses[arn]++
			}
			after = r.Name
		}
		if len(roles) < storePage {
			return uses, nil
		}
	}
}

// viewPolicy runs fn with the policy that the request names.
func (s *iam) viewPolicy(ctx context.Context, c Caller, in form, fn func(*store.Tx, policy) error) error {
	return s.store.View(ctx, func(tx *store.Tx) error { return s.withPolicy(ctx, tx, c, in, fn) })
}

// editPolicy is viewPolicy of a policy of the account, in a transaction that may write.
func (s *iam) editPolicy(ctx context.Context, c Caller, in form, fn func(*store.Tx, policy) error) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		return s.withPolicy(ctx, tx, c, in, func(tx *store.Tx, p policy) error {
			if !p.own {
				return refuse(http.StatusForbidden, "AccessDenied", "Policy %s is managed by AWS and can't be changed.", p.arn)
			}
			return fn(tx, p)
		})
	})
}

func (s *iam) withPolicy(ctx context.Context, tx *store.Tx, c Caller, in form, fn func(*store.Tx, policy) error) error {
	arn := in.get("PolicyArn")
	p, err := findPolicy(ctx, tx, c, arn)
	if missing(err) {
		return noEntity("Policy %s was not found.", printable(arn))
	}
	if err != nil {
		return err
	}
	return fn(tx, p)
}

func (s *iam) createPolicy(ctx context.Context, c Caller, in form) (any, error) {
	name, err := in.name("PolicyName", maxPolicyName)
	if err != nil {
		return nil, err
	}
	p := store.PolicyDocument{Account: c.Account, Name: name, ID: newID("ANPA"), Created: s.now()}
	if p.Path, err = in.path(); err != nil {
		return nil, err
	}
	if p.Description, err = in.text("Description", maxDescription); err != nil {
		return nil, err
	}
	if p.Document, err = in.document("PolicyDocument", false); err != nil {
		return nil, err
	}
	tags, err := in.tags()
	if err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.InsertPolicyDocument(ctx, p); err != nil {
			return err
		}
		return tx.SetTags(ctx, policyARN(p), tags)
	})
	if errors.Is(err, lamina.ErrExists) {
		return nil, refuse(http.StatusConflict, "EntityAlreadyExists", "A policy called %s already exists. Duplicate names are not allowed.", name)
	}
	if err != nil {
		return nil, err
	}
	x := ownPolicy(p).show()
	x.Tags = tagList(tags)
	return struct{ Policy policyXML }{x}, nil
}

func (s *iam) getPolicy(ctx context.Context, c Caller, in form) (result any, err error) {
	err = s.viewPolicy(ctx, c, in, func(tx *store.Tx, p policy) error {
		uses, err := attachments(ctx, tx, c.Account)
		if err != nil {
			return err
		}
		p.attached = uses[p.arn]
		x := p.show()
		x.Description = p.description
		if p.own {
			tags, err := tx.Tags(ctx, p.arn)
			if err != nil {
				return err
			}
			x.Tags = tagList(tags)
		}
		result = struct{ Policy policyXML }{x}
		return nil
	})
	return result, err
}

type policyVersionXML struct {
	Document         string `xml:",omitempty"`
	VersionID        string `xml:"VersionId"`
	IsDefaultVersion bool
	CreateDate       xmlTime
}

func (s *iam) getPolicyVersion(ctx context.Context, c Caller, in form) (result any, err error) {
	err = s.viewPolicy(ctx, c, in, func(_ *store.Tx, p policy) error {
		if id := in.get("VersionId"); id != p.version {
			return noEntity("Policy %s version %s does not exist or is not attachable.", p.arn, printable(id))
		}
		result = struct{ PolicyVersion policyVersionXML }{policyVersionXML{escaped(p.document), p.version, true, xmlTime(p.created)}}
		return nil
	})
	return result, err
}

func (s *iam) listPolicyVersions(ctx context.Context, c Caller, in form) (result any, err error) {
	err = s.viewPolicy(ctx, c, in, func(_ *store.Tx, p policy) error {
		var out struct {
			page
			Versions struct {
				Member []policyVersionXML `xml:"member"`
			}
		}
		out.Versions.Member = []policyVersionXML{{VersionID: p.version, IsDefaultVersion: true, CreateDate: xmlTime(p.created)}}
		result = out
		return nil
	})
	return result, err
}

func (s *iam) listPolicies(ctx context.Context, c Caller, in form) (any, error) {
	scope, prefix := in.get("Scope"), in.get("PathPrefix")
	var all []policy
	err := s.store.View(ctx, func(tx *store.Tx) error {
		for after, more := "", scope != "AWS"; more; {
			own, err := tx.PolicyDocuments(ctx, c.Account, after, storePage)
			if err != nil {
				return err
			}
			for _, p := range own {
				all = append(all, ownPolicy(p))
				after = p.Name
			}
			more = len(own) == storePage
		}
		if scope != "Local" {
			for _, p := range managedPolicies {
				all = append(all, awsPolicy(p))
			}
		}
		uses, err := attachments(ctx, tx, c.Account)
		for i := range all {
			all[i].attached = uses[all[i].arn]
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(p policy) bool {
		return !strings.HasPrefix(p.path, prefix) || in.get("OnlyAttached") == "true" && p.attached == 0
	})
	slices.SortFunc(all, func(a, b policy) int { return strings.Compare(a.arn, b.arn) })
	policies, pg, err := paginate(in, all, func(p policy) string { return p.arn })
	if err != nil {
		return nil, err
	}
	var out struct {
		page
		Policies struct {
			Member []policyXML `xml:"member"`
		}
	}
	out.page = pg
	for _, p := range policies {
		out.Policies.Member = append(out.Policies.Member, p.show())
	}
	return out, nil
}

func (s *iam) deletePolicy(ctx context.Context, c Caller, in form) (any, error) {
	return nil, s.editPolicy(ctx, c, in, func(tx *store.Tx, p policy) error {
		uses, err := attachments(ctx, tx, c.Account)
		if err != nil {
			return err
		}
		if uses[p.arn] > 0 {
			return conflict("Cannot delete a policy attached to entities.")
		}
		tags, err := tx.Tags(ctx, p.arn)
		if err != nil {
			return err
		}
		if err := tx.DeleteTags(ctx, p.arn, slices.Collect(maps.Keys(tags))); err != nil {
			return err
		}
		_, err = tx.DeletePolicyDocument(ctx, c.Account, p.name)
		return err
	})
}

func (s *iam) tagPolicy(ctx context.Context, c Caller, in form) (any, error) {
	tags, err := in.tags()
	if err != nil {
		return nil, err
	}
	return nil, s.editPolicy(ctx, c, in, func(tx *store.Tx, p policy) error {
		have, err := tx.Tags(ctx, p.arn)
		if err != nil {
			return err
		}
		if _, err := merge(have, tags); err != nil {
			return err
		}
		return tx.SetTags(ctx, p.arn, tags)
	})
}

func (s *iam) untagPolicy(ctx context.Context, c Caller, in form) (any, error) {
	return nil, s.editPolicy(ctx, c, in, func(tx *store.Tx, p policy) error {
		return tx.DeleteTags(ctx, p.arn, in.list("TagKeys"))
	})
}

func (s *iam) listPolicyTags(ctx context.Context, c Caller, in form) (result any, err error) {
	err = s.viewPolicy(ctx, c, in, func(tx *store.Tx, p policy) error {
		tags, err := tx.Tags(ctx, p.arn)
		if err != nil {
			return err
		}
		result, err = tagsPage(in, tags)
		return err
	})
	return result, err
}

func (s *iam) attachRolePolicy(ctx context.Context, c Caller, in form) (any, error) {
	arn := in.get("PolicyArn")
	return nil, s.editRole(ctx, c, in, func(tx *store.Tx, r store.Role) error {
		_, err := findPolicy(ctx, tx, c, arn)
		if missing(err) {
			return noEntity("Policy %s does not exist or is not attachable.", printable(arn))
		}
		if err != nil {
			return err
		}
		attached, err := tx.AttachedRolePolicies(ctx, c.Account, r.Name)
		switch {
		case err != nil:
			return err
		case slices.Contains(attached, arn):
			return nil
		case len(attached) >= maxAttached:
			return refuse(http.StatusConflict, "LimitExceeded", "Cannot exceed quota for PoliciesPerRole: %d", maxAttached)
		}
		return tx.AttachRolePolicy(ctx, c.Account, r.Name, arn)
	})
}

func (s *iam) detachRolePolicy(ctx context.Context, c Caller, in form) (any, error) {
	arn := in.get("PolicyArn")
	return nil, s.editRole(ctx, c, in, func(tx *store.Tx, r store.Role) error {
		existed, err := tx.DetachRolePolicy(ctx, c.Account, r.Name, arn)
		if err == nil && !existed {
			return noEntity("Policy %s was not found.", printable(arn))
		}
		return err
	})
}

func (s *iam) listAttachedRolePolicies(ctx context.Context, c Caller, in form) (result any, err error) {
	type attachedXML struct {
		PolicyName string
		PolicyArn  string
	}
	err = s.viewRole(ctx, c, in, func(tx *store.Tx, r store.Role) error {
		all, err := tx.AttachedRolePolicies(ctx, c.Account, r.Name)
		if err != nil {
			return err
		}
		prefix := in.get("PathPrefix")
		all = slices.DeleteFunc(all, func(arn string) bool {
			_, path, _ := strings.Cut(arn, ":policy")
			return !strings.HasPrefix(path, prefix)
		})
		arns, p, err := paginate(in, all, func(arn string) string { return arn })
		if err != nil {
			return err
		}
		var out struct {
			page
			AttachedPolicies struct {
				Member []attachedXML `xml:"member"`
			}
		}
		out.page = p
		for _, arn := range arns {
			out.AttachedPolicies.Member = append(out.AttachedPolicies.Member, attachedXML{arn[strings.LastIndex(arn, "/")+1:], arn})
		}
		result = out
		return nil
	})
	return result, err
}

func (s *iam) putRolePolicy(ctx context.Context, c Caller, in form) (any, error) {
	name, err := in.name("PolicyName", maxPolicyName)
	if err != nil {
		return nil, err
	}
	document, err := in.document("PolicyDocument", false)
	if err != nil {
		return nil, err
	}
	return nil, s.editRole(ctx, c, in, func(tx *store.Tx, r store.Role) error {
		return tx.PutRolePolicy(ctx, c.Account, r.Name, name, document)
	})
}

func (s *iam) getRolePolicy(ctx context.Context, c Caller, in form) (result any, err error) {
	name, err := in.name("PolicyName", maxPolicyName)
	if err != nil {
		return nil, err
	}
	err = s.viewRole(ctx, c, in, func(tx *store.Tx, r store.Role) error {
		document, err := tx.RolePolicy(ctx, c.Account, r.Name, name)
		if missing(err) {
			return noEntity("The role policy with name %s cannot be found.", name)
		}
		result = struct {
			RoleName       string
			PolicyName     string
			PolicyDocument string
		}{r.Name, name, escaped(document)}
		return err
	})
	return result, err
}

func (s *iam) deleteRolePolicy(ctx context.Context, c Caller, in form) (any, error) {
	name, err := in.name("PolicyName", maxPolicyName)
	if err != nil {
		return nil, err
	}
	return nil, s.editRole(ctx, c, in, func(tx *store.Tx, r store.Role) error {
		existed, err := tx.DeleteRolePolicy(ctx, c.Account, r.Name, name)
		if err == nil && !existed {
			return noEntity("The role policy with name %s cannot be found.", name)
		}
		return err
	})
}

func (s *iam) listRolePolicies(ctx context.Context, c Caller, in form) (result any, err error) {
	err = s.viewRole(ctx, c, in, func(tx *store.Tx, r store.Role) error {
		all, err := tx.RolePolicies(ctx, c.Account, r.Name)
		if err != nil {
			return err
		}
		names, p, err := paginate(in, all, func(name string) string { return name })
		result = struct {
			page
			PolicyNames namesXML
		}{p, namesXML{names}}
		return err
	})
	return result, err
}
