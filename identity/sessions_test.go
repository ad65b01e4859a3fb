package identity

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
)

// credentials are those of an answer of STS, for the SDK.
func (s service) session(c *ststypes.Credentials) aws.Config {
	return s.as(aws.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken})
}

// role makes a role and returns its ARN and ID.
func (s service) role(t *testing.T, name, path string, longest int32) (arn, id *string) {
	t.Helper()
	r, err := awsiam.NewFromConfig(s.config()).CreateRole(t.Context(), &awsiam.CreateRoleInput{
		RoleName: &name, Path: &path, AssumeRolePolicyDocument: aws.String(trust), MaxSessionDuration: &longest,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.Role.Arn, r.Role.RoleId
}

// packedSize is PackedPolicySize, 0 without one.
func packedSize(out *awssts.AssumeRoleOutput) int32 {
	return aws.ToInt32(out.PackedPolicySize) //lint:ignore SA1019 older clients read it
}

func TestAssumeRole(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	var last Assumption
	s := startServiceWith(t, func(o *Options) {
		o.Trusts = func(_ context.Context, a Assumption) (bool, error) {
			last = a
			return a.SessionName != "denied", nil
		}
	})
	client := awssts.NewFromConfig(s.config())
	arn, id := s.role(t, "app", "/team/", 7200)
	before := time.Now()
	got, err := client.AssumeRole(ctx, &awssts.AssumeRoleInput{
		RoleArn: arn, RoleSessionName: aws.String("sess"), DurationSeconds: aws.Int32(7200), ExternalId: aws.String("ext:1"), SourceIdentity: aws.String("ann"),
		Policy: aws.String(inline), PolicyArns: []ststypes.PolicyDescriptorType{{Arn: aws.String(basic)}},
		Tags:              []ststypes.Tag{{Key: aws.String("team"), Value: aws.String("a")}, {Key: aws.String("own"), Value: aws.String("b")}},
		TransitiveTagKeys: []string{"team"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if *got.AssumedRoleUser.Arn != "arn:aws:sts::123456789012:assumed-role/app/sess" || *got.AssumedRoleUser.AssumedRoleId != *id+":sess" ||
		!strings.HasPrefix(*got.Credentials.AccessKeyId, "ASIA") || *got.SourceIdentity != "ann" || packedSize(got) < 1 || int(*got.SessionTokenSize) != len(*got.Credentials.SessionToken) || *got.SessionTokenUtilization < 1 {
		t.Errorf("AssumeRole = %+v", got)
	}
	if life := got.Credentials.Expiration.Sub(before); life < 7198*time.Second || life > 7202*time.Second {
		t.Errorf("the credentials live %v; want two hours", life)
	}
	if last.ExternalID != "ext:1" || last.SourceIdentity != "ann" || last.Tags["team"] != "a" || !slices.Equal(last.TransitiveTags, []string{"team"}) || last.Duration != 2*time.Hour || last.Role.TrustPolicy != trust || !last.Caller.IsRoot() {
		t.Errorf("the trust policy was asked about %+v", last)
	}
	config := s.session(got.Credentials)
	me, err := awssts.NewFromConfig(config).GetCallerIdentity(ctx, nil)
	if err != nil || *me.Arn != *got.AssumedRoleUser.Arn || *me.UserId != *id+":sess" || *me.Account != testAccount {
		t.Errorf("GetCallerIdentity = %+v, %v; want the assumed role", me, err)
	}
	info, err := client.GetAccessKeyInfo(ctx, &awssts.GetAccessKeyInfoInput{AccessKeyId: got.Credentials.AccessKeyId})
	if err != nil || *info.Account != testAccount {
		t.Errorf("GetAccessKeyInfo = %+v, %v; want %s", info, err, testAccount)
	}
	// What the verifier tells of the caller.
	key, err := s.Sessions.open(*got.Credentials.SessionToken)
	if err != nil {
		t.Fatal(err)
	}
	want := &Session{
		Role: "app", RoleARN: *arn, RoleID: *id, Name: "sess", Policy: inline, PolicyARNs: []string{basic}, Tags: map[string]string{"team": "a", "own": "b"},
		TransitiveTags: []string{"team"}, SourceIdentity: "ann", Issued: key.Session.Issued, Expires: *got.Credentials.Expiration,
	}
	if diff := cmp.Diff(want, key.Session); diff != "" {
		t.Errorf("the session differs (-want +got):\n%s", diff)
	}

	// A role from a role: an hour at most, and what is transitive goes along.
	chained := awssts.NewFromConfig(config)
	_, err = chained.AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("next"), DurationSeconds: aws.Int32(3601)})
	wants(t, "a long chained session", err, "ValidationError: The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	next, err := chained.AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("next"), Tags: []ststypes.Tag{{Key: aws.String("new"), Value: aws.String("c")}}})
	if err != nil {
		t.Fatal(err)
	}
	key, err = s.Sessions.open(*next.Credentials.SessionToken)
	if err != nil || !maps.Equal(key.Session.Tags, map[string]string{"team": "a", "new": "c"}) || key.Session.SourceIdentity != "ann" || last.Tags["team"] != "" || last.Caller.Kind != KindAssumedRole {
		t.Errorf("the chained session is %+v, %v; asked about %+v", key.Session, err, last)
	}
	_, err = chained.AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("next"), Tags: []ststypes.Tag{{Key: aws.String("TEAM"), Value: aws.String("c")}}})
	wants(t, "a transitive tag set anew", err, "InvalidParameterValue: One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
	_, err = chained.AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("next"), SourceIdentity: aws.String("bob")})
	wants(t, "another source identity", err, "AccessDenied: The source identity of the calling session can't be changed.")

	denied := "AccessDenied: User: arn:aws:iam::123456789012:root is not authorized to perform: sts:AssumeRole on resource: "
	var huge, bytes []ststypes.Tag
	for i := range 20 {
		key := aws.String(strings.Repeat("k", 100) + string(rune('a'+i)))
		huge = append(huge, ststypes.Tag{Key: key, Value: aws.String(strings.Repeat("v", 256))})
	}
	for i := range 10 {
		bytes = append(bytes, ststypes.Tag{Key: aws.String(string(rune('a' + i))), Value: aws.String(strings.Repeat("\x7f\x01", 128))})
	}
	if _, err := client.AssumeRole(ctx, &awssts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("sess"), Tags: bytes}); err != nil {
		t.Errorf("AssumeRole with tags of strange bytes: %v", err)
	}
	for name, c := range map[string]struct {
		in   awssts.AssumeRoleInput
		want string
	}{
		"tags that are too many":       {awssts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("sess"), Tags: huge}, "PackedPolicyTooLarge: Packed policy consumes 175% of allotted space, please use smaller policy."},
		"a role that does not trust":   {awssts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("denied")}, denied + *arn},
		"a role that does not exist":   {awssts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:role/absent"), RoleSessionName: aws.String("sess")}, denied + "arn:aws:iam::123456789012:role/absent"},
		"a role under another path":    {awssts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:role/app"), RoleSessionName: aws.String("sess")}, denied + "arn:aws:iam::123456789012:role/app"},
		"a user":                       {awssts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:user/app"), RoleSessionName: aws.String("sess")}, "ValidationError: arn:aws:iam::123456789012:user/app is invalid"},
		"a short name":                 {awssts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("s")}, "ValidationError: 1 validation error detected: Value 's' at 'roleSessionName' failed to satisfy constraint: Member must have length greater than or equal to 2"},
		"a strange name":               {awssts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("a b")}, `ValidationError: 1 validation error detected: Value 'a b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*`},
		"a short session":              {awssts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("sess"), DurationSeconds: aws.Int32(899)}, "ValidationError: 1 validation error detected: Value '899' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900"},
		"a session beyond the role's":  {awssts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("sess"), DurationSeconds: aws.Int32(7201)}, "ValidationError: The requested DurationSeconds exceeds the MaxSessionDuration set for this role."},
		"a session policy that is bad": {awssts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("sess"), Policy: aws.String("{")}, "MalformedPolicyDocument: This policy contains invalid Json"},
		"a session policy of nobody":   {awssts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("sess"), PolicyArns: []ststypes.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/Absent")}}}, "NoSuchEntity: Policy arn:aws:iam::aws:policy/Absent was not found."},
		"a transitive tag not given":   {awssts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("sess"), TransitiveTagKeys: []string{"x"}}, "InvalidParameterValue: The specified transitive tag key must be included in the requested tags."},
		"a second factor":              {awssts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("sess"), SerialNumber: aws.String("arn:aws:iam::123456789012:mfa/a"), TokenCode: aws.String("123456")}, "AccessDenied: MultiFactorAuthentication failed with invalid MFA one time pass code. "},
	} {
		_, err := client.AssumeRole(ctx, &c.in)
		wants(t, name, err, c.want)
	}
}

