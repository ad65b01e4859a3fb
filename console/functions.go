package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// functionRooms registers the pages of functions.
func functionRooms(c *Console) {
	c.handle("GET functions", (*Console).functions)
	c.handle("GET functions-new", (*Console).newFunctionPage)
	c.handle("POST functions-new", (*Console).newFunction)
	c.handle("GET functions/{name}", (*Console).function)
	c.handle("GET functions/{name}/state", (*Console).functionState)
	c.handle("GET functions/{name}/delete", (*Console).deleteFunctionPage)
	c.handle("POST functions/{name}/delete", (*Console).deleteFunction)

	c.handle("GET functions/{name}/code", (*Console).functionCode)
	c.handle("GET functions/{name}/code/file", (*Console).functionFile)
	c.handle("POST functions/{name}/code/file", (*Console).saveFunctionFile)
	c.handle("POST functions/{name}/code/remove", (*Console).removeFunctionFile)
	c.handle("POST functions/{name}/code/upload", (*Console).uploadFunctionCode)
	c.handle("GET functions/{name}/code/archive", (*Console).downloadFunctionCode)

	c.handle("GET functions/{name}/layers", (*Console).functionLayers)
	c.handle("POST functions/{name}/layers", (*Console).setFunctionLayers)

	c.handle("GET functions/{name}/configuration", (*Console).functionSettings)
	c.handle("POST functions/{name}/configuration", (*Console).setFunctionSettings)
	c.handle("GET functions/{name}/environment", (*Console).functionEnvironment)
	c.handle("POST functions/{name}/environment", (*Console).setFunctionEnvironment)
	c.handle("POST functions/{name}/tags", (*Console).setFunctionTags)

	c.handle("GET functions/{name}/versions", (*Console).functionVersions)
	c.handle("POST functions/{name}/versions", (*Console).publishFunctionVersion)
	c.handle("GET functions/{name}/versions/{version}/delete", (*Console).deleteFunctionVersionPage)
	c.handle("POST functions/{name}/versions/{version}/delete", (*Console).deleteFunctionVersion)
	c.handle("POST functions/{name}/aliases", (*Console).newFunctionAlias)
	c.handle("GET functions/{name}/aliases/{alias}", (*Console).functionAlias)
	c.handle("POST functions/{name}/aliases/{alias}", (*Console).setFunctionAlias)
	c.handle("POST functions/{name}/aliases/{alias}/delete", (*Console).deleteFunctionAlias)

	c.handle("GET functions/{name}/concurrency", (*Console).functionConcurrency)
	c.handle("POST functions/{name}/concurrency", (*Console).setFunctionConcurrency)
	c.handle("POST functions/{name}/provisioned", (*Console).setFunctionProvisioned)

	c.handle("GET functions/{name}/access", (*Console).functionAccess)
	c.handle("POST functions/{name}/url", (*Console).setFunctionURL)
	c.handle("POST functions/{name}/url/delete", (*Console).deleteFunctionURL)
	c.handle("POST functions/{name}/permissions", (*Console).addFunctionPermission)
	c.handle("POST functions/{name}/permissions/remove", (*Console).removeFunctionPermission)

	c.handle("GET functions/{name}/events", (*Console).functionEvents)
	c.handle("POST functions/{name}/events", (*Console).setFunctionEvents)

	c.handle("GET functions/{name}/test", (*Console).functionTest)
	c.handle("POST functions/{name}/test", (*Console).invokeFunction)

	c.handle("GET functions/{name}/logs", (*Console).functionLogs)
	c.handle("GET functions/{name}/monitor", (*Console).functionMonitor)
}

// functionConfig is a function's configuration as Lambda answers it.
type functionConfig struct {
	FunctionName, FunctionArn, Runtime, Role, Handler, Description, LastModified, CodeSha256, Version, RevisionId string
	State, StateReason, StateReasonCode                                                                           string
	LastUpdateStatus, LastUpdateStatusReason, LastUpdateStatusReasonCode                                          string
	PackageType, KMSKeyArn                                                                                        string
	CodeSize, Timeout, MemorySize                                                                                 int64
	Architectures                                                                                                 []string
	Layers                                                                                                        []struct {
		Arn      string
		CodeSize int64
	}
	Environment struct {
		Variables map[string]string
		Error     *struct{ ErrorCode, Message string }
	}
	TracingConfig    struct{ Mode string }
	DeadLetterConfig struct{ TargetArn string }
	EphemeralStorage struct{ Size int64 }
	SnapStart        struct{ ApplyOn, OptimizationStatus string }
	LoggingConfig    struct{ LogFormat, ApplicationLogLevel, SystemLogLevel, LogGroup string }
	VpcConfig        struct {
		VpcId                       string
		SubnetIds, SecurityGroupIds []string
	}
}

