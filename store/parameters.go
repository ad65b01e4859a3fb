package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lamina-run/lamina"
)

// ParameterID names a parameter of Systems Manager's Parameter Store.
type ParameterID struct {
	lamina.Scope
	Name string
}

// ARN of the parameter. A leading slash of its name is not in it twice.
func (id ParameterID) ARN() string {
	name := id.Name
	if name != "" && name[0] == '/' {
		name = name[1:]
	}
	return "arn:" + lamina.Partition + ":ssm:" + id.Region + ":" + id.Account + ":parameter/" + name
}

// SecureString is the type of parameters whose values are sealed.
const SecureString = "SecureString"

// Parameter is one version of a parameter.
type Parameter struct {
	ID          ParameterID
	Version     int64
	Type        string
	Value       string
	DataType    string
	Tier        string
	Description string
	Pattern     string // that values must match
	KeyID       string // of a SecureString
	Labels      []string
	Modified    time.Time
	ModifiedBy  string // ARN
}

const parameterColumns = `v.account, v.region, v.name, v.version, v.kind, v.value, v.data_type, v.tier, v.description, v.pattern, v.key_id, v.labels, v.modified, v.modified_by`

func (tx *Tx) scanParameter(r scanner, p *Parameter) error {
	var labels string
	var modified int64
	err := r.Scan(&p.ID.Account, &p.ID.Region, &p.ID.Name, &p.Version, &p.Type, &p.Value, &p.DataType, &p.Tier, &p.Description, &p.Pattern,
		&p.KeyID, &labels, &modified, &p.ModifiedBy)
	if err != nil {
		return err
	}
	p.Modified = fromMillis(modified)
	if p.Type == SecureString {
		if p.Value, err = tx.secrets.open(p.Value, p.ID.ARN()); err != nil {
			return err
		}
	}
	return json.Unmarshal([]byte(labels), &p.Labels)
}

func (tx *Tx) parameters(ctx context.Context, text string, args ...any) ([]Parameter, error) {
	var all []Parameter
	err := tx.each(ctx, func(r scanner) error {
		var p Parameter
		if err := tx.scanParameter(r, &p); err != nil {
			return err
		}
		all = append(all, p)
		return nil
	}, text, args...)
	return all, err
}

// LockParameter makes other changes of a parameter wait for the transaction, and
// returns the number of its last version, or ErrNotFound.
func (tx *Tx) LockParameter(ctx context.Context, id ParameterID) (version int64, err error) {
	found, err := tx.change(ctx, `UPDATE parameter SET version = version WHERE account = $1 AND region = $2 AND name = $3`, id.Account, id.Region, id.Name)
	if err == nil && !found {
		err = lamina.ErrNotFound
	}
	if err == nil {
		err = tx.one(ctx, func(r scanner) error { return r.Scan(&version) },
			`SELECT version FROM parameter WHERE account = $1 AND region = $2 AND name = $3`, id.Account, id.Region, id.Name)
	}
	if err != nil {
		return 0, fmt.Errorf("lock parameter %s: %w", id.Name, err)
	}
	return version, nil
}

// InsertParameter makes a parameter without a version, locked. It fails with
// ErrExists, and with ErrNotFound if the account is unknown.
func (tx *Tx) InsertParameter(ctx context.Context, id ParameterID) error {
	err := tx.insert(ctx, `INSERT INTO parameter (account, region, name, version) VALUES ($1, $2, $3, 0) ON CONFLICT DO NOTHING`, id.Account, id.Region, id.Name)
	if err != nil {
		return fmt.Errorf("insert parameter %s: %w", id.Name, err)
	}
	return nil
}

