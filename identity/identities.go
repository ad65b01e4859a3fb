package identity

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
)

// kind is what users, groups, roles and instance profiles differ in.
type kind struct {
	of       store.IdentityKind
	title    string // as in CreateUser
	word     string // as in "The user with name …"
	prefix   string // of unique identifiers
	name     int    // characters of a name
	account  int    // how many an account may have
	attached int    // how many managed policies one may have
	inline   int    // bytes of all its inline policies together
}

var (
	users            = &kind{of: store.KindUser, title: "User", word: "user", prefix: "AIDA", name: 64, account: 5000, attached: 10, inline: 2048}
	groups           = &kind{of: store.KindGroup, title: "Group", word: "group", prefix: "AGPA", name: 128, account: 300, attached: 10, inline: 5120}
	roles            = &kind{of: store.KindRole, title: "Role", word: "role", prefix: "AROA", name: 64, account: 1000, attached: 10, inline: 10240}
	instanceProfiles = &kind{of: store.KindInstanceProfile, title: "InstanceProfile", word: "instance profile", prefix: "AIPA", name: 128, account: 1000}
)

func (k *kind) param() string { return k.title + "Name" }

// absent is the refusal of a name that nobody has.
func (k *kind) absent(name string) error {
	if k == instanceProfiles {
		return noEntity("Instance Profile %s cannot be found.", name)
	}
	return noEntity("The %s with name %s cannot be found.", k.word, name)
}

// exists is the refusal of a name that is taken.
func (k *kind) exists(name string) error {
	title := k.title
	if k == instanceProfiles {
		title = "Instance Profile"
	}
	return refuse(http.StatusConflict, "EntityAlreadyExists", "%s with name %s already exists.", title, name)
}

// identityARN is the ARN of an identity.
func identityARN(i store.Identity) string {
	return arnOf(i.Account, string(i.Kind)+i.Path+i.Name)
}

type boundaryXML struct {
	PermissionsBoundaryType string
	PermissionsBoundaryArn  string
}

// identityXML is a user, a group, a role or an instance profile as answers show
// it.
type identityXML struct {
	Path                     string `xml:",omitempty"`
	UserName                 string `xml:",omitempty"`
	UserID                   string `xml:"UserId,omitempty"`
	GroupName                string `xml:",omitempty"`
	GroupID                  string `xml:"GroupId,omitempty"`
	RoleName                 string `xml:",omitempty"`
	RoleID                   string `xml:"RoleId,omitempty"`
	InstanceProfileName      string `xml:",omitempty"`
	InstanceProfileID        string `xml:"InstanceProfileId,omitempty"`
	Arn                      string
	CreateDate               xmlTime
	AssumeRolePolicyDocument string         `xml:",omitempty"`
	Description              string         `xml:",omitempty"`
	MaxSessionDuration       int64          `xml:",omitempty"`
	PermissionsBoundary      *boundaryXML   `xml:",omitempty"`
	Tags                     *tagsXML       `xml:",omitempty"`
	RoleLastUsed             *struct{}      `xml:",omitempty"`
	Roles                    *identitiesXML `xml:",omitempty"`
}

type identitiesXML struct {
	Member []identityXML `xml:"member"`
}

func showIdentities(all []store.Identity) identitiesXML {
	var out identitiesXML
	for _, i := range all {
		out.Member = append(out.Member, showIdentity(i))
	}
	return out
}

// showIdentity is an identity as lists show it: without its tags.
func showIdentity(i store.Identity) identityXML {
	x := identityXML{Path: i.Path, Arn: identityARN(i), CreateDate: xmlTime(i.Created)}
	switch i.Kind {
	case store.KindUser:
		x.UserName, x.UserID = i.Name, i.ID
	case store.KindGroup:
		x.GroupName, x.GroupID = i.Name, i.ID
	case store.KindRole:
		x.RoleName, x.RoleID = i.Name, i.ID
		x.AssumeRolePolicyDocument, x.Description, x.MaxSessionDuration = escaped(i.TrustPolicy), i.Description, i.MaxSessionSeconds
	case store.KindInstanceProfile:
		x.InstanceProfileName, x.InstanceProfileID = i.Name, i.ID
		x.Roles = &identitiesXML{}
	}
	if i.Boundary != "" {
		x.PermissionsBoundary = &boundaryXML{"Policy", i.Boundary}
	}
	return x
}

