package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/wire"
)

// SignIn returns whom an access key is of, to somebody who knows its secret; with
// temporary credentials the session token comes along. It answers AWS's exception
// for a key that is unknown, has another secret or has expired, and takes as long
// for each. The caller's region and service are empty.
func (v *Verifier) SignIn(ctx context.Context, id, secret, token string) (Caller, error) {
	key, err := v.findKey(ctx, id, token)
	unknown := errors.Is(err, lamina.ErrNotFound)
	if err != nil && !unknown {
		return Caller{}, fmt.Errorf("find access key: %w", err)
	}
	// Hashes have one length, so that the time does not tell the secret's.
	want, got := sha256.Sum256([]byte(key.Secret)), sha256.Sum256([]byte(secret))
	if same := subtle.ConstantTimeCompare(want[:], got[:]) == 1; unknown || !same {
		return Caller{}, wire.UnrecognizedClient.New(invalidToken)
	}
	return v.callerNow(key)
}

// SignedIn returns whom an access key is of, to somebody who signed in with it
// before. It fails like [Verifier.SignIn] when the key is gone or has expired.
func (v *Verifier) SignedIn(ctx context.Context, id, token string) (Caller, error) {
	key, err := v.findKey(ctx, id, token)
	if errors.Is(err, lamina.ErrNotFound) {
		return Caller{}, wire.UnrecognizedClient.New(invalidToken)
	}
	if err != nil {
		return Caller{}, fmt.Errorf("find access key: %w", err)
	}
	return v.callerNow(key)
}

func (v *Verifier) findKey(ctx context.Context, id, token string) (Key, error) {
	if token != "" {
		return v.sessionKey(ctx, token, id)
	}
	return v.keys.AccessKey(ctx, id)
}

// callerNow is whom a key is of, unless it has expired.
func (v *Verifier) callerNow(key Key) (Caller, error) {
	if key.Session != nil && !v.now().Before(key.Session.Expires) {
		return Caller{}, wire.ExpiredToken.New(expiredToken)
	}
	return callerFor(key, "", ""), nil
}
