package clients

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lamina-run/lamina/internal/testkit"
)

// deployed is a template that is made so soon that waiters, which sleep for half a
// minute, find it done when they first look.
const deployed = `
AWSTemplateFormatVersion: '2010-09-09'
Description: what the AWS CLI deploys
Parameters:
  Greeting: {Type: String, Default: hello}
Conditions:
  Loud: !Equals [!Ref Greeting, HELLO]
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Version: 2012-10-17
        Statement: [{Effect: Allow, Action: sts:AssumeRole, Principal: {Service: lambda.amazonaws.com}}]
  Said:
    Type: AWS::SSM::Parameter
    Properties: {Type: String, Name: !Sub '/${AWS::StackName}/said', Value: !If [Loud, !Sub '${Greeting}!', !Ref Greeting]}
Outputs:
  Role: {Value: !GetAtt Role.Arn, Export: {Name: !Sub '${AWS::StackName}-role'}}
`

const deploys = `
deploy() { aws cloudformation deploy --template-file t.yml --stack-name greeting --capabilities CAPABILITY_IAM --no-fail-on-empty-changeset "$@"; }
aws cloudformation validate-template --template-body file://t.yml --query 'Capabilities[0]' --output text
if deploy --capabilities CAPABILITY_AUTO_EXPAND 2>refused; then exit 1; fi
grep -o 'InsufficientCapabilities.*' refused
deploy --tags team=a | tail -1
aws ssm get-parameter --name /greeting/said --query Parameter.Value --output text
deploy --tags team=a | tail -1
deploy --tags team=a --parameter-overrides Greeting=HELLO | tail -1
aws ssm get-parameter --name /greeting/said --query Parameter.Value --output text
aws cloudformation describe-stacks --stack-name greeting --query 'Stacks[0].[StackStatus,Tags[0].Value,Outputs[0].ExportName,Parameters[0].ParameterValue]' --output text
aws cloudformation list-stack-resources --stack-name greeting --query 'StackResourceSummaries[].LogicalResourceId' --output text
aws cloudformation list-exports --query 'Exports[].Name' --output text
aws cloudformation get-template --stack-name greeting --query TemplateBody --output text | head -2 | tail -1
aws cloudformation update-termination-protection --stack-name greeting --enable-termination-protection >protected
aws cloudformation delete-stack --stack-name greeting 2>&1 | grep -o 'Stack \[.*'
aws cloudformation update-termination-protection --stack-name greeting --no-enable-termination-protection >protected
aws cloudformation delete-stack --stack-name greeting
aws cloudformation wait stack-delete-complete --stack-name greeting
aws ssm get-parameter --name /greeting/said 2>&1 | grep -o ParameterNotFound
aws cloudformation describe-stacks --stack-name greeting 2>&1 | grep -o 'Stack with id.*'
aws cloudformation list-stacks --query 'StackSummaries[].StackStatus' --output text
`

func TestCloudFormation(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.AWSCLI)
	s := testkit.Start(t, testkit.Options{})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "t.yml"), []byte(deployed), 0o644); err != nil {
		t.Fatal(err)
	}
	got := command(t, s, dir, "bash", "-euc", deploys)
	want := `CAPABILITY_IAM
InsufficientCapabilitiesException) when calling the CreateChangeSet operation: Requires capabilities : [CAPABILITY_IAM]
Successfully created/updated stack - greeting
hello
No changes to deploy. Stack greeting is up to date
Successfully created/updated stack - greeting
HELLO!
UPDATE_COMPLETE	a	greeting-role	HELLO
Role	Said
greeting-role
AWSTemplateFormatVersion: '2010-09-09'
Stack [greeting] cannot be deleted while TerminationProtection is enabled
ParameterNotFound
Stack with id greeting does not exist
DELETE_COMPLETE
`
	if strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("the AWS CLI printed\n%s\nwant\n%s", got, want)
	}
}
