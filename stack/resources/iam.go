package resources

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// principal is what differs between roles, users and groups.
type principal struct {
	noun     string // Role, as operations and members have it
	property string // of its name
	most     int    // characters of a name
	tags     bool
}

var (
	roles  = &principal{"Role", "RoleName", 64, true}
	users  = &principal{"User", "UserName", 64, true}
	groups = &principal{"Group", "GroupName", 128, false}
)

func (k *principal) form(name string) url.Values { return url.Values{k.noun + "Name": {name}} }

// tagForm adds tags to a form.
func tagForm(form url.Values, tags map[string]string) url.Values {
	i := 0
	for _, key := range sortedKeys(tags) {
		i++
		form.Set(fmt.Sprintf("Tags.member.%d.Key", i), key)
		form.Set(fmt.Sprintf("Tags.member.%d.Value", i), tags[key])
	}
	return form
}

func sortedKeys[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for key := range m {
		all = append(all, key)
	}
	slices.Sort(all)
	return all
}

type principalState struct {
	Arn string
	ID  string
}

// look asks for a role, a user or a group.
func (w *work) look(ctx context.Context, k *principal, name string) (principalState, error) {
	var out struct {
		Role  struct{ Arn, RoleId string }  `xml:"GetRoleResult>Role"`
		User  struct{ Arn, UserId string }  `xml:"GetUserResult>User"`
		Group struct{ Arn, GroupId string } `xml:"GetGroupResult>Group"`
	}
	err := w.iam(ctx, "Get"+k.noun, k.form(name), &out)
	return principalState{Arn: out.Role.Arn + out.User.Arn + out.Group.Arn, ID: out.Role.RoleId + out.User.UserId + out.Group.GroupId}, err
}

// createPrincipal makes a role, a user or a group with what the form says, and
// all that it has.
func (w *work) createPrincipal(ctx context.Context, k *principal, form url.Values) (Made, error) {
	name, given := w.name(k.property, k.most)
	form.Set(k.noun+"Name", name)
	mine := w.Again
	if given {
		var err error
		if mine, err = w.absent(ctx, name, func() error { _, err := w.look(ctx, k, name); return err }); err != nil {
			return Made{}, err
		}
	}
	if path := w.in.str("Path"); path != "" {
		form.Set("Path", path)
	}
	if boundary := w.in.str("PermissionsBoundary"); boundary != "" {
		form.Set("PermissionsBoundary", boundary)
	}
	if k.tags {
		tagForm(form, w.tags())
	}
	if err := w.iam(ctx, "Create"+k.noun, form, nil); err != nil {
		if !isExisting(err) {
			return Made{}, err
		}
		if !mine {
			return Made{}, w.alreadyExists(name)
		}
	}
	made := Made{PhysicalID: name}
	if err := w.grant(ctx, k, name, properties{}, w.in); err != nil {
		return made, err
	}
	state, err := w.look(ctx, k, name)
	if err != nil {
		return made, err
	}
	made.Attributes = map[string]any{"Arn": state.Arn}
	if k == roles {
		made.Attributes["RoleId"] = state.ID
	}
	return made, nil
}

