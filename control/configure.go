package control

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// settings are the members that CreateFunction and UpdateFunctionConfiguration
// share. Nil is absent: the default on create, unchanged on update.
type settings struct {
	Runtime, Role, Handler, Description, KMSKeyARN *string
	Timeout, MemorySize                            *int64
	VPC                                            *wire.VpcConfig
	DeadLetter                                     *wire.DeadLetterConfig
	Environment                                    *wire.Environment
	Tracing                                        *wire.TracingConfig
	Layers                                         []string
	FileSystems                                    []wire.FileSystemConfig
	Image                                          *wire.ImageConfig
	EphemeralStorage                               *wire.EphemeralStorage
	SnapStart                                      *wire.SnapStart
	Logging                                        *wire.LoggingConfig
	CapacityProvider                               *wire.CapacityProviderConfig
	Durable                                        *wire.DurableConfig
	deployment                                     *deployment // set inside the transaction
	foundVPC                                       *foundVPC   // set before it; nil when EC2 was not asked
}

// maxMemory is the largest MemorySize of functions that run on demand. The
// model's own bound is that of managed instances.
const maxMemory = 10240

// check refuses what no function can have, without looking anything up.
func (p *Plane) check(ctx context.Context, in lamina.FunctionID, s settings) error {
	if s.CapacityProvider != nil {
		return wire.InvalidParameterValue.Errorf("Lamina does not offer capacity providers: remove CapacityProviderConfig from the request.")
	}
	if s.Durable != nil {
		return wire.InvalidParameterValue.Errorf("Lamina does not offer durable executions: remove DurableConfig from the request.")
	}
	if s.MemorySize != nil && *s.MemorySize > maxMemory {
		return wire.Validation.Errorf("1 validation error detected: Value '%d' at 'memorySize' failed to satisfy constraint: Member must have value less than or equal to %d", *s.MemorySize, maxMemory)
	}
	if s.Runtime != nil {
		if err := checkRuntime(*s.Runtime); err != nil {
			return err
		}
	}
	if s.Environment != nil {
		if err := p.checkEnvironment(ctx, s.Environment.Variables); err != nil {
			return err
		}
	}
	if err := p.checkLayers(ctx, in.Scope, s.Layers); err != nil {
		return err
	}
	if s.Role == nil {
		return nil
	}
	return p.authority.Serves(ctx, *s.Role, in.ARN(), in.Account)
}

func checkRuntime(runtime string) error {
	switch {
	case lamina.RuntimeCreatable(runtime):
		return nil
	case lamina.RuntimeBlocked(runtime):
		return wire.InvalidParameterValue.Errorf("The runtime parameter of %s is no longer supported for creating or updating AWS Lambda functions. We recommend you use a supported runtime while creating or updating functions.", runtime)
	}
	return wire.InvalidParameterValue.Errorf("Value %s at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [%s] or be a valid ARN",
		runtime, strings.Join(lamina.CreatableRuntimes(), ", "))
}

// reserved are the environment variables that functions can't set (documented).
var reserved = []string{
	"_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_NAME",
	"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE",
	"AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID",
	"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR",
}

// checkEnvironment measures the variables as the client wrote them: compact, but
// in the request's order, which the message shows.
func (p *Plane) checkEnvironment(ctx context.Context, variables map[string]string) error {
	var taken []string
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if slices.Contains(reserved, name) {
			taken = append(taken, name)
		}
	}
	const prefix = "Lambda was unable to configure your environment variables because the environment variables you have provided "
	if len(taken) > 0 {
		return wire.InvalidParameterValue.Errorf(prefix+"contains reserved keys that are currently not supported for modification. Reserved keys used in this request: %s", strings.Join(taken, ", "))
	}
	if variables == nil {
		return nil
	}
	measured, err := orderedJSON(wire.KeysOf(ctx, "Environment", "Variables"), variables)
	if err != nil {
		return fmt.Errorf("measure environment: %w", err)
	}
	if len(measured) > p.limits.EnvironmentBytes {
		return wire.InvalidParameterValue.Errorf(prefix+"exceeded the %s limit. String measured: %s", inKB(p.limits.EnvironmentBytes), measured)
	}
	return nil
}

