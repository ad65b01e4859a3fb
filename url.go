package lamina

import "time"

// Authentication and modes of a function URL.
const (
	URLAuthNone = "NONE"
	URLAuthIAM  = "AWS_IAM"

	URLBuffered       = "BUFFERED"
	URLResponseStream = "RESPONSE_STREAM"
)

// FunctionURL is the HTTPS endpoint of a function or of one of its aliases.
type FunctionURL struct {
	Function  FunctionID
	Qualifier string // the alias; empty for the function itself
	// ID is the first label of the URL's host name, unique among all accounts.
	ID       string
	AuthType string
	// InvokeMode is empty until a client sets one, which means URLBuffered.
	InvokeMode   string
	CORS         *CORS // nil for none
	Created      time.Time
	LastModified time.Time
}

// ARN returns the function ARN, qualified by the alias if there is one.
func (u FunctionURL) ARN() string { return u.Function.QualifiedARN(u.Qualifier) }

// Address returns the URL as AWS writes it. Clients read the ID out of it.
func (u FunctionURL) Address() string {
	return "https://" + u.ID + ".lambda-url." + u.Function.Region + ".on.aws/"
}

// Mode returns how answers travel: InvokeMode, or the default.
func (u FunctionURL) Mode() string {
	if u.InvokeMode == "" {
		return URLBuffered
	}
	return u.InvokeMode
}

// CORS is what browsers are told about requests from other origins. Absent
// members are nil.
type CORS struct {
	AllowCredentials *bool    `json:",omitzero"`
	AllowHeaders     []string `json:",omitzero"`
	AllowMethods     []string `json:",omitzero"`
	AllowOrigins     []string `json:",omitzero"`
	ExposeHeaders    []string `json:",omitzero"`
	MaxAge           *int64   `json:",omitzero"` // seconds
}
