package console

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	sessionCookie = "lamina-session"
	noteCookie    = "lamina-note"
	themeCookie   = "lamina-theme"

	// sessionLife is how long a session lasts, as with AWS's console.
	sessionLife = 12 * time.Hour
	// maxCookie is what browsers keep of one cookie.
	maxCookie = 4096
)

// session is what the sealed cookie holds. Nothing of it is kept here.
type session struct {
	ID      string    `json:"i"`           // random, new at each sign-in
	CSRF    string    `json:"c"`           // what every form sends back
	KeyID   string    `json:"k,omitempty"` // empty before the sign-in
	Token   string    `json:"t,omitempty"` // session token of temporary credentials
	Region  string    `json:"r,omitempty"`
	Expires time.Time `json:"e"`
}

// newToken returns 128 random bits as text.
func newToken() string { return rand.Text() }

// seal encrypts and authenticates cookies, each kind apart.
type seal struct{ aead cipher.AEAD }

func newSeal(secret []byte) (*seal, error) {
	if len(secret) != 32 {
		return nil, fmt.Errorf("console secret has %d bytes; want 32", len(secret))
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fmt.Errorf("console secret: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("console secret: %w", err)
	}
	return &seal{aead}, nil
}

var errCookieSize = errors.New("cookie is too large for browsers")

func (s *seal) close(kind string, v any) (string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("seal %s: %w", kind, err)
	}
	sealed := base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, text, []byte(kind)))
	if len(kind)+1+len(sealed) > maxCookie {
		return "", errCookieSize
	}
	return sealed, nil
}

// open reports whether text is one of ours, and reads it into v.
func (s *seal) open(kind, text string, v any) bool {
	if len(text) > maxCookie {
		return false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return false
	}
	plain, err := s.aead.Open(nil, nil, sealed, []byte(kind))
	return err == nil && json.Unmarshal(plain, v) == nil
}

// openSession returns the session of the request, or a new one of nobody, whose
// cookie goes out with the answer.
func (v *visit) openSession() session {
	var s session
	if c, err := v.req.Cookie(sessionCookie); err == nil && v.seal.open(sessionCookie, c.Value, &s) &&
		v.o.Now().Before(s.Expires) && !v.ended.has(s.ID) {
		return s
	}
	return v.newSession()
}

// newSession begins a session of nobody. A form of elsewhere, which came without
// the cookie, does not replace it.
func (v *visit) newSession() session {
	s := session{ID: newToken(), CSRF: newToken(), Expires: v.o.Now().Add(sessionLife)}
	if v.origin.Check(v.req) != nil {
		return s
	}
	if err := v.keepSession(s); err != nil {
		panic(err) // four short strings
	}
	return s
}

func (v *visit) keepSession(s session) error {
	sealed, err := v.seal.close(sessionCookie, s)
	if err != nil {
		return err
	}
	v.setCookie(sessionCookie, sealed, s.Expires)
	return nil
}

// setCookie sets a cookie that comes along with links from elsewhere, which only
// show something, and with no form or script of elsewhere.
func (v *visit) setCookie(name, value string, expires time.Time) {
	http.SetCookie(v.w, &http.Cookie{
		Name: name, Value: value, Path: Path, Expires: expires, Secure: v.req.TLS != nil, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

func (v *visit) clearCookie(name string) {
	http.SetCookie(v.w, &http.Cookie{Name: name, Path: Path, MaxAge: -1, Secure: v.req.TLS != nil, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// note is told once, on the next page.
type note struct {
	Text string `json:"t"`
	Bad  bool   `json:"b,omitempty"`
}

// noteLife is how long a note waits for the page that shows it.
const noteLife = time.Minute

// leave keeps a note for the next page.
func (v *visit) leave(n note) {
	const most = 512 // bytes
	if len(n.Text) > most {
		n.Text = n.Text[:most] + "…"
	}
	if sealed, err := v.seal.close(noteCookie, n); err == nil { // else the page says nothing
		v.setCookie(noteCookie, sealed, v.o.Now().Add(noteLife))
	}
}

// takeNote returns the note that was left for this page, if any.
func (v *visit) takeNote() *note {
	c, err := v.req.Cookie(noteCookie)
	if err != nil {
		return nil
	}
	v.clearCookie(noteCookie)
	var n note
	if !v.seal.open(noteCookie, c.Value, &n) {
		return nil
	}
	return &n
}

// endedSessions are those whose people signed out, until they would have expired.
// They are this server's: another of the same database, or this one after a
// restart, ends them with their key.
type endedSessions struct {
	mu  sync.Mutex
	ids map[string]time.Time // until when
}

const maxEnded = 10_000

func (e *endedSessions) add(s session, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ids == nil {
		e.ids = map[string]time.Time{}
	}
	if len(e.ids) >= maxEnded {
		for id, until := range e.ids {
			if !now.Before(until) {
				delete(e.ids, id)
			}
		}
		for id := range e.ids { // whichever, if all are fresh
			if len(e.ids) < maxEnded {
				break
			}
			delete(e.ids, id)
		}
	}
	e.ids[s.ID] = s.Expires
}

func (e *endedSessions) has(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.ids[id]
	return ok
}
