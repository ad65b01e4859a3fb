package console

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/lamina-run/lamina"
)

// stackPages registers what is about stacks.
func stackPages(c *Console) {
	c.handle("GET stacks", (*Console).stacks)
	c.handle("GET stacks/{name}", (*Console).stack)
	c.handle("GET stacks/{name}/resources", (*Console).stackResources)
	c.handle("GET stacks/{name}/events", (*Console).stackEvents)
	c.handle("GET stacks/{name}/template", (*Console).stackTemplate)
	c.handle("GET stacks/{name}/template/download", (*Console).downloadStackTemplate)
	c.handle("GET stacks/{name}/delete", (*Console).confirmStackDeletion)
	c.handle("POST stacks/{name}/delete", (*Console).deleteStack)
}

// stacksService is the name of the service that stacks are of.
const stacksService = "cloudformation"

// stackItem is a stack as ListStacks and DescribeStacks tell it.
type stackItem struct {
	StackID                     string `xml:"StackId"`
	StackName                   string
	Description                 string
	TemplateDescription         string
	StackStatus                 string
	StackStatusReason           string
	CreationTime                string
	LastUpdatedTime             string
	DeletionTime                string
	ParentID                    string `xml:"ParentId"`
	RootID                      string `xml:"RootId"`
	RoleARN                     string
	EnableTerminationProtection bool
	DisableRollback             bool
	Capabilities                []string         `xml:"Capabilities>member"`
	Parameters                  []stackParameter `xml:"Parameters>member"`
	Outputs                     []stackOutput    `xml:"Outputs>member"`
	Tags                        []stackTag       `xml:"Tags>member"`
}

type (
	stackParameter struct{ ParameterKey, ParameterValue, ResolvedValue string }
	stackOutput    struct{ OutputKey, OutputValue, Description, ExportName string }
	stackTag       struct{ Key, Value string }
)

// Busy reports whether something is being done to the stack.
func (s stackItem) Busy() bool { return strings.HasSuffix(s.StackStatus, "_IN_PROGRESS") }

// Deleted reports whether the stack is gone, and only its ID still names it.
func (s stackItem) Deleted() bool { return s.StackStatus == "DELETE_COMPLETE" }

// Path is where the stack's pages are.
func (s stackItem) Path(parts ...string) string {
	name := s.StackName
	if s.Deleted() {
		name = s.StackID
	}
	return at(append([]string{"stacks", name}, parts...)...)
}

// StatusClass is the class of a status's tag.
func (s stackItem) StatusClass() string { return statusClass(s.StackStatus) }

// ParentName is the name in the ID of the stack that this one is nested in.
func (s stackItem) ParentName() string { return stackName(s.ParentID) }

// RootName is the name in the ID of the outermost stack.
func (s stackItem) RootName() string { return stackName(s.RootID) }

// stackName is the name in a stack's ID: arn:…:stack/name/uuid.
func stackName(id string) string {
	if parts := strings.Split(id, "/"); len(parts) == 3 {
		return parts[1]
	}
	return id
}

// statusClass tells whether a status of a stack or a resource is good news.
func statusClass(status string) string {
	switch {
	case strings.HasSuffix(status, "_FAILED"), strings.Contains(status, "ROLLBACK"):
		return "bad"
	case strings.HasSuffix(status, "_IN_PROGRESS"):
		return "warn"
	}
	return "good"
}

// liveStatuses are those of stacks that are not gone.
var liveStatuses = strings.Fields(`CREATE_IN_PROGRESS CREATE_FAILED CREATE_COMPLETE ROLLBACK_IN_PROGRESS ROLLBACK_FAILED ROLLBACK_COMPLETE
	DELETE_IN_PROGRESS DELETE_FAILED UPDATE_IN_PROGRESS UPDATE_COMPLETE_CLEANUP_IN_PROGRESS UPDATE_COMPLETE UPDATE_FAILED
	UPDATE_ROLLBACK_IN_PROGRESS UPDATE_ROLLBACK_FAILED UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS UPDATE_ROLLBACK_COMPLETE REVIEW_IN_PROGRESS`)

