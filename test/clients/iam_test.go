package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lamina-run/lamina/internal/testkit"
)

// identities is all that people manage of IAM with Terraform, each resource once.
const identities = `
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  skip_metadata_api_check = true
}

variable "version_text" { default = "one" }
variable "user_path" { default = "/team/" }

data "aws_caller_identity" "me" {}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = [data.aws_caller_identity.me.account_id]
    }
  }
}

data "aws_iam_policy_document" "logs" {
  statement {
    sid       = var.version_text
    actions   = ["logs:PutLogEvents"]
    resources = ["*"]
  }
}

data "aws_iam_policy" "basic" { name = "AWSLambdaBasicExecutionRole" }

resource "aws_iam_policy" "logs" {
  name        = "logs"
  path        = "/team/"
  description = "write logs"
  policy      = data.aws_iam_policy_document.logs.json
  tags        = { team = "a" }
}

resource "aws_iam_role" "app" {
  name                 = "app"
  path                 = "/team/"
  description          = "of the app"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  max_session_duration = 7200
  permissions_boundary = aws_iam_policy.logs.arn
  tags                 = { team = "a", text = var.version_text }
}

resource "aws_iam_role_policy" "inline" {
  name   = "inline"
  role   = aws_iam_role.app.id
  policy = data.aws_iam_policy_document.logs.json
}

resource "aws_iam_role_policy_attachment" "own" {
  role       = aws_iam_role.app.name
  policy_arn = aws_iam_policy.logs.arn
}

resource "aws_iam_role_policy_attachment" "basic" {
  role       = aws_iam_role.app.name
  policy_arn = data.aws_iam_policy.basic.arn
}

resource "aws_iam_instance_profile" "app" {
  name = "app"
  role = aws_iam_role.app.name
  tags = { team = "a" }
}

resource "aws_iam_user" "ann" {
  name                 = "ann"
  path                 = var.user_path
  force_destroy        = true
  permissions_boundary = aws_iam_policy.logs.arn
  tags                 = { team = "a" }
}

resource "aws_iam_user_policy" "inline" {
  name   = "inline"
  user   = aws_iam_user.ann.name
  policy = data.aws_iam_policy_document.logs.json
}

resource "aws_iam_user_policy_attachment" "own" {
  user       = aws_iam_user.ann.name
  policy_arn = aws_iam_policy.logs.arn
}

resource "aws_iam_access_key" "ann" {
  user   = aws_iam_user.ann.name
  status = "Active"
}

resource "aws_iam_group" "devs" {
  name = "devs"
  path = "/team/"
}

resource "aws_iam_group_policy" "inline" {
  name   = "inline"
  group  = aws_iam_group.devs.name
  policy = data.aws_iam_policy_document.logs.json
}

resource "aws_iam_group_policy_attachment" "own" {
  group      = aws_iam_group.devs.name
  policy_arn = aws_iam_policy.logs.arn
}

resource "aws_iam_group_membership" "devs" {
  name  = "devs"
  group = aws_iam_group.devs.name
  users = [aws_iam_user.ann.name]
}

resource "aws_iam_group" "ops" {
  name = "ops"
}

resource "aws_iam_user_group_membership" "ops" {
  user   = aws_iam_user.ann.name
  groups = [aws_iam_group.ops.name]
  depends_on = [aws_iam_group_membership.devs]
}

resource "aws_iam_account_alias" "alias" {
  account_alias = "lamina-tests"
}

resource "aws_iam_service_linked_role" "lambda" {
  aws_service_name = "lambda.amazonaws.com"
}

output "key" {
  value = aws_iam_access_key.ann.id
}
output "secret" {
  value     = aws_iam_access_key.ann.secret
  sensitive = true
}
`

// TestTerraformIdentities applies, finds nothing to change, changes, finds nothing
// to change, and destroys.
func TestTerraformIdentities(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Terraform, testkit.AWSCLI)
	s := testkit.Start(t, testkit.Options{})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(identities), 0o644); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "terraformrc")
	mirror := fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\ndisable_checkpoint = true\n", testkit.TerraformMirror())
	if err := os.WriteFile(config, []byte(mirror), 0o644); err != nil {
		t.Fatal(err)
	}
	terraform := func(args ...string) string {
		t.Helper()
		return command(t, s, dir, "env", append([]string{"TF_CLI_CONFIG_FILE=" + config, "TF_IN_AUTOMATION=1", "terraform"}, args...)...)
	}
	terraform("init", "-no-color")
	terraform("apply", "-no-color", "-auto-approve")
	terraform("plan", "-no-color", "-detailed-exitcode") // 2 when it would change something

	key, secret := terraform("output", "-raw", "key"), terraform("output", "-raw", "secret")
	arn := command(t, s, dir, "env", "AWS_ACCESS_KEY_ID="+key, "AWS_SECRET_ACCESS_KEY="+secret, "aws", "sts", "get-caller-identity", "--query", "Arn", "--output", "text")
	if want := "arn:aws:iam::000000000000:user/team/ann\n"; arn != want {
		t.Errorf("the user's key is of %s; want %s", arn, want)
	}

	change := []string{"-var=version_text=two", "-var=user_path=/other/"}
	terraform(append([]string{"apply", "-no-color", "-auto-approve"}, change...)...)
	terraform(append([]string{"plan", "-no-color", "-detailed-exitcode"}, change...)...)
	versions := command(t, s, dir, "aws", "iam", "list-policy-versions", "--policy-arn", "arn:aws:iam::000000000000:policy/team/logs", "--query", "Versions[].[VersionId,IsDefaultVersion]", "--output", "text")
	if want := "v2\tTrue\nv1\tFalse\n"; versions != want {
		t.Errorf("versions after the change = %q; want %q", versions, want)
	}
	terraform(append([]string{"destroy", "-no-color", "-auto-approve"}, change...)...)
	for _, list := range []string{"users", "roles", "groups", "instance-profiles", "policies --scope Local", "account-aliases"} {
		out := command(t, s, dir, "bash", "-c", "aws iam list-"+list+" --output json --query 'length(values(@)[0])'")
		if strings.TrimSpace(out) != "0" {
			t.Errorf("after destroy, list-%s has %s; want none", list, out)
		}
	}
}

