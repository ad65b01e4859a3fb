// Package kill holds Lamina to its promise that what it acknowledged is there
// after a crash: the server is killed with SIGKILL again and again while clients
// publish, and looked through after each restart.
package kill

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

var kills = flag.Int("kills", 50, "how many times the server is killed")

const (
	layers          = 3 // layers that several publishers share
	layerPublishers = 4
	functions       = 2
	longestLife     = 250 * time.Millisecond // of the server, after the first acknowledgement
	role            = "arn:aws:iam::" + testkit.Account + ":role/app"
)

// TestAcknowledgedVersionsSurvive kills the server under publishers of layer
// versions and function versions. After each restart, and once more at the end:
//
//   - every version that was acknowledged is there, and one whose deletion was
//     acknowledged is not;
//   - every version that is served, acknowledged or not, has bytes that hash to
//     its CodeSha256;
//   - no number was given twice, even when its version was never acknowledged or
//     is deleted, and numbers only rise.
func TestAcknowledgedVersionsSurvive(t *testing.T) {
	if testing.Short() {
		*kills = min(*kills, 5)
	}
	s := testkit.Start(t, testkit.Options{})
	w := &witness{t: t, s: s, client: s.Lambda(), layers: map[string]*series{}, functions: map[string]*series{}}
	for i := range layers {
		w.layers[fmt.Sprintf("layer-%d", i)] = &series{versions: map[int64]*fact{}}
	}
	for i := range functions {
		name := fmt.Sprintf("function-%d", i)
		w.functions[name] = &series{versions: map[int64]*fact{}}
		w.create(name)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	w.gate = make(chan struct{})
	acknowledged := make(chan struct{}, 1) // publishers send without blocking; the loop below drains; never closed
	var publishers sync.WaitGroup
	for p := range layerPublishers {
		publishers.Go(func() { w.publishLayers(ctx, fmt.Sprintf("layer-%d", p%layers), acknowledged) })
	}
	for i := range functions {
		publishers.Go(func() { w.publishFunction(ctx, fmt.Sprintf("function-%d", i), acknowledged) })
	}

	for range *kills {
		select { // an acknowledgement of the life before
		case <-acknowledged:
		default:
		}
		w.open()
		select {
		case <-acknowledged:
		case <-time.After(30 * time.Second):
			t.Fatal("nothing was acknowledged in 30 s")
		}
		time.Sleep(rand.N(longestLife)) // the moment of the kill is what the test varies
		s.Kill()
		w.shut()
		s.Restart()
		w.check(false)
		if t.Failed() {
			break
		}
	}
	stop()
	w.open() // let the publishers see that they are done
	publishers.Wait()
	w.check(true)
	t.Logf("%d kills; %s", *kills, w.summary())
}

// fact is what is known about one version.
type fact struct {
	sha          string // CodeSha256 that the server told; empty when only a list showed the version
	acknowledged bool
	deleting     bool // a deletion was sent; whether it happened is open
	deleted      bool // a deletion was acknowledged
	verified     bool // its bytes were downloaded and hashed before
}

// series is what is known about the versions of one layer or function.
type series struct {
	versions map[int64]*fact
	floor    int64 // numbers up to this one were seen before the last restart
}

func (s *series) fact(n int64) *fact {
	f := s.versions[n]
	if f == nil {
		f = &fact{}
		s.versions[n] = f
	}
	return f
}

// witness remembers what the server acknowledged, and compares.
type witness struct {
	t      *testing.T
	s      *testkit.Server
	client *lambda.Client

	mu sync.Mutex

	layers    map[string]*series
	functions map[string]*series
	gate      chan struct{} // closed while the server is up; replaced by shut
	isOpen    bool
	requests  sync.WaitGroup // publishers between gate and answer
}

func (w *witness) open() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.isOpen {
		close(w.gate)
		w.isOpen = true
	}
}

// shut makes publishers wait, and returns when none has a request in flight.
func (w *witness) shut() {
	w.mu.Lock()
	w.gate, w.isOpen = make(chan struct{}), false
	w.mu.Unlock()
	w.requests.Wait()
}