// inKB is a size as AWS writes it: 4KB.
func inKB(bytes int) string {
	if bytes%1024 != 0 {
		return strconv.Itoa(bytes) + "B"
	}
	return strconv.Itoa(bytes/1024) + "KB"
}

// orderedJSON writes variables in the order of keys, or sorted without that.
func orderedJSON(keys []string, variables map[string]string) (string, error) {
	if len(keys) != len(variables) { // no request, or one with repeated names
		keys = slices.Sorted(maps.Keys(variables))
	}
	members := make([]string, 0, len(keys))
	for _, key := range keys {
		name, err := plainJSON(key)
		if err != nil {
			return "", err
		}
		text, err := plainJSON(variables[key])
		if err != nil {
			return "", err
		}
		members = append(members, name+":"+text)
	}
	return "{" + strings.Join(members, ",") + "}", nil
}

// plainJSON writes a string as JSON without the escapes for HTML.
func plainJSON(s string) (string, error) {
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	err := enc.Encode(s)
	return strings.TrimSuffix(text.String(), "\n"), err
}

// apply puts the settings into a configuration. Layers are attached inside the
// transaction that writes it.
func (p *Plane) apply(ctx context.Context, tx *store.Tx, id lamina.FunctionID, c *lamina.Config, s settings) error {
	set(&c.Runtime, s.Runtime)
	set(&c.Role, s.Role)
	set(&c.Handler, s.Handler)
	set(&c.Description, s.Description)
	set(&c.Timeout, s.Timeout)
	set(&c.MemorySize, s.MemorySize)
	if s.KMSKeyARN != nil {
		c.KMSKeyARN = filled(*s.KMSKeyARN)
	}
	if s.VPC != nil {
		c.VPC = mergedVPC(c.VPC, *s.VPC)
		if err := s.foundVPC.settle(c.VPC, id); err != nil {
			return err
		}
	}
	if s.DeadLetter != nil {
		c.DeadLetterTarget = filled(value(s.DeadLetter.TargetArn))
	}
	if s.Environment != nil && s.Environment.Variables != nil { // docs/quirks.md#absent-or-empty
		cleared := len(c.Environment) > 0 && len(s.Environment.Variables) == 0
		if c.Environment = s.Environment.Variables; cleared {
			c.Environment = nil
		}
	}
	if s.Tracing != nil {
		set(&c.TracingMode, s.Tracing.Mode)
	}
	if s.FileSystems != nil {
		c.FileSystems = nil
		for _, f := range s.FileSystems {
			c.FileSystems = append(c.FileSystems, lamina.FileSystem{ARN: f.Arn, LocalMountPath: f.LocalMountPath})
		}
	}
	if err := checkNetwork(c, s); err != nil {
		return err
	}
	if s.Image != nil {
		c.Image = imageOf(*s.Image)
	}
	if s.EphemeralStorage != nil {
		c.EphemeralStorage = s.EphemeralStorage.Size
	}
	if s.SnapStart != nil {
		set(&c.SnapStart, s.SnapStart.ApplyOn)
	}
	if c.SnapStart == "PublishedVersions" && !lamina.RuntimeSnapStarts(c.Runtime) {
		what := c.Runtime
		if c.PackageType == lamina.PackageImage {
			what = "ContainerImage"
		}
		return wire.InvalidParameterValue.Errorf("%s is not supported for SnapStart enabled functions.", what)
	}
	if s.Logging != nil {
		if err := applyLogging(&c.Logging, *s.Logging); err != nil {
			return err
		}
	}
	if s.Layers != nil {
		attached, err := p.attach(ctx, tx, id.Scope, s.Layers, s.deployment)
		if err != nil {
			return err
		}
		c.Layers = attached
	}
	return nil
}

