package bench

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lamina-run/lamina/internal/testkit"
)

// publishLarge measures the publication of a 50 MB layer: the server's time from
// the first byte of the body to its answer, against doing by hand what can't be
// left out: base64, SHA-256, and a file that is on disk. It returns the largest
// growth of the server's resident memory, or -1 where that can't be measured.
func publishLarge(t *testing.T, figures *[]*figure) (growth int64) {
	growth = -1
	s := start(t)
	l := dial(t, s.URL)
	f := &figure{name: "publish a 50 MB layer", baseline: "base64, SHA-256, write, fsync", unit: time.Millisecond}
	*figures = append(*figures, f)
	publishLayer(t, s, l, "small", testkit.Zip(t, testkit.File{Name: "n"})) // everything is paged in
	random := make([]byte, 50<<20-4096)
	decoded := make([]byte, 50<<20)
	noise := rand.NewChaCha8([32]byte{})
	for round := range *rounds {
		_, _ = noise.Read(random) // never fails
		encoded := base64.StdEncoding.EncodeToString(storedZip(t, random))
		r := sign(t, s, http.MethodPost, "/2018-10-31/layers/large/versions", []byte(`{"Content":{"ZipFile":"`+encoded+`"}}`))
		before, ok := memory(t, s.PID())
		_, ours := l.send(t, r)
		if ok {
			_, peak := status(t, s.PID())
			growth = max(growth, peak-before)
		}

		began := time.Now()
		n, err := base64.StdEncoding.Decode(decoded, []byte(encoded))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(decoded[:n])
		out, err := os.Create(filepath.Join(s.Data, "baseline-"+strconv.Itoa(round)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write(decoded[:n]); err != nil {
			t.Fatal(err)
		}
		if err := out.Sync(); err != nil {
			t.Fatal(err)
		}
		out.Close()
		theirs := time.Since(began)
		_ = sum
		os.Remove(out.Name())
		f.add(ours, theirs)
	}
	s.Stop()
	return growth
}

func storedZip(t testing.TB, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	out, err := w.CreateHeader(&zip.FileHeader{Name: "blob.bin", Method: zip.Store})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// memory returns what of the process is resident, and makes the kernel forget the
// peak, so that [status] tells the peak since.
func memory(t testing.TB, pid int) (resident int64, ok bool) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o200); err != nil {
		t.Logf("memory is not measured: %v", err)
		return 0, false
	}
	resident, _ = status(t, pid)
	return resident, true
}

func status(t testing.TB, pid int) (resident, peak int64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for row := range strings.Lines(string(text)) {
		fields := strings.Fields(row)
		if len(fields) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(fields[1], 10, 64) // other rows are no numbers
		switch fields[0] {
		case "VmRSS:":
			resident = n << 10
		case "VmHWM:":
			peak = n << 10
		}
	}
	return resident, peak
}

// readAmongMany measures GetLayerVersion on a server that has many versions of
// the layer, against a server that has one. Requests go to both in turns.
func readAmongMany(t *testing.T, figures *[]*figure) {
	const reads = 1000 // a round
	one, many := start(t), start(t)
	zip := testkit.Zip(t, testkit.File{Name: "python/m.py", Body: "X = 1\n"})
	fill(t, many, zip)
	lineOne, lineMany := dial(t, one.URL), dial(t, many.URL)
	publishLayer(t, one, lineOne, "l", zip)

	f := &figure{
		name:     fmt.Sprintf("GetLayerVersion, p99, %d versions stored", *stored),
		baseline: "the same with 1 version stored", unit: time.Microsecond, bound: 1.5,
	}
	middle := &figure{name: "GetLayerVersion, p50, of the same", baseline: "the same with 1 version stored", unit: time.Microsecond}
	*figures = append(*figures, f, middle)
	for round := range *rounds + 1 {
		getOne := sign(t, one, http.MethodGet, "/2018-10-31/layers/l/versions/1", nil)
		var getMany []request
		for range 100 {
			getMany = append(getMany, sign(t, many, http.MethodGet, fmt.Sprintf("/2018-10-31/layers/l/versions/%d", 1+rand.IntN(*stored)), nil))
		}
		var ours, theirs []time.Duration
		for i := range reads {
			_, took := lineOne.send(t, getOne)
			theirs = append(theirs, took)
			_, took = lineMany.send(t, getMany[i%len(getMany)])
			ours = append(ours, took)
		}
		if round > 0 { // the first warms both up
			f.add(percentile(ours, 99), percentile(theirs, 99))
			middle.add(percentile(ours, 50), percentile(theirs, 50))
		}
	}
	one.Stop()
	many.Stop()
}

// fill publishes the versions over a few connections at once.
func fill(t *testing.T, s *testkit.Server, zip []byte) {
	t.Helper()
	const lines, batch = 8, 250
	began := time.Now()
	var wg sync.WaitGroup
	body := fmt.Appendf(nil, `{"Content":{"ZipFile":%q}}`, base64.StdEncoding.EncodeToString(zip))
	for n := range lines {
		l := dial(t, s.URL)
		wg.Go(func() {
			for i := n; i < *stored; i += lines * batch {
				r := sign(t, s, http.MethodPost, "/2018-10-31/layers/l/versions", body)
				for j := i; j < min(*stored, i+lines*batch); j += lines {
					if status, answer, _, err := l.try(r); err != nil || status != http.StatusCreated {
						t.Errorf("publish: %d %s %v", status, answer, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	took := time.Since(began)
	t.Logf("published %d versions in %v, %.0f a second over %d connections", *stored, took.Round(time.Millisecond), float64(*stored)/took.Seconds(), lines)
}
