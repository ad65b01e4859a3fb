package identity

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/wire"
)

// Verifier tells who signed a request.
type Verifier struct {
	keys       Keys
	now        func() time.Time
	sessions   *Sessions   // nil accepts no session tokens
	principals *Principals // whom sessions are of; with sessions only
	stranger   *signingKey // whose signature is computed for a key that does not exist

	mu      sync.RWMutex
	signing map[string]*signingKey // by credential
}

// NewVerifier returns a verifier of signatures made with keys. The keys are
// asked for each request; put a [KeyCache] in front of a database.
func NewVerifier(keys Keys, now func() time.Time) *Verifier {
	return &Verifier{keys: keys, now: now, stranger: newSigningKey(stranger, &authorization{}), signing: map[string]*signingKey{}}
}

// AcceptSessions makes the verifier accept the tokens of sessions, as long as
// principals know the user or the role that they are of. It returns the verifier,
// and is called before the first request.
func (v *Verifier) AcceptSessions(sessions *Sessions, principals *Principals) *Verifier {
	v.sessions, v.principals = sessions, principals
	return v
}

// signingKeys bounds the derived keys that are remembered. Only a credential
// with a correct signature gets in, so strangers can't push out the others.
const signingKeys = 1024

// signingKey is what a secret becomes for one day, region and service.
type signingKey struct {
	key    Key
	caller Caller
	used   atomic.Int64 // when a request was proven last, in Unix milliseconds; 0 since this was noted
	macs   sync.Pool    // hash.Hash, HMACs with the derived key
}

func newSigningKey(k Key, a *authorization) *signingKey {
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		io.WriteString(h, text) //nolint:errcheck // a hash never fails
		return h.Sum(nil)
	}
	derived := mac(mac(mac(mac([]byte("AWS4"+k.Secret), a.date), a.region), a.service), terminator)
	s := &signingKey{key: k, caller: callerFor(k, strings.Clone(a.region), strings.Clone(a.service))}
	s.macs.New = func() any { return hmac.New(sha256.New, derived) }
	return s
}

// sign returns the signature over text.
func (s *signingKey) sign(text []byte) (sum [sha256.Size]byte) {
	mac := s.macs.Get().(hash.Hash) //nolint:forcetypeassert // New makes nothing else
	mac.Reset()
	mac.Write(text) //nolint:errcheck // a hash never fails
	mac.Sum(sum[:0])
	s.macs.Put(mac)
	return sum
}

const (
	mismatch     = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	invalidToken = "The security token included in the request is invalid."
	expiredToken = "The security token included in the request is expired"

	contentHash     = "X-Amz-Content-Sha256"
	unsignedPayload = "UNSIGNED-PAYLOAD"
)

var emptyHash = sha256.Sum256(nil)

// stranger is whose key is tried when there is none of the name.
var stranger = Key{Secret: "there is no key of this name; this one only takes as long", Account: "000000000000"}

// Verify returns who signed the request. On success it replaces the body by one
// that checks the payload while it streams and hands out the last byte only when
// the payload is the one that was signed; its error is then an exception in
// place of io.EOF. A body that arrives in signed chunks comes out decoded.
//
// An error of Verify is a *wire.Exception, but when the keys could not be read.
//
// A caller who did not declare the payload's hash and sends more than 64 KiB is
// proven only when that body has been read to its end. See [Settle].
func (v *Verifier) Verify(req *http.Request) (Caller, error) {
	var a authorization
	if err := a.read(req); err != nil {
		return Caller{}, err
	}
	now := v.now()
	if err := a.check(now); err != nil {
		return Caller{}, err
	}
	key, unknown, err := v.signingKey(req, &a)
	if err != nil {
		return Caller{}, err
	}
	c := claim{v: v, a: a, key: key, unknown: unknown, now: now}

	s := scratches.Get().(*scratch) //nolint:forcetypeassert // New makes nothing else
	defer s.release()
	if wrong := s.canonical(req, &a); wrong != "" && !c.unknown {
		return Caller{}, wire.InvalidSignature.New(wrong)
	} else if wrong != "" {
		a.legible, c.a.legible = false, false
	}
	body, err := c.body(req, s)
	if err != nil {
		return Caller{}, err
	}
	straighten(req, a.service)
	req.Body = body
	return key.caller, nil
}

// signingKey finds the key of the credential, or a stranger's that takes as long
// as one that is in use.
func (v *Verifier) signingKey(req *http.Request, a *authorization) (_ *signingKey, unknown bool, err error) {
	key, err := v.findKey(req.Context(), a.keyID, sessionToken(req))
	switch {
	case errors.Is(err, lamina.ErrNotFound):
		return v.stranger, true, nil
	case err != nil:
		return nil, false, fmt.Errorf("find access key: %w", err)
	}
	v.mu.RLock()
	s := v.signing[a.credential]
	v.mu.RUnlock()
	if s != nil && s.key == key {
		return s, false, nil
	}
	return newSigningKey(key, a), false, nil
}

// sessionKey finds the key that a session token comes with, expired or not.
func (v *Verifier) sessionKey(ctx context.Context, token, id string) (Key, error) {
	if v.sessions == nil {
		return Key{}, lamina.ErrNotFound
	}
	key, err := v.sessions.open(token)
	if err != nil || key.ID != id {
		return Key{}, lamina.ErrNotFound
	}
	if err := v.principals.exists(ctx, key); err != nil {
		return Key{}, err
	}
	return key, nil
}

