package console

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/contents"
)

// editBytes is the largest file that is shown and edited in a page.
const editBytes = 64 << 10

// codeArchive is a function's code, being read.
type codeArchive struct {
	*archive
	*contents.Tree
}

// errNoCode is told where the code of a function is wanted that is no archive.
var errNoCode = &refusal{
	Status: http.StatusNotFound, Code: "NoArchive",
	Message: "The function's code is no archive: it is a container image, or a directory of the server's host.",
}

// codeOf asks for a function with the permission that gives its code, and opens
// it. The archive is nil where there is none. The caller closes it.
func (v *visit) codeOf(ctx context.Context, name, qualifier string) (functionConfig, *codeArchive, error) {
	var out struct {
		Configuration functionConfig
	}
	if err := v.lambda(ctx, http.MethodGet, functionPath(of2015, name, "", "Qualifier", qualifier), nil, &out); err != nil {
		return functionConfig{}, nil, err
	}
	if out.Configuration.IsImage() {
		return out.Configuration, nil, nil
	}
	a, err := v.openArchive(ctx, out.Configuration.CodeSha256)
	if err != nil || a == nil {
		return out.Configuration, nil, err
	}
	tree, err := contents.Read(ctx, a, a.size, v.o.Limits)
	if err != nil {
		return out.Configuration, nil, errors.Join(err, a.Close())
	}
	return out.Configuration, &codeArchive{a, tree}, nil
}

// codeArchiveOf is codeOf for what can do nothing without the archive: where there
// is none, it answers errNoCode.
func (v *visit) codeArchiveOf(ctx context.Context, name, qualifier string) (functionConfig, *codeArchive, error) {
	config, a, err := v.codeOf(ctx, name, qualifier)
	if err == nil && a == nil {
		err = errNoCode
	}
	return config, a, err
}

// codeNodes is how many entries of an archive a page shows at once.
const codeNodes = 300

// codeNode is an entry of an archive in a page.
type codeNode struct {
	Name, Path, Target string
	Directory, Symlink bool
	Size               int64 // of a directory that of everything in it
	Files              int   // in a directory
	Children           []*codeNode
	Open               bool     // its children are here, not on a page of their own
	Unfolded           bool     // and they show
	Search             []string // runtimes that look here
	Layer              int      // of a merged view: which one gives it, from 1
	Hides              []string // of a merged view: what it hides
}

// nodesOf returns what is in a directory, as deep as the number of nodes allows;
// directories beyond have no children and are not open. Of the directory itself there
// are at most codeNodes, and more tells how many are left out.
func nodesOf(t *contents.Tree, dir string, each func(*codeNode, contents.Entry)) (nodes []*codeNode, more int) {
	node := func(e contents.Entry) *codeNode {
		n := &codeNode{
			Name: printable(e.Name()), Path: e.Path, Target: printable(e.Target), Directory: e.IsDirectory(),
			Symlink: e.Kind == lamina.ArchiveSymlink, Size: e.Size,
		}
		if each != nil {
			each(n, e)
		}
		return n
	}
	children := t.Children(dir)
	if len(children) > codeNodes {
		more, children = len(children)-codeNodes, children[:codeNodes]
	}
	for _, e := range children {
		nodes = append(nodes, node(e))
	}
	left := codeNodes - len(nodes)
	const unfolded = 40 // nodes that show by themselves
	for queue := nodes; len(queue) > 0; queue = queue[1:] {
		n := queue[0]
		if !n.Directory {
			continue
		}
		sum := t.Sum(n.Path)
		n.Size, n.Files = sum.Size, sum.Files
		below := t.Children(n.Path)
		if len(below) > left {
			continue
		}
		n.Open = true
		left -= len(below)
		n.Unfolded = codeNodes-left <= unfolded || len(n.Search) > 0
		for _, e := range below {
			child := node(e)
			n.Children = append(n.Children, child)
			queue = append(queue, child)
		}
	}
	return nodes, more
}