// mergedVPC keeps what a request does not name. Empty lists take a function out
// of its VPC and stay as an empty shell (docs/quirks.md#absent-or-empty).
func mergedVPC(have *lamina.VPC, asked wire.VpcConfig) *lamina.VPC {
	out := lamina.VPC{SubnetIDs: []string{}, SecurityGroupIDs: []string{}}
	if have != nil {
		out = *have
	}
	if asked.SubnetIds != nil {
		if !slices.Equal(asked.SubnetIds, out.SubnetIDs) {
			out.ID = ""
		}
		out.SubnetIDs = asked.SubnetIds
	}
	if asked.SecurityGroupIds != nil {
		out.SecurityGroupIDs = asked.SecurityGroupIds
	}
	set(&out.IPv6, asked.Ipv6AllowedForDualStack)
	if len(out.SubnetIDs) == 0 && len(out.SecurityGroupIDs) == 0 {
		out.IPv6 = false
	}
	return &out
}

// checkHalves refuses half a VPC.
func checkHalves(v *lamina.VPC) error {
	if (len(v.SubnetIDs) > 0) != (len(v.SecurityGroupIDs) > 0) {
		return wire.InvalidParameterValue.Errorf("SecurityGroupIds and SubnetIds must coexist or be both empty list.")
	}
	return nil
}

// checkNetwork refuses half a VPC, and a file system without one.
func checkNetwork(c *lamina.Config, s settings) error {
	if c.VPC != nil {
		if err := checkHalves(c.VPC); err != nil {
			return err
		}
	}
	switch {
	case c.VPC != nil && len(c.VPC.SubnetIDs) > 0 || len(c.FileSystems) == 0:
		return nil
	case s.FileSystems != nil:
		return wire.InvalidParameterValue.Errorf("Function must be configured to execute in a VPC to reference access point %s.", c.FileSystems[0].ARN)
	}
	return wire.InvalidParameterValue.Errorf("Function VPC configuration cannot be removed with access point %s referenced.", c.FileSystems[0].ARN)
}

// checkUnpacked refuses code and layers that are too large together.
func (p *Plane) checkUnpacked(v lamina.Version) error {
	if n := v.UnpackedSize(); len(v.Config.Layers) > 0 && n > p.limits.Unzipped {
		return wire.InvalidParameterValue.Errorf("Function code combined with layers exceeds the maximum allowed size of %d bytes. The actual size is %d bytes.", p.limits.Unzipped, n)
	}
	return nil
}

func set[T any](field *T, to *T) {
	if to != nil {
		*field = *to
	}
}

// imageOf is nil for an empty ImageConfig, which removes the overrides.
func imageOf(c wire.ImageConfig) *lamina.Image {
	if c.EntryPoint == nil && c.Command == nil && c.WorkingDirectory == nil {
		return nil
	}
	return &lamina.Image{EntryPoint: c.EntryPoint, Command: c.Command, WorkingDirectory: c.WorkingDirectory}
}

// applyLogging merges a LoggingConfig. Levels exist only with JSON, where both
// default to INFO.
func applyLogging(l *lamina.Logging, in wire.LoggingConfig) error {
	set(&l.Format, in.LogFormat)
	set(&l.Group, in.LogGroup)
	if l.Format != "JSON" {
		if in.ApplicationLogLevel != nil || in.SystemLogLevel != nil {
			return wire.InvalidParameterValue.Errorf(`LogLevel is not supported when LogFormat is set to "Text". Remove LogLevel from your request or change the LogFormat to "JSON" and try again.`)
		}
		l.ApplicationLevel, l.SystemLevel = "", ""
		return nil
	}
	set(&l.ApplicationLevel, in.ApplicationLogLevel)
	set(&l.SystemLevel, in.SystemLogLevel)
	if l.ApplicationLevel == "" {
		l.ApplicationLevel = "INFO"
	}
	if l.SystemLevel == "" {
		l.SystemLevel = "INFO"
	}
	return nil
}
