package audit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func entries(t *testing.T, dir string) (all []Entry, bytes int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v; want 0600", name, info.Mode())
		}
		bytes += info.Size()
		for s := bufio.NewScanner(f); s.Scan(); {
			var e Entry
			if err := json.Unmarshal(s.Bytes(), &e); err != nil {
				t.Fatalf("%s: %v in %s", name, err, s.Text())
			}
			all = append(all, e)
		}
	}
	return all, bytes
}

func TestAppend(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "audit")
	o := Options{Dir: dir, Bytes: MinBytes, Now: time.Now}
	want := Entry{Account: "000000000000", Operation: "CreateFunction", Names: map[string]string{"FunctionName": "f\nx"}, Status: 201}
	for range 2 { // the second goes on after the first
		l, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		var writers sync.WaitGroup
		for range 4 {
			writers.Go(func() {
				for range 25 {
					if err := l.Append(want); err != nil {
						t.Error(err)
					}
				}
			})
		}
		writers.Wait()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	all, _ := entries(t, dir)
	if len(all) != 200 {
		t.Fatalf("%d entries; want 200", len(all))
	}
	got := all[0]
	if got.Time.IsZero() || time.Since(got.Time) > time.Minute {
		t.Errorf("time = %v; want now", got.Time)
	}
	if got.Operation != want.Operation || got.Names["FunctionName"] != "f\nx" || got.Status != 201 {
		t.Errorf("entry = %+v; want %+v", got, want)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := Open(Options{Dir: dir, Bytes: MinBytes, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const n = 5000
	for i := range n {
		if err := l.Append(Entry{RequestID: fmt.Sprint(i), Names: map[string]string{"a": strings.Repeat("x", 100)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Append(Entry{RequestID: "last", Agent: strings.Repeat("x", 1<<20)}); err != nil {
		t.Fatal(err)
	}
	all, bytes := entries(t, dir)
	if bytes > MinBytes {
		t.Errorf("%d bytes; want at most %d", bytes, MinBytes)
	}
	if len(all) < n/10 {
		t.Errorf("%d entries are left of %d", len(all), n)
	}
	seen := map[string]bool{}
	for _, e := range all {
		seen[e.RequestID] = true
		if len(e.Agent) > mostLine {
			t.Errorf("an entry has an agent of %d bytes", len(e.Agent))
		}
	}
	if seen["0"] || !seen["last"] || !seen[fmt.Sprint(n-1)] {
		t.Errorf("the oldest entries should have gone, the newest stayed; first: %v, last: %v", seen["0"], seen["last"])
	}
}
