package console

import (
	"archive/zip"
	"bytes"
	"fmt"
	"html"
	"io/fs"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

var hiddenField = regexp.MustCompile(`name="(revision|sha256)"(?: data-latest)? value="([^"]*)"`)

// hidden reads the hidden fields of a page that a form sends back.
func hidden(page string) url.Values {
	form := url.Values{}
	for _, m := range hiddenField.FindAllStringSubmatch(page, -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	return form
}

func with(form url.Values, pairs ...string) url.Values {
	out := url.Values{}
	for name, values := range form {
		out[name] = slices.Clone(values)
	}
	for i := 0; i < len(pairs); i += 2 {
		out.Add(pairs[i], pairs[i+1])
	}
	return out
}

// settled waits until a function's last update is done.
func settled(t *testing.T, s *testkit.Server, name string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		out, err := s.Lambda().GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: &name})
		if err != nil {
			t.Fatal(err)
		}
		if out.State == types.StateActive && out.LastUpdateStatus == types.LastUpdateStatusSuccessful {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("function %s stays %s, %s", name, out.State, out.LastUpdateStatus)
		}
		time.Sleep(10 * time.Millisecond) // polling
	}
}

// TestFunctions goes through a function's life: made from starter code, edited,
// configured, given layers, tested, published, shifted, watched, and deleted.
func TestFunctions(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Overlay, testkit.Python)
	t.Parallel()
	s := testkit.Start(t, testkit.Options{})
	root := signIn(t, s, s.AccessKeyID, s.SecretAccessKey)
	const function = pages + "functions/hello"
	root.get(pages+"functions", http.StatusOK, "No functions yet")

	// Made from starter code, with a role of its own.
	root.get(pages+"functions-new", http.StatusOK, "python3.11")
	form := url.Values{"name": {"hello"}, "runtime": {"java21"}, "architecture": {"x86_64"}, "source": {"starter"}, "newrole": {"1"}, "description": {evil}}
	root.post(pages+"functions-new", form, http.StatusUnprocessableEntity, "has to be compiled", safe)
	form.Set("runtime", "python3.11")
	root.post(pages+"functions-new", form, http.StatusOK, "Function hello created", "arn:aws:lambda:eu-central-1:000000000000:function:hello", "service-role/hello-role-", safe)
	settled(t, s, "hello")
	root.get(pages+"functions?q=python3+HELLO", http.StatusOK, ">hello<", safe)
	root.get(pages+"functions?q=absent", http.StatusOK, "None of the 1 functions")

	// What it does, and what an edit changes.
	test := func(event string, pairs ...string) url.Values {
		return with(url.Values{"event": {event}, "type": {"RequestResponse"}}, pairs...)
	}
	root.get(function+"/test?template=sqs", http.StatusOK, "Hello from SQS!")
	root.post(function+"/test", test(`{"say":"<b>"}`), http.StatusOK, "Succeeded", "Hello from Lamina!", "Billed duration", "Most memory used", "Cold start",
		"Init: ", "event: {&#34;say&#34;: &#34;&lt;b&gt;&#34;}", "REPORT RequestId: ")
	root.get(function+"/code", http.StatusOK, "lambda_function.py", "The handler is in")
	file := function + "/code/file?path=lambda_function.py"
	stale := hidden(root.get(file, http.StatusOK, "def lambda_handler(event, context):"))
	edited := "import os\n\ndef lambda_handler(event, context):\n    print(event)\n    if event == 'fail':\n        raise ValueError('''" + evil + "''')\n" +
		"    import lib\n    return {'from': lib.FROM, 'env': dict(os.environ).get('GREETING')}\n"
	root.post(function+"/code/file", with(stale, "path", "lambda_function.py", "text", strings.ReplaceAll(edited, "\n", "\r\n")), http.StatusOK, "Saved lambda_function.py", "import lib")
	settled(t, s, "hello")
	// Somebody who saw the function before loses nothing, and takes nothing.
	root.post(function+"/code/file", with(stale, "path", "lambda_function.py", "text", "mine = 1"), http.StatusPreconditionFailed, "Somebody else changed", "mine = 1")
	root.post(function+"/test", test(`1`), http.StatusOK, "Failed: Unhandled", "No module named")
	fresh := hidden(root.get(file, http.StatusOK))
	root.post(function+"/code/file", with(fresh, "new", "1", "path", "../evil", "text", "x"), http.StatusUnprocessableEntity, "is relative", "../evil")
	root.post(function+"/code/file", with(fresh, "new", "1", "path", "lambda_function.py", "text", "x"), http.StatusUnprocessableEntity, "already")
	root.post(function+"/code/file", with(fresh, "new", "1", "path", "bin/"+evil[:20]+"x", "text", "#!/bin/sh\n", "runnable", "1"), http.StatusOK, "Saved bin/", "-rwxr-xr-x")
	settled(t, s, "hello")
	root.get(function+"/code", http.StatusOK, html.EscapeString(evil[:20]))
	root.post(function+"/code/remove", with(hidden(root.get(function+"/code", http.StatusOK)), "path", "bin"), http.StatusOK, "Deleted bin")
	settled(t, s, "hello")
	root.post(function+"/code/remove", with(hidden(root.get(function+"/code", http.StatusOK)), "path", "lambda_function.py"), http.StatusOK, "without any file")

	// Layers: their order decides what the function sees, and the preview says so before.
	var layers [2]string
	for i, name := range []string{"one", "two"} {
		out, err := s.Lambda().PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{
			LayerName: &name, Description: aws.String(evil), CompatibleRuntimes: []types.Runtime{types.RuntimePython311},
			Content: &types.LayerVersionContentInput{ZipFile: testkit.Zip(t,
				testkit.File{Name: "python/lib.py", Body: "FROM = '" + name + "'\n"}, testkit.File{Name: "python/" + evil[:12] + name, Body: "x"},
				testkit.File{Name: "both", Body: "same"})},
		})
		if err != nil {
			t.Fatal(err)
		}
		layers[i] = *out.LayerVersionArn
	}
	page := root.get(function+"/layers", http.StatusOK, "No layers", "one:1", "two:1")
	page = root.post(function+"/layers", with(hidden(page), "layer", layers[1], "add", layers[0], "action", "preview"), http.StatusOK,
		"nothing is saved yet", "python3.11 looks here", "hides two:1", "same content", html.EscapeString(evil[:12])+"one", "of 250.0 MB")
	if at := []int{strings.Index(page, `value="`+layers[1]), strings.Index(page, `value="`+layers[0])}; at[0] < 0 || at[1] < at[0] {
		t.Errorf("the preview has the layers at %v; want two before one", at)
	}
	root.post(function+"/layers", with(hidden(page), "layer", layers[1], "layer", layers[0], "action", "save"), http.StatusOK, "Layers saved", "hides two:1")
	settled(t, s, "hello")
	root.post(function+"/test", test(`1`), http.StatusOK, "&#34;from&#34;: &#34;one&#34;")
	page = root.get(function+"/layers", http.StatusOK)
	page = root.post(function+"/layers", with(hidden(page), "layer", layers[1], "layer", layers[0], "action", "up:1"), http.StatusOK, "hides one:1")
	root.post(function+"/layers", with(hidden(page), "layer", layers[0], "layer", layers[1], "action", "save"), http.StatusOK, "Layers saved")
	settled(t, s, "hello")
	root.post(function+"/test", test(`1`), http.StatusOK, "&#34;from&#34;: &#34;two&#34;")
	root.get(function+"/layers?layer=arn:aws:lambda:eu-central-1:000000000000:layer:absent:1", http.StatusOK, "can&#39;t be shown")

	// Environment: values only where they were asked for.
	page = root.get(function+"/environment", http.StatusOK)
	root.post(function+"/environment", with(hidden(page), "key", "GREETING", "value", evil, "key", "", "value", "lost"), http.StatusOK, "Environment saved", "GREETING")
	settled(t, s, "hello")
	if page = root.get(function+"/configuration", http.StatusOK, "GREETING"); strings.Contains(page, "onerror") && strings.Count(page, "onerror") != strings.Count(page, safe) {
		t.Error("the configuration has more of the value than the description")
	}
	page = root.get(function+"/environment", http.StatusOK, "alert(&#39;1&#39;)")
	root.post(function+"/environment", with(hidden(page), "key", "AWS_REGION", "value", "x"), http.StatusBadRequest, "AWS_REGION", "reserved")
	root.post(function+"/test", test(`1`), http.StatusOK, "alert(&#39;1&#39;)")
	root.post(function+"/test", test(`"fail"`), http.StatusOK, "Failed: Unhandled", "ValueError", "alert(&#39;1&#39;)")
	root.post(function+"/test", test(`no json`), http.StatusOK, "Refused", "Could not parse request body into json")
	root.post(function+"/test", with(url.Values{"event": {"1"}, "type": {"Event"}}), http.StatusOK, "Accepted")

	// Configuration, and tags.
	settings := hidden(root.get(function+"/configuration", http.StatusOK, `name="memory" value="128"`, `name="timeout" value="3"`))
	root.post(function+"/configuration", with(settings, "memory", "256", "timeout", "10", "storage", "512", "tracing", "Active", "description", "quiet"), http.StatusOK,
		"Configuration saved", `name="memory" value="256"`)
	root.post(function+"/configuration", with(settings, "memory", "300"), http.StatusOK, "PreconditionFailedException")
	settled(t, s, "hello")
	settings = hidden(root.get(function+"/configuration", http.StatusOK))
	root.post(function+"/configuration", with(settings, "memory", "1"), http.StatusOK, "memorySize")
	root.post(function+"/tags", with(nil, "key", "team", "value", evil, "key", "gone", "value", "x"), http.StatusOK, "Tags saved", "team", "alert(&#39;1&#39;)")
	if page = root.post(function+"/tags", with(nil, "key", "team", "value", "blue"), http.StatusOK, "Tags saved", "blue"); strings.Contains(page, `value="gone"`) {
		t.Error("a tag that was left out stays")
	}

	// Versions and aliases.
	page = root.get(function+"/versions", http.StatusOK, "None published")
	root.post(function+"/versions", with(hidden(page), "description", evil), http.StatusOK, "Version 1 is what", safe)
	root.post(function+"/versions", with(hidden(root.get(function+"/versions", http.StatusOK))), http.StatusOK, "Version 1 is what") // nothing changed
	root.post(function+"/configuration", with(hidden(root.get(function+"/configuration", http.StatusOK)), "timeout", "11"), http.StatusOK, "Configuration saved")
	settled(t, s, "hello")
	root.post(function+"/versions", with(hidden(root.get(function+"/versions", http.StatusOK))), http.StatusOK, "Version 2 is what")
	root.post(function+"/versions", with(hidden(page)), http.StatusOK, "PreconditionFailedException")
	root.post(function+"/aliases", url.Values{"name": {"prod"}, "version": {"1"}, "second": {"2"}, "weight": {"101"}}, http.StatusOK, "from 0 to 100")
	root.post(function+"/aliases", url.Values{"name": {"prod"}, "version": {"1"}, "second": {"2"}, "weight": {"12.5"}, "description": {evil}}, http.StatusOK,
		"Alias prod created", "87.5 %", "12.5 %", safe)
	alias := hidden(root.get(function+"/aliases/prod", http.StatusOK, `value="12.5"`, `data-mirror="#weight"`))
	root.post(function+"/aliases/prod", with(alias, "version", "2", "second", "", "description", "all"), http.StatusOK, "Alias prod saved", "100 %")
	root.post(function+"/aliases/prod", with(alias, "version", "1"), http.StatusOK, "PreconditionFailedException")
	root.post(function+"/test", test(`1`, "qualifier", "prod"), http.StatusOK, "Succeeded", "<dt>Version that ran</dt><dd>2</dd>")
	root.get(function+"/versions/2/delete", http.StatusOK, "These aliases lead to it", "prod")
	root.post(function+"/versions/2/delete", url.Values{}, http.StatusOK, "ResourceConflictException")
	root.post(function+"/versions/1/delete", url.Values{}, http.StatusOK, "Version 1 deleted")
	root.get(function+"/code/file?path=lambda_function.py&qualifier=2", http.StatusOK, "never changes")
	root.get(function+"/code?qualifier=2", http.StatusOK, "as it was published")

	// Concurrency, URL, permissions, events.
	root.post(function+"/concurrency", url.Values{"reserve": {"1"}, "reserved": {"0"}}, http.StatusOK, "throttled")
	root.post(function+"/test", test(`1`), http.StatusOK, "Refused", "TooManyRequestsException", "HTTP 429")
	root.post(function+"/concurrency", url.Values{"reserve": {""}}, http.StatusOK, "unreserved")
	root.post(function+"/provisioned", url.Values{"qualifier": {"prod"}, "provisioned": {"1"}}, http.StatusOK, "1 provisioned for prod", "<th scope=\"row\">prod</th>")
	root.post(function+"/provisioned", url.Values{"qualifier": {"prod"}, "action": {"delete"}}, http.StatusOK, "of prod ended")
	root.post(function+"/url", url.Values{"new": {"1"}, "auth": {"NONE"}, "mode": {"BUFFERED"}, "everyone": {"1"}, "cors": {"1"}, "origins": {"https://a.example, https://b.example"}, "methods": {"GET"}}, http.StatusOK,
		"URL created", "FunctionURLAllowPublicAccess", "https://a.example, https://b.example", `value="GET" checked`)
	root.post(function+"/permissions", url.Values{"statement": {"s3"}, "principal": {"s3.amazonaws.com"}, "action": {"lambda:InvokeFunction"}, "sourcearn": {"arn:aws:s3:::bucket"}}, http.StatusOK,
		"Permission s3 added", "s3.amazonaws.com", "arn:aws:s3:::bucket")
	root.post(function+"/permissions/remove", url.Values{"statement": {"s3"}}, http.StatusOK, "Permission s3 removed")
	root.post(function+"/url/delete", url.Values{}, http.StatusOK, "URL deleted")
	root.post(function+"/events", url.Values{"retries": {"0"}, "age": {"60"}}, http.StatusOK, "Settings saved", "<td class=\"right\">0</td>")
	root.post(function+"/events", url.Values{"action": {"delete"}}, http.StatusOK, "as by default")

	// Logs: every line once, whatever was printed in between.
	page = root.get(function+"/logs?since=1h", http.StatusOK, "START RequestId", "alert(&#39;1&#39;)", "data-tail")
	next := regexp.MustCompile(`data-next="([^"]+)"`).FindStringSubmatch(page)
	if next == nil {
		t.Fatal("the log has no place to go on from")
	}
	root.tailed(t, "/aws/lambda/hello", next[1], func(i int) {
		root.post(function+"/test", test(fmt.Sprintf(`"line-%d"`, i)), http.StatusOK, "Succeeded")
	})
	root.get(function+"/logs?pattern="+url.QueryEscape(`"line-2"`), http.StatusOK, "line-2")
	root.get(function+"/logs?pattern="+url.QueryEscape(`{ broken`), http.StatusOK, `role="alert">If a filter pattern starts with`)
	root.get(pages+"logs?q=HELLO", http.StatusOK, "/aws/lambda/hello")
	root.get(pages+"logs/group?name=/aws/lambda/hello", http.StatusOK, "START RequestId")
	root.post(pages+"logs/group/retention", url.Values{"name": {"/aws/lambda/hello"}, "days": {"7"}}, http.StatusOK, "Retention saved", `value="7" selected`)

	// Figures of all that, as pictures and as tables.
	root.get(function, http.StatusOK, "The last 3 hours", `aria-label="Invocations, Invocations `)
	for _, r := range []string{"1h", "14d"} {
		root.get(function+"/monitor?range="+r, http.StatusOK, "<svg class=\"chart\"", "99th percentile", "Duration as a table", "Concurrent executions, Most at once", "Last cold starts", "Archives: ")
	}

	// The zip is as it was made, but for what was edited.
	r, err := zip.NewReader(bytes.NewReader([]byte(root.get(function+"/code/archive", http.StatusOK))), int64(len(root.get(function+"/code/archive", http.StatusOK))))
	if err != nil || len(r.File) != 1 || r.File[0].Name != "lambda_function.py" || r.File[0].Mode() != fs.FileMode(0o644) {
		t.Errorf("the archive is %+v, %v; want lambda_function.py", r, err)
	}

	// What one may not do, the API says; the rest is there.
	viewer := signIn2(t, s, "viewer", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["lambda:ListFunctions","lambda:GetFunctionConfiguration","lambda:InvokeFunction"],"Resource":"*"}]}`)
	viewer.get(function, http.StatusOK, "Versions: ", "not authorized to perform: lambda:ListVersionsByFunction", "service-role/hello-role-")
	viewer.get(function+"/code", http.StatusOK, "not authorized to perform: lambda:GetFunction ")
	viewer.get(function+"/code/archive", http.StatusForbidden, "not authorized to perform: lambda:GetFunction ")
	viewer.get(file, http.StatusForbidden, "not authorized")
	viewer.post(function+"/test", test(`1`), http.StatusOK, "Succeeded")
	viewer.get(function+"/logs", http.StatusOK, "not authorized to perform: logs:FilterLogEvents")
	viewer.get(function+"/monitor", http.StatusOK, "not authorized to perform: cloudwatch:GetMetricData")
	viewer.get(pages+"logs", http.StatusBadRequest, "not authorized to perform: logs:DescribeLogGroups")
	viewer.post(function+"/configuration", url.Values{"memory": {"512"}}, http.StatusOK, "not authorized to perform: lambda:UpdateFunctionConfiguration")
	viewer.post(function+"/delete", url.Values{"confirm": {"hello"}}, http.StatusOK, "not authorized to perform: lambda:DeleteFunction")
	invoker := signIn2(t, s, "invoker", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"lambda:InvokeFunction","Resource":"*"}]}`)
	invoker.get(function+"/test", http.StatusOK, "Configuration: ", "not authorized to perform: lambda:GetFunctionConfiguration")
	invoker.post(function+"/test", test(`1`), http.StatusOK, "Succeeded")

	// The end.
	root.get(function+"/delete", http.StatusOK, "1 published version", "1 alias: prod", "/aws/lambda/hello")
	root.post(function+"/delete", url.Values{"confirm": {"hullo"}}, http.StatusOK, "Type the function&#39;s name")
	root.post(function+"/delete", url.Values{"confirm": {"hello"}}, http.StatusOK, "Function hello deleted", "No functions yet")
	root.get(function, http.StatusNotFound, "Function not found")
}

