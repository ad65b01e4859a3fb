package identity

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
	"github.com/lamina-run/lamina/wire/query"
)

func openStore(t testing.TB) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "lamina.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return st
}

// service is a running STS and IAM with a root account, and the way to them.
type service struct {
	url  string
	root Credentials
	Options
	v *Verifier
}

func startService(t *testing.T) service { return startServiceWith(t, func(*Options) {}) }

func startServiceWith(t *testing.T, change func(*Options)) service {
	t.Helper()
	st := openStore(t)
	root, err := EnsureRoot(t.Context(), st, RootOptions{AccountID: testAccount, File: filepath.Join(t.TempDir(), "root.json")})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	sessions, err := NewSessions(make([]byte, SessionKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Store: st, Log: log, Now: time.Now, Keys: StoreKeys(st), Principals: NewPrincipals(st, time.Now), Sessions: sessions}
	change(&o)
	v := NewVerifier(o.Keys, o.Now).AcceptSessions(o.Sessions, o.Principals)
	services := map[string]http.Handler{"sts": NewSTS(o), "iam": NewIAM(o), OrganizationsService: NewOrganizations(o)}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ctx := wire.WithRequestID(req.Context(), "b25f48e8-84fd-11e6-80d9-574e0c4664cb")
		c, err := v.Verify(req)
		if err != nil {
			var ex *wire.Exception
			if !errors.As(err, &ex) {
				t.Errorf("Verify: %v", err)
			}
			query.WriteError(w, QueryService(req), wire.RequestID(ctx), ex)
			return
		}
		services[c.Service].ServeHTTP(w, req.WithContext(WithCaller(ctx, c)))
	}))
	t.Cleanup(s.Close)
	return service{s.URL, root, o, v}
}

func (s service) config() aws.Config {
	return s.as(aws.Credentials{AccessKeyID: s.root.AccessKeyID, SecretAccessKey: s.root.SecretAccessKey})
}

// as is the configuration of somebody with these credentials.
func (s service) as(creds aws.Credentials) aws.Config {
	return aws.Config{
		Region: testRegion, BaseEndpoint: aws.String(s.url), RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil }),
	}
}

// code is the error code that the SDK reads from an answer.
func code(err error) string {
	if err == nil {
		return "none"
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode() + ": " + e.ErrorMessage()
	}
	return err.Error()
}

func TestSTS(t *testing.T) {
	t.Parallel()
	s := startService(t)
	client := awssts.NewFromConfig(s.config())
	got, err := client.GetCallerIdentity(t.Context(), nil)
	if err != nil || *got.Account != testAccount || *got.Arn != "arn:aws:iam::123456789012:root" || *got.UserId != testAccount {
		t.Errorf("GetCallerIdentity = %+v, %v; want the root of %s", got, err, testAccount)
	}
	presigned, err := awssts.NewPresignClient(client).PresignGetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequestWithContext(t.Context(), presigned.Method, presigned.URL, nil)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK || !strings.Contains(string(text), "<Account>123456789012</Account>") {
		t.Errorf("presigned GetCallerIdentity = %d %s; want the account", res.StatusCode, text)
	}
	c := s.config()
	c.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: s.root.AccessKeyID, SecretAccessKey: "wrong"}, nil
	})
	_, err = awssts.NewFromConfig(c).GetCallerIdentity(t.Context(), nil)
	if want := "SignatureDoesNotMatch: " + mismatch; code(err) != want {
		t.Errorf("with a wrong secret: %s; want %s", code(err), want)
	}
	c.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIANOTHERE", SecretAccessKey: "wrong"}, nil
	})
	_, err = awssts.NewFromConfig(c).GetCallerIdentity(t.Context(), nil)
	if want := "InvalidClientTokenId: " + invalidToken; code(err) != want {
		t.Errorf("with an unknown key: %s; want %s", code(err), want)
	}
}

