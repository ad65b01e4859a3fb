package control_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// TestKeepLayerVersion keeps layer versions of an account elsewhere, and of one
// that this server has, too.
func TestKeepLayerVersion(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), store.Options{Path: database(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	const ours, theirs = "000000000000", "123456789012"
	const another = "222222222222"
	for _, account := range []string{ours, another} {
		if err := db.Update(t.Context(), func(tx *store.Tx) error {
			return tx.InsertAccount(t.Context(), store.Account{ID: account, Created: time.Now()})
		}); err != nil {
			t.Fatal(err)
		}
	}
	var stagings []*staged
	limits := lamina.DefaultLimits()
	limits.CodeStorage = 1 << 20
	p := control.New(control.Options{
		Store: db, Invoker: &fakeInvoker{}, Locations: noLocations{}, Limits: limits, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Stage: func(context.Context) (wire.Upload, error) {
			stagings = append(stagings, &staged{})
			return stagings[len(stagings)-1], nil
		},
	})
	caller := func(account string) context.Context {
		return identity.WithCaller(t.Context(), identity.Caller{Account: account, Region: "eu-west-1", ARN: "arn:aws:iam::" + account + ":root"})
	}
	zip := func(body string) []byte { return testkit.Zip(t, testkit.File{Name: "python/a.py", Body: body}) }
	version := func(account string, number int64, data []byte) lamina.LayerVersion {
		license := "MIT"
		return lamina.LayerVersion{
			Layer: lamina.LayerID{Scope: lamina.Scope{Account: account, Region: "eu-west-1"}, Name: "geo"}, Number: number, Digest: sha256.Sum256(data),
			Description: "Places", LicenseInfo: &license, Runtimes: []string{"python3.12"}, Created: time.UnixMilli(1_700_000_000_000).UTC(),
		}
	}
	keep := func(account string, number int64, body string) (bool, error) {
		v := version(account, number, zip(body))
		kept, isNew, err := p.KeepLayerVersion(caller(ours), v, bytes.NewReader(zip(body)))
		if err == nil && (kept.ARN() != v.ARN() || kept.Digest != v.Digest || kept.Description != "Places" || !kept.Created.Equal(v.Created) || kept.UnpackedSize != int64(len(body))) {
			t.Errorf("KeepLayerVersion(%s) = %+v", v.ARN(), kept)
		}
		return isNew, err
	}
	refused := func(what string, err error, kind *wire.Kind, text string) {
		t.Helper()
		if ex, ok := errors.AsType[*wire.Exception](err); !ok || !kind.Is(err) || !strings.Contains(ex.Message(), text) {
			t.Errorf("%s = %v; want %s with %q", what, err, kind.Code, text)
		}
	}
	published := func(account, body string) int64 {
		t.Helper()
		out, err := p.PublishLayerVersion(caller(account), &wire.PublishLayerVersionRequest{LayerName: "geo", Content: &wire.LayerVersionContentInput{ZipFile: zipOf(t, body)}})
		if err != nil {
			t.Fatal(err)
		}
		return *out.Version
	}

	// Elsewhere numbers come in any order, and each once.
	for _, number := range []int64{7, 3} {
		if isNew, err := keep(theirs, number, "seven"); err != nil || !isNew {
			t.Errorf("keep %d = %t, %v; want it new", number, isNew, err)
		}
	}
	if isNew, err := keep(theirs, 7, "seven"); err != nil || isNew {
		t.Errorf("keep 7 again = %t, %v; want it known", isNew, err)
	}
	_, err = keep(theirs, 7, "other")
	refused("keep 7 with other bytes", err, wire.ResourceConflict, "An ARN means one archive for good")
	policy, err := p.GetLayerVersionPolicy(caller(theirs), &wire.GetLayerVersionPolicyRequest{LayerName: "geo", VersionNumber: 7})
	if err != nil || !strings.Contains(*policy.Policy, `"Principal":"*","Action":"lambda:GetLayerVersion"`) {
		t.Errorf("policy of a version from elsewhere = %+v, %v; want everyone to use it", policy, err)
	}

	// In an account of this server the counter counts on, and what it gave out is taken.
	if n := published(ours, "1"); n != 1 {
		t.Fatalf("published number %d; want 1", n)
	}
	if isNew, err := keep(ours, 5, "five"); err != nil || !isNew {
		t.Errorf("keep 5 in our account = %t, %v; want it new", isNew, err)
	}
	if _, err := p.GetLayerVersionPolicy(caller(ours), &wire.GetLayerVersionPolicyRequest{LayerName: "geo", VersionNumber: 5}); !wire.ResourceNotFound.Is(err) {
		t.Errorf("policy of a version of our account: %v; want none", err)
	}
	if n := published(ours, "6"); n != 6 {
		t.Errorf("published number %d after 5 was kept; want 6", n)
	}
	_, err = keep(ours, 4, "four")
	refused("keep a number that was passed", err, wire.ResourceConflict, "at number 6 already")
	if n := published(ours, "7"); n != 7 {
		t.Errorf("published number %d after a refusal; want 7", n)
	}

	// What is of another account of this server's is for that to publish.
	_, err = keep(another, 1, "one")
	refused("keep a version for another account", err, wire.AccessDenied, "publishes its layers itself")
	if n := published(another, "1"); n != 1 {
		t.Errorf("published number %d for the other account; want 1", n)
	}

	// What is wrong leaves nothing.
	lying := version(theirs, 9, zip("x"))
	lying.Digest[0] ^= 1
	_, _, err = p.KeepLayerVersion(caller(ours), lying, bytes.NewReader(zip("x")))
	refused("keep what has another hash", err, wire.InvalidParameterValue, "has the CodeSha256")
	_, _, err = p.KeepLayerVersion(caller(ours), version(theirs, 9, []byte("no zip")), strings.NewReader("no zip"))
	refused("keep what is no zip", err, wire.InvalidParameterValue, "Could not unzip")
	if _, _, err := p.KeepLayerVersion(caller(ours), version(theirs, 9, nil), iotest.ErrReader(io.ErrUnexpectedEOF)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("keep what breaks off: %v; want %v", err, io.ErrUnexpectedEOF)
	}
	long := version(theirs, 9, zip("x"))
	long.Description = strings.Repeat("x", 257)
	_, _, err = p.KeepLayerVersion(caller(ours), long, bytes.NewReader(zip("x")))
	refused("keep a long description", err, wire.InvalidParameterValue, "too long")
	many := version(theirs, 9, zip("x"))
	many.Runtimes = make([]string, 16)
	_, _, err = p.KeepLayerVersion(caller(ours), many, bytes.NewReader(zip("x")))
	refused("keep many runtimes", err, wire.InvalidParameterValue, "too many")
	if _, err := p.GetLayerVersion(caller(theirs), &wire.GetLayerVersionRequest{LayerName: "geo", VersionNumber: 9}); !wire.ResourceNotFound.Is(err) {
		t.Errorf("GetLayerVersion(9) = %v; want ResourceNotFoundException", err)
	}
	for i, s := range stagings {
		if s.discarded == 0 {
			t.Errorf("staging %d is not discarded", i)
		}
	}

	var pulled []string
	all, err := p.PulledLayerVersions(caller(ours))
	for _, v := range all {
		pulled = append(pulled, v.ARN())
	}
	if want := version(theirs, 3, nil).ARN() + " " + version(theirs, 7, nil).ARN(); err != nil || strings.Join(pulled, " ") != want {
		t.Errorf("PulledLayerVersions() = %q, %v; want %s", pulled, err, want)
	}

	// Only what is of nobody here can be dropped.
	id := lamina.LayerID{Scope: lamina.Scope{Account: theirs, Region: "eu-west-1"}, Name: "geo"}
	if err := p.DropLayerVersion(caller(ours), id, 7); err != nil {
		t.Error(err)
	}
	refused("drop it again", p.DropLayerVersion(caller(ours), id, 7), wire.ResourceNotFound, "does not exist")
	id.Account = ours
	refused("drop one of ours", p.DropLayerVersion(caller(ours), id, 5), wire.InvalidParameterValue, "DeleteLayerVersion")
}
