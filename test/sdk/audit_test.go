package sdk

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

// TestAudit reads what the audit log has of changes, and looks for secrets in it.
func TestAudit(t *testing.T) {
	t.Parallel()
	s := testkit.Start(t, testkit.Options{})
	client := s.Lambda()
	zip := testkit.Zip(t, testkit.File{Name: "app.py", Body: "def handler(e, c): return 'in-the-code'\n"})
	_, err := client.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: aws.String("audited"), Runtime: types.RuntimePython312, Handler: aws.String("app.handler"),
		Role: aws.String("arn:aws:iam::" + testkit.Account + ":role/r"), Code: &types.FunctionCode{ZipFile: zip},
		Environment: &types.Environment{Variables: map[string]string{"PASSWORD": "in-the-environment"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("audited")}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: aws.String("absent")}); err == nil {
		t.Fatal("a function that is not there was deleted")
	}
	if _, err := iam.NewFromConfig(s.Config()).CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`),
	}); err != nil {
		t.Fatal(err)
	}

	f, err := os.Open(filepath.Join(s.Data, "audit", "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	type line struct {
		Account, Principal, AccessKeyId, SourceIp, RequestId, Service, Region, Operation, ErrorCode string
		Request                                                                                     map[string]string
		Status                                                                                      int
	}
	var all []line
	for lines := bufio.NewScanner(f); lines.Scan(); {
		for _, secret := range []string{"in-the-environment", "in-the-code", "AssumeRolePolicyDocument"} {
			if strings.Contains(lines.Text(), secret) {
				t.Errorf("the audit log has %q in it: %s", secret, lines.Text())
			}
		}
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatalf("%v in %s", err, lines.Text())
		}
		all = append(all, l)
	}
	want := []struct {
		service, operation, member, name, code string
		status                                 int
	}{
		{"lambda", "CreateFunction", "FunctionName", "audited", "", 201},
		{"lambda", "DeleteFunction", "FunctionName", "absent", "ResourceNotFoundException", 404},
		{"iam", "CreateRole", "RoleName", "r", "", 200},
	}
	if len(all) != len(want) {
		t.Fatalf("the audit log has %d entries: %+v; want %d", len(all), all, len(want))
	}
	for i, w := range want {
		l := all[i]
		if l.Service != w.service || l.Operation != w.operation || l.Request[w.member] != w.name || l.ErrorCode != w.code || l.Status != w.status {
			t.Errorf("entry %d = %+v; want %+v", i, l, w)
		}
		if l.Account != testkit.Account || l.Principal != "arn:aws:iam::"+testkit.Account+":root" || l.AccessKeyId != s.AccessKeyID ||
			l.SourceIp != "127.0.0.1" || l.RequestId == "" || l.Region == "" {
			t.Errorf("entry %d does not say who asked: %+v", i, l)
		}
	}
}
