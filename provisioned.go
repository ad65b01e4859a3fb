package lamina

import (
	"math"
	"time"
)

// Provisioned is provisioned concurrency: environments that are initialized
// ahead of the invocations of a version, or of the versions of an alias.
type Provisioned struct {
	Function  FunctionID
	Qualifier string // a version's number or an alias's name
	Requested int64
	Modified  time.Time
	// Alias is what Qualifier names; nil when it is a version.
	Alias *Alias
}

// ARN returns the ARN of the version or alias.
func (c Provisioned) ARN() string { return c.Function.QualifiedARN(c.Qualifier) }

// Shares tells how many environments each version gets, by the version's
// qualifier. A weighted alias splits them as it does its invocations.
func (c Provisioned) Shares() map[string]int64 {
	if c.Alias == nil {
		return map[string]int64{c.Qualifier: c.Requested}
	}
	shares := map[string]int64{}
	rest := c.Requested
	for additional, weight := range c.Alias.Weights {
		if n := int64(math.Round(weight * float64(c.Requested))); n > 0 {
			shares[additional] = n
			rest -= n
		}
	}
	if rest > 0 {
		shares[c.Alias.Target] = rest
	}
	return shares
}

// Provisioning is how far the environments of a version are.
type Provisioning struct {
	// Ready counts environments that are initialized, in use or not.
	Ready int64
	// Failure is why the last attempt to start one failed, as a StatusReason;
	// empty when it succeeded or none ended yet.
	Failure string
}

// InitFailure is the StatusReason of a function whose initialization fails.
const InitFailure = "FUNCTION_ERROR_INIT_FAILURE"
