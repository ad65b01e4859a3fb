package clients

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lamina-run/lamina/internal/testkit"
)

// javascript walks through layers with version 3, looks on with version 2, and
// says what it saw.
const javascript = `
const need = require("node:module").createRequire(process.argv[2] + "/client.cjs");
const {
  LambdaClient, PublishLayerVersionCommand, ListLayerVersionsCommand, CreateFunctionCommand, InvokeCommand, InvokeWithResponseStreamCommand,
  GetLayerVersionCommand, GetLayerVersionByArnCommand, DeleteLayerVersionCommand, TagResourceCommand, ListTagsCommand, waitUntilFunctionActiveV2, ResourceNotFoundException,
} = need("@aws-sdk/client-lambda");
const { STSClient, GetCallerIdentityCommand, GetSessionTokenCommand } = need("@aws-sdk/client-sts");
const { SignatureV4 } = need("@smithy/signature-v4");
const { Sha256 } = need("@aws-crypto/sha256-js");
const fs = require("node:fs"), assert = require("node:assert");
const client = new LambdaClient({});
const text = (bytes) => Buffer.from(bytes).toString();

(async () => {
  const me = await new STSClient({}).send(new GetCallerIdentityCommand({}));
  const layer = await client.send(new PublishLayerVersionCommand({ LayerName: "greet", Content: { ZipFile: fs.readFileSync("layer.zip") }, CompatibleRuntimes: ["python3.11"] }));
  const again = await client.send(new PublishLayerVersionCommand({ LayerName: "greet", Description: "über $&+ \"x\"", Content: { ZipFile: fs.readFileSync("layer.zip") } }));
  const listed = await client.send(new ListLayerVersionsCommand({ LayerName: "greet" }));
  console.log("versions", listed.LayerVersions.map((v) => v.Version).join(), listed.LayerVersions[0].Description);
  const byArn = await client.send(new GetLayerVersionByArnCommand({ Arn: layer.LayerVersionArn }));
  assert.equal(byArn.Content.CodeSha256, again.Content.CodeSha256);
  const zip = Buffer.from(await (await fetch(byArn.Content.Location)).arrayBuffer());
  console.log("downloaded", zip.equals(fs.readFileSync("layer.zip")));

  const made = await client.send(new CreateFunctionCommand({
    FunctionName: "hello", Runtime: "python3.11", Handler: "app.handler", Role: "arn:aws:iam::" + me.Account + ":role/r", Layers: [layer.LayerVersionArn], Code: { ZipFile: fs.readFileSync("code.zip") },
  }));
  await waitUntilFunctionActiveV2({ client, maxWaitTime: 30, minDelay: 1, maxDelay: 1 }, { FunctionName: "hello" });
  const answer = await client.send(new InvokeCommand({ FunctionName: made.FunctionArn, Payload: JSON.stringify({ name: "Ada ä漢" }), LogType: "Tail" }));
  console.log("invoked", answer.StatusCode, text(answer.Payload), /REPORT RequestId/.test(Buffer.from(answer.LogResult, "base64")));
  const failed = await client.send(new InvokeCommand({ FunctionName: "hello", Payload: "{}" }));
  console.log("failed", failed.FunctionError, JSON.parse(text(failed.Payload)).errorType);
  const stream = await client.send(new InvokeWithResponseStreamCommand({ FunctionName: "hello", Payload: JSON.stringify({ name: "Bob" }) }));
  let streamed = "";
  for await (const event of stream.EventStream) if (event.PayloadChunk) streamed += text(event.PayloadChunk.Payload);
  console.log("streamed", streamed);

  await client.send(new TagResourceCommand({ Resource: made.FunctionArn, Tags: { "a b+c'": "d/é" } }));
  console.log("tags", JSON.stringify((await client.send(new ListTagsCommand({ Resource: made.FunctionArn }))).Tags));

  await client.send(new DeleteLayerVersionCommand({ LayerName: "greet", VersionNumber: 1 }));
  const gone = await client.send(new GetLayerVersionCommand({ LayerName: "greet", VersionNumber: 1 })).catch((e) => e);
  console.log("gone", gone instanceof ResourceNotFoundException, gone.name, gone.$metadata.httpStatusCode, gone.Type, gone.message);
  const wrong = await new LambdaClient({ credentials: { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: "wrong" } }).send(new ListLayerVersionsCommand({ LayerName: "greet" })).catch((e) => e);
  console.log("wrong", wrong.name, wrong.$metadata.httpStatusCode);

  // Temporary credentials, in headers and presigned; version 2 presigns itself.
  const { Credentials: c } = await new STSClient({}).send(new GetSessionTokenCommand({}));
  const credentials = { accessKeyId: c.AccessKeyId, secretAccessKey: c.SecretAccessKey, sessionToken: c.SessionToken };
  console.log("session", (await new LambdaClient({ credentials }).send(new ListLayerVersionsCommand({ LayerName: "greet" }))).LayerVersions.length);
  const at = new URL(process.env.AWS_ENDPOINT_URL);
  const signer = new SignatureV4({ credentials, region: process.env.AWS_REGION, service: "lambda", sha256: Sha256 });
  const presigned = async (expiresIn, signingDate) => {
    const r = await signer.presign({ method: "GET", protocol: "http:", hostname: at.hostname, port: Number(at.port), path: "/2018-10-31/layers/greet/versions/2", query: {}, headers: { host: at.host } }, { expiresIn, signingDate });
    return at.origin + r.path + "?" + new URLSearchParams(r.query);
  };
  const fresh = await presigned(60), old = await presigned(60, new Date(Date.now() - 120e3));
  console.log("presigned", (await (await fetch(fresh)).json()).Version, (await fetch(fresh.replace("versions/2", "versions/1"))).status, (await (await fetch(old)).json()).message.slice(0, 17));
  process.env.AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE = "1";
  const AWS = need("aws-sdk");
  const two = new AWS.Lambda({ endpoint: process.env.AWS_ENDPOINT_URL, region: process.env.AWS_REGION });
  console.log("version 2", (await two.listLayerVersions({ LayerName: "greet" }).promise()).LayerVersions.length, await two.getLayerVersion({ LayerName: "greet", VersionNumber: 1 }).promise().catch((e) => e.code + " " + e.statusCode));
  const url = await new Promise((yes, no) => new AWS.STS({ endpoint: process.env.AWS_ENDPOINT_URL, region: process.env.AWS_REGION, ...credentials }).getCallerIdentity({}).presign(60, (e, u) => (e ? no(e) : yes(u))));
  console.log("version 2 presigned", (await (await fetch(url)).text()).includes("<Account>" + me.Account));
})().catch((e) => { console.error(e); process.exit(1); });
`