// enter waits until the server is up; the caller then counts as in flight until
// it calls the function returned. It returns nil when ctx ended.
func (w *witness) enter(ctx context.Context) (leave func()) {
	for ctx.Err() == nil {
		w.mu.Lock()
		gate, up := w.gate, w.isOpen
		if up {
			w.requests.Add(1)
			w.mu.Unlock()
			return w.requests.Done
		}
		w.mu.Unlock()
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	return nil
}

func (w *witness) publishLayers(ctx context.Context, name string, acknowledged chan<- struct{}) {
	for i := 0; ; i++ {
		leave := w.enter(ctx)
		if leave == nil {
			return
		}
		// Sizes differ, so that kills meet requests of every length.
		zip := testkit.Zip(w.t, testkit.File{Name: "python/m.py", Body: noise(rand.IntN(200_000))})
		out, err := w.client.PublishLayerVersion(ctx, &lambda.PublishLayerVersionInput{
			LayerName: &name, Content: &types.LayerVersionContentInput{ZipFile: zip},
		})
		if err == nil {
			if got := aws.ToString(out.Content.CodeSha256); got != codeSHA256(zip) {
				w.t.Errorf("%s:%d has CodeSha256 %s; want %s of the bytes sent", name, out.Version, got, codeSHA256(zip))
			}
			w.acknowledge(w.layers[name], name, out.Version, codeSHA256(zip))
			signal(acknowledged)
			if i%5 == 4 {
				w.deleteLayer(ctx, name, out.Version)
			}
		} else {
			w.expectInterruption(ctx, "PublishLayerVersion", err)
		}
		leave()
	}
}

func (w *witness) deleteLayer(ctx context.Context, name string, n int64) {
	w.mu.Lock()
	w.layers[name].fact(n).deleting = true
	w.mu.Unlock()
	_, err := w.client.DeleteLayerVersion(ctx, &lambda.DeleteLayerVersionInput{LayerName: &name, VersionNumber: &n})
	if err != nil {
		w.expectInterruption(ctx, "DeleteLayerVersion", err)
		return
	}
	w.mu.Lock()
	w.layers[name].fact(n).deleted = true
	w.mu.Unlock()
}

func (w *witness) publishFunction(ctx context.Context, name string, acknowledged chan<- struct{}) {
	for {
		leave := w.enter(ctx)
		if leave == nil {
			return
		}
		if out, err := w.changeAndPublish(ctx, name); err == nil {
			n, err := strconv.ParseInt(aws.ToString(out.Version), 10, 64)
			if err != nil {
				w.t.Errorf("%s published version %q", name, aws.ToString(out.Version))
			} else {
				w.acknowledge(w.functions[name], name, n, aws.ToString(out.CodeSha256))
				signal(acknowledged)
			}
		} else {
			w.expectInterruption(ctx, "publish "+name, err)
		}
		leave()
	}
}

func (w *witness) changeAndPublish(ctx context.Context, name string) (*lambda.PublishVersionOutput, error) {
	zip := testkit.Zip(w.t, testkit.File{Name: "app.py", Body: noise(rand.IntN(50_000))})
	_, err := w.client.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: &name, ZipFile: zip})
	if _, busy := errors.AsType[*types.ResourceConflictException](err); busy {
		time.Sleep(5 * time.Millisecond) // an update from before the kill is still being applied
		return nil, errStill
	}
	if err != nil {
		return nil, err
	}
	out, err := w.client.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: &name, CodeSha256: aws.String(codeSHA256(zip))})
	for {
		if _, busy := errors.AsType[*types.ResourceConflictException](err); !busy {
			return out, err
		}
		time.Sleep(5 * time.Millisecond)
		out, err = w.client.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: &name, CodeSha256: aws.String(codeSHA256(zip))})
	}
}

var errStill = errors.New("an update is still in progress")

func (w *witness) acknowledge(s *series, name string, n int64, sha string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := s.fact(n)
	if f.acknowledged {
		w.t.Errorf("%s:%d was given out twice", name, n)
	}
	if n <= s.floor {
		w.t.Errorf("%s got number %d again; %d was reached before a restart", name, n, s.floor)
	}
	f.sha, f.acknowledged = sha, true
}

// expectInterruption accepts the errors of a dying server, and no answer of a
// living one.
func (w *witness) expectInterruption(ctx context.Context, what string, err error) {
	if ctx.Err() != nil || errors.Is(err, errStill) {
		return
	}
	if e, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err); ok && e.HTTPStatusCode() >= 400 {
		w.t.Errorf("%s: %v; want an answer or a broken connection", what, err)
	}
}

