package control

import (
	"context"
	"fmt"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

func (p *Plane) registerRuntimeManagement(r *wire.Router) {
	wire.Handle(r, "GetRuntimeManagementConfig", p.GetRuntimeManagementConfig)
	wire.Handle(r, "PutRuntimeManagementConfig", p.PutRuntimeManagementConfig)
}

// managed reads the version whose runtime a request is about. Aliases have no
// runtime of their own.
func managed(ctx context.Context, tx *store.Tx, ref reference) (lamina.Version, error) {
	v, err := version(ctx, tx, ref)
	if err != nil {
		return lamina.Version{}, notFound(err, "Function not found: %s", ref.arn())
	}
	if ref.Qualifier != "" && ref.Qualifier != v.Qualifier() {
		return lamina.Version{}, wire.InvalidParameterValue.Errorf("Aliases do not support this operation. Please specify $LATEST or a published version.")
	}
	return v, nil
}

// GetRuntimeManagementConfig tells when a version changes its runtime's release.
func (p *Plane) GetRuntimeManagementConfig(ctx context.Context, in *wire.GetRuntimeManagementConfigRequest) (*wire.GetRuntimeManagementConfigResponse, error) {
	ref, err := resolve(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	var m lamina.RuntimeManagement
	err = p.store.View(ctx, func(tx *store.Tx) error {
		v, err := managed(ctx, tx, ref)
		if err != nil {
			return err
		}
		m, err = tx.RuntimeManagement(ctx, ref.FunctionID, v.Number)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get runtime management config of %s: %w", ref.arn(), err)
	}
	return &wire.GetRuntimeManagementConfigResponse{
		UpdateRuntimeOn: &m.UpdateOn, RuntimeVersionArn: filled(m.VersionARN), FunctionArn: ptr(ref.arn()),
	}, nil
}

// PutRuntimeManagementConfig says when a version changes its runtime's release.
// Lamina has one release of each runtime, so Manual can only name that.
func (p *Plane) PutRuntimeManagementConfig(ctx context.Context, in *wire.PutRuntimeManagementConfigRequest) (*wire.PutRuntimeManagementConfigResponse, error) {
	ref, err := resolve(ctx, in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	m := lamina.RuntimeManagement{UpdateOn: in.UpdateRuntimeOn, VersionARN: value(in.RuntimeVersionArn)}
	switch manual := m.UpdateOn == lamina.RuntimeUpdateManual; {
	case manual && m.VersionARN == "":
		return nil, wire.InvalidParameterValue.Errorf("RuntimeVersionArn is required when UpdateRuntimeOn is Manual.")
	case !manual && m.VersionARN != "":
		return nil, wire.InvalidParameterValue.Errorf("RuntimeVersionArn is supported only when UpdateRuntimeOn is Manual.")
	}
	err = p.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockFunction(ctx, ref.FunctionID); err != nil {
			return notFound(err, "Function not found: %s", ref.arn())
		}
		v, err := managed(ctx, tx, ref)
		if err != nil {
			return err
		}
		if m.VersionARN != "" && m.VersionARN != runtimeVersionARN(v.Function.Region, v.Config.Runtime) {
			return wire.InvalidParameterValue.Errorf("Runtime version %s is not available for runtime %s.", m.VersionARN, v.Config.Runtime)
		}
		return tx.PutRuntimeManagement(ctx, ref.FunctionID, v.Number, m)
	})
	if err != nil {
		return nil, fmt.Errorf("put runtime management config of %s: %w", ref.arn(), err)
	}
	return &wire.PutRuntimeManagementConfigResponse{
		UpdateRuntimeOn: m.UpdateOn, RuntimeVersionArn: in.RuntimeVersionArn, FunctionArn: ref.arn(),
	}, nil
}
