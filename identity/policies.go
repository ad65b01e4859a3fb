package identity

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
)

const (
	maxPolicyName     = 128
	maxPolicyDocument = 6144
	maxPolicyVersions = 5
	maxPolicies       = 1500
)

// anyPolicy is a policy that can be attached: one of AWS's, or of the account.
type anyPolicy struct {
	id, name, arn, path, version, description, document string
	created, modified                                   time.Time
	attached, bounding                                  int64
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

func (p anyPolicy) show() policyXML {
	return policyXML{
		PolicyName: p.name, PolicyID: p.id, Arn: p.arn, Path: p.path, DefaultVersionID: p.version, AttachmentCount: p.attached,
		PermissionsBoundaryUsageCount: p.bounding, IsAttachable: true, CreateDate: xmlTime(p.created), UpdateDate: xmlTime(p.modified),
	}
}

func policyARN(p store.PolicyDocument) string {
	return arnOf(p.Account, "policy"+p.Path+p.Name)
}

func ownPolicy(p store.PolicyDocument) anyPolicy {
	return anyPolicy{
		id: p.ID, name: p.Name, arn: policyARN(p), path: p.Path, version: versionID(p.DefaultVersion),
		description: p.Description, document: p.Document, created: p.Created, modified: p.Modified, own: true,
	}
}

func awsPolicy(p managedPolicy) anyPolicy {
	return anyPolicy{
		id: p.ID(), name: p.Name, arn: p.ARN(), path: p.Path, version: p.Version,
		description: p.Description, document: p.Document, created: managedSince, modified: managedSince,
	}
}

// versionID is the VersionId of a version: v1.
func versionID(number int64) string { return "v" + strconv.FormatInt(number, 10) }

// findPolicy returns the policy of an ARN, of AWS or of the account,
// lamina.ErrNotFound when there is none.
func findPolicy(ctx context.Context, tx *store.Tx, account, arn string) (anyPolicy, error) {
	m := arnForm.FindStringSubmatch(arn)
	if m == nil {
		return anyPolicy{}, refuse(http.StatusBadRequest, "InvalidInput", "ARN %s is not valid.", printable(arn))
	}
	if m[1] == "aws" {
		p, ok := findManaged(arn)
		if !ok {
			return anyPolicy{}, lamina.ErrNotFound
		}
		return awsPolicy(p), nil
	}
	if m[1] != account {
		return anyPolicy{}, lamina.ErrNotFound
	}
	p, err := tx.PolicyDocument(ctx, account, m[2][strings.LastIndex(m[2], "/")+1:])
	if err == nil && policyARN(p) != arn {
		err = lamina.ErrNotFound
	}
	return ownPolicy(p), err
}

// storePage is how many rows are read at once where all are wanted.
const storePage = 500

// viewPolicy runs fn with the policy that the request names.
func (s *iam) viewPolicy(ctx context.Context, c Caller, in form, fn func(*store.Tx, anyPolicy) error) error {
	return s.Store.View(ctx, func(tx *store.Tx) error { return s.withPolicy(ctx, tx, c, in, fn) })
}

// editPolicy is viewPolicy of a policy of the account, in a transaction that may write, with the policy locked.
func (s *iam) editPolicy(ctx context.Context, c Caller, in form, fn func(*store.Tx, store.PolicyDocument) error) error {
	return s.update(ctx, func(tx *store.Tx) error {
		return s.withPolicy(ctx, tx, c, in, func(tx *store.Tx, p anyPolicy) error {
			if !p.own {
				return refuse(http.StatusForbidden, "AccessDenied", "Policy %s is managed by AWS and can't be changed.", p.arn)
			}
			own, err := tx.LockPolicyDocument(ctx, c.Account, p.name)
			if err != nil {
				return err
			}
			return fn(tx, own)
		})
	})
}

func (s *iam) withPolicy(ctx context.Context, tx *store.Tx, c Caller, in form, fn func(*store.Tx, anyPolicy) error) error {
	arn := in.get("PolicyArn")
	p, err := findPolicy(ctx, tx, c.Account, arn)
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
	p := store.PolicyDocument{Account: c.Account, Name: name, ID: newID("ANPA"), Created: s.Now()}
	if p.Path, err = in.path(); err != nil {
		return nil, err
	}
	if p.Description, err = in.text("Description", maxDescription); err != nil {
		return nil, err
	}
	if p.Document, err = in.document("PolicyDocument", false); err != nil {
		return nil, err
	}
	if documentSize(p.Document) > maxPolicyDocument {
		return nil, limit("PolicySize", maxPolicyDocument)
	}
	tags, err := in.tags()
	if err != nil {
		return nil, err
	}
	p.DefaultVersion, p.Modified = 1, p.Created
	err = s.update(ctx, func(tx *store.Tx) error {
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
	err = s.viewPolicy(ctx, c, in, func(tx *store.Tx, p anyPolicy) error {
		attached, bounded, err := tx.IdentitiesWith(ctx, c.Account, p.arn)
		if err != nil {
			return err
		}
		p.attached, p.bounding = int64(len(attached)), int64(len(bounded))
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

// versions returns the versions of a policy, the newest first.
func (p anyPolicy) versions(ctx context.Context, tx *store.Tx, account string) ([]store.PolicyDocumentVersion, error) {
	if !p.own {
		number, err := strconv.ParseInt(p.version[1:], 10, 64)
		return []store.PolicyDocumentVersion{{Number: number, Document: p.document, Created: p.created}}, err
	}
	return tx.PolicyDocumentVersions(ctx, account, p.name)
}

// show is a version as lists show it: without its document.
func (p anyPolicy) showVersion(v store.PolicyDocumentVersion) policyVersionXML {
	id := versionID(v.Number)
	return policyVersionXML{VersionID: id, IsDefaultVersion: id == p.version, CreateDate: xmlTime(v.Created)}
}

// version returns the version that the request names.
func (f form) version(p anyPolicy, all []store.PolicyDocumentVersion) (store.PolicyDocumentVersion, error) {
	id := f.get("VersionId")
	if !versionForm.MatchString(id) {
		return store.PolicyDocumentVersion{}, invalid("1 validation error detected: Value '%s' at 'versionId' failed to satisfy constraint: Member must satisfy regular expression pattern: v[1-9][0-9]*(\\.[A-Za-z0-9-]*)?", printable(id))
	}
	for _, v := range all {
		if versionID(v.Number) == id {
			return v, nil
		}
	}
	return store.PolicyDocumentVersion{}, noEntity("Policy %s version %s does not exist or is not attachable.", p.arn, id)
}

var versionForm = regexp.MustCompile(`^v[1-9][0-9]{0,17}$`)

func (s *iam) getPolicyVersion(ctx context.Context, c Caller, in form) (result any, err error) {
	err = s.viewPolicy(ctx, c, in, func(tx *store.Tx, p anyPolicy) error {
		all, err := p.versions(ctx, tx, c.Account)
		if err != nil {
			return err
		}
		v, err := in.version(p, all)
		if err != nil {
			return err
		}
		x := p.showVersion(v)
		x.Document = escaped(v.Document)
		result = struct{ PolicyVersion policyVersionXML }{x}
		return nil
	})
	return result, err
}

func (s *iam) listPolicyVersions(ctx context.Context, c Caller, in form) (result any, err error) {
	err = s.viewPolicy(ctx, c, in, func(tx *store.Tx, p anyPolicy) error {
		var out struct {
			page
			Versions struct {
				Member []policyVersionXML `xml:"member"`
			}
		}
		all, err := p.versions(ctx, tx, c.Account)
		for _, v := range all { // five at most, which is less than a page unless asked for
			out.Versions.Member = append(out.Versions.Member, p.showVersion(v))
		}
		result = out
		return err
	})
	return result, err
}

func (s *iam) createPolicyVersion(ctx context.Context, c Caller, in form) (result any, err error) {
	document, err := in.document("PolicyDocument", false)
	if err != nil {
		return nil, err
	}
	if documentSize(document) > maxPolicyDocument {
		return nil, limit("PolicySize", maxPolicyDocument)
	}
	err = s.editPolicy(ctx, c, in, func(tx *store.Tx, p store.PolicyDocument) error {
		all, err := tx.PolicyDocumentVersions(ctx, p.Account, p.Name)
		if err != nil {
			return err
		}
		if len(all) >= maxPolicyVersions {
			return refuse(http.StatusConflict, "LimitExceeded", "A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", maxPolicyVersions)
		}
		makeDefault := in.get("SetAsDefault") == "true"
		v, err := tx.InsertPolicyDocumentVersion(ctx, p, document, s.Now(), makeDefault)
		result = struct{ PolicyVersion policyVersionXML }{policyVersionXML{VersionID: versionID(v.Number), IsDefaultVersion: makeDefault, CreateDate: xmlTime(v.Created)}}
		return err
	})
	return result, err
}

// editVersion runs fn with the version that the request names.
func (s *iam) editVersion(ctx context.Context, c Caller, in form, fn func(*store.Tx, store.PolicyDocument, int64) error) error {
	return s.editPolicy(ctx, c, in, func(tx *store.Tx, p store.PolicyDocument) error {
		all, err := tx.PolicyDocumentVersions(ctx, p.Account, p.Name)
		if err != nil {
			return err
		}
		v, err := in.version(ownPolicy(p), all)
		if err != nil {
			return err
		}
		return fn(tx, p, v.Number)
	})
}

func (s *iam) setDefaultPolicyVersion(ctx context.Context, c Caller, in form) (any, error) {
	return nil, s.editVersion(ctx, c, in, func(tx *store.Tx, p store.PolicyDocument, number int64) error {
		return tx.SetDefaultPolicyVersion(ctx, p, number, s.Now())
	})
}

func (s *iam) deletePolicyVersion(ctx context.Context, c Caller, in form) (any, error) {
	return nil, s.editVersion(ctx, c, in, func(tx *store.Tx, p store.PolicyDocument, number int64) error {
		if number == p.DefaultVersion {
			return conflict("Cannot delete the default version of a policy.")
		}
		_, err := tx.DeletePolicyDocumentVersion(ctx, p.Account, p.Name, number)
		return err
	})
}

func (s *iam) listPolicies(ctx context.Context, c Caller, in form) (any, error) {
	scope, prefix := in.get("Scope"), in.get("PathPrefix")
	var all []anyPolicy
	err := s.Store.View(ctx, func(tx *store.Tx) error {
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
		attached, bounding, err := tx.PolicyUses(ctx, c.Account)
		for i := range all {
			all[i].attached, all[i].bounding = attached[all[i].arn], bounding[all[i].arn]
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(p anyPolicy) bool {
		uses := p.attached
		switch in.get("PolicyUsageFilter") {
		case "PermissionsBoundary":
			uses = p.bounding
			if uses == 0 {
				return true
			}
		case "PermissionsPolicy":
			if p.attached == 0 && p.bounding > 0 {
				return true
			}
		}
		return !strings.HasPrefix(p.path, prefix) || in.get("OnlyAttached") == "true" && uses == 0
	})
	slices.SortFunc(all, func(a, b anyPolicy) int { return strings.Compare(a.arn, b.arn) })
	policies, pg, err := paginate(in, all, func(p anyPolicy) string { return p.arn })
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
	return nil, s.editPolicy(ctx, c, in, func(tx *store.Tx, p store.PolicyDocument) error {
		arn := policyARN(p)
		attached, bounded, err := tx.IdentitiesWith(ctx, c.Account, arn)
		if err != nil {
			return err
		}
		if len(attached)+len(bounded) > 0 {
			return conflict("Cannot delete a policy attached to entities.")
		}
		versions, err := tx.PolicyDocumentVersions(ctx, c.Account, p.Name)
		if err != nil {
			return err
		}
		if len(versions) > 1 {
			return conflict("This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
		}
		tags, err := tx.Tags(ctx, arn)
		if err != nil {
			return err
		}
		if err := tx.DeleteTags(ctx, arn, slices.Collect(maps.Keys(tags))); err != nil {
			return err
		}
		_, err = tx.DeletePolicyDocument(ctx, c.Account, p.Name)
		return err
	})
}

func (s *iam) tagPolicy(ctx context.Context, c Caller, in form) (any, error) {
	tags, err := in.tags()
	if err != nil {
		return nil, err
	}
	return nil, s.editPolicy(ctx, c, in, func(tx *store.Tx, p store.PolicyDocument) error {
		have, err := tx.Tags(ctx, policyARN(p))
		if err != nil {
			return err
		}
		if _, err := merge(have, tags); err != nil {
			return err
		}
		return tx.SetTags(ctx, policyARN(p), tags)
	})
}

func (s *iam) untagPolicy(ctx context.Context, c Caller, in form) (any, error) {
	return nil, s.editPolicy(ctx, c, in, func(tx *store.Tx, p store.PolicyDocument) error {
		return tx.DeleteTags(ctx, policyARN(p), in.list("TagKeys"))
	})
}

func (s *iam) listPolicyTags(ctx context.Context, c Caller, in form) (result any, err error) {
	err = s.viewPolicy(ctx, c, in, func(tx *store.Tx, p anyPolicy) error {
		tags, err := tx.Tags(ctx, p.arn)
		if err != nil {
			return err
		}
		result, err = tagsPage(in, tags)
		return err
	})
	return result, err
}

func (s *iam) listEntitiesForPolicy(ctx context.Context, c Caller, in form) (result any, err error) {
	type member struct {
		UserName  string `xml:",omitempty"`
		UserID    string `xml:"UserId,omitempty"`
		GroupName string `xml:",omitempty"`
		GroupID   string `xml:"GroupId,omitempty"`
		RoleName  string `xml:",omitempty"`
		RoleID    string `xml:"RoleId,omitempty"`
	}
	type members struct {
		Member []member `xml:"member"`
	}
	var of store.IdentityKind
	switch filter := in.get("EntityFilter"); filter {
	case "", "LocalManagedPolicy", "AWSManagedPolicy":
	case "User", "Group", "Role":
		of = store.IdentityKind(strings.ToLower(filter))
	default:
		return nil, invalid("1 validation error detected: Value '%s' at 'entityFilter' failed to satisfy constraint: Member must satisfy enum value set: [User, Role, Group, LocalManagedPolicy, AWSManagedPolicy]", printable(filter))
	}
	err = s.viewPolicy(ctx, c, in, func(tx *store.Tx, p anyPolicy) error {
		attached, bounded, err := tx.IdentitiesWith(ctx, c.Account, p.arn)
		if err != nil {
			return err
		}
		switch in.get("PolicyUsageFilter") {
		case "PermissionsPolicy":
			bounded = nil
		case "PermissionsBoundary":
			attached = nil
		}
		key := func(r store.IdentityRef) string { return string(r.Kind) + "/" + r.Name }
		all := append(attached, bounded...)
		slices.SortFunc(all, func(a, b store.IdentityRef) int { return strings.Compare(key(a), key(b)) })
		all = slices.DeleteFunc(slices.Compact(all), func(r store.IdentityRef) bool { return of != "" && r.Kind != of })
		all, pg, err := paginate(in, all, key)
		if err != nil {
			return err
		}
		var out struct {
			page
			PolicyGroups members
			PolicyUsers  members
			PolicyRoles  members
		}
		out.page = pg
		for _, ref := range all {
			i, err := tx.Identity(ctx, ref)
			if err != nil {
				return err
			}
			if !strings.HasPrefix(i.Path, in.get("PathPrefix")) {
				continue
			}
			switch i.Kind {
			case store.KindUser:
				out.PolicyUsers.Member = append(out.PolicyUsers.Member, member{UserName: i.Name, UserID: i.ID})
			case store.KindGroup:
				out.PolicyGroups.Member = append(out.PolicyGroups.Member, member{GroupName: i.Name, GroupID: i.ID})
			case store.KindRole:
				out.PolicyRoles.Member = append(out.PolicyRoles.Member, member{RoleName: i.Name, RoleID: i.ID})
			}
		}
		result = out
		return nil
	})
	return result, err
}
