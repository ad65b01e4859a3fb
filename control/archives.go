package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// errNotZip is AWS's answer to bytes that can't be unpacked (recorded).
var errNotZip = wire.InvalidParameterValue.Errorf("Could not unzip uploaded file. Please check your file, then try to upload again.")

// keep checks an uploaded zip against the rules and makes its bytes durable.
// Nothing is left behind when it returns an error.
func (p *Plane) keep(ctx context.Context, u wire.Upload) (lamina.Code, error) {
	zip, err := p.inspect(ctx, u)
	if err != nil {
		return lamina.Code{}, err
	}
	if err := u.Keep(ctx); err != nil {
		return lamina.Code{}, fmt.Errorf("keep archive: %w", err)
	}
	return zip, nil
}

// inspect checks an uploaded zip against the rules and keeps nothing.
func (p *Plane) inspect(ctx context.Context, u wire.Upload) (lamina.Code, error) {
	zip, err := lamina.ReadArchive(u, u.Size(), p.limits)
	if err == nil {
		err = zip.Verify(ctx)
	}
	if refused, ok := errors.AsType[*lamina.ArchiveError](err); ok {
		return lamina.Code{}, p.refusal(refused)
	}
	if err != nil {
		return lamina.Code{}, fmt.Errorf("read archive: %w", err)
	}
	return lamina.Code{Digest: u.Sum(), CodeSize: u.Size(), UnpackedSize: zip.UnpackedSize}, nil
}

// refusal is what the client reads about an archive that breaks a rule. AWS has
// one text for all archives it can't unpack; the size has its own.
func (p *Plane) refusal(e *lamina.ArchiveError) error {
	if e.Reason == lamina.ArchiveTooLarge {
		return wire.InvalidParameterValue.Errorf("Unzipped size must be smaller than %d bytes", p.limits.Unzipped)
	}
	return errNotZip
}

// admit refuses bytes that would exceed the account's code storage.
func (p *Plane) admit(ctx context.Context, tx *store.Tx, in lamina.Scope, size int64) error {
	if err := tx.LockUsage(ctx, in); err != nil { // so that two uploads can't both take the last bytes
		return err
	}
	used, _, err := tx.CodeUsage(ctx, in)
	if err != nil {
		return err
	}
	if used+size > p.limits.CodeStorage {
		return wire.CodeStorageExceeded.Errorf("Code storage limit exceeded.")
	}
	return nil
}
