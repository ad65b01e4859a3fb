package resources

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	trust    = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	allow    = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`
	allowPut = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}]}`
	readOnly = `"arn:aws:iam::aws:policy/ReadOnlyAccess"`
	roleARN  = `arn:aws:iam::123456789012:role/r`
	fnARN    = `arn:aws:lambda:eu-central-1:123456789012:function:f`
	queueARN = `arn:aws:sqs:eu-central-1:123456789012:q`
)

// life is what a type of resource goes through.
type life struct {
	typ     string
	first   string            // properties
	second  string            // of an update in place, laid over first; empty is none
	again   string            // of an update that makes a new resource; empty is none
	named   string            // the property that names the resource, and a name; empty is none
	id      string            // physical ID
	gets    map[string]string // attributes
	look    func(w *world, id string) string
	created []string // in what look says; a leading ! is not
	updated []string
	free    bool // nothing of it is in the inventory
}

func function(path string) func(*world, string) string {
	return func(w *world, id string) string { return w.lambda(strings.ReplaceAll(path, "{}", id)) }
}

func inIAM(query string) func(*world, string) string {
	return func(w *world, id string) string {
		var all strings.Builder
		for _, q := range strings.Split(query, "|") {
			all.WriteString(w.iam(strings.ReplaceAll(q, "{}", id)))
		}
		return all.String()
	}
}

func inBucket(w *world, id string) string {
	w.buckets.mu.Lock()
	defer w.buckets.mu.Unlock()
	return fmt.Sprint(w.buckets.all[id])
}