// answer posts a form to a handler as a proven caller.
func answer(h http.Handler, body string) (int, string) {
	req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	ctx := wire.WithRequestID(req.Context(), "b25f48e8-84fd-11e6-80d9-574e0c4664cb")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req.WithContext(WithCaller(ctx, callerFor(Key{ID: "AKID", Account: testAccount}, testRegion, "sts"))))
	return w.Code, w.Body.String()
}

func TestQueryXML(t *testing.T) {
	t.Parallel()
	sts := NewSTS(Options{Log: slog.New(slog.DiscardHandler)})
	const id = "<RequestId>b25f48e8-84fd-11e6-80d9-574e0c4664cb</RequestId>"
	for name, c := range map[string]struct {
		body   string
		status int
		want   string
	}{
		"answer": {"Action=GetCallerIdentity&Version=2011-06-15", 200, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>` +
			`<Arn>arn:aws:iam::123456789012:root</Arn><UserId>123456789012</UserId><Account>123456789012</Account></GetCallerIdentityResult><ResponseMetadata>` + id + `</ResponseMetadata></GetCallerIdentityResponse>`},
		"unknown action": {"Action=Fly%3C&Version=2011-06-15", 400, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>InvalidAction</Code>` +
			`<Message>Could not find operation Fly&lt; for version 2011-06-15</Message></Error>` + id + `</ErrorResponse>`},
		"another version": {"Action=GetCallerIdentity&Version=2010-05-08", 400, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>InvalidAction</Code>` +
			`<Message>Could not find operation GetCallerIdentity for version 2010-05-08</Message></Error>` + id + `</ErrorResponse>`},
		"no action": {"", 400, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>MissingAction</Code>` +
			`<Message>The request must contain the parameter Action</Message></Error>` + id + `</ErrorResponse>`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if status, got := answer(sts, c.body); status != c.status || got != c.want {
				t.Errorf("answer = %d\n%s\nwant %d\n%s", status, got, c.status, c.want)
			}
		})
	}
	if status, got := answer(sts, "Action="+strings.Repeat("x", maxQueryBody)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("a body that is too long = %d %.200s; want 413", status, got)
	}
}

