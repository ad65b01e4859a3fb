package store

import (
	"context"
	"fmt"
	"strconv"

	"github.com/lamina-run/lamina"
)

const versionColumns = `v.account, v.region, v.name, v.number, v.incarnation, v.revision, v.modified,
	v.config, v.code_digest, v.code_size, v.unpacked_size, v.image_uri,
	v.state, v.state_reason, v.state_reason_code,
	v.last_update, v.last_update_reason, v.last_update_reason_code, v.source,
	v.signing_profile, v.signing_job, v.directory`

func (tx *Tx) versionValues(v lamina.Version) ([]any, error) {
	config, err := tx.config(v)
	if err != nil {
		return nil, err
	}
	id, s := v.Function, v.Status
	return []any{
		id.Account, id.Region, id.Name, v.Number, v.Incarnation, v.RevisionID, toMillis(v.LastModified),
		config, digestText(v.Code.Digest), v.Code.CodeSize, v.Code.UnpackedSize, v.Code.ImageURI,
		s.State, s.StateReason, s.StateReasonCode,
		s.LastUpdate, s.LastUpdateReason, s.LastUpdateReasonCode, v.Source,
		v.Code.SigningProfileVersionARN, v.Code.SigningJobARN, v.Code.Directory,
	}, nil
}

func (tx *Tx) scanVersion(r scanner, v *lamina.Version) error {
	var modified int64
	var config []byte
	var digest string
	id, s := &v.Function, &v.Status
	err := r.Scan(&id.Account, &id.Region, &id.Name, &v.Number, &v.Incarnation, &v.RevisionID, &modified,
		&config, &digest, &v.Code.CodeSize, &v.Code.UnpackedSize, &v.Code.ImageURI,
		&s.State, &s.StateReason, &s.StateReasonCode,
		&s.LastUpdate, &s.LastUpdateReason, &s.LastUpdateReasonCode, &v.Source,
		&v.Code.SigningProfileVersionARN, &v.Code.SigningJobARN, &v.Code.Directory)
	if err != nil {
		return err
	}
	v.LastModified = fromMillis(modified)
	if v.Code.Digest, err = textDigest(digest); err != nil {
		return err
	}
	return tx.setConfig(v, config)
}

func (tx *Tx) version(ctx context.Context, text string, args ...any) (v lamina.Version, err error) {
	err = tx.one(ctx, func(r scanner) error { return tx.scanVersion(r, &v) }, text, args...)
	return v, err
}

func (tx *Tx) versions(ctx context.Context, text string, args ...any) (all []lamina.Version, err error) {
	err = tx.each(ctx, func(r scanner) error {
		var v lamina.Version
		if err := tx.scanVersion(r, &v); err != nil {
			return err
		}
		all = append(all, v)
		return nil
	}, text, args...)
	return all, err
}

const insertVersion = `INSERT INTO function_version (account, region, name, number, incarnation, revision, modified,
		config, code_digest, code_size, unpacked_size, image_uri,
		state, state_reason, state_reason_code,
		last_update, last_update_reason, last_update_reason_code, source,
		signing_profile, signing_job, directory)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)`

// insertVersion leaves the usage to the caller.
func (tx *Tx) insertVersion(ctx context.Context, v lamina.Version) error {
	values, err := tx.versionValues(v)
	if err != nil {
		return err
	}
	if err := tx.insert(ctx, insertVersion+` ON CONFLICT DO NOTHING`, values...); err != nil {
		return err
	}
	return tx.insertFunctionLayers(ctx, v)
}