// TestAssumeRoleUnplugged: until trust policies are evaluated, only an account's
// own root and users get its roles.
func TestAssumeRoleUnplugged(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := startService(t)
	arn, _ := s.role(t, "app", "/", 3600)
	other, err := (&Accounts{s.Options}).Create(ctx, "other")
	if err != nil {
		t.Fatal(err)
	}
	in := &awssts.AssumeRoleInput{RoleArn: arn, RoleSessionName: aws.String("sess")}
	theirs := awssts.NewFromConfig(s.as(aws.Credentials{AccessKeyID: other.AccessKeyID, SecretAccessKey: other.SecretAccessKey}))
	_, err = theirs.AssumeRole(ctx, in)
	wants(t, "AssumeRole from another account", err, "AccessDenied: User: arn:aws:iam::"+other.AccountID+":root is not authorized to perform: sts:AssumeRole on resource: "+*arn)
	got, err := awssts.NewFromConfig(s.config()).AssumeRole(ctx, in)
	if err != nil || packedSize(got) != 0 || got.SourceIdentity != nil {
		t.Fatalf("AssumeRole = %+v, %v", got, err)
	}
	_, err = awssts.NewFromConfig(s.session(got.Credentials)).AssumeRole(ctx, in)
	wants(t, "AssumeRole of a role", err, "AccessDenied: User: arn:aws:sts::123456789012:assumed-role/app/sess is not authorized to perform: sts:AssumeRole on resource: "+*arn)
}

