package server

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/wire"
)

// PulledLayers keeps layer versions of another Lambda under the ARNs that they
// have there. Its errors are exceptions, or say that something is broken.
type PulledLayers interface {
	// KeepLayerVersion reports whether the version is new here.
	KeepLayerVersion(ctx context.Context, v lamina.LayerVersion, zip io.Reader) (lamina.LayerVersion, bool, error)
	PulledLayerVersions(ctx context.Context) ([]lamina.LayerVersion, error)
	DropLayerVersion(ctx context.Context, id lamina.LayerID, number int64) error
}

// PulledLayer is what the request that keeps a layer version says of it, besides
// the zip in its body.
type PulledLayer struct {
	CodeSha256              lamina.Digest
	Description             string
	LicenseInfo             *string
	CompatibleRuntimes      []string
	CompatibleArchitectures []string
	CreatedDate             time.Time
}

// Names of the query's parameters.
const (
	pulledDigest        = "CodeSha256" // in hexadecimal
	pulledDescription   = "Description"
	pulledLicense       = "LicenseInfo"
	pulledRuntimes      = "CompatibleRuntimes"
	pulledArchitectures = "CompatibleArchitectures"
	pulledCreated       = "CreatedDate"
)

// Query writes p as parameters of the request.
func (p PulledLayer) Query() url.Values {
	q := url.Values{
		pulledDigest: {p.CodeSha256.String()}, pulledDescription: {p.Description}, pulledCreated: {p.CreatedDate.UTC().Format(time.RFC3339Nano)},
	}
	if p.LicenseInfo != nil {
		q.Set(pulledLicense, *p.LicenseInfo)
	}
	if p.CompatibleRuntimes != nil {
		q[pulledRuntimes] = p.CompatibleRuntimes
	}
	if p.CompatibleArchitectures != nil {
		q[pulledArchitectures] = p.CompatibleArchitectures
	}
	return q
}

// readPulledLayer reads what Query wrote.
func readPulledLayer(q url.Values) (PulledLayer, error) {
	p := PulledLayer{
		Description: q.Get(pulledDescription), CompatibleRuntimes: q[pulledRuntimes], CompatibleArchitectures: q[pulledArchitectures],
	}
	if q.Has(pulledLicense) {
		license := q.Get(pulledLicense)
		p.LicenseInfo = &license
	}
	var err error
	if p.CodeSha256, err = lamina.ParseDigest(q.Get(pulledDigest)); err != nil {
		return PulledLayer{}, wire.InvalidParameterValue.Errorf("%s is no SHA-256 in hexadecimal.", pulledDigest)
	}
	if p.CreatedDate, err = time.Parse(time.RFC3339Nano, q.Get(pulledCreated)); err != nil {
		return PulledLayer{}, wire.InvalidParameterValue.Errorf("%s is no date.", pulledCreated)
	}
	return p, nil
}

// KeptLayer is the answer to a request that keeps a layer version.
type KeptLayer struct {
	LayerVersionArn string
	CodeSha256      string
	CodeSize        int64
	New             bool // false when it was here already
}

// PulledLayerVersion is one of the layer versions that are kept for accounts
// elsewhere.
type PulledLayerVersion struct {
	LayerVersionArn         string
	CodeSha256              string
	CodeSize                int64
	Description             string
	CompatibleRuntimes      []string `json:",omitempty"`
	CompatibleArchitectures []string `json:",omitempty"`
	CreatedDate             time.Time
}

// handleLayers serves layer versions of another Lambda to the operator.
func (o Internal) handleLayers(operator handling) {
	reference := func(req *http.Request) (lamina.LayerReference, error) {
		ref, ok := lamina.ParseLayerReference(req.PathValue("arn"))
		if !ok || ref.Account == "" || ref.Version < 1 || ref.ID(lamina.Scope{}).VersionARN(ref.Version) != req.PathValue("arn") {
			return lamina.LayerReference{}, wire.InvalidParameterValue.Errorf("%s is no ARN of a layer version in the partition %s.", req.PathValue("arn"), lamina.Partition)
		}
		return ref, nil
	}
	operator("PUT /_lamina/layers/{arn}", func(req *http.Request) (any, error) {
		wire.RecordOf(req.Context()).Tell("layer", req.PathValue("arn"))
		ref, err := reference(req)
		if err != nil {
			return nil, err
		}
		p, err := readPulledLayer(req.URL.Query())
		if err != nil {
			return nil, err
		}
		v, isNew, err := o.Layers.KeepLayerVersion(req.Context(), lamina.LayerVersion{
			Layer: ref.ID(lamina.Scope{}), Number: ref.Version, Digest: p.CodeSha256, Description: p.Description, LicenseInfo: p.LicenseInfo,
			Runtimes: p.CompatibleRuntimes, Architectures: p.CompatibleArchitectures, Created: p.CreatedDate,
		}, req.Body)
		return KeptLayer{LayerVersionArn: v.ARN(), CodeSha256: v.CodeSHA256(), CodeSize: v.CodeSize, New: isNew}, err
	})
	operator("GET /_lamina/layers", func(req *http.Request) (any, error) {
		all, err := o.Layers.PulledLayerVersions(req.Context())
		out := make([]PulledLayerVersion, 0, len(all))
		for _, v := range all {
			out = append(out, PulledLayerVersion{
				LayerVersionArn: v.ARN(), CodeSha256: v.CodeSHA256(), CodeSize: v.CodeSize, Description: v.Description,
				CompatibleRuntimes: v.Runtimes, CompatibleArchitectures: v.Architectures, CreatedDate: v.Created,
			})
		}
		return map[string]any{"LayerVersions": out}, err
	})
	operator("DELETE /_lamina/layers/{arn}", func(req *http.Request) (any, error) {
		wire.RecordOf(req.Context()).Tell("layer", req.PathValue("arn"))
		ref, err := reference(req)
		if err != nil {
			return nil, err
		}
		return struct{}{}, o.Layers.DropLayerVersion(req.Context(), ref.ID(lamina.Scope{}), ref.Version)
	})
}
