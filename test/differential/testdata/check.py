"""Checks answers with botocore's model and parsers, for TestEveryRequest.

Reads answers from standard input, one JSON object a line: operation, status,
headers, body (Base64). Writes one JSON list of complaints a line.
"""

import base64
import json
import math
import sys

import botocore.awsrequest
import botocore.eventstream
import botocore.parsers
import botocore.session

# Errors that every service of AWS answers besides those of its model.
COMMON = {
    "ValidationException", "SerializationException", "AccessDeniedException", "RequestEntityTooLargeException",
    "UnknownOperationException", "NotImplementedException",
}

# Words that the service was recorded to answer, although its model has them not.
RECORDED = {"LastUpdateStatusReasonCode": ["Creating"]}

# Operations that were recorded to answer nothing at all, although members are required.
EMPTY = {"GetFunctionCodeSigningConfig"}

model = botocore.session.Session().get_service_model("lambda")
parser = botocore.parsers.create_parser("rest-json")
ERRORS = {shape.name: shape for shape in model.error_shapes}


def check(shape, value, path, out):
    """Walks a value the way that a typed client reads it."""
    kind = shape.type_name
    if value is None:
        out.append(f"{path} is null")
    elif kind == "structure":
        if not isinstance(value, dict):
            out.append(f"{path} is {value!r}, no structure")
            return
        names = {}
        for name, member in shape.members.items():
            if member.serialization.get("location") is None:
                names[member.serialization.get("name", name)] = member
        for name in value:
            if name not in names:
                out.append(f"{path}.{name} is unknown")
            else:
                check(names[name], value[name], f"{path}.{name}", out)
        for name in shape.required_members:
            wire = shape.members[name].serialization.get("name", name)
            if wire in names and wire not in value:
                out.append(f"{path}.{name} is required and missing")
    elif kind == "list":
        if not isinstance(value, list):
            out.append(f"{path} is {value!r}, no list")
            return
        for i, item in enumerate(value):
            check(shape.member, item, f"{path}[{i}]", out)
    elif kind == "map":
        if not isinstance(value, dict):
            out.append(f"{path} is {value!r}, no map")
            return
        for key, item in value.items():
            check(shape.value, item, f"{path}[{key}]", out)
    elif kind in ("integer", "long"):
        if not isinstance(value, int) or isinstance(value, bool):
            out.append(f"{path} is {value!r}, no integer")
    elif kind in ("double", "float"):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
            out.append(f"{path} is {value!r}, no number")
    elif kind == "boolean":
        if not isinstance(value, bool):
            out.append(f"{path} is {value!r}, no boolean")
    elif kind == "timestamp":
        if shape.serialization.get("timestampFormat") in (None, "unixTimestamp"):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                out.append(f"{path} is {value!r}, no seconds")
        elif not isinstance(value, str):
            out.append(f"{path} is {value!r}, no date")
    elif kind == "blob":
        try:
            base64.b64decode(value, validate=True)
        except Exception as e:
            out.append(f"{path} is no Base64: {e}")
    elif not isinstance(value, str):
        out.append(f"{path} is {value!r}, no string")
    elif getattr(shape, "enum", None) and value not in shape.enum + RECORDED.get(path.rpartition(".")[2], []):
        out.append(f"{path} is {value!r}, none of {shape.enum}")


def document(body, out):
    try:
        return json.loads(body.decode("utf-8")) if body else {}
    except ValueError as e:
        out.append(f"body is no JSON: {e}: {body[:200]!r}")


def check_error(operation, status, headers, body, out):
    code = headers.get("x-amzn-errortype", "")
    if not code:
        out.append("no x-amzn-errortype")
        return
    doc = document(body, out)
    if not isinstance(doc, dict):
        out.append(f"error is {doc!r}")
        return
    shape = ERRORS.get(code)
    if shape is None and code not in COMMON:
        out.append(f"error {code} is unknown")
        return
    if shape is not None:
        check(shape, {k: v for k, v in doc.items()}, code, out)
        want = shape.metadata.get("error", {}).get("httpStatusCode")
        if want and want != status:
            out.append(f"{code} has status {status}, want {want}")
    response = {"status_code": status, "headers": headers, "body": body}
    if shape is not None:
        parser.parse(response, shape)
    parsed = parser.parse(response, operation.output_shape)
    if parsed["Error"].get("Code") != code:
        out.append(f"botocore reads the code {parsed['Error'].get('Code')!r}, want {code}")
    if not parsed["Error"].get("Message") and code != "AccessDeniedException":
        out.append(f"botocore reads no message of {code}")


def check_success(operation, status, headers, body, out):
    shape = operation.output_shape
    if status == 204:
        if body:
            out.append("204 with a body")
        return
    if status not in (200, 201, 202):
        out.append(f"status {status}")
    if shape is None:
        return
    payload = shape.serialization.get("payload")
    if payload:
        member = shape.members[payload]
        if member.serialization.get("eventstream"):
            check_stream(member, body, out)
            return
        if member.type_name == "structure":
            check(member, document(body, out), operation.name, out)
    elif operation.has_streaming_output:
        pass
    else:
        doc = document(body, out)
        if doc != {} or operation.name not in EMPTY:
            check(shape, doc, operation.name, out)
    parser.parse({"status_code": status, "headers": headers, "body": body}, shape)


def check_stream(shape, body, out):
    buffer = botocore.eventstream.EventStreamBuffer()
    buffer.add_data(body)
    last = None
    event_parser = botocore.parsers.create_parser("rest-json")._event_stream_parser
    for message in buffer:
        raw = message.to_response_dict()
        last = raw["headers"].get(":event-type")
        parsed = event_parser.parse(raw, shape)
        if list(parsed) != [last]:
            out.append(f"event {last} reads as {parsed!r}")
    if last != "InvokeComplete":
        out.append(f"stream ends with {last}")


for line in sys.stdin:
    answer = json.loads(line)
    out = []
    operation = model.operation_model(answer["operation"])
    headers = botocore.awsrequest.HeadersDict(answer["headers"])
    body = base64.b64decode(answer["body"] or "")
    try:
        (check_error if answer["status"] >= 300 else check_success)(operation, answer["status"], headers, body, out)
    except Exception as e:  # the test wants to see whatever went wrong
        out.append(f"{type(e).__name__}: {e}")
    print(json.dumps(out), flush=True)
