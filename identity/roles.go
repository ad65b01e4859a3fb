package identity

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
)

const (
	maxRoleName    = 64
	maxDescription = 1000
	defaultSession = 3600
)

// roleXML is a role as answers show it. Lists leave out its tags.
type roleXML struct {
	Path                     string
	RoleName                 string
	RoleID                   string `xml:"RoleId"`
	Arn                      string
	CreateDate               xmlTime
	AssumeRolePolicyDocument string
	Description              string `xml:",omitempty"`
	MaxSessionDuration       int64
	Tags                     *tagsXML  `xml:",omitempty"`
	RoleLastUsed             *struct{} `xml:",omitempty"`
}

func roleARN(r store.Role) string {
	return "arn:" + lamina.Partition + ":iam::" + r.Account + ":role" + r.Path + r.Name
}

func showRole(r store.Role) roleXML {
	return roleXML{
		Path: r.Path, RoleName: r.Name, RoleID: r.ID, Arn: roleARN(r), CreateDate: xmlTime(r.Created),
		AssumeRolePolicyDocument: escaped(r.TrustPolicy), Description: r.Description, MaxSessionDuration: r.MaxSessionSeconds,
	}
}

func showRoleFully(r store.Role) any {
	x := showRole(r)
	x.Tags = tagList(r.Tags)
	x.RoleLastUsed = &struct{}{}
	return struct{ Role roleXML }{x}
}

// session returns the parameter MaxSessionDuration, in seconds.
func (f form) session() (int64, error) {
	v := f.given("MaxSessionDuration")
	if v == nil {
		return defaultSession, nil
	}
	n, err := strconv.ParseInt(*v, 10, 64)
	if err != nil || n < 3600 || n > 43200 {
		return 0, invalid("1 validation error detected: Value '%s' at 'maxSessionDuration' failed to satisfy constraint: Member must have value between 3600 and 43200", printable(*v))
	}
	return n, nil
}

func (s *iam) createRole(ctx context.Context, c Caller, in form) (any, error) {
	name, err := in.name("RoleName", maxRoleName)
	if err != nil {
		return nil, err
	}
	r := store.Role{Account: c.Account, Name: name, ID: newID("AROA"), Created: s.now()}
	if r.Path, err = in.path(); err != nil {
		return nil, err
	}
	if r.Description, err = in.text("Description", maxDescription); err != nil {
		return nil, err
	}
	if r.TrustPolicy, err = in.document("AssumeRolePolicyDocument", true); err != nil {
		return nil, err
	}
	if r.MaxSessionSeconds, err = in.session(); err != nil {
		return nil, err
	}
	if r.Tags, err = in.tags(); err != nil {
		return nil, err
	}
	if in.get("PermissionsBoundary") != "" {
		return nil, refuse(http.StatusBadRequest, "InvalidInput", "Lamina does not offer permissions boundaries yet.")
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error { return tx.InsertRole(ctx, r) })
	if errors.Is(err, lamina.ErrExists) {
		return nil, refuse(http.StatusConflict, "EntityAlreadyExists", "Role with name %s already exists.", name)
	}
	if err != nil {
		return nil, err
	}
	x := showRole(r)
	x.Tags = tagList(r.Tags)
	return struct{ Role roleXML }{x}, nil
}

// role reads the role that the request names.
func (s *iam) role(ctx context.Context, tx *store.Tx, c Caller, in form) (store.Role, error) {
	name, err := in.name("RoleName", maxRoleName)
	if err != nil {
		return store.Role{}, err
	}
	r, err := tx.Role(ctx, c.Account, name)
	if missing(err) {
		return r, noEntity("The role with name %s cannot be found.", name)
	}
	return r, err
}

// viewRole runs fn with the role that the request names.
func (s *iam) viewRole(ctx context.Context, c Caller, in form, fn func(*store.Tx, store.Role) error) error {
	return s.store.View(ctx, func(tx *store.Tx) error {
		r, err := s.role(ctx, tx, c, in)
		if err != nil {
			return err
		}
		return fn(tx, r)
	})
}

// editRole is viewRole in a transaction that may write.
func (s *iam) editRole(ctx context.Context, c Caller, in form, fn func(*store.Tx, store.Role) error) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		r, err := s.role(ctx, tx, c, in)
		if err != nil {
			return err
		}
		return fn(tx, r)
	})
}

// changeRole writes what edit makes of the role that the request names.
func (s *iam) changeRole(ctx context.Context, c Caller, in form, edit func(*store.Role) error) (r store.Role, err error) {
	err = s.editRole(ctx, c, in, func(tx *store.Tx, have store.Role) error {
		r = have
		if err := edit(&r); err != nil {
			return err
		}
		return tx.UpdateRole(ctx, r)
	})
	return r, err
}

