package policy

// Type is a type of policy, as messages name it.
type Type uint8

// The types of policies.
const (
	IdentityBased Type = iota + 1
	ResourceBased
	PermissionsBoundary
	SessionPolicy
	ServiceControl
	RoleTrust
)

// String is the type's name in AWS's messages.
func (t Type) String() string {
	switch t {
	case IdentityBased:
		return "identity-based policy"
	case ResourceBased:
		return "resource-based policy"
	case PermissionsBoundary:
		return "permissions boundary"
	case SessionPolicy:
		return "session policy"
	case ServiceControl:
		return "service control policy"
	case RoleTrust:
		return "role trust policy"
	}
	return "policy"
}

// Decision is the answer to a request, and why.
type Decision struct {
	Allowed bool
	// By is the type of policy that decided a refusal; 0 when allowed.
	By Type
	// Explicit says that a statement denies it. Otherwise none allows it.
	Explicit bool

	principal, action, resource string
}

func (d Decision) because(allowed bool, by Type, explicit bool) Decision {
	if allowed {
		by = 0
	}
	d.Allowed, d.By, d.Explicit = allowed, by, explicit
	return d
}

// Message is the text of AWS's AccessDenied and AccessDeniedException: who, what,
// on what, why. It is empty when the request is allowed.
func (d Decision) Message() string {
	brief := d.Brief()
	switch {
	case d.Allowed:
		return ""
	case !d.Explicit:
		return brief + " because no " + d.By.String() + " allows the " + d.action + " action"
	}
	article := " a "
	switch d.By {
	case IdentityBased:
		article = " an "
	case RoleTrust:
		article = " the "
	}
	return brief + " with an explicit deny in" + article + d.By.String()
}

// Brief is the message without the reason, as services answer that do not tell
// strangers why; STS is one. It is empty when the request is allowed.
func (d Decision) Brief() string {
	if d.Allowed {
		return ""
	}
	text := "User: " + d.principal + " is not authorized to perform: " + d.action
	if d.resource != "" {
		text += " on resource: " + d.resource
	}
	return text
}
