package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lamina-run/lamina"
)

// LayerFilter asks for layer versions that declare a runtime and an
// architecture. An empty member asks for nothing. A version that declares no
// runtimes fits no runtime, and likewise for architectures.
type LayerFilter struct {
	Runtime      string
	Architecture string
}

// NextLayerNumber takes the next version number of a layer and returns it. The
// first is 1. Numbers of deleted versions are not given out again, even when
// all of them are deleted. Others who publish the same layer wait until the
// transaction ends, and get the number again if it is rolled back.
func (tx *Tx) NextLayerNumber(ctx context.Context, id lamina.LayerID) (int64, error) {
	var n int64
	err := tx.one(ctx, func(r scanner) error { return r.Scan(&n) },
		`INSERT INTO layer (account, region, name, last_number) VALUES ($1, $2, $3, 1)
		ON CONFLICT (account, region, name) DO UPDATE SET last_number = layer.last_number + 1
		RETURNING last_number`,
		id.Account, id.Region, id.Name)
	if err != nil {
		return 0, fmt.Errorf("number layer %s: %w", id.Name, err)
	}
	return n, nil
}

// RaiseLayerNumber has NextLayerNumber give numbers above n only, and returns the
// last number that was given or raised to before, 0 when there was none. Others
// who publish the same layer wait until the transaction ends.
func (tx *Tx) RaiseLayerNumber(ctx context.Context, id lamina.LayerID, n int64) (before int64, err error) {
	err = tx.one(ctx, func(r scanner) error { return r.Scan(&before) },
		`INSERT INTO layer (account, region, name, last_number) VALUES ($1, $2, $3, 0)
		ON CONFLICT (account, region, name) DO UPDATE SET last_number = layer.last_number
		RETURNING last_number`,
		id.Account, id.Region, id.Name)
	if err == nil {
		err = tx.exec(ctx, `UPDATE layer SET last_number = $4
			WHERE account = $1 AND region = $2 AND name = $3 AND last_number < $4`,
			id.Account, id.Region, id.Name, n)
	}
	if err != nil {
		return 0, fmt.Errorf("raise number of layer %s: %w", id.Name, err)
	}
	return before, nil
}

// InsertLayerVersion adds a version under a number that NextLayerNumber gave or
// RaiseLayerNumber reached. It fails with ErrExists if the number is taken and with ErrNotFound if the layer
// never had a number.
func (tx *Tx) InsertLayerVersion(ctx context.Context, v lamina.LayerVersion) error {
	if err := tx.insertLayerVersion(ctx, v); err != nil {
		return fmt.Errorf("insert layer version %s: %w", v.ARN(), err)
	}
	return nil
}

func (tx *Tx) insertLayerVersion(ctx context.Context, v lamina.LayerVersion) error {
	runtimes, err := listToText(v.Runtimes)
	if err != nil {
		return err
	}
	architectures, err := listToText(v.Architectures)
	if err != nil {
		return err
	}
	id := v.Layer
	err = tx.insert(ctx, `INSERT INTO layer_version (account, region, name, number, digest, code_size,
			unpacked_size, description, license, runtimes, architectures, created,
			signature_finding, signing_profile, signing_job, signature_expires, directory)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
		ON CONFLICT DO NOTHING`,
		id.Account, id.Region, id.Name, v.Number, digestText(v.Digest), v.CodeSize,
		v.UnpackedSize, v.Description, v.LicenseInfo, runtimes, architectures, toMillis(v.Created),
		string(v.Signature.Finding), v.Signature.ProfileVersionARN, v.Signature.JobARN, optionalMillis(v.Signature.Expires), v.Directory)
	if err != nil {
		return err
	}
	for _, fit := range fits(v) {
		err := tx.exec(ctx, `INSERT INTO layer_fit (account, region, runtime, architecture, name, number)
			VALUES ($1, $2, $3, $4, $5, $6)`,
			id.Account, id.Region, fit.Runtime, fit.Architecture, id.Name, v.Number)
		if err != nil {
			return fmt.Errorf("index: %w", err)
		}
	}
	return tx.addUsage(ctx, id.Scope, v.CodeSize, 0)
}

// fits returns every filter that a layer version fits, but the empty one. The
// service allows 15 runtimes and 2 architectures, so these are 47 at most.
func fits(v lamina.LayerVersion) []LayerFilter {
	seen := map[LayerFilter]bool{{}: true}
	var all []LayerFilter
	for _, runtime := range append([]string{""}, v.Runtimes...) {
		for _, architecture := range append([]string{""}, v.Architectures...) {
			fit := LayerFilter{Runtime: runtime, Architecture: architecture}
			if !seen[fit] {
				seen[fit] = true
				all = append(all, fit)
			}
		}
	}
	return all
}

