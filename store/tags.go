package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// Tags returns the tags of a resource. One without tags has an empty map.
func (tx *Tx) Tags(ctx context.Context, resourceARN string) (map[string]string, error) {
	tags := make(map[string]string)
	err := tx.each(ctx, func(r scanner) error {
		var name, value string
		if err := r.Scan(&name, &value); err != nil {
			return err
		}
		tags[name] = value
		return nil
	}, "SELECT name, value FROM tag WHERE resource = $1", resourceARN)
	if err != nil {
		return nil, fmt.Errorf("tags of %s: %w", resourceARN, err)
	}
	return tags, nil
}

// SetTags adds tags and replaces the values of those that exist.
func (tx *Tx) SetTags(ctx context.Context, resourceARN string, tags map[string]string) error {
	// In order, so that two who set the same tags can't deadlock.
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		err := tx.exec(ctx, `INSERT INTO tag (resource, name, value) VALUES ($1, $2, $3)
			ON CONFLICT (resource, name) DO UPDATE SET value = excluded.value`,
			resourceARN, name, tags[name])
		if err != nil {
			return fmt.Errorf("tag %s: %w", resourceARN, err)
		}
	}
	return nil
}

// DeleteTags removes the tags with the given keys that exist.
func (tx *Tx) DeleteTags(ctx context.Context, resourceARN string, keys []string) error {
	for _, name := range slices.Sorted(slices.Values(keys)) {
		if err := tx.exec(ctx, "DELETE FROM tag WHERE resource = $1 AND name = $2", resourceARN, name); err != nil {
			return fmt.Errorf("untag %s: %w", resourceARN, err)
		}
	}
	return nil
}
