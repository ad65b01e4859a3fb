package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/lamina-run/lamina"
)

// Policy returns the policy of a resource, or ErrNotFound.
func (tx *Tx) Policy(ctx context.Context, resourceARN string) (lamina.Policy, error) {
	p, err := tx.policy(ctx, `SELECT resource, revision, statements FROM policy WHERE resource = $1`, resourceARN)
	if err != nil {
		return lamina.Policy{}, fmt.Errorf("policy of %s: %w", resourceARN, err)
	}
	return p, nil
}

// LockPolicy is Policy for a caller that will change it: others who lock it wait
// until the transaction ends. That holds for a policy that does not exist, too,
// which is still ErrNotFound.
func (tx *Tx) LockPolicy(ctx context.Context, resourceARN string) (lamina.Policy, error) {
	p, err := tx.policy(ctx, `INSERT INTO policy (resource, revision, statements) VALUES ($1, '', '[]')
		ON CONFLICT (resource) DO UPDATE SET revision = policy.revision
		RETURNING resource, revision, statements`, resourceARN)
	if err != nil {
		return lamina.Policy{}, fmt.Errorf("lock policy of %s: %w", resourceARN, err)
	}
	return p, nil
}

func (tx *Tx) policy(ctx context.Context, text, resourceARN string) (p lamina.Policy, err error) {
	var statements []byte
	err = tx.one(ctx, func(r scanner) error { return r.Scan(&p.Resource, &p.RevisionID, &statements) }, text, resourceARN)
	if err != nil {
		return lamina.Policy{}, err
	}
	if err := json.Unmarshal(statements, &p.Statements); err != nil {
		return lamina.Policy{}, err
	}
	if len(p.Statements) == 0 {
		return lamina.Policy{}, lamina.ErrNotFound
	}
	return p, nil
}

// PutPolicy writes a policy with its statements in their order. One without
// statements is removed.
func (tx *Tx) PutPolicy(ctx context.Context, p lamina.Policy) error {
	if err := tx.putPolicy(ctx, p); err != nil {
		return fmt.Errorf("put policy of %s: %w", p.Resource, err)
	}
	return nil
}

func (tx *Tx) putPolicy(ctx context.Context, p lamina.Policy) error {
	if len(p.Statements) == 0 {
		return tx.exec(ctx, "DELETE FROM policy WHERE resource = $1", p.Resource)
	}
	statements, err := toJSON(p.Statements)
	if err != nil {
		return err
	}
	return tx.exec(ctx, `INSERT INTO policy (resource, revision, statements) VALUES ($1, $2, $3)
		ON CONFLICT (resource) DO UPDATE SET revision = excluded.revision, statements = excluded.statements`,
		p.Resource, p.RevisionID, statements)
}
