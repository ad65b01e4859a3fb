package browser

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina/internal/testkit"
)

// tab is a page in a browser profile of its own: no cookies of others, no cache.
// Whatever a page complains about on its console, and whatever its policy had to
// stop, fails the test at its end.
type tab struct {
	t    testing.TB
	b    *chromium
	base string // of addresses that begin with a slash

	session string // of the protocol
	profile string // of the browser
	target  string

	mu       sync.Mutex
	problems []string
	expected []*regexp.Regexp
	dialogs  []string
	leaving  time.Time           // since when another page is on its way; zero when none is
	choosers chan int            // file fields whose dialog opened; sent by event, nobody closes
	requests map[string]*request // of the page since visit, by identifier
}

// request is one that the page made.
type request struct {
	URL    string
	Status int
	Bytes  int // on the wire
}

// within is how long a page may take to show what a test waits for.
const within = 15 * time.Second

// watch runs in every page before its own scripts. Its listener hears what the
// page's policy stopped; the function xss is what nobody may call.
const watch = `
addEventListener("securitypolicyviolation", (e) => console.error("policy violation: " + e.violatedDirective + " " + e.blockedURI + " " + e.sample + " in " + e.sourceFile + ":" + e.lineNumber), true);
window.xss = (x) => { console.error("XSS ran: " + x); document.documentElement.dataset.xss = String(x); };
`

// open makes a tab.
func open(t testing.TB, base string) *tab {
	t.Helper()
	p := &tab{t: t, b: browserOf(t), base: base, requests: map[string]*request{}, choosers: make(chan int, 1)}
	var profile struct {
		BrowserContextID string `json:"browserContextId"`
	}
	p.must(p.b.call("", "Target.createBrowserContext", nil, &profile))
	p.profile = profile.BrowserContextID
	p.another()
	t.Cleanup(func() {
		p.judge()
		if t.Failed() && *screenshots != "" {
			p.picture("failed-" + strings.ReplaceAll(t.Name(), "/", "-"))
		}
		p.b.hear(p.session, nil)
		if err := p.b.call("", "Target.disposeBrowserContext", map[string]any{"browserContextId": p.profile}, nil); err != nil {
			t.Errorf("close the tab: %v", err)
		}
	})
	return p
}

// another replaces the page by a new one of the same profile.
func (p *tab) another() {
	p.t.Helper()
	var target struct {
		TargetID string `json:"targetId"`
	}
	p.must(p.b.call("", "Target.createTarget", map[string]any{"url": "about:blank", "browserContextId": p.profile, "width": 1280, "height": 900}, &target))
	p.attach(target.TargetID)
}

func (p *tab) attach(target string) {
	p.t.Helper()
	if p.session != "" {
		p.b.hear(p.session, nil)
	}
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	p.must(p.b.call("", "Target.attachToTarget", map[string]any{"targetId": target, "flatten": true}, &attached))
	p.session, p.target = attached.SessionID, target
	p.b.hear(p.session, p.event)
	p.call("Page.enable", nil, nil)
	p.call("Runtime.enable", nil, nil)
	p.call("Log.enable", nil, nil)
	p.call("Network.enable", nil, nil)
	p.call("DOM.enable", nil, nil)
	p.call("Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true}, nil) // each tab is in front
	p.call("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": watch}, nil)
}

