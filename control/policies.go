package control

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

func (p *Plane) registerPolicies(r *wire.Router) {
	wire.Handle(r, "AddLayerVersionPermission", p.AddLayerVersionPermission)
	wire.Handle(r, "GetLayerVersionPolicy", p.GetLayerVersionPolicy)
	wire.Handle(r, "RemoveLayerVersionPermission", p.RemoveLayerVersionPermission)
	wire.Handle(r, "AddPermission", p.AddPermission)
	wire.Handle(r, "GetPolicy", p.GetPolicy)
	wire.Handle(r, "RemovePermission", p.RemovePermission)
}

// addStatement appends a statement to the policy of a resource that the caller
// locked. Without a policy, unpoliced is the revision that the client may name.
func (p *Plane) addStatement(ctx context.Context, tx *store.Tx, s lamina.Statement, revision *string, unpoliced, api string) (lamina.Policy, error) {
	policy, err := tx.Policy(ctx, s.Resource)
	if missing(err) {
		policy = lamina.Policy{Resource: s.Resource, RevisionID: unpoliced}
	} else if err != nil {
		return lamina.Policy{}, err
	}
	if revision != nil && *revision != policy.RevisionID {
		return lamina.Policy{}, errStale(api)
	}
	if _, taken := policy.Find(s.Sid); taken {
		return lamina.Policy{}, wire.ResourceConflict.Errorf("The statement id (%s) provided already exists. Please provide a new statement id, or remove the existing statement.", s.Sid)
	}
	policy.Statements = append(policy.Statements, s)
	policy.RevisionID = newID()
	document, err := policy.Document()
	if err != nil {
		return lamina.Policy{}, err
	}
	if len(document) > p.limits.PolicyBytes {
		return lamina.Policy{}, wire.PolicyLengthExceeded.Errorf("The final policy size (%d) is bigger than the limit (%d).", len(document), p.limits.PolicyBytes)
	}
	return policy, tx.PutPolicy(ctx, policy)
}

// removeStatement takes a statement out of the policy of a resource that the
// caller locked.
func removeStatement(ctx context.Context, tx *store.Tx, resource, sid string, revision *string, api string) error {
	policy, err := tx.Policy(ctx, resource)
	if err != nil {
		return notFound(err, "No policy is associated with the given resource.")
	}
	if _, found := policy.Find(sid); !found {
		return wire.ResourceNotFound.Errorf("Statement %s is not found in resource policy.", sid)
	}
	if revision != nil && *revision != policy.RevisionID {
		return errStale(api)
	}
	policy.Statements = policy.Without(sid)
	policy.RevisionID = newID()
	return tx.PutPolicy(ctx, policy)
}

// statementText is a statement as answers carry it: JSON in a string.
func statementText(s lamina.Statement) (*string, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("write statement %s: %w", s.Sid, err)
	}
	text := string(data)
	return &text, nil
}

// layerPolicyAPI is what AWS calls the way to a layer policy's revision.
const layerPolicyAPI = "GetLayerPolicy"

// lockedLayer locks a layer version for a change of its policy.
func lockedLayer(ctx context.Context, tx *store.Tx, id lamina.LayerID, number int64) error {
	_, err := tx.LockLayerVersion(ctx, id, number)
	return notFound(err, "Layer version %s does not exist.", id.VersionARN(number))
}

