package control_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// fakeNetworks are subnets and security groups by identifier, with their VPC.
type fakeNetworks struct {
	vpcs map[string]string

	mu        sync.Mutex // guards what follows; control asks in the test's goroutines
	asked     []string   // REGION: ID,ID
	refuse    error
	meanwhile func() // runs once, while subnets are looked up
}

func (f *fakeNetworks) SecurityGroups(_ context.Context, region string, ids []string) ([]string, error) {
	return f.look(region, ids, "DescribeSecurityGroups", "InvalidGroup.NotFound", "The security group '%s' does not exist")
}

func (f *fakeNetworks) Subnets(_ context.Context, region string, ids []string) ([]string, error) {
	f.mu.Lock()
	meanwhile := f.meanwhile
	f.meanwhile = nil
	f.mu.Unlock()
	if meanwhile != nil {
		meanwhile()
	}
	return f.look(region, ids, "DescribeSubnets", "InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist")
}

func (f *fakeNetworks) look(region string, ids []string, action, code, format string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, region+": "+strings.Join(ids, ","))
	if f.refuse != nil {
		return nil, fmt.Errorf("ask: %w", f.refuse)
	}
	var vpcs []string
	for _, id := range ids {
		vpc, ok := f.vpcs[id]
		if !ok {
			return nil, fmt.Errorf("ask: %w", &lamina.NetworkError{Action: action, Code: code, Message: fmt.Sprintf(format, id)})
		}
		vpcs = append(vpcs, vpc)
	}
	return vpcs, nil
}

// questions returns what was asked since the last call.
func (f *fakeNetworks) questions() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = nil
	return asked
}

func planeWithNetworks(t *testing.T, path string, networks control.Networks) (*control.Plane, context.Context) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	p := control.New(control.Options{
		Store: db, Invoker: &fakeInvoker{}, Locations: noLocations{}, Limits: lamina.DefaultLimits(), Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Networks: networks,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // Run sends once
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, db.Close()); err != nil {
			t.Error(err)
		}
	})
	return p, identity.WithCaller(t.Context(), identity.Caller{Account: "000000000000", Region: "eu-west-1", ARN: "arn:aws:iam::000000000000:root"})
}

func vpcOf(subnets, groups []string) *wire.VpcConfig {
	return &wire.VpcConfig{SubnetIds: subnets, SecurityGroupIds: groups}
}

func twoVPCs() *fakeNetworks {
	return &fakeNetworks{vpcs: map[string]string{
		"subnet-1a": "vpc-1", "subnet-1b": "vpc-1", "sg-1": "vpc-1", "sg-11": "vpc-1",
		"subnet-2": "vpc-2", "sg-2": "vpc-2",
	}}
}

func TestVPCIsLookedUp(t *testing.T) {
	t.Parallel()
	f := twoVPCs()
	path := database(t)
	p, ctx := planeWithNetworks(t, path, f)
	wantVPC := func(what string, got *wire.FunctionConfiguration, vpc string, subnets, groups []string) {
		t.Helper()
		v := got.VpcConfig
		if v == nil || *v.VpcId != vpc || !slices.Equal(v.SubnetIds, subnets) || !slices.Equal(v.SecurityGroupIds, groups) {
			t.Errorf("%s = %+v; want %s %v %v", what, v, vpc, subnets, groups)
		}
	}
	wantQuestions := func(what string, want ...string) {
		t.Helper()
		if got := f.questions(); !slices.Equal(got, want) {
			t.Errorf("%s asked %q; want %q", what, got, want)
		}
	}
	update := func(v *wire.VpcConfig) (*wire.FunctionConfiguration, error) {
		settled(t, p, ctx, "fn")
		return p.UpdateFunctionConfiguration(ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "fn", VpcConfig: v})
	}
	mustUpdate := func(v *wire.VpcConfig) *wire.FunctionConfiguration {
		t.Helper()
		out, err := update(v)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}

	made := create(t, p, ctx, "fn", func(in *wire.CreateFunctionRequest) {
		in.VpcConfig = vpcOf([]string{"subnet-1a", "subnet-1b"}, []string{"sg-1"})
	})
	wantVPC("CreateFunction", made, "vpc-1", []string{"subnet-1a", "subnet-1b"}, []string{"sg-1"})
	wantQuestions("CreateFunction", "eu-west-1: sg-1", "eu-west-1: subnet-1a,subnet-1b")
	wantVPC("GetFunctionConfiguration", settled(t, p, ctx, "fn"), "vpc-1", []string{"subnet-1a", "subnet-1b"}, []string{"sg-1"})

	wantVPC("other groups only", mustUpdate(vpcOf(nil, []string{"sg-11"})), "vpc-1", []string{"subnet-1a", "subnet-1b"}, []string{"sg-11"})
	wantQuestions("other groups only", "eu-west-1: sg-11", "eu-west-1: subnet-1a,subnet-1b")

	version, err := p.PublishVersion(ctx, &wire.PublishVersionRequest{FunctionName: *settled(t, p, ctx, "fn").FunctionName})
	if err != nil {
		t.Fatal(err)
	}
	wantVPC("PublishVersion", version, "vpc-1", []string{"subnet-1a", "subnet-1b"}, []string{"sg-11"})

	wantVPC("nothing named", mustUpdate(&wire.VpcConfig{Ipv6AllowedForDualStack: ptr(true)}), "vpc-1", []string{"subnet-1a", "subnet-1b"}, []string{"sg-11"})
	wantQuestions("nothing named")

	wantVPC("another VPC", mustUpdate(vpcOf([]string{"subnet-2"}, []string{"sg-2"})), "vpc-2", []string{"subnet-2"}, []string{"sg-2"})
	wantQuestions("another VPC", "eu-west-1: sg-2", "eu-west-1: subnet-2")

	wantVPC("out of the VPC", mustUpdate(vpcOf([]string{}, []string{})), "", nil, nil)
	wantQuestions("out of the VPC")

	_, err = update(vpcOf([]string{"subnet-2"}, nil))
	wantException(t, "half a VPC", err, wire.InvalidParameterValue, "SecurityGroupIds and SubnetIds must coexist or be both empty list.")
	wantQuestions("half a VPC")
}

