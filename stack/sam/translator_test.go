package sam

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/stack/template"
)

// translator is AWS's own, in one process that answers line by line.
type translator struct {
	in  io.WriteCloser
	out *bufio.Scanner
}

type request struct {
	Template   any            `json:"template"`
	Parameters map[string]any `json:"parameters"`
	Region     string         `json:"region"`
}

type answer struct {
	Template map[string]any
	Error    string
	Broken   string
}

func startTranslator(t *testing.T) *translator {
	testkit.Need(t, testkit.SAMTranslator)
	cmd := exec.CommandContext(t.Context(), testkit.Tool("python3"), filepath.Join("testdata", "translate.py"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait() //nolint:errcheck // its answers have been checked
	})
	tr := &translator{in: in, out: bufio.NewScanner(out)}
	tr.out.Buffer(nil, 16<<20)
	return tr
}

func (tr *translator) ask(t *testing.T, r request) answer {
	t.Helper()
	if r.Parameters == nil {
		r.Parameters = map[string]any{}
	}
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.in.Write(append(line, '\n')); err != nil {
		t.Fatalf("ask the translator: %v", err)
	}
	if !tr.out.Scan() {
		t.Fatalf("the translator said nothing: %v", tr.out.Err())
	}
	d := json.NewDecoder(strings.NewReader(tr.out.Text()))
	d.UseNumber()
	var a answer
	if err := d.Decode(&a); err != nil {
		t.Fatalf("read the translator's answer: %v", err)
	}
	return a
}

// compare transforms the text with both and returns how the results differ.
func compare(t *testing.T, tr *translator, text string, r request) (diff string, ok bool) {
	t.Helper()
	body, err := template.Parse(text)
	if err != nil {
		t.Fatalf("parse %s: %v", text, err)
	}
	order := template.Order(text)
	var written strings.Builder
	writeOrdered(&written, body, order)
	r.Template = json.RawMessage(written.String())
	partition := "aws"
	if strings.HasPrefix(r.Region, "cn-") {
		partition = "aws-cn"
	}
	got, err := Transform(body, Options{Region: r.Region, Partition: partition, Parameters: r.Parameters, Order: order})
	var after strings.Builder
	if writeOrdered(&after, body, order); after.String() != written.String() {
		t.Errorf("Transform changed its argument")
	}
	want := tr.ask(t, r)
	switch {
	case want.Broken != "":
		return "", false // what else is as good
	case want.Error != "" && err == nil:
		return fmt.Sprintf("no error; want %s", want.Error), false
	case want.Error != "":
		return cmp.Diff(want.Error, err.Error()), false
	case err != nil:
		return fmt.Sprintf("error %v; want none", err), false
	}
	return cmp.Diff(comparable(want.Template), comparable(got)), true
}

// comparable sorts what the translator puts out in an order of chance, and spells
// numbers alike.
func comparable(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, value := range v {
			value = comparable(value)
			if list, ok := value.([]any); ok && name == "DependsOn" {
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(spell(a), spell(b)) })
			}
			out[name] = value
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = comparable(value)
		}
		return out
	case json.Number:
		return "number " + number(v)
	}
	return v
}

var seeds = flag.Uint64("seeds", 200, "random templates that are compared")

func TestRandomTemplates(t *testing.T) {
	t.Parallel()
	tr := startTranslator(t)
	succeeded, failed := uint64(0), 0
	for seed := range *seeds {
		r := randomTemplate(seed)
		text, err := json.Marshal(r.Template)
		if err != nil {
			t.Fatal(err)
		}
		diff, ok := compare(t, tr, string(text), r)
		if ok {
			succeeded++
		}
		if diff == "" {
			continue
		}
		t.Errorf("seed %d (-translator +Lamina):\n%s\nof\n%s", seed, diff, text)
		if failed++; failed > 3 {
			t.FailNow()
		}
	}
	if t.Logf("%d of %d templates were transformed", succeeded, *seeds); succeeded < *seeds/2 {
		t.Errorf("%d templates of %d were transformed; want half of them at least, or the comparison says little", succeeded, *seeds)
	}
}

// TestTemplates compares templates that people could have written, in two regions
// and with values for parameters.
func TestTemplates(t *testing.T) {
	t.Parallel()
	tr := startTranslator(t)
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("Glob = %d files, %v; want 40 at least", len(files), err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []request{{Region: "us-east-1"}, {Region: "cn-north-1", Parameters: map[string]any{"Stage": "dev", "Alias": "other", "Name": "named"}}} {
			diff, ok := compare(t, tr, string(text), r)
			if diff != "" {
				t.Errorf("%s in %s (-translator +Lamina):\n%s", name, r.Region, diff)
			}
			if wrong := strings.HasPrefix(filepath.Base(name), "wrong-"); ok == wrong {
				t.Errorf("%s in %s: was transformed: %v; want %v", name, r.Region, ok, !wrong)
			}
		}
	}
}

// writeOrdered writes JSON whose members are in the order of the template.
func writeOrdered(out *strings.Builder, v any, order func(...string) []string, path ...string) {
	switch v := v.(type) {
	case map[string]any:
		out.WriteByte('{')
		for i, name := range ordered(v, order(path...)) {
			if i > 0 {
				out.WriteByte(',')
			}
			dumpString(out, name)
			out.WriteByte(':')
			writeOrdered(out, v[name], order, append(slices.Clone(path), name)...)
		}
		out.WriteByte('}')
	case []any:
		out.WriteByte('[')
		for i, one := range v {
			if i > 0 {
				out.WriteByte(',')
			}
			writeOrdered(out, one, order, append(slices.Clone(path), strconv.Itoa(i))...)
		}
		out.WriteByte(']')
	case json.Number:
		out.WriteString(string(v))
	default:
		dumps(out, v)
	}
}
