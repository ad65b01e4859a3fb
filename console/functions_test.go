package console_test

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina/internal/testkit"
)

// fakeFunctions answers for one function whose every text is evil, and as long as
// Lambda lets it be. What was sent as code is kept.
func fakeFunctions(t testing.TB, archives shelf, code []byte) (services, *[]byte) {
	t.Helper()
	sum := archives.put(code)
	sent := new([]byte)
	config := func(version string) map[string]any {
		environment := map[string]string{}
		for i := range 6 {
			environment[fmt.Sprint("K", i)] = evil + strings.Repeat(`"`, 150)
		}
		return map[string]any{
			"FunctionName": "hello", "FunctionArn": "arn:aws:lambda:eu-central-1:111122223333:function:hello:" + evil, "Runtime": "python3.12", "Handler": "app.handler" + evil,
			"Role": evil, "Description": strings.Repeat(evil, 4), "Version": version, "CodeSha256": sum, "CodeSize": len(code), "RevisionId": evil,
			"Timeout": 3, "MemorySize": 128, "LastModified": evil, "State": "Active", "StateReason": evil, "StateReasonCode": evil,
			"LastUpdateStatus": "Failed", "LastUpdateStatusReason": evil, "LastUpdateStatusReasonCode": evil, "Architectures": []string{"x86_64"},
			"Environment": map[string]any{"Variables": environment}, "Layers": []any{map[string]any{"Arn": evil}},
			"LoggingConfig": map[string]any{"LogFormat": "JSON", "LogGroup": evil}, "DeadLetterConfig": map[string]any{"TargetArn": evil},
			"VpcConfig": map[string]any{"VpcId": evil, "SubnetIds": []string{evil}, "SecurityGroupIds": []string{evil}},
		}
	}
	mux := http.NewServeMux()
	answer := func(pattern string, out any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, out) })
	}
	const one = "/2015-03-31/functions/hello"
	var versions, aliases, statements, provisioned, mappings, events []any
	for i := range 130 {
		versions = append(versions, config(fmt.Sprint(i+1)))
	}
	const arn = "arn:aws:lambda:eu-central-1:111122223333:function:hello:"
	for i := range 50 {
		aliases = append(aliases, map[string]any{
			"Name": fmt.Sprint(evil, i), "AliasArn": arn + evil, "FunctionVersion": "1", "Description": evil, "RevisionId": evil,
			"RoutingConfig": map[string]any{"AdditionalVersionWeights": map[string]float64{"2": 0.125}},
		})
		statements = append(statements, map[string]any{"Sid": evil, "Effect": "Allow", "Principal": map[string]string{"AWS": evil}, "Action": evil, "Resource": evil, "Condition": map[string]any{evil: evil}})
		provisioned = append(provisioned, map[string]any{"FunctionArn": arn + fmt.Sprint(i), "Status": evil, "StatusReason": evil})
		mappings = append(mappings, map[string]any{"UUID": evil, "EventSourceArn": evil, "FunctionArn": evil, "State": evil, "StateTransitionReason": evil, "LastProcessingResult": evil})
		events = append(events, map[string]any{"FunctionArn": arn + evil, "DestinationConfig": map[string]any{"OnFailure": map[string]any{"Destination": evil}}})
	}
	policy, err := json.Marshal(map[string]any{"Statement": statements})
	if err != nil {
		t.Fatal(err)
	}
	answer("GET "+one+"/configuration", config("$LATEST"))
	answer("GET "+one, map[string]any{"Configuration": config("$LATEST")})
	answer("GET /2015-03-31/functions", map[string]any{"Functions": []any{config("$LATEST")}})
	answer("GET "+one+"/versions", map[string]any{"Versions": versions})
	answer("GET "+one+"/aliases", map[string]any{"Aliases": aliases})
	answer("GET "+one+"/aliases/{alias}", aliases[0])
	answer("GET "+one+"/policy", map[string]any{"Policy": string(policy), "RevisionId": evil})
	answer("GET "+one+"/state", config("$LATEST"))
	answer("GET /2021-10-31/functions/hello/url", map[string]any{"FunctionUrl": evil})
	answer("GET /2021-10-31/functions/hello/urls", map[string]any{"FunctionUrlConfigs": []any{map[string]any{
		"FunctionUrl": evil, "FunctionArn": "arn:aws:lambda:eu-central-1:111122223333:function:hello", "AuthType": evil, "InvokeMode": evil, "Cors": map[string]any{"AllowOrigins": []string{evil}, "AllowHeaders": []string{evil}},
	}, map[string]any{"FunctionUrl": evil, "FunctionArn": arn + evil}}})
	answer("GET /2019-09-30/functions/hello/concurrency", map[string]any{"ReservedConcurrentExecutions": 7})
	answer("GET /2019-09-30/functions/hello/provisioned-concurrency", map[string]any{"ProvisionedConcurrencyConfigs": provisioned})
	answer("GET /2016-08-19/account-settings/{$}", map[string]any{"AccountLimit": map[string]any{"ConcurrentExecutions": 1000}})
	answer("GET /2015-03-31/event-source-mappings", map[string]any{"EventSourceMappings": mappings})
	answer("GET /2019-09-25/functions/hello/event-invoke-config/list", map[string]any{"FunctionEventInvokeConfigs": events})
	answer("GET /2017-03-31/tags/{arn}", map[string]any{"Tags": map[string]string{evil: evil}})
	mux.HandleFunc("GET /2018-10-31/layers", func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Query().Get("find") != "" {
			refuse(w, http.StatusForbidden, "AccessDeniedException", evil)
			return
		}
		writeJSON(w, map[string]any{"Layers": []any{map[string]any{"LayerName": evil, "LatestMatchingVersion": map[string]any{"LayerVersionArn": evil, "Description": evil}}}})
	})
	answer("GET /2018-10-31/layers/{name}/versions", map[string]any{"LayerVersions": []any{map[string]any{"LayerVersionArn": evil, "Description": evil}}})
	mux.HandleFunc("PUT "+one+"/code", func(w http.ResponseWriter, req *http.Request) {
		var in struct {
			RevisionID string `json:"RevisionId"`
			ZipFile    []byte
		}
		if err := json.NewDecoder(req.Body).Decode(&in); err != nil || in.RevisionID != evil {
			t.Errorf("UpdateFunctionCode of revision %q, %v; want that of the form", in.RevisionID, err)
		}
		*sent = in.ZipFile
		writeJSON(w, config("$LATEST"))
	})
	mux.HandleFunc("POST "+one+"/invocations", func(w http.ResponseWriter, _ *http.Request) {
		report := "REPORT RequestId: x\tDuration: 1.50 ms\tBilled Duration: 42 ms\tMemory Size: 128 MB\tMax Memory Used: 40 MB\tInit Duration: 40.25 ms\t\n"
		w.Header().Set("X-Amz-Log-Result", base64.StdEncoding.EncodeToString([]byte(evil+"\x1b[2J\n"+report)))
		w.Header().Set("X-Amz-Function-Error", evil)
		w.Header().Set("X-Amz-Executed-Version", evil)
		_, _ = io.WriteString(w, evil+strings.Repeat(`"`, 1<<20)) // the client reads it all
	})
	logs := func(w http.ResponseWriter, req *http.Request) {
		switch _, operation, _ := strings.Cut(req.Header.Get("X-Amz-Target"), "."); operation {
		case "FilterLogEvents":
			var all []any
			for i := range 100 {
				all = append(all, map[string]any{"eventId": fmt.Sprintf("%020d%036d", i, i), "timestamp": i, "logStreamName": evil, "message": evil + strings.Repeat(`"`, 1000)})
			}
			writeJSON(w, map[string]any{"events": all})
		case "DescribeLogStreams":
			writeJSON(w, map[string]any{"logStreams": []any{map[string]any{"logStreamName": evil}}})
		default:
			writeJSON(w, map[string]any{"logGroups": []any{map[string]any{"logGroupName": evil, "arn": evil}}})
		}
	}
	figures := func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/cold-starts") {
			writeJSON(w, map[string]any{"ColdStarts": []any{map[string]any{"RequestId": evil, "Version": evil, "Init": 40, "Archives": 3, "Total": 43}}})
			return
		}
		var points []any
		begin := time.Now().Add(-14 * 24 * time.Hour).Truncate(time.Hour)
		for i := range 14 * 24 {
			points = append(points, map[string]any{
				"Start": begin.Add(time.Duration(i) * time.Hour), "Invocations": 1234567, "Errors": i, "Duration": map[string]any{"P50": 1.5 * float64(i), "P90": 123.456, "P99": 1234.5, "Maximum": 99999},
				"ConcurrentExecutions": i % 7, "ColdStarts": i % 2, "ColdStart": map[string]any{"Average": 70.123}, "AsyncEventsReceived": i,
			})
		}
		writeJSON(w, map[string]any{"Since": begin, "Period": 3600, "Points": points})
	}
	roles := func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `<ListRolesResponse><ListRolesResult><Roles><member><Arn>%s</Arn><AssumeRolePolicyDocument>lambda.amazonaws.com</AssumeRolePolicyDocument></member></Roles></ListRolesResult></ListRolesResponse>`, strings.NewReplacer("<", "&lt;", `"`, "&quot;").Replace(evil))
	}
	return services{"lambda": mux.ServeHTTP, "logs": logs, "lamina": figures, "iam": roles}, sent
}

