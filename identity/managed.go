package identity

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
)

// managedPolicy is a policy of AWS's own, which every account can attach. Lamina
// has those that Lambda's users attach.
type managedPolicy struct {
	Path        string
	Name        string
	Version     string // the default one, and the only one here
	Description string
	Document    string
}

// ARN of the policy: arn:aws:iam::aws:policy/service-role/….
func (p managedPolicy) ARN() string {
	return "arn:" + lamina.Partition + ":iam::aws:policy" + p.Path + p.Name
}

// ID of the policy: made from its ARN, since AWS's identifiers are not published.
func (p managedPolicy) ID() string {
	sum := sha256.Sum256([]byte(p.ARN()))
	return "ANPA" + base32.StdEncoding.EncodeToString(sum[:])[:17]
}

// managedSince is what every managed policy gives as its date.
var managedSince = time.Date(2015, 4, 9, 15, 3, 43, 0, time.UTC)

// findManaged returns the managed policy of an ARN.
func findManaged(arn string) (managedPolicy, bool) {
	rest, ok := strings.CutPrefix(arn, "arn:"+lamina.Partition+":iam::aws:policy/")
	if !ok {
		return managedPolicy{}, false
	}
	for _, p := range managedPolicies {
		if p.Path+p.Name == "/"+rest {
			return p, true
		}
	}
	return managedPolicy{}, false
}

