package sdk

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

// account is what lamina account create prints.
type account struct {
	AccountID       string `json:"AccountId"`
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
}

// createAccount runs lamina account create beside the running server.
func createAccount(t *testing.T, s *testkit.Server, name string) account {
	t.Helper()
	out, err := exec.Command(testkit.Binary(t), "account", "create", name, "--data", s.Data).Output()
	if err != nil {
		t.Fatalf("lamina account create: %v", err)
	}
	var a account
	if err := json.Unmarshal(out, &a); err != nil {
		t.Fatalf("lamina account create printed %s: %v", out, err)
	}
	return a
}

func (a account) config(s *testkit.Server) aws.Config {
	c := s.Config()
	c.Credentials = credentials.NewStaticCredentialsProvider(a.AccessKeyID, a.SecretAccessKey, "")
	return c
}

// TestAccountsHaveTheirOwn: two accounts use the same names for everything, and
// neither sees, changes or counts what is the other's.
func TestAccountsHaveTheirOwn(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	b := open(t)
	a := createAccount(t, b.Server, "b")
	theirs := desk{b.Server, lambda.NewFromConfig(a.config(b.Server)), b.TB}

	who := map[*desk]string{&b: testkit.Account, &theirs: a.AccountID}
	for d, id := range who {
		v := d.layer("shared", archive(t, "python/who.py", "NAME = '"+id+"'\n"))
		if want := "arn:aws:lambda:" + region + ":" + id + ":layer:shared:1"; *v.LayerVersionArn != want {
			t.Errorf("layer = %s; want %s", *v.LayerVersionArn, want)
		}
		d.function("hello", archive(t, "app.py", "import os, who\ndef handler(event, context):\n    return [who.NAME, context.invoked_function_arn, os.environ['AWS_LAMBDA_LOG_GROUP_NAME']]\n"), *v.LayerVersionArn)
	}
	for d, id := range who {
		got, err := d.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("hello")})
		if err != nil || got.FunctionError != nil || !strings.Contains(string(got.Payload), `["`+id+`", "arn:aws:lambda:`+region+`:`+id+`:function:hello"`) {
			t.Errorf("Invoke in %s = %s, %v", id, got.Payload, err)
		}
		functions, err := d.ListFunctions(t.Context(), &lambda.ListFunctionsInput{})
		if err != nil || len(functions.Functions) != 1 || !strings.Contains(*functions.Functions[0].FunctionArn, id) {
			t.Errorf("ListFunctions in %s = %+v, %v; want its own", id, functions, err)
		}
		layers, err := d.ListLayers(t.Context(), &lambda.ListLayersInput{})
		if err != nil || len(layers.Layers) != 1 || !strings.Contains(*layers.Layers[0].LayerArn, id) {
			t.Errorf("ListLayers in %s = %+v, %v; want its own", id, layers, err)
		}
		settings, err := d.GetAccountSettings(t.Context(), &lambda.GetAccountSettingsInput{})
		if err != nil || settings.AccountUsage.FunctionCount != 1 {
			t.Errorf("GetAccountSettings in %s = %+v, %v; want one function", id, settings, err)
		}
	}
	// Reservations are of each account's own concurrency.
	limit, err := b.GetAccountSettings(t.Context(), &lambda.GetAccountSettingsInput{})
	if err != nil {
		t.Fatal(err)
	}
	most := limit.AccountLimit.ConcurrentExecutions - 100
	for d, id := range who {
		if _, err := d.PutFunctionConcurrency(t.Context(), &lambda.PutFunctionConcurrencyInput{FunctionName: aws.String("hello"), ReservedConcurrentExecutions: &most}); err != nil {
			t.Errorf("PutFunctionConcurrency in %s: %v", id, err)
		}
	}
	// Nothing by ARN, either.
	mine := "arn:aws:lambda:" + region + ":" + testkit.Account + ":function:hello"
	for name, call := range map[string]func() error{
		"GetFunction": func() error {
			_, err := theirs.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: &mine})
			return err
		},
		"Invoke": func() error {
			_, err := theirs.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &mine})
			return err
		},
		"DeleteFunction": func() error {
			_, err := theirs.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: &mine})
			return err
		},
		"PublishVersion": func() error {
			_, err := theirs.PublishVersion(t.Context(), &lambda.PublishVersionInput{FunctionName: &mine})
			return err
		},
		"TagResource": func() error {
			_, err := theirs.TagResource(t.Context(), &lambda.TagResourceInput{Resource: &mine, Tags: map[string]string{"a": "b"}})
			return err
		},
		"GetLayerVersionByArn": func() error {
			_, err := theirs.GetLayerVersionByArn(t.Context(), &lambda.GetLayerVersionByArnInput{Arn: aws.String("arn:aws:lambda:" + region + ":" + testkit.Account + ":layer:shared:1")})
			return err
		},
		"UpdateFunctionConfiguration": func() error {
			_, err := theirs.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("hello"), Layers: []string{"arn:aws:lambda:" + region + ":" + testkit.Account + ":layer:shared:1"}})
			return err
		},
	} {
		if err := call(); err == nil {
			t.Errorf("%s of another account's: no error", name)
		}
	}
	if _, err := theirs.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: aws.String("hello")}); err != nil {
		t.Error(err)
	}
	if _, err := b.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("hello")}); err != nil {
		t.Errorf("the other account's function went along: %v", err)
	}

	// The operator's verbs are the operator's: another account's root is refused.
	cmd := exec.Command(testkit.Binary(t), "account", "list", "--data", b.Data)
	out, err := cmd.Output()
	if err != nil || !bytes.Contains(out, []byte(a.AccountID)) {
		t.Errorf("lamina account list = %s, %v; want %s", out, err, a.AccountID)
	}
}

