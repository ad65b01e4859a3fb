package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/wire"
)

func ptr[T any](v T) *T { return &v }

// value is what p points at, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// filled is a pointer to s, or nil when s is empty: an absent member.
func filled(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// timestamp writes times as Lambda does: milliseconds, UTC, no colon.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000-0700") }

func (p *Plane) publishedLayer(ctx context.Context, v lamina.LayerVersion) *wire.PublishLayerVersionResponse {
	return &wire.PublishLayerVersionResponse{
		Content: &wire.LayerVersionContentOutput{
			Location:   ptr(p.location(ctx, v.Digest, v.Directory)),
			CodeSha256: ptr(v.CodeSHA256()),
			CodeSize:   &v.CodeSize,

			SigningProfileVersionArn: filled(v.Signature.ProfileVersionARN),
			SigningJobArn:            filled(v.Signature.JobARN),
		},
		LayerArn:                ptr(v.Layer.ARN()),
		LayerVersionArn:         ptr(v.ARN()),
		Description:             &v.Description,
		CreatedDate:             ptr(timestamp(v.Created)),
		Version:                 &v.Number,
		CompatibleRuntimes:      v.Runtimes,
		LicenseInfo:             v.LicenseInfo,
		CompatibleArchitectures: v.Architectures,
	}
}

// layerItem is a layer version as lists show it.
func layerItem(v lamina.LayerVersion) wire.LayerVersionsListItem {
	return wire.LayerVersionsListItem{
		LayerVersionArn:         ptr(v.ARN()),
		Version:                 &v.Number,
		Description:             &v.Description,
		CreatedDate:             ptr(timestamp(v.Created)),
		CompatibleRuntimes:      v.Runtimes,
		LicenseInfo:             v.LicenseInfo,
		CompatibleArchitectures: v.Architectures,
	}
}

// configuration is a version as single answers show it, under the ARN that the
// request asked for.
func configuration(v lamina.Version, arn string) *wire.FunctionConfiguration {
	out := listedConfiguration(v, arn)
	out.State = filled(v.Status.State)
	out.StateReason = filled(v.Status.StateReason)
	out.StateReasonCode = filled(v.Status.StateReasonCode)
	out.LastUpdateStatus = filled(v.Status.LastUpdate)
	out.LastUpdateStatusReason = filled(v.Status.LastUpdateReason)
	out.LastUpdateStatusReasonCode = filled(v.Status.LastUpdateReasonCode)
	if v.Config.Runtime != "" {
		out.RuntimeVersionConfig = &wire.RuntimeVersionConfig{RuntimeVersionArn: ptr(runtimeVersionARN(v.Function.Region, v.Config.Runtime))}
	}
	return out
}

// listedConfiguration is a version as lists show it: without states and the
// runtime's version (docs/quirks.md#lists).
func listedConfiguration(v lamina.Version, arn string) *wire.FunctionConfiguration {
	c := v.Config
	out := &wire.FunctionConfiguration{
		FunctionName:      &v.Function.Name,
		FunctionArn:       &arn,
		Runtime:           filled(c.Runtime),
		Role:              &c.Role,
		Handler:           filled(c.Handler),
		CodeSize:          &v.Code.CodeSize,
		Description:       &c.Description,
		Timeout:           &c.Timeout,
		MemorySize:        &c.MemorySize,
		LastModified:      ptr(timestamp(v.LastModified)),
		CodeSha256:        ptr(v.Code.CodeSHA256()),
		Version:           ptr(v.Qualifier()),
		KMSKeyArn:         c.KMSKeyARN,
		TracingConfig:     &wire.TracingConfigResponse{Mode: &c.TracingMode},
		RevisionId:        &v.RevisionID,
		PackageType:       &c.PackageType,
		Architectures:     c.Architectures,
		EphemeralStorage:  &wire.EphemeralStorage{Size: c.EphemeralStorage},
		SnapStart:         snapStart(v),
		LoggingConfig:     loggingConfig(c.Logging),
		FileSystemConfigs: fileSystemConfigs(c.FileSystems),

		SigningProfileVersionArn: filled(v.Code.SigningProfileVersionARN),
		SigningJobArn:            filled(v.Code.SigningJobARN),
	}
	for _, l := range c.Layers {
		out.Layers = append(out.Layers, wire.Layer{
			Arn: &l.ARN, CodeSize: &l.CodeSize,
			SigningProfileVersionArn: filled(l.SigningProfileVersionARN), SigningJobArn: filled(l.SigningJobARN),
		})
	}
	if c.Environment != nil {
		out.Environment = &wire.EnvironmentResponse{Variables: c.Environment}
	}
	if c.DeadLetterTarget != nil {
		out.DeadLetterConfig = &wire.DeadLetterConfig{TargetArn: c.DeadLetterTarget}
	}
	if c.VPC != nil {
		out.VpcConfig = vpcConfig(*c.VPC)
	}
	if c.Image != nil {
		out.ImageConfigResponse = &wire.ImageConfigResponse{ImageConfig: &wire.ImageConfig{
			EntryPoint: c.Image.EntryPoint, Command: c.Image.Command, WorkingDirectory: c.Image.WorkingDirectory,
		}}
	}
	return out
}

func runtimeVersionARN(region, runtime string) string {
	return lamina.RuntimeVersionARN(region, runtime)
}

// snapStart shows On only for a published version that is ready.
func snapStart(v lamina.Version) *wire.SnapStartResponse {
	status := "Off"
	if v.Config.SnapStart == "PublishedVersions" && v.Number > 0 && v.Status.State == lamina.StateActive {
		status = "On"
	}
	return &wire.SnapStartResponse{ApplyOn: ptr(v.Config.SnapStart), OptimizationStatus: &status}
}

func loggingConfig(l lamina.Logging) *wire.LoggingConfig {
	return &wire.LoggingConfig{
		LogFormat: &l.Format, LogGroup: &l.Group,
		ApplicationLogLevel: filled(l.ApplicationLevel), SystemLogLevel: filled(l.SystemLevel),
	}
}

func fileSystemConfigs(systems []lamina.FileSystem) []wire.FileSystemConfig {
	var out []wire.FileSystemConfig
	for _, f := range systems {
		out = append(out, wire.FileSystemConfig{Arn: f.ARN, LocalMountPath: f.LocalMountPath})
	}
	return out
}

// vpcConfig echoes what was asked for. Where no EC2 was asked which VPC the
// subnets are in, the same subnets give the same made-up identifier.
func vpcConfig(v lamina.VPC) *wire.VpcConfigResponse {
	out := &wire.VpcConfigResponse{
		SubnetIds: v.SubnetIDs, SecurityGroupIds: v.SecurityGroupIDs, VpcId: &v.ID, Ipv6AllowedForDualStack: &v.IPv6,
	}
	if len(v.SubnetIDs) > 0 && v.ID == "" {
		sum := sha256.Sum256([]byte(strings.Join(v.SubnetIDs, ",")))
		out.VpcId = ptr("vpc-" + hex.EncodeToString(sum[:])[:17])
	}
	return out
}

func aliasConfiguration(a lamina.Alias) *wire.AliasConfiguration {
	out := &wire.AliasConfiguration{
		AliasArn: ptr(a.ARN()), Name: &a.Name, FunctionVersion: &a.Target, Description: &a.Description, RevisionId: &a.RevisionID,
	}
	if len(a.Weights) > 0 {
		out.RoutingConfig = &wire.AliasRoutingConfiguration{AdditionalVersionWeights: a.Weights}
	}
	return out
}
