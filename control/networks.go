package control

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// Networks knows which VPC subnets and security groups are in.
type Networks interface {
	// SecurityGroups returns the VPC of each group, in the order of ids. It fails
	// with a *lamina.NetworkError when EC2 refuses, as it does when one of them
	// does not exist.
	SecurityGroups(ctx context.Context, region string, ids []string) (vpcs []string, err error)
	// Subnets does the same for subnets.
	Subnets(ctx context.Context, region string, ids []string) (vpcs []string, err error)
}

// foundVPC is the VPC that EC2 named for some subnets and security groups.
type foundVPC struct{ lamina.VPC }

// settle gives v the VPC that was looked up for it. Looking up takes place before
// the transaction; when the function was moved meanwhile, the answer is for a VPC
// that it will not have.
func (f *foundVPC) settle(v *lamina.VPC, id lamina.FunctionID) error {
	if f == nil {
		return nil
	}
	if !slices.Equal(f.SubnetIDs, v.SubnetIDs) || !slices.Equal(f.SecurityGroupIDs, v.SecurityGroupIDs) {
		return errBusy(lamina.Version{Function: id})
	}
	v.ID = f.ID
	return nil
}

// findVPC looks up the VPC of a function which has one and is asked to have
// another. It is nil when there is nothing to look up: no subnets, subnets and
// groups as they are, or no EC2. It must be called outside transactions.
func (p *Plane) findVPC(ctx context.Context, region string, have *lamina.VPC, asked *wire.VpcConfig) (*foundVPC, error) {
	if p.networks == nil || asked == nil || asked.SubnetIds == nil && asked.SecurityGroupIds == nil {
		return nil, nil
	}
	v := mergedVPC(have, *asked)
	if err := checkHalves(v); err != nil || len(v.SubnetIDs) == 0 {
		return nil, err
	}
	// Groups first: recorded (docs/quirks.md#vpc-checks).
	groups, err := p.networks.SecurityGroups(ctx, region, v.SecurityGroupIDs)
	if err != nil {
		return nil, networkError(err, v.SecurityGroupIDs)
	}
	subnets, err := p.networks.Subnets(ctx, region, v.SubnetIDs)
	if err != nil {
		return nil, networkError(err, v.SubnetIDs)
	}
	v.ID = subnets[0]
	elsewhere := func(vpc string) bool { return vpc != v.ID }
	switch {
	case slices.ContainsFunc(subnets, elsewhere):
		return nil, wire.InvalidParameterValue.Errorf("Subnets are required to be in the same VPC.")
	case slices.ContainsFunc(groups, elsewhere):
		return nil, wire.InvalidParameterValue.Errorf("Security Groups are required to be in the same VPC.")
	}
	return &foundVPC{*v}, nil
}

// findNewVPC is findVPC for a function that exists, and may be changed by a
// caller who saw revision.
func (p *Plane) findNewVPC(ctx context.Context, ref reference, revision *string, asked *wire.VpcConfig) (*foundVPC, error) {
	if p.networks == nil || asked == nil {
		return nil, nil
	}
	var latest lamina.Version
	err := p.store.View(ctx, func(tx *store.Tx) (err error) {
		latest, err = tx.FunctionVersion(ctx, ref.FunctionID, 0)
		return err
	})
	if err != nil {
		return nil, notFound(err, "Function not found: %s", ref.ARN())
	}
	if err := changeable(latest, revision); err != nil {
		return nil, err
	}
	return p.findVPC(ctx, ref.Region, latest.Config.VPC, asked)
}

// networkError is what AWS answers when EC2 refuses to describe ids.
func networkError(err error, ids []string) error {
	refused, ok := errors.AsType[*lamina.NetworkError](err)
	if !ok {
		return err
	}
	const told = "EC2 Error Code: %s. EC2 Error Message: %s"
	switch refused.Code {
	case "UnauthorizedOperation":
		return wire.AccessDenied.Errorf("Your access has been denied by EC2, please make sure your request credentials have permission to %s for %s. "+told,
			refused.Action, strings.Join(ids, ", "), refused.Code, refused.Message)
	case "RequestLimitExceeded":
		return wire.InvalidParameterValue.Errorf("Your request has been throttled by EC2, please make sure you have enough API rate limit. "+told, refused.Code, refused.Message)
	}
	return wire.InvalidParameterValue.Errorf("Error occurred while %s. "+told, refused.Action, refused.Code, refused.Message)
}