// TestQueryWaitsForProof: nothing may be done for a caller whose body turns out
// not to be the signed one.
func TestQueryWaitsForProof(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	h := NewIAM(Options{Store: st, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	req := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader("Action=ListRoles&Version=2010-05-08"), brokenReader{}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req.WithContext(WithCaller(req.Context(), Caller{Account: testAccount})))
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "<Code>SignatureDoesNotMatch</Code>") {
		t.Errorf("answer = %d %s; want SignatureDoesNotMatch", w.Code, w.Body)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, wire.InvalidSignature.New(mismatch) }

const (
	trust  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	inline = `{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}`
	basic  = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
)

func TestRoles(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client := awsiam.NewFromConfig(startService(t).config())
	name := aws.String("lambda-role")

	_, err := client.GetRole(ctx, &awsiam.GetRoleInput{RoleName: name})
	if e, ok := errors.AsType[*types.NoSuchEntityException](err); !ok || *e.Message != "The role with name lambda-role cannot be found." {
		t.Errorf("GetRole before = %v; want NoSuchEntity", err)
	}
	made, err := client.CreateRole(ctx, &awsiam.CreateRoleInput{
		RoleName: name, AssumeRolePolicyDocument: aws.String(trust), Description: aws.String("d <&>"), Path: aws.String("/team/"),
		MaxSessionDuration: aws.Int32(7200), Tags: []types.Tag{{Key: aws.String("b"), Value: aws.String("2")}, {Key: aws.String("a"), Value: aws.String("1")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := made.Role; *r.Arn != "arn:aws:iam::123456789012:role/team/lambda-role" || !strings.HasPrefix(*r.RoleId, "AROA") || len(*r.RoleId) != 21 || len(r.Tags) != 2 {
		t.Errorf("CreateRole = %+v", r)
	}
	_, err = client.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: aws.String(trust)})
	if _, ok := errors.AsType[*types.EntityAlreadyExistsException](err); !ok {
		t.Errorf("CreateRole again = %v; want EntityAlreadyExists", err)
	}
	role := func() *types.Role {
		t.Helper()
		got, err := client.GetRole(ctx, &awsiam.GetRoleInput{RoleName: name})
		if err != nil {
			t.Fatal(err)
		}
		return got.Role
	}
	r := role()
	if doc, _ := url.QueryUnescape(*r.AssumeRolePolicyDocument); doc != trust || strings.Contains(*r.AssumeRolePolicyDocument, "+") {
		t.Errorf("AssumeRolePolicyDocument = %s; want %s, escaped", *r.AssumeRolePolicyDocument, trust)
	}
	if *r.Description != "d <&>" || *r.MaxSessionDuration != 7200 || *r.Tags[0].Key != "a" || time.Since(*r.CreateDate) > time.Hour {
		t.Errorf("GetRole = %+v", r)
	}
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	must(client.UpdateRole(ctx, &awsiam.UpdateRoleInput{RoleName: name, Description: aws.String("")}))
	must(client.UpdateAssumeRolePolicy(ctx, &awsiam.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: aws.String(strings.Replace(trust, "lambda", "edgelambda", 1))}))
	must(client.TagRole(ctx, &awsiam.TagRoleInput{RoleName: name, Tags: []types.Tag{{Key: aws.String("c"), Value: aws.String("")}}}))
	must(client.UntagRole(ctx, &awsiam.UntagRoleInput{RoleName: name, TagKeys: []string{"a", "absent"}}))
	r = role()
	if r.Description != nil || *r.MaxSessionDuration != 7200 || !strings.Contains(*r.AssumeRolePolicyDocument, "edgelambda") || len(r.Tags) != 2 || *r.Tags[1].Key != "c" {
		t.Errorf("GetRole after updates = %+v, tags %v", r, r.Tags)
	}
	if tags, err := client.ListRoleTags(ctx, &awsiam.ListRoleTagsInput{RoleName: name}); err != nil || len(tags.Tags) != 2 {
		t.Errorf("ListRoleTags = %+v, %v; want 2", tags, err)
	}

	must(client.AttachRolePolicy(ctx, &awsiam.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String(basic)}))
	must(client.AttachRolePolicy(ctx, &awsiam.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String(basic)}))
	attached, err := client.ListAttachedRolePolicies(ctx, &awsiam.ListAttachedRolePoliciesInput{RoleName: name})
	if err != nil || len(attached.AttachedPolicies) != 1 || *attached.AttachedPolicies[0].PolicyName != "AWSLambdaBasicExecutionRole" {
		t.Errorf("ListAttachedRolePolicies = %+v, %v; want AWSLambdaBasicExecutionRole", attached, err)
	}
	_, err = client.AttachRolePolicy(ctx, &awsiam.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String("arn:aws:iam::aws:policy/Nope")})
	if want := "NoSuchEntity: Policy arn:aws:iam::aws:policy/Nope does not exist or is not attachable."; code(err) != want {
		t.Errorf("AttachRolePolicy of none: %s; want %s", code(err), want)
	}
	must(client.PutRolePolicy(ctx, &awsiam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("p"), PolicyDocument: aws.String(inline)}))
	if got, err := client.GetRolePolicy(ctx, &awsiam.GetRolePolicyInput{RoleName: name, PolicyName: aws.String("p")}); err != nil {
		t.Error(err)
	} else if doc, _ := url.QueryUnescape(*got.PolicyDocument); doc != inline {
		t.Errorf("GetRolePolicy = %s; want %s", doc, inline)
	}
	if got, err := client.ListRolePolicies(ctx, &awsiam.ListRolePoliciesInput{RoleName: name}); err != nil || len(got.PolicyNames) != 1 {
		t.Errorf("ListRolePolicies = %+v, %v; want p", got, err)
	}
	if got, err := client.ListInstanceProfilesForRole(ctx, &awsiam.ListInstanceProfilesForRoleInput{RoleName: name}); err != nil || len(got.InstanceProfiles) != 0 {
		t.Errorf("ListInstanceProfilesForRole = %+v, %v; want none", got, err)
	}

	remove := func(want string) {
		t.Helper()
		if _, err := client.DeleteRole(ctx, &awsiam.DeleteRoleInput{RoleName: name}); code(err) != want {
			t.Errorf("DeleteRole: %s; want %s", code(err), want)
		}
	}
	remove("DeleteConflict: Cannot delete entity, must detach all policies first.")
	must(client.DetachRolePolicy(ctx, &awsiam.DetachRolePolicyInput{RoleName: name, PolicyArn: aws.String(basic)}))
	if _, err := client.DetachRolePolicy(ctx, &awsiam.DetachRolePolicyInput{RoleName: name, PolicyArn: aws.String(basic)}); code(err) != "NoSuchEntity: Policy "+basic+" was not found." {
		t.Errorf("DetachRolePolicy again: %s", code(err))
	}
	remove("DeleteConflict: Cannot delete entity, must delete policies first.")
	must(client.DeleteRolePolicy(ctx, &awsiam.DeleteRolePolicyInput{RoleName: name, PolicyName: aws.String("p")}))
	if _, err := client.GetRolePolicy(ctx, &awsiam.GetRolePolicyInput{RoleName: name, PolicyName: aws.String("p")}); code(err) != "NoSuchEntity: The role policy with name p cannot be found." {
		t.Errorf("GetRolePolicy after delete: %s", code(err))
	}
	remove("none")
	remove("NoSuchEntity: The role with name lambda-role cannot be found.")
}