// check compares the server with what is known. Bytes are read again of versions
// that were not read since their publication, or of all.
func (w *witness) check(all bool) {
	w.t.Helper()
	for name, s := range w.layers {
		listed := map[int64]bool{}
		for p := lambda.NewListLayerVersionsPaginator(w.client, &lambda.ListLayerVersionsInput{LayerName: &name}); p.HasMorePages(); {
			page, err := p.NextPage(w.t.Context())
			if err != nil {
				w.t.Fatalf("list %s: %v", name, err)
			}
			for _, v := range page.LayerVersions {
				listed[v.Version] = true
			}
		}
		w.compare(name, s, listed, all, func(n int64) (sha, link string, err error) {
			got, err := w.client.GetLayerVersion(w.t.Context(), &lambda.GetLayerVersionInput{LayerName: &name, VersionNumber: &n})
			if err != nil {
				return "", "", err
			}
			return aws.ToString(got.Content.CodeSha256), aws.ToString(got.Content.Location), nil
		})
	}
	for name, s := range w.functions {
		listed := map[int64]bool{}
		for p := lambda.NewListVersionsByFunctionPaginator(w.client, &lambda.ListVersionsByFunctionInput{FunctionName: &name}); p.HasMorePages(); {
			page, err := p.NextPage(w.t.Context())
			if err != nil {
				w.t.Fatalf("list %s: %v", name, err)
			}
			for _, v := range page.Versions {
				if n, err := strconv.ParseInt(aws.ToString(v.Version), 10, 64); err == nil {
					listed[n] = true
				}
			}
		}
		w.compare(name, s, listed, all, func(n int64) (sha, link string, err error) {
			return w.functionCode(name, strconv.FormatInt(n, 10))
		})
		sha, link, err := w.functionCode(name, "$LATEST")
		if err == nil {
			err = hashes(link, sha)
		}
		if err != nil {
			w.t.Errorf("%s:$LATEST: %v", name, err)
		}
	}
}

func (w *witness) functionCode(name, qualifier string) (sha, link string, err error) {
	got, err := w.client.GetFunction(w.t.Context(), &lambda.GetFunctionInput{FunctionName: &name, Qualifier: &qualifier})
	if err != nil {
		return "", "", err
	}
	return aws.ToString(got.Configuration.CodeSha256), aws.ToString(got.Code.Location), nil
}

func (w *witness) compare(name string, s *series, listed map[int64]bool, all bool, read func(int64) (sha, link string, err error)) {
	w.t.Helper()
	for n, f := range s.versions {
		switch {
		case f.deleted && listed[n]:
			w.t.Errorf("%s:%d came back after its deletion", name, n)
		case !f.deleting && !listed[n]:
			w.t.Errorf("%s:%d is lost (acknowledged: %t)", name, n, f.acknowledged)
		}
	}
	for n := range listed {
		f := s.fact(n)
		s.floor = max(s.floor, n)
		if f.verified && !all {
			continue
		}
		sha, link, err := read(n)
		if err != nil {
			w.t.Errorf("%s:%d is listed, but: %v", name, n, err)
			continue
		}
		if f.sha != "" && sha != f.sha {
			w.t.Errorf("%s:%d has CodeSha256 %s; want %s as acknowledged", name, n, sha, f.sha)
		}
		if err := hashes(link, sha); err != nil {
			w.t.Errorf("%s:%d: %v", name, n, err)
		}
		f.sha, f.verified = sha, true
	}
	for n, f := range s.versions {
		if f.acknowledged {
			s.floor = max(s.floor, n)
		}
	}
}

func (w *witness) summary() string {
	count := func(all map[string]*series) string {
		var acknowledged, seen, deleted int
		for _, s := range all {
			for _, f := range s.versions {
				switch {
				case f.acknowledged:
					acknowledged++
				default:
					seen++
				}
				if f.deleted {
					deleted++
				}
			}
		}
		return fmt.Sprintf("%d acknowledged (%d of them deleted), %d present whose answer was lost", acknowledged, deleted, seen)
	}
	return "layer versions: " + count(w.layers) + "; function versions: " + count(w.functions)
}

func (w *witness) create(name string) {
	w.t.Helper()
	_, err := w.client.CreateFunction(w.t.Context(), &lambda.CreateFunctionInput{
		FunctionName: &name, Role: aws.String(role), Handler: aws.String("app.handler"), Runtime: types.RuntimePython311,
		Code: &types.FunctionCode{ZipFile: testkit.Zip(w.t, testkit.File{Name: "app.py", Body: "def handler(e, c): pass\n"})},
	})
	if err != nil {
		w.t.Fatalf("CreateFunction(%s): %v", name, err)
	}
	quick := func(o *lambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, time.Second
	}
	if err := lambda.NewFunctionActiveV2Waiter(w.client, quick).Wait(w.t.Context(), &lambda.GetFunctionInput{FunctionName: &name}, 30*time.Second); err != nil {
		w.t.Fatalf("%s does not become active: %v", name, err)
	}
}

// hashes reads the link and compares the bytes with a CodeSha256.
func hashes(link, sha string) error {
	resp, err := http.Get(link)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("download: %s", resp.Status)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, resp.Body); err != nil {
		return fmt.Errorf("download: %w", err)
	}
	if got := base64.StdEncoding.EncodeToString(sum.Sum(nil)); got != sha {
		return fmt.Errorf("bytes hash to %s; want %s", got, sha)
	}
	return nil
}

func codeSHA256(zip []byte) string {
	sum := sha256.Sum256(zip)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// noise is text that does not compress to nothing and never repeats.
func noise(n int) string {
	b := make([]byte, n+16)
	for i := range b {
		b[i] = byte('a' + rand.IntN(16))
	}
	return string(b)
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
