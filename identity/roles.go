package identity

import (
	"context"
	"crypto/rand"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/lamina-run/lamina/store"
)

const (
	maxDescription = 1000
	maxTrustPolicy = 2048
	defaultSession = 3600
)

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
	r, err := s.newIdentity(c, in, roles)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(r.Path, serviceLinkedPath) {
		return nil, invalid("Cannot create a role with a path that begins with %s. Use CreateServiceLinkedRole.", serviceLinkedPath)
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
	return s.insert(ctx, roles, r)
}

func (s *iam) updateRole(ctx context.Context, c Caller, in form) (any, error) {
	_, err := s.change(ctx, c, in, roles, func(_ *store.Tx, r *store.Identity) (err error) {
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
	r, err := s.change(ctx, c, in, roles, func(_ *store.Tx, r *store.Identity) (err error) {
		r.Description, err = in.text("Description", maxDescription)
		return err
	})
	if err != nil {
		return nil, err
	}
	return roles.one(showIdentity(r)), nil
}

func (s *iam) updateAssumeRolePolicy(ctx context.Context, c Caller, in form) (any, error) {
	trust, err := in.document("PolicyDocument", true)
	if err != nil {
		return nil, err
	}
	_, err = s.change(ctx, c, in, roles, func(_ *store.Tx, r *store.Identity) error {
		r.TrustPolicy = trust
		return nil
	})
	return nil, err
}

func (s *iam) deleteRole(ctx context.Context, c Caller, in form) (any, error) {
	return nil, s.edit(ctx, c, in, roles, func(tx *store.Tx, r store.Identity) error {
		if isServiceLinked(r) {
			return unmodifiable(r)
		}
		profiles, err := tx.MemberOf(ctx, r.IdentityRef, store.KindInstanceProfile)
		if err != nil {
			return err
		}
		if len(profiles) > 0 {
			return conflict("Cannot delete entity, must remove roles from instance profile first.")
		}
		if err := removable(ctx, tx, r.IdentityRef); err != nil {
			return err
		}
		_, err = tx.DeleteIdentity(ctx, r.IdentityRef)
		return err
	})
}

// Service-linked roles are roles that a service makes for itself.
const serviceLinkedPath = "/aws-service-role/"

// serviceLinked are the roles of the services that Lamina knows some of.
var serviceLinked = map[string]string{
	"lambda.amazonaws.com":            "AWSServiceRoleForLambda",
	"replicator.lambda.amazonaws.com": "AWSServiceRoleForLambdaReplicator",
}

func isServiceLinked(i store.Identity) bool {
	return i.Kind == store.KindRole && strings.HasPrefix(i.Path, serviceLinkedPath)
}

func unmodifiable(i store.Identity) error {
	service := strings.Trim(strings.TrimPrefix(i.Path, serviceLinkedPath), "/")
	return refuse(http.StatusBadRequest, "UnmodifiableEntity", "Cannot perform the operation on the protected role '%s' - this role is only modifiable by AWS: %s", i.Name, service)
}

func (s *iam) createServiceLinkedRole(ctx context.Context, c Caller, in form) (any, error) {
	service := in.get("AWSServiceName")
	name, ok := serviceLinked[service]
	if !ok {
		return nil, refuse(http.StatusBadRequest, "InvalidInput", "Lamina has no service-linked role of %s, only of lambda.amazonaws.com.", printable(service))
	}
	if in.get("CustomSuffix") != "" {
		return nil, refuse(http.StatusBadRequest, "InvalidInput", "Custom suffix is not allowed for %s", service)
	}
	r := store.Identity{
		IdentityRef: store.IdentityRef{Account: c.Account, Kind: store.KindRole, Name: name}, ID: newID(roles.prefix), Path: serviceLinkedPath + service + "/",
		TrustPolicy:       `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + service + `"},"Action":"sts:AssumeRole"}]}`,
		MaxSessionSeconds: defaultSession, Created: s.Now(),
	}
	var err error
	if r.Description, err = in.text("Description", maxDescription); err != nil {
		return nil, err
	}
	out, err := s.insert(ctx, roles, r)
	if q, ok := err.(*queryError); ok && q.Code == "EntityAlreadyExists" { //nolint:errorlint // insert does not wrap it
		return nil, refuse(http.StatusBadRequest, "InvalidInput", "Service role name %s has been taken in this account, please try a different suffix.", name)
	}
	return out, err
}

func (s *iam) deleteServiceLinkedRole(ctx context.Context, c Caller, in form) (result any, err error) {
	err = s.edit(ctx, c, in, roles, func(tx *store.Tx, r store.Identity) error {
		if !isServiceLinked(r) {
			return invalid("The role %s is not a service-linked role.", r.Name)
		}
		result = struct {
			DeletionTaskID string `xml:"DeletionTaskId"`
		}{"task" + r.Path + r.Name + "/" + strings.ToLower(rand.Text())}
		_, err := tx.DeleteIdentity(ctx, r.IdentityRef)
		return err
	})
	return result, err
}

var deletionTaskForm = regexp.MustCompile(`^task/aws-service-role/[\w.-]+/(\w+)/\w+$`)

// getServiceLinkedRoleDeletionStatus: a deletion is done when it is answered.
func (s *iam) getServiceLinkedRoleDeletionStatus(_ context.Context, _ Caller, in form) (any, error) {
	if id := in.get("DeletionTaskId"); !deletionTaskForm.MatchString(id) {
		return nil, noEntity("Deletion Task Id %s cannot be found.", printable(id))
	}
	return struct{ Status string }{"SUCCEEDED"}, nil
}