// above are the directories that lead to a path, outermost first.
func above(dir string) []link {
	var out []link
	for i, r := range dir {
		if r == '/' {
			out = append(out, link{printable(path.Base(dir[:i])), dir[:i]})
		}
	}
	if dir != "" {
		out = append(out, link{printable(path.Base(dir)), dir})
	}
	return out
}

type functionCodeData struct {
	*functionHead
	Archive     *contents.Tree
	Size        int64
	Dir         string
	Above       []link
	Nodes       []*codeNode
	More        int
	HandlerFile string
	Image       string
	NoArchive   bool
	Wrong       string // why the archive can't be shown
}

// FileLink leads to the file whose path is put behind it.
func (d functionCodeData) FileLink() string { return d.linkTo("path", "code", "file") }

// DirLink leads to the directory whose path is put behind it.
func (d functionCodeData) DirLink() string { return d.linkTo("dir", "code") }

func (d functionCodeData) linkTo(parameter string, parts ...string) string {
	p := d.Path(parts...)
	if strings.Contains(p, "?") {
		return p + "&" + parameter + "="
	}
	return p + "?" + parameter + "="
}

// functionCode shows what is in the function's archive.
func (c *Console) functionCode(v *visit) error {
	h, err := v.functionHead("code")
	if err != nil {
		return err
	}
	d := functionCodeData{functionHead: h}
	ctx, leave, err := v.turn()
	if err != nil {
		return err
	}
	defer leave()
	_, a, err := v.codeOf(ctx, h.Name, h.Qualifier)
	switch {
	case err == nil && a == nil:
		d.NoArchive = true
		if h.Config.IsImage() {
			var out struct{ Code struct{ ImageUri string } }
			if err := v.lambda(v.context(), http.MethodGet, functionPath(of2015, h.Name, "", "Qualifier", h.Qualifier), nil, &out); err != nil {
				return err
			}
			d.Image = out.Code.ImageUri
		}
	case isRefusal(err):
		if err := h.part("Code", err); err != nil {
			return err
		}
	case err != nil:
		if d.Wrong, err = v.unreadable(err); err != nil {
			return err
		}
	default:
		defer a.Close()
		d.Archive, d.Size = a.Tree, a.size
		d.Dir = v.req.URL.Query().Get("dir")
		if e, ok := a.Lookup(d.Dir); d.Dir != "" && (!ok || !e.IsDirectory()) {
			d.Dir = ""
		}
		d.Above = above(d.Dir)
		d.Nodes, d.More = nodesOf(a.Tree, d.Dir, nil)
		d.HandlerFile = handlerFile(a.Tree, h.Config.Runtime, h.Config.Handler)
	}
	return v.showFunction("functioncode", "Code", h, d)
}

// handlerFile is the file that a handler is in, if the archive has it.
func handlerFile(t *contents.Tree, runtime, handler string) string {
	var names []string
	switch lamina.RuntimeFamily(runtime) {
	case "python", "nodejs", "ruby":
		stem := handler
		if i := strings.LastIndexByte(handler, '.'); i > 0 {
			stem = handler[:i]
		}
		for _, suffix := range []string{".py", ".js", ".mjs", ".cjs", ".rb"} {
			names = append(names, stem+suffix)
		}
		names = append(names, strings.ReplaceAll(stem, ".", "/")+".py")
	case "provided":
		names = []string{"bootstrap"}
	}
	for _, n := range names {
		if e, ok := t.Lookup(path.Clean(n)); ok && e.Kind == lamina.ArchiveFile {
			return e.Path
		}
	}
	return ""
}

type functionFileData struct {
	*functionHead
	Dir      string
	File     string // its path
	New      bool
	Text     string
	Size     int64
	Mode     string
	Target   string // of a symlink
	Modified time.Time
	// Fixed is why the file can't be edited here; empty when it can.
	Fixed     string
	Shown     bool
	Revision  string
	Wrong     string
	Runnable  bool // for a new file
	Conflicts bool // somebody else changed the function
}

