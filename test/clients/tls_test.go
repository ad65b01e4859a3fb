package clients

import (
	"strings"
	"testing"

	"github.com/lamina-run/lamina/internal/testkit"
)

// TestTLS has clients trust what lamina env names, and a function reach the server
// that it runs on.
func TestTLS(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.AWSCLI, testkit.Boto, testkit.Sandbox, testkit.Network, testkit.Python)
	s := testkit.Start(t, testkit.Options{TLS: true})
	script := `
unset AWS_ENDPOINT_URL AWS_CA_BUNDLE AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
eval "$("$LAMINA" env --data "$DATA" --region "$AWS_REGION")"
case $AWS_ENDPOINT_URL in https://*) ;; *) echo "the endpoint is $AWS_ENDPOINT_URL"; exit 1 ;; esac
mkdir code; cat >code/app.py <<'PY'
import os, urllib.request
def handler(event, context):
    return urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL_LAMBDA"] + "/healthz", timeout=5).read().decode().strip()
PY
(cd code && python3 -m zipfile -c ../code.zip app.py)
aws lambda create-function --function-name f --runtime python3.11 --handler app.handler --role arn:aws:iam::000000000000:role/r --zip-file fileb://code.zip >created.json
aws lambda wait function-active-v2 --function-name f
aws lambda invoke --function-name f answer.json >/dev/null
cat answer.json; echo
link=$(aws lambda get-function --function-name f --query Code.Location --output text)
curl -sS --cacert "$AWS_CA_BUNDLE" -o again.zip "$link" && cmp code.zip again.zip && echo same
url=$(aws lambda create-function-url-config --function-name f --auth-type NONE --query FunctionUrl --output text)
aws lambda add-permission --function-name f --statement-id a --action lambda:InvokeFunctionUrl --principal '*' --function-url-auth-type NONE >/dev/null
aws lambda add-permission --function-name f --statement-id b --action lambda:InvokeFunction --principal '*' --invoked-via-function-url >/dev/null
case $url in https://*) ;; *) echo "the function URL is $url"; exit 1 ;; esac
host=$(echo "$url" | sed 's,https://,,; s,/$,,')
curl -sS --cacert "$AWS_CA_BUNDLE" --resolve "$host:127.0.0.1" "$url"; echo
if curl -sS "$AWS_ENDPOINT_URL/healthz" 2>/dev/null; then echo "a client trusts without being told"; fi
"$LAMINA" signing-profile list --data "$DATA" >/dev/null && echo verbs
`
	out := command(t, s, t.TempDir(), "env", "LAMINA="+testkit.Binary(t), "DATA="+s.Data, "bash", "-euo", "pipefail", "-c", script)
	if want := "\"ok\"\nsame\nok\nverbs\n"; out != want {
		t.Errorf("the clients printed %q; want %q", out, want)
	}
	if strings.Contains(s.Output(), "http://") {
		t.Errorf("the server speaks of http: %s", s.Output())
	}
}
