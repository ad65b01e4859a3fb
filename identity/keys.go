package identity

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
)

// Key is an access key: what a client signs with, and for whom.
type Key struct {
	ID      string
	Secret  string
	Account string
	User    string // empty for the root of the account
	// UserID and UserPath are the user's, such as AIDA… and /.
	UserID   string
	UserPath string
	// Session is what temporary credentials stand for; nil for a lasting key.
	Session *Session
}

// Keys finds access keys. An ID that does not exist is lamina.ErrNotFound;
// every other error means that nobody knows. It is called for each request, so
// it should answer from memory.
type Keys interface {
	AccessKey(ctx context.Context, id string) (Key, error)
}

const (
	// keyLife is how long a key that was changed or removed behind our back may
	// still be believed.
	keyLife = 5 * time.Second
	// Strangers choose the IDs that do not exist, so those have a small table of
	// their own and can't push out the keys that do.
	knownKeys   = 4096
	unknownKeys = 1024
	maxKeyID    = 128
)

// KeyCache remembers for a few seconds what other Keys answered.
type KeyCache struct {
	keys Keys
	now  func() time.Time

	mu        sync.RWMutex
	known     map[string]cachedKey
	unknown   map[string]time.Time // until when
	forgotten uint64               // how often Forget was called
}

type cachedKey struct {
	key   Key
	until time.Time
}

// NewKeyCache returns a cache in front of keys.
func NewKeyCache(keys Keys, now func() time.Time) *KeyCache {
	return &KeyCache{keys: keys, now: now, known: map[string]cachedKey{}, unknown: map[string]time.Time{}}
}

// AccessKey implements [Keys].
func (c *KeyCache) AccessKey(ctx context.Context, id string) (Key, error) {
	if len(id) > maxKeyID {
		return Key{}, lamina.ErrNotFound
	}
	now := c.now()
	c.mu.RLock()
	hit, known := c.known[id]
	until, unknown := c.unknown[id]
	forgotten := c.forgotten
	c.mu.RUnlock()
	switch {
	case known && now.Before(hit.until):
		return hit.key, nil
	case unknown && now.Before(until):
		return Key{}, lamina.ErrNotFound
	}

	key, err := c.keys.AccessKey(ctx, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case forgotten != c.forgotten: // what was read may be old already
	case err == nil:
		room(c.known, knownKeys)
		c.known[key.ID] = cachedKey{key: key, until: now.Add(keyLife)}
		delete(c.unknown, key.ID)
	case errors.Is(err, lamina.ErrNotFound):
		room(c.unknown, unknownKeys)
		c.unknown[id] = now.Add(keyLife)
		delete(c.known, id)
	}
	return key, err
}

// Forget drops all that is remembered, so that a change counts at once.
func (c *KeyCache) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgotten++
	clear(c.known)
	clear(c.unknown)
}

// room makes place for one more entry by dropping any one.
func room[K comparable, V any](m map[K]V, size int) {
	if len(m) < size {
		return
	}
	for k := range m {
		delete(m, k)
		return
	}
}

// storeKeys finds keys in the database.
type storeKeys struct{ store *store.Store }

// StoreKeys returns the keys of a database, behind a [KeyCache].
func StoreKeys(st *store.Store) *KeyCache { return NewKeyCache(storeKeys{st}, time.Now) }

func (s storeKeys) AccessKey(ctx context.Context, id string) (key Key, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) error {
		k, owner, err := tx.AccessKeyOwner(ctx, id)
		if err == nil && k.Inactive {
			err = lamina.ErrNotFound // to whom it belongs makes no difference to a client
		}
		key = Key{ID: k.ID, Secret: k.Secret, Account: k.Account, User: k.User, UserID: owner.ID, UserPath: owner.Path}
		return err
	})
	return key, err
}
