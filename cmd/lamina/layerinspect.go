package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/contents"
)

type inspectLayerVerb struct {
	Layer    []string `arg:"" optional:"" help:"Zip, directory, ARN of a layer version, or name of a layer, with :NUMBER or its newest version. Of several the last wins, as for a function."`
	Function string   `placeholder:"NAME" help:"Show the layers of this function. Those given as arguments take the place of other versions of the same layer, or come last."`
	Runtime  []string `placeholder:"RUNTIME" help:"Runtime to look with, instead of those declared. May be given several times."`
	Arch     []string `placeholder:"ARCH" help:"Architecture to check machine code against, instead of those declared."`
	Depth    int      `default:"2" help:"How many folders deep the tree is shown; 0 is all of it."`
	Strict   bool     `help:"Exit with 1 when there are likely mistakes."`
	output
	stackServer
}

// Answers in JSON.
type (
	inspection struct {
		Function *inspectedFunction `json:",omitempty"`
		Layers   []inspectedLayer
		// Merged is what a function sees of several layers at /opt.
		Merged *inspectedMerge `json:",omitempty"`
	}
	inspectedFunction struct {
		FunctionArn   string
		Runtime       string
		Architectures []string
		UnpackedSize  int64
	}
	inspectedLayer struct {
		Name                         string
		CodeSha256                   string
		CodeSize                     int64
		UnpackedSize                 int64
		Files, Directories, Symlinks int
		Runtimes                     []string         `json:",omitempty"`
		Architectures                []string         `json:",omitempty"`
		Entries                      []inspectedEntry // in the order of a tree
		Search                       []inspectedSearch
		Mistakes                     []contents.Mistake
	}
	inspectedEntry struct {
		Path       string
		Kind       lamina.ArchiveKind
		Mode       string
		Size       int64
		Compressed int64
		Target     string `json:",omitempty"`
		Layer      string `json:",omitempty"` // who gives it, in a merge
	}
	inspectedSearch struct {
		Runtime string
		Finds   []inspectedFind
	}
	inspectedFind struct {
		Path  string // at /opt
		Holds string
		Files int
		Size  int64
		Names []string
		More  int `json:",omitempty"` // names that are left out
	}
	inspectedShadow struct {
		Path   string
		Layer  string
		By     string
		ByPath string
		Reason contents.ShadowReason
		Same   bool
	}
	inspectedMerge struct {
		Entries  []inspectedEntry
		Shadows  []inspectedShadow
		Search   []inspectedSearch
		Mistakes []contents.Mistake
		Budget   inspectedBudget
	}
	inspectedBudget struct {
		Limit    int64
		Used     int64
		Function int64
		Layers   []int64
	}
)

// Run shows what is in layers.
func (v *inspectLayerVerb) Run(ctx context.Context, s streams) error {
	if len(v.Layer) == 0 && v.Function == "" {
		return hint(errors.New("there is nothing to inspect"), "give a zip, a directory, an ARN, or --function")
	}
	opener := &layerOpener{server: &v.stackServer, notes: s.notes, limits: lamina.DefaultLimits()}
	f := contents.Function{Limits: opener.limits}
	out := inspection{Layers: []inspectedLayer{}}
	args := v.Layer
	if v.Function != "" {
		var err error
		if out.Function, args, err = v.function(ctx, opener); err != nil {
			return err
		}
		f.Runtime, f.Unpacked = out.Function.Runtime, out.Function.UnpackedSize
		if len(out.Function.Architectures) > 0 {
			f.Architecture = out.Function.Architectures[0]
		}
	}
	const mostLayers = 50 // ten times what a function can have
	if len(args) > mostLayers {
		return fmt.Errorf("these are more than %d layers", mostLayers)
	}
	var layers []contents.Layer
	var opened []*openLayer
	defer func() {
		for _, l := range opened {
			l.close()
		}
	}()
	for _, arg := range args {
		l, err := opener.open(ctx, arg)
		if v.Function != "" && isStatus(err, http.StatusNotFound) {
			return hint(err, "it was deleted: the function keeps it, but nobody can download it any more")
		}
		if err != nil {
			return err
		}
		opened = append(opened, l)
		layers = append(layers, contents.Layer{Name: l.name, Tree: l.tree})
	}
	mistakes := 0
	for _, l := range opened {
		one, err := v.inspect(ctx, l, f)
		if err != nil {
			return err
		}
		mistakes += len(one.Mistakes)
		out.Layers = append(out.Layers, one)
	}
	if len(layers) > 1 || v.Function != "" {
		out.Merged = v.merge(layers, f)
		mistakes += len(out.Merged.Mistakes)
	}
	if err := v.answer(s.out, out, func(w io.Writer) error { return v.table(w, out, opened) }); err != nil {
		return err
	}
	if v.Strict && mistakes > 0 {
		return errors.New("there are likely mistakes")
	}
	return nil
}