// allow is the document of a policy with one statement.
func allow(resource string, actions ...string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["` + strings.Join(actions, `","`) + `"],"Resource":"` + resource + `"}]}`
}

const writeLogs = `logs:CreateLogGroup","logs:CreateLogStream","logs:PutLogEvents`

// managedPolicies is sorted by name, as ListPolicies answers.
var managedPolicies = []managedPolicy{
	{"/", "AWSCloudFormationFullAccess", "v1", "Full access to CloudFormation.", allow("*", "cloudformation:*")},
	{"/", "AWSCloudFormationReadOnlyAccess", "v4", "Read access to CloudFormation.", allow("*", "cloudformation:Describe*", "cloudformation:EstimateTemplateCost", "cloudformation:Get*", "cloudformation:List*", "cloudformation:ValidateTemplate", "cloudformation:Detect*")},
	{"/service-role/", "AWSCodeDeployRoleForLambda", "v3", "What CodeDeploy does to functions.", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["cloudwatch:DescribeAlarms","lambda:UpdateAlias","lambda:GetAlias","lambda:GetProvisionedConcurrencyConfig","sns:Publish"],"Resource":"*"},{"Effect":"Allow","Action":["s3:GetObject","s3:GetObjectVersion"],"Resource":"arn:aws:s3:::*/CodeDeploy/*"},{"Effect":"Allow","Action":["s3:GetObject","s3:GetObjectVersion"],"Resource":"*","Condition":{"StringEquals":{"s3:ExistingObjectTag/UseWithCodeDeploy":"true"}}},{"Effect":"Allow","Action":["lambda:InvokeFunction"],"Resource":"arn:aws:lambda:*:*:function:CodeDeployHook_*"}]}`},
	{"/service-role/", "AWSLambdaBasicExecutionRole", "v1", "Write permissions to CloudWatch Logs.", allow("*", writeLogs)},
	{"/service-role/", "AWSLambdaDynamoDBExecutionRole", "v1", "Read DynamoDB streams and write CloudWatch Logs.", allow("*", "dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams", writeLogs)},
	{"/service-role/", "AWSLambdaENIManagementAccess", "v1", "Manage network interfaces of functions in a VPC.", allow("*", "ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses")},
	{"/", "AWSLambdaExecute", "v1", "Put and get objects of S3, full access to CloudWatch Logs.", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["logs:*"],"Resource":"arn:aws:logs:*:*:*"},{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::*"}]}`},
	{"/", "AWSLambdaInvocation-DynamoDB", "v1", "Read DynamoDB streams and invoke functions.", allow("*", "lambda:InvokeFunction", "dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams")},
	{"/service-role/", "AWSLambdaKinesisExecutionRole", "v1", "Read Kinesis streams and write CloudWatch Logs.", allow("*", "kinesis:DescribeStream", "kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards", "kinesis:ListStreams", "kinesis:SubscribeToShard", writeLogs)},
	{"/service-role/", "AWSLambdaMSKExecutionRole", "v1", "Read MSK clusters, manage network interfaces, write CloudWatch Logs.", allow("*", "kafka:DescribeCluster", "kafka:DescribeClusterV2", "kafka:GetBootstrapBrokers", "ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeVpcs", "ec2:DeleteNetworkInterface", "ec2:DescribeSubnets", "ec2:DescribeSecurityGroups", writeLogs)},
	{"/service-role/", "AWSLambdaRole", "v1", "Invoke functions.", allow("*", "lambda:InvokeFunction")},
	{"/service-role/", "AWSLambdaSQSQueueExecutionRole", "v1", "Receive and delete messages of SQS and write CloudWatch Logs.", allow("*", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", writeLogs)},
	{"/service-role/", "AWSLambdaVPCAccessExecutionRole", "v3", "Manage network interfaces and write CloudWatch Logs.", allow("*", writeLogs, "ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses")},
	{"/", "AWSLambda_FullAccess", "v1", "Full access to Lambda and what its console uses.", allow("*", "lambda:*", "cloudformation:DescribeStacks", "cloudformation:ListStackResources", "cloudwatch:GetMetricData", "cloudwatch:ListMetrics", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs", "iam:GetPolicy", "iam:GetPolicyVersion", "iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies", "iam:ListRoles", "iam:PassRole", "kms:ListAliases", "logs:DescribeLogGroups", "states:DescribeStateMachine", "states:ListStateMachines", "tag:GetResources", "xray:GetTraceSummaries", "xray:BatchGetTraces")},
	{"/", "AWSLambda_ReadOnlyAccess", "v1", "Read access to Lambda and what its console uses.", allow("*", "lambda:Get*", "lambda:List*", "iam:GetRole", "iam:ListRoles", "logs:DescribeLogGroups")},
	{"/", "AWSXRayDaemonWriteAccess", "v1", "Write traces to X-Ray.", allow("*", "xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets", "xray:GetSamplingStatisticSummaries")},
	{"/", "AWSXrayWriteOnlyAccess", "v1", "Write traces to X-Ray.", allow("*", "xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets", "xray:GetSamplingStatisticSummaries")},
	{"/", "AdministratorAccess", "v1", "Full access to everything.", allow("*", "*")},
	{"/", "AmazonDynamoDBFullAccess", "v1", "Full access to DynamoDB.", allow("*", "dynamodb:*")},
	{"/", "AmazonDynamoDBReadOnlyAccess", "v1", "Read access to DynamoDB.", allow("*", "dynamodb:BatchGetItem", "dynamodb:Describe*", "dynamodb:GetItem", "dynamodb:List*", "dynamodb:Query", "dynamodb:Scan")},
	{"/", "AmazonS3FullAccess", "v2", "Full access to S3.", allow("*", "s3:*", "s3-object-lambda:*")},
	{"/", "AmazonS3ReadOnlyAccess", "v3", "Read access to S3.", allow("*", "s3:Get*", "s3:List*", "s3:Describe*", "s3-object-lambda:Get*", "s3-object-lambda:List*")},
	{"/", "AmazonSNSFullAccess", "v1", "Full access to SNS.", allow("*", "sns:*")},
	{"/", "AmazonSQSFullAccess", "v1", "Full access to SQS.", allow("*", "sqs:*")},
	{"/", "AmazonSSMReadOnlyAccess", "v1", "Read access to Systems Manager.", allow("*", "ssm:Describe*", "ssm:Get*", "ssm:List*")},
	{"/", "CloudWatchFullAccess", "v4", "Full access to CloudWatch.", allow("*", "cloudwatch:*", "logs:*", "sns:*")},
	{"/", "CloudWatchLambdaInsightsExecutionRolePolicy", "v1", "Write the log group of Lambda Insights.", allow("arn:aws:logs:*:*:log-group:/aws/lambda-insights:*", writeLogs)},
	{"/", "CloudWatchLogsFullAccess", "v2", "Full access to CloudWatch Logs.", allow("*", "logs:*", "cloudwatch:GenerateQuery")},
	{"/", "PowerUserAccess", "v5", "Full access to everything but the management of users.", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotAction":["iam:*","organizations:*","account:*"],"Resource":"*"}]}`},
	{"/", "ReadOnlyAccess", "v1", "Read access to everything.", allow("*", "*:Describe*", "*:Get*", "*:List*")},
	{"/", "SecretsManagerReadWrite", "v2", "Read and write secrets.", allow("*", "secretsmanager:*", "kms:DescribeKey", "kms:ListAliases", "kms:ListKeys")},
}
