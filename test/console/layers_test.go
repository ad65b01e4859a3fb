package console

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lamina-run/lamina/internal/testkit"
)

// TestLayers goes through a layer's life: created, published again from a bucket,
// looked at, compared, shared with another account, used and deleted.
func TestLayers(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.Options{})
	root := signIn(t, s, s.AccessKeyID, s.SecretAccessKey)
	first := testkit.Zip(t,
		testkit.File{Name: "python/lib/python3.12/site-packages/geo/__init__.py", Body: "pi = 3"},
		testkit.File{Name: "python/" + evil + ".py", Body: "1"},
		testkit.File{Name: "bin/tool", Body: "#!/bin/sh\n"})
	form := url.Values{
		"name": {"geo"}, "description": {evil}, "license": {evil}, "runtime": {"python3.12", "nodejs22.x"}, "architecture": {"x86_64", "arm64"},
	}
	// What is no zip is refused as the API refuses it, at the form.
	root.upload(pages+"layers-new", form, "zip", []byte("no zip"), http.StatusBadRequest, "InvalidParameterValueException", safe, `value="nodejs22.x" checked`)
	root.upload(pages+"layers-new", form, "zip", first, http.StatusOK, "Version 1 is published", "geo version 1", safe,
		"arn:aws:lambda:eu-central-1:000000000000:layer:geo:1", "modules of python3.12", safe+".py")
	root.get(pages+"layers", http.StatusOK, ">geo<")
	root.get(pages+"layers?runtime=python3.12&architecture=arm64", http.StatusOK, ">geo<")
	root.get(pages+"layers?runtime=java21", http.StatusOK, "No layer fits")
	root.get(pages+"layers?runtime=cobol", http.StatusBadRequest, "cobol")
	root.get(pages+"layers/geo/versions/1/checks", http.StatusOK, "bin/tool is there to be run")

	// From a bucket.
	second := testkit.Zip(t,
		testkit.File{Name: "python/lib/python3.12/site-packages/geo/__init__.py", Body: "pi = 3.14"},
		testkit.File{Name: "bin/tool", Body: "#!/bin/sh\n"}, testkit.File{Name: "bin/new", Body: "#!/bin/sh\n", Mode: 0o755})
	objects := awss3.NewFromConfig(s.Config(), func(o *awss3.Options) { o.UsePathStyle = true })
	if _, err := objects.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: aws.String("zips")}); err != nil {
		t.Fatal(err)
	}
	if _, err := objects.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: aws.String("zips"), Key: aws.String("geo.zip"), Body: bytes.NewReader(second)}); err != nil {
		t.Fatal(err)
	}
	root.get(pages+"layers/geo/publish", http.StatusOK, "Publish a version of geo", `value="nodejs22.x" checked`, `value="arm64" checked`)
	root.post(pages+"layers/geo/publish", url.Values{"bucket": {"zips"}, "key": {"absent"}}, http.StatusBadRequest, `value="absent"`)
	root.post(pages+"layers/geo/publish", url.Values{"bucket": {"zips"}, "key": {"geo.zip"}}, http.StatusOK, "Version 2 is published", "any: none is declared")
	root.get(pages+"layers/geo", http.StatusOK, "Version 2</a>", fmt.Sprint(len(second), " bytes"), fmt.Sprint(len(first), " bytes"))
	root.get(pages+"layers/geo/compare?from=1&to=2", http.StatusOK, "1 added", "1 removed", "1 changed", "bin/new", "content", "geo/__init__.py")
	if got := root.get(pages+"layers/geo/versions/2/download", http.StatusOK); got != string(second) {
		t.Errorf("download has %d bytes; want the %d that were published", len(got), len(second))
	}

	// Who uses it.
	functions := s.Lambda()
	if _, err := functions.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: aws.String("user"), Runtime: types.RuntimePython312, Handler: aws.String("a.b"), Role: aws.String("arn:aws:iam::000000000000:role/r"),
		Code: &types.FunctionCode{ZipFile: testkit.Zip(t, testkit.File{Name: "a.py", Body: ""})}, Layers: []string{"arn:aws:lambda:eu-central-1:000000000000:layer:geo:1"},
	}); err != nil {
		t.Fatal(err)
	}
	root.get(pages+"layers/geo/versions/1/functions", http.StatusOK, "1 version of a function has it", ">user<")
	root.get(pages+"layers/geo/versions/2/functions", http.StatusOK, "No function of this account", "has another version of the layer")

	// Shared with another account, which opens it by its ARN and can't do more.
	account, key, secret := newAccount(t, s, "tenant")
	tenant := signIn(t, s, key, secret)
	const arn = "arn:aws:lambda:eu-central-1:000000000000:layer:geo:1"
	byARN := pages + "layers-arn?arn=" + url.QueryEscape(arn)
	tenant.get(byARN, http.StatusForbidden, "AccessDeniedException")
	const foreign = pages + "layers/arn:aws:lambda:eu-central-1:000000000000:layer:geo/versions/1"
	tenant.get(foreign+"/download", http.StatusForbidden)
	root.get(pages+"layers/geo/versions/1/policy", http.StatusOK, "With nobody")
	policy := root.post(pages+"layers/geo/versions/1/policy", url.Values{"sid": {"tenant"}, "who": {"account"}, "account": {account}}, http.StatusOK, "Statement tenant is added", "Account "+account, "lambda:GetLayerVersion")
	root.post(pages+"layers/geo/versions/1/policy", url.Values{"sid": {"tenant"}, "who": {"everyone"}}, http.StatusConflict, "already exists", `value="everyone" checked`)
	root.post(pages+"layers/geo/versions/1/policy", url.Values{"sid": {"org"}, "who": {"organization"}, "organization": {"nonsense"}}, http.StatusBadRequest, `value="nonsense"`)
	page := tenant.get(byARN, http.StatusOK, "geo of account 000000000000 version 1", "modules of python3.12")
	if strings.Contains(page, "/policy") || strings.Contains(page, "/delete") {
		t.Error("another account's version has pages to share or delete it")
	}
	if got := tenant.get(foreign+"/download", http.StatusOK); got != string(first) {
		t.Errorf("another account downloads %d bytes; want %d", len(got), len(first))
	}
	tenant.post(foreign+"/policy", url.Values{"sid": {"x"}, "who": {"everyone"}}, http.StatusForbidden)
	tenant.post(foreign+"/policy/remove", url.Values{"sid": {"tenant"}}, http.StatusForbidden) // leads to a page that may not be seen either
	if got := tenant.get(pages+"layers", http.StatusOK); strings.Contains(got, ">geo<") {
		t.Error("another account's layer is in the list")
	}
	revision := regexp.MustCompile(`name="revision" value="([^"]+)"`).FindStringSubmatch(policy)
	if revision == nil {
		t.Fatal("the policy has no revision")
	}
	root.post(pages+"layers/geo/versions/1/policy/remove", url.Values{"sid": {"tenant"}, "revision": {"another"}}, http.StatusOK, "PreconditionFailedException", "Account "+account)
	root.post(pages+"layers/geo/versions/1/policy/remove", url.Values{"sid": {"tenant"}, "revision": {revision[1]}}, http.StatusOK, "Statement tenant is removed", "With nobody")
	tenant.get(byARN, http.StatusForbidden)

	root.get(pages+"layers/geo/versions/1/delete", http.StatusOK, "never used again", ">user<")
	root.post(pages+"layers/geo/versions/1/delete", url.Values{}, http.StatusOK, "Version 1 is deleted", "Version 2</a>")
	root.get(pages+"layers/geo/versions/1", http.StatusNotFound, "ResourceNotFoundException")
	root.post(pages+"layers/geo/versions/2/delete", url.Values{}, http.StatusOK, "No version")
	root.upload(pages+"layers/geo/publish", url.Values{}, "zip", first, http.StatusOK, "Version 3 is published")

	// The operator is told of the machine, others of their own functions.
	root.get(pages, http.StatusOK, ">user<", ">geo<", "Functions of this account", "The machine", "Layer cache", "again=activity-machine")
	if page := tenant.get(pages, http.StatusOK, "Functions of this account", `again=activity"`); strings.Contains(page, "The machine") || strings.Contains(page, ">user<") {
		t.Error("another account is told of the machine, or of the operator's functions")
	}
	if page := tenant.get(pages+"?again=machine", http.StatusOK); strings.Contains(page, "The machine") {
		t.Error("another account is told of the machine when it asks for it")
	}
}