func (s *iam) getRole(ctx context.Context, c Caller, in form) (result any, err error) {
	err = s.viewRole(ctx, c, in, func(_ *store.Tx, r store.Role) error {
		result = showRoleFully(r)
		return nil
	})
	return result, err
}

func (s *iam) listRoles(ctx context.Context, c Caller, in form) (any, error) {
	after, size, err := in.page()
	if err != nil {
		return nil, err
	}
	var roles []store.Role
	err = s.store.View(ctx, func(tx *store.Tx) (err error) {
		roles, err = tx.Roles(ctx, c.Account, in.get("PathPrefix"), after, size+1)
		return err
	})
	if err != nil {
		return nil, err
	}
	roles, p := cutPage(roles, size, func(r store.Role) string { return r.Name })
	var out struct {
		page
		Roles struct {
			Member []roleXML `xml:"member"`
		}
	}
	out.page = p
	for _, r := range roles {
		out.Roles.Member = append(out.Roles.Member, showRole(r))
	}
	return out, nil
}

func (s *iam) updateRole(ctx context.Context, c Caller, in form) (any, error) {
	_, err := s.changeRole(ctx, c, in, func(r *store.Role) (err error) {
		if in.given("Description") != nil {
			if r.Description, err = in.text("Description", maxDescription); err != nil {
				return err
			}
		}
		if in.given("MaxSessionDuration") != nil {
			r.MaxSessionSeconds, err = in.session()
		}
		return err
	})
	return struct{}{}, err
}

func (s *iam) updateRoleDescription(ctx context.Context, c Caller, in form) (any, error) {
	r, err := s.changeRole(ctx, c, in, func(r *store.Role) (err error) {
		r.Description, err = in.text("Description", maxDescription)
		return err
	})
	if err != nil {
		return nil, err
	}
	return struct{ Role roleXML }{showRole(r)}, nil
}

func (s *iam) updateAssumeRolePolicy(ctx context.Context, c Caller, in form) (any, error) {
	trust, err := in.document("PolicyDocument", true)
	if err != nil {
		return nil, err
	}
	_, err = s.changeRole(ctx, c, in, func(r *store.Role) error {
		r.TrustPolicy = trust
		return nil
	})
	return nil, err
}

func (s *iam) deleteRole(ctx context.Context, c Caller, in form) (any, error) {
	return nil, s.editRole(ctx, c, in, func(tx *store.Tx, r store.Role) error {
		attached, err := tx.AttachedRolePolicies(ctx, c.Account, r.Name)
		if err != nil {
			return err
		}
		if len(attached) > 0 {
			return conflict("Cannot delete entity, must detach all policies first.")
		}
		inline, err := tx.RolePolicies(ctx, c.Account, r.Name)
		if err != nil {
			return err
		}
		if len(inline) > 0 {
			return conflict("Cannot delete entity, must delete policies first.")
		}
		_, err = tx.DeleteRole(ctx, c.Account, r.Name)
		return err
	})
}

func (s *iam) tagRole(ctx context.Context, c Caller, in form) (any, error) {
	tags, err := in.tags()
	if err != nil {
		return nil, err
	}
	_, err = s.changeRole(ctx, c, in, func(r *store.Role) (err error) {
		r.Tags, err = merge(r.Tags, tags)
		return err
	})
	return nil, err
}

func (s *iam) untagRole(ctx context.Context, c Caller, in form) (any, error) {
	_, err := s.changeRole(ctx, c, in, func(r *store.Role) (err error) {
		r.Tags, err = merge(r.Tags, nil)
		for _, key := range in.list("TagKeys") {
			delete(r.Tags, key)
		}
		return err
	})
	return nil, err
}

// tagsPage is the answer of ListRoleTags and ListPolicyTags.
func tagsPage(in form, tags map[string]string) (any, error) {
	var all []tagXML
	if l := tagList(tags); l != nil {
		all = l.Member
	}
	members, p, err := paginate(in, all, func(t tagXML) string { return t.Key })
	if err != nil {
		return nil, err
	}
	return struct {
		page
		Tags tagsXML
	}{p, tagsXML{members}}, nil
}

func (s *iam) listRoleTags(ctx context.Context, c Caller, in form) (result any, err error) {
	err = s.viewRole(ctx, c, in, func(_ *store.Tx, r store.Role) (err error) {
		result, err = tagsPage(in, r.Tags)
		return err
	})
	return result, err
}

// listInstanceProfilesForRole has none to list: Lambda has no instances.
func (s *iam) listInstanceProfilesForRole(ctx context.Context, c Caller, in form) (any, error) {
	err := s.viewRole(ctx, c, in, func(*store.Tx, store.Role) error { return nil })
	if err != nil {
		return nil, err
	}
	return struct {
		InstanceProfiles struct{}
		page
	}{}, nil
}