// LogGroup is where the function's lines go.
func (f *functionConfig) LogGroup() string {
	if f.LoggingConfig.LogGroup != "" {
		return f.LoggingConfig.LogGroup
	}
	return "/aws/lambda/" + f.FunctionName
}

// IsImage reports whether the code is a container image.
func (f *functionConfig) IsImage() bool { return f.PackageType == "Image" }

// Architecture is the one that the function runs on.
func (f *functionConfig) Architecture() string { return strings.Join(f.Architectures, ", ") }

// Settled reports whether nothing is going on with the function.
func (f *functionConfig) Settled() bool {
	return f.State != "Pending" && f.LastUpdateStatus != "InProgress"
}

// functionHead is what every page of one function begins with.
type functionHead struct {
	Name      string
	Qualifier string // empty for $LATEST
	Tab       string
	Config    functionConfig // without anything when the caller may not see it
	Known     bool
	denials
}

// denials are the parts of a page that the caller may not see, and why.
type denials struct{ Denied []string }

// part notes that a service denied a part of a page. Any other error is returned.
func (d *denials) part(what string, err error) error {
	r, ok := err.(*refusal) //nolint:errorlint // nothing wraps it
	if !ok || !r.isDenial() {
		return err
	}
	d.Denied = append(d.Denied, what+": "+r.Message)
	return nil
}

// isDenial reports whether the caller lacks a permission. Services of the JSON
// protocol answer that with status 400.
func (r *refusal) isDenial() bool {
	return r.Status == http.StatusForbidden || strings.HasPrefix(r.Code, "AccessDenied")
}

// Path leads to a page of the function, with the version or alias that is looked at.
func (h *functionHead) Path(parts ...string) string {
	p := at(append([]string{"functions", h.Name}, parts...)...)
	if h.Qualifier != "" {
		p += "?qualifier=" + url.QueryEscape(h.Qualifier)
	}
	return p
}

// Latest reports whether the page is about $LATEST, which alone can be changed.
func (h *functionHead) Latest() bool { return h.Qualifier == "" }

// trail leads to the pages of the function.
func (h *functionHead) trail() []link { return []link{{"Functions", at("functions")}} }

// functionTabs are the pages of a function.
var functionTabs = []struct{ Tab, Text string }{
	{"", "Overview"},
	{"code", "Code"},
	{"layers", "Layers"},
	{"test", "Test"},
	{"configuration", "Configuration"},
	{"versions", "Versions"},
	{"concurrency", "Concurrency"},
	{"access", "Access"},
	{"events", "Events"},
	{"logs", "Logs"},
	{"monitor", "Monitor"},
}

// Tabs are the function's pages, each with its address.
func (h *functionHead) Tabs() []struct {
	Tab, Text, Path string
} {
	var tabs []struct{ Tab, Text, Path string }
	for _, t := range functionTabs {
		parts := []string{"functions", h.Name}
		if t.Tab != "" {
			parts = append(parts, t.Tab)
		}
		p := at(parts...)
		if h.Qualifier != "" && slices.Contains([]string{"", "code", "layers", "configuration", "test"}, t.Tab) {
			p += "?qualifier=" + url.QueryEscape(h.Qualifier)
		}
		tabs = append(tabs, struct{ Tab, Text, Path string }{t.Tab, t.Text, p})
	}
	return tabs
}

// functionPath is the path of a request about a function; pairs are the names
// and values of its query, of which those without a value are left out.
func functionPath(version, name, rest string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	p := "/" + version + "/functions/" + url.PathEscape(name) + rest
	if len(q) > 0 {
		p += "?" + q.Encode()
	}
	return p
}

// of2015 is the version of the API that most operations have in their paths.
const of2015 = "2015-03-31"

// settling is how long a page waits for an update that is going on.
const settling = 500 * time.Millisecond

