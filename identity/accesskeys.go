package identity

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lamina-run/lamina/store"
)

const maxAccessKeys = 2 // of a user

type accessKeyXML struct {
	UserName        string `xml:",omitempty"`
	AccessKeyID     string `xml:"AccessKeyId"`
	Status          string
	SecretAccessKey string `xml:",omitempty"`
	CreateDate      xmlTime
}

func showKey(k store.AccessKey) accessKeyXML {
	x := accessKeyXML{UserName: k.User, AccessKeyID: k.ID, Status: "Active", CreateDate: xmlTime(k.Created)}
	if k.Inactive {
		x.Status = "Inactive"
	}
	return x
}

// keyOwner returns the name of the user whose keys the request is about, locked,
// "" for the root. Who names nobody means himself.
func (s *iam) keyOwner(ctx context.Context, tx *store.Tx, c Caller, in form, get func(context.Context, store.IdentityRef) (store.Identity, error)) (string, error) {
	if in.given("UserName") == nil {
		switch c.Kind {
		case KindRoot:
			return "", nil
		case KindAssumedRole:
			return "", invalid("Must specify userName when calling with non-User credentials")
		}
	}
	i, err := users.read(ctx, c, in, get)
	return i.Name, err
}

func (s *iam) createAccessKey(ctx context.Context, c Caller, in form) (result any, err error) {
	err = s.update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockAccount(ctx, c.Account); err != nil {
			return err
		}
		user, err := s.keyOwner(ctx, tx, c, in, tx.LockIdentity)
		if err != nil {
			return err
		}
		have, err := tx.AccessKeys(ctx, c.Account, user)
		if err != nil {
			return err
		}
		if len(have) >= maxAccessKeys {
			return limit("AccessKeysPerUser", maxAccessKeys)
		}
		made := newCredentials(c.Account)
		k := store.AccessKey{ID: made.AccessKeyID, Secret: made.SecretAccessKey, Account: c.Account, User: user, Created: s.Now()}
		x := showKey(k)
		x.SecretAccessKey = k.Secret
		result = struct{ AccessKey accessKeyXML }{x}
		return tx.PutAccessKey(ctx, k)
	})
	return result, err
}

func (s *iam) listAccessKeys(ctx context.Context, c Caller, in form) (result any, err error) {
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		user, err := s.keyOwner(ctx, tx, c, in, tx.Identity)
		if err != nil {
			return err
		}
		all, err := tx.AccessKeys(ctx, c.Account, user)
		if err != nil {
			return err
		}
		all, p, err := paginate(in, all, func(k store.AccessKey) string { return k.ID })
		var list struct {
			Member []accessKeyXML `xml:"member"`
		}
		for _, k := range all {
			list.Member = append(list.Member, showKey(k))
		}
		result = struct {
			page
			UserName          string `xml:",omitempty"`
			AccessKeyMetadata any
		}{p, user, list}
		return err
	})
	return result, err
}

// editKey runs fn with the key that the request names, of the user that it names.
func (s *iam) editKey(ctx context.Context, c Caller, in form, fn func(*store.Tx, store.AccessKey) error) error {
	id := in.get("AccessKeyId")
	if len(id) < 4 || len(id) > maxKeyID || !keyIDForm.MatchString(id) {
		return invalid("1 validation error detected: Value '%s' at 'accessKeyId' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w]+", printable(id))
	}
	return s.update(ctx, func(tx *store.Tx) error {
		user, err := s.keyOwner(ctx, tx, c, in, tx.LockIdentity)
		if err != nil {
			return err
		}
		all, err := tx.AccessKeys(ctx, c.Account, user)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(all, func(k store.AccessKey) bool { return k.ID == id })
		if at < 0 {
			return noEntity("The Access Key with id %s cannot be found.", id)
		}
		return fn(tx, all[at])
	})
}

func (s *iam) updateAccessKey(ctx context.Context, c Caller, in form) (any, error) {
	status := in.get("Status")
	if status != "Active" && status != "Inactive" {
		return nil, invalid("1 validation error detected: Value '%s' at 'status' failed to satisfy constraint: Member must satisfy enum value set: [Active, Inactive, Expired]", printable(status))
	}
	return nil, s.editKey(ctx, c, in, func(tx *store.Tx, k store.AccessKey) error {
		k.Inactive = status == "Inactive"
		return tx.PutAccessKey(ctx, k)
	})
}

func (s *iam) deleteAccessKey(ctx context.Context, c Caller, in form) (any, error) {
	return nil, s.editKey(ctx, c, in, func(tx *store.Tx, k store.AccessKey) error {
		_, err := tx.DeleteAccessKey(ctx, k.ID)
		return err
	})
}

func (s *iam) getAccessKeyLastUsed(ctx context.Context, c Caller, in form) (result any, err error) {
	id := in.get("AccessKeyId")
	type usedXML struct {
		LastUsedDate *xmlTime `xml:",omitempty"`
		ServiceName  string
		Region       string
	}
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		k, err := tx.AccessKey(ctx, id)
		if missing(err) || err == nil && k.Account != c.Account {
			return refuse(http.StatusForbidden, "AccessDenied", "User: %s is not authorized to perform: iam:GetAccessKeyLastUsed on resource: access key %s", c.ARN, printable(id))
		}
		if err != nil {
			return err
		}
		used := usedXML{ServiceName: "N/A", Region: "N/A"}
		if !k.Use.Time.IsZero() {
			at := xmlTime(k.Use.Time.Truncate(time.Second))
			used = usedXML{&at, k.Use.Service, k.Use.Region}
		}
		result = struct {
			UserName          string `xml:",omitempty"`
			AccessKeyLastUsed usedXML
		}{k.User, used}
		return nil
	})
	return result, err
}

// useEvery is how often uses of keys are written down.
const useEvery = time.Minute

// Run writes down, about every minute and when ctx ends, which keys were used:
// GetAccessKeyLastUsed tells.
func (v *Verifier) Run(ctx context.Context, st *store.Store) error {
	tick := time.NewTicker(useEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			// What could not be written comes again with the next use. The database's own
			// users report that it is gone.
			_ = v.writeUses(ctx, st)
		case <-ctx.Done():
			return v.writeUses(context.WithoutCancel(ctx), st)
		}
	}
}

func (v *Verifier) writeUses(ctx context.Context, st *store.Store) error {
	type use struct {
		id string
		store.AccessKeyUse
	}
	var uses []use
	v.mu.RLock()
	for _, s := range v.signing {
		if at := s.used.Swap(0); at != 0 && s.key.Session == nil {
			uses = append(uses, use{s.key.ID, store.AccessKeyUse{Time: time.UnixMilli(at), Service: s.caller.Service, Region: s.caller.Region}})
		}
	}
	v.mu.RUnlock()
	if len(uses) == 0 {
		return nil
	}
	slices.SortFunc(uses, func(a, b use) int { return strings.Compare(a.id, b.id) }) // all servers lock rows in one order
	return st.Update(ctx, func(tx *store.Tx) error {
		for _, u := range uses {
			if err := tx.UseAccessKey(ctx, u.id, u.AccessKeyUse); err != nil {
				return err
			}
		}
		return nil
	})
}