// event keeps what the page tells.
func (p *tab) event(method string, params []byte) {
	var e struct {
		Type  string
		Args  []struct{ Value, Description any }
		Entry struct{ Level, Source, Text, URL string }

		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
		RequestID string `json:"requestId"`
		Request   struct{ URL string }
		Response  struct {
			Status            int
			EncodedDataLength float64 `json:"encodedDataLength"`
		}
		EncodedDataLength float64 `json:"encodedDataLength"`
		Message           string
		BackendNodeID     int `json:"backendNodeId"`
	}
	if json.Unmarshal(params, &e) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	complain := func(format string, args ...any) { p.problems = append(p.problems, fmt.Sprintf(format, args...)) }
	switch method {
	case "Runtime.consoleAPICalled":
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			complain("console: %v", e.Args)
		}
	case "Runtime.exceptionThrown":
		complain("exception: %s %s", e.ExceptionDetails.Text, e.ExceptionDetails.Exception.Description)
	case "Log.entryAdded":
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			complain("log: %s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case "Network.requestWillBeSent":
		p.requests[e.RequestID] = &request{URL: e.Request.URL}
	case "Network.responseReceived":
		if r := p.requests[e.RequestID]; r != nil {
			r.Status = e.Response.Status
		}
	case "Network.loadingFinished":
		if r := p.requests[e.RequestID]; r != nil {
			r.Bytes = int(e.EncodedDataLength)
		}
	case "Page.frameRequestedNavigation", "Page.frameStartedNavigating", "Page.frameStartedLoading":
		p.leaving = time.Now()
	case "Page.frameStoppedLoading", "Page.loadEventFired":
		p.leaving = time.Time{}
	case "Page.fileChooserOpened":
		select {
		case p.choosers <- e.BackendNodeID:
		default:
		}
	case "Page.javascriptDialogOpening":
		p.dialogs = append(p.dialogs, e.Message)
		go p.b.call(p.session, "Page.handleJavaScriptDialog", map[string]any{"accept": true}, nil) //nolint:errcheck // the page shows
	}
}

// expect says that a complaint of the page is none: what matches is not counted.
func (p *tab) expect(pattern string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = append(p.expected, regexp.MustCompile(pattern))
}

// complaints returns what the pages complained about since it was last asked.
func (p *tab) complaints() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var left []string
	for _, text := range p.problems {
		if !slices.ContainsFunc(p.expected, func(e *regexp.Regexp) bool { return e.MatchString(text) }) {
			left = append(left, text)
		}
	}
	p.problems = nil
	return left
}

func (p *tab) judge() {
	p.t.Helper()
	for _, text := range p.complaints() {
		p.t.Errorf("the page complains: %s", text)
	}
}

func (p *tab) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *tab) call(method string, params, out any) {
	p.t.Helper()
	p.must(p.b.call(p.session, method, params, out))
}

// eval evaluates an expression, or a promise, in the page; out may be nil.
func (p *tab) eval(expression string, out any) {
	p.t.Helper()
	p.must(p.try(expression, out))
}

func (p *tab) try(expression string, out any) error {
	var got struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	params := map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true}
	if err := p.b.call(p.session, "Runtime.evaluate", params, &got); err != nil {
		return err
	}
	if e := got.ExceptionDetails; e != nil {
		return fmt.Errorf("evaluate %.80s: %s %s", expression, e.Text, e.Exception.Description)
	}
	if out == nil || len(got.Result.Value) == 0 {
		return nil
	}
	return json.Unmarshal(got.Result.Value, out)
}

// await tries until it works. Pages come and go meanwhile, and with them what was
// asked of them.
func (p *tab) await(what string, try func() error) {
	p.t.Helper()
	var err error
	for until := time.Now().Add(within); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
		if errors.Is(err, errGone) {
			break
		}
	}
	p.t.Fatalf("%s: %v\nat %s:\n%s", what, err, p.address(), p.text())
}

// visit opens a path of the server, or a whole address, and waits until it is
// there.
func (p *tab) visit(path string) {
	p.t.Helper()
	p.mu.Lock()
	clear(p.requests)
	p.mu.Unlock()
	address := path
	if strings.HasPrefix(path, "/") {
		address = p.base + path
	}
	var out struct{ ErrorText string }
	p.call("Page.navigate", map[string]any{"url": address}, &out)
	if out.ErrorText != "" {
		p.t.Fatalf("visit %s: %s", path, out.ErrorText)
	}
	p.loaded()
}

// loaded waits until the page has everything.
func (p *tab) loaded() {
	p.t.Helper()
	p.await("load", func() error {
		var state string
		if err := p.try("document.readyState", &state); err != nil || state == "complete" {
			return err
		}
		return errors.New(state)
	})
}