// TestFunctionPages visits every page of a function whose texts are markup: none
// becomes a part of the page, and none makes a page too large.
func TestFunctionPages(t *testing.T) {
	t.Parallel()
	files := []testkit.File{{Name: "app.py", Body: evil + strings.Repeat("\"\n", 30_000)}, {Name: "lib/" + evil[:12] + "\u202e.py", Body: "x"}, {Name: evil[:12] + ".txt", Body: evil}, {Name: "data.bin", Body: "\x00"}}
	for i := range 700 {
		files = append(files, testkit.File{Name: fmt.Sprintf("many/%s%04d/%s", evil[:10], i, evil[:12]), Body: "x"})
	}
	archives := shelf{}
	s, _ := fakeFunctions(t, archives, testkit.Zip(t, files...))
	v := visitRooms(t, s, archives)
	const f = "functions/hello"
	for _, path := range []string{
		"functions", "functions-new", f, f + "/layers", f + "/layers?layer=" + url.QueryEscape(evil), f + "/configuration", f + "/environment", f + "/versions", f + "/versions?page=2", f + "/versions/1/delete", f + "/aliases/x",
		f + "/concurrency", f + "/access", f + "/events", f + "/logs", f + "/monitor?range=14d", f + "/delete", f + "/code/file?path=" + url.QueryEscape(evil[:12]+".txt"),
		"logs", "logs/group?name=" + url.QueryEscape(evil) + "&pattern=" + url.QueryEscape(evil) + "&stream=" + url.QueryEscape(evil) + "&since=&from=" + url.QueryEscape(evil), "functions?q=" + url.QueryEscape(evil),
	} {
		tame(t, path, v.get(path, http.StatusOK))
	}
	page := v.get(f+"/code?qualifier="+url.QueryEscape(evil), http.StatusOK)
	tame(t, "code", page)
	has(t, "code", page, "704 files", `dir=many"`, `\u202e`)
	has(t, "a directory", v.get(f+"/code?dir=many", http.StatusOK), "And 400 more in this directory")
	has(t, "large text", v.get(f+"/code/file?path=app.py", http.StatusOK), "too large to be shown")
	has(t, "no text", v.get(f+"/code/file?path=data.bin", http.StatusOK), "It is no text")
	v.get(f+"/code/file?path=absent", http.StatusNotFound)
	page = v.post(f+"/test", url.Values{"event": {evil}, "type": {"RequestResponse"}}, http.StatusOK)
	tame(t, "test", page)
	has(t, "test", page, "There is more", "<dd>42 ms</dd>", "Init: 40.25 ms", "Handler: 1.50 ms", "␛[2J")
}