// oneXML is an answer with one identity.
type oneXML struct {
	User            *identityXML `xml:",omitempty"`
	Group           *identityXML `xml:",omitempty"`
	Role            *identityXML `xml:",omitempty"`
	InstanceProfile *identityXML `xml:",omitempty"`
}

func (k *kind) one(x identityXML) oneXML {
	switch k {
	case users:
		return oneXML{User: &x}
	case groups:
		return oneXML{Group: &x}
	case roles:
		return oneXML{Role: &x}
	default:
		return oneXML{InstanceProfile: &x}
	}
}

// ref is the identity that the request names. A user who names nobody is meant
// himself.
func (k *kind) ref(c Caller, in form) (store.IdentityRef, error) {
	if k == users && in.given("UserName") == nil && c.Kind == KindUser {
		return store.IdentityRef{Account: c.Account, Kind: k.of, Name: c.Name}, nil
	}
	name, err := in.name(k.param(), k.name)
	return store.IdentityRef{Account: c.Account, Kind: k.of, Name: name}, err
}

// read reads the identity that the request names.
func (k *kind) read(ctx context.Context, c Caller, in form, get func(context.Context, store.IdentityRef) (store.Identity, error)) (store.Identity, error) {
	ref, err := k.ref(c, in)
	if err != nil {
		return store.Identity{}, err
	}
	i, err := get(ctx, ref)
	if missing(err) {
		return i, k.absent(ref.Name)
	}
	return i, err
}

// view runs fn with the identity that the request names.
func (s *iam) view(ctx context.Context, c Caller, in form, k *kind, fn func(*store.Tx, store.Identity) error) error {
	return s.Store.View(ctx, func(tx *store.Tx) error {
		i, err := k.read(ctx, c, in, tx.Identity)
		if err != nil {
			return err
		}
		return fn(tx, i)
	})
}

// edit is view in a transaction that may write, with the identity locked.
func (s *iam) edit(ctx context.Context, c Caller, in form, k *kind, fn func(*store.Tx, store.Identity) error) error {
	return s.update(ctx, func(tx *store.Tx) error {
		i, err := k.read(ctx, c, in, tx.LockIdentity)
		if err != nil {
			return err
		}
		return fn(tx, i)
	})
}

// change writes what edit makes of the identity that the request names. Of a role
// that is linked to a service, only the description and tags change.
func (s *iam) change(ctx context.Context, c Caller, in form, k *kind, edit func(*store.Tx, *store.Identity) error) (i store.Identity, err error) {
	err = s.edit(ctx, c, in, k, func(tx *store.Tx, have store.Identity) error {
		i = have
		if err := edit(tx, &i); err != nil {
			return err
		}
		others := i
		others.Description, others.Tags = have.Description, have.Tags
		if k == roles && isServiceLinked(have) && !reflect.DeepEqual(others, have) {
			return unmodifiable(have)
		}
		return tx.UpdateIdentity(ctx, i)
	})
	return i, err
}

// newIdentity reads what all that is created has: name, path, tags, boundary.
func (s *iam) newIdentity(c Caller, in form, k *kind) (i store.Identity, err error) {
	i = store.Identity{IdentityRef: store.IdentityRef{Account: c.Account, Kind: k.of}, ID: newID(k.prefix), Created: s.Now()}
	if i.Name, err = in.name(k.param(), k.name); err != nil {
		return i, err
	}
	if i.Path, err = in.path(); err != nil {
		return i, err
	}
	if i.Tags, err = in.tags(); err != nil {
		return i, err
	}
	i.Boundary = in.get("PermissionsBoundary")
	return i, nil
}