// InsertParameterVersion makes p the last version of its parameter, which is locked.
func (tx *Tx) InsertParameterVersion(ctx context.Context, p Parameter) error {
	value := p.Value
	if p.Type == SecureString {
		value = tx.secrets.seal(value, p.ID.ARN())
	}
	labels, err := labelText(p.Labels)
	if err == nil {
		err = tx.exec(ctx, `INSERT INTO parameter_version
			(account, region, name, version, kind, value, data_type, tier, description, pattern, key_id, labels, modified, modified_by)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
			p.ID.Account, p.ID.Region, p.ID.Name, p.Version, p.Type, value, p.DataType, p.Tier, p.Description, p.Pattern, p.KeyID, labels,
			toMillis(p.Modified), p.ModifiedBy)
	}
	if err == nil {
		err = tx.exec(ctx, `UPDATE parameter SET version = $4 WHERE account = $1 AND region = $2 AND name = $3`,
			p.ID.Account, p.ID.Region, p.ID.Name, p.Version)
	}
	if err != nil {
		return fmt.Errorf("insert version %d of parameter %s: %w", p.Version, p.ID.Name, err)
	}
	return nil
}

func labelText(labels []string) (string, error) {
	if labels == nil {
		labels = []string{}
	}
	return toJSON(labels)
}

// SetParameterLabels replaces the labels of a version.
func (tx *Tx) SetParameterLabels(ctx context.Context, id ParameterID, version int64, labels []string) error {
	text, err := labelText(labels)
	if err == nil {
		err = tx.exec(ctx, `UPDATE parameter_version SET labels = $5 WHERE account = $1 AND region = $2 AND name = $3 AND version = $4`,
			id.Account, id.Region, id.Name, version, text)
	}
	if err != nil {
		return fmt.Errorf("label parameter %s: %w", id.Name, err)
	}
	return nil
}

// DeleteParameterVersion removes one version.
func (tx *Tx) DeleteParameterVersion(ctx context.Context, id ParameterID, version int64) error {
	err := tx.exec(ctx, `DELETE FROM parameter_version WHERE account = $1 AND region = $2 AND name = $3 AND version = $4`,
		id.Account, id.Region, id.Name, version)
	if err != nil {
		return fmt.Errorf("delete version %d of parameter %s: %w", version, id.Name, err)
	}
	return nil
}

// Parameter returns the last version of a parameter, or ErrNotFound.
func (tx *Tx) Parameter(ctx context.Context, id ParameterID) (p Parameter, err error) {
	err = tx.one(ctx, func(r scanner) error { return tx.scanParameter(r, &p) }, `SELECT `+parameterColumns+`
		FROM parameter q JOIN parameter_version v ON v.account = q.account AND v.region = q.region AND v.name = q.name AND v.version = q.version
		WHERE q.account = $1 AND q.region = $2 AND q.name = $3`, id.Account, id.Region, id.Name)
	if err != nil {
		return Parameter{}, fmt.Errorf("parameter %s: %w", id.Name, err)
	}
	return p, nil
}

// ParameterVersions returns the versions of a parameter after the given one, the
// oldest first; limit bounds how many.
func (tx *Tx) ParameterVersions(ctx context.Context, id ParameterID, after int64, limit int) ([]Parameter, error) {
	all, err := tx.parameters(ctx, `SELECT `+parameterColumns+` FROM parameter_version v
		WHERE v.account = $1 AND v.region = $2 AND v.name = $3 AND v.version > $4 ORDER BY v.version LIMIT $5`,
		id.Account, id.Region, id.Name, after, int64(limit))
	if err != nil {
		return nil, fmt.Errorf("versions of parameter %s: %w", id.Name, err)
	}
	return all, nil
}

// Parameters returns last versions of parameters whose names begin with a prefix
// and come after a name, ordered by name; limit bounds how many.
func (tx *Tx) Parameters(ctx context.Context, in lamina.Scope, prefix, after string, limit int) ([]Parameter, error) {
	// Names are of ASCII, so that 0x7f comes after all that a prefix begins.
	all, err := tx.parameters(ctx, `SELECT `+parameterColumns+`
		FROM parameter q JOIN parameter_version v ON v.account = q.account AND v.region = q.region AND v.name = q.name AND v.version = q.version
		WHERE q.account = $1 AND q.region = $2 AND q.name >= $3 AND q.name < $4 AND q.name > $5 ORDER BY q.name LIMIT $6`,
		in.Account, in.Region, prefix, prefix+"\x7f", after, int64(limit))
	if err != nil {
		return nil, fmt.Errorf("parameters below %q: %w", prefix, err)
	}
	return all, nil
}

// CountParameters returns how many parameters there are.
func (tx *Tx) CountParameters(ctx context.Context, in lamina.Scope) (n int64, err error) {
	err = tx.one(ctx, func(r scanner) error { return r.Scan(&n) },
		`SELECT COUNT(*) FROM parameter WHERE account = $1 AND region = $2`, in.Account, in.Region)
	if err != nil {
		return 0, fmt.Errorf("count parameters: %w", err)
	}
	return n, nil
}

// DeleteParameter removes a parameter with its versions and tags, and reports
// whether there was one.
func (tx *Tx) DeleteParameter(ctx context.Context, id ParameterID) (existed bool, err error) {
	existed, err = tx.change(ctx, `DELETE FROM parameter WHERE account = $1 AND region = $2 AND name = $3`, id.Account, id.Region, id.Name)
	if err == nil {
		err = tx.exec(ctx, `DELETE FROM tag WHERE resource = $1`, id.ARN())
	}
	if err != nil {
		return false, fmt.Errorf("delete parameter %s: %w", id.Name, err)
	}
	return existed, nil
}

// sealParameters rewrites secure values that are in clear text.
func (s *Store) sealParameters(ctx context.Context) error {
	var at Parameter
	for {
		rows := 0
		err := s.Update(ctx, func(tx *Tx) error {
			last := at
			all, err := tx.parameters(ctx, `SELECT `+parameterColumns+` FROM parameter_version v
				WHERE v.kind = $1 AND (v.account, v.region, v.name, v.version) > ($2, $3, $4, $5)
				ORDER BY v.account, v.region, v.name, v.version LIMIT $6`,
				SecureString, last.ID.Account, last.ID.Region, last.ID.Name, last.Version, int64(sealBatch))
			if err != nil {
				return err
			}
			for _, p := range all {
				err := tx.exec(ctx, `UPDATE parameter_version SET value = $5 WHERE account = $1 AND region = $2 AND name = $3 AND version = $4`,
					p.ID.Account, p.ID.Region, p.ID.Name, p.Version, tx.secrets.seal(p.Value, p.ID.ARN()))
				if err != nil {
					return err
				}
				last = p
			}
			rows, at = len(all), last
			return nil
		})
		if err != nil || rows < sealBatch {
			return err
		}
	}
}