// TestFunctionEdit changes one file of an archive, and nothing else of it.
func TestFunctionEdit(t *testing.T) {
	t.Parallel()
	var code bytes.Buffer
	w := zip.NewWriter(&code)
	put := func(name string, method uint16, mode uint32, text string) {
		h := &zip.FileHeader{Name: name, Method: method, Modified: time.Date(2020, 2, 29, 12, 0, 0, 0, time.UTC), Comment: "kept"}
		h.CreatorVersion, h.ExternalAttrs = 3<<8, mode<<16
		out, err := w.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(out, text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put("z.py", zip.Store, 0o100600, "first = 1\n")
	put("bin/", zip.Store, 0o40700, "")
	put("bin/run", zip.Deflate, 0o100755, "#!/bin/sh\r\necho 1\r\n")
	put("./z.py", zip.Deflate, 0o100644, "second = 2\n") // overwrites the first
	put("link", zip.Store, 0o120777, "z.py")
	put("mixed.txt", zip.Store, 0o100644, "a\r\nb\n")
	if err := w.SetComment("of the zip"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	archives := shelf{}
	s, sent := fakeFunctions(t, archives, code.Bytes())
	v := visitRooms(t, s, archives)
	type entry struct {
		name, text, comment string
		mode                uint32
		method              uint16
	}
	read := func(data []byte) (all []entry, comment string) {
		t.Helper()
		r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range r.File {
			in, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(in)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, entry{f.Name, string(text), f.Comment, f.ExternalAttrs >> 16, f.Method})
		}
		return all, r.Comment
	}
	before, _ := read(code.Bytes())
	with := func(at int, e entry) []entry {
		out := append([]entry(nil), before...)
		out[at] = e
		return out
	}
	for _, c := range []struct {
		name, path string
		form       url.Values
		want       []entry
	}{
		{"text of unix", "code/file", url.Values{"path": {"z.py"}, "text": {"third = 3\r\n<b>\r\n"}}, with(3, entry{"./z.py", "third = 3\n<b>\n", "kept", 0o100644, zip.Deflate})},
		{"text of DOS", "code/file", url.Values{"path": {"bin/run"}, "text": {"x\ny\r\n"}}, with(2, entry{"bin/run", "x\r\ny\r\n", "kept", 0o100755, zip.Deflate})},
		{"a new program", "code/file", url.Values{"new": {"1"}, "path": {"bin/new"}, "text": {"#!/bin/sh\r\n"}, "runnable": {"1"}}, append(with(0, before[0]), entry{"bin/new", "#!/bin/sh\n", "", 0o100755, zip.Deflate})},
		{"without a directory", "code/remove", url.Values{"path": {"bin"}}, append(append([]entry(nil), before[0]), before[3:]...)},
		{"without both of a name", "code/remove", url.Values{"path": {"z.py"}}, []entry{before[1], before[2], before[4], before[5]}},
	} {
		c.form.Set("revision", evil)
		*sent = nil
		v.post("functions/hello/"+c.path, c.form, map[bool]int{true: http.StatusOK, false: http.StatusNotFound}[!c.form.Has("new")])
		got, comment := read(*sent)
		if fmt.Sprint(got) != fmt.Sprint(c.want) || comment != "of the zip" {
			t.Errorf("%s: %+v, comment %q; want %+v", c.name, got, comment, c.want)
		}
	}
	for _, c := range []struct {
		form url.Values
		want string
	}{
		{url.Values{"path": {"mixed.txt"}, "text": {"x"}}, "be edited here"},
		{url.Values{"path": {"link"}, "text": {"x"}}, "no file link"},
		{url.Values{"new": {"1"}, "path": {"z.py/x"}, "text": {"x"}}, "z.py is no directory"},
		{url.Values{"new": {"1"}, "path": {"/etc/passwd"}, "text": {"x"}}, "is relative"},
		{url.Values{"new": {"1"}, "path": {`a\b`}, "text": {"x"}}, "is relative"},
	} {
		*sent = nil
		page := v.post("functions/hello/code/file", c.form, map[bool]int{true: http.StatusNotFound, false: http.StatusUnprocessableEntity}[c.form.Get("path") == "link"])
		has(t, c.form.Get("path"), page, c.want)
		if *sent != nil {
			t.Errorf("%v was sent", c.form)
		}
	}
}
