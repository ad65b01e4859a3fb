package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/contents"
)

// attachedLayer is one of a function's layers, or of those that it may get.
type attachedLayer struct {
	Arn, Text   string
	Path        string // of its page
	Description string
	CodeSize    int64
	Files       int
	Unzipped    int64
	Problems    []string
}

type functionLayersData struct {
	*functionHead
	Attached []attachedLayer
	Preview  bool
	Offered  []layerChoice
	Most     int
	Merged   *mergedData
}

// mergedData is what the function sees at /opt.
type mergedData struct {
	*contents.Merged
	Names     []string // of the layers, in their order
	Nodes     []*codeNode
	More      int
	Dir       string
	Above     []link
	Shadows   []shadowText
	Hidden    int // entries that are hidden, all of them
	Budget    contents.Budget
	CodeKnown bool
	Partial   bool // not all layers could be read
	Query     string
}

// Over reports whether the function would not fit.
func (m *mergedData) Over() bool { return m.Budget.Used() > m.Budget.Limit }

// Percent of the limit that is used.
func (m *mergedData) Percent() string {
	return fmt.Sprintf("%.1f %%", 100*float64(m.Budget.Used())/float64(max(m.Budget.Limit, 1)))
}

type shadowText struct {
	Path, Layer, By, Why string
	Same                 bool
}

// Place is the number of a layer for people.
func (functionLayersData) Place(i int) int { return i + 1 }

// Place is the number of the layer for people.
func (attachedLayer) Place(i int) int { return i + 1 }

// High is where the meter warns.
func (m *mergedData) High() int64 { return m.Budget.Limit * 9 / 10 }

// Link leads to the directory whose name is put behind it. A browser shows it with the
// merged view at the top.
func (m *mergedData) Link() string { return "?" + m.Query + "&dir=" }

const (
	// shadowsShown bounds the list of what is hidden.
	shadowsShown = 100
	// mergedEntries bounds what is read of all layers for one page.
	mergedEntries = 400_000
)

// layerChoice is a layer with its versions, to choose from.
type layerChoice struct {
	Name     string
	Versions []struct{ Arn, Text string }
}

// functionLayers shows the layers of a function, or with parameters layer those
// that it may get, and what it sees of them.
func (c *Console) functionLayers(v *visit) error {
	h, err := v.functionHead("layers")
	if err != nil {
		return err
	}
	d := functionLayersData{functionHead: h, Most: v.o.Limits.LayersPerFunction}
	q := v.req.URL.Query()
	var arns []string
	if d.Preview = q.Has("layer") || q.Has("none"); d.Preview && h.Latest() {
		arns = slices.DeleteFunc(q["layer"], func(arn string) bool { return arn == "" })
		arns = arns[:min(len(arns), 2*d.Most)]
	} else {
		for _, l := range h.Config.Layers {
			arns = append(arns, l.Arn)
		}
	}
	ctx, leave, err := v.turn()
	if err != nil {
		return err
	}
	err = v.mergeLayers(ctx, &d, arns, q)
	leave() // what is shown was copied
	if err != nil {
		return err
	}
	if h.Latest() && h.Known && !h.Config.IsImage() {
		d.Offered, err = v.layersOffered(h.Config.Runtime, h.Config.Architecture())
		if err := h.part("Own layers", err); err != nil {
			return err
		}
	}
	return v.showFunction("functionlayers", "Layers", h, d)
}