// function describes a function, and lists its layers and those that the
// arguments add.
func (v *inspectLayerVerb) function(ctx context.Context, o *layerOpener) (*inspectedFunction, []string, error) {
	ref, ok := lamina.ParseFunctionReference(v.Function)
	if !ok {
		return nil, nil, fmt.Errorf("--function %s is no name of a function", v.Function)
	}
	api, err := o.in(ref.Region)
	if err != nil {
		return nil, nil, err
	}
	var answer struct {
		Configuration struct {
			FunctionArn, Runtime, PackageType string
			Architectures                     []string
			Layers                            []struct{ Arn string }
		}
		Code struct{ Location string }
	}
	if err := api.do(ctx, http.MethodGet, functionsPath+"/"+url.PathEscape(v.Function), nil, &answer); err != nil {
		return nil, nil, o.server.explain(fmt.Errorf("look for function %s: %w", v.Function, err))
	}
	c := answer.Configuration
	if c.PackageType == "Image" {
		return nil, nil, fmt.Errorf("function %s is an image, which has no layers", v.Function)
	}
	f := &inspectedFunction{FunctionArn: c.FunctionArn, Runtime: c.Runtime, Architectures: c.Architectures}
	if answer.Code.Location != "" && !strings.HasPrefix(answer.Code.Location, hotReloadLink) { // which counts as nothing
		file, err := download(ctx, api.http, answer.Code.Location, o.notes, "the code of "+v.Function, o.limits.Unzipped+zipSlack)
		if err != nil {
			return nil, nil, fmt.Errorf("download the code of %s: %w", v.Function, err)
		}
		code := &openLayer{name: "the code of " + v.Function, file: file, temporary: true}
		err = code.read(ctx, o.limits)
		code.close()
		if err != nil {
			return nil, nil, err
		}
		f.UnpackedSize = code.tree.Size
	}
	var args []string
	for _, l := range c.Layers {
		args = append(args, l.Arn)
	}
	for _, arg := range v.Layer {
		if isLayerPath(arg) {
			args = append(args, arg)
			continue
		}
		answer, _, err := o.version(ctx, arg)
		if err != nil {
			return nil, nil, err
		}
		i := slices.IndexFunc(args, func(have string) bool { return strings.HasPrefix(have, answer.LayerArn+":") })
		if i < 0 {
			args = append(args, answer.LayerVersionArn)
			continue
		}
		args[i] = answer.LayerVersionArn
	}
	return f, args, nil
}

// use is what a layer is looked at with.
func (v *inspectLayerVerb) use(declared contents.Use, f contents.Function) contents.Use {
	if f.Runtime != "" {
		declared = f.Use()
	}
	if len(v.Runtime) > 0 {
		declared.Runtimes = v.Runtime
	}
	if len(v.Arch) > 0 {
		declared.Architectures = v.Arch
	}
	return declared
}

func (v *inspectLayerVerb) inspect(ctx context.Context, l *openLayer, f contents.Function) (inspectedLayer, error) {
	use := v.use(l.use, f)
	mistakes, err := l.tree.Mistakes(ctx, use)
	if err != nil {
		return inspectedLayer{}, fmt.Errorf("%s: %w", l.name, err)
	}
	t := l.tree
	one := inspectedLayer{
		Name: l.name, CodeSha256: l.sha, CodeSize: l.size, UnpackedSize: t.Size, Files: t.Files, Directories: t.Directories, Symlinks: t.Symlinks,
		Runtimes: l.use.Runtimes, Architectures: l.use.Architectures, Entries: []inspectedEntry{},
		Search: inspectSearch(t, use.Runtimes), Mistakes: orEmpty(mistakes),
	}
	for _, e := range t.Entries {
		one.Entries = append(one.Entries, inspectEntry(e))
	}
	return one, nil
}

func inspectEntry(e contents.Entry) inspectedEntry {
	return inspectedEntry{Path: e.Path, Kind: e.Kind, Mode: fmt.Sprintf("%04o", e.Mode), Size: e.Size, Compressed: e.Compressed, Target: e.Target}
}

