const cdk = require('aws-cdk-lib');
const lambda = require('aws-cdk-lib/aws-lambda');
const s3 = require('aws-cdk-lib/aws-s3');
const s3assets = require('aws-cdk-lib/aws-s3-assets');
const cr = require('aws-cdk-lib/custom-resources');
const path = require('path');

class Greeter extends cdk.Stack {
  constructor(scope, id, props) {
    super(scope, id, props);
    const greeting = this.node.tryGetContext('greeting') || 'hello';
    const words = new lambda.LayerVersion(this, 'Words', {
      code: lambda.Code.fromAsset(path.join(__dirname, 'layer')),
      compatibleRuntimes: [lambda.Runtime.PYTHON_3_11],
      description: 'words to greet with',
    });
    const greeter = new lambda.Function(this, 'Greeter', {
      runtime: lambda.Runtime.PYTHON_3_11, handler: 'app.handler',
      code: lambda.Code.fromAsset(path.join(__dirname, 'function')),
      layers: [words], environment: { GREETING: greeting },
      timeout: cdk.Duration.seconds(20),
    });
    const live = new lambda.Alias(this, 'Live', { aliasName: 'live', version: greeter.currentVersion });

    const onEvent = new lambda.Function(this, 'OnEvent', {
      runtime: lambda.Runtime.PYTHON_3_11, handler: 'custom.on_event',
      code: lambda.Code.fromAsset(path.join(__dirname, 'custom')),
    });
    const provider = new cr.Provider(this, 'Provider', { onEventHandler: onEvent });
    const shout = new cdk.CustomResource(this, 'Shout', {
      resourceType: 'Custom::Shout', serviceToken: provider.serviceToken, properties: { Text: greeting },
    });
    const bucket = new s3.Bucket(this, 'Notes', { removalPolicy: cdk.RemovalPolicy.DESTROY, autoDeleteObjects: true });
    bucket.grantReadWrite(greeter);
    const asset = new s3assets.Asset(this, 'Readme', { path: path.join(__dirname, 'function', 'app.py') });

    new cdk.CfnOutput(this, 'FunctionName', { value: greeter.functionName });
    new cdk.CfnOutput(this, 'AliasArn', { value: live.functionArn });
    new cdk.CfnOutput(this, 'LayerArn', { value: words.layerVersionArn });
    new cdk.CfnOutput(this, 'Shouted', { value: shout.getAttString('Shouted') });
    new cdk.CfnOutput(this, 'Bucket', { value: bucket.bucketName });
    new cdk.CfnOutput(this, 'AssetKey', { value: asset.s3ObjectKey });
  }
}

const app = new cdk.App();
new Greeter(app, app.node.tryGetContext('stack') || 'Greeter', {
  env: { account: process.env.CDK_DEFAULT_ACCOUNT, region: process.env.CDK_DEFAULT_REGION },
});