func TestNetworksThatAreRefused(t *testing.T) {
	t.Parallel()
	f := twoVPCs()
	p, ctx := planeWithNetworks(t, database(t), f)
	create(t, p, ctx, "fn", func(in *wire.CreateFunctionRequest) { in.VpcConfig = vpcOf([]string{"subnet-1a"}, []string{"sg-1"}) })
	before := settled(t, p, ctx, "fn")
	for name, c := range map[string]struct {
		vpc     *wire.VpcConfig
		refuse  error
		kind    *wire.Kind
		message string
	}{
		"no such subnet": {
			vpcOf([]string{"subnet-1a", "subnet-0"}, []string{"sg-1"}), nil, wire.InvalidParameterValue,
			"Error occurred while DescribeSubnets. EC2 Error Code: InvalidSubnetID.NotFound. EC2 Error Message: The subnet ID 'subnet-0' does not exist",
		},
		"no such group is said first": {
			vpcOf([]string{"subnet-0"}, []string{"sg-0"}), nil, wire.InvalidParameterValue,
			"Error occurred while DescribeSecurityGroups. EC2 Error Code: InvalidGroup.NotFound. EC2 Error Message: The security group 'sg-0' does not exist",
		},
		"subnets of two VPCs": {vpcOf([]string{"subnet-1a", "subnet-2"}, []string{"sg-1"}), nil, wire.InvalidParameterValue, "Subnets are required to be in the same VPC."},
		"groups of two VPCs":  {vpcOf([]string{"subnet-1a"}, []string{"sg-1", "sg-2"}), nil, wire.InvalidParameterValue, "Security Groups are required to be in the same VPC."},
		"groups of another":   {vpcOf([]string{"subnet-1a"}, []string{"sg-2"}), nil, wire.InvalidParameterValue, "Security Groups are required to be in the same VPC."},
		"not allowed": {
			vpcOf([]string{"subnet-1a"}, []string{"sg-1", "sg-11"}),
			&lamina.NetworkError{Action: "DescribeSecurityGroups", Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation."},
			wire.AccessDenied,
			"Your access has been denied by EC2, please make sure your request credentials have permission to DescribeSecurityGroups for sg-1, sg-11. EC2 Error Code: UnauthorizedOperation. EC2 Error Message: You are not authorized to perform this operation.",
		},
		"throttled": {
			vpcOf([]string{"subnet-1a"}, []string{"sg-1"}),
			&lamina.NetworkError{Action: "DescribeSecurityGroups", Code: "RequestLimitExceeded", Message: "Request limit exceeded."},
			wire.InvalidParameterValue,
			"Your request has been throttled by EC2, please make sure you have enough API rate limit. EC2 Error Code: RequestLimitExceeded. EC2 Error Message: Request limit exceeded.",
		},
	} {
		f.refuse = c.refuse
		_, err := p.CreateFunction(ctx, &wire.CreateFunctionRequest{
			FunctionName: "other", Runtime: ptr("python3.12"), Handler: ptr("app.handler"), Role: "arn:aws:iam::000000000000:role/r",
			Code: &wire.FunctionCode{ZipFile: zipOf(t, "other")}, VpcConfig: c.vpc,
		})
		wantException(t, "CreateFunction: "+name, err, c.kind, c.message)
		_, err = p.UpdateFunctionConfiguration(ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "fn", VpcConfig: c.vpc})
		wantException(t, "UpdateFunctionConfiguration: "+name, err, c.kind, c.message)
	}
	f.refuse = errors.New("connection refused")
	_, err := p.UpdateFunctionConfiguration(ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "fn", VpcConfig: vpcOf([]string{"subnet-1b"}, nil)})
	if _, ok := errors.AsType[*wire.Exception](err); ok || !errors.Is(err, f.refuse) {
		t.Errorf("EC2 out of reach = %v; want it as it is", err)
	}
	f.refuse = nil
	if after := settled(t, p, ctx, "fn"); *after.RevisionId != *before.RevisionId || *after.VpcConfig.VpcId != "vpc-1" {
		t.Errorf("after refusals = %v; want nothing changed", after)
	}
	_, err = p.GetFunction(ctx, &wire.GetFunctionRequest{FunctionName: "other"})
	if !wire.ResourceNotFound.Is(err) {
		t.Errorf("GetFunction(other) = %v; want ResourceNotFoundException", err)
	}
}

