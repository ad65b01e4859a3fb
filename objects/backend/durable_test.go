package backend

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/versity/versitygw/backend/meta"
)

// TestSyncsAreShared: whoever waits is served by a sync that began after it came,
// and those who wait together by one.
func TestSyncsAreShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var syncs atomic.Int64
		began := time.Now()
		fails := errors.New("the disk is gone")
		s := newSyncer(func() error {
			n := syncs.Add(1)
			time.Sleep(time.Second)
			if n == 3 {
				return fails
			}
			return nil
		})
		ended := make(chan time.Duration, 10) // one send of each who waits
		wait := func() {
			if err := s.wait(); err != nil {
				t.Errorf("wait = %v", err)
			}
			ended <- time.Since(began)
		}
		go wait()
		synctest.Wait()
		time.Sleep(time.Second / 2)
		for range 9 { // while the first sync runs
			go wait()
		}
		for n := range 10 {
			want := 2 * time.Second
			if n == 0 {
				want = time.Second
			}
			if got := <-ended; got != want {
				t.Errorf("wait %d ended after %v; want %v", n, got, want)
			}
		}
		if got := syncs.Load(); got != 2 {
			t.Errorf("%d syncs; want 2", got)
		}
		if err := s.wait(); !errors.Is(err, fails) {
			t.Errorf("wait for a sync that fails = %v; want %v", err, fails)
		}
		if err := s.wait(); err != nil {
			t.Errorf("wait after a sync that failed = %v", err)
		}
	})
}

// summed is a body with a checksum.
type summed struct{ io.Reader }

func (summed) Algorithm() string { return "crc32" }
func (summed) Checksum() string  { return "sum" }

func TestWholeBodies(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"": false, "abc": false, "abcd": true, "abcde": false} {
		four := int64(4)
		for _, body := range []io.Reader{strings.NewReader(text), summed{strings.NewReader(text)}} {
			_, err := io.ReadAll(wholeBody(body, &four))
			if got := err == nil; got != want {
				t.Errorf("%T of %d bytes where 4 were promised: %v; want success %v", body, len(text), err, want)
			}
		}
	}
	zero := int64(0)
	if s, ok := wholeBody(summed{strings.NewReader("")}, &zero).(interface{ Checksum() string }); !ok || s.Checksum() != "sum" {
		t.Error("a body lost its checksum")
	}
}

// TestMetadataStaysWhereItIs: what was written as files is not looked for in
// attributes, whatever the file system can do.
func TestMetadataStaysWhereItIs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, versionsDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if m, sidecar, err := storer(dir); err != nil || sidecar == "" != (m == meta.XattrMeta{}) {
		t.Errorf("storer = %T, %q, %v", m, sidecar, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, metadataDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if m, sidecar, err := storer(dir); err != nil || sidecar != filepath.Join(dir, metadataDir) {
		t.Errorf("storer where there are files = %T, %q, %v", m, sidecar, err)
	}
	if err := probe(filepath.Join(dir, "absent")); err == nil {
		t.Error("a directory that is not there has attributes")
	}
}
