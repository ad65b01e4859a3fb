package control

import (
	"context"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// taggable is a resource that a request about tags names. Its functions answer
// the exception that the resource does not exist.
type taggable struct {
	arn string
	// find reads the resource.
	find func(ctx context.Context, tx *store.Tx) error
	// lock makes others wait who change its tags.
	lock func(ctx context.Context, tx *store.Tx) error
	// touch is run after a change; nil for nothing.
	touch func(ctx context.Context, tx *store.Tx) error
}

// tagged tells what an ARN names. The wire layer has checked its form.
func tagged(ctx context.Context, arn string) (taggable, error) {
	parts := strings.SplitN(arn, ":", 7) // arn:aws:lambda:region:account:kind:id
	if len(parts) < 7 {
		return taggable{}, wire.InvalidParameterValue.Errorf("Invalid ARN: %s", arn)
	}
	kind, id := parts[5], parts[6]
	in := scope(ctx)
	here := parts[3] == in.Region && parts[4] == in.Account
	switch kind {
	case "function":
		return taggedFunction(ctx, arn)
	case "event-source-mapping":
		return taggedMapping(in, arn, strings.ToLower(id), here), nil
	case "code-signing-config":
		return taggedCodeSigning(in, arn, id, here), nil
	case "capacity-provider":
		return absent(arn, wire.ResourceNotFound.Errorf("Capacity provider not found: %s", arn)), nil
	}
	return taggable{}, wire.InvalidParameterValue.Errorf("Tags on this resource are not supported: %s", arn)
}

// absent is a resource that no request can find.
func absent(arn string, err error) taggable {
	find := func(context.Context, *store.Tx) error { return err }
	return taggable{arn: arn, find: find, lock: find}
}

// taggedFunction is a function, whose tags give $LATEST a new revision.
func taggedFunction(ctx context.Context, arn string) (taggable, error) {
	ref, err := resolve(ctx, arn, nil)
	if err != nil {
		return taggable{}, err
	}
	if ref.Qualifier != "" {
		return taggable{}, wire.InvalidParameterValue.Errorf("Tags on function aliases and versions are not supported. Please specify a function ARN.")
	}
	id := ref.FunctionID
	return taggable{
		arn: id.ARN(),
		find: func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.Function(ctx, id)
			return notFound(err, "Function not found: %s", id.ARN())
		},
		lock: func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.LockFunction(ctx, id)
			return notFound(err, "Function not found: %s", id.ARN())
		},
		touch: func(ctx context.Context, tx *store.Tx) error {
			latest, err := tx.FunctionVersion(ctx, id, 0)
			if err != nil {
				return err
			}
			latest.RevisionID = newID()
			return tx.PutFunctionVersion(ctx, latest)
		},
	}, nil
}

func taggedMapping(in lamina.Scope, arn, uuid string, here bool) taggable {
	none := wire.ResourceNotFound.Errorf("Event source mapping not found: %s", arn)
	if !here {
		return absent(arn, none)
	}
	or := func(err error) error {
		if missing(err) {
			return none
		}
		return err
	}
	return taggable{
		arn: lamina.EventSourceMapping{Scope: in, UUID: uuid}.ARN(),
		find: func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.EventSourceMapping(ctx, in, uuid)
			return or(err)
		},
		lock: func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.LockEventSourceMapping(ctx, in, uuid)
			return or(err)
		},
	}
}

func taggedCodeSigning(in lamina.Scope, arn, id string, here bool) taggable {
	none := wire.ResourceNotFound.Errorf("The Lambda code signing configuration %s can not be found.", arn).WithoutType()
	if !here {
		return absent(arn, none)
	}
	or := func(err error) error {
		if missing(err) {
			return none
		}
		return err
	}
	return taggable{
		arn: arn,
		find: func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.CodeSigningConfig(ctx, in, id)
			return or(err)
		},
		lock: func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.LockCodeSigningConfig(ctx, in, id)
			return or(err)
		},
	}
}
