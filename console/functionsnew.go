package console

import (
	"archive/zip"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
)

// starter is code to begin with, for the runtimes of a language.
type starter struct {
	Handler string
	Name    string // of the one file
	Text    string
	Mode    fs.FileMode
}

// starters are by the family of the runtime. What has to be compiled has none.
var starters = map[string]starter{
	"python": {"lambda_function.lambda_handler", "lambda_function.py", `import json


def lambda_handler(event, context):
    print("event:", json.dumps(event))
    return {"statusCode": 200, "body": json.dumps("Hello from Lamina!")}
`, 0o644},
	"nodejs": {"index.handler", "index.mjs", `export const handler = async (event) => {
  console.log("event:", JSON.stringify(event));
  return { statusCode: 200, body: JSON.stringify("Hello from Lamina!") };
};
`, 0o644},
	"ruby": {"lambda_function.lambda_handler", "lambda_function.rb", `require "json"

def lambda_handler(event:, context:)
  puts "event: #{event.to_json}"
  { statusCode: 200, body: "Hello from Lamina!".to_json }
end
`, 0o644},
	"provided": {"bootstrap", "bootstrap", `#!/bin/sh
# A runtime in a shell: asks for an event, answers it, asks for the next. Needs curl.
set -eu
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
head=/tmp/head.$$
while true; do
  event=$(curl -sSf -D "$head" "$api/invocation/next")
  id=$(tr -d '\r' <"$head" | awk 'tolower($1) == "lambda-runtime-aws-request-id:" { print $2 }')
  echo "event: $event"
  curl -sSf -o /dev/null -d '{"statusCode": 200, "body": "Hello from Lamina!"}' "$api/invocation/$id/response"
done
`, 0o755},
}

// archive writes a zip with the one file.
func (s starter) archive(w io.Writer) error {
	z := zip.NewWriter(w)
	header := &zip.FileHeader{Name: s.Name, Method: zip.Deflate, Modified: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}
	header.SetMode(s.Mode)
	out, err := z.CreateHeader(header)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, s.Text); err != nil {
		return err
	}
	return z.Close()
}

// sendZip asks Lambda with a JSON document that ends in a zip, which is encoded as it
// is written: head is the document up to the zip's text, tail what follows it.
func (v *visit) sendZip(ctx context.Context, method, path, head, tail string, archive func(io.Writer) error, out any) error {
	r, w := io.Pipe()
	written := make(chan error, 1) // one send, when the archive ended
	go func() {
		encode := base64.NewEncoder(base64.StdEncoding, w)
		_, err := io.WriteString(w, head)
		if err == nil {
			err = archive(encode)
		}
		if err == nil {
			err = encode.Close()
		}
		if err == nil {
			_, err = io.WriteString(w, tail)
		}
		_ = w.CloseWithError(err) // never fails
		written <- err
	}()
	_, text, err := v.do(ctx, "lambda", method, path, "application/json", nil, r)
	_ = r.CloseWithError(errAnswered) // never fails
	if wrong := <-written; wrong != nil && !errors.Is(wrong, errAnswered) {
		return wrong // the answer is only about what came of it
	}
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("read answer of lambda: %w", err)
	}
	return nil
}

var errAnswered = errors.New("the service answered before it had read everything")

// jsonHead encodes a document and opens it at its end for one more member.
func jsonHead(document any) (string, error) {
	text, err := json.Marshal(document)
	if err != nil {
		return "", fmt.Errorf("encode request: %w", err)
	}
	head := strings.TrimSuffix(string(text), "}")
	if head != "{" {
		head += ","
	}
	return head, nil
}

// runtimesOffered are those that functions can be made with, a language after the
// other, the newest version first.
func runtimesOffered() []string {
	all := lamina.CreatableRuntimes()
	order := []string{"python", "nodejs", "ruby", "java", "provided", "dotnet"}
	slices.SortFunc(all, func(a, b string) int {
		return cmp.Or(cmp.Compare(slices.Index(order, lamina.RuntimeFamily(a)), slices.Index(order, lamina.RuntimeFamily(b))),
			compareVersions(runtimeNumber(b), runtimeNumber(a)), strings.Compare(b, a))
	})
	return all
}

// runtimeNumber is the version in the name of a runtime: 3 and 12 of python3.12.
func runtimeNumber(runtime string) [2]int {
	text := strings.TrimLeft(strings.TrimPrefix(strings.TrimPrefix(runtime, lamina.RuntimeFamily(runtime)), ".al"), ".")
	major, rest, _ := strings.Cut(text, ".")
	var n [2]int
	n[0], _ = strconv.Atoi(major)
	n[1], _ = strconv.Atoi(rest)
	return n
}

func compareVersions(a, b [2]int) int {
	return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
}

// newFunctionData is the form, as it was filled in.
type newFunctionData struct {
	Name, Runtime, Handler, Architecture, Role, Description, Source string
	NewRole                                                         bool
	Runtimes                                                        []string
	Roles                                                           []string
	Wrong                                                           string
	denials
}

func (c *Console) newFunctionPage(v *visit) error {
	d := newFunctionData{Runtime: "python3.12", Architecture: "x86_64", Source: "starter"}
	if runtime.GOARCH == "arm64" {
		d.Architecture = "arm64" // what this machine runs
	}
	return v.showNewFunction(http.StatusOK, d)
}