func (tx *Tx) insertFunctionLayers(ctx context.Context, v lamina.Version) error {
	id := v.Function
	for i, layer := range v.Config.Layers {
		err := tx.exec(ctx, `INSERT INTO function_layer (account, region, name, number, position, layer, digest)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			id.Account, id.Region, id.Name, v.Number, int64(i), layer.ARN, digestText(layer.Digest))
		if err != nil {
			return fmt.Errorf("refer to layer %s: %w", layer.ARN, err)
		}
	}
	return nil
}

// FunctionVersion returns a version, or ErrNotFound. Number 0 is $LATEST.
func (tx *Tx) FunctionVersion(ctx context.Context, id lamina.FunctionID, number int64) (lamina.Version, error) {
	v, err := tx.version(ctx, `SELECT `+versionColumns+` FROM function_version v
		WHERE v.account = $1 AND v.region = $2 AND v.name = $3 AND v.number = $4`,
		id.Account, id.Region, id.Name, number)
	if err != nil {
		return lamina.Version{}, fmt.Errorf("version %d of function %s: %w", number, id.Name, err)
	}
	return v, nil
}

// PutFunctionVersion writes all of a version, new or not: an update of $LATEST.
// It locks the function, and fails with ErrNotFound if there is none or if it is
// not of the version's incarnation.
func (tx *Tx) PutFunctionVersion(ctx context.Context, v lamina.Version) error {
	if err := tx.putFunctionVersion(ctx, v); err != nil {
		return fmt.Errorf("put version %s: %w", v.ARN(), err)
	}
	return nil
}

func (tx *Tx) putFunctionVersion(ctx context.Context, v lamina.Version) error {
	if err := tx.lockIncarnation(ctx, v.Function, v.Incarnation); err != nil {
		return err
	}
	id := v.Function
	var before int64
	err := tx.one(ctx, func(r scanner) error { return r.Scan(&before) },
		`SELECT code_size FROM function_version
		WHERE account = $1 AND region = $2 AND name = $3 AND number = $4`,
		id.Account, id.Region, id.Name, v.Number)
	if ignoreNotFound(err) != nil {
		return err
	}
	values, err := tx.versionValues(v)
	if err != nil {
		return err
	}
	err = tx.exec(ctx, insertVersion+` ON CONFLICT (account, region, name, number) DO UPDATE SET
			incarnation = excluded.incarnation, revision = excluded.revision, modified = excluded.modified,
			config = excluded.config, code_digest = excluded.code_digest, code_size = excluded.code_size,
			unpacked_size = excluded.unpacked_size, image_uri = excluded.image_uri,
			state = excluded.state, state_reason = excluded.state_reason,
			state_reason_code = excluded.state_reason_code, last_update = excluded.last_update,
			last_update_reason = excluded.last_update_reason,
			last_update_reason_code = excluded.last_update_reason_code, source = excluded.source,
			signing_profile = excluded.signing_profile, signing_job = excluded.signing_job,
			directory = excluded.directory`,
		values...)
	if err != nil {
		return err
	}
	err = tx.exec(ctx, `DELETE FROM function_layer
		WHERE account = $1 AND region = $2 AND name = $3 AND number = $4`,
		id.Account, id.Region, id.Name, v.Number)
	if err != nil {
		return err
	}
	if err := tx.insertFunctionLayers(ctx, v); err != nil {
		return err
	}
	return tx.addUsage(ctx, id.Scope, v.Code.CodeSize-before, 0)
}

// InsertFunctionVersion adds a published version and raises the function's
// LastNumber to its number. It locks the function. It fails with ErrExists if
// the number is taken, and with ErrNotFound if there is no function or if it is
// not of the version's incarnation.
func (tx *Tx) InsertFunctionVersion(ctx context.Context, v lamina.Version) error {
	if err := tx.insertFunctionVersion(ctx, v); err != nil {
		return fmt.Errorf("insert version %s: %w", v.ARN(), err)
	}
	return nil
}

func (tx *Tx) insertFunctionVersion(ctx context.Context, v lamina.Version) error {
	if v.Number < 1 {
		return fmt.Errorf("number %d is not that of a published version", v.Number)
	}
	if err := tx.lockIncarnation(ctx, v.Function, v.Incarnation); err != nil {
		return err
	}
	if err := tx.insertVersion(ctx, v); err != nil {
		return err
	}
	id := v.Function
	err := tx.exec(ctx, `UPDATE function SET last_number = $4
		WHERE account = $1 AND region = $2 AND name = $3 AND last_number < $4`,
		id.Account, id.Region, id.Name, v.Number)
	if err != nil {
		return err
	}
	return tx.addUsage(ctx, id.Scope, v.Code.CodeSize, 0)
}

// DeleteFunctionVersion removes a published version with its policy, its
// provisioned concurrency and its event invoke config, and reports whether there
// was one. It locks the function. Aliases that point at the version are the
// caller's concern.
func (tx *Tx) DeleteFunctionVersion(ctx context.Context, id lamina.FunctionID, number int64) (existed bool, err error) {
	existed, err = tx.deleteFunctionVersion(ctx, id, number)
	if ignoreNotFound(err) != nil {
		return false, fmt.Errorf("delete version %d of function %s: %w", number, id.Name, err)
	}
	return existed, nil
}

func (tx *Tx) deleteFunctionVersion(ctx context.Context, id lamina.FunctionID, number int64) (existed bool, err error) {
	if number < 1 {
		return false, fmt.Errorf("number %d is not that of a published version", number)
	}
	if _, err := tx.LockFunction(ctx, id); err != nil {
		return false, err
	}
	var size int64
	err = tx.one(ctx, func(r scanner) error { return r.Scan(&size) },
		`DELETE FROM function_version
		WHERE account = $1 AND region = $2 AND name = $3 AND number = $4
		RETURNING code_size`,
		id.Account, id.Region, id.Name, number)
	if err != nil {
		return false, err
	}
	arn := lamina.Version{Function: id, Number: number}.ARN()
	if err := tx.exec(ctx, "DELETE FROM policy WHERE resource = $1", arn); err != nil {
		return false, err
	}
	if err := tx.deleteProvisioned(ctx, id, strconv.FormatInt(number, 10)); err != nil {
		return false, err
	}
	if err := tx.deleteEventInvokeConfig(ctx, id, strconv.FormatInt(number, 10)); err != nil {
		return false, err
	}
	return true, tx.addUsage(ctx, id.Scope, -size, 0)
}

// LastFunctionVersion returns the published version with the highest number of
// those that still exist, or ErrNotFound.
func (tx *Tx) LastFunctionVersion(ctx context.Context, id lamina.FunctionID) (lamina.Version, error) {
	v, err := tx.version(ctx, `SELECT `+versionColumns+` FROM function_version v
		WHERE v.account = $1 AND v.region = $2 AND v.name = $3 AND v.number > 0
		ORDER BY v.number DESC LIMIT 1`,
		id.Account, id.Region, id.Name)
	if err != nil {
		return lamina.Version{}, fmt.Errorf("last version of function %s: %w", id.Name, err)
	}
	return v, nil
}

// FunctionVersions returns at most limit versions with numbers above after,
// ascending; -1 starts with $LATEST. An unknown function has none.
func (tx *Tx) FunctionVersions(ctx context.Context, id lamina.FunctionID, after int64, limit int) ([]lamina.Version, error) {
	all, err := tx.versions(ctx, `SELECT `+versionColumns+` FROM function_version v
		WHERE v.account = $1 AND v.region = $2 AND v.name = $3 AND v.number > $4
		ORDER BY v.number LIMIT $5`,
		id.Account, id.Region, id.Name, after, limit)
	if err != nil {
		return nil, fmt.Errorf("versions of function %s: %w", id.Name, err)
	}
	return all, nil
}

// Functions returns the $LATEST of at most limit functions with names after a
// given one, ordered by name.
func (tx *Tx) Functions(ctx context.Context, in lamina.Scope, after string, limit int) ([]lamina.Version, error) {
	all, err := tx.versions(ctx, `SELECT `+versionColumns+` FROM function_version v
		WHERE v.account = $1 AND v.region = $2 AND v.name > $3 AND v.number < 1
		ORDER BY v.name LIMIT $4`,
		in.Account, in.Region, after, limit)
	if err != nil {
		return nil, fmt.Errorf("functions of %s in %s: %w", in.Account, in.Region, err)
	}
	return all, nil
}

// AllFunctionVersions returns at most limit versions of all functions, ordered
// by name and number, that come after a given version. An empty name starts
// with the first function.
func (tx *Tx) AllFunctionVersions(ctx context.Context, in lamina.Scope, afterName string, afterNumber int64, limit int) ([]lamina.Version, error) {
	all, err := tx.versions(ctx, `SELECT `+versionColumns+` FROM function_version v
		WHERE v.account = $1 AND v.region = $2 AND (v.name, v.number) > ($3, $4)
		ORDER BY v.name, v.number LIMIT $5`,
		in.Account, in.Region, afterName, afterNumber, limit)
	if err != nil {
		return nil, fmt.Errorf("function versions of %s in %s: %w", in.Account, in.Region, err)
	}
	return all, nil
}

// PendingVersions returns at most limit versions of all accounts whose state is
// Pending or whose last update is InProgress, the longest unmodified first.
func (tx *Tx) PendingVersions(ctx context.Context, limit int) ([]lamina.Version, error) {
	all, err := tx.versions(ctx, `SELECT `+versionColumns+` FROM function_version v
		WHERE (state = 'Pending' OR last_update = 'InProgress')
		ORDER BY v.modified LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("pending versions: %w", err)
	}
	return all, nil
}

// FunctionsUsing returns at most limit versions that hold a layer version,
// ordered by scope, name and number.
func (tx *Tx) FunctionsUsing(ctx context.Context, layerVersionARN string, limit int) ([]lamina.Version, error) {
	all, err := tx.versions(ctx, `SELECT `+versionColumns+`
		FROM (
			SELECT DISTINCT account, region, name, number FROM function_layer
			WHERE layer = $1
			ORDER BY account, region, name, number LIMIT $2
		) AS l
		JOIN function_version v ON v.account = l.account AND v.region = l.region
			AND v.name = l.name AND v.number = l.number
		ORDER BY l.account, l.region, l.name, l.number`,
		layerVersionARN, limit)
	if err != nil {
		return nil, fmt.Errorf("functions using %s: %w", layerVersionARN, err)
	}
	return all, nil
}

// SetStatus gives a version another status and revision, if its incarnation and
// revision are still those of v; it reads nothing else of v but its identity.
// An empty newRevisionID keeps the revision. changed is false when an update or
// a deletion came first.
func (tx *Tx) SetStatus(ctx context.Context, v lamina.Version, status lamina.Status, newRevisionID string) (changed bool, err error) {
	if newRevisionID == "" {
		newRevisionID = v.RevisionID
	}
	id := v.Function
	changed, err = tx.change(ctx, `UPDATE function_version SET revision = $7,
			state = $8, state_reason = $9, state_reason_code = $10,
			last_update = $11, last_update_reason = $12, last_update_reason_code = $13
		WHERE account = $1 AND region = $2 AND name = $3 AND number = $4
			AND incarnation = $5 AND revision = $6`,
		id.Account, id.Region, id.Name, v.Number, v.Incarnation, v.RevisionID, newRevisionID,
		status.State, status.StateReason, status.StateReasonCode,
		status.LastUpdate, status.LastUpdateReason, status.LastUpdateReasonCode)
	if err != nil {
		return false, fmt.Errorf("set status of %s: %w", v.ARN(), err)
	}
	return changed, nil
}