const layerVersionColumns = `v.account, v.region, v.name, v.number, v.digest, v.code_size,
	v.unpacked_size, v.description, v.license, v.runtimes, v.architectures, v.created,
	v.signature_finding, v.signing_profile, v.signing_job, v.signature_expires, v.directory`

func scanLayerVersion(r scanner, v *lamina.LayerVersion) error {
	var digest string
	var runtimes, architectures sql.NullString
	var created int64
	var expires sql.NullInt64
	err := r.Scan(&v.Layer.Account, &v.Layer.Region, &v.Layer.Name, &v.Number, &digest, &v.CodeSize,
		&v.UnpackedSize, &v.Description, &v.LicenseInfo, &runtimes, &architectures, &created,
		&v.Signature.Finding, &v.Signature.ProfileVersionARN, &v.Signature.JobARN, &expires, &v.Directory)
	if err != nil {
		return err
	}
	v.Created, v.Signature.Expires = fromMillis(created), fromOptionalMillis(expires)
	if v.Digest, err = textDigest(digest); err != nil {
		return err
	}
	if v.Runtimes, err = textToList(runtimes); err != nil {
		return err
	}
	v.Architectures, err = textToList(architectures)
	return err
}

func (tx *Tx) layerVersion(ctx context.Context, text string, args ...any) (v lamina.LayerVersion, err error) {
	err = tx.one(ctx, func(r scanner) error { return scanLayerVersion(r, &v) }, text, args...)
	return v, err
}

func (tx *Tx) layerVersions(ctx context.Context, text string, args ...any) (all []lamina.LayerVersion, err error) {
	err = tx.each(ctx, func(r scanner) error {
		var v lamina.LayerVersion
		if err := scanLayerVersion(r, &v); err != nil {
			return err
		}
		all = append(all, v)
		return nil
	}, text, args...)
	return all, err
}

// LayerVersion returns one version, or ErrNotFound.
func (tx *Tx) LayerVersion(ctx context.Context, id lamina.LayerID, n int64) (lamina.LayerVersion, error) {
	v, err := tx.layerVersion(ctx, `SELECT `+layerVersionColumns+` FROM layer_version v
		WHERE v.account = $1 AND v.region = $2 AND v.name = $3 AND v.number = $4`,
		id.Account, id.Region, id.Name, n)
	if err != nil {
		return lamina.LayerVersion{}, fmt.Errorf("layer version %s: %w", id.VersionARN(n), err)
	}
	return v, nil
}

// LockLayerVersion returns one version, or ErrNotFound, and keeps others from
// deleting it until the transaction ends: what attaches it to a function is then
// visible to whoever deletes it, and to the sweep of unreferenced bytes.
func (tx *Tx) LockLayerVersion(ctx context.Context, id lamina.LayerID, n int64) (lamina.LayerVersion, error) {
	v, err := tx.layerVersion(ctx, `UPDATE layer_version AS v SET code_size = code_size
		WHERE v.account = $1 AND v.region = $2 AND v.name = $3 AND v.number = $4
		RETURNING account, region, name, number, digest, code_size,
			unpacked_size, description, license, runtimes, architectures, created,
			signature_finding, signing_profile, signing_job, signature_expires, directory`,
		id.Account, id.Region, id.Name, n)
	if err != nil {
		return lamina.LayerVersion{}, fmt.Errorf("lock layer version %s: %w", id.VersionARN(n), err)
	}
	return v, nil
}

// DeleteLayerVersion removes a version and its policy, and reports whether there
// was one. Functions that hold it keep its digest.
func (tx *Tx) DeleteLayerVersion(ctx context.Context, id lamina.LayerID, n int64) (existed bool, err error) {
	existed, err = tx.deleteLayerVersion(ctx, id, n)
	if err != nil {
		return false, fmt.Errorf("delete layer version %s: %w", id.VersionARN(n), err)
	}
	return existed, nil
}

