package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/lamina-run/lamina"
)

const urlColumns = `account, region, function, qualifier, url_id, auth_type, mode, cors, created, modified`

// corsText keeps absent settings NULL.
func corsText(c *lamina.CORS) (sql.NullString, error) {
	if c == nil {
		return sql.NullString{}, nil
	}
	text, err := toJSON(c)
	return sql.NullString{String: text, Valid: true}, err
}

func scanURL(r scanner, u *lamina.FunctionURL) error {
	var cors sql.NullString
	var created, modified int64
	id := &u.Function
	err := r.Scan(&id.Account, &id.Region, &id.Name, &u.Qualifier, &u.ID, &u.AuthType, &u.InvokeMode, &cors, &created, &modified)
	if err != nil {
		return err
	}
	u.Created, u.LastModified = fromMillis(created), fromMillis(modified)
	if cors.Valid {
		u.CORS = new(lamina.CORS)
		return json.Unmarshal([]byte(cors.String), u.CORS)
	}
	return nil
}

// InsertFunctionURL adds a URL. It fails with ErrExists if the function or alias
// has one or if the ID is taken, and with ErrNotFound if the function is
// unknown. The caller has locked the function.
func (tx *Tx) InsertFunctionURL(ctx context.Context, u lamina.FunctionURL) error {
	id := u.Function
	cors, err := corsText(u.CORS)
	if err == nil {
		err = tx.insert(ctx, `INSERT INTO function_url (`+urlColumns+`)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
			ON CONFLICT DO NOTHING`,
			id.Account, id.Region, id.Name, u.Qualifier, u.ID, u.AuthType, u.InvokeMode, cors,
			toMillis(u.Created), toMillis(u.LastModified))
	}
	if err != nil {
		return fmt.Errorf("insert url of %s: %w", u.ARN(), err)
	}
	return nil
}

// UpdateFunctionURL writes what can change of a URL, or fails with ErrNotFound.
// The caller has locked the function.
func (tx *Tx) UpdateFunctionURL(ctx context.Context, u lamina.FunctionURL) error {
	id := u.Function
	cors, err := corsText(u.CORS)
	changed := false
	if err == nil {
		changed, err = tx.change(ctx, `UPDATE function_url SET auth_type = $5, mode = $6, cors = $7, modified = $8
			WHERE account = $1 AND region = $2 AND function = $3 AND qualifier = $4`,
			id.Account, id.Region, id.Name, u.Qualifier, u.AuthType, u.InvokeMode, cors, toMillis(u.LastModified))
	}
	if err == nil && !changed {
		err = lamina.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("update url of %s: %w", u.ARN(), err)
	}
	return nil
}

// FunctionURL returns the URL of a function, or with a qualifier of an alias. It
// fails with ErrNotFound if there is none.
func (tx *Tx) FunctionURL(ctx context.Context, id lamina.FunctionID, qualifier string) (lamina.FunctionURL, error) {
	var u lamina.FunctionURL
	err := tx.one(ctx, func(r scanner) error { return scanURL(r, &u) },
		`SELECT `+urlColumns+` FROM function_url
		WHERE account = $1 AND region = $2 AND function = $3 AND qualifier = $4`,
		id.Account, id.Region, id.Name, qualifier)
	if err != nil {
		return lamina.FunctionURL{}, fmt.Errorf("url of %s: %w", id.QualifiedARN(qualifier), err)
	}
	return u, nil
}

// FunctionURLByID returns the URL with an ID, whoever's it is, or ErrNotFound.
func (tx *Tx) FunctionURLByID(ctx context.Context, id string) (lamina.FunctionURL, error) {
	var u lamina.FunctionURL
	err := tx.one(ctx, func(r scanner) error { return scanURL(r, &u) },
		`SELECT `+urlColumns+` FROM function_url WHERE url_id = $1`, id)
	if err != nil {
		return lamina.FunctionURL{}, fmt.Errorf("url %s: %w", id, err)
	}
	return u, nil
}

// FunctionURLs returns at most limit URLs of a function and its aliases, from a
// given qualifier on, ordered by qualifier. The function's own, whose qualifier is
// empty, is the first.
func (tx *Tx) FunctionURLs(ctx context.Context, id lamina.FunctionID, from string, limit int) ([]lamina.FunctionURL, error) {
	var all []lamina.FunctionURL
	err := tx.each(ctx, func(r scanner) error {
		var u lamina.FunctionURL
		if err := scanURL(r, &u); err != nil {
			return err
		}
		all = append(all, u)
		return nil
	}, `SELECT `+urlColumns+` FROM function_url
		WHERE account = $1 AND region = $2 AND function = $3 AND qualifier >= $4
		ORDER BY qualifier LIMIT $5`,
		id.Account, id.Region, id.Name, from, limit)
	if err != nil {
		return nil, fmt.Errorf("urls of function %s: %w", id.Name, err)
	}
	return all, nil
}

// DeleteFunctionURL removes the URL of a function, or with a qualifier of an
// alias, and reports whether there was one.
func (tx *Tx) DeleteFunctionURL(ctx context.Context, id lamina.FunctionID, qualifier string) (existed bool, err error) {
	existed, err = tx.change(ctx, `DELETE FROM function_url
		WHERE account = $1 AND region = $2 AND function = $3 AND qualifier = $4`,
		id.Account, id.Region, id.Name, qualifier)
	if err != nil {
		return false, fmt.Errorf("delete url of %s: %w", id.QualifiedARN(qualifier), err)
	}
	return existed, nil
}
