package control

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// reference is a function that a request names, with the qualifier of the name
// or of the Qualifier member, whichever was given.
type reference struct {
	lamina.FunctionID
	Qualifier string
}

// arn repeats what was asked for: the function ARN with the qualifier, if any.
func (r reference) arn() string { return r.QualifiedARN(r.Qualifier) }

// resolve reads FunctionName and Qualifier in AWS's order of precedence: region,
// account, then contradicting qualifiers; whether the function exists comes later.
// A function of another account is for whom [Plane.Authorize] let reach it.
func resolve(ctx context.Context, name string, qualifier *string) (reference, error) {
	in := scope(ctx)
	ref, ok := lamina.ParseFunctionReference(name)
	if !ok {
		return reference{}, wire.InvalidParameterValue.Errorf("Invalid function name: %s", name)
	}
	if ref.Region != "" && ref.Region != in.Region {
		return reference{}, wire.ResourceNotFound.Errorf("Functions from '%s' are not reachable in this region ('%s')", ref.Region, in.Region)
	}
	id := lamina.FunctionID{Scope: in, Name: ref.Name}
	if ref.Account != "" && ref.Account != in.Account {
		id.Account = ref.Account
		if !mayReach(ctx, id.ARN()) {
			return reference{}, wire.AccessDenied.Errorf("User: %s is not authorized to access this resource: %s", caller(ctx).ARN, id.ARN())
		}
	}
	out := reference{FunctionID: id, Qualifier: ref.Qualifier}
	if qualifier != nil && *qualifier != "" {
		if ref.Qualifier != "" && ref.Qualifier != *qualifier {
			return reference{}, wire.InvalidParameterValue.Errorf("The derived qualifier from the function name does not match the specified qualifier.")
		}
		out.Qualifier = *qualifier
	}
	return out, nil
}

// errNoFunction is the answer of most operations to a name that names nothing.
func errNoFunction(arn string) error {
	return wire.ResourceNotFound.Errorf("Function not found: %s", arn)
}

// version finds what a qualifier means: $LATEST when it is empty, a published
// version, or the version that an alias points at (never the weighted second).
// The error is lamina.ErrNotFound when there is none.
func version(ctx context.Context, tx *store.Tx, r reference) (lamina.Version, error) {
	switch n, isNumber := lamina.ParseNumber(r.Qualifier); {
	case r.Qualifier == "" || r.Qualifier == lamina.Latest:
		return tx.FunctionVersion(ctx, r.FunctionID, 0)
	case isNumber:
		return tx.FunctionVersion(ctx, r.FunctionID, n)
	}
	alias, err := tx.Alias(ctx, r.FunctionID, r.Qualifier)
	if err != nil {
		return lamina.Version{}, err
	}
	return targetOf(ctx, tx, alias.Function, alias.Target)
}

// targetOf reads the version that an alias names.
func targetOf(ctx context.Context, tx *store.Tx, id lamina.FunctionID, target string) (lamina.Version, error) {
	n, _ := lamina.ParseNumber(target) // $LATEST is number 0
	return tx.FunctionVersion(ctx, id, n)
}

// layerReference reads the LayerName member, which may be an ARN.
func layerReference(ctx context.Context, name string) (lamina.LayerID, error) {
	ref, ok := lamina.ParseLayerReference(name)
	if !ok {
		return lamina.LayerID{}, wire.InvalidParameterValue.Errorf("Invalid layer name: %s", name)
	}
	return ref.ID(scope(ctx)), nil
}

// marker turns the place where a page ends into a NextMarker, opaque to clients.
func marker(parts ...string) *string {
	m := base64.RawURLEncoding.EncodeToString([]byte(strings.Join(parts, "\n")))
	return &m
}

// place reads a Marker back into n parts. It reports a client's error for text
// that no page ever ended with.
func place(m *string, n int) ([]string, error) {
	if m == nil || *m == "" {
		return make([]string, n), nil
	}
	data, err := base64.RawURLEncoding.DecodeString(*m)
	parts := strings.Split(string(data), "\n")
	if err != nil || len(parts) != n {
		return nil, wire.InvalidParameterValue.Errorf("Invalid marker: %s", *m)
	}
	return parts, nil
}
