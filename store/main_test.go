package store

import (
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testPostgres names the environment variable with the URL of a server on which
// the tests may create databases; .ci/postgres.sh starts one.
const testPostgres = "LAMINA_TEST_POSTGRES"

var needPostgres = testkit.Probe{Name: "postgres", Missing: func() string {
	if os.Getenv(testPostgres) == "" {
		return testPostgres + " is not set; see .ci/postgres.sh"
	}
	return ""
}}

// onBoth runs a test on an empty store of each dialect.
func onBoth(t *testing.T, run func(t *testing.T, s *Store)) {
	t.Helper()
	t.Parallel()
	eachDialect(t, func(t *testing.T, o Options) {
		t.Parallel()
		run(t, open(t, o))
	})
}

// eachDialect runs a test with an empty database of each dialect.
func eachDialect(t *testing.T, run func(t *testing.T, o Options)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { run(t, sqliteOptions(t)) })
	t.Run("postgres", func(t *testing.T) { run(t, postgresOptions(t)) })
}

// testKey is for every store, as it is at work.
var testKey = []byte("01234567890123456789012345678901")

func sqliteOptions(t testing.TB) Options {
	return Options{Path: filepath.Join(t.TempDir(), "lamina.db"), SecretKey: testKey}
}

func postgresOptions(t testing.TB) Options {
	t.Helper()
	testkit.Need(t, needPostgres)
	server, err := url.Parse(os.Getenv(testPostgres))
	if err != nil {
		t.Fatal(err)
	}
	name := "lamina_" + strings.ToLower(rand.Text())
	onServer(t, "CREATE DATABASE "+name)
	t.Cleanup(func() { onServer(t, "DROP DATABASE "+name+" WITH (FORCE)") })
	server.Path = "/" + name
	return Options{URL: server.String(), SecretKey: testKey}
}

func onServer(t testing.TB, statement string) {
	t.Helper()
	db, err := sql.Open("pgx", os.Getenv(testPostgres))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Errorf("%s: %v", statement, err)
	}
}

func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func update(t testing.TB, s *Store, fn func(tx *Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), fn); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func view(t testing.TB, s *Store, fn func(tx *Tx) error) {
	t.Helper()
	if err := s.View(t.Context(), fn); err != nil {
		t.Fatalf("View: %v", err)
	}
}

// get runs a read in a View of its own.
func get[T any](t testing.TB, s *Store, read func(tx *Tx) (T, error)) T {
	t.Helper()
	var got T
	view(t, s, func(tx *Tx) (err error) {
		got, err = read(tx)
		return err
	})
	return got
}

// together runs fn for 0 to n-1 at once and waits for all.
func together(n int, fn func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { fn(i) })
	}
	wg.Wait()
}

var (
	scope = lamina.Scope{Account: "123456789012", Region: "eu-west-1"}
	now   = time.UnixMilli(1_700_000_000_123).UTC()
)

func layerID(name string) lamina.LayerID       { return lamina.LayerID{Scope: scope, Name: name} }
func functionID(name string) lamina.FunctionID { return lamina.FunctionID{Scope: scope, Name: name} }

func digest(n int) (d lamina.Digest) {
	copy(d[:], fmt.Sprintf("digest %d", n))
	return d
}

func layerVersion(id lamina.LayerID, n int64) lamina.LayerVersion {
	return lamina.LayerVersion{
		Layer: id, Number: n, Digest: digest(int(n)), CodeSize: 10, UnpackedSize: 20,
		Runtimes: []string{"python3.12", "python3.13"}, Architectures: []string{"arm64"}, Created: now,
	}
}

// publishLayer publishes a version as control does; change may be nil.
func publishLayer(t testing.TB, s *Store, id lamina.LayerID, change func(*lamina.LayerVersion)) (v lamina.LayerVersion) {
	t.Helper()
	update(t, s, func(tx *Tx) error {
		n, err := tx.NextLayerNumber(t.Context(), id)
		if err != nil {
			return err
		}
		v = layerVersion(id, n)
		if change != nil {
			change(&v)
		}
		return tx.InsertLayerVersion(t.Context(), v)
	})
	return v
}

var incarnations atomic.Int64

func newFunction(id lamina.FunctionID) (lamina.Function, lamina.Version) {
	f := lamina.Function{ID: id, Incarnation: fmt.Sprint("incarnation ", incarnations.Add(1)), Created: now}
	v := lamina.Version{
		Function: id, Incarnation: f.Incarnation, RevisionID: "r0", LastModified: now,
		Config: lamina.Config{Runtime: "python3.12", Handler: "app.handler", PackageType: lamina.PackageZip},
		Code:   lamina.Code{Digest: digest(1000), CodeSize: 100, UnpackedSize: 300},
		Status: lamina.Status{State: lamina.StateActive, LastUpdate: lamina.UpdateSuccessful},
	}
	return f, v
}

func createFunction(t testing.TB, s *Store, id lamina.FunctionID) lamina.Version {
	t.Helper()
	f, v := newFunction(id)
	update(t, s, func(tx *Tx) error { return tx.InsertFunction(t.Context(), f, v) })
	return v
}

// publish publishes a version as control does.
func publish(t testing.TB, s *Store, id lamina.FunctionID) (v lamina.Version) {
	t.Helper()
	update(t, s, func(tx *Tx) error {
		f, err := tx.LockFunction(t.Context(), id)
		if err != nil {
			return err
		}
		latest, err := tx.FunctionVersion(t.Context(), id, 0)
		if err != nil {
			return err
		}
		v = latest.Freeze(f.LastNumber+1, nil, fmt.Sprint("r", f.LastNumber+1), now)
		return tx.InsertFunctionVersion(t.Context(), v)
	})
	return v
}

func layerNumbers(all []lamina.LayerVersion) (ns []int64) {
	for _, v := range all {
		ns = append(ns, v.Number)
	}
	return ns
}

// qualified returns name:qualifier of each version.
func qualified(all []lamina.Version) (names []string) {
	for _, v := range all {
		names = append(names, v.Function.Name+":"+v.Qualifier())
	}
	return names
}

func pointer[T any](v T) *T { return &v }