// insert keeps a new identity, and returns the answer that shows it.
func (s *iam) insert(ctx context.Context, k *kind, i store.Identity) (any, error) {
	err := s.update(ctx, func(tx *store.Tx) error {
		// Under the account's lock, so that two who come at once count each other.
		if _, err := tx.LockAccount(ctx, i.Account); err != nil {
			return err
		}
		n, err := tx.CountIdentities(ctx, i.Account, k.of)
		if err != nil {
			return err
		}
		if n >= int64(k.account) {
			return limit(k.title+"sPerAccount", k.account)
		}
		if err := checkBoundary(ctx, tx, i.Account, i.Boundary); err != nil {
			return err
		}
		return tx.InsertIdentity(ctx, i)
	})
	if errors.Is(err, lamina.ErrExists) {
		return nil, k.exists(i.Name)
	}
	if err != nil {
		return nil, err
	}
	x := showIdentity(i)
	x.Tags = tagList(i.Tags)
	return k.one(x), nil
}

func (s *iam) getIdentity(k *kind) action {
	return func(ctx context.Context, c Caller, in form) (result any, err error) {
		if k == users && in.given("UserName") == nil {
			switch c.Kind {
			case KindRoot:
				return s.rootUser(ctx, c)
			case KindAssumedRole:
				return nil, invalid("Must specify userName when calling with non-User credentials")
			}
		}
		err = s.view(ctx, c, in, k, func(tx *store.Tx, i store.Identity) error {
			x := showIdentity(i)
			x.Tags = tagList(i.Tags)
			switch k {
			case roles:
				x.RoleLastUsed = &struct{}{}
			case instanceProfiles:
				if x, err = showProfile(ctx, tx, i); err != nil {
					return err
				}
				x.Tags = tagList(i.Tags)
			}
			result = k.one(x)
			return nil
		})
		return result, err
	}
}

// rootUser is what GetUser tells the root of itself.
func (s *iam) rootUser(ctx context.Context, c Caller) (result any, err error) {
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		a, err := tx.Account(ctx, c.Account)
		result = users.one(identityXML{UserID: c.Account, Arn: arnOf(c.Account, "root"), CreateDate: xmlTime(a.Created)})
		return err
	})
	return result, err
}

func (s *iam) listIdentities(k *kind) action {
	return func(ctx context.Context, c Caller, in form) (any, error) {
		after, size, err := in.page()
		if err != nil {
			return nil, err
		}
		var out struct {
			page
			Users            *identitiesXML `xml:",omitempty"`
			Groups           *identitiesXML `xml:",omitempty"`
			Roles            *identitiesXML `xml:",omitempty"`
			InstanceProfiles *identitiesXML `xml:",omitempty"`
		}
		err = s.Store.View(ctx, func(tx *store.Tx) error {
			all, err := tx.Identities(ctx, c.Account, k.of, in.get("PathPrefix"), after, size+1)
			if err != nil {
				return err
			}
			all, out.page = cutPage(all, size, func(i store.Identity) string { return i.Name })
			list := showIdentities(all)
			switch k {
			case users:
				out.Users = &list
			case groups:
				out.Groups = &list
			case roles:
				out.Roles = &list
			case instanceProfiles:
				list.Member, err = showProfiles(ctx, tx, all)
				out.InstanceProfiles = &list
			}
			return err
		})
		return out, err
	}
}

func (s *iam) tagIdentity(k *kind) action {
	return func(ctx context.Context, c Caller, in form) (any, error) {
		tags, err := in.tags()
		if err != nil {
			return nil, err
		}
		_, err = s.change(ctx, c, in, k, func(_ *store.Tx, i *store.Identity) (err error) {
			i.Tags, err = merge(i.Tags, tags)
			return err
		})
		return nil, err
	}
}

