package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate runs the files that were not run yet, in the order of their names and
// in one transaction. It refuses a database that a newer Lamina has changed.
func (s *Store) migrate(ctx context.Context) error {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	var ran []string
	err = s.Update(ctx, func(tx *Tx) error {
		ran = nil
		if err := s.db.lockMigrations(ctx, tx); err != nil {
			return fmt.Errorf("lock migrations: %w", err)
		}
		err := tx.exec(ctx, `CREATE TABLE IF NOT EXISTS migration (
			name    TEXT   NOT NULL PRIMARY KEY,
			applied BIGINT NOT NULL
		)`)
		if err != nil {
			return fmt.Errorf("create migration table: %w", err)
		}
		done, err := tx.texts(ctx, "SELECT name FROM migration")
		if err != nil {
			return fmt.Errorf("read migrations: %w", err)
		}
		for _, name := range done {
			if !slices.Contains(files, "migrations/"+name) {
				return fmt.Errorf("migration %s is unknown: a newer version has used this database", name)
			}
		}
		for _, file := range files {
			name := strings.TrimPrefix(file, "migrations/")
			if slices.Contains(done, name) {
				continue
			}
			if err := tx.migrate(ctx, name); err != nil {
				return fmt.Errorf("migration %s: %w", name, err)
			}
			ran = append(ran, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range ran {
		s.log.LogAttrs(ctx, slog.LevelInfo, "migration applied", slog.String("migration", name))
	}
	return nil
}

func (tx *Tx) migrate(ctx context.Context, name string) error {
	text, err := migrations.ReadFile("migrations/" + name)
	if err != nil {
		return err
	}
	for statement := range statements(string(text)) {
		if err := tx.exec(ctx, statement); err != nil {
			return fmt.Errorf("%w in %q", err, statement)
		}
	}
	// The time is for people who look into the table; nothing depends on it.
	return tx.exec(ctx, "INSERT INTO migration (name, applied) VALUES ($1, $2)", name, time.Now().UnixMilli())
}

// statements yields the statements of a file, each of which ends with a
// semicolon at the end of a line.
func statements(text string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for statement := range strings.SplitSeq(text, ";\n") {
			if strings.TrimSpace(statement) != "" && !yield(strings.TrimSpace(statement)) {
				return
			}
		}
	}
}