func (p *tab) address() string {
	var address string
	_ = p.try("location.href", &address) // for messages; empty where there is none
	return address
}

// path is what the address has behind the server's.
func (p *tab) path() string { return strings.TrimPrefix(p.address(), p.base) }

// at waits until the tab is at a path, and has loaded it.
func (p *tab) at(path string) {
	p.t.Helper()
	p.await("wait for "+path, func() error {
		if got := p.path(); got != path {
			return fmt.Errorf("at %s", got)
		}
		return nil
	})
	p.loaded()
}

// text is what people read on the page.
func (p *tab) text() string {
	var text string
	_ = p.try("document.body ? document.body.innerText : ''", &text) // for messages; empty where there is none
	return text
}

// shows waits until the page has a text.
func (p *tab) shows(text string) {
	p.t.Helper()
	p.holds(fmt.Sprintf("document.body && document.body.innerText.includes(%q)", text))
}

// holds waits until an expression is true in the page.
func (p *tab) holds(expression string) {
	p.t.Helper()
	p.await("wait for "+expression, func() error {
		var is bool
		if err := p.try("Boolean("+expression+")", &is); err != nil || is {
			return err
		}
		return errors.New("it is false")
	})
}

// node is an element as assistive technology finds it.
type node struct {
	p    *tab
	id   int // backend node
	Role string
	Name string
}

type axNode struct {
	Ignored          bool
	Role, Name       struct{ Value any }
	BackendDOMNodeID int `json:"backendDOMNodeId"`
}

// query returns elements of a role whose name is the one given or, with three dots
// at its end, begins with it. Below id, or anywhere with 0.
func (p *tab) query(id int, role, name string) ([]node, error) {
	p.mu.Lock()
	leaving := p.leaving
	p.mu.Unlock()
	if !leaving.IsZero() && time.Since(leaving) < 5*time.Second { // Chromium may never answer then
		return nil, errors.New("another page is on its way")
	}
	params := map[string]any{"role": role}
	if id != 0 {
		params["backendNodeId"] = id
	} else {
		var document struct {
			Root struct {
				BackendNodeID int `json:"backendNodeId"`
			}
		}
		if err := p.b.call(p.session, "DOM.getDocument", map[string]any{"depth": 0}, &document); err != nil {
			return nil, err
		}
		params["backendNodeId"] = document.Root.BackendNodeID
	}
	var found struct{ Nodes []axNode }
	if err := p.b.call(p.session, "Accessibility.queryAXTree", params, &found); err != nil {
		return nil, err
	}
	begins, prefix := strings.CutSuffix(name, "…")
	var all []node
	for _, n := range found.Nodes {
		got, _ := n.Name.Value.(string)
		if !n.Ignored && n.BackendDOMNodeID != 0 && (got == name || prefix && strings.HasPrefix(got, begins)) {
			all = append(all, node{p: p, id: n.BackendDOMNodeID, Role: role, Name: got})
		}
	}
	return all, nil
}

// find waits for the first element of a role and a name.
func (p *tab) find(role, name string) node { p.t.Helper(); return node{p: p}.find(role, name) }

// find waits for an element within another.
func (n node) find(role, name string) node {
	n.p.t.Helper()
	var got node
	n.p.await(fmt.Sprintf("find %s %q", role, name), func() error {
		all, err := n.p.query(n.id, role, name)
		if err == nil && len(all) == 0 {
			return fmt.Errorf("there is none; there are %q", n.p.names(n.id, role))
		}
		if err == nil {
			got = all[0]
		}
		return err
	})
	return got
}

// names are those of all elements of a role.
func (p *tab) names(id int, role string) []string {
	all, _ := p.query(id, role, "…") // for messages
	names := []string{}
	for _, n := range all {
		names = append(names, n.Name)
	}
	return names
}

