package console_test

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

func xmlText(s string) string {
	var out strings.Builder
	if err := xml.EscapeText(&out, []byte(s)); err != nil {
		panic(err)
	}
	return out.String()
}

// fakeStacks answers for one stack, whose text is all evil. Busy says that something
// is being done to it; deleted is told of deletions.
func fakeStacks(busy *atomic.Bool, deleted chan<- string) http.HandlerFunc {
	const id = "arn:aws:cloudformation:eu-central-1:111122223333:stack/shop/1-2"
	return func(w http.ResponseWriter, req *http.Request) {
		if err := req.ParseForm(); err != nil {
			panic(err)
		}
		answer := func(text string) {
			action := req.PostForm.Get("Action")
			fmt.Fprintf(w, "<%sResponse><%sResult>%s</%sResult></%sResponse>", action, action, text, action, action)
		}
		status := "CREATE_COMPLETE"
		if busy.Load() {
			status = "UPDATE_IN_PROGRESS"
		}
		bad := xmlText(evil)
		stack := "<StackId>" + id + "</StackId><StackName>shop</StackName><StackStatus>" + status + "</StackStatus><StackStatusReason>" + bad + "</StackStatusReason>" +
			"<CreationTime>2026-01-02T03:04:05.000Z</CreationTime><EnableTerminationProtection>true</EnableTerminationProtection>"
		resource := "<LogicalResourceId>Nested</LogicalResourceId><PhysicalResourceId>" + id + "</PhysicalResourceId><ResourceType>AWS::CloudFormation::Stack</ResourceType>" +
			"<ResourceStatus>CREATE_FAILED</ResourceStatus><ResourceStatusReason>" + bad + "</ResourceStatusReason>"
		if name := req.PostForm.Get("StackName"); name == "absent" {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, "<ErrorResponse><Error><Code>ValidationError</Code><Message>Stack with id absent does not exist</Message></Error></ErrorResponse>")
			return
		}
		switch action := req.PostForm.Get("Action"); action {
		case "ListStacks":
			if req.PostForm.Get("StackStatusFilter.member.1") == "" {
				answer("<StackSummaries><member><StackId>" + id + "</StackId><StackName>shop</StackName><StackStatus>DELETE_COMPLETE</StackStatus></member></StackSummaries>")
				return
			}
			answer("<StackSummaries><member>" + stack + "<TemplateDescription>" + bad + "</TemplateDescription></member></StackSummaries><NextToken>next</NextToken>")
		case "DescribeStacks":
			answer("<Stacks><member>" + stack + "<Description>" + bad + "</Description><ParentId>" + id + "</ParentId><RootId>" + id + "x</RootId>" +
				"<Parameters><member><ParameterKey>Size</ParameterKey><ParameterValue>" + bad + "</ParameterValue></member></Parameters>" +
				"<Outputs><member><OutputKey>URL</OutputKey><OutputValue>" + bad + ".output</OutputValue><ExportName>shop-url</ExportName></member></Outputs>" +
				"<Tags><member><Key>" + bad + "</Key><Value>" + bad + ".tag</Value></member></Tags></member></Stacks>")
		case "ListStackResources":
			answer("<StackResourceSummaries><member>" + resource + "</member></StackResourceSummaries>")
		case "DescribeStackEvents":
			answer("<StackEvents><member><Timestamp>2026-01-02T03:04:05.000Z</Timestamp>" + resource + "</member></StackEvents><NextToken>older</NextToken>")
		case "GetTemplate":
			answer("<TemplateBody>" + req.PostForm.Get("TemplateStage") + bad + strings.Repeat("ü", 50<<10) + "</TemplateBody>")
		case "DeleteStack":
			deleted <- req.PostForm.Get("StackName")
			fmt.Fprint(w, "<DeleteStackResponse/>")
		default:
			panic(action)
		}
	}
}