// mergeLayers reads the layers and puts them on top of each other.
func (v *visit) mergeLayers(ctx context.Context, d *functionLayersData, arns []string, q url.Values) error {
	m := &mergedData{Dir: q.Get("dir")}
	var layers []contents.Layer
	entries := 0
	for _, arn := range arns {
		l := attachedLayer{Arn: arn, Text: v.shortARN(arn)}
		if i := strings.LastIndexByte(l.Text, ':'); i > 0 {
			l.Path = at("layers", l.Text[:i], "versions", l.Text[i+1:])
		}
		tree, closeTree, err := v.readLayer(ctx, &l, d.Config)
		if err != nil {
			return err
		}
		if tree != nil {
			defer closeTree()
			if entries += len(tree.Entries); entries > mergedEntries {
				l.Problems = append(l.Problems, "The layers have too many files to show them together")
				tree = nil
			}
		}
		if tree == nil {
			m.Partial = true
			tree = &contents.Tree{}
		}
		d.Attached = append(d.Attached, l)
		layers = append(layers, contents.Layer{Name: arn, Tree: tree})
		m.Names = append(m.Names, l.Text)
	}
	m.Merged = contents.Merge(layers...)
	code := int64(0)
	switch _, a, err := v.codeOf(ctx, d.Name, d.Qualifier); {
	case isRefusal(err):
		if err := d.part("Code", err); err != nil {
			return err
		}
	case err != nil:
		if _, err := v.unreadable(err); err != nil {
			return err
		}
	case a != nil:
		code, m.CodeKnown = a.Tree.Size, true
		a.Close()
	}
	m.Budget = m.Merged.Budget(code, v.o.Limits)
	if e, ok := m.Lookup(m.Dir); m.Dir != "" && (!ok || !e.IsDirectory()) {
		m.Dir = ""
	}
	m.Above = above(m.Dir)
	marks := map[string][]string{}
	if d.Config.Runtime != "" {
		marks = m.Marks(d.Config.Runtime)
	}
	m.Nodes, m.More = nodesOf(m.Tree, m.Dir, func(n *codeNode, e contents.Entry) {
		if i, ok := m.Giver(e.Path); ok {
			n.Layer = i + 1
		}
		n.Search = marks[e.Path]
		for _, s := range m.HiddenBy(e.Path) {
			n.Hides = append(n.Hides, m.Names[s.Layer])
		}
	})
	m.Hidden = len(m.Merged.Shadows)
	for _, s := range m.Merged.Shadows[:min(m.Hidden, shadowsShown)] {
		m.Shadows = append(m.Shadows, shadowText{printable(s.Path), m.Names[s.Layer], m.Names[s.By], string(s.Reason), s.Same})
	}
	link := url.Values{}
	if d.Preview {
		for _, arn := range arns {
			link.Add("layer", arn)
		}
		if len(arns) == 0 {
			link.Set("none", "1")
		}
	} else if d.Qualifier != "" {
		link.Set("qualifier", d.Qualifier)
	}
	m.Query = link.Encode()
	d.Merged = m
	return nil
}

// At leads to a directory of the merged view.
func (m *mergedData) At(dir string) string {
	return "?" + m.Query + "&dir=" + url.QueryEscape(dir) + "#merged"
}