// inspectSearch tells what each runtime finds; of all runtimes, only those that
// find something.
func inspectSearch(t *contents.Tree, runtimes []string) []inspectedSearch {
	given := len(runtimes) > 0
	if !given {
		runtimes = lamina.RuntimesWithLayers()
	}
	out := []inspectedSearch{}
	for _, r := range runtimes {
		one := inspectedSearch{Runtime: r, Finds: []inspectedFind{}}
		for _, f := range t.Search(r) {
			if f.Present {
				one.Finds = append(one.Finds, inspectedFind{Path: f.Absolute(), Holds: f.Holds, Files: f.Files, Size: f.Size, Names: orEmpty(f.Names), More: f.More})
			}
		}
		if given || len(one.Finds) > 0 {
			out = append(out, one)
		}
	}
	return out
}

func (v *inspectLayerVerb) merge(layers []contents.Layer, f contents.Function) *inspectedMerge {
	m := contents.Merge(layers...)
	b := m.Budget(f.Unpacked, f.Limits)
	out := &inspectedMerge{
		Entries: []inspectedEntry{}, Shadows: []inspectedShadow{},
		Search: inspectSearch(m.Tree, v.use(contents.Use{}, f).Runtimes), Mistakes: orEmpty(m.Mistakes(f)),
		Budget: inspectedBudget{Limit: b.Limit, Used: b.Used(), Function: b.Function, Layers: b.Layers},
	}
	for i, e := range m.Entries {
		one := inspectEntry(e)
		one.Layer = layers[m.From[i]].Name
		out.Entries = append(out.Entries, one)
	}
	for _, s := range m.Shadows {
		out.Shadows = append(out.Shadows, inspectedShadow{Path: s.Path, Layer: layers[s.Layer].Name, By: layers[s.By].Name, ByPath: s.ByPath, Reason: s.Reason, Same: s.Same})
	}
	return out
}

