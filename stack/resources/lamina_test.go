package resources

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/blob"
	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/logs"
	"github.com/lamina-run/lamina/parameters"
	"github.com/lamina-run/lamina/runner/sandbox"
	"github.com/lamina-run/lamina/server"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == sandbox.SpawnVerb {
		sandbox.Spawn()
	}
	if len(os.Args) > 1 && os.Args[1] == sandbox.InitVerb {
		sandbox.Init()
	}
	os.Exit(m.Run())
}

const (
	testAccount = "123456789012"
	testRegion  = "eu-central-1"
	testStack   = "arn:aws:cloudformation:" + testRegion + ":" + testAccount + ":stack/test/5f0c"
)

// parts are what a test may put in place of the usual ones.
type parts struct {
	functions func(world *world) (control.Invoker, control.Provisioner) // nil is an echo
	responses ResponsesOptions
	dir       string       // made by newWorld
	cloud     http.Handler // CloudFormation; nil is none
}

// world is Lamina in this process, without a network in front of it.
type world struct {
	t         *testing.T
	set       *Set
	front     *server.Server
	responses *Responses
	caller    identity.Caller
	blobs     *blob.Disk
	store     *store.Store
	limits    lamina.Limits
	buckets   *buckets

	mu       sync.Mutex
	requests int
	// killAt is the request with which the server ends; 0 is none. It is done, or not
	// even that when killBefore.
	killAt     int
	killBefore bool
}

var errKilled = errors.New("the server was killed")

// Do is the server's, until it is killed.
func (w *world) Do(service string, req *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.requests++
	n, at, before := w.requests, w.killAt, w.killBefore
	w.mu.Unlock()
	if at > 0 && (n > at || before && n == at) {
		return nil, errKilled
	}
	resp, err := w.front.Do(service, req)
	if n == at && at > 0 {
		return nil, errKilled
	}
	return resp, err
}

// emptyDatabase is a database with its tables, which take long to make.
var emptyDatabase = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "resources-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "lamina.db")
	db, err := store.Open(context.Background(), store.Options{Path: file, SecretKey: make([]byte, store.SecretKeyBytes)})
	if err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
})