// TestLayerPermissions: what the API denies a user, the console denies too, with
// the API's words.
func TestLayerPermissions(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.Options{})
	zip := testkit.Zip(t, testkit.File{Name: "python/a.py", Body: "1"})
	root := signIn(t, s, s.AccessKeyID, s.SecretAccessKey)
	root.upload(pages+"layers-new", url.Values{"name": {"geo"}}, "zip", zip, http.StatusOK, "Version 1 is published")
	may := func(name, actions string) *person {
		t.Helper()
		id, secret := newUser(t, s, name, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":[`+actions+`],"Resource":"*"}}`)
		return signIn(t, s, id, secret)
	}
	denied := func(action string) string { return "is not authorized to perform: lambda:" + action }

	reader := may("reader", `"lambda:List*","lambda:GetLayerVersion"`)
	reader.get(pages+"layers/geo/versions/1", http.StatusOK, "modules of")
	reader.upload(pages+"layers-new", url.Values{"name": {"mine"}, "description": {evil}}, "zip", zip, http.StatusForbidden, denied("PublishLayerVersion"), safe)
	reader.upload(pages+"layers/geo/publish", url.Values{}, "zip", zip, http.StatusForbidden, denied("PublishLayerVersion"))
	reader.get(pages+"layers/geo/versions/1/policy", http.StatusForbidden, denied("GetLayerVersionPolicy"))
	reader.post(pages+"layers/geo/versions/1/policy", url.Values{"sid": {"a"}, "who": {"everyone"}}, http.StatusForbidden)
	reader.post(pages+"layers/geo/versions/1/delete", url.Values{}, http.StatusOK, denied("DeleteLayerVersion"))
	if page := reader.get(pages, http.StatusOK, "Account: AccessDenied", "Stacks: AccessDenied", ">geo<"); strings.Contains(page, "The machine") || strings.Contains(page, "Functions of this account") {
		t.Error("who may not see figures is told them")
	}

	lister := may("lister", `"lambda:ListLayer*"`)
	lister.get(pages+"layers", http.StatusOK, ">geo<")
	lister.get(pages+"layers/geo", http.StatusOK, "Sizes are not shown", denied("GetLayerVersion"), "Version 1</a>")
	for _, path := range []string{"", "/download", "/checks", "/functions", "/delete"} {
		lister.get(pages+"layers/geo/versions/1"+path, http.StatusForbidden, denied("GetLayerVersion"))
	}
	lister.get(pages+"layers/geo/compare?from=1&to=1", http.StatusForbidden, denied("GetLayerVersion"))
	lister.get(pages+"stacks", http.StatusForbidden, "cloudformation:ListStacks")

	nobody := may("nobody", `"sts:*"`)
	nobody.get(pages+"layers", http.StatusForbidden, denied("ListLayers"))
	root.get(pages+"layers/geo", http.StatusOK, "Version 1</a>")
	if page := root.get(pages+"layers", http.StatusOK); strings.Contains(page, ">mine<") {
		t.Error("who may not publish did")
	}
	// Without the session's token nothing happens.
	root.csrf = "another"
	root.upload(pages+"layers-new", url.Values{"name": {"forged"}}, "zip", zip, http.StatusForbidden, "not from this session")
}