// sleep waits, and reports whether the context lasted as long.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// functionHead asks for the function that the path names.
func (v *visit) functionHead(tab string) (*functionHead, error) {
	h := &functionHead{Name: v.req.PathValue("name"), Qualifier: v.req.URL.Query().Get("qualifier"), Tab: tab}
	if h.Qualifier == "$LATEST" {
		h.Qualifier = ""
	}
	h.Config.FunctionName = h.Name
	// The end of an update changes the revision that forms send back. It mostly comes at once.
	ctx, cancel := context.WithTimeout(v.context(), settling)
	defer cancel()
	err := v.lambda(v.context(), http.MethodGet, functionPath(of2015, h.Name, "/configuration", "Qualifier", h.Qualifier), nil, &h.Config)
	for err == nil && !h.Config.Settled() && sleep(ctx, settling/20) {
		err = v.lambda(v.context(), http.MethodGet, functionPath(of2015, h.Name, "/configuration", "Qualifier", h.Qualifier), nil, &h.Config)
	}
	h.Known = err == nil
	if err := h.part("Configuration", err); err != nil {
		return nil, err
	}
	return h, nil
}

// title is that of a page of a function.
func (h *functionHead) title(of string) string {
	if h.Qualifier != "" {
		return h.Name + ":" + h.Qualifier + " · " + of
	}
	return h.Name + " · " + of
}

// showFunction answers a page of a function.
func (v *visit) showFunction(name, title string, h *functionHead, data any) error {
	return v.ok(name, page{Title: h.title(title), Room: "functions", Trail: h.trail(), Data: data})
}

// rowsPerPage is how many rows of a long list a page has.
const rowsPerPage = 100

// window is a page of a long list.
type window struct {
	Page, Pages, Rows int
	query             url.Values
}

// windowOf cuts rows to those that the parameter page of the query asks for.
func windowOf[T any](rows []T, query url.Values) ([]T, window) {
	w := window{Rows: len(rows), Pages: max(1, (len(rows)+rowsPerPage-1)/rowsPerPage), query: query}
	n, _ := strconv.Atoi(query.Get("page"))
	w.Page = min(max(n, 1), w.Pages)
	from := (w.Page - 1) * rowsPerPage
	return rows[from:min(from+rowsPerPage, len(rows))], w
}

func (w window) at(n int) string {
	q := url.Values{}
	for name, values := range w.query {
		q[name] = values
	}
	q.Set("page", strconv.Itoa(n))
	return "?" + q.Encode()
}

// Before and After lead to the neighbours; empty at the ends.
func (w window) Before() string {
	if w.Page <= 1 {
		return ""
	}
	return w.at(w.Page - 1)
}

// After leads to the next page.
func (w window) After() string {
	if w.Page >= w.Pages {
		return ""
	}
	return w.at(w.Page + 1)
}

type functionsData struct {
	Functions []functionConfig
	Query     string
	Cut       bool // there are more than were looked through
	window
	All int
}

// functions lists them, by name.
func (c *Console) functions(v *visit) error {
	all, cut, err := v.allFunctions(v.context())
	if err != nil {
		return err
	}
	d := functionsData{Query: strings.TrimSpace(v.req.URL.Query().Get("q")), Cut: cut, All: len(all)}
	if words := strings.Fields(strings.ToLower(d.Query)); len(words) > 0 {
		all = slices.DeleteFunc(all, func(f functionConfig) bool {
			text := strings.ToLower(f.FunctionName + " " + f.Description + " " + f.Runtime + " " + f.Architecture() + " " + f.PackageType)
			for _, l := range f.Layers {
				text += " " + strings.ToLower(l.Arn)
			}
			return !containsAll(text, words)
		})
	}
	d.Functions, d.window = windowOf(all, v.req.URL.Query())
	return v.ok("functions", page{Title: "Functions", Room: "functions", Data: d})
}

func containsAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// allFunctions asks for all functions, by name. It reports whether there are more
// than it looked through.
func (v *visit) allFunctions(ctx context.Context) ([]functionConfig, bool, error) {
	var all []functionConfig
	cut, err := every(func(marker string) (string, error) {
		var out struct {
			Functions  []functionConfig
			NextMarker string
		}
		err := v.lambda(ctx, http.MethodGet, "/"+of2015+"/functions?MaxItems=50&Marker="+url.QueryEscape(marker), nil, &out)
		for i := range out.Functions {
			out.Functions[i].Environment.Variables = nil // most of it, and lists don't show it
		}
		all = append(all, out.Functions...)
		return out.NextMarker, err
	})
	slices.SortFunc(all, func(a, b functionConfig) int { return strings.Compare(a.FunctionName, b.FunctionName) })
	return all, cut, err
}

