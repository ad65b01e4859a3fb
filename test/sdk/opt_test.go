package sdk

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/contents"
	"github.com/lamina-run/lamina/internal/testkit"
)

var (
	layerSets = flag.Int("layersets", 40, "how many generated sets of layers are compared with /opt")
	layerSeed = flag.Uint64("layerseed", 7, "what they are generated from")
)

// walker tells of each path below /opt what it is and has.
const walker = `
import os, stat
def handler(event, context):
    out = {}
    for dir, dirs, files in os.walk("/opt"):
        for name in dirs + files:
            path = os.path.join(dir, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                what = "symlink to " + os.readlink(path)
            elif stat.S_ISDIR(mode):
                what = "directory"
            else:
                what = "file of " + open(path).read()
            out[path[5:]] = "%s, %o" % (what, stat.S_IMODE(mode))
    return out
`

// TestMergedViewIsWhatFunctionsSee generates sets of up to five layers that overlap:
// files over files, directories over files and the reverse, symlinks, empty
// directories. What contents.Merge and lamina layer inspect say of a set has to be
// what a function that has these layers finds at /opt.
func TestMergedViewIsWhatFunctionsSee(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Overlay, testkit.Python)
	b := open(t)
	const functions = 3
	code := archive(t, "app.py", walker)
	var seen struct {
		sync.Mutex
		reasons map[contents.ShadowReason]int
	}
	seen.reasons = map[contents.ShadowReason]int{}
	t.Run("sets", func(t *testing.T) {
		for f := range functions {
			t.Run(fmt.Sprint(f), func(t *testing.T) {
				t.Parallel()
				b := desk{b.Server, b.Client, t}
				name := fmt.Sprintf("walker-%d", f)
				b.function(name, code)
				for set := f; set < *layerSets; set += functions {
					m := b.compareSet(name, set)
					seen.Lock()
					for _, s := range m.Shadows {
						seen.reasons[s.Reason]++
					}
					seen.Unlock()
					if t.Failed() {
						return
					}
				}
			})
		}
	})
	// Else the sets are too tame to tell anything.
	for _, r := range []contents.ShadowReason{contents.Replaced, contents.FileOverDirectory, contents.DirectoryOverFile} {
		if seen.reasons[r] < *layerSets/4 {
			t.Errorf("%q happened %d times in %d sets", r, seen.reasons[r], *layerSets)
		}
	}
}

func (b desk) compareSet(function string, set int) *contents.Merged {
	b.Helper()
	random := rand.New(rand.NewPCG(*layerSeed, uint64(set)))
	var layers []contents.Layer
	var arns []string
	for i := range 1 + random.IntN(5) {
		zip := testkit.Zip(b.TB, randomLayer(random, fmt.Sprintf("layer %d of set %d", i, set))...)
		out := b.layer(fmt.Sprintf("%s-%d", function, i), zip)
		tree, err := contents.Read(b.Context(), bytes.NewReader(zip), int64(len(zip)), lamina.DefaultLimits())
		if err != nil {
			b.Fatal(err)
		}
		arn := aws.ToString(out.LayerVersionArn)
		layers, arns = append(layers, contents.Layer{Name: arn, Tree: tree}), append(arns, arn)
	}
	if _, err := b.UpdateFunctionConfiguration(b.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: &function, Layers: arns}); err != nil {
		b.Fatal(err)
	}
	b.updated(function)
	var saw map[string]string
	if out := b.invoke(function, "{}"); out.FunctionError != nil {
		b.Fatalf("set %d: %s", set, out.Payload)
	} else if err := json.Unmarshal(out.Payload, &saw); err != nil {
		b.Fatal(err)
	}

	merged := contents.Merge(layers...)
	says := map[string]string{}
	for _, e := range merged.Entries {
		what := e.Kind.String()
		var text strings.Builder
		switch e.Kind {
		case lamina.ArchiveSymlink:
			what += " to " + e.Target
		case lamina.ArchiveFile:
			if err := e.Copy(b.Context(), &text); err != nil {
				b.Fatal(err)
			}
			what += " of " + text.String()
		}
		says[e.Path] = fmt.Sprintf("%s, %o", what, e.Mode)
	}
	if diff := cmp.Diff(saw, says); diff != "" {
		b.Errorf("set %d (-the function sees +Merge says):\n%s", set, diff)
	}
	b.compareInspect(function, set, merged)
	return merged
}

// compareInspect holds lamina layer inspect, which reads the layers from the
// server, to what Merge says.
func (b desk) compareInspect(function string, set int, merged *contents.Merged) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), testkit.Binary(b.TB), "layer", "inspect", "--function", function, "--output", "json")
	cmd.Env = b.Env()
	var notes bytes.Buffer
	cmd.Stderr = &notes
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("set %d: lamina layer inspect: %v\n%s", set, err, notes.Bytes())
	}
	var told struct {
		Merged struct {
			Entries []struct{ Path, Kind, Mode, Target, Layer string }
			Shadows []struct{ Path, Layer, By, ByPath, Reason string }
		}
	}
	if err := json.Unmarshal(out, &told); err != nil {
		b.Fatal(err)
	}
	var got, want []string
	for _, e := range told.Merged.Entries {
		got = append(got, strings.Join([]string{e.Path, e.Kind, e.Mode, e.Target, e.Layer}, " "))
	}
	for _, s := range told.Merged.Shadows {
		got = append(got, strings.Join([]string{s.Path, s.Layer, s.By, s.ByPath, s.Reason}, " "))
	}
	for i, e := range merged.Entries {
		want = append(want, strings.Join([]string{e.Path, e.Kind.String(), fmt.Sprintf("%04o", e.Mode), e.Target, merged.Layers[merged.From[i]].Name}, " "))
	}
	for _, s := range merged.Shadows {
		want = append(want, strings.Join([]string{s.Path, merged.Layers[s.Layer].Name, merged.Layers[s.By].Name, s.ByPath, string(s.Reason)}, " "))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.Errorf("set %d: inspect differs from Merge (-want +got):\n%s", set, diff)
	}
}

// randomLayer makes the entries of a zip, of few names so that layers overlap.
func randomLayer(random *rand.Rand, label string) []testkit.File {
	names := []string{"a", "b", "a-b", "ü", `a\b`}
	var files []testkit.File
	var fill func(dir string, depth int)
	fill = func(dir string, depth int) {
		for _, name := range names {
			path := dir + name
			switch kind := random.IntN(10); {
			case kind < 4 && (depth > 0 || kind < 2):
			case kind < 6:
				mode := []fs.FileMode{0o644, 0o755, 0o600}[random.IntN(3)]
				files = append(files, testkit.File{Name: path, Body: label, Mode: mode})
			case kind == 6:
				files = append(files, testkit.File{Name: path, Link: []string{"a", "../b", "/opt/a", "nothing"}[random.IntN(4)]})
			default:
				if random.IntN(2) == 0 || depth == 3 {
					files = append(files, testkit.File{Name: path + "/"})
				}
				if depth < 3 {
					fill(path+"/", depth+1)
				}
			}
		}
	}
	fill("", 0)
	random.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	return files
}
