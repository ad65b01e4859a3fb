package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
)

// Session is what temporary credentials stand for. It is not to be changed.
type Session struct {
	// Role, RoleARN, RoleID and Name are of an assumed role, and empty for a user's
	// or a root's session.
	Role    string
	RoleARN string
	RoleID  string // AROA…
	Name    string // RoleSessionName

	Policy         string            // inline session policy, "" without one
	PolicyARNs     []string          // managed session policies
	Tags           map[string]string // session tags
	TransitiveTags []string          // keys of those that a further role gets, too
	SourceIdentity string
	Issued         time.Time
	Expires        time.Time
}

// Bounded reports whether session policies bound the session's rights.
func (s *Session) Bounded() bool { return s.Policy != "" || len(s.PolicyARNs) > 0 }

// arn is arn:aws:sts::<account>:assumed-role/<role>/<session>.
func (s *Session) arn(account string) string {
	return "arn:" + lamina.Partition + ":sts::" + account + ":assumed-role/" + s.Role + "/" + s.Name
}

// TemporaryCredentials are a key that needs its session token beside it.
type TemporaryCredentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expires         time.Time
}

// sealed is what a session token holds. Its names are short: it travels with
// every request.
type sealed struct {
	ID      string `json:"k"`
	Secret  string `json:"s"`
	Account string `json:"a"`
	// User, UserID and UserPath are of a user's session.
	User     string `json:"u,omitempty"`
	UserID   string `json:"ui,omitempty"`
	UserPath string `json:"up,omitempty"`

	Role       string            `json:"r,omitempty"`
	RoleARN    string            `json:"ra,omitempty"`
	RoleID     string            `json:"ri,omitempty"`
	Name       string            `json:"n,omitempty"`
	Policy     string            `json:"p,omitempty"`
	PolicyARNs []string          `json:"pa,omitempty"`
	Tags       map[string]string `json:"t,omitempty"`
	Transitive []string          `json:"tt,omitempty"`
	Source     string            `json:"si,omitempty"`
	Issued     int64             `json:"i"` // Unix seconds
	Expires    int64             `json:"e"`
}

const (
	// SessionKeyBytes is the size of the key that seals session tokens.
	SessionKeyBytes = 32

	sessionVersion = "LM1" // of the token's form; authenticated with it
	maxToken       = 48 << 10
	openedTokens   = 4096
)

// Sessions issues temporary credentials and recognizes them again. Nothing of a
// session is kept: its token holds all of it, encrypted and authenticated with
// the installation's key. So a session costs no write, survives a restart, and
// is known to all servers of one database. What it can't do is end early: for
// that, the role or the user goes.
type Sessions struct {
	aead cipher.AEAD

	mu     sync.RWMutex
	opened map[string]Key // by token
}

// NewSessions returns the sessions of a key of [SessionKeyBytes] bytes.
func NewSessions(key []byte) (*Sessions, error) {
	if len(key) != SessionKeyBytes {
		return nil, fmt.Errorf("session key has %d bytes; want %d", len(key), SessionKeyBytes)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("session key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("session key: %w", err)
	}
	return &Sessions{aead: aead, opened: map[string]Key{}}, nil
}

// Issue makes credentials of an account for a session. For a user's session,
// user is the user's key; what else is in it does not count.
func (s *Sessions) issue(account string, user Key, session Session) (TemporaryCredentials, error) {
	var secret [30]byte
	_, _ = rand.Read(secret[:]) // never fails (crypto/rand)
	in := sealed{
		ID: newKeyID("ASIA", account), Secret: base64.StdEncoding.EncodeToString(secret[:]), Account: account,
		User: user.User, UserID: user.UserID, UserPath: user.UserPath,
		Role: session.Role, RoleARN: session.RoleARN, RoleID: session.RoleID, Name: session.Name,
		Policy: session.Policy, PolicyARNs: session.PolicyARNs, Tags: session.Tags, Transitive: session.TransitiveTags, Source: session.SourceIdentity,
		Issued: session.Issued.Unix(), Expires: session.Expires.Unix(),
	}
	text, err := json.Marshal(in)
	if err != nil {
		return TemporaryCredentials{}, fmt.Errorf("seal session: %w", err)
	}
	token := sessionVersion + base64.StdEncoding.EncodeToString(s.aead.Seal(nil, nil, text, []byte(sessionVersion)))
	return TemporaryCredentials{in.ID, in.Secret, token, time.Unix(in.Expires, 0).UTC()}, nil
}

// open returns the key of a token that Issue made, expired or not, and
// lamina.ErrNotFound for any other. The same token has the same *Session as long
// as it is remembered.
func (s *Sessions) open(token string) (Key, error) {
	s.mu.RLock()
	key, ok := s.opened[token]
	s.mu.RUnlock()
	if ok {
		return key, nil
	}
	body, ok := strings.CutPrefix(token, sessionVersion)
	if !ok || len(token) > maxToken || strings.ContainsAny(body, "\r\n") { // base64 would pass over them
		return Key{}, lamina.ErrNotFound
	}
	text, err := base64.StdEncoding.Strict().DecodeString(body)
	if err == nil {
		text, err = s.aead.Open(nil, nil, text, []byte(sessionVersion))
	}
	if err != nil {
		return Key{}, lamina.ErrNotFound
	}
	var in sealed
	if err := json.Unmarshal(text, &in); err != nil {
		return Key{}, fmt.Errorf("open session: %w", err) // we sealed it
	}
	key = Key{
		ID: in.ID, Secret: in.Secret, Account: in.Account, User: in.User, UserID: in.UserID, UserPath: in.UserPath,
		Session: &Session{
			Role: in.Role, RoleARN: in.RoleARN, RoleID: in.RoleID, Name: in.Name,
			Policy: in.Policy, PolicyARNs: in.PolicyARNs, Tags: in.Tags, TransitiveTags: in.Transitive, SourceIdentity: in.Source,
			Issued: time.Unix(in.Issued, 0).UTC(), Expires: time.Unix(in.Expires, 0).UTC(),
		},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.opened[token]; ok {
		return known, nil
	}
	room(s.opened, openedTokens)
	s.opened[strings.Clone(token)] = key
	return key, nil
}