// on calls a function in the page with the element as this; out may be nil.
func (n node) on(function string, out any, args ...any) {
	n.p.t.Helper()
	var object struct {
		Object struct {
			ObjectID string `json:"objectId"`
		}
	}
	n.p.call("DOM.resolveNode", map[string]any{"backendNodeId": n.id}, &object)
	list := []map[string]any{}
	for _, a := range args {
		list = append(list, map[string]any{"value": a})
	}
	var got struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}
	params := map[string]any{"objectId": object.Object.ObjectID, "functionDeclaration": function, "arguments": list, "returnByValue": true, "awaitPromise": true, "userGesture": true}
	n.p.call("Runtime.callFunctionOn", params, &got)
	if got.ExceptionDetails != nil {
		n.p.t.Fatalf("%s %q: %s", n.Role, n.Name, got.ExceptionDetails.Exception.Description)
	}
	if out != nil {
		n.p.must(json.Unmarshal(got.Result.Value, out))
	}
}

type point struct{ x, y float64 }

// middle is where a mouse would go, after the element was scrolled to.
func (n node) middle() point {
	n.p.t.Helper()
	var at point
	n.p.await(fmt.Sprintf("see %s %q", n.Role, n.Name), func() error {
		params := map[string]any{"backendNodeId": n.id}
		if err := n.p.b.call(n.p.session, "DOM.scrollIntoViewIfNeeded", params, nil); err != nil {
			return err
		}
		var quads struct{ Quads [][]float64 }
		if err := n.p.b.call(n.p.session, "DOM.getContentQuads", params, &quads); err != nil {
			return err
		}
		if len(quads.Quads) == 0 {
			return errors.New("it has no place on the page")
		}
		q := quads.Quads[0]
		at = point{(q[0] + q[4]) / 2, (q[1] + q[5]) / 2}
		return nil
	})
	return at
}

func (p *tab) mouse(kind string, at point, buttons int) {
	p.t.Helper()
	params := map[string]any{"type": kind, "x": at.x, "y": at.y, "buttons": buttons}
	if kind != "mouseMoved" {
		params["clickCount"] = 1
	}
	if kind != "mouseMoved" || buttons != 0 {
		params["button"] = "left"
	}
	p.call("Input.dispatchMouseEvent", params, nil)
}

// click does what a mouse does.
func (n node) click() {
	n.p.t.Helper()
	at := n.middle()
	n.p.mouse("mouseMoved", at, 0)
	n.p.mouse("mousePressed", at, 1)
	n.p.mouse("mouseReleased", at, 0)
}

// click finds an element and clicks it.
func (p *tab) click(role, name string) { p.t.Helper(); p.find(role, name).click() }

// dragTo moves an element by its middle to that of another, and a little beyond.
func (n node) dragTo(to node, beyond float64) {
	n.p.t.Helper()
	to.middle() // so that the page has scrolled for both
	from, end := n.middle(), to.middle()
	n.p.mouse("mouseMoved", from, 0)
	n.p.mouse("mousePressed", from, 1)
	const steps = 8
	for i := 1; i <= steps; i++ {
		n.p.mouse("mouseMoved", point{from.x, from.y + (end.y+beyond-from.y)*float64(i)/steps}, 1)
	}
	n.p.mouse("mouseReleased", point{from.x, end.y + beyond}, 0)
}

// fill replaces what is in a field by what somebody types.
func (n node) fill(text string) {
	n.p.t.Helper()
	n.on(`function() { this.scrollIntoView({block: "center"}); this.focus(); this.select ? this.select() : 0; }`, nil)
	if text == "" {
		n.p.press("Delete")
		return
	}
	n.p.call("Input.insertText", map[string]any{"text": text}, nil)
}

// fill finds a field by its label.
func (p *tab) fill(label, text string) { p.t.Helper(); p.field(label).fill(text) }

