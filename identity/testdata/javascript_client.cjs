"use strict";
// Signs with the real AWS SDKs for JavaScript, for TestJavaScript.
//
// Its argument is a folder whose node_modules has them. It reads cases from standard input, one JSON object a line, and
// answers each with one. {"sign": "header" or "query"} asks for a request signed by @smithy/signature-v4, {"call": ...,
// "sdk": 3 or 2} makes a client of that version call an operation on an endpoint.

const require3 = require("node:module").createRequire(process.argv[2] + "/client.cjs");
const { SignatureV4 } = require3("@smithy/signature-v4");
const { Sha256 } = require3("@aws-crypto/sha256-js");

const credentials = (c) => ({ accessKeyId: c.id, secretAccessKey: c.secret, sessionToken: c.token });

async function sign(c) {
  const url = new URL(c.url);
  const query = {};
  for (const [name, value] of url.searchParams) {
    query[name] = name in query ? [].concat(query[name], value) : value;
  }
  const signer = new SignatureV4({ credentials: credentials(c), region: c.region, service: c.service, sha256: Sha256, applyChecksum: c.checksum !== false });
  const request = {
    method: c.method, protocol: url.protocol, hostname: url.hostname, port: Number(url.port), path: url.pathname, query,
    headers: { host: url.host, ...c.headers }, body: c.body ? Buffer.from(c.body, "base64") : undefined,
  };
  const done = c.sign === "query" ? await signer.presign(request, { expiresIn: c.expires }) : await signer.sign(request);
  const encode = (s) => encodeURIComponent(s).replace(/[!'()*]/g, (b) => "%" + b.charCodeAt(0).toString(16).toUpperCase());
  const parts = Object.entries(done.query || {}).flatMap(([name, v]) => [].concat(v).map((value) => encode(name) + "=" + encode(value)));
  return { url: url.origin + done.path + (parts.length ? "?" + parts.join("&") : ""), headers: done.headers };
}

async function call3(c, args) {
  const sdk = require3("@aws-sdk/client-" + c.call);
  const client = new sdk[{ lambda: "LambdaClient", sts: "STSClient" }[c.call]]({
    region: c.region, endpoint: c.url, credentials: credentials(c), maxAttempts: 1,
  });
  try {
    const answer = await client.send(new sdk[c.operation + "Command"](args));
    delete answer.$metadata;
    if (answer.Payload) answer.Payload = Buffer.from(answer.Payload).toString();
    return { answer };
  } finally {
    client.destroy();
  }
}

async function call2(c, args) {
  process.env.AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE = "1";
  const AWS = require3("aws-sdk");
  const client = new AWS[{ lambda: "Lambda", sts: "STS" }[c.call]]({ region: c.region, endpoint: c.url, ...credentials(c), maxRetries: 0, paramValidation: false });
  const operation = c.operation[0].toLowerCase() + c.operation.slice(1);
  if (!c.presign) return { answer: await client[operation](args).promise() };
  return { url: await new Promise((yes, no) => client[operation](args).presign(c.expires, (err, url) => (err ? no(err) : yes(url)))) };
}

async function answer(c) {
  try {
    if (c.sign) return await sign(c);
    const args = { ...c.args };
    for (const [name, value] of Object.entries(c.bytes || {})) args[name] = Buffer.from(value, "base64");
    return await (c.sdk === 2 ? call2 : call3)(c, args);
  } catch (e) {
    return { error: (e.code || e.name) + ": " + e.message };
  }
}

(async () => {
  for await (const line of require("node:readline").createInterface({ input: process.stdin })) {
    process.stdout.write(JSON.stringify(await answer(JSON.parse(line))) + "\n");
  }
})();