func (v *visit) showNewFunction(status int, d newFunctionData) error {
	d.Runtimes = runtimesOffered()
	roles, err := v.functionRoles()
	if err := d.part("Roles", err); err != nil {
		return err
	}
	if d.Roles = roles; len(roles) == 0 && d.Wrong == "" && err == nil {
		d.NewRole = true
	}
	v.show(status, "functionnew", page{Title: "Create a function", Room: "functions", Trail: []link{{"Functions", at("functions")}}, Data: d})
	return nil
}

// functionRoles are the roles that Lambda may assume.
func (v *visit) functionRoles() ([]string, error) {
	var roles []string
	_, err := every(func(marker string) (string, error) {
		var out struct {
			Roles  []struct{ Arn, AssumeRolePolicyDocument string } `xml:"Roles>member"`
			Marker string
		}
		in := url.Values{"MaxItems": {"1000"}}
		if marker != "" {
			in.Set("Marker", marker)
		}
		err := v.query(v.context(), "iam", "ListRoles", in, &out)
		for _, r := range out.Roles {
			if trust, err := url.QueryUnescape(r.AssumeRolePolicyDocument); err == nil && strings.Contains(trust, "lambda.amazonaws.com") && len(roles) < 500 {
				roles = append(roles, r.Arn)
			}
		}
		return out.Marker, err
	})
	slices.Sort(roles)
	return roles, err
}

const functionTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

// makeRole makes a role for a function that may write its logs, under the name and
// path that AWS's console would give it, and returns its ARN.
func (v *visit) makeRole(function string) (string, error) {
	name := function[:min(len(function), 40)] + "-role-" + strings.ToLower(rand.Text()[:8])
	var out struct {
		Role struct{ Arn string }
	}
	if err := v.query(v.context(), "iam", "CreateRole", url.Values{
		"RoleName": {name}, "Path": {"/service-role/"}, "AssumeRolePolicyDocument": {functionTrust},
	}, &out); err != nil {
		return "", err
	}
	return out.Role.Arn, v.query(v.context(), "iam", "AttachRolePolicy", url.Values{
		"RoleName": {name}, "PolicyArn": {"arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"},
	}, nil)
}

func (c *Console) newFunction(v *visit) error {
	form := v.req.PostForm
	field := func(name string) string { return strings.TrimSpace(form.Get(name)) }
	d := newFunctionData{
		Name: field("name"), Runtime: field("runtime"), Handler: field("handler"), Architecture: field("architecture"), Role: field("role"),
		Description: field("description"), Source: field("source"), NewRole: form.Get("newrole") != "",
	}
	wrong := func(err error) error {
		r, ok := err.(*refusal) //nolint:errorlint // nothing wraps it
		if !ok {
			return err
		}
		d.Wrong = r.Message
		return v.showNewFunction(http.StatusUnprocessableEntity, d)
	}
	invalid := func(format string, args ...any) error {
		return wrong(&refusal{Code: "InvalidForm", Message: fmt.Sprintf(format, args...)})
	}
	if d.Name == "" {
		return invalid("A function needs a name.")
	}
	var archive func(io.Writer) error
	if files := v.req.MultipartForm; files != nil && len(files.File["zip"]) > 0 && files.File["zip"][0].Size > 0 {
		d.Source = "zip" // whoever chose one means it
	}
	if d.Source == "zip" {
		send, done, err := v.uploadedZip()
		if err != nil {
			return wrong(err)
		}
		defer done()
		archive = send
		if d.Handler == "" {
			return invalid("Name the handler of the code in the zip.")
		}
	} else {
		s, ok := starters[lamina.RuntimeFamily(d.Runtime)]
		if !ok {
			return invalid("Code for %s has to be compiled, so there is none to start with. Upload a zip.", d.Runtime)
		}
		d.Handler, archive = s.Handler, s.archive
	}
	if d.NewRole {
		role, err := v.makeRole(d.Name)
		if role != "" { // the next try takes it
			d.Role, d.NewRole = role, false
		}
		if err != nil {
			return wrong(err)
		}
	}
	if d.Role == "" {
		return invalid("A function needs a role.")
	}
	in := map[string]any{
		"FunctionName": d.Name, "Runtime": d.Runtime, "Handler": d.Handler, "Role": d.Role, "Description": d.Description,
	}
	if d.Architecture != "" {
		in["Architectures"] = []string{d.Architecture}
	}
	head, err := jsonHead(in)
	if err != nil {
		return err
	}
	var out functionConfig
	if err := v.sendZip(v.context(), http.MethodPost, "/"+of2015+"/functions", head+`"Code":{"ZipFile":"`, `"}}`, archive, &out); err != nil {
		return wrong(err)
	}
	return v.done(at("functions", out.FunctionName), "Function %s created", out.FunctionName)
}

// uploadedZip returns what writes the file zip of the form, and what closes it.
func (v *visit) uploadedZip() (send func(io.Writer) error, done func(), err error) {
	file, header, err := v.req.FormFile("zip")
	if err != nil || header.Size == 0 {
		if err == nil {
			file.Close()
		}
		return nil, nil, &refusal{Status: http.StatusUnprocessableEntity, Code: "InvalidForm", Message: "Choose a zip to upload."}
	}
	return func(w io.Writer) error {
		_, err := io.Copy(w, file)
		return err
	}, func() { file.Close() }, nil
}