func TestListRolesPages(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client := awsiam.NewFromConfig(startService(t).config())
	for i := range 7 {
		path := []string{"/", "/a/"}[i%2]
		if _, err := client.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: aws.String("r" + strconv.Itoa(i)), Path: &path, AssumeRolePolicyDocument: aws.String(trust)}); err != nil {
			t.Fatal(err)
		}
	}
	for prefix, want := range map[string]string{"": "r0 r1 r2 r3 r4 r5 r6", "/": "r0 r1 r2 r3 r4 r5 r6", "/a/": "r1 r3 r5", "/b/": ""} {
		var names []string
		in := &awsiam.ListRolesInput{MaxItems: aws.Int32(2)}
		if prefix != "" {
			in.PathPrefix = &prefix
		}
		for p := awsiam.NewListRolesPaginator(client, in); p.HasMorePages(); {
			page, err := p.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Roles) > 2 {
				t.Errorf("a page has %d roles; want at most 2", len(page.Roles))
			}
			for _, r := range page.Roles {
				names = append(names, *r.RoleName)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("ListRoles %q = %s; want %s", prefix, got, want)
		}
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client := awsiam.NewFromConfig(startService(t).config())
	made, err := client.CreatePolicy(ctx, &awsiam.CreatePolicyInput{
		PolicyName: aws.String("logs"), Path: aws.String("/x/"), PolicyDocument: aws.String(inline), Description: aws.String("d"),
		Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	arn := made.Policy.Arn
	if *arn != "arn:aws:iam::123456789012:policy/x/logs" || *made.Policy.DefaultVersionId != "v1" {
		t.Errorf("CreatePolicy = %+v", made.Policy)
	}
	if _, err := client.CreatePolicy(ctx, &awsiam.CreatePolicyInput{PolicyName: aws.String("logs"), PolicyDocument: aws.String(inline)}); code(err) != "EntityAlreadyExists: A policy called logs already exists. Duplicate names are not allowed." {
		t.Errorf("CreatePolicy again: %s", code(err))
	}
	if _, err := client.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(trust)}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AttachRolePolicy(ctx, &awsiam.AttachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: arn}); err != nil {
		t.Fatal(err)
	}
	got, err := client.GetPolicy(ctx, &awsiam.GetPolicyInput{PolicyArn: arn})
	if err != nil || *got.Policy.AttachmentCount != 1 || *got.Policy.Description != "d" || len(got.Policy.Tags) != 1 {
		t.Errorf("GetPolicy = %+v, %v", got, err)
	}
	version, err := client.GetPolicyVersion(ctx, &awsiam.GetPolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v1")})
	if err != nil {
		t.Fatal(err)
	}
	if doc, _ := url.QueryUnescape(*version.PolicyVersion.Document); doc != inline {
		t.Errorf("GetPolicyVersion = %s; want %s", doc, inline)
	}
	if versions, err := client.ListPolicyVersions(ctx, &awsiam.ListPolicyVersionsInput{PolicyArn: arn}); err != nil || len(versions.Versions) != 1 || !versions.Versions[0].IsDefaultVersion {
		t.Errorf("ListPolicyVersions = %+v, %v; want v1", versions, err)
	}
	if local, err := client.ListPolicies(ctx, &awsiam.ListPoliciesInput{Scope: types.PolicyScopeTypeLocal}); err != nil || len(local.Policies) != 1 {
		t.Errorf("ListPolicies of the account = %+v, %v; want 1", local, err)
	}
	if all, err := client.ListPolicies(ctx, &awsiam.ListPoliciesInput{}); err != nil || len(all.Policies) != len(managedPolicies)+1 {
		t.Errorf("ListPolicies = %+v, %v; want %d", all, err, len(managedPolicies)+1)
	}
	if _, err := client.TagPolicy(ctx, &awsiam.TagPolicyInput{PolicyArn: arn, Tags: []types.Tag{{Key: aws.String("l"), Value: aws.String("w")}}}); err != nil {
		t.Error(err)
	}
	if _, err := client.UntagPolicy(ctx, &awsiam.UntagPolicyInput{PolicyArn: arn, TagKeys: []string{"k"}}); err != nil {
		t.Error(err)
	}
	if tags, err := client.ListPolicyTags(ctx, &awsiam.ListPolicyTagsInput{PolicyArn: arn}); err != nil || len(tags.Tags) != 1 || *tags.Tags[0].Key != "l" {
		t.Errorf("ListPolicyTags = %+v, %v; want l", tags, err)
	}
	if _, err := client.DeletePolicy(ctx, &awsiam.DeletePolicyInput{PolicyArn: arn}); code(err) != "DeleteConflict: Cannot delete a policy attached to entities." {
		t.Errorf("DeletePolicy of an attached one: %s", code(err))
	}
	if _, err := client.DetachRolePolicy(ctx, &awsiam.DetachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: arn}); err != nil {
		t.Error(err)
	}
	if _, err := client.DeletePolicy(ctx, &awsiam.DeletePolicyInput{PolicyArn: arn}); err != nil {
		t.Error(err)
	}
	if _, err := client.GetPolicy(ctx, &awsiam.GetPolicyInput{PolicyArn: arn}); code(err) != "NoSuchEntity: Policy "+*arn+" was not found." {
		t.Errorf("GetPolicy after delete: %s", code(err))
	}
	if _, err := client.DeletePolicy(ctx, &awsiam.DeletePolicyInput{PolicyArn: aws.String(basic)}); !strings.HasPrefix(code(err), "AccessDenied: ") {
		t.Errorf("DeletePolicy of AWS's: %s; want AccessDenied", code(err))
	}
}

