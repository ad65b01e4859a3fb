package clients

import (
	"testing"

	"github.com/lamina-run/lamina/internal/testkit"
)

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