// signIn2 makes a user with a policy, and signs in.
func signIn2(t *testing.T, s *testkit.Server, name, policy string) *person {
	t.Helper()
	id, secret := newUser(t, s, name, policy)
	return signIn(t, s, id, secret)
}

// tailed follows a log while lines are printed, and wants each of them once.
func (p *person) tailed(t *testing.T, group, next string, print func(i int)) {
	t.Helper()
	const lines = 4
	text := ""
	read := func() {
		req := p.request(http.MethodGet, pages+"logs/tail?group="+url.QueryEscape(group)+"&next="+url.QueryEscape(next), nil)
		req.Header.Set("X-Console-Part", "1")
		resp, err := p.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("tail = %s, %v: %s", resp.Status, err, b.String())
		}
		text += b.String()
		next = resp.Header.Get("X-Next")
	}
	for i := range lines {
		print(i)
		read()
		read()
	}
	for i := range lines {
		if n := strings.Count(text, fmt.Sprintf("line-%d", i)); n != 1 {
			t.Errorf("line %d is there %d times; want once\n%s", i, n, text)
		}
	}
}

// TestStarters runs the code that functions of each language begin with.
func TestStarters(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Python, testkit.Node, testkit.Ruby)
	t.Parallel()
	node, err := exec.CommandContext(t.Context(), "node", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	ruby, err := exec.LookPath("ruby")
	if err != nil {
		t.Fatal(err)
	}
	s := testkit.Start(t, testkit.Options{Args: []string{"--runtime", "ruby3.3=" + ruby}}) // whichever there is
	root := signIn(t, s, s.AccessKeyID, s.SecretAccessKey)
	major, _, _ := strings.Cut(strings.TrimPrefix(string(node), "v"), ".")
	for i, runtime := range []string{"nodejs" + major + ".x", "ruby3.3", "provided.al2023"} {
		name := fmt.Sprint("starter-", i)
		root.get(pages+"functions-new", http.StatusOK)
		root.post(pages+"functions-new", url.Values{"name": {name}, "runtime": {runtime}, "source": {"starter"}, "newrole": {"1"}}, http.StatusOK, "created")
		settled(t, s, name)
		root.get(pages+"functions/"+name+"/code", http.StatusOK, "The handler is in")
		root.post(pages+"functions/"+name+"/test", url.Values{"event": {`{"key":1}`}, "type": {"RequestResponse"}}, http.StatusOK, "Succeeded", "Hello from Lamina!", "event: {&#34;key&#34;:")
	}
}
