package resources

// behaviours are the types by name.
var behaviours = map[string]behaviour{
	"AWS::CDK::Metadata":                       {create: createRecorded, update: updateNothing, remove: deleteRecorded},
	customResource:                             {create: createCustom, update: updateCustom, remove: deleteCustom, check: checkCustom, differ: neverReplaces},
	"AWS::CloudFormation::Stack":               {create: createNested, update: updateNested, remove: deleteNested},
	"AWS::CloudFormation::WaitCondition":       {create: createWait, update: updateWait, remove: deleteRecorded, check: checkWait},
	"AWS::CloudFormation::WaitConditionHandle": {create: createHandle, update: updateNothing, remove: deleteHandle},
	"AWS::CodeDeploy::Application":             {create: createDeployment("ApplicationName"), update: updateNothing, remove: deleteRecorded},
	"AWS::CodeDeploy::DeploymentGroup":         {create: createDeployment("DeploymentGroupName"), update: updateDeploymentGroup, remove: deleteRecorded, check: checkDeploymentGroup},
	"AWS::ECR::Repository":                     {create: createRepository, update: updateRepository, remove: deleteRecorded},
	"AWS::IAM::AccessKey":                      {create: createAccessKey, update: updateAccessKey, remove: deleteAccessKey},
	"AWS::IAM::Group":                          {create: creating(groups), update: withPath(groups), remove: deleting(groups)},
	"AWS::IAM::GroupPolicy":                    ownPolicy(groups),
	"AWS::IAM::InstanceProfile":                {create: createInstanceProfile, update: updateInstanceProfile, remove: deleteInstanceProfile},
	"AWS::IAM::ManagedPolicy":                  {create: createManagedPolicy, update: updateManagedPolicy, remove: deleteManagedPolicy},
	"AWS::IAM::Policy":                         {create: createPolicy, update: updatePolicy, remove: deletePolicy, check: checkHolders},
	"AWS::IAM::Role":                           {create: createRole, update: updateRole, remove: deleting(roles)},
	"AWS::IAM::RolePolicy":                     ownPolicy(roles),
	"AWS::IAM::User":                           {create: creating(users), update: withPath(users), remove: deleting(users)},
	"AWS::IAM::UserPolicy":                     ownPolicy(users),
	"AWS::IAM::UserToGroupAddition":            {create: createMembership, update: updateMembership, remove: deleteMembership},
	"AWS::Lambda::Alias":                       {create: createAlias, update: updateAlias, remove: deleteAlias},
	"AWS::Lambda::CodeSigningConfig":           {create: createCodeSigningConfig, update: updateCodeSigningConfig, remove: deleteCodeSigningConfig},
	"AWS::Lambda::EventInvokeConfig":           {create: createEventInvokeConfig, update: updateEventInvokeConfig, remove: deleteEventInvokeConfig},
	"AWS::Lambda::EventSourceMapping":          {create: createEventSourceMapping, update: updateEventSourceMapping, remove: deleteEventSourceMapping},
	"AWS::Lambda::Function":                    {create: createFunction, update: updateFunction, remove: deleteFunction, check: checkFunction},
	"AWS::Lambda::LayerVersion":                {create: createLayerVersion, update: updateNothing, remove: deleteLayerVersion},
	"AWS::Lambda::LayerVersionPermission":      {create: createLayerVersionPermission, update: updateNothing, remove: deleteLayerVersionPermission},
	"AWS::Lambda::Permission":                  {create: createPermission, update: updateNothing, remove: deletePermission},
	"AWS::Lambda::Url":                         {create: createURL, update: updateURL, remove: deleteURL},
	"AWS::Lambda::Version":                     {create: createVersion, update: updateNothing, remove: deleteVersion},
	"AWS::Logs::LogGroup":                      {create: createLogGroup, update: updateLogGroup, remove: deleteLogGroup},
	"AWS::S3::Bucket":                          {create: createBucket, update: updateBucket, remove: deleteBucket, check: checkBucket},
	"AWS::S3::BucketPolicy":                    {create: createBucketPolicy, update: putBucketPolicy, remove: deleteBucketPolicy},
	"AWS::SSM::Parameter":                      {create: createParameter, update: updateParameter, remove: deleteParameter},
}

// neverReplaces is for properties that decide nothing by themselves.
func neverReplaces(d *Difference, _, _ map[string]any) { d.Recreation = Conditionally }
