package sdk

import (
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lamina-run/lamina/internal/testkit"
)

// TestPostgres is the short version of the other tests on the other database.
func TestPostgres(t *testing.T) {
	testkit.Need(t, testkit.Postgres)
	t.Parallel()
	s := testkit.Start(t, testkit.Options{Args: []string{"--database", newDatabase(t)}, Region: region})
	b := desk{s, s.Lambda(), t}
	arn := *b.layer("l", archive(t, "python/m.py", "")).LayerVersionArn
	b.function("f", python(t, "1"), arn)
	if got := *b.publish("f").Version; got != "1" {
		t.Errorf("published version %s; want 1", got)
	}
	b.Kill()
	b.Restart()
	b.update("f", python(t, "2"))
	if got := *b.publish("f").Version; got != "2" {
		t.Errorf("published version %s after a restart; want 2", got)
	}
	if got := b.layer("l", archive(t, "python/m.py", "")).Version; got != 2 {
		t.Errorf("layer version %d after a restart; want 2", got)
	}
}

// newDatabase makes a database for one test and returns its URL. It stays behind:
// the PostgreSQL is temporary.
func newDatabase(t *testing.T) string {
	t.Helper()
	server := os.Getenv("LAMINA_TEST_POSTGRES")
	conn, err := pgx.Connect(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	name := fmt.Sprintf("sdk_%d", time.Now().UnixNano())
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}