// field finds what takes text, by its label.
func (p *tab) field(label string) node {
	p.t.Helper()
	var got node
	p.await(fmt.Sprintf("find a field %q", label), func() error {
		var names []string
		for _, role := range []string{"textbox", "searchbox", "spinbutton", "combobox", "ComboBoxSelect", "slider"} {
			all, err := p.query(0, role, label)
			if err != nil {
				return err
			}
			if len(all) > 0 {
				got = all[0]
				return nil
			}
			names = append(names, p.names(0, role)...)
		}
		return fmt.Errorf("there is none; there are %q", names)
	})
	return got
}

// choose picks an option of a select, by its text or value.
func (n node) choose(option string) {
	n.p.t.Helper()
	n.on(`function(wanted) {
		const o = [...this.options].find((o) => o.value === wanted || o.text.trim() === wanted);
		if (!o) throw new Error("no option " + wanted + " of " + [...this.options].map((o) => o.text.trim()));
		this.focus(); this.value = o.value;
		this.dispatchEvent(new Event("input", {bubbles: true})); this.dispatchEvent(new Event("change", {bubbles: true}));
	}`, nil, option)
}

// keys are those of the keyboard that are not characters.
var keys = map[string]struct {
	code int
	text string
}{
	"Tab": {9, ""}, "Enter": {13, "\r"}, " ": {32, " "}, "Escape": {27, ""}, "Delete": {46, ""}, "Backspace": {8, ""}, "Home": {36, ""}, "End": {35, ""},
	"ArrowLeft": {37, ""}, "ArrowUp": {38, ""}, "ArrowRight": {39, ""}, "ArrowDown": {40, ""},
}

// Modifiers of press.
const (
	shift = 8
	ctrl  = 2
)

// press presses a key and lets it go.
func (p *tab) press(key string, modifiers ...int) {
	p.t.Helper()
	k, ok := keys[key]
	if !ok {
		p.t.Fatalf("no key %q", key)
	}
	held := 0
	for _, m := range modifiers {
		held |= m
	}
	code := key
	if key == " " {
		code = "Space"
	}
	params := map[string]any{"type": "rawKeyDown", "key": key, "code": code, "windowsVirtualKeyCode": k.code, "modifiers": held}
	if k.text != "" {
		params["type"], params["text"] = "keyDown", k.text
	}
	p.call("Input.dispatchKeyEvent", params, nil)
	p.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "code": code, "windowsVirtualKeyCode": k.code, "modifiers": held}, nil)
}

// write types into whatever has the focus.
func (p *tab) write(text string) {
	p.t.Helper()
	p.call("Input.insertText", map[string]any{"text": text}, nil)
}

// focused is the element that has the focus, as a screen reader tells it.
func (p *tab) focused() (node, error) {
	var object struct {
		Result struct {
			ObjectID string `json:"objectId"`
		}
	}
	if err := p.b.call(p.session, "Runtime.evaluate", map[string]any{"expression": "document.activeElement"}, &object); err != nil {
		return node{}, err
	}
	if object.Result.ObjectID == "" {
		return node{}, errors.New("nothing has the focus")
	}
	var tree struct{ Nodes []axNode }
	if err := p.b.call(p.session, "Accessibility.getPartialAXTree", map[string]any{"objectId": object.Result.ObjectID, "fetchRelatives": false}, &tree); err != nil {
		return node{}, err
	}
	if len(tree.Nodes) == 0 {
		return node{}, errors.New("what has the focus is hidden")
	}
	n := tree.Nodes[0]
	role, _ := n.Role.Value.(string)
	name, _ := n.Name.Value.(string)
	return node{p: p, id: n.BackendDOMNodeID, Role: role, Name: name}, nil
}

// mostTabs is how often Tab is pressed before somebody gives up.
const mostTabs = 250

