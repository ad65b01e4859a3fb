package store

import (
	"context"
	"fmt"
	"time"

	"github.com/lamina-run/lamina"
)

// Letterbox is where letters are left by whoever knows its name, which is a secret.
type Letterbox struct {
	Name    string
	Kind    string
	Expires time.Time // nothing is taken any more, and the box may be removed
}

// Letter is one of a letterbox. A later one of the same name replaces it.
type Letter struct {
	Name string
	Body string
}

// OpenLetterbox makes a letterbox, unless there is one of that name already, and
// returns the one that there is.
func (tx *Tx) OpenLetterbox(ctx context.Context, b Letterbox) (Letterbox, error) {
	err := tx.exec(ctx, `INSERT INTO letterbox (name, kind, expires) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, b.Name, b.Kind, toMillis(b.Expires))
	if err != nil {
		return Letterbox{}, fmt.Errorf("open letterbox: %w", err)
	}
	return tx.Letterbox(ctx, b.Name)
}

// Letterbox returns a letterbox, or ErrNotFound.
func (tx *Tx) Letterbox(ctx context.Context, name string) (b Letterbox, err error) {
	var expires int64
	err = tx.one(ctx, func(r scanner) error { return r.Scan(&b.Name, &b.Kind, &expires) },
		`SELECT name, kind, expires FROM letterbox WHERE name = $1`, name)
	if err != nil {
		return Letterbox{}, fmt.Errorf("letterbox: %w", err) // its name is a secret
	}
	b.Expires = fromMillis(expires)
	return b, nil
}

// ownerOfLetters names the box in seals.
func ownerOfLetters(box string) string { return "letters of " + box }

// PutLetter leaves a letter, unless the box has as many as most already: that is
// ErrExists.
func (tx *Tx) PutLetter(ctx context.Context, box string, l Letter, most int64) error {
	// One letter after the other, so that most is kept.
	if _, err := tx.change(ctx, `UPDATE letterbox SET expires = expires WHERE name = $1`, box); err != nil {
		return fmt.Errorf("lock letterbox: %w", err)
	}
	var n int64
	err := tx.one(ctx, func(r scanner) error { return r.Scan(&n) }, `SELECT COUNT(*) FROM letter WHERE box = $1 AND name <> $2`, box, l.Name)
	if err == nil && n >= most {
		return fmt.Errorf("put letter: %w", lamina.ErrExists)
	}
	if err == nil {
		err = tx.exec(ctx, `INSERT INTO letter (box, name, body) VALUES ($1, $2, $3) ON CONFLICT (box, name) DO UPDATE SET body = excluded.body`,
			box, l.Name, tx.secrets.seal(l.Body, ownerOfLetters(box)))
	}
	if err != nil {
		return fmt.Errorf("put letter: %w", err)
	}
	return nil
}

// Letters returns what a letterbox has, by name. One that is gone has none.
func (tx *Tx) Letters(ctx context.Context, box string) ([]Letter, error) {
	var all []Letter
	err := tx.each(ctx, func(r scanner) error {
		var l Letter
		if err := r.Scan(&l.Name, &l.Body); err != nil {
			return err
		}
		var err error
		if l.Body, err = tx.secrets.open(l.Body, ownerOfLetters(box)); err != nil {
			return err
		}
		all = append(all, l)
		return nil
	}, `SELECT name, body FROM letter WHERE box = $1 ORDER BY name`, box)
	if err != nil {
		return nil, fmt.Errorf("letters: %w", err)
	}
	return all, nil
}

// DeleteLetterbox removes a letterbox with its letters, if there is one.
func (tx *Tx) DeleteLetterbox(ctx context.Context, name string) error {
	if err := tx.exec(ctx, `DELETE FROM letterbox WHERE name = $1`, name); err != nil {
		return fmt.Errorf("delete letterbox: %w", err)
	}
	return nil
}

// DeleteLetterboxes removes those that expired before a time.
func (tx *Tx) DeleteLetterboxes(ctx context.Context, before time.Time) error {
	if err := tx.exec(ctx, `DELETE FROM letterbox WHERE expires < $1`, toMillis(before)); err != nil {
		return fmt.Errorf("delete letterboxes: %w", err)
	}
	return nil
}