// TestSessionsSurviveARestart: temporary credentials, and users' keys, are good
// after the server started anew.
func TestSessionsSurviveARestart(t *testing.T) {
	b := open(t)
	ctx := t.Context()
	client := iam.NewFromConfig(b.Config())
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + testkit.Account + `"},"Action":"sts:AssumeRole"}]}`
	r, err := client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("app"), AssumeRolePolicyDocument: &trust})
	if err != nil {
		t.Fatal(err)
	}
	lists := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"lambda:ListFunctions","Resource":"*"}]}`
	if _, err := client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("app"), PolicyName: aws.String("lists"), PolicyDocument: &lists}); err != nil {
		t.Fatal(err)
	}
	got, err := sts.NewFromConfig(b.Config()).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: r.Role.Arn, RoleSessionName: aws.String("sess")})
	if err != nil {
		t.Fatal(err)
	}
	session := func(c *ststypes.Credentials) aws.Config {
		config := b.Config()
		config.Credentials = credentials.NewStaticCredentialsProvider(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
		return config
	}
	a := createAccount(t, b.Server, "b")
	for _, restart := range []func(){func() {}, b.Stop, b.Kill} {
		restart()
		if testkit.Healthy(b.URL) != nil {
			b.Restart()
		}
		me, err := sts.NewFromConfig(session(got.Credentials)).GetCallerIdentity(ctx, nil)
		if err != nil || *me.Arn != "arn:aws:sts::"+testkit.Account+":assumed-role/app/sess" {
			t.Errorf("GetCallerIdentity = %+v, %v; want the assumed role", me, err)
		}
		other, err := sts.NewFromConfig(a.config(b.Server)).GetCallerIdentity(ctx, nil)
		if err != nil || *other.Arn != "arn:aws:iam::"+a.AccountID+":root" {
			t.Errorf("GetCallerIdentity of the other account = %+v, %v", other, err)
		}
		// Lambda, too, sees a caller of the account.
		if _, err := lambda.NewFromConfig(session(got.Credentials)).ListFunctions(ctx, &lambda.ListFunctionsInput{}); err != nil {
			t.Errorf("ListFunctions of the assumed role: %v", err)
		}
	}
	cut := session(got.Credentials)
	cut.Credentials = credentials.NewStaticCredentialsProvider(*got.Credentials.AccessKeyId, *got.Credentials.SecretAccessKey, "nonsense")
	_, err = lambda.NewFromConfig(cut).ListFunctions(ctx, &lambda.ListFunctionsInput{})
	wantCode(t, "a wrong session token", err, "UnrecognizedClientException")
}
