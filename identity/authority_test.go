package identity

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity/policy"
	"github.com/lamina-run/lamina/store"
)

// askers are callers of an authority who all may invoke one function.
type askers struct {
	*Authority
	store *store.Store
	need  Need
	by    map[string]Caller
}

func newAskers(t testing.TB) askers {
	t.Helper()
	st, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "lamina.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() }) // tests may have done so before
	if _, err := EnsureRoot(t.Context(), st, RootOptions{AccountID: testAccount, File: filepath.Join(t.TempDir(), "root.json")}); err != nil {
		t.Fatal(err)
	}
	const other = "999999999999"
	arn := lamina.FunctionID{Scope: lamina.Scope{Region: "eu-central-1", Account: testAccount}, Name: "f"}.ARN()
	document := func(action string) string {
		return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::bucket/*"},
			{"Effect":"Deny","Action":"lambda:*","Resource":"*","Condition":{"StringNotEquals":{"aws:RequestedRegion":"eu-central-1"}}},
			{"Effect":"Allow","Action":%q,"Resource":"arn:aws:lambda:*:*:function:*"}]}`, action)
	}
	ref := func(kind store.IdentityKind, name string) store.IdentityRef {
		return store.IdentityRef{Account: testAccount, Kind: kind, Name: name}
	}
	err = st.Update(t.Context(), func(tx *store.Tx) error {
		for _, i := range []store.Identity{
			{IdentityRef: ref(store.KindUser, "u"), ID: "AIDAU", Path: "/"}, {IdentityRef: ref(store.KindRole, "r"), ID: "AROAR", Path: "/"},
		} {
			if err := tx.InsertIdentity(t.Context(), i); err != nil {
				return err
			}
			for n, action := range []string{"lambda:List*", "lambda:Get*", "lambda:Invoke*"} {
				if err := tx.PutInlinePolicy(t.Context(), i.IdentityRef, store.InlinePolicy{Name: fmt.Sprint("p", n), Document: document(action)}); err != nil {
					return err
				}
			}
		}
		if _, err := insertAccount(t.Context(), tx, store.Account{ID: other, Name: "other", Created: time.Now()}); err != nil {
			return err
		}
		return tx.PutPolicy(t.Context(), lamina.Policy{Resource: arn, RevisionID: "r", Statements: []lamina.Statement{
			{Sid: "s", Effect: "Allow", Principal: lamina.Principal{Value: "*"}, Action: "lambda:InvokeFunction", Resource: arn},
		}})
	})
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := (&Accounts{Options: Options{Store: st, Now: time.Now}}).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stranger := accounts[len(accounts)-1].AccountID
	if stranger == testAccount {
		stranger = accounts[0].AccountID
	}
	return askers{
		NewAuthority(st, NewPrincipals(st, time.Now), slog.New(slog.DiscardHandler), time.Now), st,
		Need{Action: "lambda:InvokeFunction", Resource: arn, Account: testAccount, Policy: arn, Tagged: arn},
		map[string]Caller{
			"a user":             {Account: testAccount, Region: "eu-central-1", Kind: KindUser, Name: "u", UserID: "AIDAU", ARN: arnOf(testAccount, "user/u"), Source: "127.0.0.1", Agent: "test"},
			"a role's session":   {Account: testAccount, Region: "eu-central-1", Kind: KindAssumedRole, Name: "r", UserID: "AROAR:s", ARN: "arn:aws:sts::" + testAccount + ":assumed-role/r/s", Session: &Session{Role: "r", RoleARN: arnOf(testAccount, "role/r"), RoleID: "AROAR", Name: "s"}},
			"another account's":  {Account: stranger, Region: "eu-central-1", Kind: KindRoot, UserID: stranger, ARN: arnOf(stranger, "root")},
			"the account's root": {Account: testAccount, Region: "eu-central-1", Kind: KindRoot, UserID: testAccount, ARN: arnOf(testAccount, "root")},
		},
	}
}

// TestDecisionsFromMemory: a decision that was made before needs no database, so
// that a warm invocation needs none.
func TestDecisionsFromMemory(t *testing.T) {
	t.Parallel()
	a := newAskers(t)
	decide := func(when string, want policy.Decision) {
		t.Helper()
		for name, c := range a.by {
			if d, err := a.Decide(t.Context(), c, a.need); err != nil || d.Allowed != want.Allowed {
				t.Errorf("%s, %s: %+v, %v", name, when, d, err)
			}
		}
	}
	decide("first", policy.Decision{Allowed: true})
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	decide("without a database", policy.Decision{Allowed: true})

	// And a change counts at once.
	a = newAskers(t)
	stranger := a.by["another account's"]
	if d, err := a.Decide(t.Context(), stranger, a.need); err != nil || !d.Allowed {
		t.Fatalf("permitted: %+v, %v", d, err)
	}
	err := a.store.Update(t.Context(), func(tx *store.Tx) error { return tx.PutPolicy(t.Context(), lamina.Policy{Resource: a.need.Policy}) })
	if err != nil {
		t.Fatal(err)
	}
	if d, err := a.Decide(t.Context(), stranger, a.need); err != nil || d.Allowed {
		t.Errorf("no longer permitted: %+v, %v", d, err)
	}
}

func BenchmarkDecide(b *testing.B) {
	a := newAskers(b)
	for name, c := range a.by {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d, err := a.Decide(b.Context(), c, a.need); err != nil || !d.Allowed {
					b.Fatal(d, err)
				}
			}
		})
	}
}