func (s *iam) untagIdentity(k *kind) action {
	return func(ctx context.Context, c Caller, in form) (any, error) {
		_, err := s.change(ctx, c, in, k, func(_ *store.Tx, i *store.Identity) (err error) {
			i.Tags, err = merge(i.Tags, nil)
			for _, key := range in.list("TagKeys") {
				delete(i.Tags, key)
			}
			return err
		})
		return nil, err
	}
}

func (s *iam) listIdentityTags(k *kind) action {
	return func(ctx context.Context, c Caller, in form) (result any, err error) {
		err = s.view(ctx, c, in, k, func(_ *store.Tx, i store.Identity) (err error) {
			result, err = tagsPage(in, i.Tags)
			return err
		})
		return result, err
	}
}

// tagsPage is the answer of ListRoleTags and its like.
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

// removable says why an identity with policies can't be deleted yet.
func removable(ctx context.Context, tx *store.Tx, ref store.IdentityRef) error {
	attached, err := tx.AttachedPolicies(ctx, ref)
	if err != nil {
		return err
	}
	if len(attached) > 0 {
		return conflict("Cannot delete entity, must detach all policies first.")
	}
	inline, err := tx.InlinePolicies(ctx, ref)
	if err != nil {
		return err
	}
	if len(inline) > 0 {
		return conflict("Cannot delete entity, must delete policies first.")
	}
	return nil
}

func (s *iam) createUser(ctx context.Context, c Caller, in form) (any, error) {
	i, err := s.newIdentity(c, in, users)
	if err != nil {
		return nil, err
	}
	return s.insert(ctx, users, i)
}

func (s *iam) updateUser(ctx context.Context, c Caller, in form) (any, error) {
	return s.renamed(ctx, c, in, users)
}

// renamed gives a user or a group a new name, a new path or both.
func (s *iam) renamed(ctx context.Context, c Caller, in form, k *kind) (any, error) {
	return nil, s.edit(ctx, c, in, k, func(tx *store.Tx, i store.Identity) error {
		if path := in.given("NewPath"); path != nil {
			if err := checkPath(*path); err != nil {
				return err
			}
			i.Path = *path
			if err := tx.UpdateIdentity(ctx, i); err != nil {
				return err
			}
		}
		if in.given("New"+k.param()) == nil {
			return nil
		}
		name, err := in.name("New"+k.param(), k.name)
		if err != nil || name == i.Name {
			return err
		}
		if err := tx.RenameIdentity(ctx, i.IdentityRef, name); !errors.Is(err, lamina.ErrExists) {
			return err
		}
		return k.exists(name)
	})
}

func (s *iam) deleteUser(ctx context.Context, c Caller, in form) (any, error) {
	return nil, s.edit(ctx, c, in, users, func(tx *store.Tx, i store.Identity) error {
		keys, err := tx.AccessKeys(ctx, c.Account, i.Name)
		if err != nil {
			return err
		}
		if len(keys) > 0 {
			return conflict("Cannot delete entity, must delete access keys first.")
		}
		if err := removable(ctx, tx, i.IdentityRef); err != nil {
			return err
		}
		in, err := tx.MemberOf(ctx, i.IdentityRef, store.KindGroup)
		if err != nil {
			return err
		}
		if len(in) > 0 {
			return conflict("Cannot delete entity, must remove users from group first.")
		}
		_, err = tx.DeleteIdentity(ctx, i.IdentityRef)
		return err
	})
}

func (s *iam) createGroup(ctx context.Context, c Caller, in form) (any, error) {
	i, err := s.newIdentity(c, in, groups)
	if err != nil {
		return nil, err
	}
	i.Tags, i.Boundary = nil, "" // groups have none
	return s.insert(ctx, groups, i)
}

func (s *iam) updateGroup(ctx context.Context, c Caller, in form) (any, error) {
	return s.renamed(ctx, c, in, groups)
}

