package control

import (
	"context"
	"fmt"
	"strconv"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

func (p *Plane) registerVersions(r *wire.Router) {
	wire.Handle(r, "PublishVersion", p.PublishVersion)
	wire.Handle(r, "ListVersionsByFunction", p.ListVersionsByFunction)
	wire.Handle(r, "CreateAlias", p.CreateAlias)
	wire.Handle(r, "GetAlias", p.GetAlias)
	wire.Handle(r, "UpdateAlias", p.UpdateAlias)
	wire.Handle(r, "DeleteAlias", p.DeleteAlias)
	wire.Handle(r, "ListAliases", p.ListAliases)
}

// errNoPublishTo is the answer to what only managed instances have.
var errNoPublishTo = wire.InvalidParameterValue.Errorf("Lamina does not offer capacity providers: remove PublishTo from the request.")

// PublishVersion freezes $LATEST under the next number, or returns the last
// version when nothing changed since.
func (p *Plane) PublishVersion(ctx context.Context, in *wire.PublishVersionRequest) (*wire.FunctionConfiguration, error) {
	ref, err := resolve(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	if in.PublishTo != nil {
		return nil, errNoPublishTo
	}
	archives, err := p.archivesOfLatest(ctx, ref)
	if err != nil {
		return nil, err
	}
	var published lamina.Version
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		f, err := tx.LockFunction(ctx, ref.FunctionID)
		if err != nil {
			return notFound(err, "Function not found: %s", ref.ARN())
		}
		latest, err := tx.FunctionVersion(ctx, ref.FunctionID, 0)
		if err != nil {
			return err
		}
		if in.RevisionId != nil && *in.RevisionId != latest.RevisionID {
			return errStale("GetFunction/GetAlias")
		}
		if given, current := value(in.CodeSha256), latest.Code.CodeSHA256(); given != "" && given != current {
			return wire.InvalidParameterValue.Errorf("CodeSHA256 (%s) is different from current CodeSHA256 in $LATEST (%s). Please try again with the CodeSHA256 in $LATEST.", given, current)
		}
		if !settledVersion(latest) {
			return errBusy(latest)
		}
		frozen, ok := latest.WithArchives(archives)
		if !ok {
			return errOtherDirectories
		}
		last, err := tx.LastFunctionVersion(ctx, ref.FunctionID)
		switch {
		case err == nil && last.Repeats(frozen):
			published = last
			return nil
		case err != nil && !missing(err):
			return err
		}
		if err := p.admit(ctx, tx, ref.Scope, frozen.Code.CodeSize); err != nil {
			return err
		}
		published = frozen.Freeze(f.LastNumber+1, in.Description, newID(), p.now())
		if latest.Config.SnapStart == "PublishedVersions" || len(archives) > 0 {
			published.Status = pending()
		}
		if err := tx.InsertFunctionVersion(ctx, published); err != nil {
			return err
		}
		latest.RevisionID = newID()
		return tx.PutFunctionVersion(ctx, latest)
	})
	if err != nil {
		return nil, fmt.Errorf("publish version of %s: %w", ref.Name, err)
	}
	if published.Status.State == lamina.StatePending {
		p.prepareSoon()
	}
	return configuration(published, published.ARN()), nil
}

// archivesOfLatest makes archives of the directories that $LATEST shows. A
// function that does not exist has none.
func (p *Plane) archivesOfLatest(ctx context.Context, ref reference) (map[string]lamina.Code, error) {
	var latest lamina.Version
	err := p.store.View(ctx, func(tx *store.Tx) (err error) {
		latest, err = tx.FunctionVersion(ctx, ref.FunctionID, 0)
		return ignoreMissing(err)
	})
	if err != nil {
		return nil, fmt.Errorf("read function %s: %w", ref.Name, err)
	}
	return p.archives(ctx, latest.Directories())
}

// ListVersionsByFunction lists $LATEST, then the published versions, ascending.
func (p *Plane) ListVersionsByFunction(ctx context.Context, in *wire.ListVersionsByFunctionRequest) (*wire.ListVersionsByFunctionResponse, error) {
	ref, err := resolve(ctx, in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	start, err := place(in.Marker, 1)
	if err != nil {
		return nil, err
	}
	after, err := strconv.ParseInt(start[0], 10, 64)
	if err != nil {
		after = -1 // no marker: from $LATEST
	}
	limit := pageSize(in.MaxItems, p.limits.PageDefault, p.limits.PageDefault)
	var versions []lamina.Version
	err = p.store.View(ctx, func(tx *store.Tx) (err error) {
		if _, err := tx.Function(ctx, ref.FunctionID); err != nil {
			return err
		}
		versions, err = tx.FunctionVersions(ctx, ref.FunctionID, after, limit+1)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list versions of %s: %w", ref.Name, notFound(err, "Function not found: %s", ref.ARN()))
	}
	versions, more := page(versions, limit)
	out := &wire.ListVersionsByFunctionResponse{Versions: make([]wire.FunctionConfiguration, 0, len(versions))}
	for _, v := range versions {
		out.Versions = append(out.Versions, *listedConfiguration(v, v.ARN()))
	}
	if more {
		out.NextMarker = marker(strconv.FormatInt(versions[len(versions)-1].Number, 10))
	}
	return out, nil
}