func TestGetSessionToken(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := startService(t)
	admin := awsiam.NewFromConfig(s.config())
	u, err := admin.CreateUser(ctx, &awsiam.CreateUserInput{UserName: aws.String("ann"), Path: aws.String("/team/")})
	if err != nil {
		t.Fatal(err)
	}
	k, err := admin.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: aws.String("ann")})
	if err != nil {
		t.Fatal(err)
	}
	user := s.as(aws.Credentials{AccessKeyID: *k.AccessKey.AccessKeyId, SecretAccessKey: *k.AccessKey.SecretAccessKey})
	for name, c := range map[string]struct {
		config      aws.Config
		arn, id     string
		asked       int32
		least, most time.Duration
	}{
		"a user":                   {user, *u.User.Arn, *u.User.UserId, 0, 43198 * time.Second, 43202 * time.Second},
		"a user, shortly":          {user, *u.User.Arn, *u.User.UserId, 900, 898 * time.Second, 902 * time.Second},
		"the root, for long":       {s.config(), "arn:aws:iam::123456789012:root", testAccount, 129600, 3598 * time.Second, 3602 * time.Second},
		"the root, without a wish": {s.config(), "arn:aws:iam::123456789012:root", testAccount, 0, 3598 * time.Second, 3602 * time.Second},
	} {
		in := &awssts.GetSessionTokenInput{}
		if c.asked > 0 {
			in.DurationSeconds = &c.asked
		}
		got, err := awssts.NewFromConfig(c.config).GetSessionToken(ctx, in)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if life := time.Until(*got.Credentials.Expiration); life < c.least || life > c.most {
			t.Errorf("%s: the credentials live %v; want %v to %v", name, life, c.least, c.most)
		}
		session := s.session(got.Credentials)
		me, err := awssts.NewFromConfig(session).GetCallerIdentity(ctx, nil)
		if err != nil || *me.Arn != c.arn || *me.UserId != c.id {
			t.Errorf("%s: GetCallerIdentity = %+v, %v; want %s", name, me, err, c.arn)
		}
		_, err = awssts.NewFromConfig(session).GetSessionToken(ctx, nil)
		wants(t, name+" again", err, "AccessDenied: Cannot call GetSessionToken with session credentials")
		_, err = awsiam.NewFromConfig(session).ListUsers(ctx, nil)
		wants(t, name+" at IAM", err, "InvalidClientTokenId: "+invalidToken)
	}
	// A session ends with its user.
	got, err := awssts.NewFromConfig(user).GetSessionToken(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.DeleteAccessKey(ctx, &awsiam.DeleteAccessKeyInput{UserName: aws.String("ann"), AccessKeyId: k.AccessKey.AccessKeyId}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.DeleteUser(ctx, &awsiam.DeleteUserInput{UserName: aws.String("ann")}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CreateUser(ctx, &awsiam.CreateUserInput{UserName: aws.String("ann"), Tags: []types.Tag{}}); err != nil {
		t.Fatal(err)
	}
	_, err = awssts.NewFromConfig(s.session(got.Credentials)).GetCallerIdentity(ctx, nil)
	wants(t, "a session whose user is another now", err, "InvalidClientTokenId: "+invalidToken)
}

// TestSessionTokens: a token counts with its own key, whole, and until it
// expires, in a header and in a presigned query.
func TestSessionTokens(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := startService(t)
	arn, _ := s.role(t, "app", "/", 3600)
	role, err := s.Principals.Role(ctx, *arn)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(life time.Duration) aws.Credentials {
		now := time.Now()
		made, err := s.Sessions.Assume(role, Session{Name: "sess", Issued: now, Expires: now.Add(life)})
		if err != nil {
			t.Fatal(err)
		}
		return aws.Credentials{AccessKeyID: made.AccessKeyID, SecretAccessKey: made.SecretAccessKey, SessionToken: made.SessionToken}
	}
	good, other, old := issue(time.Hour), issue(time.Hour), issue(-time.Second)
	foreign, err := NewSessions(slices.Repeat([]byte{1}, SessionKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	strange, err := foreign.Assume(role, Session{Name: "sess", Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	with := func(c aws.Credentials, change func(*aws.Credentials)) aws.Credentials { change(&c); return c }
	flipped := []byte(good.SessionToken)
	flipped[len(flipped)/2] ^= 1
	const invalid = "InvalidClientTokenId: " + invalidToken
	for name, c := range map[string]struct {
		creds aws.Credentials
		want  string
	}{
		"a good one":                     {good, "none"},
		"without a token":                {with(good, func(c *aws.Credentials) { c.SessionToken = "" }), invalid},
		"another session's token":        {with(good, func(c *aws.Credentials) { c.SessionToken = other.SessionToken }), invalid},
		"a changed token":                {with(good, func(c *aws.Credentials) { c.SessionToken = string(flipped) }), invalid},
		"a cut token":                    {with(good, func(c *aws.Credentials) { c.SessionToken = c.SessionToken[:len(c.SessionToken)-4] }), invalid},
		"a token of another server":      {aws.Credentials{AccessKeyID: strange.AccessKeyID, SecretAccessKey: strange.SecretAccessKey, SessionToken: strange.SessionToken}, invalid},
		"a token beside a lasting key":   {aws.Credentials{AccessKeyID: s.root.AccessKeyID, SecretAccessKey: s.root.SecretAccessKey, SessionToken: good.SessionToken}, invalid},
		"nonsense":                       {with(good, func(c *aws.Credentials) { c.SessionToken = "nonsense" }), invalid},
		"a wrong secret":                 {with(good, func(c *aws.Credentials) { c.SecretAccessKey = "wrong" }), "SignatureDoesNotMatch: " + mismatch},
		"an expired one":                 {old, "ExpiredToken: " + expiredToken},
		"an expired one, a wrong secret": {with(old, func(c *aws.Credentials) { c.SecretAccessKey = "wrong" }), "SignatureDoesNotMatch: " + mismatch},
	} {
		client := awssts.NewFromConfig(s.as(c.creds))
		_, err := client.GetCallerIdentity(ctx, nil)
		wants(t, name, err, c.want)
		presigned, err := awssts.NewPresignClient(client).PresignGetCallerIdentity(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(ctx, presigned.Method, presigned.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		kind, _, _ := strings.Cut(c.want, ":")
		if ok := c.want == "none"; ok != (res.StatusCode == 200) || !ok && !strings.Contains(string(text), "<Code>"+kind+"</Code>") {
			t.Errorf("%s, presigned: %d %s, %v; want %s", name, res.StatusCode, text, err, c.want)
		}
	}
	if _, err := awsiam.NewFromConfig(s.config()).DeleteRole(ctx, &awsiam.DeleteRoleInput{RoleName: aws.String("app")}); err != nil {
		t.Fatal(err)
	}
	_, err = awssts.NewFromConfig(s.as(good)).GetCallerIdentity(ctx, nil)
	wants(t, "after its role is gone", err, invalid)
}

func TestKeyIDs(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, account := range []string{"000000000000", "123456789012", "999999999999"} {
		for range 50 {
			id := newKeyID("ASIA", account)
			if got, ok := keyAccount(id); got != account || !ok || len(id) != 20 || seen[id] || !keyIDForm.MatchString(id) {
				t.Errorf("newKeyID = %s of %s; want a new one of %s", id, got, account)
			}
			seen[id] = true
		}
	}
	// A key that was published, with its account.
	if got, _ := keyAccount("ASIAQNZGKIQY56JQ7WML"); got != "029608264753" {
		t.Errorf("keyAccount = %s; want 029608264753", got)
	}
}

func FuzzOpenSession(f *testing.F) {
	s, err := NewSessions(make([]byte, SessionKeyBytes))
	if err != nil {
		f.Fatal(err)
	}
	// Issued by sessions of this key. A new one would be another in each process
	// that takes part.
	const id, secret = "ASIARZPUZDIKNXZE64TX", "PoV9XfC8alhxDLVpKx/l6p7GD0gz1cGU4Y3Gq7l2"
	const issued = "LM1FesdOSzy08Zci8TO/nuHW2Q38B3I8BzfjksU3BiAafF2KGKfONyAuNBPcW/xLWtIj2QD++cK8R5Jjkwtz+I1Hz6+gYaJHjc2V4A3tmQpN/ZLl2zUthXD+QXV6LUi4G/2RMmg1tbiJkOCtBsC1W1J5514bQfT6Ye4Fdw8PVl2BbLVfi4mQCfUMPDGkeqt/G+QG3tKrFvdKvR7He3ZjUt6dKkBm5y//KYiLGu3/V8="
	if key, err := s.open(issued); err != nil || key.ID != id || key.Secret != secret {
		f.Fatalf("open = %+v, %v; want %s", key, err, id)
	}
	f.Add(issued)
	f.Add(issued + "\n")
	f.Add(issued[:len(issued)-2] + "9=") // the bits that pad
	f.Add("")
	f.Add(sessionVersion)
	f.Add(sessionVersion + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, token string) {
		key, err := s.open(token)
		switch {
		case err == nil && (token != issued || key.ID != id || key.Secret != secret):
			t.Errorf("open(%q) = %+v; nobody sealed that", token, key)
		case err != nil && !errors.Is(err, lamina.ErrNotFound):
			t.Errorf("open(%q) = %v; want ErrNotFound", token, err)
		}
	})
}

// TestSessionsAreBounded: however many tokens come, few are remembered.
func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	s, err := NewSessions(make([]byte, SessionKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	for range openedTokens + 100 {
		made, err := s.issue(testAccount, Key{}, Session{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.open(made.SessionToken); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.opened) > openedTokens {
		t.Errorf("%d sessions are remembered; want at most %d", len(s.opened), openedTokens)
	}
}
