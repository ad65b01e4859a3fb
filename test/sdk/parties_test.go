package sdk_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// party is somebody with a key: a root, a user, a session of a role.
type party struct {
	s                    *inProcess
	t                    *testing.T
	account, arn         string
	keyID, secret, token string
}

// root is the first account's.
func (s *inProcess) root(t *testing.T) *party {
	return &party{s: s, t: t, account: account, arn: "arn:aws:iam::" + account + ":root", keyID: keyID, secret: secret}
}

// newAccount makes another account and returns its root.
func (s *inProcess) newAccount(t *testing.T, name string) *party {
	t.Helper()
	made, err := s.accounts.Create(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return &party{s: s, t: t, account: made.AccountID, arn: "arn:aws:iam::" + made.AccountID + ":root", keyID: made.AccessKeyID, secret: made.SecretAccessKey}
}

// in returns the same party in another test.
func (p party) in(t *testing.T) *party {
	p.t = t
	return &p
}

// answer is what came of a request.
type answer struct {
	status        int
	code, message string // of an error
	text          string
}

// request is a call of any of the services.
type request struct {
	method, path string // with the query, escaped
	body         string
	headers      map[string]string
}

// send signs and sends a request.
func (p *party) send(service string, r request) answer {
	p.t.Helper()
	resp, err := http.DefaultClient.Do(p.sign(service, r))
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, text: string(text)}
	if a.status < 300 {
		return a
	}
	var x struct {
		Type    string `json:"__type"`
		Message string
	}
	if resp.Header.Get("Content-Type") == "text/xml" {
		var e struct {
			Error struct{ Code, Message string }
		}
		_ = xml.Unmarshal(text, &e)
		a.code, a.message = e.Error.Code, e.Error.Message
		return a
	}
	_ = json.Unmarshal(text, &x) // what is no JSON has no message
	a.code, a.message = resp.Header.Get("X-Amzn-Errortype"), x.Message
	if a.code == "" {
		a.code = x.Type
	}
	return a
}

func (p *party) sign(service string, r request) *http.Request {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), r.method, p.s.URL+r.path, strings.NewReader(r.body))
	if err != nil {
		p.t.Fatal(err)
	}
	for name, value := range r.headers {
		req.Header.Set(name, value)
	}
	sum := sha256.Sum256([]byte(r.body))
	creds := aws.Credentials{AccessKeyID: p.keyID, SecretAccessKey: p.secret, SessionToken: p.token}
	if err := v4.NewSigner().SignHTTP(p.t.Context(), creds, req, hex.EncodeToString(sum[:]), service, home, time.Now()); err != nil {
		p.t.Fatal(err)
	}
	return req
}

// lambda calls Lambda with a JSON body, or none.
func (p *party) lambda(method, path, body string) answer {
	p.t.Helper()
	return p.send("lambda", request{method: method, path: path, body: body})
}

// query calls IAM or STS: action, then names and values.
func (p *party) query(service, action string, pairs ...string) answer {
	p.t.Helper()
	version := map[string]string{"iam": "2010-05-08", "sts": "2011-06-15"}[service]
	form := url.Values{"Action": {action}, "Version": {version}}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return p.send(service, request{
		method: http.MethodPost, path: "/", body: form.Encode(), headers: map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
	})
}

func (p *party) iam(action string, pairs ...string) answer {
	p.t.Helper()
	return p.query("iam", action, pairs...)
}

// logs calls CloudWatch Logs.
func (p *party) logs(operation, body string) answer {
	p.t.Helper()
	return p.send("logs", request{method: http.MethodPost, path: "/", body: body, headers: map[string]string{
		"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Logs_20140328." + operation,
	}})
}

// done wants a success.
func (p *party) done(a answer) answer {
	p.t.Helper()
	if a.status >= 300 {
		p.t.Fatalf("answer = %d %s: %s; want a success", a.status, a.code, a.message)
	}
	return a
}

// wants compares how a request ended; an empty code is a success.
func (p *party) wants(what string, a answer, code, message string) {
	p.t.Helper()
	if code == "" && a.status < 300 {
		return
	}
	if a.code != code || message != "" && a.message != message {
		p.t.Errorf("%s = %d %s: %s; want %s: %s", what, a.status, a.code, a.message, code, message)
	}
}