// AddLayerVersionPermission lets an account, an organization or everyone use a
// layer version.
func (p *Plane) AddLayerVersionPermission(ctx context.Context, in *wire.AddLayerVersionPermissionRequest) (*wire.AddLayerVersionPermissionResponse, error) {
	if err := checkLayerNumber(in.VersionNumber); err != nil {
		return nil, err
	}
	id, err := ownLayer(ctx, "AddLayerVersionPermission", in.LayerName)
	if err != nil {
		return nil, err
	}
	statement := lamina.Statement{
		Sid: in.StatementId, Effect: "Allow", Principal: principal(in.Principal), Action: in.Action, Resource: id.VersionARN(in.VersionNumber),
	}
	if in.OrganizationId != nil {
		statement.Condition = map[string]map[string]string{"StringEquals": {"aws:PrincipalOrgID": *in.OrganizationId}}
	}
	var policy lamina.Policy
	err = p.store.Update(ctx, func(tx *store.Tx) (err error) {
		if err := lockedLayer(ctx, tx, id, in.VersionNumber); err != nil {
			return err
		}
		policy, err = p.addStatement(ctx, tx, statement, in.RevisionId, "", layerPolicyAPI)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("add permission to %s: %w", statement.Resource, err)
	}
	text, err := statementText(statement)
	if err != nil {
		return nil, err
	}
	return &wire.AddLayerVersionPermissionResponse{Statement: text, RevisionId: &policy.RevisionID}, nil
}

// GetLayerVersionPolicy shows who may use a layer version.
func (p *Plane) GetLayerVersionPolicy(ctx context.Context, in *wire.GetLayerVersionPolicyRequest) (*wire.GetLayerVersionPolicyResponse, error) {
	if err := checkLayerNumber(in.VersionNumber); err != nil {
		return nil, err
	}
	id, err := ownLayer(ctx, "GetLayerVersionPolicy", in.LayerName)
	if err != nil {
		return nil, err
	}
	arn := id.VersionARN(in.VersionNumber)
	var policy lamina.Policy
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		if _, err := tx.LayerVersion(ctx, id, in.VersionNumber); err != nil {
			return notFound(err, "Layer version %s does not exist.", arn)
		}
		policy, err = tx.Policy(ctx, arn)
		return notFound(err, "No policy is associated with the given resource.")
	})
	if err != nil {
		return nil, fmt.Errorf("get policy of %s: %w", arn, err)
	}
	document, err := policy.Document()
	if err != nil {
		return nil, err
	}
	return &wire.GetLayerVersionPolicyResponse{Policy: &document, RevisionId: &policy.RevisionID}, nil
}

// RemoveLayerVersionPermission takes a statement out of a layer version's policy.
func (p *Plane) RemoveLayerVersionPermission(ctx context.Context, in *wire.RemoveLayerVersionPermissionRequest) (*wire.NoContent, error) {
	if err := checkLayerNumber(in.VersionNumber); err != nil {
		return nil, err
	}
	id, err := ownLayer(ctx, "RemoveLayerVersionPermission", in.LayerName)
	if err != nil {
		return nil, err
	}
	arn := id.VersionARN(in.VersionNumber)
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if err := lockedLayer(ctx, tx, id, in.VersionNumber); err != nil {
			return err
		}
		return removeStatement(ctx, tx, arn, in.StatementId, in.RevisionId, layerPolicyAPI)
	})
	if err != nil {
		return nil, fmt.Errorf("remove permission from %s: %w", arn, err)
	}
	return nil, nil
}

var accountID = regexp.MustCompile(`^\d{12}$`)

// principal spells who a statement is about as AWS writes it into policies: an
// account as its root ARN, services and ARNs by their kind.
func principal(asked string) lamina.Principal {
	switch {
	case asked == "*":
		return lamina.Principal{Value: "*"}
	case accountID.MatchString(asked):
		return lamina.Principal{Kind: "AWS", Value: "arn:" + lamina.Partition + ":iam::" + asked + ":root"}
	case strings.HasPrefix(asked, "arn:"):
		return lamina.Principal{Kind: "AWS", Value: asked}
	}
	return lamina.Principal{Kind: "Service", Value: asked}
}

// policed resolves the function, version or alias whose policy a request is
// about. $LATEST has none.
func policed(ctx context.Context, name string, qualifier *string) (reference, error) {
	ref, err := resolve(ctx, name, qualifier)
	if err == nil && ref.Qualifier == lamina.Latest {
		err = wire.InvalidParameterValue.Errorf("We currently do not support adding policies for $LATEST.")
	}
	return ref, err
}