// What can be told without EC2 is told without it.
func TestEC2IsNotAskedInVain(t *testing.T) {
	t.Parallel()
	f := twoVPCs()
	p, ctx := planeWithNetworks(t, database(t), f)
	vpc := vpcOf([]string{"subnet-0"}, []string{"sg-0"})
	_, err := p.UpdateFunctionConfiguration(ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "absent", VpcConfig: vpc})
	wantException(t, "no function", err, wire.ResourceNotFound, "Function not found: arn:aws:lambda:eu-west-1:000000000000:function:absent")
	create(t, p, ctx, "fn")
	settled(t, p, ctx, "fn")
	_, err = p.UpdateFunctionConfiguration(ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "fn", RevisionId: ptr("another"), VpcConfig: vpc})
	if !wire.PreconditionFailed.Is(err) {
		t.Errorf("another revision = %v; want PreconditionFailedException", err)
	}
	if got := f.questions(); len(got) > 0 {
		t.Errorf("asked %q; want nothing", got)
	}
}

// The lookup happens outside the transaction, so that a whole update fits into
// it: the answer is then for a VPC that the function does not have any more.
func TestVPCThatMovesWhileItIsLookedUp(t *testing.T) {
	t.Parallel()
	f := twoVPCs()
	p, ctx := planeWithNetworks(t, database(t), f)
	create(t, p, ctx, "fn", func(in *wire.CreateFunctionRequest) { in.VpcConfig = vpcOf([]string{"subnet-1a"}, []string{"sg-1"}) })
	settled(t, p, ctx, "fn")
	f.meanwhile = func() {
		_, err := p.UpdateFunctionConfiguration(ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "fn", VpcConfig: vpcOf([]string{"subnet-2"}, []string{"sg-2"})})
		if err != nil {
			t.Errorf("update meanwhile: %v", err)
		}
		settled(t, p, ctx, "fn")
	}
	_, err := p.UpdateFunctionConfiguration(ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "fn", VpcConfig: vpcOf([]string{"subnet-1b"}, nil)})
	wantException(t, "VPC that moved", err, wire.ResourceConflict, "The operation cannot be performed at this time. An update is in progress for resource: arn:aws:lambda:eu-west-1:000000000000:function:fn")
	if v := settled(t, p, ctx, "fn").VpcConfig; *v.VpcId != "vpc-2" || v.SubnetIds[0] != "subnet-2" || v.SecurityGroupIds[0] != "sg-2" {
		t.Errorf("VpcConfig = %+v; want the one that came between", v)
	}
}

// A server that is started again without EC2 keeps what it learned, until a
// function goes elsewhere.
func TestVPCWithoutEC2(t *testing.T) {
	t.Parallel()
	path := database(t)
	t.Run("with EC2", func(t *testing.T) {
		p, ctx := planeWithNetworks(t, path, twoVPCs())
		create(t, p, ctx, "fn", func(in *wire.CreateFunctionRequest) { in.VpcConfig = vpcOf([]string{"subnet-1a"}, []string{"sg-1"}) })
		settled(t, p, ctx, "fn")
	})
	p, ctx := planeWithNetworks(t, path, nil)
	update := func(v *wire.VpcConfig) string {
		settled(t, p, ctx, "fn")
		out, err := p.UpdateFunctionConfiguration(ctx, &wire.UpdateFunctionConfigurationRequest{FunctionName: "fn", VpcConfig: v})
		if err != nil {
			t.Fatal(err)
		}
		return *out.VpcConfig.VpcId
	}
	if got := update(vpcOf([]string{"subnet-1a"}, []string{"sg-unchecked"})); got != "vpc-1" {
		t.Errorf("VpcId with the same subnets = %s; want vpc-1", got)
	}
	made := update(vpcOf([]string{"subnet-unchecked"}, nil))
	if !strings.HasPrefix(made, "vpc-") || made == "vpc-1" {
		t.Errorf("VpcId with other subnets = %s; want a made-up one", made)
	}
}
