package lamina

import (
	"regexp"
	"strconv"
	"strings"
)

// Latest is the qualifier of the unpublished, mutable version of a function.
const Latest = "$LATEST"

// Partition is the only ARN partition that Lamina serves.
const Partition = "aws"

// Scope is the account and region that own a resource. The region comes from
// the credential scope of the request, so one server serves every region.
type Scope struct {
	Account string
	Region  string
}

// FunctionID names one function: a bare name within a scope.
type FunctionID struct {
	Scope
	Name string
}

// ARN returns the unqualified function ARN.
func (f FunctionID) ARN() string {
	return "arn:" + Partition + ":lambda:" + f.Region + ":" + f.Account + ":function:" + f.Name
}

// QualifiedARN returns the function ARN with a version number, alias name or
// $LATEST appended; an empty qualifier gives the unqualified ARN.
func (f FunctionID) QualifiedARN(qualifier string) string {
	if qualifier == "" {
		return f.ARN()
	}
	return f.ARN() + ":" + qualifier
}

// LayerID names one layer, the series of its versions.
type LayerID struct {
	Scope
	Name string
}

// ARN returns the layer ARN, without a version.
func (l LayerID) ARN() string {
	return "arn:" + Partition + ":lambda:" + l.Region + ":" + l.Account + ":layer:" + l.Name
}

// VersionARN returns the ARN of one version of the layer.
func (l LayerID) VersionARN(number int64) string {
	return l.ARN() + ":" + strconv.FormatInt(number, 10)
}

// FunctionReference is what a client typed to name a function: a bare name, a
// partial ARN or a full ARN, each optionally qualified. Absent parts are empty.
type FunctionReference struct {
	Region    string
	Account   string
	Name      string
	Qualifier string
}

var functionReference = regexp.MustCompile(
	`^(?:arn:aws[a-zA-Z-]*:lambda:)?(?:((?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d):)?(?:(\d{12}):)?(?:function:)?([a-zA-Z0-9-_.]+)(?::(\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9-_$]+))?$`)

// ParseFunctionReference reads every form of FunctionName that AWS accepts. It
// reports false for text that names no function. "function" alone is a legal
// name, as in arn:…:<account>:function.
func ParseFunctionReference(s string) (FunctionReference, bool) {
	m := functionReference.FindStringSubmatch(s)
	if m == nil {
		return FunctionReference{}, false
	}
	return FunctionReference{Region: m[1], Account: m[2], Name: m[3], Qualifier: m[4]}, true
}

// LayerReference is what a client typed to name a layer or a layer version.
// Scope is empty for a bare name, Version is 0 when none was given.
type LayerReference struct {
	Scope
	Name    string
	Version int64
}

var layerARN = regexp.MustCompile(`^arn:[a-zA-Z0-9-]+:lambda:([a-zA-Z0-9-]+):(\d{12}):layer:([a-zA-Z0-9-_]+)(?::([0-9]+))?$`)

// ParseLayerReference reads a layer name, a layer ARN or a layer version ARN.
// It reports false for text that names no layer, and for a version number that
// no counter can reach.
func ParseLayerReference(s string) (LayerReference, bool) {
	if !strings.HasPrefix(s, "arn:") {
		return LayerReference{Name: s}, s != "" && !strings.Contains(s, ":")
	}
	m := layerARN.FindStringSubmatch(s)
	if m == nil {
		return LayerReference{}, false
	}
	ref := LayerReference{Scope: Scope{Account: m[2], Region: m[1]}, Name: m[3]}
	if m[4] != "" {
		n, err := strconv.ParseInt(m[4], 10, 64)
		if err != nil {
			return LayerReference{}, false
		}
		ref.Version = n
	}
	return ref, true
}

// ID returns the layer that the reference names, with in for what a bare name
// leaves out.
func (r LayerReference) ID(in Scope) LayerID {
	if r.Account == "" {
		return LayerID{Scope: in, Name: r.Name}
	}
	return LayerID{Scope: r.Scope, Name: r.Name}
}

// ParseNumber reads a published version's number. It reports false for $LATEST,
// alias names and zero.
func ParseNumber(qualifier string) (int64, bool) {
	n, err := strconv.ParseInt(qualifier, 10, 64)
	if err != nil || n < 1 {
		return 0, false
	}
	return n, true
}