// policyOf is what a policy of a role says; IAM writes it as in a URL.
var lives = []life{
	{
		typ:    "AWS::Lambda::Function",
		first:  `{"Role":"` + roleARN + `","Runtime":"python3.12","Handler":"index.handler","Code":{"ZipFile":"import cfnresponse\ndef handler(e,c): pass"},"MemorySize":"256","Environment":{"Variables":{"NUM":5,"BOOL":true}},"Tags":[{"Key":"a","Value":"1"}],"ReservedConcurrentExecutions":3,"RuntimeManagementConfig":{"UpdateRuntimeOn":"FunctionUpdate"},"RecursiveLoop":"Allow","LoggingConfig":{"LogFormat":"JSON"},"Layers":[],"SnapStart":{"ApplyOn":"PublishedVersions"}}`,
		second: `{"Code":{"S3Bucket":"bkt","S3Key":"k"},"MemorySize":512,"Timeout":"9","Environment":null,"Tags":[{"Key":"b","Value":"2"}],"ReservedConcurrentExecutions":null,"RuntimeManagementConfig":null,"RecursiveLoop":null,"LoggingConfig":null,"Description":"d"}`,
		again:  `{"FunctionName":"other"}`, named: `{"FunctionName":"named"}`,
		id: "test-Thing-ABCDEFGHIJKL", gets: map[string]string{"Arn": "arn:aws:lambda:eu-central-1:123456789012:function:test-Thing-ABCDEFGHIJKL", "SnapStartResponse.ApplyOn": "PublishedVersions"},
		look: function("/2015-03-31/functions/{}"),
		created: []string{
			`"MemorySize":256`, `"Variables":{"BOOL":"true","NUM":"5"}`, `"aws:cloudformation:stack-id":"` + testStack + `"`, `"aws:cloudformation:logical-id":"Thing"`,
			`"owner":"stack"`, `"a":"1"`, `"ReservedConcurrentExecutions":3`, `"LogFormat":"JSON"`,
		},
		updated: []string{`"MemorySize":512`, `"Timeout":9`, `!NUM`, `"b":"2"`, `!"a":"1"`, `"owner":"stack"`, `!ReservedConcurrent`, `"LogFormat":"Text"`, `"Description":"d"`},
	},
	{
		typ: "AWS::Lambda::Version", first: `{"FunctionName":"f","Description":"v","ProvisionedConcurrencyConfig":{"ProvisionedConcurrentExecutions":1},"RuntimePolicy":{"UpdateRuntimeOn":"Auto"}}`,
		again: `{"Description":"w"}`,
		id:    fnARN + ":1", gets: map[string]string{"Version": "1", "FunctionArn": fnARN + ":1"},
		look: function("/2015-03-31/functions/{}/configuration"), created: []string{`"Version":"1"`, `"Description":"v"`},
	},
	{
		typ:    "AWS::Lambda::Alias",
		first:  `{"FunctionName":"` + fnARN + `","Name":"live","FunctionVersion":"1","Description":"d","RoutingConfig":{"AdditionalVersionWeights":[{"FunctionVersion":"2","FunctionWeight":0.25}]}}`,
		second: `{"FunctionVersion":"2","Description":null,"RoutingConfig":null,"ProvisionedConcurrencyConfig":{"ProvisionedConcurrentExecutions":1}}`,
		again:  `{"Name":"other"}`, named: `{"Name":"named"}`,
		id: fnARN + ":live", look: func(w *world, id string) string {
			_, name := cutLast(id)
			return w.lambda("/2015-03-31/functions/f/aliases/" + name)
		},
		created: []string{`"FunctionVersion":"1"`, `{"2":0.25}`}, updated: []string{`"FunctionVersion":"2"`, `!0.25`, `"Description":""`},
	},
	{
		typ: "AWS::Lambda::Permission", first: `{"FunctionName":"f","Action":"lambda:InvokeFunction","Principal":"s3.amazonaws.com","SourceAccount":123456789012}`,
		again: `{"Action":"lambda:*"}`,
		id:    "test-Thing-ABCDEFGHIJKL", gets: map[string]string{"Id": "test-Thing-ABCDEFGHIJKL"},
		look: function("/2015-03-31/functions/f/policy"), created: []string{`test-Thing-ABCDEFGHIJKL`, `123456789012`},
	},
	{
		typ: "AWS::Lambda::Url", first: `{"TargetFunctionArn":"` + fnARN + `","AuthType":"NONE","Cors":{"AllowOrigins":["*"],"MaxAge":"5"}}`,
		second: `{"AuthType":"AWS_IAM","Cors":null,"InvokeMode":"RESPONSE_STREAM"}`, again: `{"Qualifier":"live"}`,
		id: fnARN, gets: map[string]string{"FunctionArn": fnARN}, look: function("/2021-10-31/functions/f/url"),
		created: []string{`"AuthType":"NONE"`, `"MaxAge":5`}, updated: []string{`"AuthType":"AWS_IAM"`, `!MaxAge`, `RESPONSE_STREAM`},
	},
	{
		typ: "AWS::Lambda::EventInvokeConfig", first: `{"FunctionName":"f","Qualifier":"$LATEST","MaximumRetryAttempts":"1"}`,
		second: `{"MaximumRetryAttempts":0,"MaximumEventAgeInSeconds":60}`, again: `{"Qualifier":"1"}`,
		id: "f|$LATEST", look: function("/2019-09-25/functions/f/event-invoke-config"), created: []string{`"MaximumRetryAttempts":1`}, updated: []string{`"MaximumRetryAttempts":0`, `60`},
	},
	{
		typ: "AWS::Lambda::EventSourceMapping", first: `{"FunctionName":"f","EventSourceArn":"` + queueARN + `","BatchSize":"5","Enabled":"false","Tags":[{"Key":"a","Value":"1"}]}`,
		second: `{"BatchSize":7,"Tags":null,"FilterCriteria":{"Filters":[{"Pattern":"{\"a\":[1]}"}]}}`, again: `{"EventSourceArn":"` + queueARN + `2"}`,
		look: function("/2015-03-31/event-source-mappings/{}"), created: []string{`"BatchSize":5`}, updated: []string{`"BatchSize":7`, `Pattern`},
	},
	{
		typ: "AWS::Lambda::CodeSigningConfig", first: `{"AllowedPublishers":{"SigningProfileVersionArns":["arn:aws:signer:eu-central-1:123456789012:/signing-profiles/p/abcdefghij"]},"Description":"d","Tags":[{"Key":"a","Value":"1"}]}`,
		second: `{"Description":"e","CodeSigningPolicies":{"UntrustedArtifactOnDeployment":"Enforce"}}`,
		look:   function("/2020-04-22/code-signing-configs/{}"), created: []string{`"Description":"d"`, `Warn`}, updated: []string{`"Description":"e"`, `Enforce`},
	},
	{
		typ: "AWS::Lambda::LayerVersion", first: `{"Content":{"S3Bucket":"bkt","S3Key":"k"},"CompatibleRuntimes":["python3.12"],"Description":"d","LicenseInfo":"MIT"}`,
		again: `{"Description":"e"}`, id: "arn:aws:lambda:eu-central-1:123456789012:layer:Thing:1",
		gets: map[string]string{"LayerVersionArn": "arn:aws:lambda:eu-central-1:123456789012:layer:Thing:1"},
		look: function("/2018-10-31/layers?find=LayerVersion&Arn={}"), created: []string{`"Description":"d"`, `python3.12`},
	},
	{
		typ: "AWS::Lambda::LayerVersionPermission", first: `{"LayerVersionArn":"arn:aws:lambda:eu-central-1:123456789012:layer:l:1","Action":"lambda:GetLayerVersion","Principal":"*"}`,
		again: `{"Principal":"123456789012"}`, id: "arn:aws:lambda:eu-central-1:123456789012:layer:l:1#test-Thing-ABCDEFGHIJKL",
		look: function("/2018-10-31/layers/l/versions/1/policy"), created: []string{"test-Thing-ABCDEFGHIJKL"},
	},
	{
		typ:    "AWS::IAM::Role",
		first:  `{"AssumeRolePolicyDocument":` + trust + `,"ManagedPolicyArns":[` + readOnly + `],"Policies":[{"PolicyName":"p","PolicyDocument":` + allow + `},{"PolicyName":"q","PolicyDocument":` + allow + `}],"Description":"d","MaxSessionDuration":"7200","Tags":[{"Key":"a","Value":"1"}],"PermissionsBoundary":` + readOnly + `}`,
		second: `{"ManagedPolicyArns":["arn:aws:iam::aws:policy/AdministratorAccess"],"Policies":[{"PolicyName":"p","PolicyDocument":` + allowPut + `}],"Description":null,"MaxSessionDuration":null,"Tags":[{"Key":"b","Value":"2"}],"PermissionsBoundary":null,"AssumeRolePolicyDocument":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"events.amazonaws.com"},"Action":"sts:AssumeRole"}]}}`,
		again:  `{"Path":"/x/"}`, named: `{"RoleName":"named"}`,
		id: "test-Thing-ABCDEFGHIJKL", gets: map[string]string{"Arn": "arn:aws:iam::123456789012:role/test-Thing-ABCDEFGHIJKL"},
		look: inIAM("Action=GetRole&RoleName={}|Action=ListRolePolicies&RoleName={}|Action=GetRolePolicy&PolicyName=p&RoleName={}|Action=ListAttachedRolePolicies&RoleName={}"),
		created: []string{
			"<MaxSessionDuration>7200<", "<Description>d<", "lambda.amazonaws.com", "<member>q</member>", "s3%3AGetObject", "ReadOnlyAccess", "<PermissionsBoundaryArn>",
			"<Key>owner</Key>", "<Key>a</Key>", "!aws:cloudformation",
		},
		updated: []string{
			"<MaxSessionDuration>3600<", "!<Description>d<", "events.amazonaws.com", "!<member>q</member>", "s3%3APutObject", "AdministratorAccess", "!ReadOnlyAccess",
			"!<PermissionsBoundaryArn>", "<Key>owner</Key>", "<Key>b</Key>", "!<Key>a</Key>",
		},
	},
	{
		typ: "AWS::IAM::Policy", first: `{"PolicyName":"n","PolicyDocument":` + allow + `,"Roles":["r"],"Users":["u"]}`,
		second: `{"PolicyName":"m","PolicyDocument":` + allowPut + `,"Users":null,"Groups":["g"]}`, id: "test-Thin-ABCDEFGHIJKL",
		look:    inIAM("Action=ListRolePolicies&RoleName=r|Action=ListUserPolicies&UserName=u|Action=ListGroupPolicies&GroupName=g|Action=GetRolePolicy&PolicyName=m&RoleName=r"),
		created: []string{"<member>n</member>", "!<member>m</member>"}, updated: []string{"!<member>n</member>", "<member>m</member>", "s3%3APutObject"},
	},
	{
		typ: "AWS::IAM::ManagedPolicy", first: `{"PolicyDocument":` + allow + `,"Roles":["r"],"Description":"d"}`, second: `{"PolicyDocument":` + allowPut + `,"Roles":[],"Users":["u"]}`,
		again: `{"Path":"/x/"}`, named: `{"ManagedPolicyName":"named"}`, id: "arn:aws:iam::123456789012:policy/test-Thing-ABCDEFGHIJKL", gets: map[string]string{"DefaultVersionId": "v1"},
		look:    inIAM("Action=GetPolicy&PolicyArn={}|Action=ListAttachedRolePolicies&RoleName=r|Action=ListAttachedUserPolicies&UserName=u"),
		created: []string{"<DefaultVersionId>v1<", "<AttachmentCount>1<"}, updated: []string{"<DefaultVersionId>v2<", "<AttachmentCount>1<"},
	},
	{
		typ: "AWS::IAM::User", first: `{"Groups":["g"],"ManagedPolicyArns":[` + readOnly + `],"Path":"/a/","Policies":[{"PolicyName":"p","PolicyDocument":` + allow + `}],"Tags":[{"Key":"a","Value":"1"}]}`,
		second: `{"Groups":[],"Path":"/b/","Policies":null,"ManagedPolicyArns":null}`, again: `{"UserName":"other"}`, named: `{"UserName":"named"}`, id: "test-Thing-ABCDEFGHIJKL",
		look:    inIAM("Action=GetUser&UserName={}|Action=ListGroupsForUser&UserName={}|Action=ListUserPolicies&UserName={}"),
		created: []string{"<Path>/a/<", "<GroupName>g<", "<member>p</member>"}, updated: []string{"<Path>/b/<", "!<GroupName>g<", "!<member>p</member>"},
	},
	{
		typ: "AWS::IAM::AccessKey", first: `{"UserName":"u","Status":"Inactive"}`, second: `{"Status":"Active"}`, again: `{"Serial":2}`,
		look: inIAM("Action=ListAccessKeys&UserName=u"), created: []string{"<Status>Inactive<"}, updated: []string{"<Status>Active<"},
	},
	{
		typ: "AWS::IAM::Group", first: `{"Policies":[{"PolicyName":"p","PolicyDocument":` + allow + `}]}`, second: `{"Path":"/b/","Policies":[]}`, again: `{"GroupName":"other"}`, named: `{"GroupName":"named"}`,
		id: "test-Thing-ABCDEFGHIJKL", look: inIAM("Action=GetGroup&GroupName={}|Action=ListGroupPolicies&GroupName={}"), created: []string{"<member>p</member>"}, updated: []string{"<Path>/b/<", "!<member>p</member>"},
	},
	{
		typ: "AWS::IAM::InstanceProfile", first: `{"Roles":["r"]}`, second: `{"Roles":["r2"]}`, again: `{"Path":"/x/"}`, named: `{"InstanceProfileName":"named"}`, id: "test-Thing-ABCDEFGHIJKL",
		look: inIAM("Action=GetInstanceProfile&InstanceProfileName={}"), created: []string{"<RoleName>r<"}, updated: []string{"<RoleName>r2<", "!<RoleName>r<"},
	},
	{
		typ: "AWS::IAM::RolePolicy", first: `{"RoleName":"r","PolicyName":"own","PolicyDocument":` + allow + `}`, second: `{"PolicyDocument":` + allowPut + `}`, again: `{"RoleName":"r2"}`,
		id: "own|r", look: inIAM("Action=GetRolePolicy&RoleName=r&PolicyName=own"), created: []string{"GetObject"}, updated: []string{"PutObject"},
	},
	{
		typ: "AWS::IAM::UserPolicy", first: `{"UserName":"u","PolicyName":"own","PolicyDocument":` + allow + `}`, second: `{"PolicyDocument":` + allowPut + `}`, again: `{"PolicyName":"x"}`,
		id: "own|u", look: inIAM("Action=GetUserPolicy&UserName=u&PolicyName=own"), created: []string{"GetObject"}, updated: []string{"PutObject"},
	},
	{
		typ: "AWS::IAM::GroupPolicy", first: `{"GroupName":"g","PolicyName":"own","PolicyDocument":` + allow + `}`, second: `{"PolicyDocument":` + allowPut + `}`, again: `{"PolicyName":"x"}`,
		id: "own|g", look: inIAM("Action=GetGroupPolicy&GroupName=g&PolicyName=own"), created: []string{"GetObject"}, updated: []string{"PutObject"},
	},
	{
		typ: "AWS::IAM::UserToGroupAddition", first: `{"GroupName":"g","Users":["u"]}`, second: `{"Users":["u2"]}`, id: "test-Thing-ABCDEFGHIJKL",
		look: inIAM("Action=GetGroup&GroupName=g"), created: []string{"<UserName>u<"}, updated: []string{"<UserName>u2<", "!<UserName>u<"},
	},
	{
		typ: "AWS::Logs::LogGroup", first: `{"RetentionInDays":"7","Tags":[{"Key":"a","Value":"1"}]}`, second: `{"RetentionInDays":null,"Tags":[{"Key":"b","Value":"2"}]}`,
		again: `{"LogGroupName":"other"}`, named: `{"LogGroupName":"named"}`, id: "test-Thing-ABCDEFGHIJKL", gets: map[string]string{"Arn": "arn:aws:logs:eu-central-1:123456789012:log-group:test-Thing-ABCDEFGHIJKL:*"},
		look: func(w *world, id string) string {
			return w.target("logs", "Logs_20140328.DescribeLogGroups", "{}") + w.target("logs", "Logs_20140328.ListTagsLogGroup", `{"logGroupName":"`+id+`"}`)
		},
		created: []string{`"retentionInDays":7`, `"a":"1"`, `"owner":"stack"`, `"aws:cloudformation:stack-name":"test"`}, updated: []string{`!retentionInDays`, `"b":"2"`, `!"a":"1"`},
	},
	{
		typ: "AWS::SSM::Parameter", first: `{"Type":"String","Value":5,"Description":"d","Tags":{"a":1}}`, second: `{"Value":"6","Description":null,"Tags":null}`,
		again: `{"Name":"other"}`, named: `{"Name":"/named"}`, id: "CFN-Thing-ABCDEFGHIJKL", gets: map[string]string{"Type": "String", "Value": "5"},
		look: func(w *world, id string) string {
			return w.target("ssm", "AmazonSSM.GetParameterHistory", `{"Name":"`+id+`"}`) + w.target("ssm", "AmazonSSM.ListTagsForResource", `{"ResourceType":"Parameter","ResourceId":"`+id+`"}`)
		},
		created: []string{`"Value":"5"`, `"Description":"d"`, `"Key":"a"`, `"Key":"owner"`}, updated: []string{`"Value":"6"`, `"Version":2`, `!"Key":"a"`, `"Key":"owner"`},
	},
	{
		typ:    "AWS::S3::Bucket",
		first:  `{"AccessControl":"Private","VersioningConfiguration":{"Status":"Enabled"},"BucketEncryption":{"ServerSideEncryptionConfiguration":[{"ServerSideEncryptionByDefault":{"SSEAlgorithm":"aws:kms"}}]},"PublicAccessBlockConfiguration":{"BlockPublicAcls":"true","RestrictPublicBuckets":true},"LifecycleConfiguration":{"Rules":[{"Id":"CleanupOldVersions","Status":"Enabled","NoncurrentVersionExpiration":{"NoncurrentDays":30}},{"Id":"a","Status":"Enabled","Prefix":"p/","TagFilters":[{"Key":"k","Value":"v&"}],"AbortIncompleteMultipartUpload":{"DaysAfterInitiation":1}}]},"CorsConfiguration":{"CorsRules":[{"AllowedMethods":["GET"],"AllowedOrigins":["*"],"MaxAge":3}]},"OwnershipControls":{"Rules":[{"ObjectOwnership":"BucketOwnerEnforced"}]},"NotificationConfiguration":{"LambdaConfigurations":[{"Event":"s3:ObjectCreated:*","Function":"` + fnARN + `","Filter":{"S3Key":{"Rules":[{"Name":"prefix","Value":"in/"}]}}}]},"Tags":[{"Key":"a","Value":"1"}]}`,
		second: `{"VersioningConfiguration":null,"BucketEncryption":null,"LifecycleConfiguration":null,"NotificationConfiguration":null,"CorsConfiguration":{"CorsRules":[{"AllowedMethods":["PUT"],"AllowedOrigins":["*"]}]},"Tags":null}`,
		again:  `{"BucketName":"other"}`, named: `{"BucketName":"named"}`, id: "test-thing-abcdefghijkl",
		gets: map[string]string{"Arn": "arn:aws:s3:::test-thing-abcdefghijkl", "RegionalDomainName": "test-thing-abcdefghijkl.s3.eu-central-1.amazonaws.com"}, look: inBucket,
		created: []string{
			"<LocationConstraint>eu-central-1<", "<Status>Enabled<", "<ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm></ApplyServerSideEncryptionByDefault>",
			"<BlockPublicAcls>true</BlockPublicAcls><RestrictPublicBuckets>true<", "<NoncurrentVersionExpiration><NoncurrentDays>30<", "<Filter><And><Prefix>p/</Prefix><Tag><Key>k</Key><Value>v&amp;</Value></Tag></And></Filter>",
			"<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin><MaxAgeSeconds>3</MaxAgeSeconds></CORSRule>", "BucketOwnerEnforced",
			"<CloudFunction>" + fnARN + "</CloudFunction><Event>s3:ObjectCreated:*</Event><Filter><S3Key><FilterRule><Name>prefix</Name><Value>in/</Value></FilterRule></S3Key></Filter>",
			"<Key>a</Key><Value>1</Value>", "<Key>aws:cloudformation:logical-id</Key><Value>Thing</Value>",
		},
		updated: []string{"<Status>Suspended<", "!aws:kms", "!NoncurrentDays", "!CloudFunction", "<AllowedMethod>PUT<", "!<Key>a</Key>", "<Key>owner</Key>"},
	},
	{
		typ: "AWS::S3::BucketPolicy", first: `{"Bucket":"bkt","PolicyDocument":` + allow + `}`, second: `{"PolicyDocument":` + allowPut + `}`, again: `{"Bucket":"bkt2"}`, id: "bkt",
		look: inBucket, created: []string{"GetObject"}, updated: []string{"PutObject", "!GetObject"},
	},
	{
		typ: "AWS::ECR::Repository", first: `{"RepositoryName":"n","ImageTagMutability":"IMMUTABLE","RepositoryPolicyText":` + allow + `}`, second: `{"ImageTagMutability":"MUTABLE"}`, again: `{"RepositoryName":"m"}`,
		id: "n", gets: map[string]string{"Arn": "arn:aws:ecr:eu-central-1:123456789012:repository/n", "RepositoryUri": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/n"}, free: true,
	},
	{typ: "AWS::CodeDeploy::Application", first: `{"ComputePlatform":"Lambda"}`, second: `{"Tags":[{"Key":"k","Value":"v"}]}`, again: `{"ApplicationName":"m"}`, id: "test-Thing-ABCDEFGHIJKL", free: true},
	{
		typ: "AWS::CodeDeploy::DeploymentGroup", first: `{"ApplicationName":"a","DeploymentGroupName":"n","ServiceRoleArn":"` + roleARN + `","DeploymentConfigName":"CodeDeployDefault.LambdaAllAtOnce"}`,
		second: `{"AutoRollbackConfiguration":{"Enabled":true,"Events":["DEPLOYMENT_FAILURE"]}}`, again: `{"ApplicationName":"b"}`, id: "n", free: true,
	},
	{typ: "AWS::CDK::Metadata", first: `{"Analytics":"v2:deflate64:x"}`, second: `{"Analytics":"y"}`, id: "test-Thing-ABCDEFGHIJKL", free: true},
}

// furnish makes what the lives are about.
func furnish(w *world) {
	w.t.Helper()
	w.made("R", "AWS::IAM::Role", props(`{"RoleName":"r","AssumeRolePolicyDocument":`+trust+`}`))
	w.made("R2", "AWS::IAM::Role", props(`{"RoleName":"r2","AssumeRolePolicyDocument":`+trust+`}`))
	w.made("G", "AWS::IAM::Group", props(`{"GroupName":"g"}`))
	w.made("U", "AWS::IAM::User", props(`{"UserName":"u"}`))
	w.made("U2", "AWS::IAM::User", props(`{"UserName":"u2"}`))
	w.made("L", "AWS::Lambda::LayerVersion", props(`{"LayerName":"l","Content":{"S3Bucket":"bkt","S3Key":"k"}}`))
	w.made("F", "AWS::Lambda::Function", props(`{"FunctionName":"f","Role":"`+roleARN+`","Runtime":"python3.12","Handler":"index.handler","Code":{"ZipFile":"def handler(e,c): pass"}}`))
	w.made("B", "AWS::S3::Bucket", props(`{"BucketName":"bkt"}`))
	w.made("B2", "AWS::S3::Bucket", props(`{"BucketName":"bkt2"}`))
}

// versionsOf publishes two versions of f.
func versionsOf(w *world) {
	w.made("V1", "AWS::Lambda::Version", props(`{"FunctionName":"f"}`))
	w.t.Helper()
	f := w.resource("F", "AWS::Lambda::Function", props(`{"FunctionName":"f","Role":"`+roleARN+`","Runtime":"python3.12","Handler":"index.handler","Code":{"ZipFile":"def handler(e,c): pass"}}`))
	f.PhysicalID = "f"
	if err := f.update(with(f.Properties, `{"Description":"another"}`)); err != nil {
		w.t.Fatal(err)
	}
	w.made("V2", "AWS::Lambda::Version", props(`{"FunctionName":"f"}`))
}

// worlds has one for most lives: making one takes longer than a life.
type worlds struct{ shared *world }

func (all *worlds) of(t *testing.T, l life) *world {
	t.Helper()
	if l.typ == "AWS::Lambda::Alias" || l.typ == "AWS::Lambda::Version" {
		w := newWorld(t, parts{})
		furnish(w)
		if l.typ == "AWS::Lambda::Alias" {
			versionsOf(w)
		}
		return w
	}
	w := all.shared
	before := w.t
	w.t = t
	t.Cleanup(func() { w.t = before })
	return w
}

func says(t *testing.T, when, got string, want []string) {
	t.Helper()
	for _, text := range want {
		text, absent := strings.CutPrefix(text, "!")
		if strings.Contains(got, text) == absent {
			t.Errorf("%s: %q (unless %v) is not in\n%s", when, text, absent, got)
		}
	}
}

func TestLives(t *testing.T) {
	t.Parallel()
	var worlds worlds
	worlds.shared = newWorld(t, parts{})
	furnish(worlds.shared)
	var covered []string
	for _, l := range lives {
		covered = append(covered, l.typ)
		t.Run(l.typ, func(t *testing.T) {
			w := worlds.of(t, l)
			before := w.inventory()
			r := w.resource("Thing", l.typ, props(l.first))
			first := r.Properties
			if err := r.create(); err != nil {
				t.Fatal("create:", err)
			}
			if l.id != "" && r.PhysicalID != l.id {
				t.Errorf("the physical ID is %s; want %s", r.PhysicalID, l.id)
			}
			for name, want := range l.gets {
				if !r.typ.HasAttribute(name) || r.Attributes[name] != want {
					t.Errorf("attribute %s is %v; want %s", name, r.Attributes[name], want)
				}
			}
			for name := range r.Attributes {
				if !r.typ.HasAttribute(name) {
					t.Errorf("Fn::GetAtt does not know %s, which there is", name)
				}
			}
			if l.look != nil {
				says(t, "created", l.look(w, r.PhysicalID), l.created)
			}
			if !l.free && len(w.inventory()) <= len(before) {
				t.Error("the inventory does not show what was created: it would not show what is left over")
			}
			if l.again != "" {
				d := r.typ.Compare(first, with(first, l.again))
				if len(d) != 1 || d[0].Recreation != Always {
					t.Errorf("Compare with %s = %v; want one that is Always", l.again, d)
				}
			}
			if l.second != "" {
				second := with(first, l.second)
				for _, d := range r.typ.Compare(first, second) {
					if d.Recreation == Always {
						t.Errorf("%v; want Never", d)
					}
				}
				shape := w.inventory()
				if err := r.update(second); err != nil {
					t.Fatal("update:", err)
				}
				if l.look != nil {
					says(t, "updated", l.look(w, r.PhysicalID), l.updated)
				}
				if err := r.update(first); err != nil {
					t.Fatal("take the update back:", err)
				}
				if l.look != nil {
					says(t, "taken back", l.look(w, r.PhysicalID), slices.DeleteFunc(slices.Clone(l.created), func(s string) bool { return strings.Contains(s, "VersionId>v1") }))
				}
				if d := cmp.Diff(shape, w.inventory()); d != "" {
					t.Errorf("what there is when the update was taken back (-want +got)\n%s", d)
				}
			}
			if err := r.delete(); err != nil {
				t.Fatal("delete:", err)
			}
			if d := cmp.Diff(before, w.inventory()); d != "" {
				t.Errorf("what there is when it was deleted (-want +got)\n%s", d)
			}
			if err := r.delete(); err != nil {
				t.Error("delete what is gone:", err)
			}
			if l.named == "" {
				return
			}
			// What is there already is nobody's but its owner's.
			p := with(first, l.named)
			owner := w.resource("Owner", l.typ, p)
			if err := owner.create(); err != nil {
				t.Fatal("create with a name:", err)
			}
			have := w.inventory()
			thief := w.resource("Thief", l.typ, p)
			thief.Stack.ID += "2"
			err := thief.create()
			if err == nil || !strings.Contains(err.Error(), "already exists") || !strings.Contains(err.Error(), "HandlerErrorCode: AlreadyExists") || thief.PhysicalID != "" {
				t.Errorf("create what exists: %v, %q; want that it already exists", err, thief.PhysicalID)
			}
			thief.Again = true
			if err := thief.create(); err == nil || thief.PhysicalID != "" {
				t.Errorf("create what exists again: %v, %q; want that it already exists", err, thief.PhysicalID)
			}
			thief.Again, thief.Note, thief.Adopt = false, "", true
			if err := thief.create(); err != nil || thief.PhysicalID != owner.PhysicalID {
				t.Errorf("adopt what exists: %v, %q; want %q", err, thief.PhysicalID, owner.PhysicalID)
			}
			if d := cmp.Diff(have, w.inventory()); d != "" {
				t.Errorf("what there is after a create that failed (-want +got)\n%s", d)
			}
			if err := owner.delete(); err != nil {
				t.Error("delete what has a name:", err)
			}
		})
	}
	w := worlds.shared
	elsewhere := []string{customResource, "AWS::CloudFormation::Stack", "AWS::CloudFormation::WaitCondition", "AWS::CloudFormation::WaitConditionHandle"}
	for _, name := range w.set.Names() {
		if !slices.Contains(covered, name) && !slices.Contains(elsewhere, name) {
			t.Errorf("no life of %s", name)
		}
	}
}

// TestKilled ends the server with every request of a create, an update and a
// delete, before it is done and after, and does the step again.
func TestKilled(t *testing.T) {
	t.Parallel()
	var worlds worlds
	worlds.shared = newWorld(t, parts{})
	furnish(worlds.shared)
	for _, l := range lives {
		if l.free {
			continue
		}
		t.Run(l.typ, func(t *testing.T) {
			w := worlds.of(t, l)
			first := props(l.first)
			if l.named != "" {
				first = with(first, l.named)
			}
			before := w.inventory()
			r := w.resource("Thing", l.typ, first)
			if err := r.create(); err != nil {
				t.Fatal(err)
			}
			want := len(w.inventory())
			if err := r.delete(); err != nil {
				t.Fatal(err)
			}
			// interrupted runs a step that is killed with its n-th request, and again. It
			// reports whether the step has so many requests.
			interrupted := func(step func() error, n int, before bool) bool {
				w.mu.Lock()
				w.requests, w.killAt, w.killBefore = 0, n, before
				w.mu.Unlock()
				err := step()
				w.mu.Lock()
				killed := w.requests >= n
				w.killAt = 0
				w.mu.Unlock()
				if !killed {
					if err != nil {
						t.Fatalf("%s: %v", l.typ, err)
					}
					return false
				}
				r.Again = true
				if err := step(); err != nil {
					t.Fatalf("again after request %d (before it: %v): %v", n, before, err)
				}
				r.Again = false
				return true
			}
			for _, early := range []bool{true, false} {
				for n := 1; ; n++ {
					r.begin()
					r.Properties, r.Old, r.PhysicalID = first, nil, ""
					create := interrupted(r.create, n, early)
					if got := len(w.inventory()); got != want {
						t.Fatalf("killed with request %d of create (before it: %v) there are %d things; want %d:\n%s", n, early, got, want, strings.Join(w.inventory(), "\n"))
					}
					update, remove := false, false
					if !early { // only a create keeps notes between its requests
						r.begin()
						if err := r.delete(); err != nil {
							t.Fatal(err)
						}
						if !create {
							break
						}
						continue
					}
					if l.second != "" {
						r.begin()
						r.Old, r.Properties = first, with(first, l.second)
						update = interrupted(func() error {
							_, err := r.typ.Update(w.context(), r.step())
							return err
						}, n, early)
						if l.look != nil && update {
							says(t, fmt.Sprintf("updated again after request %d", n), l.look(w, r.PhysicalID), slices.DeleteFunc(slices.Clone(l.updated), func(s string) bool { return strings.Contains(s, "VersionId>v2") || strings.Contains(s, `"Version":2`) }))
						}
					}
					r.begin()
					remove = interrupted(func() error { return r.typ.Delete(w.context(), r.step()) }, n, early)
					if d := cmp.Diff(before, w.inventory()); d != "" {
						t.Fatalf("killed with request %d of delete, there is (-want +got)\n%s", n, d)
					}
					if !create && !update && !remove {
						break
					}
				}
			}
		})
	}
}