// TestStackPages looks at every page about stacks.
func TestStackPages(t *testing.T) {
	t.Parallel()
	var busy atomic.Bool
	deleted := make(chan string, 1) // by the fake, for the test
	v := visitRooms(t, services{"cloudformation": fakeStacks(&busy, deleted)}, shelf{})

	page := v.get("stacks", http.StatusOK)
	tame(t, "list", page)
	has(t, "list", page, `href="/_console/stacks/shop"`, "token=next", "CREATE_COMPLETE")
	has(t, "deleted ones", v.get("stacks?deleted=1", http.StatusOK), `href="/_console/stacks/arn:aws:cloudformation:eu-central-1:111122223333:stack%2Fshop%2F1-2"`)

	page = v.get("stacks/shop", http.StatusOK)
	tame(t, "stack", page)
	has(t, "stack", page, "&gt;.output", "&gt;.tag", "shop-url", "Nested in", "Outermost stack")
	if strings.Contains(page, "data-refresh") {
		t.Error("a stack that is not busy is asked for again")
	}
	for _, path := range []string{"stacks/shop/resources", "stacks/arn:aws:cloudformation:eu-central-1:111122223333:stack%2Fshop%2F1-2/resources"} {
		page = v.get(path, http.StatusOK)
		tame(t, path, page)
		has(t, path, page, `href="/_console/stacks/arn:aws:cloudformation:eu-central-1:111122223333:stack%2Fshop%2F1-2"`, "CREATE_FAILED")
	}
	page = v.get("stacks/shop/events", http.StatusOK)
	tame(t, "events", page)
	has(t, "events", page, "token=older")
	page = v.get("stacks/shop/template?stage=Processed", http.StatusOK)
	tame(t, "template", page)
	has(t, "template", page, "Processed&lt;img", "Download it to see all", "As it was sent")
	if got := v.get("stacks/shop/template/download", http.StatusOK); !strings.HasPrefix(got, "Original"+evil) || len(got) < 100<<10 {
		t.Errorf("downloaded template = %.80q, %d bytes; want the whole original", got, len(got))
	}
	has(t, "absent stack", v.get("stacks/absent", http.StatusNotFound), "does not exist")

	busy.Store(true)
	has(t, "busy stack", v.get("stacks/shop/events", http.StatusOK), `data-refresh="/_console/stacks/shop/events"`, "UPDATE_IN_PROGRESS")
	done := func(what, want string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, v.url+"stacks/shop/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Console-Part", "1")
		resp, err := v.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("X-Done"); got != want {
			t.Errorf("X-Done of %s = %q; want %q", what, got, want)
		}
	}
	done("a busy stack", "")
	busy.Store(false)
	done("a stack that is not busy", "1")

	page = v.get("stacks/shop/delete", http.StatusOK)
	tame(t, "deletion", v.get("stacks/shop/resources", http.StatusOK))
	has(t, "deletion", page, "Termination protection is on", "It exports shop-url", "nested in", "Delete stack shop")
	tame(t, "after the deletion", v.post("stacks/shop/delete", url.Values{}, http.StatusOK))
	if got, want := <-deleted, "arn:aws:cloudformation:eu-central-1:111122223333:stack/shop/1-2"; got != want {
		t.Errorf("deleted %s; want %s", got, want)
	}
}

// TestOverview: everybody sees the account, the operator the machine as well, and
// nobody a page that breaks because something may not be known.
func TestOverview(t *testing.T) {
	t.Parallel()
	var busy atomic.Bool
	busy.Store(true)
	s := fakeLayers(t, shelf{}, []byte("PK"))
	layers := s["lambda"]
	s["lambda"] = func(w http.ResponseWriter, req *http.Request) {
		switch {
		case strings.Contains(req.URL.Path, "account-settings"):
			_, _ = w.Write([]byte(`{"AccountLimit":{"TotalCodeSize":80530636800,"ConcurrentExecutions":1000},"AccountUsage":{"TotalCodeSize":40265318400,"FunctionCount":1234}}`))
		case strings.HasPrefix(req.URL.Path, "/2015-03-31/functions"):
			writeJSON(w, map[string]any{"Functions": []map[string]string{
				{"FunctionName": "older", "LastModified": "2026-01-01T00:00:00.000+0000", "Runtime": evil}, {"FunctionName": "newer", "LastModified": "2026-01-02T00:00:00.000+0000"},
			}})
		default:
			layers(w, req)
		}
	}
	s["cloudformation"] = fakeStacks(&busy, nil)
	asked := make(chan string, 100) // by the fake, for the test
	s["lamina"] = func(w http.ResponseWriter, req *http.Request) {
		asked <- req.URL.Path
		switch req.URL.Path {
		case "/_lamina/top":
			writeJSON(w, map[string]any{"Minutes": 5, "Functions": []any{
				map[string]any{"Running": 1, "Invocations": 1200, "Errors": 7, "Environments": map[string]int{"Busy": 3, "Idle": 4}},
				map[string]any{"Invocations": 34, "Environments": map[string]int{"Busy": 1}},
			}})
		case "/_lamina/machine":
			var m any
			if err := json.Unmarshal([]byte(`{"CPUs":8,"Load":1.5,"MemoryTotal":17179869184,"MemoryFree":8589934592,"DiskTotal":1099511627776,"DiskFree":1,"Started":"2026-01-02T03:04:05Z",
				"Process":{"Memory":104857600},"Environments":{"Limit":64,"Waiting":2,"Busy":9,"Idle":8},"Cache":{"Archives":5,"Bytes":1048576,"MaxBytes":2097152}}`), &m); err != nil {
				panic(err)
			}
			writeJSON(w, m)
		}
	}
	v := visitRooms(t, s, shelf{})
	page := v.get("", http.StatusOK)
	tame(t, "overview", page)
	has(t, "overview", page, ">1,234<", "37.5 GB", "1,234", "4 <span class=\"dim\">running", "8.0 GB", "1.0 MB", "2 waiting for a place", "1.50 ", `href="/_console/stacks/shop/events"`,
		`data-refresh="/_console/?again=activity-machine"`)
	if strings.Index(page, ">newer<") > strings.Index(page, ">older<") {
		t.Error("the function that changed first is shown first")
	}
	for len(asked) > 0 {
		<-asked
	}
	page = v.get("?again=activity", http.StatusOK, "X-Console-Part", "1")
	if len(asked) != 1 || strings.Contains(page, "<h1>") || strings.Contains(page, "The machine") {
		t.Errorf("a script that asks again for the activity costs %d requests, and gets\n%s", len(asked), page)
	}

	for _, service := range []string{"lamina", "cloudformation"} {
		delete(s, service)
	}
	page = v.get("", http.StatusOK)
	has(t, "overview without permissions", page, "Stacks: AccessDeniedException", "1,234")
	if strings.Contains(page, "The machine") {
		t.Error("who may not know of the machine is told")
	}
}