func newWorld(t *testing.T, p parts) *world {
	t.Helper()
	p.dir = t.TempDir()
	if empty, err := emptyDatabase(); err != nil {
		t.Fatal(err)
	} else if err := os.WriteFile(filepath.Join(p.dir, "lamina.db"), empty, 0o600); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(p.dir, "lamina.db"), Log: log, SecretKey: make([]byte, store.SecretKeyBytes)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.EnsureRoot(t.Context(), db, identity.RootOptions{
		AccountID: testAccount, AccessKeyID: "AKIATEST", SecretAccessKey: "secret", File: filepath.Join(p.dir, "key.json"),
	}); err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.OpenDisk(filepath.Join(p.dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	stage := func(ctx context.Context) (wire.Upload, error) {
		staged, err := blobs.Stage(ctx)
		if err != nil {
			return nil, err
		}
		return staged, nil
	}
	sessions, err := identity.NewSessions(make([]byte, identity.SessionKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	who := identity.Options{Store: db, Log: log, Now: time.Now, Keys: identity.StoreKeys(db), Principals: identity.NewPrincipals(db, time.Now), Sessions: sessions}
	who.Authority = identity.NewAuthority(db, who.Principals, log, time.Now)
	who.Trusts = who.Authority.Trusts
	kept, err := logs.Open(logs.Options{Dir: filepath.Join(p.dir, "logs"), Log: log, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, blobs: blobs, store: db, limits: lamina.DefaultLimits(), buckets: &buckets{all: map[string]map[string]string{}}}
	w.caller = identity.Caller{Account: testAccount, Region: testRegion, Kind: identity.KindRoot, ARN: "arn:aws:iam::" + testAccount + ":root"}
	var invoker control.Invoker = echo{}
	var provisioner control.Provisioner = echo{}
	if p.functions != nil {
		invoker, provisioner = p.functions(w)
	}
	plane := control.New(control.Options{
		Authority: who.Authority, Objects: archives{testkit.Zip(t, testkit.File{Name: "index.py", Body: "def handler(e, c): return e"})},
		Store: db, Invoker: invoker, Provisioner: provisioner, Locations: &server.Links{Key: make([]byte, 32), Life: time.Minute, Now: time.Now},
		Limits: w.limits, Log: log, Now: time.Now, Stage: stage, URLAddress: server.URLAddress,
		EventRetryDelay: func(int) time.Duration { return 10 * time.Millisecond },
	})
	router := wire.NewRouter(wire.Options{Log: log, Authorize: plane.Authorize, MaxZip: w.limits.ZippedUpload, Stage: stage})
	plane.Register(router)
	services := map[string]http.Handler{
		"lambda": router, "iam": identity.NewIAM(who), "logs": server.NewLogs(kept, who.Authority, log),
		"ssm": parameters.New(parameters.Options{Store: db, Authority: who.Authority, Log: log, Now: time.Now}),
		"s3":  w.buckets,
	}
	if p.cloud != nil {
		services["cloudformation"] = p.cloud
	}
	w.front = server.New(server.Options{Log: log, Services: services})
	p.responses.Store, p.responses.Log, p.responses.Now = db, log, time.Now
	w.responses = NewResponses(p.responses)
	w.set = New(Options{Services: w, Responses: w.responses, Log: log, Now: time.Now})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{kept.Run, plane.Run, plane.KeepProvisioned, plane.RunEvents, w.responses.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// context is that of requests.
func (w *world) context() context.Context { return identity.WithCaller(w.t.Context(), w.caller) }

// resource is one of a test's stack.
type resource struct {
	w *world
	Step
	typ Type
}

func (w *world) resource(logicalID, typ string, p map[string]any) *resource {
	w.t.Helper()
	k, ok := w.set.Type(typ)
	if !ok {
		w.t.Fatalf("there is no type %s", typ)
	}
	if err := k.Check(p); err != nil {
		w.t.Fatalf("Check(%v): %v", p, err)
	}
	r := &resource{w: w, typ: k, Step: Step{
		Stack: Stack{ID: testStack, Name: "test", Account: testAccount, Region: testRegion, Tags: map[string]string{"owner": "stack"}}, LogicalID: logicalID,
		Type: typ, Seed: "ABCDEFGHIJKL", Properties: p,
	}}
	r.begin()
	return r
}

// begin makes the step another one.
func (r *resource) begin() {
	r.w.mu.Lock()
	r.w.requests++
	r.Token = fmt.Sprintf("token-%s-%d", r.LogicalID, r.w.requests)
	r.w.mu.Unlock()
	r.Again, r.Note = false, ""
	r.Keep = func(note string) error { r.Note = note; return nil }
}

// step is what the step is now, as the engine would hand it over.
func (r *resource) step() *Step { s := r.Step; return &s }

func (r *resource) create() error {
	made, err := r.typ.Create(r.w.context(), r.step())
	r.PhysicalID, r.Attributes = made.PhysicalID, made.Attributes
	return err
}

func (r *resource) update(p map[string]any) error {
	r.begin()
	r.Old, r.Properties = r.Properties, p
	made, err := r.typ.Update(r.w.context(), r.step())
	if err == nil {
		r.PhysicalID, r.Attributes = made.PhysicalID, made.Attributes
	}
	return err
}

func (r *resource) delete() error {
	r.begin()
	return r.typ.Delete(r.w.context(), r.step())
}

// made creates a resource that a test needs, until its end.
func (w *world) made(logicalID, typ string, p map[string]any) *resource {
	w.t.Helper()
	r := w.resource(logicalID, typ, p)
	if err := r.create(); err != nil {
		w.t.Fatalf("create %s: %v", typ, err)
	}
	return r
}

// ask does a request past everything, and returns status and body.
func (w *world) ask(service, method, path string, header map[string]string, body string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.context(), method, "http://"+service+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := w.front.Do(service, req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

func (w *world) lambda(path string) string {
	w.t.Helper()
	_, text := w.ask("lambda", http.MethodGet, path, nil, "")
	return text
}

func (w *world) iam(query string) string {
	w.t.Helper()
	_, text := w.ask("iam", http.MethodPost, "/", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, query+"&Version=2010-05-08")
	return text
}

func (w *world) target(service, operation, body string) string {
	w.t.Helper()
	_, text := w.ask(service, http.MethodPost, "/", map[string]string{"X-Amz-Target": operation}, body)
	return text
}

var arns = regexp.MustCompile(`"(?:FunctionArn|AliasArn|LayerVersionArn|EventSourceMappingArn|CodeSigningConfigArn|arn|ARN)":"(arn:[^"]*)"|<Arn>([^<]*)</Arn>|<(AccessKeyId|PolicyName|member)>([^<]*)<`)

// inventory is everything that there is, so that a test sees what is left over.
func (w *world) inventory() []string {
	w.t.Helper()
	var all []string
	add := func(kind, text string) {
		for _, m := range arns.FindAllStringSubmatch(text, -1) {
			if name := m[1] + m[2] + m[4]; name != "" && !strings.Contains(name, "::aws:policy/") {
				all = append(all, kind+" "+name)
			}
		}
	}
	functions := w.lambda("/2015-03-31/functions?FunctionVersion=ALL")
	add("function", functions)
	for _, f := range slices.Compact(functionNames(functions)) {
		path := "/functions/" + f
		add("alias", w.lambda("/2015-03-31"+path+"/aliases"))
		add("url", w.lambda("/2021-10-31"+path+"/urls"))
		add("event invoke", w.lambda("/2019-09-25"+path+"/event-invoke-config/list"))
		if policy := w.lambda("/2015-03-31" + path + "/policy"); strings.Contains(policy, "Sid") {
			for _, sid := range regexp.MustCompile(`Sid\\?":\\?"([^"\\]*)`).FindAllStringSubmatch(policy, -1) {
				all = append(all, "permission "+sid[1])
			}
		}
	}
	layers := w.lambda("/2018-10-31/layers")
	for _, m := range regexp.MustCompile(`"LayerName":"([^"]*)"`).FindAllStringSubmatch(layers, -1) {
		versions := w.lambda("/2018-10-31/layers/" + m[1] + "/versions")
		add("layer", versions)
		for _, v := range regexp.MustCompile(`"LayerVersionArn":"[^"]*:(\d+)"`).FindAllStringSubmatch(versions, -1) {
			for _, sid := range regexp.MustCompile(`Sid\\?":\\?"([^"\\]*)`).FindAllStringSubmatch(w.lambda("/2018-10-31/layers/"+m[1]+"/versions/"+v[1]+"/policy"), -1) {
				all = append(all, "layer permission "+sid[1])
			}
		}
	}
	add("mapping", w.lambda("/2015-03-31/event-source-mappings"))
	add("signing", w.lambda("/2020-04-22/code-signing-configs"))
	for _, k := range []string{"Role", "User", "Group"} {
		list := w.iam("Action=List" + k + "s")
		add(k, list)
		for _, m := range regexp.MustCompile(`<`+k+`Name>([^<]*)<`).FindAllStringSubmatch(list, -1) {
			add(k+" "+m[1]+" has", w.iam("Action=List"+k+"Policies&"+k+"Name="+m[1]))
			add(k+" "+m[1]+" attached", w.iam("Action=ListAttached"+k+"Policies&"+k+"Name="+m[1]))
			if k == "User" {
				add("key", w.iam("Action=ListAccessKeys&UserName="+m[1]))
				add("groups of "+m[1], w.iam("Action=ListGroupsForUser&UserName="+m[1]))
			}
		}
	}
	add("policy", w.iam("Action=ListPolicies&Scope=Local"))
	add("profile", w.iam("Action=ListInstanceProfiles"))
	add("group", w.target("logs", "Logs_20140328.DescribeLogGroups", "{}"))
	add("parameter", w.target("ssm", "AmazonSSM.DescribeParameters", "{}"))
	w.buckets.mu.Lock()
	defer w.buckets.mu.Unlock()
	for name, documents := range w.buckets.all {
		all = append(all, "bucket "+name)
		if documents["policy"] != "" {
			all = append(all, "bucket policy "+name)
		}
	}
	slices.Sort(all)
	return all
}

func functionNames(list string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`"FunctionName":"([^"]*)"`).FindAllStringSubmatch(list, -1) {
		all = append(all, m[1])
	}
	slices.Sort(all)
	return all
}

// echo runs functions: they return their payload.
type echo struct{}

func (echo) Invoke(_ context.Context, in lamina.Invocation) (lamina.Result, error) {
	return lamina.Result{Payload: in.Payload}, nil
}
func (echo) Prepare(context.Context, lamina.Version) error { return nil }
func (echo) Retire(lamina.Version)                         {}
func (echo) Provision(lamina.Version, int64)               {}
func (echo) Provisioned(lamina.Version) lamina.Provisioning {
	return lamina.Provisioning{Ready: 1000}
}

// archives has one zip under every key but "absent".
type archives struct{ zip []byte }

func (a archives) Get(_ context.Context, o lamina.Object, _ int64, w io.Writer) error {
	if o.Key == "absent" {
		return &lamina.ObjectError{Code: "NoSuchKey", Message: "The specified key does not exist."}
	}
	_, err := w.Write(a.zip)
	return err
}

// buckets is an S3 that keeps what it is told about its buckets.
type buckets struct {
	mu  sync.Mutex
	all map[string]map[string]string // documents by sub-resource; "" is of the creation
}

func (b *buckets) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := strings.Trim(req.URL.Path, "/")
	kind, _, _ := strings.Cut(req.URL.RawQuery, "=")
	body, _ := io.ReadAll(req.Body)
	refuse := func(status int, code, message string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
	}
	have, ok := b.all[name]
	switch {
	case kind == "" && req.Method == http.MethodPut && ok:
		refuse(409, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.")
	case kind == "" && req.Method == http.MethodPut:
		b.all[name] = map[string]string{"": string(body), "acl": req.Header.Get("X-Amz-Acl")}
	case !ok:
		refuse(404, "NoSuchBucket", "The specified bucket does not exist")
	case kind == "" && req.Method == http.MethodDelete:
		if have["full"] != "" {
			refuse(409, "BucketNotEmpty", "The bucket you tried to delete is not empty")
			return
		}
		delete(b.all, name)
		w.WriteHeader(204)
	case req.Method == http.MethodDelete:
		delete(have, kind)
		w.WriteHeader(204)
	case req.Method == http.MethodPut:
		if kind != "policy" && xml.Unmarshal(body, new(struct{ XMLName xml.Name })) != nil && len(body) > 0 {
			refuse(400, "MalformedXML", "The XML you provided was not well-formed")
			return
		}
		have[kind] = string(body) + req.Header.Get("X-Amz-Acl")
	case kind == "location", have[kind] != "":
		fmt.Fprint(w, have[kind])
	default:
		refuse(404, "NoSuch"+strings.ToUpper(kind[:1])+kind[1:], "there is none")
	}
}

// props reads properties as the engine hands them over.
func props(text string) map[string]any {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var p map[string]any
	if err := d.Decode(&p); err != nil {
		panic(text + ": " + err.Error())
	}
	return p
}

// with is p with other properties; nil removes one.
func with(p map[string]any, more string) map[string]any {
	out := maps.Clone(p)
	for k, v := range props(more) {
		if out[k] = v; v == nil {
			delete(out, k)
		}
	}
	return out
}