// tabTo presses Tab until an element of that role and name has the focus, and
// checks that one can see it.
func (p *tab) tabTo(role, name string) node {
	p.t.Helper()
	begins, prefix := strings.CutSuffix(name, "…")
	var seen []string
	for range mostTabs {
		p.press("Tab")
		n, err := p.focused()
		if err != nil {
			continue // on its way through the browser's own
		}
		if n.Role == role && (n.Name == name || prefix && strings.HasPrefix(n.Name, begins)) {
			var visible bool
			n.on(`function() {
				const s = getComputedStyle(this), outer = this.closest("label, summary, li");
				const drawn = (s) => s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0 || s.boxShadow !== "none";
				return this.matches(":focus-visible") && (drawn(s) || Boolean(outer) && drawn(getComputedStyle(outer)));
			}`, &visible)
			if !visible {
				p.t.Errorf("nobody sees that %s %q has the focus", role, n.Name)
			}
			return n
		}
		seen = append(seen, n.Role+" "+n.Name)
	}
	p.t.Fatalf("Tab does not reach %s %q at %s; it reaches %q", role, name, p.address(), slices.Compact(seen))
	return node{}
}

// drop drops a file of the disk on an element, as from another window.
func (n node) drop(path string) {
	n.p.t.Helper()
	at := n.middle()
	data := map[string]any{"items": []any{}, "files": []string{path}, "dragOperationsMask": 1}
	for _, kind := range []string{"dragEnter", "dragOver", "drop"} {
		n.p.call("Input.dispatchDragEvent", map[string]any{"type": kind, "x": at.x, "y": at.y, "data": data}, nil)
	}
}

// chooseFile answers the dialog that the browser shows for a file field when do is
// done.
func (p *tab) chooseFile(path string, do func()) {
	p.t.Helper()
	p.call("Page.setInterceptFileChooserDialog", map[string]any{"enabled": true}, nil)
	do()
	select {
	case id := <-p.choosers:
		p.call("DOM.setFileInputFiles", map[string]any{"files": []string{path}, "backendNodeId": id}, nil)
	case <-time.After(within):
		p.t.Fatal("no dialog for a file came")
	}
	p.call("Page.setInterceptFileChooserDialog", map[string]any{"enabled": false}, nil)
}

// download has the browser keep what do downloads, and returns it.
func (p *tab) download(do func()) []byte {
	p.t.Helper()
	folder := p.t.TempDir()
	p.must(p.b.call("", "Browser.setDownloadBehavior", map[string]any{"behavior": "allow", "browserContextId": p.profile, "downloadPath": folder}, nil))
	do()
	var text []byte
	p.await("download", func() error {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".crdownload") && !strings.HasPrefix(e.Name(), ".") {
				text, err = os.ReadFile(filepath.Join(folder, e.Name()))
				return err
			}
		}
		return errors.New("no file came")
	})
	return text
}

// css finds an element by a selector, for what has no role.
func (p *tab) css(selector string) node {
	p.t.Helper()
	var got node
	p.await("find "+selector, func() error {
		var object struct {
			Result struct {
				ObjectID string `json:"objectId"`
			}
		}
		if err := p.b.call(p.session, "Runtime.evaluate", map[string]any{"expression": fmt.Sprintf("document.querySelector(%q)", selector)}, &object); err != nil {
			return err
		}
		if object.Result.ObjectID == "" {
			return errors.New("there is none")
		}
		var described struct {
			Node struct {
				BackendNodeID int `json:"backendNodeId"`
			}
		}
		if err := p.b.call(p.session, "DOM.describeNode", map[string]any{"objectId": object.Result.ObjectID}, &described); err != nil {
			return err
		}
		got = node{p: p, id: described.Node.BackendNodeID, Role: "element", Name: selector}
		return nil
	})
	return got
}

// weigh returns the bytes of everything that the page asked for since visit.
func (p *tab) weigh() (total int, most string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	largest := -1
	for _, r := range p.requests {
		total += r.Bytes
		if r.Bytes > largest {
			largest, most = r.Bytes, r.URL
		}
	}
	return total, most
}

// painted is how many milliseconds after the navigation began there was something
// to see.
func (p *tab) painted() (ms float64) {
	p.t.Helper()
	p.await("paint", func() error {
		if err := p.try(`performance.getEntriesByName("first-contentful-paint").map((e) => e.startTime)[0] || 0`, &ms); err != nil || ms > 0 {
			return err
		}
		return errors.New("nothing was painted yet")
	})
	return ms
}

