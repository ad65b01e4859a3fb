"""Signs with the real botocore, for TestBotocore.

Reads cases from standard input, one JSON object a line, and answers each with
one. {"sign": ...} asks for the headers and URL of a signed request; {"call": ...}
makes the real client of a service call an operation on an endpoint.
"""

import base64
import json
import sys
import warnings

import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.session

SIGNERS = {
    "header": botocore.auth.SigV4Auth,
    "query": botocore.auth.SigV4QueryAuth,
    "s3": botocore.auth.S3SigV4Auth,
    "s3query": botocore.auth.S3SigV4QueryAuth,
}


def sign(case):
    creds = botocore.credentials.Credentials(case["id"], case["secret"])
    req = botocore.awsrequest.AWSRequest(
        method=case["method"],
        url=case["url"],
        headers=case.get("headers") or {},
        data=base64.b64decode(case.get("body") or ""),
    )
    SIGNERS[case["sign"]](creds, case["service"], case["region"]).add_auth(req)
    prepared = req.prepare()
    text = lambda v: v.decode() if isinstance(v, bytes) else v
    return {"url": prepared.url, "headers": {text(k): text(v) for k, v in prepared.headers.items()}}


def call(case):
    session = botocore.session.Session()
    session.set_credentials(case["id"], case["secret"])
    client = session.create_client(
        case["call"],
        region_name=case["region"],
        endpoint_url=case["url"],
        verify=False,
        config=botocore.config.Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}),
    )
    args = dict(case.get("args") or {})
    for name, value in (case.get("bytes") or {}).items():
        args[name] = base64.b64decode(value)
    try:
        if case.get("presign"):
            return {"url": client.generate_presigned_url(case["operation"], args)}
        answer = client._make_api_call(case["operation"], args)
        answer.pop("ResponseMetadata", None)
        for name, value in answer.items():
            if hasattr(value, "read"):
                answer[name] = value.read().decode()
        return {"answer": answer}
    except Exception as e:  # the test wants to see whatever went wrong
        return {"error": f"{type(e).__name__}: {e}"}



warnings.filterwarnings("ignore")
for line in sys.stdin:
    case = json.loads(line)
    print(json.dumps(sign(case) if "sign" in case else call(case), default=str), flush=True)