// remember keeps the key of a proven credential for the next request.
func (v *Verifier) remember(credential string, s *signingKey) {
	v.mu.RLock()
	old := v.signing[credential]
	v.mu.RUnlock()
	if old == s {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	room(v.signing, signingKeys)
	v.signing[strings.Clone(credential)] = s
}

// sessionToken returns the session token that the request carries, or "".
func sessionToken(req *http.Request) string {
	const name = "X-Amz-Security-Token"
	if h := req.Header[name]; len(h) > 0 && h[0] != "" {
		return h[0]
	}
	if strings.Contains(req.URL.RawQuery, name+"=") {
		if token := req.URL.Query().Get(name); token != "" {
			return token
		}
		return "-" // there is one, and it is not legible
	}
	return ""
}

// claim is a request's signature, waiting for the payload's hash.
type claim struct {
	v       *Verifier
	a       authorization
	key     *signingKey
	unknown bool // no such key, or no such session
	now     time.Time
}

// prove finishes the canonical request with the payload's hash, or what stands
// for it, and compares the signatures. It takes the same steps for a key that
// does not exist.
func (c *claim) prove(canonical []byte, payload string) error {
	canonical = append(canonical, payload...)
	sum := sha256.Sum256(canonical)

	text := append(canonical[:0], algorithm+"\n"...)
	text = append(text, c.a.stamp...)
	text = append(text, '\n')
	text = append(text, c.a.scope()...)
	text = append(text, '\n')
	text = hex.AppendEncode(text, sum[:])
	want := c.key.sign(text)
	same := hmac.Equal(want[:], c.a.signature[:]) && c.a.legible
	switch {
	case c.unknown:
		return wire.UnrecognizedClient.New(invalidToken)
	case !same:
		return wire.InvalidSignature.New(mismatch)
	}
	if session := c.key.key.Session; session != nil && !c.now.Before(session.Expires) {
		return wire.ExpiredToken.New(expiredToken)
	}
	c.key.used.Store(c.now.UnixMilli())
	c.v.remember(c.a.credential, c.key)
	return nil
}

// body proves the claim, or returns a body that will.
func (c *claim) body(req *http.Request, s *scratch) (io.ReadCloser, error) {
	declared := c.a.payload
	if h := req.Header[contentHash]; len(h) > 0 {
		declared = h[0]
	} else if declared == "" && c.a.presigned && c.a.service == "s3" {
		declared = unsignedPayload // S3 presigns without knowing the payload
	}
	empty := req.ContentLength == 0 || req.Body == nil || req.Body == http.NoBody
	var want [sha256.Size]byte
	switch {
	case declared == "" && empty:
		return http.NoBody, c.prove(s.text, emptyText)
	case declared == "":
		return c.undeclared(req, s)
	case declared == unsignedPayload:
		body := req.Body
		if empty {
			body = http.NoBody
		}
		return body, c.prove(s.text, declared)
	case strings.HasPrefix(declared, "STREAMING-"):
		return c.chunked(req, s, declared)
	case len(declared) == 2*sha256.Size:
		var text [2 * sha256.Size]byte
		copy(text[:], declared)
		if _, err := hex.Decode(want[:], text[:]); err == nil {
			break
		}
		fallthrough
	default:
		if err := c.prove(s.text, declared); err != nil {
			return nil, err
		}
		return nil, wire.InvalidSignature.Errorf("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD or a valid sha256 value.")
	}
	if err := c.prove(s.text, declared); err != nil {
		return nil, err
	}
	if empty {
		if want != emptyHash {
			return nil, wire.InvalidSignature.New(mismatch)
		}
		return http.NoBody, nil
	}
	return newHashed(req, func(sum [sha256.Size]byte) error {
		if sum != want {
			return wire.InvalidSignature.New(mismatch)
		}
		return nil
	}), nil
}

var emptyText = hex.EncodeToString(emptyHash[:])

// smallBody is up to where an undeclared body is read before the answer, so that
// most callers are proven when Verify returns.
const smallBody = 64 << 10

// undeclared handles a body whose hash the client has signed but not sent.
func (c *claim) undeclared(req *http.Request, s *scratch) (io.ReadCloser, error) {
	if c.unknown {
		return nil, c.prove(s.text, emptyText) // a stranger's body is not worth reading
	}
	// Requests of these methods have no body that anything would read, so it must
	// not be left to a reader to find out that the signature is wrong.
	bodiless := req.Method != http.MethodPost && req.Method != http.MethodPut && req.Method != http.MethodPatch
	if small := req.ContentLength > 0 && req.ContentLength <= smallBody; !small && !bodiless {
		canonical := append([]byte(nil), s.text...)
		h := newHashed(req, func(sum [sha256.Size]byte) error {
			return c.prove(canonical, hex.EncodeToString(sum[:]))
		})
		h.proves = true
		return h, nil
	}
	if req.ContentLength > smallBody {
		return nil, wire.RequestEntityTooLarge.New("Request must be smaller than " + strconv.Itoa(smallBody) + " bytes")
	}
	b, err := readSmall(req)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b.text)
	if err := c.prove(s.text, hex.EncodeToString(sum[:])); err != nil {
		return nil, err
	}
	return b, nil
}
