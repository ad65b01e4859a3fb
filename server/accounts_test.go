package server

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/store"
)

// TestAccountEndpoint: the operator makes accounts and organizations, and nobody
// else learns of them.
func TestAccountEndpoint(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "lamina.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	const operator = "000000000000"
	log := slog.New(slog.DiscardHandler)
	h := NewInternal(Internal{
		Profiles: &fakeProfiles{}, Operator: operator, Log: log,
		Accounts: &identity.Accounts{Options: identity.Options{Store: st, Log: log, Now: time.Now}},
	})
	root := identity.Caller{Account: operator, Kind: identity.KindRoot, ARN: "arn:aws:iam::" + operator + ":root"}
	ask := func(c identity.Caller, method, path, body string, status int, out any) {
		t.Helper()
		req := httptest.NewRequest(method, "/_lamina/"+path, strings.NewReader(body))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req.WithContext(identity.WithCaller(req.Context(), c)))
		if w.Code != status {
			t.Errorf("%s %s by %s = %d %s; want %d", method, path, c.ARN, w.Code, w.Body, status)
		}
		if out != nil {
			if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
				t.Errorf("%s %s = %s: %v", method, path, w.Body, err)
			}
		}
	}
	var made identity.Credentials
	ask(root, "POST", "accounts", `{"Name":"a"}`, 200, &made)
	var org identity.Organization
	ask(root, "POST", "organizations", `{"Name":"o"}`, 200, &org)
	member := "organizations/" + org.ID + "/accounts/" + made.AccountID
	ask(root, "PUT", member, "", 200, nil)
	var accounts struct{ Accounts []identity.Account }
	ask(root, "GET", "accounts", "", 200, &accounts)
	if len(accounts.Accounts) != 1 || accounts.Accounts[0].AccountID != made.AccountID || accounts.Accounts[0].Organization != org.ID {
		t.Errorf("accounts = %+v; want %s in %s", accounts, made.AccountID, org.ID)
	}
	ask(root, "POST", "accounts", `{"Name":""}`, 400, nil)
	ask(root, "POST", "accounts", `hello`, 400, nil)
	ask(root, "PUT", "organizations/o-absent/accounts/"+made.AccountID, "", 404, nil)

	other := identity.Caller{Account: made.AccountID, Kind: identity.KindRoot, ARN: "arn:aws:iam::" + made.AccountID + ":root"}
	user := identity.Caller{Account: operator, Kind: identity.KindUser, Name: "eve", ARN: "arn:aws:iam::" + operator + ":user/eve"}
	session := root
	session.Session = &identity.Session{}
	for _, c := range []identity.Caller{other, user, session, {}} {
		for _, r := range [][2]string{{"GET", "accounts"}, {"POST", "accounts"}, {"GET", "organizations"}, {"POST", "organizations"}, {"PUT", member}, {"DELETE", member}} {
			ask(c, r[0], r[1], `{"Name":"x"}`, http.StatusForbidden, nil)
		}
	}
	ask(root, "DELETE", member, "", 200, nil)
	ask(root, "DELETE", member, "", 404, nil)
}
