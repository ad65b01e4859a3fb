package identity

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/lamina-run/lamina/store"
)

// attachable returns the policy of an ARN, locked against its deletion when it is
// the account's own.
func attachable(ctx context.Context, tx *store.Tx, account, arn string) (anyPolicy, error) {
	p, err := findPolicy(ctx, tx, account, arn)
	if err == nil && p.own {
		if _, err := tx.LockPolicyDocument(ctx, account, p.name); err != nil {
			return p, err
		}
	}
	return p, err
}

func (s *iam) attachPolicy(k *kind) action {
	return func(ctx context.Context, c Caller, in form) (any, error) {
		arn := in.get("PolicyArn")
		return nil, s.edit(ctx, c, in, k, func(tx *store.Tx, i store.Identity) error {
			if isServiceLinked(i) {
				return unmodifiable(i)
			}
			_, err := attachable(ctx, tx, c.Account, arn)
			if missing(err) {
				return noEntity("Policy %s does not exist or is not attachable.", printable(arn))
			}
			if err != nil {
				return err
			}
			attached, err := tx.AttachedPolicies(ctx, i.IdentityRef)
			switch {
			case err != nil:
				return err
			case slices.Contains(attached, arn):
				return nil
			case len(attached) >= k.attached:
				return limit("PoliciesPer"+k.title, k.attached)
			}
			return tx.AttachPolicy(ctx, i.IdentityRef, arn)
		})
	}
}

func (s *iam) detachPolicy(k *kind) action {
	return func(ctx context.Context, c Caller, in form) (any, error) {
		arn := in.get("PolicyArn")
		return nil, s.edit(ctx, c, in, k, func(tx *store.Tx, i store.Identity) error {
			existed, err := tx.DetachPolicy(ctx, i.IdentityRef, arn)
			if err == nil && !existed {
				return noEntity("Policy %s was not found.", printable(arn))
			}
			return err
		})
	}
}

type attachedXML struct {
	PolicyName string
	PolicyArn  string
}

type attachedListXML struct {
	Member []attachedXML `xml:"member"`
}

func showAttached(arns []string) (out attachedListXML) {
	for _, arn := range arns {
		out.Member = append(out.Member, attachedXML{arn[strings.LastIndex(arn, "/")+1:], arn})
	}
	return out
}

func (s *iam) listAttachedPolicies(k *kind) action {
	return func(ctx context.Context, c Caller, in form) (result any, err error) {
		err = s.view(ctx, c, in, k, func(tx *store.Tx, i store.Identity) error {
			all, err := tx.AttachedPolicies(ctx, i.IdentityRef)
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
			result = struct {
				page
				AttachedPolicies attachedListXML
			}{p, showAttached(arns)}
			return nil
		})
		return result, err
	}
}

func (s *iam) putInlinePolicy(k *kind) action {
	return func(ctx context.Context, c Caller, in form) (any, error) {
		name, err := in.name("PolicyName", maxPolicyName)
		if err != nil {
			return nil, err
		}
		document, err := in.document("PolicyDocument", false)
		if err != nil {
			return nil, err
		}
		return nil, s.edit(ctx, c, in, k, func(tx *store.Tx, i store.Identity) error {
			if isServiceLinked(i) {
				return unmodifiable(i)
			}
			have, err := tx.InlinePolicies(ctx, i.IdentityRef)
			if err != nil {
				return err
			}
			size := documentSize(document)
			for _, p := range have {
				if p.Name != name {
					size += documentSize(p.Document)
				}
			}
			if size > k.inline {
				return refuse(http.StatusConflict, "LimitExceeded", "Maximum policy size of %d bytes exceeded for %s %s", k.inline, k.word, i.Name)
			}
			return tx.PutInlinePolicy(ctx, i.IdentityRef, store.InlinePolicy{Name: name, Document: document})
		})
	}
}

func (s *iam) getInlinePolicy(k *kind) action {
	return func(ctx context.Context, c Caller, in form) (result any, err error) {
		name, err := in.name("PolicyName", maxPolicyName)
		if err != nil {
			return nil, err
		}
		err = s.view(ctx, c, in, k, func(tx *store.Tx, i store.Identity) error {
			all, err := tx.InlinePolicies(ctx, i.IdentityRef)
			if err != nil {
				return err
			}
			at := slices.IndexFunc(all, func(p store.InlinePolicy) bool { return p.Name == name })
			if at < 0 {
				return noEntity("The %s policy with name %s cannot be found.", k.word, name)
			}
			var out struct {
				UserName       string `xml:",omitempty"`
				GroupName      string `xml:",omitempty"`
				RoleName       string `xml:",omitempty"`
				PolicyName     string
				PolicyDocument string
			}
			switch k {
			case users:
				out.UserName = i.Name
			case groups:
				out.GroupName = i.Name
			case roles:
				out.RoleName = i.Name
			}
			out.PolicyName, out.PolicyDocument = name, escaped(all[at].Document)
			result = out
			return nil
		})
		return result, err
	}
}

func (s *iam) deleteInlinePolicy(k *kind) action {
	return func(ctx context.Context, c Caller, in form) (any, error) {
		name, err := in.name("PolicyName", maxPolicyName)
		if err != nil {
			return nil, err
		}
		return nil, s.edit(ctx, c, in, k, func(tx *store.Tx, i store.Identity) error {
			existed, err := tx.DeleteInlinePolicy(ctx, i.IdentityRef, name)
			if err == nil && !existed {
				return noEntity("The %s policy with name %s cannot be found.", k.word, name)
			}
			return err
		})
	}
}

func (s *iam) listInlinePolicies(k *kind) action {
	return func(ctx context.Context, c Caller, in form) (result any, err error) {
		err = s.view(ctx, c, in, k, func(tx *store.Tx, i store.Identity) error {
			all, err := tx.InlinePolicies(ctx, i.IdentityRef)
			if err != nil {
				return err
			}
			all, p, err := paginate(in, all, func(p store.InlinePolicy) string { return p.Name })
			var list namesXML
			for _, p := range all {
				list.Member = append(list.Member, p.Name)
			}
			result = struct {
				page
				PolicyNames namesXML
			}{p, list}
			return err
		})
		return result, err
	}
}

// checkBoundary says why a policy can't be a permissions boundary. "" is none.
func checkBoundary(ctx context.Context, tx *store.Tx, account, arn string) error {
	if arn == "" {
		return nil
	}
	_, err := attachable(ctx, tx, account, arn)
	if missing(err) {
		return noEntity("Scope ARN: %s does not exist or is not attachable.", printable(arn))
	}
	return err
}

func (s *iam) putBoundary(k *kind) action {
	return func(ctx context.Context, c Caller, in form) (any, error) {
		arn := in.get("PermissionsBoundary")
		if arn == "" {
			return nil, invalid("1 validation error detected: Value null at 'permissionsBoundary' failed to satisfy constraint: Member must not be null")
		}
		_, err := s.change(ctx, c, in, k, func(tx *store.Tx, i *store.Identity) error {
			i.Boundary = arn
			return checkBoundary(ctx, tx, c.Account, arn)
		})
		return nil, err
	}
}

func (s *iam) deleteBoundary(k *kind) action {
	return func(ctx context.Context, c Caller, in form) (any, error) {
		_, err := s.change(ctx, c, in, k, func(_ *store.Tx, i *store.Identity) error {
			if i.Boundary == "" {
				return noEntity("%s %s does not have a permissions boundary.", k.title, i.Name)
			}
			i.Boundary = ""
			return nil
		})
		return nil, err
	}
}