// shortARN is a layer version's name and number, of the caller's own; else all of
// the ARN.
func (v *visit) shortARN(arn string) string {
	own := "arn:aws:lambda:" + v.session.Region + ":" + v.caller.Account + ":layer:"
	return strings.TrimPrefix(arn, own)
}

type functionData struct {
	*functionHead
	Versions   int
	Aliases    []aliasConfig
	URL        string
	Charts     []chart
	ChartsNote string
}

// function tells what a function is and how it does.
func (c *Console) function(v *visit) error {
	h, err := v.functionHead("")
	if err != nil {
		return err
	}
	d := functionData{functionHead: h}
	versions, err := v.versionsOf(h.Name)
	if err := h.part("Versions", err); err != nil {
		return err
	}
	for _, f := range versions {
		if f.Version != "$LATEST" {
			d.Versions++
		}
	}
	d.Aliases, err = v.aliasesOf(h.Name)
	if err := h.part("Aliases", err); err != nil {
		return err
	}
	var address struct{ FunctionUrl string }
	if err := v.lambda(v.context(), http.MethodGet, functionPath("2021-10-31", h.Name, "/url"), nil, &address); err != nil && !refusedWith(err, "ResourceNotFoundException") {
		if err := h.part("URL", err); err != nil {
			return err
		}
	}
	d.URL = address.FunctionUrl
	if d.Charts, d.ChartsNote, err = v.functionCharts(h, chartRanges[1], 2); err != nil {
		return err
	}
	return v.showFunction("function", "Overview", h, d)
}

// functionState answers the function's state, which pages ask for until it is settled.
func (c *Console) functionState(v *visit) error {
	h, err := v.functionHead("")
	if err != nil {
		return err
	}
	if h.Config.Settled() {
		v.w.Header().Set("X-Done", "1")
	}
	return v.showFunction("functionstate", "State", h, h)
}

type functionDeleteData struct {
	*functionHead
	Versions int
	Aliases  []aliasConfig
	URL      string
	Mappings []mappingConfig
	Uses     []string // statements of the policy, as text
}

// deleteFunctionPage tells what goes with a function.
func (c *Console) deleteFunctionPage(v *visit) error {
	h, err := v.functionHead("delete")
	if err != nil {
		return err
	}
	d := functionDeleteData{functionHead: h}
	versions, err := v.versionsOf(h.Name)
	if err := h.part("Versions", err); err != nil {
		return err
	}
	d.Versions = max(len(versions)-1, 0)
	d.Aliases, err = v.aliasesOf(h.Name)
	if err := h.part("Aliases", err); err != nil {
		return err
	}
	urls, err := v.urlsOf(h.Name)
	if err := h.part("URL", err); err != nil {
		return err
	}
	for _, u := range urls {
		d.URL = u.FunctionUrl
	}
	d.Mappings, err = v.mappingsOf(h.Name)
	if err := h.part("Event source mappings", err); err != nil {
		return err
	}
	return v.showFunction("functiondelete", "Delete", h, d)
}

func (c *Console) deleteFunction(v *visit) error {
	name := v.req.PathValue("name")
	back := at("functions", name, "delete")
	if v.req.PostForm.Get("confirm") != name {
		return v.notDone(back, &refusal{Code: "NotConfirmed", Message: "Type the function's name, " + name + ", to delete it."})
	}
	if err := v.lambda(v.context(), http.MethodDelete, functionPath(of2015, name, ""), nil, nil); err != nil {
		return v.notDone(back, err)
	}
	return v.done(at("functions"), "Function %s deleted. Its log group stays.", name)
}

// fieldNumber reads a number of a form.
func fieldNumber(form url.Values, name, label string) (int64, error) {
	text := strings.TrimSpace(form.Get(name))
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, &refusal{Status: http.StatusUnprocessableEntity, Code: "InvalidForm", Message: fmt.Sprintf("%s: %q is no whole number.", label, text)}
	}
	return n, nil
}
