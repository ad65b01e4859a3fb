package resources

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
)

// ResponsePath begins the paths at which [Responses] answers.
const ResponsePath = "/_lamina/cloudformation/"

// Bounds of what is taken.
const (
	maxResponse = 4096     // bytes, as CloudFormation has it
	maxSignal   = 16 << 10 // bytes
	maxSignals  = 1000     // of one handle
	handleLife  = 24 * time.Hour
	keptAfter   = time.Hour // of a letterbox that has expired
	sweepEvery  = 10 * time.Minute
)

// Kinds of letterboxes.
const (
	boxResponse = "response"
	boxSignals  = "signals"
)

// ResponsesOptions are what [NewResponses] needs.
type ResponsesOptions struct {
	Store *store.Store
	Log   *slog.Logger
	Now   func() time.Time

	// Secure is the URL, without a path, at which functions reach the responses by
	// TLS on port 443: many say nothing but the host's name to their client. Plain is
	// the one without TLS. Empty ones functions do not reach.
	Secure, Plain string
	// Public is the URL of the endpoint, which wait condition handles have.
	Public string
}

// Responses takes what custom resources answer and what wait conditions are
// signalled, by PUT requests to URLs that nobody can guess. What it took is in the
// database, so a restart loses nothing. It is safe for concurrent use.
type Responses struct {
	o ResponsesOptions

	mu      sync.Mutex
	waiting map[string]chan struct{} // by letterbox; sent to, at most once ahead, when a letter came here
}

// NewResponses starts nothing.
func NewResponses(o ResponsesOptions) *Responses {
	return &Responses{o: o, waiting: map[string]chan struct{}{}}
}

// Run removes letterboxes that have expired, until ctx ends.
func (r *Responses) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		err := r.o.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteLetterboxes(ctx, r.o.Now().Add(-keptAfter)) })
		if err != nil && ctx.Err() == nil {
			r.o.Log.LogAttrs(ctx, slog.LevelError, "expired responses not removed", slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// signatureKey is the parameter of URLs that has the letterbox.
const signatureKey = "X-Amz-Signature"

// ServeHTTP takes one response.
func (r *Responses) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	status, err := r.take(req)
	if err != nil && req.Context().Err() == nil {
		r.o.Log.LogAttrs(req.Context(), slog.LevelError, "response not taken", slog.Any("err", err))
	}
	if status != http.StatusOK {
		http.Error(w, http.StatusText(status), status)
	}
}

func (r *Responses) take(req *http.Request) (status int, err error) {
	box := req.URL.Query().Get(signatureKey)
	switch {
	case !strings.HasPrefix(req.URL.Path, ResponsePath):
		return http.StatusNotFound, nil
	case req.Method != http.MethodPut:
		return http.StatusMethodNotAllowed, nil
	case len(box) != 2*boxBytes:
		return http.StatusForbidden, nil
	}
	ctx := req.Context()
	var b store.Letterbox
	err = r.o.Store.View(ctx, func(tx *store.Tx) error {
		b, err = tx.Letterbox(ctx, box)
		return err
	})
	if errors.Is(err, lamina.ErrNotFound) || err == nil && r.o.Now().After(b.Expires) {
		return http.StatusForbidden, nil // as S3 about a signature that is not, or no longer, good
	}
	if err != nil {
		return http.StatusInternalServerError, err
	}
	most := int64(maxResponse)
	if b.Kind == boxSignals {
		most = maxSignal
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, most+1))
	if err != nil {
		return http.StatusBadRequest, nil // the client went
	}
	letter := store.Letter{Name: "response", Body: string(body)}
	switch {
	case b.Kind == boxSignals:
		var s signal
		if int64(len(body)) > most || json.Unmarshal(body, &s) != nil || s.UniqueID == "" || len(s.UniqueID) > 512 {
			return http.StatusBadRequest, nil
		}
		letter.Name = s.UniqueID
	case int64(len(body)) > most:
		letter.Body = tooLong
	}
	err = r.o.Store.Update(ctx, func(tx *store.Tx) error { return tx.PutLetter(ctx, box, letter, maxSignals) })
	switch {
	case errors.Is(err, lamina.ErrExists):
		return http.StatusTooManyRequests, nil
	case errors.Is(err, lamina.ErrNotFound):
		return http.StatusForbidden, nil
	case err != nil:
		return http.StatusInternalServerError, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.waiting[box]; c != nil {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	return http.StatusOK, nil
}

// tooLong stands for a response that has more than CloudFormation reads.
const tooLong = `{"Status":"FAILED","Reason":"Response object is too long."}`

// boxBytes is how much of a letterbox's name is random: all of it, in hex.
const boxBytes = 24

func newBox() string {
	var b [boxBytes]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// open makes a letterbox that takes letters for so long, or finds it again, and
// returns until when.
func (r *Responses) open(ctx context.Context, box, kind string, life time.Duration) (until time.Time, err error) {
	err = r.o.Store.Update(ctx, func(tx *store.Tx) error {
		b, err := tx.OpenLetterbox(ctx, store.Letterbox{Name: box, Kind: kind, Expires: r.o.Now().Add(life)})
		until = b.Expires
		return err
	})
	return until, err
}

func (r *Responses) drop(ctx context.Context, box string) error {
	return r.o.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteLetterbox(ctx, box) })
}

// wait returns the letters of a box when there are n of them or bad says that it
// has seen enough, and what there is when the time is over.
func (r *Responses) wait(ctx context.Context, box string, n int, until time.Time, bad func(store.Letter) bool) ([]store.Letter, error) {
	came := make(chan struct{}, 1)
	r.mu.Lock()
	r.waiting[box] = came
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.waiting, box)
		r.mu.Unlock()
	}()
	for {
		var all []store.Letter
		err := r.o.Store.View(ctx, func(tx *store.Tx) (err error) {
			all, err = tx.Letters(ctx, box)
			return err
		})
		if err != nil {
			return nil, err
		}
		enough := len(all) >= n
		for _, l := range all {
			enough = enough || bad != nil && bad(l)
		}
		left := until.Sub(r.o.Now())
		if enough || left <= 0 {
			return all, nil
		}
		// Another server of the same database may have taken a letter.
		timer := time.NewTimer(min(left, time.Second))
		select {
		case <-came:
		case <-timer.C:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		timer.Stop()
		if err != nil {
			return nil, err
		}
	}
}

// address is the URL of a letterbox.
func address(base, name, box string) string {
	return strings.TrimSuffix(base, "/") + ResponsePath + url.PathEscape(name) + "?" + signatureKey + "=" + box
}

// boxOf is the letterbox of a URL, or empty.
func boxOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Query().Get(signatureKey)
}