// policedRevision locks the function and returns the revision that stands for a
// policy that does not exist yet: that of the version or alias.
func policedRevision(ctx context.Context, tx *store.Tx, ref reference, noFunction string) (string, error) {
	if _, err := tx.LockFunction(ctx, ref.FunctionID); err != nil {
		return "", notFound(err, noFunction, ref.ARN())
	}
	number, isNumber := lamina.ParseNumber(ref.Qualifier)
	if ref.Qualifier != "" && !isNumber && !strings.Contains(ref.Qualifier, "$") {
		a, err := tx.Alias(ctx, ref.FunctionID, ref.Qualifier)
		return a.RevisionID, notFound(err, "Cannot find alias arn: %s", ref.arn())
	}
	if strings.Contains(ref.Qualifier, "$") {
		return "", errNoFunction(ref.arn())
	}
	v, err := tx.FunctionVersion(ctx, ref.FunctionID, number)
	return v.RevisionID, notFound(err, "Function not found: %s", ref.arn())
}

// AddPermission lets a principal use a function, a version or an alias.
func (p *Plane) AddPermission(ctx context.Context, in *wire.AddPermissionRequest) (*wire.AddPermissionResponse, error) {
	ref, err := policed(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	who := principal(in.Principal)
	if who.Kind == "Service" && !strings.HasSuffix(in.Principal, ".amazonaws.com") && !strings.HasSuffix(in.Principal, ".amazon.com") {
		return nil, wire.InvalidParameterValue.Errorf("The provided principal was invalid. Please check the principal and try again.")
	}
	statement := lamina.Statement{
		Sid: in.StatementId, Effect: "Allow", Principal: who, Action: in.Action, Resource: ref.arn(), Condition: conditions(in),
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		revision, err := policedRevision(ctx, tx, ref, "Function not found: %s")
		if err != nil {
			return err
		}
		_, err = p.addStatement(ctx, tx, statement, in.RevisionId, revision, "GetPolicy")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("add permission to %s: %w", statement.Resource, err)
	}
	text, err := statementText(statement)
	if err != nil {
		return nil, err
	}
	return &wire.AddPermissionResponse{Statement: text}, nil
}

// conditions are the optional members of AddPermission as policy conditions,
// with AWS's capitals.
func conditions(in *wire.AddPermissionRequest) map[string]map[string]string {
	out := map[string]map[string]string{}
	add := func(operator, key string, v *string) {
		if v == nil {
			return
		}
		if out[operator] == nil {
			out[operator] = map[string]string{}
		}
		out[operator][key] = *v
	}
	add("StringEquals", "lambda:EventSourceToken", in.EventSourceToken)
	add("StringEquals", "lambda:FunctionUrlAuthType", in.FunctionUrlAuthType)
	add("StringEquals", "aws:PrincipalOrgID", in.PrincipalOrgID)
	add("StringEquals", "AWS:SourceAccount", in.SourceAccount)
	add("ArnLike", "AWS:SourceArn", in.SourceArn)
	if in.InvokedViaFunctionUrl != nil {
		add("Bool", "lambda:InvokedViaFunctionUrl", ptr(fmt.Sprint(*in.InvokedViaFunctionUrl)))
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// GetPolicy shows who may use a function, a version or an alias.
func (p *Plane) GetPolicy(ctx context.Context, in *wire.GetPolicyRequest) (*wire.GetPolicyResponse, error) {
	ref, err := resolve(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	var policy lamina.Policy
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		policy, err = tx.Policy(ctx, ref.arn())
		return notFound(err, "The resource you requested does not exist.")
	})
	if err != nil {
		return nil, fmt.Errorf("get policy of %s: %w", ref.arn(), err)
	}
	document, err := policy.Document()
	if err != nil {
		return nil, err
	}
	return &wire.GetPolicyResponse{Policy: &document, RevisionId: &policy.RevisionID}, nil
}

// RemovePermission takes a statement out of a policy.
func (p *Plane) RemovePermission(ctx context.Context, in *wire.RemovePermissionRequest) (*wire.NoContent, error) {
	ref, err := resolve(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := policedRevision(ctx, tx, ref, "No policy found for: %s"); err != nil {
			return err
		}
		return removeStatement(ctx, tx, ref.arn(), in.StatementId, in.RevisionId, "GetPolicy")
	})
	if err != nil {
		return nil, fmt.Errorf("remove permission from %s: %w", ref.arn(), err)
	}
	return nil, nil
}
