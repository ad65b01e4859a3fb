package stack_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/stack"
	"github.com/lamina-run/lamina/stack/resources"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
	"github.com/lamina-run/lamina/wire/query"
)

const (
	account = "123456789012"
	region  = "eu-west-1"
)

// anything is a type of resource that is nowhere: its Name replaces it.
type anything struct{ name string }

func (anything) Check(p map[string]any) error {
	if _, ok := p["Wrong"]; ok {
		return errors.New("extraneous key [Wrong] is not permitted")
	}
	return nil
}

func (anything) HasAttribute(name string) bool {
	return slices.Contains([]string{"Arn", "Version"}, name)
}
func (anything) TakesTags() bool { return false }

func (anything) Compare(old, new map[string]any) (all []resources.Difference) {
	keys := maps.Clone(old)
	maps.Copy(keys, new)
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if !reflect.DeepEqual(old[name], new[name]) {
			d := resources.Difference{Property: name, Recreation: resources.Never}
			if name == "Name" {
				d.Recreation = resources.Always
			}
			all = append(all, d)
		}
	}
	return all
}

func (a anything) Create(_ context.Context, s *resources.Step) (resources.Made, error) {
	if s.Properties["Value"] == "fails" {
		return resources.Made{}, errors.New("it was told to fail")
	}
	id := s.Stack.Name + "-" + s.LogicalID + "-" + s.Seed
	return resources.Made{PhysicalID: id, Attributes: map[string]any{"Arn": "arn:aws:" + id, "Version": "1"}}, nil
}

func (a anything) Update(_ context.Context, s *resources.Step) (resources.Made, error) {
	return resources.Made{PhysicalID: s.PhysicalID, Attributes: s.Attributes}, nil
}

func (anything) Delete(context.Context, *resources.Step) error { return nil }

type anyType struct{}

func (anyType) Type(name string) (resources.Type, bool) {
	return anything{name}, strings.HasPrefix(name, "AWS::") && !strings.HasPrefix(name, "AWS::Serverless") && name != "AWS::Missing::Thing"
}

type parameters map[string]string

func (p parameters) StackParameter(_ context.Context, name string) (string, bool, error) {
	v, ok := p[name]
	if !ok {
		return "", false, stack.Validation.Errorf("Parameter %s not found", name)
	}
	return v, name == "/secure", nil
}

// s3 has objects by path.
type s3 struct {
	objects map[string]string
	callers []string
}

func (s *s3) Do(service string, req *http.Request) (*http.Response, error) {
	c, _ := identity.CallerOf(req.Context())
	s.callers = append(s.callers, service+" "+c.ARN)
	w := httptest.NewRecorder()
	text, ok := s.objects[req.URL.Path+"?"+req.URL.RawQuery]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		text = `<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>`
	}
	_, _ = io.WriteString(w, text)
	return w.Result(), nil
}

// server is CloudFormation and IAM with their clients.
type server struct {
	url     string
	handler http.Handler
	root    identity.Credentials
	client  *http.Client
	s3      *s3
	cfn     *cfn.Client
	iam     *awsiam.Client
}

func start(t *testing.T) *server {
	t.Helper()
	st, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "lamina.db")})
	if err != nil {
		t.Fatal(err)
	}
	root, err := identity.EnsureRoot(t.Context(), st, identity.RootOptions{AccountID: account, File: filepath.Join(t.TempDir(), "root.json")})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	sessions, err := identity.NewSessions(make([]byte, identity.SessionKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	who := identity.Options{Store: st, Log: log, Now: time.Now, Keys: identity.StoreKeys(st), Principals: identity.NewPrincipals(st, time.Now), Sessions: sessions}
	who.Authority = identity.NewAuthority(st, who.Principals, log, time.Now)
	engine := stack.New(stack.Options{
		Store: st, Types: anyType{}, Parameters: parameters{"/ami": "ami-1", "/secure": "x"}, Roles: who.Authority, Log: log, Now: time.Now,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // one send, when the engine ends
	go func() { ended <- engine.Run(ctx) }()
	s := &server{root: root, s3: &s3{objects: map[string]string{}}, client: &http.Client{Transport: &http.Transport{}}}
	s.handler = stack.NewAPI(stack.APIOptions{Engine: engine, Authority: who.Authority, Services: s.s3, Log: log})
	services := map[string]http.Handler{"cloudformation": s.handler, "iam": identity.NewIAM(who)}
	v := identity.NewVerifier(who.Keys, time.Now).AcceptSessions(sessions, who.Principals)
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ctx := wire.WithRecord(wire.WithRequestID(req.Context(), "b25f48e8-84fd-11e6-80d9-574e0c4664cb"), &wire.Record{})
		c, err := v.Verify(req)
		if ex, ok := errors.AsType[*wire.Exception](err); ok {
			query.WriteError(w, identity.QueryService(req), wire.RequestID(ctx), ex)
			return
		}
		services[c.Service].ServeHTTP(w, req.WithContext(identity.WithCaller(ctx, c)))
	}))
	s.url = h.URL
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		h.Close()
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("engine: %v", err)
		}
		if err := st.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	s.cfn = cfn.NewFromConfig(s.config(root.AccessKeyID, root.SecretAccessKey))
	s.iam = awsiam.NewFromConfig(s.config(root.AccessKeyID, root.SecretAccessKey))
	return s
}

func (s *server) config(id, secret string) aws.Config {
	return aws.Config{
		Region: region, BaseEndpoint: aws.String(s.url), HTTPClient: s.client, // with retries: reading long answers fails now and then, when the SDK closes the request's body before the transport has seen its end

		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, nil
		}),
	}
}

