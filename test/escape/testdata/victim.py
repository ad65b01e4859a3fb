"""The neighbour: it has secrets, and says whether it is as it was."""
import os
import time

CODE = "@CODE@"
SECRET = "/tmp/secret"
born = str(time.time_ns())
with open(SECRET, "w") as f:
    f.write(os.environ["VICTIM_TMP"])


def handler(e, context):
    with open(SECRET) as f, open("/opt/secret") as g:
        intact = f.read() == os.environ["VICTIM_TMP"] and len(g.read()) > 10 and os.listdir("/tmp") == ["secret"]
    return {"born": born, "intact": intact, "request": context.aws_request_id}