// stackFilter asks ListStacks for stacks of some statuses.
func stackFilter(statuses []string) url.Values {
	q := url.Values{}
	for i, s := range statuses {
		q.Set("StackStatusFilter.member."+strconv.Itoa(i+1), s)
	}
	return q
}

type stacksData struct {
	Stacks  []stackItem
	Search  string
	Deleted bool // those that are gone are shown too
	Next    string
	Later   bool
	Cut     bool
}

const stacksFound = 100

// listStacks asks for one page.
func (v *visit) listStacks(ctx context.Context, statuses []string, token string) ([]stackItem, string, error) {
	form := stackFilter(statuses)
	if token != "" {
		form.Set("NextToken", token)
	}
	var out struct {
		Stacks    []stackItem `xml:"StackSummaries>member"`
		NextToken string
	}
	err := v.query(ctx, stacksService, "ListStacks", form, &out)
	return out.Stacks, out.NextToken, err
}

// stacks lists the stacks of the account: page by page, or those that a search finds.
func (c *Console) stacks(v *visit) error {
	q := v.req.URL.Query()
	d := stacksData{Search: strings.TrimSpace(q.Get("search")), Deleted: q.Get("deleted") != ""}
	statuses := liveStatuses
	if d.Deleted {
		statuses = nil
	}
	if d.Search == "" {
		all, next, err := v.listStacks(v.context(), statuses, q.Get("token"))
		if err != nil {
			return err
		}
		d.Stacks, d.Later = all, q.Get("token") != ""
		if next != "" {
			more := url.Values{"token": {next}}
			if d.Deleted {
				more.Set("deleted", "1")
			}
			d.Next = at("stacks") + "?" + more.Encode()
		}
	} else {
		cut, err := every(func(token string) (string, error) {
			all, next, err := v.listStacks(v.context(), statuses, token)
			for _, s := range all {
				if !matches(d.Search, s.StackName, s.TemplateDescription) {
					continue
				}
				if len(d.Stacks) == stacksFound {
					d.Cut = true
					return "", nil
				}
				d.Stacks = append(d.Stacks, s)
			}
			return next, err
		})
		if err != nil {
			return err
		}
		d.Cut = d.Cut || cut
	}
	return v.ok("stacks", page{Title: "Stacks", Room: "stacks", Data: d})
}

// stackHead is what all pages of one stack have in common.
type stackHead struct {
	stackItem
	Tab string
	// Refresh is the page to ask again while the stack is busy.
	Refresh string
}

func (h stackHead) page(data any) page {
	return page{Title: h.StackName, Room: "stacks", Trail: []link{{"Stacks", at("stacks")}}, Data: data}
}

// stackAsked gets the stack that the path names, by name or ID. A script that asks
// again for a part of its page is told when that is no longer of use.
func (v *visit) stackAsked(tab string) (stackHead, error) {
	var out struct {
		Stacks []stackItem `xml:"Stacks>member"`
	}
	err := v.query(v.context(), stacksService, "DescribeStacks", url.Values{"StackName": {v.req.PathValue("name")}}, &out)
	if refused, ok := err.(*refusal); ok && refused.Code == "ValidationError" && strings.Contains(refused.Message, "does not exist") { //nolint:errorlint // nothing wraps it
		refused.Status = http.StatusNotFound
	}
	if err != nil {
		return stackHead{}, err
	}
	if len(out.Stacks) == 0 {
		return stackHead{}, &refusal{Status: http.StatusNotFound, Code: "ValidationError", Message: "There is no such stack."}
	}
	h := stackHead{stackItem: out.Stacks[0], Tab: tab}
	if h.Busy() {
		h.Refresh = v.req.URL.RequestURI()
	} else if v.isPart() {
		v.w.Header().Set("X-Done", "1")
	}
	return h, nil
}