// assumed is what botocore makes of STS, IAM and Organizations: a role assumed by
// hand, then as a profile has it, with botocore's own provider.
const assumed = `
import boto3, botocore, json, os

iam, sts = boto3.client("iam"), boto3.client("sts")
account = sts.get_caller_identity()["Account"]
trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"}]}
role = iam.create_role(RoleName="app", AssumeRolePolicyDocument=json.dumps(trust))["Role"]
assert iam.get_role(RoleName="app")["Role"]["AssumeRolePolicyDocument"] == trust, "the trust policy comes back parsed"
iam.get_waiter("role_exists").wait(RoleName="app")
iam.put_role_policy(RoleName="app", PolicyName="reads", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["lambda:List*", "logs:Describe*"], "Resource": "*"}]}))

got = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="by-hand", DurationSeconds=900)
assert got["AssumedRoleUser"]["AssumedRoleId"] == role["RoleId"] + ":by-hand"
c = got["Credentials"]
session = boto3.Session(c["AccessKeyId"], c["SecretAccessKey"], c["SessionToken"])
print(session.client("sts").get_caller_identity()["Arn"])
assert session.client("lambda").list_functions()["Functions"] == []
session.client("logs").describe_log_groups()

with open("config", "w") as f:
    f.write("[profile app]\nrole_arn = %s\nrole_session_name = by-profile\ncredential_source = Environment\n" % role["Arn"])
os.environ["AWS_CONFIG_FILE"] = os.path.abspath("config")
print(boto3.Session(profile_name="app").client("sts").get_caller_identity()["Arn"])

broken = boto3.Session(c["AccessKeyId"], c["SecretAccessKey"], c["SessionToken"][:-8])
for client, call, code in [("lambda", "list_functions", "UnrecognizedClientException"), ("sts", "get_caller_identity", "InvalidClientTokenId"),
                           ("iam", "list_users", "InvalidClientTokenId"), ("logs", "describe_log_groups", "UnrecognizedClientException"),
                           ("organizations", "describe_organization", "UnrecognizedClientException")]:
    try:
        getattr(broken.client(client), call)()
        raise AssertionError(client + " takes a broken token")
    except botocore.exceptions.ClientError as e:
        assert e.response["Error"]["Code"] == code, e
        assert e.response["Error"]["Message"] == "The security token included in the request is invalid.", e

iam.create_user(UserName="ann")
iam.get_waiter("user_exists").wait(UserName="ann")
iam.put_user_policy(UserName="ann", PolicyName="p", PolicyDocument=json.dumps(dict(trust, Statement=[{"Effect": "Allow", "Action": "*", "Resource": "*"}])))
details = iam.get_account_authorization_details()
assert details["UserDetailList"][0]["UserPolicyList"][0]["PolicyDocument"]["Statement"][0]["Action"] == "*"
assert details["RoleDetailList"][0]["RoleName"] == "app"
assert iam.get_account_summary()["SummaryMap"]["Users"] == 1

org = boto3.client("organizations")
try:
    org.describe_organization()
    raise AssertionError("an organization that nobody made")
except org.exceptions.AWSOrganizationsNotInUseException:
    pass
made = org.create_organization(FeatureSet="ALL")["Organization"]
status = org.create_account(AccountName="dev", Email="dev@example.com")["CreateAccountStatus"]
status = org.describe_create_account_status(CreateAccountRequestId=status["Id"])["CreateAccountStatus"]
assert status["State"] == "SUCCEEDED", status
names = [a["Name"] for p in org.get_paginator("list_accounts").paginate(PaginationConfig={"PageSize": 1}) for a in p["Accounts"]]
assert sorted(names) == ["dev", "root"], names
assert org.list_roots()["Roots"][0]["Arn"].endswith(org.list_roots()["Roots"][0]["Id"])
assert org.describe_account(AccountId=status["AccountId"])["Account"]["Email"] == "dev@example.com"
print("done")
`

func TestAssumedRoles(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.Boto, testkit.AWSCLI)
	s := testkit.Start(t, testkit.Options{})
	out := command(t, s, t.TempDir(), testkit.Tool("python3"), "-c", assumed)
	want := "arn:aws:sts::000000000000:assumed-role/app/by-hand\narn:aws:sts::000000000000:assumed-role/app/by-profile\ndone\n"
	if out != want {
		t.Errorf("boto3 printed %q; want %q", out, want)
	}
	out = command(t, s, t.TempDir(), "bash", "-euo", "pipefail", "-c", `
read -r AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN < <(aws sts assume-role --role-arn arn:aws:iam::000000000000:role/app --role-session-name cli \
  --query 'Credentials.[AccessKeyId,SecretAccessKey,SessionToken]' --output text)
export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
aws sts get-caller-identity --query Arn --output text
aws lambda list-layers --query 'length(Layers)'
aws sts get-session-token 2>&1 | grep -o 'Cannot call GetSessionToken with session credentials' || true
`)
	if want := "arn:aws:sts::000000000000:assumed-role/app/cli\n0\nCannot call GetSessionToken with session credentials\n"; out != want {
		t.Errorf("the AWS CLI printed %q; want %q", out, want)
	}
}
