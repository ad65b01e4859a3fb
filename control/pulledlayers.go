package control

import (
	"context"
	"fmt"
	"io"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// Bounds of what a layer version says of itself, as the service model has them.
const (
	maxLayerDescription   = 256
	maxLayerLicense       = 512
	maxLayerRuntimes      = 15
	maxLayerArchitectures = 2
	maxLayerName          = 140
)

// pulledSid names the statement that shares a layer version that was pulled.
const pulledSid = "lamina-pulled"

// KeepLayerVersion adds a layer version that another Lambda has, under the ARN that
// it has there: an account that need not be of this server, a number of its own. Its
// digest is what the zip has to have. The accounts of this server may all use it,
// unless it belongs to one of them. It reports whether the version is new here.
//
// An ARN means one archive for good: where the version exists with other bytes the
// answer is ResourceConflictException. So it is for a number that an account of this
// server may have given to other bytes and deleted. The counter is never lowered:
// whoever publishes the layer next gets a number above all that were kept.
func (p *Plane) KeepLayerVersion(ctx context.Context, v lamina.LayerVersion, zip io.Reader) (kept lamina.LayerVersion, isNew bool, err error) {
	if err := checkPulled(v); err != nil {
		return lamina.LayerVersion{}, false, err
	}
	u, err := p.stage(ctx)
	if err != nil {
		return lamina.LayerVersion{}, false, fmt.Errorf("stage %s: %w", v.ARN(), err)
	}
	defer func() { _ = u.Discard() }() // after Keep it does nothing; before, the sweeper has it too
	most := p.limits.Unzipped + zipOverhead
	if n, err := io.Copy(u, io.LimitReader(zip, most+1)); err != nil {
		return lamina.LayerVersion{}, false, fmt.Errorf("read the zip of %s: %w", v.ARN(), err)
	} else if n > most {
		return lamina.LayerVersion{}, false, p.refusal(&lamina.ArchiveError{Reason: lamina.ArchiveTooLarge})
	}
	if lamina.Digest(u.Sum()) != v.Digest {
		return lamina.LayerVersion{}, false, wire.InvalidParameterValue.Errorf("The zip has the CodeSha256 %s, and not %s.", lamina.Digest(u.Sum()).CodeSHA256(), v.Digest.CodeSHA256())
	}
	if v.Signature, err = p.signatureOf(ctx, u); err != nil {
		return lamina.LayerVersion{}, false, err
	}
	code, err := p.keep(ctx, u)
	if err != nil {
		return lamina.LayerVersion{}, false, err
	}
	v.CodeSize, v.UnpackedSize = code.CodeSize, code.UnpackedSize
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		kept, isNew, err = p.keepLayerVersion(ctx, tx, v)
		return err
	})
	if err != nil {
		return lamina.LayerVersion{}, false, fmt.Errorf("keep layer version %s: %w", v.ARN(), err)
	}
	if isNew {
		p.prepareLayerSoon(v)
	}
	return kept, isNew, nil
}

func checkPulled(v lamina.LayerVersion) error {
	license := value(v.LicenseInfo)
	switch {
	case len(v.Layer.Name) > maxLayerName:
		return wire.InvalidParameterValue.Errorf("The name of the layer is too long.")
	case len([]rune(v.Description)) > maxLayerDescription || len([]rune(license)) > maxLayerLicense:
		return wire.InvalidParameterValue.Errorf("The description or the license of the layer version is too long.")
	case len(v.Runtimes) > maxLayerRuntimes || len(v.Architectures) > maxLayerArchitectures:
		return wire.InvalidParameterValue.Errorf("The layer version has too many runtimes or architectures.")
	}
	return nil
}

func (p *Plane) keepLayerVersion(ctx context.Context, tx *store.Tx, v lamina.LayerVersion) (lamina.LayerVersion, bool, error) {
	before, err := tx.RaiseLayerNumber(ctx, v.Layer, v.Number)
	if err != nil {
		return lamina.LayerVersion{}, false, err
	}
	have, err := tx.LayerVersion(ctx, v.Layer, v.Number)
	switch {
	case err == nil && have.Digest == v.Digest && have.Directory == "":
		return have, false, nil
	case err == nil:
		return lamina.LayerVersion{}, false, wire.ResourceConflict.Errorf("The layer version %s exists with the CodeSha256 %s. An ARN means one archive for good.", v.ARN(), have.CodeSHA256())
	case !missing(err):
		return lamina.LayerVersion{}, false, err
	}
	_, err = tx.Account(ctx, v.Layer.Account)
	ours := err == nil
	if err != nil && !missing(err) {
		return lamina.LayerVersion{}, false, err
	}
	if c := caller(ctx); ours && v.Layer.Account != c.Account {
		return lamina.LayerVersion{}, false, wire.AccessDenied.Errorf("User: %s is not authorized to keep %s: its account is another of this server's, and publishes its layers itself.", c.ARN, v.ARN())
	}
	if ours && v.Number <= before {
		return lamina.LayerVersion{}, false, wire.ResourceConflict.Errorf("The account %s is one of this server's, and its layer %s is at number %d already: %d may have been another archive that was deleted.", v.Layer.Account, v.Layer.Name, before, v.Number)
	}
	if err := p.admit(ctx, tx, v.Layer.Scope, v.CodeSize); err != nil {
		return lamina.LayerVersion{}, false, err
	}
	if err := tx.InsertLayerVersion(ctx, v); err != nil {
		return lamina.LayerVersion{}, false, err
	}
	if ours {
		return v, true, nil
	}
	return v, true, tx.PutPolicy(ctx, lamina.Policy{Resource: v.ARN(), RevisionID: newID(), Statements: []lamina.Statement{{
		Sid: pulledSid, Effect: "Allow", Principal: lamina.Principal{Value: "*"}, Action: actionGetLayer, Resource: v.ARN(),
	}}})
}

// maxPulled is how many layer versions PulledLayerVersions returns at most.
const maxPulled = 10_000

// PulledLayerVersions returns what KeepLayerVersion added to accounts that are not
// of this server, by ARN.
func (p *Plane) PulledLayerVersions(ctx context.Context) (all []lamina.LayerVersion, err error) {
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		all, err = tx.PulledLayerVersions(ctx, maxPulled)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list pulled layer versions: %w", err)
	}
	return all, nil
}

// DropLayerVersion removes a layer version that KeepLayerVersion added to an
// account that is not of this server, where nobody else could. Functions that
// have it keep it. A missing one is ResourceNotFoundException.
func (p *Plane) DropLayerVersion(ctx context.Context, id lamina.LayerID, number int64) error {
	err := p.store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Account(ctx, id.Account)
		if err == nil {
			return wire.InvalidParameterValue.Errorf("The account %s is one of this server's: delete the layer version with DeleteLayerVersion.", id.Account)
		}
		if !missing(err) {
			return err
		}
		existed, err := tx.DeleteLayerVersion(ctx, id, number)
		if err == nil && !existed {
			err = wire.ResourceNotFound.Errorf("Layer version %s does not exist.", id.VersionARN(number))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("drop layer version %s: %w", id.VersionARN(number), err)
	}
	return nil
}
