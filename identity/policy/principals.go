package policy

import (
	"slices"
	"strings"

	"github.com/lamina-run/lamina"
)

// Kind is what a principal is.
type Kind uint8

// The kinds of principals. Anonymous is the zero value.
const (
	// Anonymous is who did not sign.
	Anonymous Kind = iota
	// Root is the root user of an account.
	Root
	// User is an IAM user, with a long-term key or one of GetSessionToken.
	User
	// RoleSession is who assumed a role, a function's own credentials included.
	RoleSession
	// FederatedUser is a session that a user made with GetFederationToken.
	FederatedUser
	// WebIdentity is who an identity provider vouches for, on its way to a role.
	WebIdentity
	// Service is an AWS service that acts for itself, such as s3.amazonaws.com.
	Service
)

// principalType is the value of aws:PrincipalType.
func (k Kind) principalType() string {
	switch k {
	case Root:
		return "Account"
	case User:
		return "User"
	case RoleSession:
		return "AssumedRole"
	case FederatedUser:
		return "FederatedUser"
	case Anonymous:
		return "Anonymous"
	}
	return ""
}

// Principal is who makes a request.
type Principal struct {
	Kind Kind
	// Account is the 12 digits of the principal's account, of kinds that have one.
	Account string
	// ARN of the root user, user or session:
	// arn:aws:sts::111122223333:assumed-role/NAME/SESSION of a role session.
	ARN string
	// Issuer is the ARN of the role that a session assumed, with its path, or of
	// the user that federated.
	Issuer string
	// UserID is the value of aws:userid: AIDA… of a user, AROA…:SESSION of a role
	// session. A root user needs none.
	UserID   string
	UserName string // of a User
	// Tags of the user, or of the session and its role.
	Tags map[string]string
	// OrgID is o-… when the account is in an organization, and OrgPaths are where:
	// o-…/r-…/ou-…/.
	OrgID    string
	OrgPaths []string
	// Services are the names of a Service; the first is the one it is called by.
	Services []string
	// Provider is the ARN or name of a WebIdentity's provider.
	Provider string
	// CanonicalUser is the canonical user ID of the account, for S3.
	CanonicalUser string
}

// hasAccount reports whether policies of an account bind the principal.
func (p *Principal) hasAccount() bool {
	return p.Kind == Root || p.Kind == User || p.Kind == RoleSession || p.Kind == FederatedUser
}

// userID is the value of aws:userid.
func (p *Principal) userID() string {
	switch {
	case p.UserID != "":
		return p.UserID
	case p.Kind == Root:
		return p.Account
	case p.Kind == Anonymous:
		return "anonymous"
	}
	return ""
}

// name is how messages call the principal.
func (p *Principal) name() string {
	switch {
	case p.Kind == Service && len(p.Services) > 0:
		return p.Services[0]
	case p.ARN != "":
		return p.ARN
	case p.Provider != "":
		return p.Provider
	}
	return "anonymous"
}

// named is a set of the ways in which a Principal element names someone.
type named uint8

const (
	namedAccount  named = 1 << iota // the account, which may delegate
	namedIssuer                     // the role of a session, or the user who federated
	namedDirectly                   // the user, root user, session, service
	namedEveryone                   // *
)

// principalForm is a way to spell a principal.
type principalForm uint8

const (
	byAccount   principalForm = iota // 12 digits, or the ARN of the root user
	byARN                            // of a user, a role or a session
	byID                             // AIDA…, AROA…: what IAM keeps of an ARN
	byService                        // "Service"
	byProvider                       // "Federated"
	byCanonical                      // "CanonicalUser"
)

type principalEntry struct {
	form  principalForm
	value string
}

// principals is a compiled Principal or NotPrincipal element.
type principals struct {
	not      bool
	everyone bool
	entries  []principalEntry
}

// add puts a principal of one of the four types into the element. It reports
// false for an unknown type, and for no text at all.
func (s *principals) add(kind, value string) bool {
	form := byARN
	if value == "" {
		return false
	}
	switch kind {
	case "AWS":
		switch {
		case value == "*":
			s.everyone = true
			return true
		case isAccount(value):
			form = byAccount
		case strings.HasPrefix(value, "arn:"):
			if account, ok := rootAccount(value); ok {
				form, value = byAccount, account
			}
		default:
			form = byID
		}
	case "Service":
		form = byService
	case "Federated":
		form = byProvider
	case "CanonicalUser":
		form = byCanonical
	default:
		return false
	}
	s.entries = append(s.entries, principalEntry{form, value})
	return true
}

func isAccount(s string) bool {
	_, ok := digits(s, 12)
	return ok && len(s) == 12
}

// rootAccount returns the account of arn:aws:iam::ACCOUNT:root, which stands for
// the account and not only for its root user.
func rootAccount(arn string) (string, bool) {
	account, ok := strings.CutPrefix(arn, "arn:"+lamina.Partition+":iam::")
	if !ok {
		return "", false
	}
	account, ok = strings.CutSuffix(account, ":root")
	return account, ok && isAccount(account)
}

// names returns the ways in which the element names a principal.
func (s *principals) names(p *Principal) named {
	var found named
	if s.everyone {
		found = namedEveryone
	}
	for i := range s.entries {
		found |= s.entries[i].names(p)
	}
	return found
}

func (e *principalEntry) names(p *Principal) named {
	switch e.form {
	case byAccount:
		switch {
		case !p.hasAccount() || p.Account != e.value:
		case p.Kind == Root:
			return namedAccount | namedDirectly
		default:
			return namedAccount
		}
	case byARN:
		switch {
		case !p.hasAccount():
		case p.ARN == e.value:
			return namedDirectly
		case p.Issuer == e.value:
			return namedIssuer
		}
	case byID:
		switch {
		case !p.hasAccount() || p.UserID == "":
		case p.UserID == e.value:
			return namedDirectly
		case p.Kind == RoleSession && strings.HasPrefix(p.UserID, e.value) && strings.HasPrefix(p.UserID[len(e.value):], ":"):
			return namedIssuer
		}
	case byService:
		if p.Kind == Service && (e.value == "*" || slices.Contains(p.Services, e.value)) {
			return namedDirectly
		}
	case byProvider:
		if p.Kind == WebIdentity && (e.value == "*" || p.Provider == e.value) {
			return namedDirectly
		}
	case byCanonical:
		if p.hasAccount() && p.CanonicalUser != "" && p.CanonicalUser == e.value {
			return namedAccount
		}
	}
	return 0
}

// covers returns how the statement is about a principal; nothing means that it is
// not. Of NotPrincipal, a permission covers only who is not named in any way, and
// a denial spares only who is named in every way: AWS may look at the account
// first, then at the role, then at the session.
func (s *principals) covers(p *Principal, deny bool) named {
	found := s.names(p)
	if !s.not {
		return found
	}
	spared := found != 0
	if deny && found&namedEveryone == 0 {
		all := namedDirectly
		switch p.Kind {
		case Root, User, FederatedUser:
			all |= namedAccount
		case RoleSession:
			all |= namedIssuer | namedAccount
		}
		spared = found&all == all
	}
	if spared {
		return 0
	}
	return namedEveryone
}
