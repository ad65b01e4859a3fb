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
	Template   map[string]any `json:"template"`
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

// compare transforms with both and returns how the results differ.
func compare(t *testing.T, tr *translator, r request, order func(...string) []string) string {
	t.Helper()
	before, err := json.Marshal(r.Template)
	if err != nil {
		t.Fatal(err)
	}
	partition := "aws"
	if strings.HasPrefix(r.Region, "cn-") {
		partition = "aws-cn"
	}
	got, err := Transform(r.Template, Options{Region: r.Region, Partition: partition, Parameters: r.Parameters, Order: order})
	if after, _ := json.Marshal(r.Template); string(after) != string(before) {
		t.Errorf("Transform changed its argument")
	}
	want := tr.ask(t, r)
	switch {
	case want.Broken != "":
		return "" // anything but this
	case want.Error != "" && err == nil:
		return fmt.Sprintf("no error; want %s", want.Error)
	case want.Error != "":
		return cmp.Diff(want.Error, err.Error())
	case err != nil:
		return fmt.Sprintf("error %v; want none", err)
	}
	return cmp.Diff(comparable(want.Template), comparable(got))
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

var seeds = flag.Uint64("seeds", 400, "random templates that are compared")

func TestRandomTemplates(t *testing.T) {
	tr := startTranslator(t)
	succeeded, failed := uint64(0), 0
	for seed := range *seeds {
		r := randomTemplate(seed)
		// As CloudFormation's parser would have read it.
		text, err := json.Marshal(r.Template)
		if err != nil {
			t.Fatal(err)
		}
		if r.Template, err = template.Parse(string(text)); err != nil {
			t.Fatal(err)
		}
		if diff := compare(t, tr, r, nil); diff != "" {
			t.Errorf("seed %d (-translator +Lamina):\n%s\nof\n%s", seed, diff, text)
			if failed++; failed > 3 {
				t.FailNow()
			}
		} else if _, err := Transform(r.Template, Options{Parameters: r.Parameters}); err == nil {
			succeeded++
		}
	}
	if t.Logf("%d of %d templates were transformed", succeeded, *seeds); succeeded < *seeds/2 {
		t.Errorf("%d templates of %d were transformed; want half of them at least, or the comparison says little", succeeded, *seeds)
	}
}