// stack shows a stack's status, outputs and parameters.
func (c *Console) stack(v *visit) error {
	h, err := v.stackAsked("stack")
	if err != nil {
		return err
	}
	return v.ok("stack", h.page(h))
}

// stackResource is a resource as ListStackResources tells it.
type stackResource struct {
	LogicalResourceID    string `xml:"LogicalResourceId"`
	PhysicalResourceID   string `xml:"PhysicalResourceId"`
	ResourceType         string
	ResourceStatus       string
	ResourceStatusReason string
	LastUpdatedTimestamp string
}

// StatusClass is the class of a status's tag.
func (r stackResource) StatusClass() string { return statusClass(r.ResourceStatus) }

// Path is the page about what the resource is; empty where the console has none.
func (r stackResource) Path() string {
	if r.PhysicalResourceID == "" || r.ResourceStatus == "DELETE_COMPLETE" {
		return ""
	}
	switch r.ResourceType {
	case "AWS::CloudFormation::Stack":
		return at("stacks", r.PhysicalResourceID)
	case "AWS::Lambda::Function":
		return at("functions", r.PhysicalResourceID)
	case "AWS::Lambda::LayerVersion":
		if ref, ok := lamina.ParseLayerReference(r.PhysicalResourceID); ok && ref.Version > 0 {
			return at("layers", ref.Name, "versions", strconv.FormatInt(ref.Version, 10))
		}
	}
	return ""
}

type stackResourcesData struct {
	stackHead
	Resources []stackResource
	Next      string
	Later     bool
}

func (v *visit) resourcesOf(stack, token string) ([]stackResource, string, error) {
	form := url.Values{"StackName": {stack}}
	if token != "" {
		form.Set("NextToken", token)
	}
	var out struct {
		Resources []stackResource `xml:"StackResourceSummaries>member"`
		NextToken string
	}
	err := v.query(v.context(), stacksService, "ListStackResources", form, &out)
	return out.Resources, out.NextToken, err
}

// stackResources lists what a stack is made of.
func (c *Console) stackResources(v *visit) error {
	h, err := v.stackAsked("resources")
	if err != nil {
		return err
	}
	d := stackResourcesData{stackHead: h}
	token := v.req.URL.Query().Get("token")
	next := ""
	if d.Resources, next, err = v.resourcesOf(h.StackID, token); err != nil {
		return err
	}
	d.Later = token != ""
	if next != "" {
		d.Next = h.Path("resources") + "?" + url.Values{"token": {next}}.Encode()
	}
	return v.ok("stackresources", h.page(d))
}

// stackEvent is an event as DescribeStackEvents tells it.
type stackEvent struct {
	Timestamp            string
	LogicalResourceID    string `xml:"LogicalResourceId"`
	PhysicalResourceID   string `xml:"PhysicalResourceId"`
	ResourceType         string
	ResourceStatus       string
	ResourceStatusReason string
}

// StatusClass is the class of a status's tag.
func (e stackEvent) StatusClass() string { return statusClass(e.ResourceStatus) }

type stackEventsData struct {
	stackHead
	Events []stackEvent
	Next   string
	Later  bool
}

// stackEvents lists what happened to a stack, the youngest first.
func (c *Console) stackEvents(v *visit) error {
	h, err := v.stackAsked("events")
	if err != nil {
		return err
	}
	d := stackEventsData{stackHead: h}
	token := v.req.URL.Query().Get("token")
	form := url.Values{"StackName": {h.StackID}}
	if d.Later = token != ""; d.Later {
		form.Set("NextToken", token)
		d.Refresh = "" // what is over does not change
	}
	var out struct {
		Events    []stackEvent `xml:"StackEvents>member"`
		NextToken string
	}
	if err := v.query(v.context(), stacksService, "DescribeStackEvents", form, &out); err != nil {
		return err
	}
	d.Events = out.Events
	if out.NextToken != "" {
		d.Next = h.Path("events") + "?" + url.Values{"token": {out.NextToken}}.Encode()
	}
	return v.ok("stackevents", h.page(d))
}