// grant gives a role, a user or a group the policies of the properties is, and
// takes those of was that they have not.
func (w *work) grant(ctx context.Context, k *principal, name string, was, is properties) error {
	documents := func(p properties) (map[string]string, error) {
		all := map[string]string{}
		for _, one := range p.objects("Policies") {
			text, err := one.document("PolicyDocument")
			if err != nil {
				return nil, err
			}
			all[one.str("PolicyName")] = text
		}
		return all, nil
	}
	before, err := documents(was)
	if err != nil {
		return err
	}
	after, err := documents(is)
	if err != nil {
		return err
	}
	for _, policy := range sortedKeys(after) {
		if before[policy] == after[policy] && !w.Again {
			continue
		}
		form := k.form(name)
		form.Set("PolicyName", policy)
		form.Set("PolicyDocument", after[policy])
		if err := w.iam(ctx, "Put"+k.noun+"Policy", form, nil); err != nil {
			return err
		}
	}
	for _, policy := range sortedKeys(before) {
		if _, kept := after[policy]; !kept {
			form := k.form(name)
			form.Set("PolicyName", policy)
			if err := ignoreGone(w.iam(ctx, "Delete"+k.noun+"Policy", form, nil)); err != nil {
				return err
			}
		}
	}
	attach := func(operation string, arns, but []string) error {
		for _, arn := range arns {
			if slices.Contains(but, arn) {
				continue
			}
			form := k.form(name)
			form.Set("PolicyArn", arn)
			err := w.iam(ctx, operation+k.noun+"Policy", form, nil)
			if operation == "Detach" {
				err = ignoreGone(err)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	old, new := was.strings("ManagedPolicyArns"), is.strings("ManagedPolicyArns")
	if w.Again {
		err = attach("Attach", new, nil)
	} else {
		err = attach("Attach", new, old)
	}
	if err == nil {
		err = attach("Detach", old, new)
	}
	if err != nil || k != users {
		return err
	}
	return w.join(ctx, name, was.strings("Groups"), is.strings("Groups"))
}

// join makes a user a member of groups.
func (w *work) join(ctx context.Context, user string, was, is []string) error {
	for _, group := range is {
		if !slices.Contains(was, group) || w.Again {
			if err := w.iam(ctx, "AddUserToGroup", url.Values{"UserName": {user}, "GroupName": {group}}, nil); err != nil {
				return err
			}
		}
	}
	for _, group := range was {
		if !slices.Contains(is, group) {
			if err := ignoreGone(w.iam(ctx, "RemoveUserFromGroup", url.Values{"UserName": {user}, "GroupName": {group}}, nil)); err != nil {
				return err
			}
		}
	}
	return nil
}

func ignoreGone(err error) error {
	if isGone(err) {
		return nil
	}
	return err
}

func asFailure(err error) (*Failure, bool) { return errors.AsType[*Failure](err) }

// updatePrincipal changes what roles, users and groups have in common.
func (w *work) updatePrincipal(ctx context.Context, k *principal) (Made, error) {
	made := Made{PhysicalID: w.PhysicalID}
	if k.tags && w.changed("PermissionsBoundary") {
		form := k.form(w.PhysicalID)
		action := "Delete" + k.noun + "PermissionsBoundary"
		if boundary := w.in.str("PermissionsBoundary"); boundary != "" {
			form.Set("PermissionsBoundary", boundary)
			action = "Put" + k.noun + "PermissionsBoundary"
		}
		if err := ignoreGone(w.iam(ctx, action, form, nil)); err != nil {
			return made, err
		}
	}
	if err := w.grant(ctx, k, w.PhysicalID, w.old, w.in); err != nil {
		return made, err
	}
	if k.tags {
		set, remove := w.tagChanges()
		if len(remove) > 0 {
			form := k.form(w.PhysicalID)
			for i, key := range remove {
				form.Set("TagKeys.member."+strconv.Itoa(i+1), key)
			}
			if err := w.iam(ctx, "Untag"+k.noun, form, nil); err != nil {
				return made, err
			}
		}
		if len(set) > 0 {
			if err := w.iam(ctx, "Tag"+k.noun, tagForm(k.form(w.PhysicalID), set), nil); err != nil {
				return made, err
			}
		}
	}
	state, err := w.look(ctx, k, w.PhysicalID)
	if err != nil {
		return made, err
	}
	made.Attributes = map[string]any{"Arn": state.Arn}
	if k == roles {
		made.Attributes["RoleId"] = state.ID
	}
	return made, nil
}

// deletePrincipal takes what the properties gave, and then the role, the user or
// the group. What somebody else gave it is in the way, as at AWS.
func (w *work) deletePrincipal(ctx context.Context, k *principal) error {
	if err := w.grant(ctx, k, w.PhysicalID, w.in, properties{}); err != nil {
		return err
	}
	return w.iam(ctx, "Delete"+k.noun, k.form(w.PhysicalID), nil)
}

func createRole(ctx context.Context, w *work) (Made, error) {
	trust, err := w.in.document("AssumeRolePolicyDocument")
	if err != nil {
		return Made{}, err
	}
	form := url.Values{"AssumeRolePolicyDocument": {trust}}
	if d := w.in.str("Description"); d != "" {
		form.Set("Description", d)
	}
	if n, ok := w.in.int("MaxSessionDuration"); ok {
		form.Set("MaxSessionDuration", strconv.FormatInt(n, 10))
	}
	return w.createPrincipal(ctx, roles, form)
}

func updateRole(ctx context.Context, w *work) (Made, error) {
	made := Made{PhysicalID: w.PhysicalID}
	if w.changed("AssumeRolePolicyDocument") {
		trust, err := w.in.document("AssumeRolePolicyDocument")
		if err == nil {
			err = w.iam(ctx, "UpdateAssumeRolePolicy", url.Values{"RoleName": {w.PhysicalID}, "PolicyDocument": {trust}}, nil)
		}
		if err != nil {
			return made, err
		}
	}
	if w.changed("Description") || w.changed("MaxSessionDuration") {
		form := url.Values{"RoleName": {w.PhysicalID}, "Description": {w.in.str("Description")}, "MaxSessionDuration": {"3600"}}
		if n, ok := w.in.int("MaxSessionDuration"); ok {
			form.Set("MaxSessionDuration", strconv.FormatInt(n, 10))
		}
		if err := w.iam(ctx, "UpdateRole", form, nil); err != nil {
			return made, err
		}
	}
	return w.updatePrincipal(ctx, roles)
}

// renamePath moves a user or a group to another path.
func (w *work) renamePath(ctx context.Context, k *principal) error {
	if !w.changed("Path") {
		return nil
	}
	path := w.in.str("Path")
	if path == "" {
		path = "/"
	}
	form := k.form(w.PhysicalID)
	form.Set("NewPath", path)
	return w.iam(ctx, "Update"+k.noun, form, nil)
}

func withPath(k *principal) func(ctx context.Context, w *work) (Made, error) {
	return func(ctx context.Context, w *work) (Made, error) {
		if err := w.renamePath(ctx, k); err != nil {
			return Made{PhysicalID: w.PhysicalID}, err
		}
		return w.updatePrincipal(ctx, k)
	}
}

func creating(k *principal) func(ctx context.Context, w *work) (Made, error) {
	return func(ctx context.Context, w *work) (Made, error) { return w.createPrincipal(ctx, k, url.Values{}) }
}

func deleting(k *principal) func(ctx context.Context, w *work) error {
	return func(ctx context.Context, w *work) error { return w.deletePrincipal(ctx, k) }
}

// holders are whom a policy is given to.
type holder struct {
	kind *principal
	name string
}

func holders(p properties) []holder {
	var all []holder
	for property, k := range map[string]*principal{"Roles": roles, "Users": users, "Groups": groups} {
		for _, name := range p.strings(property) {
			all = append(all, holder{k, name})
		}
	}
	slices.SortFunc(all, func(a, b holder) int { return strings.Compare(a.kind.noun+a.name, b.kind.noun+b.name) })
	return all
}

func checkHolders(c *checker, p map[string]any) {
	for _, property := range []string{"Roles", "Users", "Groups"} {
		if list, ok := p[property].([]any); unknown(p[property]) || ok && len(list) > 0 {
			return
		}
	}
	c.add("", "At least one of [Groups,Roles,Users] must be non-empty.")
}

func (w *work) putPolicy(ctx context.Context, h holder, name, document string) error {
	form := h.kind.form(h.name)
	form.Set("PolicyName", name)
	form.Set("PolicyDocument", document)
	return w.iam(ctx, "Put"+h.kind.noun+"Policy", form, nil)
}

func (w *work) dropPolicy(ctx context.Context, h holder, name string) error {
	form := h.kind.form(h.name)
	form.Set("PolicyName", name)
	return ignoreGone(w.iam(ctx, "Delete"+h.kind.noun+"Policy", form, nil))
}

func createPolicy(ctx context.Context, w *work) (Made, error) {
	// AWS's identifiers of these are as short.
	made := Made{PhysicalID: fmt.Sprintf("%.5s-%.4s-%s", w.Stack.Name, w.LogicalID, w.Seed)}
	made.Attributes = map[string]any{"Id": made.PhysicalID}
	document, err := w.in.document("PolicyDocument")
	if err != nil {
		return Made{}, err
	}
	for _, h := range holders(w.in) {
		if err := w.putPolicy(ctx, h, w.in.str("PolicyName"), document); err != nil {
			return made, err
		}
	}
	return made, nil
}

func updatePolicy(ctx context.Context, w *work) (Made, error) {
	made := Made{PhysicalID: w.PhysicalID, Attributes: map[string]any{"Id": w.PhysicalID}}
	document, err := w.in.document("PolicyDocument")
	if err != nil {
		return made, err
	}
	is := holders(w.in)
	for _, h := range is {
		if err := w.putPolicy(ctx, h, w.in.str("PolicyName"), document); err != nil {
			return made, err
		}
	}
	for _, h := range holders(w.old) {
		if slices.Contains(is, h) && w.old.str("PolicyName") == w.in.str("PolicyName") {
			continue
		}
		if err := w.dropPolicy(ctx, h, w.old.str("PolicyName")); err != nil {
			return made, err
		}
	}
	return made, nil
}

func deletePolicy(ctx context.Context, w *work) error {
	for _, h := range holders(w.in) {
		if err := w.dropPolicy(ctx, h, w.in.str("PolicyName")); err != nil {
			return err
		}
	}
	return nil
}

// ownPolicy makes the behaviour of a policy that is a resource of its own, of one
// role, user or group.
func ownPolicy(k *principal) behaviour {
	put := func(ctx context.Context, w *work) (Made, error) {
		h := holder{k, w.in.str(k.property)}
		document, err := w.in.document("PolicyDocument")
		if err == nil {
			err = w.putPolicy(ctx, h, w.in.str("PolicyName"), document)
		}
		return Made{PhysicalID: w.in.str("PolicyName") + "|" + h.name}, err
	}
	return behaviour{
		create: func(ctx context.Context, w *work) (Made, error) {
			form := k.form(w.in.str(k.property))
			form.Set("PolicyName", w.in.str("PolicyName"))
			_, err := w.absent(ctx, w.in.str("PolicyName")+"|"+w.in.str(k.property), func() error { return w.iam(ctx, "Get"+k.noun+"Policy", form, nil) })
			if err != nil {
				return Made{}, err
			}
			return put(ctx, w)
		},
		update: put,
		remove: func(ctx context.Context, w *work) error {
			return w.dropPolicy(ctx, holder{k, w.in.str(k.property)}, w.in.str("PolicyName"))
		},
	}
}

// managed is a managed policy as IAM shows it.
type managed struct {
	Arn, PolicyId, DefaultVersionId, CreateDate, UpdateDate string
	AttachmentCount, PermissionsBoundaryUsageCount          string
	IsAttachable                                            string
}

func (w *work) managedPolicy(ctx context.Context, arn string) (m managed, err error) {
	var out struct {
		Policy managed `xml:"GetPolicyResult>Policy"`
	}
	err = w.iam(ctx, "GetPolicy", url.Values{"PolicyArn": {arn}}, &out)
	return out.Policy, err
}

func (w *work) madePolicy(ctx context.Context, arn string) (Made, error) {
	m, err := w.managedPolicy(ctx, arn)
	return Made{PhysicalID: arn, Attributes: map[string]any{
		"PolicyArn": arn, "PolicyId": m.PolicyId, "DefaultVersionId": m.DefaultVersionId, "CreateDate": m.CreateDate, "UpdateDate": m.UpdateDate,
		"AttachmentCount": m.AttachmentCount, "PermissionsBoundaryUsageCount": m.PermissionsBoundaryUsageCount, "IsAttachable": m.IsAttachable,
	}}, err
}

func createManagedPolicy(ctx context.Context, w *work) (Made, error) {
	name, given := w.name("ManagedPolicyName", 128)
	path := w.in.str("Path")
	if path == "" {
		path = "/"
	}
	arn := "arn:aws:iam::" + w.Stack.Account + ":policy" + path + name
	mine := w.Again
	if given {
		var err error
		if mine, err = w.absent(ctx, arn, func() error { _, err := w.managedPolicy(ctx, arn); return err }); err != nil {
			return Made{}, err
		}
	}
	document, err := w.in.document("PolicyDocument")
	if err != nil {
		return Made{}, err
	}
	form := url.Values{"PolicyName": {name}, "PolicyDocument": {document}, "Path": {path}}
	if d := w.in.str("Description"); d != "" {
		form.Set("Description", d)
	}
	if err := w.iam(ctx, "CreatePolicy", form, nil); err != nil {
		if !isExisting(err) {
			return Made{}, err
		}
		if !mine {
			return Made{}, w.alreadyExists(arn)
		}
	}
	if err := w.attach(ctx, arn, nil, holders(w.in)); err != nil {
		return Made{PhysicalID: arn}, err
	}
	return w.madePolicy(ctx, arn)
}

// attach gives a managed policy to those of is, and takes it from those of was
// who are not among them.
func (w *work) attach(ctx context.Context, arn string, was, is []holder) error {
	for _, h := range is {
		if slices.Contains(was, h) && !w.Again {
			continue
		}
		form := h.kind.form(h.name)
		form.Set("PolicyArn", arn)
		if err := w.iam(ctx, "Attach"+h.kind.noun+"Policy", form, nil); err != nil {
			return err
		}
	}
	for _, h := range was {
		if slices.Contains(is, h) {
			continue
		}
		form := h.kind.form(h.name)
		form.Set("PolicyArn", arn)
		if err := ignoreGone(w.iam(ctx, "Detach"+h.kind.noun+"Policy", form, nil)); err != nil {
			return err
		}
	}
	return nil
}

type policyVersion struct {
	VersionId        string
	IsDefaultVersion string
}

func (w *work) policyVersions(ctx context.Context, arn string) ([]policyVersion, error) {
	var out struct {
		Versions []policyVersion `xml:"ListPolicyVersionsResult>Versions>member"`
	}
	err := w.iam(ctx, "ListPolicyVersions", url.Values{"PolicyArn": {arn}}, &out)
	return out.Versions, err
}

func (v policyVersion) number() int {
	n, _ := strconv.Atoi(strings.TrimPrefix(v.VersionId, "v")) // IAM numbers them
	return n
}

const maxPolicyVersions = 5

func updateManagedPolicy(ctx context.Context, w *work) (Made, error) {
	arn := w.PhysicalID
	made := Made{PhysicalID: arn}
	if w.changed("PolicyDocument") {
		document, err := w.in.document("PolicyDocument")
		if err != nil {
			return made, err
		}
		all, err := w.policyVersions(ctx, arn)
		if err != nil {
			return made, err
		}
		if len(all) >= maxPolicyVersions {
			oldest := policyVersion{}
			for _, v := range all {
				if v.IsDefaultVersion != "true" && (oldest.VersionId == "" || v.number() < oldest.number()) {
					oldest = v
				}
			}
			if err := w.iam(ctx, "DeletePolicyVersion", url.Values{"PolicyArn": {arn}, "VersionId": {oldest.VersionId}}, nil); err != nil {
				return made, err
			}
		}
		err = w.iam(ctx, "CreatePolicyVersion", url.Values{"PolicyArn": {arn}, "PolicyDocument": {document}, "SetAsDefault": {"true"}}, nil)
		if err != nil {
			return made, err
		}
	}
	if err := w.attach(ctx, arn, holders(w.old), holders(w.in)); err != nil {
		return made, err
	}
	return w.madePolicy(ctx, arn)
}

func deleteManagedPolicy(ctx context.Context, w *work) error {
	arn := w.PhysicalID
	if err := w.attach(ctx, arn, holders(w.in), nil); err != nil {
		return err
	}
	all, err := w.policyVersions(ctx, arn)
	if err != nil {
		return err
	}
	for _, v := range all {
		if v.IsDefaultVersion == "true" {
			continue
		}
		if err := ignoreGone(w.iam(ctx, "DeletePolicyVersion", url.Values{"PolicyArn": {arn}, "VersionId": {v.VersionId}}, nil)); err != nil {
			return err
		}
	}
	return w.iam(ctx, "DeletePolicy", url.Values{"PolicyArn": {arn}}, nil)
}

func (w *work) accessKeys(ctx context.Context, user string) ([]string, error) {
	var out struct {
		Keys []string `xml:"ListAccessKeysResult>AccessKeyMetadata>member>AccessKeyId"`
	}
	err := w.iam(ctx, "ListAccessKeys", url.Values{"UserName": {user}}, &out)
	return out.Keys, err
}

func createAccessKey(ctx context.Context, w *work) (Made, error) {
	const note = "keys before: "
	user := w.in.str("UserName")
	have, err := w.accessKeys(ctx, user)
	if err != nil {
		return Made{}, err
	}
	if before, noted := strings.CutPrefix(w.Note, note); noted && w.Again {
		// The secret of a key that an earlier attempt made is lost, so nobody can use it.
		for _, id := range have {
			if !slices.Contains(strings.Fields(before), id) {
				if err := ignoreGone(w.iam(ctx, "DeleteAccessKey", url.Values{"UserName": {user}, "AccessKeyId": {id}}, nil)); err != nil {
					return Made{}, err
				}
			}
		}
	} else if err := w.Keep(note + strings.Join(have, " ")); err != nil {
		return Made{}, err
	}
	var out struct {
		Key struct{ AccessKeyId, SecretAccessKey string } `xml:"CreateAccessKeyResult>AccessKey"`
	}
	if err := w.iam(ctx, "CreateAccessKey", url.Values{"UserName": {user}}, &out); err != nil {
		return Made{}, err
	}
	made := Made{PhysicalID: out.Key.AccessKeyId, NoEcho: true, Attributes: map[string]any{"Id": out.Key.AccessKeyId, "SecretAccessKey": out.Key.SecretAccessKey}}
	if s := w.in.str("Status"); s != "" && s != "Active" {
		return made, w.keyStatus(ctx, made.PhysicalID, s)
	}
	return made, nil
}

func (w *work) keyStatus(ctx context.Context, id, status string) error {
	return w.iam(ctx, "UpdateAccessKey", url.Values{"UserName": {w.in.str("UserName")}, "AccessKeyId": {id}, "Status": {status}}, nil)
}

func updateAccessKey(ctx context.Context, w *work) (Made, error) {
	made := Made{PhysicalID: w.PhysicalID, Attributes: w.Attributes, NoEcho: true}
	if !w.changed("Status") {
		return made, nil
	}
	status := w.in.str("Status")
	if status == "" {
		status = "Active"
	}
	return made, w.keyStatus(ctx, w.PhysicalID, status)
}

func deleteAccessKey(ctx context.Context, w *work) error {
	return w.iam(ctx, "DeleteAccessKey", url.Values{"UserName": {w.in.str("UserName")}, "AccessKeyId": {w.PhysicalID}}, nil)
}

// profile is an instance profile as IAM shows it.
func (w *work) profile(ctx context.Context, name string) (arn string, has []string, err error) {
	var out struct {
		Arn   string   `xml:"GetInstanceProfileResult>InstanceProfile>Arn"`
		Roles []string `xml:"GetInstanceProfileResult>InstanceProfile>Roles>member>RoleName"`
	}
	err = w.iam(ctx, "GetInstanceProfile", url.Values{"InstanceProfileName": {name}}, &out)
	return out.Arn, out.Roles, err
}

func createInstanceProfile(ctx context.Context, w *work) (Made, error) {
	name, given := w.name("InstanceProfileName", 128)
	mine := w.Again
	if given {
		var err error
		if mine, err = w.absent(ctx, name, func() error { _, _, err := w.profile(ctx, name); return err }); err != nil {
			return Made{}, err
		}
	}
	form := url.Values{"InstanceProfileName": {name}}
	if path := w.in.str("Path"); path != "" {
		form.Set("Path", path)
	}
	if err := w.iam(ctx, "CreateInstanceProfile", form, nil); err != nil {
		if !isExisting(err) {
			return Made{}, err
		}
		if !mine {
			return Made{}, w.alreadyExists(name)
		}
	}
	return w.profileRoles(ctx, name)
}

// profileRoles gives an instance profile the roles of the properties.
func (w *work) profileRoles(ctx context.Context, name string) (Made, error) {
	made := Made{PhysicalID: name}
	arn, has, err := w.profile(ctx, name)
	if err != nil {
		return made, err
	}
	is := w.in.strings("Roles")
	for _, change := range []struct {
		action   string
		all, but []string
	}{{"RemoveRoleFromInstanceProfile", has, is}, {"AddRoleToInstanceProfile", is, has}} {
		for _, role := range change.all {
			if slices.Contains(change.but, role) {
				continue
			}
			if err := w.iam(ctx, change.action, url.Values{"InstanceProfileName": {name}, "RoleName": {role}}, nil); err != nil {
				return made, err
			}
		}
	}
	made.Attributes = map[string]any{"Arn": arn}
	return made, nil
}

func updateInstanceProfile(ctx context.Context, w *work) (Made, error) {
	return w.profileRoles(ctx, w.PhysicalID)
}

func deleteInstanceProfile(ctx context.Context, w *work) error {
	for _, role := range w.in.strings("Roles") {
		err := ignoreGone(w.iam(ctx, "RemoveRoleFromInstanceProfile", url.Values{"InstanceProfileName": {w.PhysicalID}, "RoleName": {role}}, nil))
		if err != nil {
			return err
		}
	}
	return w.iam(ctx, "DeleteInstanceProfile", url.Values{"InstanceProfileName": {w.PhysicalID}}, nil)
}

// createMembership adds users to a group.
func createMembership(ctx context.Context, w *work) (Made, error) {
	made := Made{PhysicalID: w.generated(128)}
	made.Attributes = map[string]any{"Id": made.PhysicalID}
	return made, w.members(ctx, properties{}, w.in)
}

func (w *work) members(ctx context.Context, was, is properties) error {
	group, before := is.str("GroupName"), was.str("GroupName")
	for _, user := range is.strings("Users") {
		if err := w.iam(ctx, "AddUserToGroup", url.Values{"UserName": {user}, "GroupName": {group}}, nil); err != nil {
			return err
		}
	}
	for _, user := range was.strings("Users") {
		if group == before && slices.Contains(is.strings("Users"), user) {
			continue
		}
		if err := ignoreGone(w.iam(ctx, "RemoveUserFromGroup", url.Values{"UserName": {user}, "GroupName": {before}}, nil)); err != nil {
			return err
		}
	}
	return nil
}

func updateMembership(ctx context.Context, w *work) (Made, error) {
	return Made{PhysicalID: w.PhysicalID, Attributes: w.Attributes}, w.members(ctx, w.old, w.in)
}

func deleteMembership(ctx context.Context, w *work) error { return w.members(ctx, w.in, properties{}) }