// table is the answer for people.
func (v *inspectLayerVerb) table(w io.Writer, all inspection, opened []*openLayer) error {
	for i, l := range all.Layers {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s\n", printable(l.Name))
		fmt.Fprintf(w, "  %s zipped, %s unzipped; %s, %s, %s; CodeSha256 %s\n",
			bytesText(l.CodeSize), bytesText(l.UnpackedSize), files(l.Files), counted(l.Directories, "folder"), counted(l.Symlinks, "symlink"), l.CodeSha256)
		if len(l.Runtimes)+len(l.Architectures) > 0 {
			fmt.Fprintf(w, "  declared: %s\n", strings.Join(append(slices.Clone(l.Runtimes), l.Architectures...), ", "))
		}
		if all.Merged == nil {
			fmt.Fprintln(w)
			if err := v.tree(w, opened[i].tree, v.use(opened[i].use, contents.Function{}).Runtimes); err != nil {
				return err
			}
			if err := searchTable(w, l.Search); err != nil {
				return err
			}
		}
		noteMistakesIn(w, l.Mistakes)
	}
	if all.Merged == nil {
		return nil
	}
	b := all.Merged.Budget
	fmt.Fprintf(w, "\n/opt, as a function sees it\n  %s of %s unzipped", bytesText(b.Used), bytesText(b.Limit))
	if all.Function != nil {
		fmt.Fprintf(w, ", %s of them the code of %s", bytesText(b.Function), all.Function.FunctionArn)
	}
	fmt.Fprint(w, "\n\n")
	if err := v.mergeTable(w, all); err != nil {
		return err
	}
	if err := searchTable(w, all.Merged.Search); err != nil {
		return err
	}
	noteMistakesIn(w, all.Merged.Mistakes)
	return nil
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// tree shows a tree, folders that are too deep as sums.
func (v *inspectLayerVerb) tree(w io.Writer, t *contents.Tree, runtimes []string) error {
	marks := t.Marks(runtimes...)
	table := columns(w)
	fmt.Fprintln(table, "SIZE\tZIPPED\tFILES\tMODE\tPATH")
	for _, e := range t.Entries {
		depth := e.Depth()
		if v.Depth > 0 && depth >= v.Depth {
			continue
		}
		name, count, size, zipped := printable(e.Name()), "", e.Size, e.Compressed
		switch e.Kind {
		case lamina.ArchiveDirectory:
			sum := t.Sum(e.Path)
			name, count, size, zipped = name+"/", strconv.Itoa(sum.Files), sum.Size, sum.Compressed
		case lamina.ArchiveSymlink:
			name += " -> " + printable(e.Target)
		}
		if found := marks[e.Path]; len(found) > 0 {
			name += "   <- " + strings.Join(shortRuntimes(found), ", ")
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%04o\t%s%s\n", bytesText(size), bytesText(zipped), count, e.Mode, strings.Repeat("  ", depth), name)
	}
	return table.Flush()
}

// shortRuntimes says all runtimes, or all of a language, in one word.
func shortRuntimes(found []string) []string {
	all := lamina.RuntimesWithLayers()
	if len(found) == len(all) {
		return []string{"all runtimes"}
	}
	var out []string
	for i := 0; i < len(found); {
		family := lamina.RuntimeFamily(found[i])
		same := func(r string) bool { return lamina.RuntimeFamily(r) == family }
		n := 0
		for _, r := range all {
			if same(r) {
				n++
			}
		}
		end := i
		for end < len(found) && same(found[end]) {
			end++
		}
		if end-i == n && n > 1 {
			out = append(out, family)
		} else {
			out = append(out, found[i:end]...)
		}
		i = end
	}
	return out
}

// searchTable shows what runtimes find, those that find the same together.
func searchTable(w io.Writer, all []inspectedSearch) error {
	if len(all) == 0 {
		return nil
	}
	type row struct {
		find     inspectedFind
		runtimes []string
	}
	var rows []*row
	var without []string
	for _, s := range all {
		if len(s.Finds) == 0 {
			without = append(without, s.Runtime)
		}
		for _, f := range s.Finds {
			i := slices.IndexFunc(rows, func(r *row) bool { return r.find.Path == f.Path })
			if i < 0 {
				rows = append(rows, &row{find: f})
				i = len(rows) - 1
			}
			rows[i].runtimes = append(rows[i].runtimes, s.Runtime)
		}
	}
	fmt.Fprintln(w)
	table := columns(w)
	if len(rows) > 0 {
		fmt.Fprintln(table, "SEARCHED\tFOR\tBY\tFILES\tFINDS")
	}
	for _, r := range rows {
		var names []string
		for _, name := range r.find.Names {
			names = append(names, printable(name))
		}
		if r.find.More > 0 {
			names = append(names, fmt.Sprintf("%d more", r.find.More))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\n", r.find.Path, r.find.Holds, strings.Join(shortRuntimes(r.runtimes), ", "), r.find.Files, strings.Join(names, ", "))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(without) > 0 {
		fmt.Fprintf(w, "%s: finds nothing\n", strings.Join(without, ", "))
	}
	return nil
}

// mergeTable shows who gives what, and what nobody sees.
func (v *inspectLayerVerb) mergeTable(w io.Writer, all inspection) error {
	number := map[string]int{}
	table := columns(w)
	fmt.Fprintln(table, "#\tLAYER\tUNZIPPED")
	for i, l := range all.Layers {
		number[l.Name] = i + 1
		fmt.Fprintf(table, "%d\t%s\t%s\n", i+1, printable(l.Name), bytesText(l.UnpackedSize))
	}
	fmt.Fprintln(table)
	fmt.Fprintln(table, "#\tSIZE\tPATH")
	for _, e := range all.Merged.Entries {
		depth := strings.Count(e.Path, "/")
		if v.Depth > 0 && depth >= v.Depth {
			continue
		}
		name := printable(e.Path[strings.LastIndexByte(e.Path, '/')+1:])
		size := bytesText(e.Size)
		switch e.Kind {
		case lamina.ArchiveDirectory:
			name, size = name+"/", ""
		case lamina.ArchiveSymlink:
			name += " -> " + printable(e.Target)
		}
		fmt.Fprintf(table, "%d\t%s\t%s%s\n", number[e.Layer], size, strings.Repeat("  ", depth), name)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(all.Merged.Shadows) == 0 {
		return nil
	}
	const most = 50
	fmt.Fprintln(w)
	table = columns(w)
	fmt.Fprintln(table, "HIDDEN\tOF\tBY\tWHY")
	for i, s := range all.Merged.Shadows {
		if i == most {
			fmt.Fprintf(table, "%d more; all are in --output json\t\t\t\n", len(all.Merged.Shadows)-most)
			break
		}
		why := string(s.Reason)
		if s.Same {
			why += ", same content"
		} else if s.ByPath != s.Path {
			why += " " + printable(s.ByPath)
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%s\n", printable(s.Path), number[s.Layer], number[s.By], why)
	}
	return table.Flush()
}

func noteMistakesIn(w io.Writer, mistakes []contents.Mistake) {
	if len(mistakes) > 0 {
		fmt.Fprintln(w)
	}
	noteMistakes(w, mistakes)
}