// TestJavaScript runs the AWS SDKs for JavaScript against a server.
func TestJavaScript(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.JavaScript, testkit.Sandbox, testkit.Python)
	s := testkit.Start(t, testkit.Options{})
	dir := t.TempDir()
	for name, zip := range map[string][]byte{
		"layer.zip": testkit.Zip(t, testkit.File{Name: "python/greet.py", Body: "def greet(name):\n    return 'Hello, ' + name\n"}),
		"code.zip":  testkit.Zip(t, testkit.File{Name: "app.py", Body: "import greet\ndef handler(event, context):\n    return greet.greet(event['name'])\n"}),
		"walk.cjs":  []byte(javascript),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), zip, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const want = `versions 2,1 über $&+ "x"
downloaded true
invoked 200 "Hello, Ada \u00e4\u6f22" true
failed Unhandled KeyError
streamed "Hello, Bob"
tags {"a b+c'":"d/é"}
gone true ResourceNotFoundException 404 User The resource you requested does not exist.
wrong InvalidSignatureException 403
session 1
presigned 2 403 Signature expired
version 2 1 ResourceNotFoundException 404
version 2 presigned true
`
	if got := command(t, s, dir, "node", "walk.cjs", testkit.JavaScriptSDKs()); got != want {
		t.Errorf("the SDKs saw\n%s\nwant\n%s", got, want)
	}
}