// readLayer opens a layer version as the API lets the caller see it. Without a tree
// the layer's problems tell why.
func (v *visit) readLayer(ctx context.Context, l *attachedLayer, f functionConfig) (*contents.Tree, func(), error) {
	var out struct {
		Description                                 string
		CompatibleRuntimes, CompatibleArchitectures []string
		Content                                     struct {
			CodeSha256 string
			CodeSize   int64
		}
	}
	err := v.lambda(v.context(), http.MethodGet, "/2018-10-31/layers?find=LayerVersion&Arn="+url.QueryEscape(l.Arn), nil, &out)
	if r, ok := err.(*refusal); ok { //nolint:errorlint // nothing wraps it
		l.Problems = append(l.Problems, "Its content can't be shown: "+r.Message)
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	l.Description, l.CodeSize = out.Description, out.Content.CodeSize
	if n := out.CompatibleRuntimes; len(n) > 0 && f.Runtime != "" && !slices.Contains(n, f.Runtime) {
		l.Problems = append(l.Problems, "Not made for "+f.Runtime+", but for "+strings.Join(n, ", "))
	}
	if n := out.CompatibleArchitectures; len(n) > 0 && f.Architecture() != "" && !slices.Contains(n, f.Architecture()) {
		l.Problems = append(l.Problems, "Not made for "+f.Architecture()+", but for "+strings.Join(n, ", "))
	}
	tree, done, err := v.openTree(ctx, out.Content.CodeSha256)
	if err != nil {
		done()
		why, err := v.unreadable(err)
		l.Problems = append(l.Problems, why)
		return nil, nil, err
	}
	if tree == nil {
		l.Problems = append(l.Problems, errNoArchive.Message)
		return nil, nil, nil
	}
	l.Files, l.Unzipped = tree.Files, tree.Size
	if f.Runtime != "" && len(lamina.RuntimeSearchPaths(f.Runtime)) > 0 && !tree.Finds(f.Runtime) {
		l.Problems = append(l.Problems, f.Runtime+" finds nothing in it by itself")
	}
	return tree, done, nil
}

const (
	layersOffered     = 40
	versionsOffered   = 10 // of each
	layerPagesOffered = 4  // of 50 layers, that are looked through
)

// layersOffered are the caller's own layers that suit, with their newest versions.
// One that says nothing of runtimes or architectures suits all.
func (v *visit) layersOffered(runtime, architecture string) ([]layerChoice, error) {
	suits := func(all []string, one string) bool { return len(all) == 0 || one == "" || slices.Contains(all, one) }
	var out []layerChoice
	marker := ""
	for range layerPagesOffered {
		var layers struct {
			Layers     []layerItem
			NextMarker string
		}
		if err := v.lambda(v.context(), http.MethodGet, "/2018-10-31/layers?MaxItems=50&Marker="+url.QueryEscape(marker), nil, &layers); err != nil {
			return out, err
		}
		for _, l := range layers.Layers {
			newest := l.LatestMatchingVersion
			var versions struct{ LayerVersions []layerVersionItem }
			err := v.lambda(v.context(), http.MethodGet, fmt.Sprintf("/2018-10-31/layers/%s/versions?MaxItems=%d", url.PathEscape(l.LayerName), versionsOffered), nil, &versions)
			if refusedWith(err, "AccessDeniedException") { // then the newest is all that is known
				versions.LayerVersions = append(versions.LayerVersions, layerVersionItem{
					LayerVersionArn: newest.LayerVersionArn, Version: newest.Version, Description: newest.Description,
					CompatibleRuntimes: newest.CompatibleRuntimes, CompatibleArchitectures: newest.CompatibleArchitectures,
				})
			} else if err != nil {
				return out, err
			}
			c := layerChoice{Name: l.LayerName}
			for _, n := range versions.LayerVersions {
				if !suits(n.CompatibleRuntimes, runtime) || !suits(n.CompatibleArchitectures, architecture) {
					continue
				}
				text := l.LayerName + ":" + strconv.FormatInt(n.Version, 10)
				if n.Description != "" {
					text += " — " + n.Description
				}
				c.Versions = append(c.Versions, struct{ Arn, Text string }{n.LayerVersionArn, text})
			}
			if len(c.Versions) > 0 {
				out = append(out, c)
			}
			if len(out) == layersOffered {
				return out, nil
			}
		}
		if marker = layers.NextMarker; marker == "" {
			break
		}
	}
	return out, nil
}

// setFunctionLayers saves the list of layers, or leads to its preview after a step.
func (c *Console) setFunctionLayers(v *visit) error {
	form, name := v.req.PostForm, v.req.PathValue("name")
	arns := slices.Clone(form["layer"])
	for _, field := range []string{"add", "addarn"} {
		if arn := strings.TrimSpace(form.Get(field)); arn != "" {
			arns = append(arns, arn)
		}
	}
	verb, rest, _ := strings.Cut(form.Get("action"), ":")
	i, _ := strconv.Atoi(rest)
	switch inside := i >= 0 && i < len(arns); {
	case verb == "up" && inside && i > 0:
		arns[i-1], arns[i] = arns[i], arns[i-1]
	case verb == "down" && inside && i+1 < len(arns):
		arns[i+1], arns[i] = arns[i], arns[i+1]
	case verb == "remove" && inside:
		arns = slices.Delete(arns, i, i+1)
	}
	preview := url.Values{"layer": arns}
	if len(arns) == 0 {
		preview = url.Values{"none": {"1"}}
	}
	to := at("functions", name, "layers") + "?" + preview.Encode()
	if verb != "save" {
		http.Redirect(v.w, v.req, to, http.StatusSeeOther)
		return nil
	}
	if arns == nil {
		arns = []string{} // none, not unchanged
	}
	if err := v.configure(name, form.Get("revision"), map[string]any{"Layers": arns}); err != nil {
		return v.notDone(to, err)
	}
	return v.done(at("functions", name, "layers"), "Layers saved")
}

// configure updates a function's configuration, unless somebody changed the
// function since it had the revision.
func (v *visit) configure(name, revision string, in map[string]any) error {
	if revision != "" {
		in["RevisionId"] = revision
	}
	return v.lambda(v.context(), http.MethodPut, functionPath(of2015, name, "/configuration"), in, nil)
}
