package identity

import (
	"context"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lamina-run/lamina/store"
)

// sts is the Security Token Service.
type sts struct{ Options }

// NewSTS returns the Security Token Service. Its requests are authenticated and
// carry their caller.
func NewSTS(o Options) http.Handler {
	s := &sts{o}
	return &queryService{
		name: "sts", version: stsVersion, log: o.Log, permit: s.permit,
		actions: map[string]action{
			"GetCallerIdentity": getCallerIdentity,
			"AssumeRole":        s.assumeRole,
			"GetSessionToken":   s.getSessionToken,
			"GetAccessKeyInfo":  s.getAccessKeyInfo,
		},
		later: set("AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "AssumeRoot", "GetFederationToken", "DecodeAuthorizationMessage"),
	}
}

// permit refuses who may not ask about access keys. GetCallerIdentity and
// GetSessionToken take no permission, and a trust policy has a say in AssumeRole.
func (s *sts) permit(ctx context.Context, c Caller, action string, _ form) error {
	if s.Authority == nil || c.IsRoot() || action != "GetAccessKeyInfo" {
		return nil
	}
	return denied(s.Authority.Permit(ctx, c, Need{Action: "sts:" + action, Resource: "*", Account: c.Account}))
}

func getCallerIdentity(_ context.Context, c Caller, _ form) (any, error) {
	return struct {
		Arn     string
		UserID  string `xml:"UserId"`
		Account string
	}{c.ARN, c.UserID, c.Account}, nil
}

// Assumption is somebody's request for a role, before it is granted.
type Assumption struct {
	Caller         Caller
	Role           store.Identity // with its TrustPolicy
	RoleARN        string
	SessionName    string            // sts:RoleSessionName
	ExternalID     string            // sts:ExternalId, "" without one
	SourceIdentity string            // sts:SourceIdentity, "" without one: then sts:SetSourceIdentity is not asked for
	Tags           map[string]string // aws:RequestTag: sts:TagSession is asked for when there are any
	TransitiveTags []string          // sts:TransitiveTagKeys
	Duration       time.Duration     // sts:DurationSeconds
}

const (
	maxSessionPolicy  = 2048
	maxSessionARNs    = 10
	packedPolicyBytes = 4096
	chainedSession    = 3600
	shortestSession   = 900
)

var (
	sessionNameForm = regexp.MustCompile(`^[\w+=,.@-]*$`)
	externalIDForm  = regexp.MustCompile(`^[\w+=,.@:/-]*$`)
)

// sized returns a parameter of min to max characters that satisfies a form. It
// may be absent unless it is required.
func (f form) sized(param string, shortest, longest int, of *regexp.Regexp, required bool) (string, error) {
	v := f.given(param)
	member := strings.ToLower(param[:1]) + param[1:]
	why := ""
	switch {
	case v == nil && required:
		return "", invalid("1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", member)
	case v == nil:
		return "", nil
	case len(*v) < shortest:
		why = "Member must have length greater than or equal to " + strconv.Itoa(shortest)
	case len(*v) > longest:
		why = "Member must have length less than or equal to " + strconv.Itoa(longest)
	case !of.MatchString(*v):
		why = "Member must satisfy regular expression pattern: " + strings.Trim(of.String(), "^$")
	default:
		return *v, nil
	}
	return "", invalid("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: %s", printable(*v), member, why)
}

// seconds returns DurationSeconds, which is from 15 minutes to longest.
func (f form) seconds(usual, longest int64) (int64, error) {
	v := f.given("DurationSeconds")
	if v == nil {
		return usual, nil
	}
	n, err := strconv.ParseInt(*v, 10, 64)
	switch {
	case err != nil || n < shortestSession:
		return 0, invalid("1 validation error detected: Value '%s' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to %d", printable(*v), shortestSession)
	case n > longest:
		return 0, invalid("1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy constraint: Member must have value less than or equal to %d", n, longest)
	}
	return n, nil
}

// readSession reads what the request says about the session to be, and its
// external ID.
func (f form) readSession() (in Session, externalID string, err error) {
	if in.Name, err = f.sized("RoleSessionName", 2, 64, sessionNameForm, true); err != nil {
		return in, "", err
	}
	if externalID, err = f.sized("ExternalId", 2, 1224, externalIDForm, false); err != nil {
		return in, "", err
	}
	if in.SourceIdentity, err = f.sized("SourceIdentity", 2, 64, sessionNameForm, false); err != nil {
		return in, "", err
	}
	if strings.HasPrefix(in.SourceIdentity, "aws:") {
		return in, "", invalid("The source identity must not begin with aws:")
	}
	if f.given("Policy") != nil {
		if in.Policy, err = f.document("Policy", false); err != nil {
			return in, "", err
		}
		if len(in.Policy) > maxSessionPolicy {
			return in, "", invalid("1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to %d", maxSessionPolicy)
		}
	}
	for i := 1; ; i++ {
		arn := f.given("PolicyArns.member." + strconv.Itoa(i) + ".arn")
		if arn == nil {
			break
		}
		if !arnForm.MatchString(*arn) {
			return in, "", invalid("ARN %s is not valid.", printable(*arn))
		}
		in.PolicyARNs = append(in.PolicyARNs, *arn)
	}
	if len(in.PolicyARNs) > maxSessionARNs {
		return in, "", invalid("1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must have length less than or equal to %d", maxSessionARNs)
	}
	if in.Tags, err = f.tags(); err != nil {
		return in, "", err
	}
	for key := range in.Tags {
		if strings.HasPrefix(strings.ToLower(key), "aws:") {
			return in, "", invalid("Tag keys must not begin with aws: %s", printable(key))
		}
	}
	for _, key := range f.list("TransitiveTagKeys") {
		if _, ok := in.Tags[key]; !ok {
			return in, "", refuse(http.StatusBadRequest, "InvalidParameterValue", "The specified transitive tag key must be included in the requested tags.")
		}
		if !slices.Contains(in.TransitiveTags, key) {
			in.TransitiveTags = append(in.TransitiveTags, key)
		}
	}
	return in, externalID, nil
}

// inherit gives a session what passes on from that of its caller.
func (s *Session) inherit(from *Session) error {
	if from == nil {
		return nil
	}
	if from.SourceIdentity != "" {
		if s.SourceIdentity != "" && s.SourceIdentity != from.SourceIdentity {
			return refuse(http.StatusForbidden, "AccessDenied", "The source identity of the calling session can't be changed.")
		}
		s.SourceIdentity = from.SourceIdentity
	}
	for _, key := range from.TransitiveTags {
		for asked := range s.Tags {
			if strings.EqualFold(asked, key) {
				return refuse(http.StatusBadRequest, "InvalidParameterValue", "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
			}
		}
	}
	for _, key := range from.TransitiveTags {
		s.Tags[key] = from.Tags[key]
		s.TransitiveTags = append(s.TransitiveTags, key)
	}
	return nil
}

// packed is which part of its space a session's policies and tags take, in
// percent, nil without any.
func (s *Session) packed() (*int, error) {
	n := len(s.Policy)
	for _, arn := range s.PolicyARNs {
		n += len(arn)
	}
	for k, v := range s.Tags {
		n += len(k) + len(v)
	}
	if n == 0 {
		return nil, nil
	}
	of := percent(n, packedPolicyBytes)
	if of > 100 {
		return nil, refuse(http.StatusBadRequest, "PackedPolicyTooLarge", "Packed policy consumes %d%% of allotted space, please use smaller policy.", of)
	}
	return &of, nil
}

// percent is how much of most n is, rounded up.
func percent(n, most int) int { return (n*100 + most - 1) / most }

// tokenXML is what newer clients read in place of PackedPolicySize.
type tokenXML struct {
	SessionTokenSize        int
	SessionTokenUtilization int
}

func tokenSize(t TemporaryCredentials) tokenXML {
	return tokenXML{len(t.SessionToken), percent(len(t.SessionToken), maxToken)}
}

type credentialsXML struct {
	AccessKeyID     string `xml:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      xmlTime
}

func showCredentials(t TemporaryCredentials) credentialsXML {
	return credentialsXML{t.AccessKeyID, t.SecretAccessKey, t.SessionToken, xmlTime(t.Expires)}
}

func (s *sts) assumeRole(ctx context.Context, c Caller, in form) (any, error) {
	arn := in.get("RoleArn")
	if arn == "" {
		return nil, invalid("1 validation error detected: Value null at 'roleArn' failed to satisfy constraint: Member must not be null")
	}
	if _, _, ok := parseRoleARN(arn); !ok {
		return nil, invalid("%s is invalid", printable(arn))
	}
	session, externalID, err := in.readSession()
	if err != nil {
		return nil, err
	}
	duration, err := in.seconds(defaultSession, 43200)
	if err != nil {
		return nil, err
	}
	asked := session // what the trust policy is asked about, before it inherits
	session.Tags = maps.Clone(session.Tags)
	if err := session.inherit(c.Session); err != nil {
		return nil, err
	}
	packed, err := session.packed()
	if err != nil {
		return nil, err
	}
	// Whether there is no such role or it does not trust the caller is nobody's
	// business who can't assume it.
	denied := refuse(http.StatusForbidden, "AccessDenied", "User: %s is not authorized to perform: sts:AssumeRole on resource: %s", c.ARN, arn)
	role, err := s.Principals.Role(ctx, arn)
	if missing(err) {
		return nil, denied
	}
	if err != nil {
		return nil, err
	}
	trusts := s.Trusts
	if trusts == nil {
		trusts = ownAccount
	}
	ok, err := trusts(ctx, Assumption{
		Caller: c, Role: role, RoleARN: arn, SessionName: session.Name, ExternalID: externalID, SourceIdentity: asked.SourceIdentity,
		Tags: asked.Tags, TransitiveTags: asked.TransitiveTags, Duration: time.Duration(duration) * time.Second,
	})
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, denied
	}
	switch {
	case in.given("SerialNumber") != nil || in.given("TokenCode") != nil:
		return nil, refuse(http.StatusForbidden, "AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code. ")
	case c.Kind == KindAssumedRole && duration > chainedSession:
		return nil, invalid("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	case duration > role.MaxSessionSeconds:
		return nil, invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	if err := s.checkManaged(ctx, role.Account, session.PolicyARNs); err != nil {
		return nil, err
	}
	session.Issued = s.Now()
	session.Expires = session.Issued.Add(time.Duration(duration) * time.Second)
	made, err := s.Sessions.Assume(role, session)
	if err != nil {
		return nil, err
	}
	type userXML struct {
		AssumedRoleID string `xml:"AssumedRoleId"`
		Arn           string
	}
	if len(made.SessionToken) > maxToken { // tags of bytes that JSON writes at length
		return nil, refuse(http.StatusBadRequest, "PackedPolicyTooLarge", "Packed policy consumes %d%% of allotted space, please use smaller policy.", percent(len(made.SessionToken), maxToken))
	}
	session.Role = role.Name
	return struct {
		tokenXML
		Credentials      credentialsXML
		AssumedRoleUser  userXML
		PackedPolicySize *int   `xml:",omitempty"`
		SourceIdentity   string `xml:",omitempty"`
	}{tokenSize(made), showCredentials(made), userXML{role.ID + ":" + session.Name, session.arn(role.Account)}, packed, session.SourceIdentity}, nil
}

// ownAccount lets the root and the users of an account assume its roles.
func ownAccount(_ context.Context, a Assumption) (bool, error) {
	return a.Caller.Account == a.Role.Account && a.Caller.Kind != KindAssumedRole, nil
}

// checkManaged says which of the policies does not exist.
func (s *sts) checkManaged(ctx context.Context, account string, arns []string) error {
	if len(arns) == 0 {
		return nil
	}
	return s.Store.View(ctx, func(tx *store.Tx) error {
		for _, arn := range arns {
			_, err := findPolicy(ctx, tx, account, arn)
			if missing(err) {
				return noEntity("Policy %s was not found.", arn)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Assume returns credentials for a session of a role, whose trust the caller has
// asked. Of in, what the role itself tells is ignored.
func (s *Sessions) Assume(role store.Identity, in Session) (TemporaryCredentials, error) {
	in.Role, in.RoleARN, in.RoleID = role.Name, identityARN(role), role.ID
	return s.issue(role.Account, Key{}, in)
}

func (s *sts) getSessionToken(_ context.Context, c Caller, in form) (any, error) {
	if c.Session != nil {
		return nil, refuse(http.StatusForbidden, "AccessDenied", "Cannot call GetSessionToken with session credentials")
	}
	duration, err := in.seconds(43200, 129600)
	if err != nil {
		return nil, err
	}
	if in.given("SerialNumber") != nil || in.given("TokenCode") != nil {
		return nil, refuse(http.StatusForbidden, "AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code. ")
	}
	key := Key{}
	if c.IsRoot() {
		duration = min(duration, defaultSession)
	} else {
		path, _ := strings.CutPrefix(c.ARN, arnOf(c.Account, "user"))
		key = Key{User: c.Name, UserID: c.UserID, UserPath: strings.TrimSuffix(path, c.Name)}
	}
	now := s.Now()
	made, err := s.Sessions.issue(c.Account, key, Session{Issued: now, Expires: now.Add(time.Duration(duration) * time.Second)})
	if err != nil {
		return nil, err
	}
	return struct {
		tokenXML
		Credentials credentialsXML
	}{tokenSize(made), showCredentials(made)}, nil
}

func (s *sts) getAccessKeyInfo(ctx context.Context, _ Caller, in form) (any, error) {
	id := in.get("AccessKeyId")
	if len(id) < 4 || len(id) > maxKeyID || !keyIDForm.MatchString(id) {
		return nil, invalid("1 validation error detected: Value '%s' at 'accessKeyId' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w]*", printable(id))
	}
	type infoXML struct{ Account string }
	var account string
	err := s.Store.View(ctx, func(tx *store.Tx) error {
		k, err := tx.AccessKey(ctx, id)
		if err == nil {
			account = k.Account
			return nil
		}
		named, ok := keyAccount(id)
		if !missing(err) || !ok || strings.HasPrefix(id, "AKIA") {
			return err
		}
		a, err := tx.Account(ctx, named)
		account = a.ID
		return err
	})
	if missing(err) {
		return nil, refuse(http.StatusForbidden, "AccessDenied", "User is not authorized to perform: sts:GetAccessKeyInfo on the access key %s", id)
	}
	return infoXML{account}, err
}
