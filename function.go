package lamina

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Function is what all versions of a function share.
type Function struct {
	ID FunctionID
	// Incarnation tells a function from an earlier one of the same name.
	Incarnation string
	// LastNumber is the highest version number ever published; numbers are
	// never reused.
	LastNumber int64
	// ReservedConcurrency is nil when nothing is reserved.
	ReservedConcurrency *int64
	// ProvisionedConcurrency is what is requested for all versions and aliases
	// together.
	ProvisionedConcurrency int64
	Created                time.Time
}

// States of a version, and of the last update of $LATEST.
const (
	StatePending  = "Pending"
	StateActive   = "Active"
	StateInactive = "Inactive"
	StateFailed   = "Failed"

	UpdateInProgress = "InProgress"
	UpdateSuccessful = "Successful"
	UpdateFailed     = "Failed"
)

// Version is one version of a function: $LATEST, which updates change, or a
// published one, which nothing changes.
type Version struct {
	Function FunctionID
	// Incarnation is that of the function; see [Function].
	Incarnation string
	// Number is 0 for $LATEST.
	Number       int64
	Config       Config
	Code         Code
	RevisionID   string
	LastModified time.Time
	Status       Status
	// Source is the fingerprint of the $LATEST that this version was published
	// from; empty for $LATEST itself.
	Source string
}

// Qualifier returns $LATEST or the number, as text.
func (v Version) Qualifier() string {
	if v.Number == 0 {
		return Latest
	}
	return strconv.FormatInt(v.Number, 10)
}

// ARN returns the qualified ARN of the version.
func (v Version) ARN() string { return v.Function.QualifiedARN(v.Qualifier()) }

// Status is where a version is on its way to being invocable, and how its last
// update went. The zero LastUpdate means that none was reported yet.
type Status struct {
	State                string
	StateReason          string
	StateReasonCode      string
	LastUpdate           string
	LastUpdateReason     string
	LastUpdateReasonCode string
}

// Code is the archive of a version.
type Code struct {
	Digest       Digest
	CodeSize     int64 // bytes of the zip
	UnpackedSize int64 // bytes of all its files
	ImageURI     string
	// Directory is the host's directory that is shown as it is; empty for an
	// archive. Generation tells one state of the directories that a version shows
	// from the next, while it runs.
	Directory  string `json:",omitzero"`
	Generation string `json:",omitzero"`
	// Who signed it; empty without a signature that a signing profile vouches for.
	SigningProfileVersionARN string `json:",omitzero"`
	SigningJobARN            string `json:",omitzero"`
}

// Package types of a function's code.
const (
	PackageZip   = "Zip"
	PackageImage = "Image"
)

// Config is everything that UpdateFunctionConfiguration can change and that
// publishing copies. Nil pointers, slices and maps are absent members; an empty
// non-nil map is one that the client sent empty.
type Config struct {
	Description      string
	Runtime          string
	Handler          string
	Role             string
	PackageType      string
	Timeout          int64 // seconds
	MemorySize       int64 // MB
	EphemeralStorage int64 // MB
	Architectures    []string
	Environment      map[string]string `json:",omitzero"`
	Layers           []AttachedLayer   `json:",omitzero"`
	VPC              *VPC              `json:",omitzero"`
	DeadLetterTarget *string           `json:",omitzero"`
	KMSKeyARN        *string           `json:",omitzero"`
	TracingMode      string
	FileSystems      []FileSystem `json:",omitzero"`
	Image            *Image       `json:",omitzero"`
	SnapStart        string       // ApplyOn
	Logging          Logging
}

// VPC is echoed; Lamina connects functions to no VPC. ID is what EC2 answered,
// empty where none was asked.
type VPC struct {
	ID               string `json:",omitzero"`
	SubnetIDs        []string
	SecurityGroupIDs []string
	IPv6             bool
}

// FileSystem is echoed; Lamina mounts no EFS access point.
type FileSystem struct {
	ARN            string
	LocalMountPath string
}

// Image overrides parts of a container image's own configuration.
type Image struct {
	EntryPoint       []string `json:",omitzero"`
	Command          []string `json:",omitzero"`
	WorkingDirectory *string  `json:",omitzero"`
}

// Logging says where and how a function logs. Levels are empty with Text.
type Logging struct {
	Format           string // Text or JSON
	ApplicationLevel string
	SystemLevel      string
	Group            string
}

// UnpackedSize is the size that AWS limits to 250 MB: the code and all layers.
func (v Version) UnpackedSize() int64 {
	n := v.Code.UnpackedSize
	for _, l := range v.Config.Layers {
		n += l.UnpackedSize
	}
	return n
}

// Fingerprint identifies code and configuration: two $LATEST with the same
// fingerprint publish the same version.
func (v Version) Fingerprint() string {
	data, err := json.Marshal(struct {
		Config Config
		Code   Code
	}{v.Config, v.Code})
	if err != nil {
		panic(fmt.Sprintf("fingerprint %s: %v", v.ARN(), err)) // the types are plain data
	}
	return Digest(sha256.Sum256(data)).String()
}

// Repeats reports whether publishing latest would only repeat v.
func (v Version) Repeats(latest Version) bool { return v.Source == latest.Fingerprint() }

// Freeze returns the version that publishing v, which is $LATEST, makes. The
// description is v's unless one is given. The result is Active at once: what it
// needs was prepared for $LATEST.
func (v Version) Freeze(number int64, description *string, revisionID string, now time.Time) Version {
	frozen := v
	frozen.Number = number
	frozen.Source = v.Fingerprint()
	frozen.RevisionID = revisionID
	frozen.LastModified = now
	frozen.Status = Status{State: StateActive, LastUpdate: UpdateSuccessful}
	if description != nil {
		frozen.Config.Description = *description
	}
	return frozen
}

// Alias points at a version, and may send a share of invocations to a second.
type Alias struct {
	Function    FunctionID
	Name        string
	Target      string // FunctionVersion: $LATEST or a number
	Description string
	RevisionID  string
	// Weights maps an additional version's number to its share, 0 to 1. At most
	// one entry; nil when the alias points at one version only.
	Weights map[string]float64
}

// ARN returns the function ARN qualified by the alias.
func (a Alias) ARN() string { return a.Function.QualifiedARN(a.Name) }

// Pick returns the qualifier to run for a draw in [0,1).
func (a Alias) Pick(draw float64) string {
	for version, weight := range a.Weights {
		if draw < weight {
			return version
		}
	}
	return a.Target
}
