package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/wire"
)

// fakeProfiles has one profile, called me.
type fakeProfiles struct {
	added, revoked string
}

var me = lamina.SigningProfile{
	Scope: lamina.Scope{Account: "000000000000", Region: "eu-west-1"}, Name: "me", Version: "0123456789", Certificate: []byte{1},
	Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
}

func (f *fakeProfiles) AddSigningProfile(_ context.Context, name string, certificate []byte) (lamina.SigningProfile, error) {
	if name == "broken" {
		return lamina.SigningProfile{}, errors.New("a secret of the database")
	}
	f.added = name + " " + string(certificate)
	return me, nil
}

func (f *fakeProfiles) SigningProfiles(context.Context) ([]lamina.SigningProfile, error) {
	return []lamina.SigningProfile{me}, nil
}

func (f *fakeProfiles) RevokeSigningProfile(_ context.Context, name string) error {
	if name != "me" {
		return wire.ResourceNotFound.Errorf("no %s", name)
	}
	f.revoked = name
	return nil
}

func TestSigningProfileEndpoint(t *testing.T) {
	t.Parallel()
	const root, user = "arn:aws:iam::000000000000:root", "arn:aws:iam::000000000000:user/eve"
	for _, c := range []struct {
		name, caller, method, path, body string
		status                           int
		kind                             string
		want                             fakeProfiles
	}{
		{"list", root, "GET", "", "", 200, "", fakeProfiles{}},
		{"add", root, "PUT", "/me", `{"Certificate":"pem"}`, 200, "", fakeProfiles{added: "me pem"}},
		{"revoke", root, "POST", "/me/revoke", "{}", 200, "", fakeProfiles{revoked: "me"}},
		{"revoke another", root, "POST", "/you/revoke", "{}", 404, "ResourceNotFoundException", fakeProfiles{}},
		{"a user adds", user, "PUT", "/me", `{"Certificate":"pem"}`, 403, "AccessDeniedException", fakeProfiles{}},
		{"a user lists", user, "GET", "", "", 403, "AccessDeniedException", fakeProfiles{}},
		{"nobody revokes", "", "POST", "/me/revoke", "{}", 403, "AccessDeniedException", fakeProfiles{}},
		{"no JSON", root, "PUT", "/me", "hello", 400, "SerializationException", fakeProfiles{}},
		{"too much", root, "PUT", "/me", strings.Repeat(" ", certificateBytes+1), 413, "RequestEntityTooLargeException", fakeProfiles{}},
		{"something else", root, "DELETE", "/me", "", 404, "UnknownOperationException", fakeProfiles{}},
		{"broken", root, "PUT", "/broken", `{}`, 500, "ServiceException", fakeProfiles{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got fakeProfiles
			req := httptest.NewRequest(c.method, "/_lamina/signing-profiles"+c.path, strings.NewReader(c.body))
			if c.caller != "" {
				req = req.WithContext(identity.WithCaller(req.Context(), identity.Caller{ARN: c.caller, Kind: kindOf(c.caller)}))
			}
			w := httptest.NewRecorder()
			NewInternal(Internal{Profiles: &got, Log: slog.New(slog.DiscardHandler)}).ServeHTTP(w, req)
			if kind := w.Header().Get("X-Amzn-Errortype"); w.Code != c.status || kind != c.kind {
				t.Errorf("%d %s; want %d %s", w.Code, kind, c.status, c.kind)
			}
			if got != c.want {
				t.Errorf("did %+v; want %+v", got, c.want)
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Errorf("the answer tells too much: %s", w.Body)
			}
		})
	}
}

func TestSigningProfileShape(t *testing.T) {
	t.Parallel()
	req := httptest.NewRequest(http.MethodGet, "/_lamina/signing-profiles", nil)
	req = req.WithContext(identity.WithCaller(req.Context(), identity.Caller{ARN: "arn:aws:iam::000000000000:root", Kind: identity.KindRoot}))
	w := httptest.NewRecorder()
	NewInternal(Internal{Profiles: &fakeProfiles{}, Log: slog.New(slog.DiscardHandler)}).ServeHTTP(w, req)
	var got struct{ SigningProfiles []SigningProfile }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := []SigningProfile{{
		Name: "me", Version: "0123456789", Arn: "arn:aws:signer:eu-west-1:000000000000:/signing-profiles/me/0123456789",
		Certificate: "-----BEGIN CERTIFICATE-----\nAQ==\n-----END CERTIFICATE-----\n", Created: me.Created,
	}}
	if diff := cmp.Diff(want, got.SigningProfiles); diff != "" {
		t.Errorf("differs (-want +got):\n%s", diff)
	}
}

func kindOf(arn string) identity.Kind {
	if strings.HasSuffix(arn, ":root") {
		return identity.KindRoot
	}
	return identity.KindUser
}