var checker = sync.OnceValues(func() (string, error) {
	text, err := os.ReadFile(testkit.AccessibilityChecker())
	return string(text), err
})

// accessible has axe-core look at the page, by one rule or by all,
// and fails for what is serious.
func (p *tab) accessible(rule ...string) {
	p.t.Helper()
	source, err := checker()
	p.must(err)
	var found []struct {
		ID, Impact, Help string
		Nodes            []struct {
			HTML           string
			FailureSummary string `json:"failureSummary"`
		}
	}
	options := `{resultTypes: ["violations"]}`
	if len(rule) > 0 {
		options = fmt.Sprintf(`{resultTypes: ["violations"], runOnly: %q}`, rule[0])
	}
	run := `axe.run(document, ` + options + `).then((r) => r.violations.map((v) => ({id: v.id, impact: v.impact, help: v.help,
		nodes: v.nodes.slice(0, 3).map((n) => ({html: n.html, failureSummary: n.failureSummary}))})))`
	p.await("ask axe", func() error { // a page that is left takes its axe along
		var there bool
		if err := p.try("Boolean(window.axe)", &there); err != nil {
			return err
		}
		if there {
			return p.try(run, &found)
		}
		return p.try(source+"\n;"+run, &found)
	})
	for _, v := range found {
		if v.Impact != "serious" && v.Impact != "critical" {
			continue
		}
		for _, n := range v.Nodes {
			p.t.Errorf("%s: %s issue %s (%s): %s\n%s", p.path(), v.Impact, v.ID, v.Help, n.HTML, n.FailureSummary)
		}
	}
}

// fits fails when a page is wider than its window.
func (p *tab) fits() {
	p.t.Helper()
	var wide struct {
		By   float64
		Name string
	}
	p.eval(`(() => {
		const width = document.documentElement.clientWidth, by = document.documentElement.scrollWidth - width;
		let name = "";
		if (by > 0) for (const e of document.body.querySelectorAll("*")) {
			if (e.getBoundingClientRect().right > width + 1 && !e.closest(".scroll, pre, textarea, .log, .visually-hidden")) name = e.outerHTML.slice(0, 120);
		}
		return {By: by, Name: name};
	})()`, &wide)
	if wide.By > 0 {
		p.t.Errorf("%s is %.0f pixels wider than its window: %s", p.path(), wide.By, wide.Name)
	}
}

// look sets the window's width and the colours that its owner prefers.
func (p *tab) look(width int, scheme string) {
	p.t.Helper()
	height := 900
	if width < 500 {
		height = 844
	}
	p.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}, nil)
	p.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]any{{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}}}, nil)
}

// picture returns the page as PNG, from its top to at most some screens below, and
// keeps it in the folder of -screenshots.
func (p *tab) picture(name string) []byte {
	p.t.Helper()
	var size struct {
		CSSContentSize struct{ Width, Height float64 } `json:"cssContentSize"`
	}
	p.call("Page.getLayoutMetrics", nil, &size)
	const tallest = 2200
	var shot struct{ Data string }
	p.call("Page.captureScreenshot", map[string]any{
		"format": "png", "captureBeyondViewport": true,
		"clip": map[string]any{"x": 0, "y": 0, "width": size.CSSContentSize.Width, "height": min(size.CSSContentSize.Height, tallest), "scale": 1},
	}, &shot)
	text, err := base64.StdEncoding.DecodeString(shot.Data)
	p.must(err)
	keepPicture(p.t, name, text)
	return text
}

// cookie is one of the profile's.
type cookie struct {
	Name, Value, Path, Domain string
	HTTPOnly                  bool   `json:"httpOnly"`
	SameSite                  string `json:"sameSite"`
	Secure                    bool
}

func (p *tab) cookies() []cookie {
	p.t.Helper()
	var all struct{ Cookies []cookie }
	p.must(p.b.call("", "Storage.getCookies", map[string]any{"browserContextId": p.profile}, &all))
	return all.Cookies
}
