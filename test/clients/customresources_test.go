package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lamina-run/lamina/internal/testkit"
)

// customTemplate has a custom resource in each language that has a module for it,
// and one that answers as AWS's and CDK's handlers do: to the host and the path of
// the URL, and nothing else of it. What they see of their environment is AWS's.
const customTemplate = `
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: {Version: '2012-10-17', Statement: [{Effect: Allow, Principal: {Service: lambda.amazonaws.com}, Action: 'sts:AssumeRole'}]}
  Python:
    Type: AWS::Lambda::Function
    Properties:
      Role: !GetAtt Role.Arn
      Runtime: python3.11
      Handler: index.handler
      Code:
        ZipFile: |
          import cfnresponse, os
          def handler(event, context):
              seen = [k for k in os.environ if "CERT" in k or "CA_" in k]
              cfnresponse.send(event, context, cfnresponse.SUCCESS, {"Said": event["ResourceProperties"]["Say"] + "|%s" % seen}, "python")
  Module:
    Type: AWS::Lambda::Function
    Properties:
      Role: !GetAtt Role.Arn
      Runtime: %NODE%
      Handler: index.handler
      Code:
        ZipFile: |
          const response = require('cfn-response');
          exports.handler = (event, context) => response.send(event, context, response.SUCCESS, {Said: event.ResourceProperties.Say}, 'module');
  Plain:
    Type: AWS::Lambda::Function
    Properties:
      Role: !GetAtt Role.Arn
      Runtime: %NODE%
      Handler: index.handler
      Code:
        ZipFile: |
          const https = require('https'), url = require('url');
          exports.handler = (event) => new Promise((resolve, reject) => {
            const to = url.parse(event.ResponseURL);
            const body = JSON.stringify({Status: 'SUCCESS', PhysicalResourceId: 'plain', StackId: event.StackId, RequestId: event.RequestId,
              LogicalResourceId: event.LogicalResourceId, Data: {Said: event.ResourceProperties.Say + '|' + process.env.NODE_EXTRA_CA_CERTS}});
            const request = https.request({hostname: to.hostname, path: to.path, method: 'PUT', headers: {'content-type': '', 'content-length': body.length}}, (answer) => {
              answer.resume();
              answer.statusCode === 200 ? resolve() : reject(new Error(answer.statusCode));
            });
            request.on('error', reject);
            request.end(body);
          });
  First:
    Type: Custom::First
    Properties: {ServiceToken: !GetAtt Python.Arn, Say: 5, ServiceTimeout: 60}
  Second:
    Type: AWS::CloudFormation::CustomResource
    Properties: {ServiceToken: !GetAtt Module.Arn, Say: !GetAtt First.Said, ServiceTimeout: 60}
  Third:
    Type: Custom::Third
    Properties: {ServiceToken: !GetAtt Plain.Arn, Say: !Ref Second, ServiceTimeout: 60}
Outputs:
  Said: {Value: !Join [' ', [!GetAtt First.Said, !GetAtt Second.Said, !GetAtt Third.Said, !Ref First, !Ref Third]]}
`

func TestCustomResources(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.AWSCLI, testkit.Sandbox, testkit.Network, testkit.Python, testkit.Node)
	s := testkit.Start(t, testkit.Options{})
	version, err := exec.Command("node", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(string(version), "v"), ".")
	file := filepath.Join(t.TempDir(), "template.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(customTemplate, "%NODE%", "nodejs"+major+".x")), 0o600); err != nil {
		t.Fatal(err)
	}
	aws := func(args ...string) string { return strings.TrimSpace(command(t, s, "", "aws", args...)) }
	// AWS's own waiters look every 30 seconds.
	settled := func(want string) {
		t.Helper()
		for status := ""; status != want; {
			status = aws("cloudformation", "list-stacks", "--query", "StackSummaries[0].StackStatus", "--output", "text")
			if !strings.HasSuffix(status, "_IN_PROGRESS") && status != want {
				t.Fatalf("the stack is %s; want %s\n%s", status, want, aws("cloudformation", "describe-stack-events", "--stack-name", "answers", "--output", "text"))
			}
		}
	}
	aws("cloudformation", "create-stack", "--stack-name", "answers", "--template-body", "file://"+file, "--capabilities", "CAPABILITY_IAM")
	settled("CREATE_COMPLETE")
	const want = "5|[] 5|[] module|undefined python plain"
	if got := aws("cloudformation", "describe-stacks", "--stack-name", "answers", "--query", "Stacks[0].Outputs[0].OutputValue", "--output", "text"); got != want {
		t.Errorf("the custom resources said %q; want %q", got, want)
	}
	aws("cloudformation", "delete-stack", "--stack-name", "answers")
	settled("DELETE_COMPLETE")
}