// wait returns a stack when nothing changes it any more.
func (s *server) wait(t *testing.T, name string) types.Stack {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		got, err := s.cfn.DescribeStacks(t.Context(), &cfn.DescribeStacksInput{StackName: aws.String(name)})
		if err != nil {
			t.Fatal(err)
		}
		if found := got.Stacks[0]; !strings.HasSuffix(string(found.StackStatus), "_IN_PROGRESS") {
			return found
		} else if time.Now().After(end) {
			t.Fatalf("%s is still %s", name, found.StackStatus)
		}
	}
}

// post answers a request of the root in its form, as code and message.
func (s *server) post(t *testing.T, form string) (status int, answer string) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://lamina.test:9000/", strings.NewReader("Version=2010-05-15&"+form))
	req.Header.Set("Content-Type", query.ContentType)
	c := identity.Caller{Account: account, Region: region, Kind: identity.KindRoot, ARN: "arn:aws:iam::" + account + ":root", UserID: account}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, req.WithContext(identity.WithCaller(wire.WithRecord(wire.WithRequestID(req.Context(), "x"), &wire.Record{}), c)))
	var told struct {
		Error struct{ Code, Message string }
	}
	text := w.Body.String()
	if w.Code != http.StatusOK {
		if err := xml.Unmarshal([]byte(text), &told); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		text = told.Error.Code + ": " + told.Error.Message
	}
	return w.Code, text
}

func code(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode() + ": " + e.ErrorMessage()
	}
	return fmt.Sprint(err)
}

const first = `
AWSTemplateFormatVersion: 2010-09-09
Description: a <small> stack
Metadata: {Who: me}
Parameters:
  Size: {Type: Number, Default: 1, Description: how big, AllowedValues: [1, 2]}
  Secret: {Type: String, NoEcho: true, Default: hush}
  Image: {Type: 'AWS::SSM::Parameter::Value<String>', Default: /ami}
Resources:
  A: {Type: AWS::Test::A, Properties: {Value: !Ref Size, Image: !Ref Image}, Metadata: {Note: x}}
  B: {Type: AWS::IAM::Role, Properties: {Value: !GetAtt A.Arn}}
Outputs:
  Arn: {Value: !GetAtt B.Arn, Description: of B, Export: {Name: !Sub '${AWS::StackName}-arn'}}
`

