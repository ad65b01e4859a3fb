package store

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/lamina-run/lamina"
)

// SecretKeyBytes is the length of [Options.SecretKey].
const SecretKeyBytes = 32

// ErrOtherKey says that the database's secrets are sealed with another key.
var ErrOtherKey = errors.New("the secrets in the database are sealed with another key")

// sealedPrefix starts a sealed text. No access key's secret and no JSON begins so.
const sealedPrefix = "sealed:1:"

// secrets seals texts before they go into the database: AES-256-GCM with a random
// nonce, bound to the row that the text is for. Nil leaves everything plain.
type secrets struct{ aead cipher.AEAD }

func newSecrets(key []byte) (*secrets, error) {
	if key == nil {
		return nil, nil
	}
	if len(key) != SecretKeyBytes {
		return nil, fmt.Errorf("the secret key has %d bytes; want %d", len(key), SecretKeyBytes)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &secrets{aead}, nil
}

// seal returns the text as the database gets it. Owner names the row; another
// row's text does not open.
func (s *secrets) seal(text, owner string) string {
	if s == nil {
		return text
	}
	return sealedPrefix + base64.RawStdEncoding.EncodeToString(s.aead.Seal(nil, nil, []byte(text), []byte(owner)))
}

// open returns what was sealed. A text that never was is returned as it is: an
// earlier release wrote it.
func (s *secrets) open(text, owner string) (string, error) {
	rest, sealed := strings.CutPrefix(text, sealedPrefix)
	if !sealed {
		return text, nil
	}
	if s == nil {
		return "", fmt.Errorf("open a secret of %s: %w", owner, ErrOtherKey)
	}
	data, err := base64.RawStdEncoding.DecodeString(rest)
	if err == nil {
		data, err = s.aead.Open(nil, nil, data, []byte(owner))
	}
	if err != nil {
		return "", fmt.Errorf("open a secret of %s: %w", owner, err)
	}
	return string(data), nil
}

// Names of settings that the store keeps for itself.
const (
	settingSecretCheck  = "secret-check" // a known text, sealed
	settingSecretSealed = "secret-rows"  // hash of the key that all rows were sealed with
)

// adopt makes sure that the key is the one that the database was sealed with, and
// seals what an earlier release left plain.
func (s *Store) adopt(ctx context.Context, key []byte) error {
	err := s.Update(ctx, func(tx *Tx) error {
		const known = "lamina"
		text, err := tx.Setting(ctx, settingSecretCheck)
		if errors.Is(err, lamina.ErrNotFound) {
			if s.secrets == nil {
				return nil
			}
			return tx.PutSetting(ctx, settingSecretCheck, s.secrets.seal(known, settingSecretCheck))
		}
		if err != nil {
			return err
		}
		if got, err := s.secrets.open(text, settingSecretCheck); err != nil || got != known {
			return ErrOtherKey
		}
		return nil
	})
	if err != nil || s.secrets == nil {
		return err
	}
	sum := sha256.Sum256(key)
	mark := hex.EncodeToString(sum[:8])
	done := false
	err = s.View(ctx, func(tx *Tx) error {
		text, err := tx.Setting(ctx, settingSecretSealed)
		done = text == mark
		if errors.Is(err, lamina.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil || done {
		return err
	}
	for _, part := range []func(context.Context) error{s.sealVersions, s.sealKeys, s.sealStacks, s.sealParameters} {
		if err := part(ctx); err != nil {
			return fmt.Errorf("seal secrets: %w", err)
		}
	}
	return s.Update(ctx, func(tx *Tx) error { return tx.PutSetting(ctx, settingSecretSealed, mark) })
}

const sealBatch = 200 // rows in a transaction

// sealVersions rewrites configurations that have variables in clear text.
func (s *Store) sealVersions(ctx context.Context) error {
	var after lamina.FunctionID
	number := int64(-1)
	for {
		rows := 0
		err := s.Update(ctx, func(tx *Tx) error {
			at, n := after, number
			all, err := tx.versions(ctx, `SELECT `+versionColumns+` FROM function_version v
				WHERE (v.account, v.region, v.name, v.number) > ($1, $2, $3, $4)
				ORDER BY v.account, v.region, v.name, v.number LIMIT $5`, at.Account, at.Region, at.Name, n, int64(sealBatch))
			if err != nil {
				return err
			}
			rows = len(all)
			for _, v := range all {
				if len(v.Config.Environment) > 0 {
					config, err := tx.config(v)
					if err != nil {
						return err
					}
					err = tx.exec(ctx, `UPDATE function_version SET config = $5
						WHERE account = $1 AND region = $2 AND name = $3 AND number = $4`,
						v.Function.Account, v.Function.Region, v.Function.Name, v.Number, config)
					if err != nil {
						return err
					}
				}
				at, n = v.Function, v.Number
			}
			after, number = at, n
			return nil
		})
		if err != nil || rows < sealBatch {
			return err
		}
	}
}

// sealKeys rewrites secrets of access keys that are in clear text.
func (s *Store) sealKeys(ctx context.Context) error {
	after := ""
	for {
		rows := 0
		err := s.Update(ctx, func(tx *Tx) error {
			at := after
			var keys []AccessKey
			err := tx.each(ctx, func(r scanner) error {
				var k AccessKey
				if err := tx.scanAccessKey(r, &k); err != nil {
					return err
				}
				keys = append(keys, k)
				return nil
			}, `SELECT `+accessKeyColumns+` FROM access_key k WHERE k.id > $1 ORDER BY k.id LIMIT $2`, at, int64(sealBatch))
			if err != nil {
				return err
			}
			rows = len(keys)
			for _, k := range keys {
				if err := tx.PutAccessKey(ctx, k); err != nil {
					return err
				}
				at = k.ID
			}
			after = at
			return nil
		})
		if err != nil || rows < sealBatch {
			return err
		}
	}
}

// sealStacks rewrites what is remembered of stacks in clear text.
func (s *Store) sealStacks(ctx context.Context) error {
	after := ""
	for {
		var ids []string
		err := s.View(ctx, func(tx *Tx) (err error) {
			ids, err = tx.texts(ctx, "SELECT id FROM stack WHERE id > $1 ORDER BY id LIMIT $2", after, int64(sealBatch))
			return err
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			if err := s.Update(ctx, func(tx *Tx) error { return tx.sealStack(ctx, id) }); err != nil {
				return err
			}
		}
		after = ids[len(ids)-1]
	}
}

func (tx *Tx) sealStack(ctx context.Context, id string) error {
	stack, err := tx.LockStack(ctx, id)
	if err != nil {
		return err
	}
	if err := tx.PutStack(ctx, stack); err != nil {
		return err
	}
	all, err := tx.StackResources(ctx, id)
	if err != nil {
		return err
	}
	for _, r := range all {
		if err := tx.PutStackResource(ctx, r); err != nil {
			return err
		}
	}
	for after := ""; ; {
		sets, err := tx.StackChangeSets(ctx, id, after, sealBatch)
		if err != nil {
			return err
		}
		if len(sets) == 0 {
			break
		}
		for _, c := range sets {
			if err := tx.PutStackChangeSet(ctx, c); err != nil {
				return err
			}
			after = c.Name
		}
	}
	names, err := tx.ExportsOfStack(ctx, id)
	for _, name := range names {
		var e StackExport
		if err == nil {
			e, err = tx.StackExport(ctx, stack.Scope, name)
		}
		if err == nil {
			err = tx.PutStackExport(ctx, stack.Scope, e)
		}
	}
	return err
}

// sealedConfig is a configuration as the database has it.
type sealedConfig struct {
	lamina.Config
	Sealed string `json:",omitzero"` // the Environment
}

// owner names a function's variables.
func owner(id lamina.FunctionID) string { return "environment of " + id.ARN() }

// config is what the database gets of a version's configuration.
func (tx *Tx) config(v lamina.Version) (string, error) {
	c := sealedConfig{Config: v.Config}
	if tx.secrets != nil && len(c.Environment) > 0 {
		text, err := toJSON(c.Environment)
		if err != nil {
			return "", err
		}
		c.Environment, c.Sealed = nil, tx.secrets.seal(text, owner(v.Function))
	}
	return toJSON(c)
}

// setConfig is the opposite of config.
func (tx *Tx) setConfig(v *lamina.Version, data []byte) error {
	var c sealedConfig
	if err := json.Unmarshal(data, &c); err != nil {
		return err
	}
	if c.Sealed != "" {
		text, err := tx.secrets.open(c.Sealed, owner(v.Function))
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(text), &c.Environment); err != nil {
			return err
		}
	}
	v.Config = c.Config
	return nil
}

// SecretSetting is [Tx.Setting] for one that [Tx.PutSecretSetting] wrote.
func (tx *Tx) SecretSetting(ctx context.Context, key string) (string, error) {
	text, err := tx.Setting(ctx, key)
	if err != nil {
		return "", err
	}
	return tx.secrets.open(text, "setting "+key)
}

// PutSecretSetting writes a server setting, sealed.
func (tx *Tx) PutSecretSetting(ctx context.Context, key, value string) error {
	return tx.PutSetting(ctx, key, tx.secrets.seal(value, "setting "+key))
}
