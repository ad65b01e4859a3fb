package store

import (
	"context"
	"fmt"
	"time"
)

// PolicyDocument is a customer managed IAM policy in its only version.
type PolicyDocument struct {
	Account     string
	Name        string
	ID          string // such as ANPA…
	Path        string
	Description string
	Document    string
	Created     time.Time
}

const policyDocumentColumns = `account, name, id, path, description, document, created`

func scanPolicyDocument(r scanner, p *PolicyDocument) error {
	var created int64
	err := r.Scan(&p.Account, &p.Name, &p.ID, &p.Path, &p.Description, &p.Document, &created)
	p.Created = fromMillis(created)
	return err
}

// InsertPolicyDocument adds a managed policy. It fails with ErrExists if the
// name or the ID is taken and with ErrNotFound if the account is unknown.
func (tx *Tx) InsertPolicyDocument(ctx context.Context, p PolicyDocument) error {
	err := tx.insert(ctx, `INSERT INTO managed_policy (`+policyDocumentColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT DO NOTHING`,
		p.Account, p.Name, p.ID, p.Path, p.Description, p.Document, toMillis(p.Created))
	if err != nil {
		return fmt.Errorf("insert policy document %s: %w", p.Name, err)
	}
	return nil
}

// PolicyDocument returns a managed policy, or ErrNotFound.
func (tx *Tx) PolicyDocument(ctx context.Context, account, name string) (PolicyDocument, error) {
	var p PolicyDocument
	err := tx.one(ctx, func(r scanner) error { return scanPolicyDocument(r, &p) },
		`SELECT `+policyDocumentColumns+` FROM managed_policy WHERE account = $1 AND name = $2`, account, name)
	if err != nil {
		return PolicyDocument{}, fmt.Errorf("policy document %s: %w", name, err)
	}
	return p, nil
}

// PolicyDocuments returns at most limit managed policies with names after a
// given one, ordered by name.
func (tx *Tx) PolicyDocuments(ctx context.Context, account, after string, limit int) ([]PolicyDocument, error) {
	var all []PolicyDocument
	err := tx.each(ctx, func(r scanner) error {
		var p PolicyDocument
		if err := scanPolicyDocument(r, &p); err != nil {
			return err
		}
		all = append(all, p)
		return nil
	}, `SELECT `+policyDocumentColumns+` FROM managed_policy
		WHERE account = $1 AND name > $2 ORDER BY name LIMIT $3`, account, after, limit)
	if err != nil {
		return nil, fmt.Errorf("policy documents of account %s: %w", account, err)
	}
	return all, nil
}

// DeletePolicyDocument removes a managed policy and reports whether there was
// one. Attachments of its ARN are the caller's concern.
func (tx *Tx) DeletePolicyDocument(ctx context.Context, account, name string) (existed bool, err error) {
	existed, err = tx.change(ctx, "DELETE FROM managed_policy WHERE account = $1 AND name = $2", account, name)
	if err != nil {
		return false, fmt.Errorf("delete policy document %s: %w", name, err)
	}
	return existed, nil
}