// Shows reports whether the text is there to look at.
func (d functionFileData) Editable() bool { return d.Fixed == "" }

// PrintablePath is the file's path for people.
func (d functionFileData) PrintablePath() string { return printable(d.File) }

// functionFile shows a file of the archive, or with the parameter new a form for
// another one.
func (c *Console) functionFile(v *visit) error {
	h, err := v.functionHead("code")
	if err != nil {
		return err
	}
	q := v.req.URL.Query()
	ctx, leave, err := v.turn()
	if err != nil {
		return err
	}
	defer leave()
	config, a, err := v.codeArchiveOf(ctx, h.Name, h.Qualifier)
	if err != nil {
		return err
	}
	defer a.Close()
	d := functionFileData{functionHead: h, File: q.Get("path"), Dir: q.Get("dir"), Revision: config.RevisionId}
	if q.Get("path") == "" {
		d.New = true
		if d.Dir != "" {
			d.File = d.Dir + "/"
		}
		return v.showFunction("functionfile", "New file", h, d)
	}
	if err := d.read(ctx, a); err != nil {
		return err
	}
	if !h.Latest() && d.Fixed == "" {
		d.Fixed = "The code of a published version never changes."
	}
	return v.showFunction("functionfile", printable(path.Base(d.File)), h, d)
}

func noFile(name string) error {
	return &refusal{Status: http.StatusNotFound, Code: "NoFile", Message: "The archive has no file " + printable(name) + "."}
}

// read fills in what the archive has.
func (d *functionFileData) read(ctx context.Context, a *codeArchive) error {
	e, ok := a.Lookup(d.File)
	if !ok || e.IsDirectory() {
		return noFile(d.File)
	}
	d.Size, d.Mode, d.Modified, d.Dir = e.Size, e.Mode.String(), e.Modified, strings.TrimSuffix(path.Dir(e.Path), ".")
	switch {
	case e.Kind == lamina.ArchiveSymlink:
		d.Target, d.Fixed = printable(e.Target), "It is a symlink."
		return nil
	case e.Size > editBytes:
		d.Fixed = fmt.Sprintf("It has more than %s, the most that is shown here.", bytesText(editBytes))
		return nil
	}
	var text bytes.Buffer
	if err := e.Copy(ctx, &text); err != nil {
		if r, ok := errors.AsType[*lamina.ArchiveError](err); ok {
			d.Fixed = "It can't be read: " + r.Error() + "."
			return nil
		}
		return err
	}
	d.Text = text.String()
	switch {
	case !utf8.Valid(text.Bytes()) || bytes.IndexByte(text.Bytes(), 0) >= 0:
		d.Text, d.Fixed = "", "It is no text."
	case escapedBytes(d.Text) > 2*editBytes:
		d.Text, d.Fixed = "", "It is too large to be shown here."
	case lineEnds(d.Text) == mixedEnds:
		d.Shown, d.Fixed = true, "Its lines end in more than one way, which a browser can't keep."
	default:
		d.Shown = true
	}
	return nil
}

// How the lines of a text end. A browser sends each end as CR LF.
type ends int

const (
	unixEnds ends = iota
	dosEnds
	mixedEnds
)

func lineEnds(text string) ends {
	dos := strings.Count(text, "\r\n")
	switch {
	case strings.Count(text, "\r") > dos:
		return mixedEnds
	case dos == 0:
		return unixEnds
	case strings.Count(text, "\n") > dos:
		return mixedEnds
	}
	return dosEnds
}

// withEnds is what a browser sent of a text whose lines end so.
func withEnds(text string, e ends) string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if e == dosEnds {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	return text
}