func TestManagedPolicies(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client := awsiam.NewFromConfig(startService(t).config())
	last := ""
	for _, p := range managedPolicies {
		if p.Name <= last {
			t.Errorf("%s comes after %s; want them sorted", p.Name, last)
		}
		last = p.Name
		got, err := client.GetPolicy(ctx, &awsiam.GetPolicyInput{PolicyArn: aws.String(p.ARN())})
		if err != nil || *got.Policy.PolicyName != p.Name || *got.Policy.DefaultVersionId != p.Version {
			t.Errorf("GetPolicy %s = %+v, %v", p.ARN(), got, err)
			continue
		}
		version, err := client.GetPolicyVersion(ctx, &awsiam.GetPolicyVersionInput{PolicyArn: got.Policy.Arn, VersionId: got.Policy.DefaultVersionId})
		if err != nil {
			t.Errorf("GetPolicyVersion %s: %v", p.ARN(), err)
			continue
		}
		doc, _ := url.QueryUnescape(*version.PolicyVersion.Document)
		if _, err := (form{query.NewForm(url.Values{"PolicyDocument": {doc}})}).document("PolicyDocument", false); err != nil {
			t.Errorf("document of %s: %v", p.Name, err)
		}
	}
}

func TestInvalidRoles(t *testing.T) {
	t.Parallel()
	st := openStore(t)
	h := NewIAM(Options{Store: st, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	for name, c := range map[string]struct {
		in   url.Values
		want string
	}{
		"no name":              {url.Values{"AssumeRolePolicyDocument": {trust}}, "Value null at &#39;roleName&#39; failed to satisfy constraint: Member must not be null"},
		"bad name":             {url.Values{"RoleName": {"a b"}, "AssumeRolePolicyDocument": {trust}}, "The specified value for roleName is invalid."},
		"long name":            {url.Values{"RoleName": {strings.Repeat("a", 65)}, "AssumeRolePolicyDocument": {trust}}, "Member must have length less than or equal to 64"},
		"no JSON":              {url.Values{"RoleName": {"r"}, "AssumeRolePolicyDocument": {"{"}}, "<Code>MalformedPolicyDocument</Code>"},
		"no principal":         {url.Values{"RoleName": {"r"}, "AssumeRolePolicyDocument": {`{"Statement":[{"Effect":"Allow","Action":"x"}]}`}}, "Missing required field Principal"},
		"a resource":           {url.Values{"RoleName": {"r"}, "AssumeRolePolicyDocument": {`{"Statement":[{"Effect":"Allow","Action":"x","Principal":"*","Resource":"*"}]}`}}, "Has prohibited field Resource"},
		"path without slashes": {url.Values{"RoleName": {"r"}, "Path": {"x"}, "AssumeRolePolicyDocument": {trust}}, "The specified value for path is invalid."},
		"too long a session":   {url.Values{"RoleName": {"r"}, "MaxSessionDuration": {"43201"}, "AssumeRolePolicyDocument": {trust}}, "maxSessionDuration"},
		"one tag twice":        {url.Values{"RoleName": {"r"}, "AssumeRolePolicyDocument": {trust}, "Tags.member.1.Key": {"a"}, "Tags.member.2.Key": {"a"}}, "Duplicate tag keys found."},
	} {
		t.Run(name, func(t *testing.T) {
			c.in.Set("Action", "CreateRole")
			c.in.Set("Version", iamVersion)
			if status, got := answer(h, c.in.Encode()); status != http.StatusBadRequest || !strings.Contains(got, c.want) {
				t.Errorf("CreateRole = %d %s; want 400 with %s", status, got, c.want)
			}
		})
	}
}

func TestEnsureRoot(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	st := openStore(t)
	keys := storeKeys{st}
	file := filepath.Join(t.TempDir(), "root.json")
	first, err := EnsureRoot(ctx, st, RootOptions{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if first.AccountID != DefaultAccount || len(first.AccessKeyID) != 20 || len(first.SecretAccessKey) != 40 {
		t.Errorf("EnsureRoot = %+v; want a new key of %s", first, DefaultAccount)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file: %v, %v; want mode 0600", info.Mode(), err)
	}
	if again, err := EnsureRoot(ctx, st, RootOptions{File: file}); err != nil || again != first {
		t.Errorf("EnsureRoot again = %+v, %v; want %+v", again, err, first)
	}
	if err := os.Chmod(file, 0o644); err != nil { //nolint:gosec // what the test is about
		t.Fatal(err)
	}
	if loaded, err := LoadCredentials(file); err != nil || loaded != first {
		t.Errorf("LoadCredentials = %+v, %v; want %+v", loaded, err, first)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file after LoadCredentials: %v, %v; want mode 0600", info.Mode(), err)
	}
	if _, err := EnsureRoot(ctx, st, RootOptions{AccountID: testAccount, File: file}); err == nil || !strings.Contains(err.Error(), "are of account 000000000000") {
		t.Errorf("EnsureRoot with another account = %v; want a refusal", err)
	}
	given, err := EnsureRoot(ctx, st, RootOptions{AccountID: testAccount, AccessKeyID: "test", SecretAccessKey: "test", File: file})
	if err != nil || given.AccessKeyID != "test" || given.AccountID != testAccount {
		t.Errorf("EnsureRoot with keys = %+v, %v; want those", given, err)
	}
	if k, err := keys.AccessKey(ctx, "test"); err != nil || k != (Key{ID: "test", Secret: "test", Account: testAccount}) {
		t.Errorf("AccessKey = %+v, %v; want the given one", k, err)
	}
	if k, err := keys.AccessKey(ctx, first.AccessKeyID); !missing(err) {
		t.Errorf("AccessKey of the replaced key = %+v, %v; want none", k, err)
	}
	if loaded, err := LoadCredentials(file); err != nil || loaded != given {
		t.Errorf("LoadCredentials = %+v, %v; want %+v", loaded, err, given)
	}
	for name, o := range map[string]RootOptions{
		"account of 11 digits": {AccountID: "12345678901"},
		"account of letters":   {AccountID: "abcdefghijkl", AccessKeyID: "test", SecretAccessKey: "test"},
		"only an ID":           {AccessKeyID: "test"},
		"only a secret":        {SecretAccessKey: "test"},
		"a slash in the ID":    {AccessKeyID: "te/st", SecretAccessKey: "test"},
	} {
		o.File = filepath.Join(t.TempDir(), "other.json")
		if c, err := EnsureRoot(ctx, st, o); err == nil {
			t.Errorf("EnsureRoot with %s = %+v; want an error", name, c)
		}
		if _, err := os.Stat(o.File); err == nil {
			t.Errorf("EnsureRoot with %s left a file", name)
		}
	}
}

func TestQueryService(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ head, want string }{
		"iam":              {"Authorization: AWS4-HMAC-SHA256 Credential=A/20150830/us-east-1/iam/aws4_request,SignedHeaders=host,Signature=0", "iam"},
		"lambda":           {"Authorization: AWS4-HMAC-SHA256 Credential=A/20150830/us-east-1/lambda/aws4_request,SignedHeaders=host,Signature=0", ""},
		"an unsigned form": {"Content-Type: application/x-www-form-urlencoded; charset=utf-8", "sts"},
		"unsigned JSON":    {"Content-Type: application/json", ""},
	} {
		if got := QueryService(parse(t, lines("POST / HTTP/1.1", "Host: h", c.head))); got != c.want {
			t.Errorf("QueryService of %s = %q; want %q", name, got, c.want)
		}
	}
	presigned := parse(t, lines("GET /?X-Amz-Credential=A%2F20150830%2Fus-east-1%2Fsts%2Faws4_request HTTP/1.1", "Host: h"))
	if got := QueryService(presigned); got != "sts" {
		t.Errorf("QueryService of a presigned request = %q; want sts", got)
	}
}
