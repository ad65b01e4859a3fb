package lamina

import "time"

// EventInvokeConfig says what happens to asynchronous invocations of a function
// under one qualifier. Nil settings are left to the defaults.
type EventInvokeConfig struct {
	Function        FunctionID
	Qualifier       string // $LATEST, a number or an alias
	MaximumRetries  *int64
	MaximumEventAge *int64 // seconds
	OnSuccess       *string
	OnFailure       *string // destinations are ARNs
	LastModified    time.Time
}

// ARN returns the qualified ARN that the settings are for.
func (c EventInvokeConfig) ARN() string { return c.Function.QualifiedARN(c.Qualifier) }
