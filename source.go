package lamina

// Source is a service that invokes functions for itself, and what about.
type Source struct {
	Service string // principal of functions' policies, such as s3.amazonaws.com
	ARN     string // aws:SourceArn
	Account string // aws:SourceAccount
}