func (tx *Tx) deleteLayerVersion(ctx context.Context, id lamina.LayerID, n int64) (existed bool, err error) {
	v, err := tx.layerVersion(ctx, `DELETE FROM layer_version AS v
		WHERE v.account = $1 AND v.region = $2 AND v.name = $3 AND v.number = $4
		RETURNING account, region, name, number, digest, code_size,
			unpacked_size, description, license, runtimes, architectures, created,
			signature_finding, signing_profile, signing_job, signature_expires, directory`,
		id.Account, id.Region, id.Name, n)
	if errors.Is(err, lamina.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, fit := range fits(v) {
		err := tx.exec(ctx, `DELETE FROM layer_fit WHERE account = $1 AND region = $2
				AND runtime = $3 AND architecture = $4 AND name = $5 AND number = $6`,
			id.Account, id.Region, fit.Runtime, fit.Architecture, id.Name, n)
		if err != nil {
			return false, fmt.Errorf("index: %w", err)
		}
	}
	if err := tx.exec(ctx, "DELETE FROM policy WHERE resource = $1", v.ARN()); err != nil {
		return false, err
	}
	return true, tx.addUsage(ctx, id.Scope, -v.CodeSize, 0)
}

// LayerVersions returns at most limit versions that fit the filter, newest
// first, with numbers below before; 0 starts with the newest. An unknown layer
// has none.
func (tx *Tx) LayerVersions(ctx context.Context, id lamina.LayerID, filter LayerFilter, before int64, limit int) ([]lamina.LayerVersion, error) {
	var all []lamina.LayerVersion
	var err error
	if filter == (LayerFilter{}) {
		all, err = tx.layerVersions(ctx, `SELECT `+layerVersionColumns+` FROM layer_version v
			WHERE v.account = $1 AND v.region = $2 AND v.name = $3 AND v.number < $4
			ORDER BY v.number DESC LIMIT $5`,
			id.Account, id.Region, id.Name, ifAny(before), limit)
	} else {
		all, err = tx.layerVersions(ctx, `SELECT `+layerVersionColumns+`
			FROM (
				SELECT account, region, name, number FROM layer_fit
				WHERE account = $1 AND region = $2 AND runtime = $3 AND architecture = $4
					AND name = $5 AND number < $6
				ORDER BY number DESC LIMIT $7
			) AS f
			JOIN layer_version v ON v.account = f.account AND v.region = f.region
				AND v.name = f.name AND v.number = f.number
			ORDER BY f.number DESC`,
			id.Account, id.Region, filter.Runtime, filter.Architecture, id.Name, ifAny(before), limit)
	}
	if err != nil {
		return nil, fmt.Errorf("versions of layer %s: %w", id.Name, err)
	}
	return all, nil
}

// PulledLayerVersions returns at most limit layer versions of accounts that are
// not of this server, by ARN. It looks at all layer versions.
func (tx *Tx) PulledLayerVersions(ctx context.Context, limit int) ([]lamina.LayerVersion, error) {
	all, err := tx.layerVersions(ctx, `SELECT `+layerVersionColumns+` FROM layer_version v
		WHERE NOT EXISTS (SELECT 1 FROM account a WHERE a.id = v.account)
		ORDER BY v.account, v.region, v.name, v.number LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("pulled layer versions: %w", err)
	}
	return all, nil
}

// Layers returns, for at most limit layers with names after a given one, the
// newest version that fits the filter, ordered by name. Layers without such a
// version are left out. The work grows with limit, not with the number of
// versions or layers.
func (tx *Tx) Layers(ctx context.Context, in lamina.Scope, filter LayerFilter, after string, limit int) ([]lamina.LayerVersion, error) {
	var all []lamina.LayerVersion
	for len(all) < limit {
		v, err := tx.layerAfter(ctx, in, filter, after)
		if errors.Is(err, lamina.ErrNotFound) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("layers of %s in %s: %w", in.Account, in.Region, err)
		}
		all = append(all, v)
		after = v.Layer.Name
	}
	return all, nil
}

// layerAfter seeks the next name and then its highest number: one query for each
// layer, because neither database skips to the next group of an index itself.
// The seek is not MIN(name), for which a PostgreSQL without statistics reads
// every row that follows.
func (tx *Tx) layerAfter(ctx context.Context, in lamina.Scope, filter LayerFilter, after string) (lamina.LayerVersion, error) {
	if filter == (LayerFilter{}) {
		return tx.layerVersion(ctx, `SELECT `+layerVersionColumns+` FROM layer_version v
			WHERE v.account = $1 AND v.region = $2 AND v.name = (
				SELECT n.name FROM layer_version n
				WHERE n.account = $1 AND n.region = $2 AND n.name > $3
				ORDER BY n.name LIMIT 1
			)
			ORDER BY v.number DESC LIMIT 1`,
			in.Account, in.Region, after)
	}
	return tx.layerVersion(ctx, `SELECT `+layerVersionColumns+`
		FROM (
			SELECT account, region, name, number FROM layer_fit
			WHERE account = $1 AND region = $2 AND runtime = $3 AND architecture = $4 AND name = (
				SELECT n.name FROM layer_fit n
				WHERE n.account = $1 AND n.region = $2 AND n.runtime = $3 AND n.architecture = $4
					AND n.name > $5
				ORDER BY n.name LIMIT 1
			)
			ORDER BY number DESC LIMIT 1
		) AS f
		JOIN layer_version v ON v.account = f.account AND v.region = f.region
			AND v.name = f.name AND v.number = f.number`,
		in.Account, in.Region, filter.Runtime, filter.Architecture, after)
}
