package store

import (
	"context"
	"fmt"
	"time"

	"github.com/lamina-run/lamina"
)

// PolicyDocument is a customer managed IAM policy with its default version.
type PolicyDocument struct {
	Account        string
	Name           string
	ID             string // such as ANPA…
	Path           string
	Description    string
	DefaultVersion int64
	LastVersion    int64 // the highest number that was given out
	Document       string
	Created        time.Time
	Modified       time.Time // when a version came or the default changed
}

// PolicyDocumentVersion is one version of a managed policy.
type PolicyDocumentVersion struct {
	Number   int64
	Document string
	Created  time.Time
}

const policyDocumentColumns = `p.account, p.name, p.id, p.path, p.description, p.default_version, p.last_version, p.created, p.modified, v.document`

const policyDocumentTables = ` FROM managed_policy p
	JOIN managed_policy_version v ON v.account = p.account AND v.policy = p.name AND v.number = p.default_version `

func scanPolicyDocument(r scanner, p *PolicyDocument) error {
	var created, modified int64
	err := r.Scan(&p.Account, &p.Name, &p.ID, &p.Path, &p.Description, &p.DefaultVersion, &p.LastVersion, &created, &modified, &p.Document)
	p.Created, p.Modified = fromMillis(created), fromMillis(modified)
	return err
}

// InsertPolicyDocument adds a managed policy, with its document as version 1. It
// fails with ErrExists if the name or the ID is taken and with ErrNotFound if the
// account is unknown.
func (tx *Tx) InsertPolicyDocument(ctx context.Context, p PolicyDocument) error {
	err := tx.insert(ctx, `INSERT INTO managed_policy (account, name, id, path, description, default_version, last_version, created, modified)
		VALUES ($1, $2, $3, $4, $5, 1, 1, $6, $6)
		ON CONFLICT DO NOTHING`,
		p.Account, p.Name, p.ID, p.Path, p.Description, toMillis(p.Created))
	if err == nil {
		err = tx.insertPolicyVersion(ctx, p.Account, p.Name, PolicyDocumentVersion{1, p.Document, p.Created})
	}
	if err != nil {
		return fmt.Errorf("insert policy document %s: %w", p.Name, err)
	}
	return nil
}

func (tx *Tx) insertPolicyVersion(ctx context.Context, account, name string, v PolicyDocumentVersion) error {
	return tx.exec(ctx, `INSERT INTO managed_policy_version (account, policy, number, document, created)
		VALUES ($1, $2, $3, $4, $5)`, account, name, v.Number, v.Document, toMillis(v.Created))
}

// PolicyDocument returns a managed policy, or ErrNotFound.
func (tx *Tx) PolicyDocument(ctx context.Context, account, name string) (PolicyDocument, error) {
	var p PolicyDocument
	err := tx.one(ctx, func(r scanner) error { return scanPolicyDocument(r, &p) },
		`SELECT `+policyDocumentColumns+policyDocumentTables+`WHERE p.account = $1 AND p.name = $2`, account, name)
	if err != nil {
		return PolicyDocument{}, fmt.Errorf("policy document %s: %w", name, err)
	}
	return p, nil
}

// LockPolicyDocument is PolicyDocument for a caller that will change the policy,
// its versions or what it is attached to: others who lock it wait until the
// transaction ends.
func (tx *Tx) LockPolicyDocument(ctx context.Context, account, name string) (PolicyDocument, error) {
	locked, err := tx.change(ctx, `UPDATE managed_policy SET path = path WHERE account = $1 AND name = $2`, account, name)
	if err == nil && !locked {
		err = lamina.ErrNotFound
	}
	if err != nil {
		return PolicyDocument{}, fmt.Errorf("lock policy document %s: %w", name, err)
	}
	return tx.PolicyDocument(ctx, account, name)
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
	}, `SELECT `+policyDocumentColumns+policyDocumentTables+`
		WHERE p.account = $1 AND p.name > $2 ORDER BY p.name LIMIT $3`, account, after, limit)
	if err != nil {
		return nil, fmt.Errorf("policy documents of account %s: %w", account, err)
	}
	return all, nil
}

// InsertPolicyDocumentVersion adds the next version of a managed policy that the
// caller has locked, and makes it the default when asked to.
func (tx *Tx) InsertPolicyDocumentVersion(ctx context.Context, p PolicyDocument, document string, at time.Time, makeDefault bool) (PolicyDocumentVersion, error) {
	v := PolicyDocumentVersion{Number: p.LastVersion + 1, Document: document, Created: at}
	err := tx.insertPolicyVersion(ctx, p.Account, p.Name, v)
	if err == nil {
		err = tx.exec(ctx, `UPDATE managed_policy SET last_version = $3, modified = $4 WHERE account = $1 AND name = $2`,
			p.Account, p.Name, v.Number, toMillis(at))
	}
	if err == nil && makeDefault {
		err = tx.SetDefaultPolicyVersion(ctx, p, v.Number, at)
	}
	if err != nil {
		return PolicyDocumentVersion{}, fmt.Errorf("insert version of policy document %s: %w", p.Name, err)
	}
	return v, nil
}

// SetDefaultPolicyVersion makes a version, which exists, the default one.
func (tx *Tx) SetDefaultPolicyVersion(ctx context.Context, p PolicyDocument, number int64, at time.Time) error {
	err := tx.exec(ctx, `UPDATE managed_policy SET default_version = $3, modified = $4 WHERE account = $1 AND name = $2`,
		p.Account, p.Name, number, toMillis(at))
	if err != nil {
		return fmt.Errorf("set default version of policy document %s: %w", p.Name, err)
	}
	return nil
}

// PolicyDocumentVersions returns all versions of a managed policy, the newest
// first.
func (tx *Tx) PolicyDocumentVersions(ctx context.Context, account, name string) ([]PolicyDocumentVersion, error) {
	var all []PolicyDocumentVersion
	err := tx.each(ctx, func(r scanner) error {
		var v PolicyDocumentVersion
		var created int64
		if err := r.Scan(&v.Number, &v.Document, &created); err != nil {
			return err
		}
		v.Created = fromMillis(created)
		all = append(all, v)
		return nil
	}, `SELECT number, document, created FROM managed_policy_version WHERE account = $1 AND policy = $2 ORDER BY number DESC`, account, name)
	if err != nil {
		return nil, fmt.Errorf("versions of policy document %s: %w", name, err)
	}
	return all, nil
}

// DeletePolicyDocumentVersion removes a version, which is not the default one,
// and reports whether there was one.
func (tx *Tx) DeletePolicyDocumentVersion(ctx context.Context, account, name string, number int64) (existed bool, err error) {
	existed, err = tx.change(ctx, "DELETE FROM managed_policy_version WHERE account = $1 AND policy = $2 AND number = $3", account, name, number)
	if err != nil {
		return false, fmt.Errorf("delete version %d of policy document %s: %w", number, name, err)
	}
	return existed, nil
}

// DeletePolicyDocument removes a managed policy with its versions and reports
// whether there was one. Attachments of its ARN are the caller's concern.
func (tx *Tx) DeletePolicyDocument(ctx context.Context, account, name string) (existed bool, err error) {
	existed, err = tx.change(ctx, "DELETE FROM managed_policy WHERE account = $1 AND name = $2", account, name)
	if err != nil {
		return false, fmt.Errorf("delete policy document %s: %w", name, err)
	}
	return existed, nil
}