// templateShown bounds what of a template is on its page, in bytes.
const templateShown = 80 << 10

type stackTemplateData struct {
	stackHead
	Stage     string // Original or Processed
	Processed bool   // there is a processed one, which differs
	Text      string
	Cut       bool
}

func (v *visit) templateOf(h stackHead, stage string) (string, error) {
	var out struct{ TemplateBody string }
	err := v.query(v.context(), stacksService, "GetTemplate", url.Values{"StackName": {h.StackID}, "TemplateStage": {stage}}, &out)
	return out.TemplateBody, err
}

// stageAsked is which template a page is about.
func (v *visit) stageAsked() string {
	if v.req.URL.Query().Get("stage") == "Processed" {
		return "Processed"
	}
	return "Original"
}

// stackTemplate shows the template, as it was sent or as transforms made it.
func (c *Console) stackTemplate(v *visit) error {
	h, err := v.stackAsked("template")
	if err != nil {
		return err
	}
	h.Refresh = ""
	d := stackTemplateData{stackHead: h, Stage: v.stageAsked()}
	original, err := v.templateOf(h, "Original")
	if err != nil {
		return err
	}
	processed, err := v.templateOf(h, "Processed")
	if err != nil {
		return err
	}
	d.Text, d.Processed = original, processed != original
	if d.Stage == "Processed" {
		d.Text = processed
	}
	if len(d.Text) > templateShown {
		cut := templateShown
		for cut > 0 && !utf8.RuneStart(d.Text[cut]) {
			cut--
		}
		d.Text, d.Cut = d.Text[:cut], true
	}
	return v.ok("stacktemplate", h.page(d))
}

// downloadStackTemplate sends the template as a file.
func (c *Console) downloadStackTemplate(v *visit) error {
	h, err := v.stackAsked("template")
	if err != nil {
		return err
	}
	text, err := v.templateOf(h, v.stageAsked())
	if err != nil {
		return err
	}
	name := notInFilenames.ReplaceAllString(h.StackName, "-")
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		name += ".json"
	} else {
		name += ".yaml"
	}
	v.w.Header().Set("Content-Type", "application/octet-stream")
	v.w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	_, _ = v.w.Write([]byte(text)) // a browser that left is no news
	return nil
}

type stackDeletionData struct {
	stackHead
	Resources []stackResource
	More      bool // there are others
	Exports   []string
	Nested    bool // in another stack
}

// confirmStackDeletion tells what a deletion would mean.
func (c *Console) confirmStackDeletion(v *visit) error {
	h, err := v.stackAsked("delete")
	if err != nil {
		return err
	}
	h.Refresh = ""
	d := stackDeletionData{stackHead: h, Nested: h.ParentID != ""}
	next := ""
	if d.Resources, next, err = v.resourcesOf(h.StackID, ""); err != nil {
		return err
	}
	d.More = next != ""
	d.Resources = slices.DeleteFunc(d.Resources, func(r stackResource) bool { return r.ResourceStatus == "DELETE_COMPLETE" })
	for _, o := range h.Outputs {
		if o.ExportName != "" {
			d.Exports = append(d.Exports, o.ExportName)
		}
	}
	return v.ok("stackdelete", h.page(d))
}

// deleteStack begins to delete a stack, and leads to where one can watch it.
func (c *Console) deleteStack(v *visit) error {
	h, err := v.stackAsked("delete")
	if err != nil {
		return err
	}
	if err := v.query(v.context(), stacksService, "DeleteStack", url.Values{"StackName": {h.StackID}}, nil); err != nil {
		return v.notDone(h.Path("delete"), err)
	}
	return v.done(at("stacks", h.StackID, "events"), "Stack %s is being deleted", h.StackName)
}