// saveFunctionFile puts a text into the archive, in the place of the file's or as
// a new one. What was typed is shown again when it can't be.
func (c *Console) saveFunctionFile(v *visit) error {
	form := v.req.PostForm
	h, err := v.functionHead("code")
	if err != nil {
		return err
	}
	d := functionFileData{
		functionHead: h, File: form.Get("path"), New: form.Get("new") != "", Text: form.Get("text"), Revision: form.Get("revision"),
		Runnable: form.Get("runnable") != "", Shown: true,
	}
	again := func(err error) error {
		r, ok := err.(*refusal) //nolint:errorlint // nothing wraps it
		if !ok {
			return err
		}
		d.Wrong, d.Conflicts = r.Message, r.Code == "PreconditionFailedException"
		title := "New file"
		if !d.New {
			title = d.PrintablePath()
		}
		v.show(max(r.Status, http.StatusBadRequest), "functionfile", page{Title: h.title(title), Room: "functions", Trail: h.trail(), Data: d})
		return nil
	}
	invalid := func(text string) error {
		return again(&refusal{Status: http.StatusUnprocessableEntity, Code: "InvalidForm", Message: text})
	}
	if len(d.Text) > 2*editBytes {
		return invalid("The text has more than " + bytesText(editBytes) + ". Upload a zip instead.")
	}
	ctx, leave, err := v.turn()
	if err != nil {
		return err
	}
	defer leave()
	_, a, err := v.codeArchiveOf(ctx, h.Name, "")
	if err != nil {
		return again(err)
	}
	defer a.Close()
	change := zipChange{name: d.File}
	e, exists := a.Lookup(d.File)
	if d.New {
		clean := path.Clean(d.File)
		if d.File == "" || clean != d.File || !fs.ValidPath(clean) || clean == "." || strings.Contains(clean, `\`) {
			return invalid("The path of a file is relative, with slashes, without . and .. in it.")
		}
		if exists {
			return invalid("The archive has " + printable(d.File) + " already.")
		}
		for dir := path.Dir(clean); dir != "."; dir = path.Dir(dir) {
			if e, ok := a.Lookup(dir); ok && !e.IsDirectory() {
				return invalid(printable(dir) + " is no directory.")
			}
		}
		change.add, change.mode = true, 0o644
		if d.Runnable {
			change.mode = 0o755
		}
		change.text = withEnds(d.Text, unixEnds)
	} else {
		if !exists || e.Kind != lamina.ArchiveFile || e.Size > editBytes {
			return again(noFile(d.File))
		}
		var old bytes.Buffer
		if err := e.Copy(ctx, &old); err != nil {
			return err
		}
		if !utf8.Valid(old.Bytes()) || lineEnds(old.String()) == mixedEnds {
			return invalid("The file can't be edited here.")
		}
		change.text = withEnds(d.Text, lineEnds(old.String()))
	}
	if err := v.changeCode(h.Name, d.Revision, a, change); err != nil {
		return again(err)
	}
	return v.done(at("functions", h.Name, "code", "file")+"?path="+url.QueryEscape(d.File), "Saved %s", printable(d.File))
}

// removeFunctionFile deletes a file, or a directory with everything in it.
func (c *Console) removeFunctionFile(v *visit) error {
	name, file := v.req.PathValue("name"), v.req.PostForm.Get("path")
	back := at("functions", name, "code")
	ctx, leave, err := v.turn()
	if err != nil {
		return err
	}
	defer leave()
	_, a, err := v.codeArchiveOf(ctx, name, "")
	if err != nil {
		return v.notDone(back, err)
	}
	defer a.Close()
	e, ok := a.Lookup(file)
	if !ok {
		return v.notDone(back, noFile(file))
	}
	gone := 1
	if e.IsDirectory() {
		gone += len(a.Below(file))
	}
	if gone >= len(a.Entries) {
		return v.notDone(back, &refusal{Code: "InvalidForm", Message: "That would leave an archive without any file. Upload another one, or delete the function."})
	}
	if err := v.changeCode(name, v.req.PostForm.Get("revision"), a, zipChange{name: file, remove: true}); err != nil {
		return v.notDone(back, err)
	}
	return v.done(back, "Deleted %s", printable(file))
}

// changeCode has Lambda take the archive with a change, unless somebody changed the
// function since it had the revision.
func (v *visit) changeCode(name, revision string, a *codeArchive, change zipChange) error {
	head, err := jsonHead(map[string]any{"RevisionId": revision})
	if err != nil {
		return err
	}
	return v.sendZip(v.context(), http.MethodPut, functionPath(of2015, name, "/code"), head+`"ZipFile":"`, `"}`, func(w io.Writer) error {
		return change.write(w, a, a.size, v.o.Now())
	}, nil)
}

// zipChange is what is done to one path of a zip. Everything else stays as it is,
// byte by byte, in its order.
type zipChange struct {
	name        string // clean
	add, remove bool   // else the file's content is replaced
	text        string
	mode        fs.FileMode // of a file that is added
}

// write writes the changed zip.
func (c zipChange) write(w io.Writer, from io.ReaderAt, size int64, now time.Time) error {
	r, err := zip.NewReader(from, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // the names were checked when the archive came
		return fmt.Errorf("change archive: %w", err)
	}
	out := zip.NewWriter(w)
	if err := out.SetComment(r.Comment); err != nil {
		return fmt.Errorf("change archive: %w", err)
	}
	last := -1 // the entry that counts, if there are more of the name
	for i, f := range r.File {
		if path.Clean(f.Name) == c.name {
			last = i
		}
	}
	put := func(header *zip.FileHeader) error {
		header.Method, header.Modified, header.Extra = zip.Deflate, now.UTC(), nil
		entry, err := out.CreateHeader(header)
		if err != nil {
			return err
		}
		_, err = io.WriteString(entry, c.text)
		return err
	}
	for i, f := range r.File {
		name := path.Clean(f.Name)
		switch {
		case c.remove && (name == c.name || strings.HasPrefix(name, c.name+"/")):
			continue
		case !c.remove && !c.add && i == last:
			header := f.FileHeader
			err = put(&header)
		default:
			err = out.Copy(f)
		}
		if err != nil {
			return fmt.Errorf("change archive: %w", err)
		}
	}
	if c.add {
		header := &zip.FileHeader{Name: c.name}
		header.SetMode(c.mode)
		if err := put(header); err != nil {
			return fmt.Errorf("change archive: %w", err)
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("change archive: %w", err)
	}
	return nil
}

func (c *Console) uploadFunctionCode(v *visit) error {
	name := v.req.PathValue("name")
	back := at("functions", name, "code")
	archive, done, err := v.uploadedZip()
	if err != nil {
		return v.notDone(back, err)
	}
	defer done()
	in := map[string]any{"RevisionId": v.req.PostForm.Get("revision")}
	head, err := jsonHead(in)
	if err != nil {
		return err
	}
	if err := v.sendZip(v.context(), http.MethodPut, functionPath(of2015, name, "/code"), head+`"ZipFile":"`, `"}`, archive, nil); err != nil {
		return v.notDone(back, err)
	}
	return v.done(back, "The code was replaced")
}

// downloadFunctionCode answers the archive itself.
func (c *Console) downloadFunctionCode(v *visit) error {
	name, qualifier := v.req.PathValue("name"), v.req.URL.Query().Get("qualifier")
	var out struct {
		Configuration functionConfig
	}
	if err := v.lambda(v.context(), http.MethodGet, functionPath(of2015, name, "", "Qualifier", qualifier), nil, &out); err != nil {
		return err
	}
	config := out.Configuration
	var a *archive
	if !config.IsImage() {
		var err error
		if a, err = v.openArchive(v.context(), config.CodeSha256); err != nil {
			return err
		}
	}
	if a == nil {
		return errNoCode
	}
	defer a.Close()
	h := v.w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", config.FunctionName+"-"+strings.Trim(config.Version, "$")+".zip"))
	http.ServeContent(v.w, v.req, "", time.Time{}, a.ReadSeekCloser)
	return nil
}