// element is the text of an element of an XML answer.
func (a answer) element(name string) string {
	_, rest, _ := strings.Cut(a.text, "<"+name+">")
	value, _, _ := strings.Cut(rest, "</"+name+">")
	return value
}

// member is a text in a JSON answer.
func (a answer) member(name string) string {
	var all map[string]any
	_ = json.Unmarshal([]byte(a.text), &all)
	return fmt.Sprint(all[name])
}

// newUser makes a user of the party's account, with a key and no policy.
func (p *party) newUser(name string, pairs ...string) *party {
	p.t.Helper()
	p.done(p.iam("CreateUser", append([]string{"UserName", name}, pairs...)...))
	key := p.done(p.iam("CreateAccessKey", "UserName", name))
	return &party{
		s: p.s, t: p.t, account: p.account, arn: "arn:aws:iam::" + p.account + ":user/" + name,
		keyID: key.element("AccessKeyId"), secret: key.element("SecretAccessKey"),
	}
}

// name of a user.
func (p *party) name() string { return p.arn[strings.LastIndexByte(p.arn, '/')+1:] }

// may replaces a user's policy by one of these statements; none takes it away.
func (p *party) may(user *party, statements ...string) {
	p.t.Helper()
	if len(statements) == 0 {
		p.done(p.iam("DeleteUserPolicy", "UserName", user.name(), "PolicyName", "p"))
		return
	}
	p.done(p.iam("PutUserPolicy", "UserName", user.name(), "PolicyName", "p", "PolicyDocument", document(statements...)))
}

// newRole makes a role that an account's identities and Lambda may assume, with
// the rights of these statements, and returns its ARN.
func (p *party) newRole(name, trust string, statements ...string) string {
	p.t.Helper()
	p.done(p.iam("CreateRole", "RoleName", name, "AssumeRolePolicyDocument", trust))
	if len(statements) > 0 {
		p.done(p.iam("PutRolePolicy", "RoleName", name, "PolicyName", "p", "PolicyDocument", document(statements...)))
	}
	return "arn:aws:iam::" + p.account + ":role/" + name
}

// assumes returns a session of a role.
func (p *party) assumes(role string, pairs ...string) *party {
	p.t.Helper()
	a := p.done(p.query("sts", "AssumeRole", append([]string{"RoleArn", role, "RoleSessionName", "session"}, pairs...)...))
	return &party{
		s: p.s, t: p.t, account: strings.Split(role, ":")[4], arn: a.element("Arn"),
		keyID: a.element("AccessKeyId"), secret: a.element("SecretAccessKey"), token: a.element("SessionToken"),
	}
}

func document(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

func statement(effect, action, resource string, condition ...string) string {
	more := ""
	if len(condition) > 0 {
		more = `,"Condition":` + condition[0]
	}
	return fmt.Sprintf(`{"Effect":%q,"Action":%q,"Resource":%q%s}`, effect, action, resource, more)
}

func allow(action, resource string, condition ...string) string {
	return statement("Allow", action, resource, condition...)
}

func deny(action, resource string, condition ...string) string {
	return statement("Deny", action, resource, condition...)
}

// trusts is a trust policy of principals such as "AWS":"123456789012".
func trusts(principal string, condition ...string) string {
	more := ""
	if len(condition) > 0 {
		more = `,"Condition":` + condition[0]
	}
	return document(`{"Effect":"Allow","Principal":{` + principal + `},"Action":"sts:AssumeRole"` + more + `}`)
}

// refusal is AWS's sentence about who may not do what.
func (p *party) refusal(action, resource, why string) string {
	text := "User: " + p.arn + " is not authorized to perform: " + action + " on resource: " + resource
	switch why {
	case "denied":
		return text + " with an explicit deny in an identity-based policy"
	case "":
		return text
	}
	return text + " because no " + why + " policy allows the " + action + " action"
}

// object is JSON of its members in order of their names.
func object(members map[string]any) string {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := json.Marshal(members[name])
		if err != nil {
			panic(err) // a test's own
		}
		fmt.Fprintf(&b, "%q:%s", name, value)
	}
	b.WriteByte('}')
	return b.String()
}