// TestStacks watches a stack with another in it come and go.
func TestStacks(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.Options{})
	root := signIn(t, s, s.AccessKeyID, s.SecretAccessKey)
	root.get(pages+"stacks", http.StatusOK, "No stacks yet")
	template := fmt.Sprintf(`{"Description":%q,"Parameters":{"Size":{"Type":"String","Default":%q}},
		"Resources":{"Log":{"Type":"AWS::Logs::LogGroup","Properties":{"LogGroupName":"of-the-stack"}}},
		"Outputs":{"Evil":{"Value":{"Ref":"Size"},"Description":%q,"Export":{"Name":"shop-evil"}}}}`, evil, evil, evil)
	stackAPI(t, s, url.Values{"Action": {"CreateStack"}, "StackName": {"shop"}, "TemplateBody": {template}})
	for until := time.Now().Add(30 * time.Second); !strings.Contains(root.get(pages+"stacks/shop", http.StatusOK), "CREATE_COMPLETE"); {
		if time.Now().After(until) {
			t.Fatal("the stack does not become complete")
		}
	}
	root.get(pages+"stacks/shop", http.StatusOK, safe, "shop-evil", "arn:aws:cloudformation:eu-central-1:000000000000:stack/shop/")
	root.get(pages+"stacks?search=SHOP", http.StatusOK, ">shop<", safe)
	root.get(pages+"stacks/shop/resources", http.StatusOK, "of-the-stack", "AWS::Logs::LogGroup", "CREATE_COMPLETE")
	root.get(pages+"stacks/shop/events", http.StatusOK, "AWS::CloudFormation::Stack", "CREATE_IN_PROGRESS", "CREATE_COMPLETE")
	root.get(pages+"stacks/shop/template", http.StatusOK, "AWS::Logs::LogGroup")
	root.get(pages+"stacks/absent", http.StatusNotFound, "does not exist")
	id, secret := newUser(t, s, "watcher", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["cloudformation:Describe*","cloudformation:List*"],"Resource":"*"}}`)
	watcher := signIn(t, s, id, secret)
	watcher.get(pages+"stacks/shop/template", http.StatusForbidden, "cloudformation:GetTemplate")
	watcher.post(pages+"stacks/shop/delete", url.Values{}, http.StatusOK, "cloudformation:DeleteStack")
	root.get(pages+"stacks/shop/delete", http.StatusOK, "It exports shop-evil", "of-the-stack")
	root.post(pages+"stacks/shop/delete", url.Values{}, http.StatusOK, "Stack shop is being deleted")
	for until := time.Now().Add(30 * time.Second); !strings.Contains(root.get(pages+"stacks?deleted=1", http.StatusOK), "DELETE_COMPLETE"); {
		if time.Now().After(until) {
			t.Fatal("the stack does not go away")
		}
	}
	root.get(pages+"stacks", http.StatusOK, "No stacks yet")
	root.get(pages+"stacks/shop", http.StatusNotFound)
}

// stackAPI does an operation of CloudFormation, as the root.
func stackAPI(t *testing.T, s *testkit.Server, form url.Values) {
	t.Helper()
	form.Set("Version", "2010-05-15")
	body := form.Encode()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	sum := sha256.Sum256([]byte(body))
	keys := aws.Credentials{AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey}
	if err := v4.NewSigner().SignHTTP(t.Context(), keys, req, hex.EncodeToString(sum[:]), "cloudformation", s.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s = %s", form.Get("Action"), resp.Status)
	}
}