func TestStacks(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := t.Context()
	valid, err := s.cfn.ValidateTemplate(ctx, &cfn.ValidateTemplateInput{TemplateBody: aws.String(first)})
	if err != nil {
		t.Fatal(err)
	}
	if len(valid.Parameters) != 3 || aws.ToString(valid.Parameters[2].DefaultValue) != "1" || !aws.ToBool(valid.Parameters[1].NoEcho) ||
		!cmp.Equal(valid.Capabilities, []types.Capability{types.CapabilityCapabilityIam}) ||
		aws.ToString(valid.CapabilitiesReason) != "The following resource(s) require capabilities: [AWS::IAM::Role]" || aws.ToString(valid.Description) != "a <small> stack" {
		t.Errorf("ValidateTemplate = %+v", valid)
	}
	create := &cfn.CreateStackInput{
		StackName: aws.String("one"), TemplateBody: aws.String(first), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a&b")}},
		Parameters: []types.Parameter{{ParameterKey: aws.String("Size"), ParameterValue: aws.String("2")}}, ClientRequestToken: aws.String("t1"),
	}
	if _, err := s.cfn.CreateStack(ctx, create); code(err) != "InsufficientCapabilitiesException: Requires capabilities : [CAPABILITY_IAM]" {
		t.Errorf("CreateStack without capabilities: %v", err)
	}
	create.Capabilities = []types.Capability{types.CapabilityCapabilityNamedIam}
	made, err := s.cfn.CreateStack(ctx, create)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.cfn.CreateStack(ctx, create); err != nil || *again.StackId != *made.StackId {
		t.Errorf("CreateStack again with its token = %+v, %v; want %s", again, err, *made.StackId)
	}
	create.ClientRequestToken = nil
	if _, err := s.cfn.CreateStack(ctx, create); code(err) != "AlreadyExistsException: Stack [one] already exists" {
		t.Errorf("CreateStack again: %v", err)
	}
	one := s.wait(t, "one")
	if one.StackStatus != types.StackStatusCreateComplete || *one.StackId != *made.StackId || *one.Description != "a <small> stack" || one.LastUpdatedTime != nil {
		t.Errorf("DescribeStacks = %+v", one)
	}
	told := map[string]string{}
	for _, p := range one.Parameters {
		told[*p.ParameterKey] = *p.ParameterValue + "/" + aws.ToString(p.ResolvedValue)
	}
	if !cmp.Equal(told, map[string]string{"Size": "2/", "Secret": "****/", "Image": "/ami/ami-1"}) {
		t.Errorf("parameters are %v", told)
	}
	if len(one.Outputs) != 1 || *one.Outputs[0].ExportName != "one-arn" || !strings.HasPrefix(*one.Outputs[0].OutputValue, "arn:aws:one-B-") || *one.Outputs[0].Description != "of B" {
		t.Errorf("outputs are %+v", one.Outputs)
	}
	if len(one.Tags) != 1 || *one.Tags[0].Value != "a&b" || one.DriftInformation.StackDriftStatus != types.StackDriftStatusNotChecked || *one.EnableTerminationProtection {
		t.Errorf("DescribeStacks = %+v", one)
	}

	original, err := s.cfn.GetTemplate(ctx, &cfn.GetTemplateInput{StackName: aws.String("one")})
	if err != nil || *original.TemplateBody != first || len(original.StagesAvailable) != 2 {
		t.Errorf("GetTemplate = %+v, %v", original, err)
	}
	summary, err := s.cfn.GetTemplateSummary(ctx, &cfn.GetTemplateSummaryInput{StackName: one.StackId})
	if err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(summary.ResourceTypes, []string{"AWS::IAM::Role", "AWS::Test::A"}) || *summary.Metadata != `{"Who":"me"}` || *summary.Version != "2010-09-09" ||
		!cmp.Equal(summary.Parameters[2].ParameterConstraints.AllowedValues, []string{"1", "2"}) || *summary.Parameters[0].ParameterType != "AWS::SSM::Parameter::Value<String>" {
		t.Errorf("GetTemplateSummary = %+v", summary)
	}

	detail, err := s.cfn.DescribeStackResource(ctx, &cfn.DescribeStackResourceInput{StackName: aws.String("one"), LogicalResourceId: aws.String("A")})
	if err != nil || *detail.StackResourceDetail.Metadata != `{"Note":"x"}` || detail.StackResourceDetail.ResourceStatus != types.ResourceStatusCreateComplete {
		t.Errorf("DescribeStackResource = %+v, %v", detail, err)
	}
	if _, err := s.cfn.DescribeStackResource(ctx, &cfn.DescribeStackResourceInput{StackName: aws.String("one"), LogicalResourceId: aws.String("X")}); code(err) != "ValidationError: Resource X does not exist for stack one" {
		t.Errorf("DescribeStackResource of none: %v", err)
	}
	all, err := s.cfn.DescribeStackResources(ctx, &cfn.DescribeStackResourcesInput{PhysicalResourceId: detail.StackResourceDetail.PhysicalResourceId})
	if err != nil || len(all.StackResources) != 2 || *all.StackResources[1].LogicalResourceId != "B" {
		t.Errorf("DescribeStackResources = %+v, %v", all, err)
	}
	listed, err := s.cfn.ListStackResources(ctx, &cfn.ListStackResourcesInput{StackName: aws.String("one")})
	if err != nil || len(listed.StackResourceSummaries) != 2 || listed.NextToken != nil {
		t.Errorf("ListStackResources = %+v, %v", listed, err)
	}
	events, err := s.cfn.DescribeStackEvents(ctx, &cfn.DescribeStackEventsInput{StackName: aws.String("one")})
	if err != nil || len(events.StackEvents) < 8 || events.StackEvents[0].ResourceStatus != types.ResourceStatusCreateComplete || *events.StackEvents[0].LogicalResourceId != "one" {
		t.Errorf("DescribeStackEvents = %+v, %v", events, err)
	}
	for i, e := range events.StackEvents[1:] {
		if !e.Timestamp.Before(*events.StackEvents[i].Timestamp) {
			t.Errorf("event %s is not before %s", *e.EventId, *events.StackEvents[i].EventId)
		}
	}

	exports, err := s.cfn.ListExports(ctx, &cfn.ListExportsInput{})
	if err != nil || len(exports.Exports) != 1 || *exports.Exports[0].Name != "one-arn" || *exports.Exports[0].ExportingStackId != *one.StackId {
		t.Errorf("ListExports = %+v, %v", exports, err)
	}
	if _, err := s.cfn.ListImports(ctx, &cfn.ListImportsInput{ExportName: aws.String("one-arn")}); code(err) != "ValidationError: Export 'one-arn' is not imported by any stack." {
		t.Errorf("ListImports of one that nobody imports: %v", err)
	}
	two := "Resources: {C: {Type: AWS::Test::A, Properties: {Value: !ImportValue one-arn}}}"
	if _, err := s.cfn.CreateStack(ctx, &cfn.CreateStackInput{StackName: aws.String("two"), TemplateBody: aws.String(two), EnableTerminationProtection: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	if got := s.wait(t, "two"); got.StackStatus != types.StackStatusCreateComplete {
		t.Fatalf("two is %s: %s", got.StackStatus, aws.ToString(got.StackStatusReason))
	}
	imports, err := s.cfn.ListImports(ctx, &cfn.ListImportsInput{ExportName: aws.String("one-arn")})
	if err != nil || !cmp.Equal(imports.Imports, []string{"two"}) {
		t.Errorf("ListImports = %+v, %v", imports, err)
	}

	update := &cfn.UpdateStackInput{
		StackName: aws.String("one"), UsePreviousTemplate: aws.Bool(true), Capabilities: create.Capabilities,
		Parameters: []types.Parameter{{ParameterKey: aws.String("Size"), UsePreviousValue: aws.Bool(true)}},
	}
	if _, err := s.cfn.UpdateStack(ctx, update); code(err) != "ValidationError: No updates are to be performed." {
		t.Errorf("UpdateStack without a change: %v", err)
	}
	update.Parameters = []types.Parameter{{ParameterKey: aws.String("Size"), ParameterValue: aws.String("1")}}
	if got, err := s.cfn.UpdateStack(ctx, update); err != nil || *got.StackId != *one.StackId {
		t.Fatalf("UpdateStack = %+v, %v", got, err)
	}
	if one = s.wait(t, *one.StackId); one.StackStatus != types.StackStatusUpdateComplete || one.LastUpdatedTime == nil || len(one.Tags) != 1 {
		t.Errorf("one is %+v", one)
	}

	if _, err := s.cfn.DeleteStack(ctx, &cfn.DeleteStackInput{StackName: aws.String("two")}); code(err) != "ValidationError: Stack [two] cannot be deleted while TerminationProtection is enabled" {
		t.Errorf("DeleteStack of a protected stack: %v", err)
	}
	if _, err := s.cfn.UpdateTerminationProtection(ctx, &cfn.UpdateTerminationProtectionInput{StackName: aws.String("two"), EnableTerminationProtection: aws.Bool(false)}); err != nil {
		t.Fatal(err)
	}
	stacks, err := s.cfn.ListStacks(ctx, &cfn.ListStacksInput{StackStatusFilter: []types.StackStatus{types.StackStatusUpdateComplete}})
	if err != nil || len(stacks.StackSummaries) != 1 || *stacks.StackSummaries[0].TemplateDescription != "a <small> stack" {
		t.Errorf("ListStacks = %+v, %v", stacks, err)
	}
	twoID := *s.wait(t, "two").StackId
	if _, err := s.cfn.DeleteStack(ctx, &cfn.DeleteStackInput{StackName: aws.String("two")}); err != nil {
		t.Fatal(err)
	}
	if got := s.wait(t, twoID); got.StackStatus != types.StackStatusDeleteComplete || got.DeletionTime == nil {
		t.Errorf("two is %+v", got)
	}
	if _, err := s.cfn.DescribeStacks(ctx, &cfn.DescribeStacksInput{StackName: aws.String("two")}); code(err) != "ValidationError: Stack with id two does not exist" {
		t.Errorf("DescribeStacks of a deleted stack: %v", err)
	}
	if got, err := s.cfn.DescribeStacks(ctx, &cfn.DescribeStacksInput{}); err != nil || len(got.Stacks) != 1 {
		t.Errorf("DescribeStacks = %+v, %v", got, err)
	}
	if got, err := s.cfn.ListStacks(ctx, &cfn.ListStacksInput{}); err != nil || len(got.StackSummaries) != 2 {
		t.Errorf("ListStacks = %+v, %v", got, err)
	}
	if limits, err := s.cfn.DescribeAccountLimits(ctx, &cfn.DescribeAccountLimitsInput{}); err != nil || len(limits.AccountLimits) != 3 {
		t.Errorf("DescribeAccountLimits = %+v, %v", limits, err)
	}
	if got, err := s.cfn.GetStackPolicy(ctx, &cfn.GetStackPolicyInput{StackName: aws.String("one")}); err != nil || got.StackPolicyBody != nil {
		t.Errorf("GetStackPolicy = %+v, %v", got, err)
	}
}

func TestChangeSets(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := t.Context()
	template := func(value string) *string {
		return aws.String("Parameters: {N: {Type: String, Default: n}}\nResources: {A: {Type: AWS::Test::A, Properties: {Name: !Ref N, Value: " + value + "}}}\n")
	}
	make := func(name, body string, kind types.ChangeSetType) *cfn.CreateChangeSetOutput {
		t.Helper()
		got, err := s.cfn.CreateChangeSet(ctx, &cfn.CreateChangeSetInput{
			StackName: aws.String("st"), ChangeSetName: aws.String(name), ChangeSetType: kind, TemplateBody: template(body), Description: aws.String("why"),
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if _, err := s.cfn.CreateChangeSet(ctx, &cfn.CreateChangeSetInput{StackName: aws.String("st"), ChangeSetName: aws.String("x"), TemplateBody: template("1")}); code(err) != "ValidationError: Stack [st] does not exist" {
		t.Errorf("CreateChangeSet of an update of none: %v", err)
	}
	made := make("c1", "1", types.ChangeSetTypeCreate)
	if !strings.Contains(*made.Id, ":changeSet/c1/") || !strings.Contains(*made.StackId, ":stack/st/") {
		t.Errorf("CreateChangeSet = %+v", made)
	}
	if got, err := s.cfn.DescribeStacks(ctx, &cfn.DescribeStacksInput{StackName: aws.String("st")}); err != nil || got.Stacks[0].StackStatus != types.StackStatusReviewInProgress {
		t.Errorf("the stack is %+v, %v", got, err)
	}
	if got, err := s.cfn.GetTemplate(ctx, &cfn.GetTemplateInput{StackName: aws.String("st")}); err != nil || aws.ToString(got.TemplateBody) != "" {
		t.Errorf("GetTemplate = %+v, %v", got, err)
	}
	if got, err := s.cfn.GetTemplate(ctx, &cfn.GetTemplateInput{ChangeSetName: made.Id}); err != nil || *got.TemplateBody != *template("1") {
		t.Errorf("GetTemplate of a change set = %+v, %v", got, err)
	}
	if _, err := s.cfn.GetTemplateSummary(ctx, &cfn.GetTemplateSummaryInput{StackName: aws.String("st")}); code(err) != "ValidationError: GetTemplateSummary cannot be called on REVIEW_IN_PROGRESS stacks." {
		t.Errorf("GetTemplateSummary of no template: %v", err)
	}
	c, err := s.cfn.DescribeChangeSet(ctx, &cfn.DescribeChangeSetInput{ChangeSetName: aws.String("c1"), StackName: aws.String("st")})
	if err != nil {
		t.Fatal(err)
	}
	if c.Status != types.ChangeSetStatusCreateComplete || c.ExecutionStatus != types.ExecutionStatusAvailable || *c.Description != "why" || len(c.Changes) != 1 ||
		c.Changes[0].ResourceChange.Action != types.ChangeActionAdd || *c.Changes[0].ResourceChange.LogicalResourceId != "A" || *c.Parameters[0].ParameterValue != "n" {
		t.Errorf("DescribeChangeSet = %+v", c)
	}
	if _, err := s.cfn.ExecuteChangeSet(ctx, &cfn.ExecuteChangeSetInput{ChangeSetName: made.Id}); err != nil {
		t.Fatal(err)
	}
	if got := s.wait(t, "st"); got.StackStatus != types.StackStatusCreateComplete || *got.ChangeSetId != *made.Id {
		t.Errorf("the stack is %+v", got)
	}

	make("same", "1", types.ChangeSetTypeUpdate)
	c, err = s.cfn.DescribeChangeSet(ctx, &cfn.DescribeChangeSetInput{ChangeSetName: aws.String("same"), StackName: aws.String("st")})
	if err != nil || c.Status != types.ChangeSetStatusFailed || c.ExecutionStatus != types.ExecutionStatusUnavailable ||
		*c.StatusReason != "The submitted information didn't contain changes. Submit different information to create a change set." {
		t.Errorf("a change set of nothing is %+v, %v", c, err)
	}
	if _, err := s.cfn.ExecuteChangeSet(ctx, &cfn.ExecuteChangeSetInput{ChangeSetName: c.ChangeSetId}); code(err) != "InvalidChangeSetStatus: ChangeSet ["+*c.ChangeSetId+"] cannot be executed in its current status of [FAILED]" {
		t.Errorf("ExecuteChangeSet of a failed one: %v", err)
	}
	make("c2", "2", types.ChangeSetTypeUpdate)
	for _, values := range []bool{false, true} {
		c, err = s.cfn.DescribeChangeSet(ctx, &cfn.DescribeChangeSetInput{ChangeSetName: aws.String("c2"), StackName: aws.String("st"), IncludePropertyValues: aws.Bool(values)})
		if err != nil || len(c.Changes) != 1 {
			t.Fatalf("DescribeChangeSet = %+v, %v", c, err)
		}
		r := c.Changes[0].ResourceChange
		if r.Action != types.ChangeActionModify || r.Replacement != types.ReplacementFalse || !cmp.Equal(r.Scope, []types.ResourceAttribute{"Properties"}) || len(r.Details) != 1 ||
			*r.Details[0].Target.Name != "Value" || r.Details[0].Target.RequiresRecreation != types.RequiresRecreationNever || (r.BeforeContext != nil) != values ||
			(r.Details[0].Target.AfterValue != nil) != values {
			t.Errorf("the change is %+v", r)
		}
	}
	listed, err := s.cfn.ListChangeSets(ctx, &cfn.ListChangeSetsInput{StackName: aws.String("st")})
	if err != nil || len(listed.Summaries) < 2 {
		t.Errorf("ListChangeSets = %+v, %v", listed, err)
	}
	if _, err := s.cfn.DeleteChangeSet(ctx, &cfn.DeleteChangeSetInput{ChangeSetName: c.ChangeSetId}); err != nil {
		t.Error(err)
	}
	if _, err := s.cfn.DescribeChangeSet(ctx, &cfn.DescribeChangeSetInput{ChangeSetName: c.ChangeSetId}); code(err) != "ChangeSetNotFound: ChangeSet ["+*c.ChangeSetId+"] does not exist" {
		t.Errorf("DescribeChangeSet of a deleted one: %v", err)
	}

	// More than a page of changes.
	var many strings.Builder
	many.WriteString("Resources:\n")
	for i := range 120 {
		fmt.Fprintf(&many, "  R%03d: {Type: AWS::Test::A}\n", i)
	}
	if _, err := s.cfn.CreateChangeSet(ctx, &cfn.CreateChangeSetInput{StackName: aws.String("many"), ChangeSetName: aws.String("c"), ChangeSetType: types.ChangeSetTypeCreate, TemplateBody: aws.String(many.String())}); err != nil {
		t.Fatal(err)
	}
	seen := 0
	pages := cfn.NewDescribeChangeSetPaginator(s.cfn, &cfn.DescribeChangeSetInput{ChangeSetName: aws.String("c"), StackName: aws.String("many")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(page.Changes)
	}
	if _, err := s.cfn.ExecuteChangeSet(ctx, &cfn.ExecuteChangeSetInput{ChangeSetName: aws.String("c"), StackName: aws.String("many")}); err != nil {
		t.Fatal(err)
	}
	s.wait(t, "many")
	ids := map[string]bool{}
	more := cfn.NewDescribeStackEventsPaginator(s.cfn, &cfn.DescribeStackEventsInput{StackName: aws.String("many")})
	for more.HasMorePages() {
		page, err := more.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.StackEvents {
			ids[*e.EventId] = true
		}
	}
	names := 0
	resourcesOf := cfn.NewListStackResourcesPaginator(s.cfn, &cfn.ListStackResourcesInput{StackName: aws.String("many")})
	for resourcesOf.HasMorePages() {
		page, err := resourcesOf.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		names += len(page.StackResourceSummaries)
	}
	if seen != 120 || names != 120 || len(ids) < 363 {
		t.Errorf("of 120 resources there are %d changes, %d summaries, %d events", seen, names, len(ids))
	}
}

const serverless = `
Transform: AWS::Serverless-2016-10-31
Parameters: {Stage: {Type: String, Default: dev}}
Resources:
  Fn:
    Type: AWS::Serverless::Function
    Properties: {Handler: a.b, Runtime: python3.11, CodeUri: 's3://b/k', AutoPublishAlias: live, Environment: {Variables: {S: !Ref Stage}}}
Outputs: {Alias: {Value: !Ref Fn.Alias}}
`

func TestTransforms(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := t.Context()
	valid, err := s.cfn.ValidateTemplate(ctx, &cfn.ValidateTemplateInput{TemplateBody: aws.String(serverless)})
	if err != nil || !cmp.Equal(valid.DeclaredTransforms, []string{"AWS::Serverless-2016-10-31"}) ||
		!cmp.Equal(valid.Capabilities, []types.Capability{types.CapabilityCapabilityIam, types.CapabilityCapabilityAutoExpand}) {
		t.Errorf("ValidateTemplate = %+v, %v", valid, err)
	}
	create := &cfn.CreateStackInput{StackName: aws.String("sam"), TemplateBody: aws.String(serverless), Capabilities: []types.Capability{types.CapabilityCapabilityIam}}
	if _, err := s.cfn.CreateStack(ctx, create); code(err) != "InsufficientCapabilitiesException: Requires capabilities : [CAPABILITY_AUTO_EXPAND]" {
		t.Errorf("CreateStack without expansion: %v", err)
	}
	create.Capabilities = []types.Capability{types.CapabilityCapabilityAutoExpand}
	if _, err := s.cfn.CreateStack(ctx, create); code(err) != "InsufficientCapabilitiesException: Requires capabilities : [CAPABILITY_IAM]" {
		t.Errorf("CreateStack without IAM: %v", err)
	}
	create.Capabilities = append(create.Capabilities, types.CapabilityCapabilityIam)
	if _, err := s.cfn.CreateStack(ctx, create); err != nil {
		t.Fatal(err)
	}
	if got := s.wait(t, "sam"); got.StackStatus != types.StackStatusCreateComplete || len(got.Outputs) != 1 {
		t.Fatalf("the stack is %+v", got)
	}
	processed, err := s.cfn.GetTemplate(ctx, &cfn.GetTemplateInput{StackName: aws.String("sam"), TemplateStage: types.TemplateStageProcessed})
	if err != nil || !strings.Contains(*processed.TemplateBody, `"FnAliaslive"`) || strings.Contains(*processed.TemplateBody, "AWS::Serverless") {
		t.Errorf("GetTemplate = %+v, %v", processed, err)
	}
	original, err := s.cfn.GetTemplate(ctx, &cfn.GetTemplateInput{StackName: aws.String("sam"), TemplateStage: types.TemplateStageOriginal})
	if err != nil || *original.TemplateBody != serverless {
		t.Errorf("GetTemplate = %+v, %v", original, err)
	}
	// The previous template is transformed again, with other parameters.
	if _, err := s.cfn.UpdateStack(ctx, &cfn.UpdateStackInput{
		StackName: aws.String("sam"), UsePreviousTemplate: aws.Bool(true), Capabilities: create.Capabilities,
		Parameters: []types.Parameter{{ParameterKey: aws.String("Stage"), ParameterValue: aws.String("prod")}},
	}); err != nil {
		t.Errorf("UpdateStack: %v", err)
	}
	if got := s.wait(t, "sam"); got.StackStatus != types.StackStatusUpdateComplete {
		t.Errorf("the stack is %+v", got)
	}
	loops := "Transform: AWS::LanguageExtensions\nParameters: {Names: {Type: CommaDelimitedList}}\nResources: {'Fn::ForEach::L': [N, !Ref Names, {'R${N}': {Type: AWS::Test::A, Properties: {Value: !ToJsonString {n: !Ref N}}}}]}"
	set := &cfn.CreateChangeSetInput{
		StackName: aws.String("loops"), ChangeSetName: aws.String("c"), ChangeSetType: types.ChangeSetTypeCreate, TemplateBody: aws.String(loops),
		Parameters: []types.Parameter{{ParameterKey: aws.String("Names"), ParameterValue: aws.String("a, b,c")}},
	}
	if _, err := s.cfn.CreateChangeSet(ctx, set); err != nil {
		t.Fatal(err)
	}
	if c, err := s.cfn.DescribeChangeSet(ctx, &cfn.DescribeChangeSetInput{StackName: set.StackName, ChangeSetName: set.ChangeSetName}); err != nil || len(c.Changes) != 3 {
		t.Errorf("DescribeChangeSet = %+v, %v", c, err)
	}
}

func TestAPIRefuses(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.s3.objects["/b/t.yml?"] = "Resources: {A: {Type: AWS::Test::A}}"
	s.s3.objects["/b/t.yml?versionId=7"] = "Resources: {}"
	body := url.QueryEscape("Resources: {A: {Type: AWS::Test::A}}")
	if status, text := s.post(t, "Action=CreateStack&StackName=have&TemplateBody="+body); status != http.StatusOK {
		t.Fatal(text)
	}
	s.wait(t, "have")
	for _, tc := range []struct{ form, want string }{
		{"", "MissingAction: The request must contain the parameter Action"},
		{"Action=Foo", "InvalidAction: Could not find operation Foo for version 2010-05-15"},
		{"Action=CreateStackSet", "InvalidAction: Lamina does not offer CreateStackSet: it has no stack sets."},
		{"Action=DetectStackDrift", "InvalidAction: Lamina does not offer DetectStackDrift: it does not look for drift."},
		{"Action=CreateStack", "ValidationError: 1 validation error detected: Value null at 'stackName' failed to satisfy constraint: Member must not be null"},
		{"Action=CreateStack&StackName=a_b", "ValidationError: 1 validation error detected: Value 'a_b' at 'stackName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*"},
		{"Action=CreateStack&StackName=" + strings.Repeat("a", 129), "ValidationError: 1 validation error detected: Value '" + strings.Repeat("a", 129) + "' at 'stackName' failed to satisfy constraint: Member must have length less than or equal to 128"},
		{"Action=CreateStack&StackName=a", "ValidationError: Either Template URL or Template Body must be specified."},
		{"Action=CreateStack&StackName=a&TemplateBody=" + strings.Repeat("x", 51201), "ValidationError: 1 validation error detected: Value at 'templateBody' failed to satisfy constraint: Member must have length less than or equal to 51200"},
		{"Action=CreateStack&StackName=a&TemplateBody=x&TemplateURL=y", "ValidationError: Template Body and Template URL cannot both be specified."},
		{"Action=CreateStack&StackName=a&TemplateBody=x", "ValidationError: Template format error: unsupported structure."},
		{"Action=CreateStack&StackName=a&TemplateBody=" + url.QueryEscape("Resources: {A: {Type: AWS::Missing::Thing}}"), "ValidationError: Template format error: Unrecognized resource types: [AWS::Missing::Thing]"},
		{"Action=ValidateTemplate&TemplateBody=" + url.QueryEscape("Resources: {A: {Type: AWS::Missing::Thing}}"), "ValidationError: Template format error: Unrecognized resource types: [AWS::Missing::Thing]"},
		{"Action=ValidateTemplate&TemplateBody=" + url.QueryEscape("Transform: MyMacro\nResources: {A: {Type: AWS::Test::A}}"), "ValidationError: No transform named MyMacro found."},
		{"Action=ValidateTemplate&TemplateBody=" + url.QueryEscape("Resources: {A: {Type: AWS::Test::A, Properties: {P: !Length [a]}}}"), "ValidationError: Template Error: Encountered unsupported function: Fn::Length"},
		{
			"Action=CreateStack&StackName=a&Capabilities.member.1=CAPABILITY_IAM&Capabilities.member.2=CAPABILITY_AUTO_EXPAND&TemplateBody=" + url.QueryEscape("Transform: AWS::Serverless-2016-10-31\nResources: {A: {Type: AWS::Serverless::Function, Properties: {Handler: 1}}}"),
			"ValidationError: Transform AWS::Serverless-2016-10-31 failed with: Invalid Serverless Application Specification document. Number of errors found: 1. Resource with id [A] is invalid.",
		},
		{"Action=CreateStack&StackName=a&TemplateURL=" + url.QueryEscape("ftp://b/k"), "ValidationError: TemplateURL must be a supported URL."},
		{"Action=CreateStack&StackName=a&TemplateURL=" + url.QueryEscape("s3://b/k"), "ValidationError: S3 error: Domain name specified in b is not a valid S3 domain"},
		{"Action=CreateStack&StackName=a&TemplateURL=" + url.QueryEscape("https://example.com/b/k"), "ValidationError: S3 error: Domain name specified in example.com is not a valid S3 domain"},
		{"Action=CreateStack&StackName=a&TemplateURL=" + url.QueryEscape("https://s3.amazonaws.com/b/none"), "ValidationError: S3 error: The specified key does not exist.\nFor more information check http://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"},
		{"Action=ValidateTemplate&TemplateURL=" + url.QueryEscape("https://b.s3.eu-west-1.amazonaws.com/t.yml"), ""},
		{"Action=ValidateTemplate&TemplateURL=" + url.QueryEscape("http://lamina.test:9000/b/t.yml"), ""},
		{"Action=ValidateTemplate&TemplateURL=" + url.QueryEscape("http://localhost:1/b/t.yml?versionId=7"), "ValidationError: Template format error: At least one Resources member must be defined."},
		{"Action=CreateStack&StackName=a&OnFailure=DELETE&DisableRollback=true&TemplateBody=" + body, "ValidationError: Either DisableRollback or OnFailure can be specified, not both."},
		{"Action=CreateStack&StackName=a&TimeoutInMinutes=0&TemplateBody=" + body, "ValidationError: 1 validation error detected: Value '0' at 'timeoutInMinutes' failed to satisfy constraint: Member must have value between 1 and"},
		{"Action=CreateStack&StackName=a&StackPolicyBody=x&TemplateBody=" + body, "ValidationError: Lamina does not offer StackPolicyBody: it has no stack policies."},
		{"Action=CreateStack&StackName=a&RollbackConfiguration.RollbackTriggers.member.1.Arn=x&TemplateBody=" + body, "ValidationError: Lamina does not offer RollbackConfiguration.RollbackTriggers: it has no alarms."},
		{"Action=CreateStack&StackName=a&ResourceTypes.member.1=AWS::IAM::*&TemplateBody=" + body, "ValidationError: Resource type AWS::Test::A is not allowed by parameter ResourceTypes [AWS::IAM::*]"},
		{"Action=CreateStack&StackName=a&Capabilities.member.1=ALL&TemplateBody=" + body, "ValidationError: 1 validation error detected: Value 'ALL' at 'capabilities' failed to satisfy constraint:"},
		{"Action=CreateStack&StackName=a&Tags.member.1.Key=aws:x&Tags.member.1.Value=y&TemplateBody=" + body, "ValidationError: aws: prefixed tag key names are not allowed for external use."},
		{"Action=CreateStack&StackName=a&RoleARN=arn:aws:iam::" + account + ":role/none&TemplateBody=" + body, "ValidationError: Role arn:aws:iam::" + account + ":role/none is invalid or cannot be assumed"},
		{"Action=CreateStack&StackName=a&Parameters.member.1.ParameterKey=X&Parameters.member.1.ParameterValue=1&TemplateBody=" + body, "ValidationError: Parameters: [X] do not exist in the template"},
		{"Action=UpdateStack&StackName=none&TemplateBody=" + body, "ValidationError: Stack with id none does not exist"},
		{"Action=UpdateStack&StackName=have&UsePreviousTemplate=true&TemplateBody=" + body, "ValidationError: You cannot specify both usePreviousTemplate and Template Body/Template URL."},
		{"Action=UpdateStack&StackName=have", "ValidationError: Either Template URL or Template Body must be specified."},
		{"Action=DeleteStack&StackName=none", ""},
		{"Action=DescribeStacks&StackName=none", "ValidationError: Stack with id none does not exist"},
		{"Action=DescribeStacks&NextToken=x", "ValidationError: Invalid NextToken"},
		{"Action=DescribeStackEvents&StackName=none", "ValidationError: Stack with id none does not exist"},
		{"Action=DescribeStackResources", "ValidationError: Either StackName or PhysicalResourceId must be specified."},
		{"Action=DescribeStackResources&PhysicalResourceId=none", "ValidationError: Stack for none does not exist"},
		{"Action=ListStacks&StackStatusFilter.member.1=X", "ValidationError: 1 validation error detected: Value '[X]' at 'stackStatusFilter' failed to satisfy constraint:"},
		{"Action=ListImports&ExportName=none", "ValidationError: No export named none found."},
		{"Action=GetTemplate&ChangeSetName=x", "ValidationError: StackName is a required parameter."},
		{"Action=GetTemplate&StackName=none", "ValidationError: Stack with id none does not exist"},
		{"Action=DescribeChangeSet&ChangeSetName=x&StackName=none", "ValidationError: Stack [none] does not exist"},
		{"Action=DeleteChangeSet&ChangeSetName=x&StackName=none", "ValidationError: Stack [none] does not exist"},
		{"Action=DeleteChangeSet&ChangeSetName=x", "ValidationError: StackName must be specified if ChangeSetName is not specified as an ARN."},
		{"Action=CreateChangeSet&ChangeSetName=x&StackName=a&ChangeSetType=IMPORT&TemplateBody=" + body, "ValidationError: Lamina does not offer change sets of type IMPORT: it imports no resources."},
		{"Action=CreateChangeSet&ChangeSetName=x&StackName=have&ChangeSetType=CREATE&TemplateBody=" + body, "ValidationError: Stack [have] already exists and cannot be created again with the changeSet [x]."},
		{"Action=CancelUpdateStack&StackName=have", "ValidationError: CancelUpdateStack cannot be called from current stack status"},
		{"Action=UpdateTerminationProtection&StackName=have", "ValidationError: 1 validation error detected: Value null at 'enableTerminationProtection' failed to satisfy constraint: Member must not be null"},
	} {
		status, text := s.post(t, tc.form)
		if tc.want == "" && status == http.StatusOK {
			continue
		}
		if status == http.StatusOK || !strings.HasPrefix(text, tc.want) || tc.want == "" {
			t.Errorf("%.200s = %d %s\nwant %s", tc.form, status, text, tc.want)
		}
	}
	if want := "s3 arn:aws:iam::" + account + ":root"; len(s.s3.callers) != 4 || s.s3.callers[0] != want {
		t.Errorf("S3 was asked by %v; want four times %s", s.s3.callers, want)
	}
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx := t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.iam.CreateUser(ctx, &awsiam.CreateUserInput{UserName: aws.String("ann")}))
	key, err := s.iam.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: aws.String("ann")})
	must(key, err)
	ann := cfn.NewFromConfig(s.config(*key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey))
	allow := func(statements string) {
		t.Helper()
		must(s.iam.PutUserPolicy(ctx, &awsiam.PutUserPolicyInput{UserName: aws.String("ann"), PolicyName: aws.String("p"), PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[` + statements + `]}`)}))
	}
	body := aws.String("Resources: {A: {Type: AWS::Test::A}}")
	stacks := "arn:aws:cloudformation:" + region + ":" + account + ":stack/"
	denied := func(action, resource string) string {
		return "AccessDenied: User: arn:aws:iam::" + account + ":user/ann is not authorized to perform: " + action + " on resource: " + resource + " because no identity-based policy allows the " + action + " action"
	}
	create := &cfn.CreateStackInput{StackName: aws.String("web"), TemplateBody: body}
	if _, err := ann.CreateStack(ctx, create); code(err) != denied("cloudformation:CreateStack", stacks+"web/*") {
		t.Errorf("CreateStack without rights: %v", err)
	}
	if _, err := ann.DescribeStacks(ctx, &cfn.DescribeStacksInput{}); code(err) != denied("cloudformation:DescribeStacks", stacks+"*/*") {
		t.Errorf("DescribeStacks without rights: %v", err)
	}
	if _, err := ann.ValidateTemplate(ctx, &cfn.ValidateTemplateInput{TemplateBody: body}); code(err) != denied("cloudformation:ValidateTemplate", "*") {
		t.Errorf("ValidateTemplate without rights: %v", err)
	}
	allow(fmt.Sprintf(`{"Effect":"Allow","Action":"cloudformation:*","Resource":"%sweb/*"}`, stacks))
	made, err := ann.CreateStack(ctx, create)
	must(made, err)
	s.wait(t, "web")
	for _, name := range []string{"web", *made.StackId} {
		must(ann.DescribeStacks(ctx, &cfn.DescribeStacksInput{StackName: aws.String(name)}))
	}
	create.StackName = aws.String("other")
	if _, err := ann.CreateStack(ctx, create); code(err) != denied("cloudformation:CreateStack", stacks+"other/*") {
		t.Errorf("CreateStack of another: %v", err)
	}
	// A denial of exactly this stack counts, by whichever name it goes.
	allow(fmt.Sprintf(`{"Effect":"Allow","Action":"cloudformation:*","Resource":"*"},{"Effect":"Deny","Action":"cloudformation:DeleteStack","Resource":%q}`, *made.StackId))
	if _, err := ann.DeleteStack(ctx, &cfn.DeleteStackInput{StackName: aws.String("web")}); !strings.Contains(code(err), "with an explicit deny in an identity-based policy") {
		t.Errorf("DeleteStack where it is denied: %v", err)
	}
	must(s.iam.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: aws.String("cfn"), AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"cloudformation.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)}))
	role := "arn:aws:iam::" + account + ":role/cfn"
	create.RoleARN = aws.String(role)
	if _, err := ann.CreateStack(ctx, create); code(err) != denied("iam:PassRole", role) {
		t.Errorf("CreateStack with a role that is not the caller's to pass: %v", err)
	}
	allow(fmt.Sprintf(`{"Effect":"Allow","Action":"cloudformation:*","Resource":"*"},{"Effect":"Allow","Action":"iam:PassRole","Resource":%q,"Condition":{"StringEquals":{"iam:PassedToService":"cloudformation.amazonaws.com"}}}`, role))
	must(ann.CreateStack(ctx, create))
	if got := s.wait(t, "other"); got.StackStatus != types.StackStatusCreateComplete || *got.RoleARN != role {
		t.Errorf("the stack is %+v", got)
	}
	allow(`{"Effect":"Allow","Action":"cloudformation:*","Resource":"` + stacks + `*"},{"Effect":"Allow","Action":"cloudformation:CreateStack","Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/team":"a"}}}`)
	if _, err := ann.CreateChangeSet(ctx, &cfn.CreateChangeSetInput{StackName: aws.String("s"), ChangeSetName: aws.String("c"), ChangeSetType: types.ChangeSetTypeCreate, TemplateBody: aws.String(serverless)}); code(err) !=
		denied("cloudformation:CreateChangeSet", "arn:aws:cloudformation:"+region+":aws:transform/Serverless-2016-10-31") {
		t.Errorf("CreateChangeSet by a transform that is not allowed: %v", err)
	}
}
