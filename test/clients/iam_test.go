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