func (s *iam) getGroup(ctx context.Context, c Caller, in form) (result any, err error) {
	err = s.view(ctx, c, in, groups, func(tx *store.Tx, g store.Identity) error {
		names, err := tx.Members(ctx, g.IdentityRef, store.KindUser)
		if err != nil {
			return err
		}
		names, p, err := paginate(in, names, func(n string) string { return n })
		if err != nil {
			return err
		}
		members, err := readAll(ctx, tx, c.Account, store.KindUser, names)
		if err != nil {
			return err
		}
		result = struct {
			page
			Group identityXML
			Users identitiesXML
		}{p, showIdentity(g), showIdentities(members)}
		return nil
	})
	return result, err
}

// readAll reads identities by their names.
func readAll(ctx context.Context, tx *store.Tx, account string, kind store.IdentityKind, names []string) ([]store.Identity, error) {
	var all []store.Identity
	for _, name := range names {
		i, err := tx.Identity(ctx, store.IdentityRef{Account: account, Kind: kind, Name: name})
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	return all, nil
}

func (s *iam) deleteGroup(ctx context.Context, c Caller, in form) (any, error) {
	return nil, s.edit(ctx, c, in, groups, func(tx *store.Tx, g store.Identity) error {
		members, err := tx.Members(ctx, g.IdentityRef, store.KindUser)
		if err != nil {
			return err
		}
		if len(members) > 0 {
			return conflict("Cannot delete entity, must remove users from group first.")
		}
		if err := removable(ctx, tx, g.IdentityRef); err != nil {
			return err
		}
		_, err = tx.DeleteIdentity(ctx, g.IdentityRef)
		return err
	})
}

const maxGroupsPerUser = 10

func (s *iam) addUserToGroup(ctx context.Context, c Caller, in form) (any, error) {
	return nil, s.edit(ctx, c, in, users, func(tx *store.Tx, u store.Identity) error {
		g, err := groups.read(ctx, c, in, tx.LockIdentity)
		if err != nil {
			return err
		}
		of, err := tx.MemberOf(ctx, u.IdentityRef, store.KindGroup)
		if err != nil {
			return err
		}
		for _, name := range of {
			if name == g.Name {
				return nil
			}
		}
		if len(of) >= maxGroupsPerUser {
			return limit("GroupsPerUser", maxGroupsPerUser)
		}
		return tx.AddMember(ctx, g.IdentityRef, u.IdentityRef)
	})
}

func (s *iam) removeUserFromGroup(ctx context.Context, c Caller, in form) (any, error) {
	return nil, s.edit(ctx, c, in, users, func(tx *store.Tx, u store.Identity) error {
		g, err := groups.read(ctx, c, in, tx.Identity)
		if err != nil {
			return err
		}
		existed, err := tx.RemoveMember(ctx, g.IdentityRef, u.IdentityRef)
		if err == nil && !existed {
			return noEntity("User %s not in group %s", u.Name, g.Name)
		}
		return err
	})
}

func (s *iam) listGroupsForUser(ctx context.Context, c Caller, in form) (result any, err error) {
	err = s.view(ctx, c, in, users, func(tx *store.Tx, u store.Identity) error {
		names, err := tx.MemberOf(ctx, u.IdentityRef, store.KindGroup)
		if err != nil {
			return err
		}
		names, p, err := paginate(in, names, func(n string) string { return n })
		if err != nil {
			return err
		}
		all, err := readAll(ctx, tx, c.Account, store.KindGroup, names)
		if err != nil {
			return err
		}
		result = struct {
			page
			Groups identitiesXML
		}{p, showIdentities(all)}
		return nil
	})
	return result, err
}

// checkPath says what is wrong with a path.
func checkPath(path string) error {
	if len(path) > 512 || !pathForm.MatchString(path) || strings.Contains(path, "//") {
		return invalid("The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.")
	}
	return nil
}
