package console

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/wire"
)

// Path is where the console lives. No bucket has such a name, and no operation.
const Path = "/_console/"

// API answers requests to services in the name of the caller in their context,
// with the permissions of that caller.
type API interface {
	Do(service string, req *http.Request) (*http.Response, error)
}

// Archives opens the archive of a digest that the API named. An archive that does
// not exist is [lamina.ErrNotFound].
type Archives interface {
	OpenArchive(ctx context.Context, d lamina.Digest) (io.ReadSeekCloser, error)
}

// Keys knows the access keys that people sign in with. Their errors are wire
// exceptions, or say that something is broken.
type Keys interface {
	SignIn(ctx context.Context, id, secret, token string) (identity.Caller, error)
	SignedIn(ctx context.Context, id, token string) (identity.Caller, error)
}

// Options are what a console works with; all fields are required.
type Options struct {
	API      API
	Archives Archives
	Keys     Keys
	// Secret seals sessions: 32 bytes, the same on all servers of one database.
	Secret []byte
	Region string // that a session begins with
	// Operator is the account that is told of the machine.
	Operator string
	Limits   lamina.Limits
	Log      *slog.Logger
	Now      func() time.Time
}

// Console serves the pages.
type Console struct {
	o      Options
	mux    *http.ServeMux
	seal   *seal
	ended  endedSessions
	origin *http.CrossOriginProtection
	// reading bounds how many archives are read at once: who reads one puts something
	// in, and takes it out.
	reading chan struct{}
}

// New returns a console. It starts nothing.
func New(o Options) (*Console, error) {
	s, err := newSeal(o.Secret)
	if err != nil {
		return nil, err
	}
	c := &Console{o: o, mux: http.NewServeMux(), seal: s, origin: http.NewCrossOriginProtection(), reading: make(chan struct{}, 2)}
	c.mux.Handle("GET "+Path+"assets/", assetHandler())
	c.public("GET signin", (*Console).signInPage)
	c.public("POST signin", (*Console).signIn)
	c.handle("POST signout", (*Console).signOut)
	c.handle("POST region", (*Console).setRegion)
	c.public("POST theme", (*Console).setTheme)
	c.handle("GET {$}", (*Console).overview)
	for _, register := range rooms {
		register(c)
	}
	return c, nil
}

// rooms are the parts of the console, each of which registers its pages.
var rooms = []func(*Console){
	layerPages,
	stackPages,
	functionRooms,
	logRooms,
}

// ServeHTTP answers what is below [Path].
func (c *Console) ServeHTTP(w http.ResponseWriter, req *http.Request) { c.mux.ServeHTTP(w, req) }

// visit is one request of somebody with a session.
type visit struct {
	*Console
	w       http.ResponseWriter
	req     *http.Request
	session session
	caller  identity.Caller // zero until somebody signed in
	nonce   string          // of the scripts and styles in the answer
}

func (v *visit) context() context.Context { return v.req.Context() }

// handler answers a visit; an error becomes a page that tells it.
type handler func(*Console, *visit) error

// handle registers what only those may see who signed in. The pattern is a method
// and a path below [Path].
func (c *Console) handle(pattern string, h handler) { c.register(pattern, h, true) }

// public registers what anybody may see.
func (c *Console) public(pattern string, h handler) { c.register(pattern, h, false) }

func (c *Console) register(pattern string, h handler, private bool) {
	method, path, _ := strings.Cut(pattern, " ")
	c.mux.HandleFunc(method+" "+Path+path, func(w http.ResponseWriter, req *http.Request) {
		v := &visit{Console: c, w: w, req: req, nonce: newToken()}
		defer v.survive()
		v.protect()
		err := v.admit(private)
		if form := v.req.MultipartForm; form != nil {
			defer form.RemoveAll() //nolint:errcheck // temporary files; nobody could do more
		}
		if err == nil {
			err = h(c, v)
		}
		if err != nil {
			v.fail(err)
		}
	})
}

// survive answers plainly when a page is broken, which its log line tells more of.
// Of an answer that has begun, the rest is missing.
func (v *visit) survive() {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler { //nolint:errorlint // panics carry it as it is
		panic(cause)
	}
	id := wire.RequestID(v.context())
	v.o.Log.LogAttrs(v.context(), slog.LevelError, "console page panicked",
		slog.String("request_id", id), slog.String("path", v.req.URL.Path), slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
	http.Error(v.w, "This page is broken. The server's log has the reason, under request "+id+".", http.StatusInternalServerError)
}

// admit opens the session, and lets nobody in who has to sign in first or whose
// request did not come from a page of ours.
func (v *visit) admit(private bool) error {
	v.session = v.openSession()
	if v.session.KeyID != "" {
		caller, err := v.o.Keys.SignedIn(v.context(), v.session.KeyID, v.session.Token)
		if _, refused := errors.AsType[*wire.Exception](err); refused {
			v.session = v.newSession() // the key is gone
		} else if err != nil {
			return err
		}
		caller.Region, caller.Source, caller.Agent = v.session.Region, sourceOf(v.req), v.req.UserAgent()
		v.caller = caller
	}
	if err := v.checkSender(); err != nil {
		return err
	}
	if private && v.session.KeyID == "" {
		return errSignIn // before anything of a form is read
	}
	if err := v.checkForm(); err != nil {
		return err
	}
	if v.session.KeyID != "" {
		v.req = v.req.WithContext(identity.WithCaller(v.context(), v.caller))
	}
	return nil
}

// fail answers an error.
func (v *visit) fail(err error) {
	var refused *refusal
	switch {
	case errors.Is(err, errSignIn):
		v.redirectToSignIn()
	case errors.As(err, &refused):
		v.show(refused.Status, "error", page{Title: "That did not work", Data: refused})
	case v.context().Err() != nil: // nobody waits for the answer
	default:
		id := wire.RequestID(v.context())
		v.o.Log.LogAttrs(v.context(), slog.LevelError, "console page failed",
			slog.String("request_id", id), slog.String("path", v.req.URL.Path), slog.Any("err", err))
		v.show(http.StatusInternalServerError, "error", page{Title: "Something broke", Data: &refusal{
			Status: http.StatusInternalServerError, Code: "InternalError", Message: "The server's log has the reason, under request " + id + ".",
		}})
	}
}
