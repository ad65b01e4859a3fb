package console

import (
	"context"
	"html"
	"net/url"
	"strconv"

	"github.com/lamina-run/lamina/contents"
)

// comparedBytes bounds what of a comparison is on a page, about, in bytes of HTML.
const comparedBytes = 64 << 10

type layerCompareData struct {
	Name     string
	From, To *layerVersionDetail
	Kind     string // which changes are shown: added, removed or changed; empty for all
	Wrong    string

	Added, Removed, Changed, Same int
	OldSize, NewSize              int64 // bytes, unzipped
	Changes                       []layerChange
	Next                          string
	Later                         bool
}

// Growth is by how many bytes the files grew; negative when they shrank.
func (d layerCompareData) Growth() int64 { return d.NewSize - d.OldSize }

// page is the path of a page of this comparison.
func (d layerCompareData) page(kind string, at0 int) string {
	q := url.Values{"from": {strconv.FormatInt(d.From.Version, 10)}, "to": {strconv.FormatInt(d.To.Version, 10)}}
	if kind != "" {
		q.Set("kind", kind)
	}
	if at0 > 0 {
		q.Set("at", strconv.Itoa(at0))
	}
	return at("layers", d.Name, "compare") + "?" + q.Encode()
}

// Only is the path of a page with one kind of changes.
func (d layerCompareData) Only(kind string) string { return d.page(kind, 0) }

type layerChange struct {
	contents.Change
	Path string
}

// compareLayerVersions shows what one version has otherwise than another.
func (c *Console) compareLayerVersions(v *visit) error {
	q := v.req.URL.Query()
	d := layerCompareData{Name: v.req.PathValue("name"), Kind: q.Get("kind")}
	var err error
	if d.From, err = v.getLayerVersion(v.context(), d.Name, q.Get("from")); err != nil {
		return err
	}
	if d.To, err = v.getLayerVersion(v.context(), d.Name, q.Get("to")); err != nil {
		return err
	}
	first, err := strconv.Atoi(q.Get("at"))
	if err != nil || first < 0 {
		first = 0
	}
	if err := v.compare(&d, first); err != nil {
		if d.Wrong, err = v.unreadable(err); err != nil {
			return err
		}
	}
	return v.ok("layercompare", page{
		Title: "Compare versions " + strconv.FormatInt(d.From.Version, 10) + " and " + strconv.FormatInt(d.To.Version, 10),
		Room:  "layers", Data: d, Trail: []link{{"Layers", at("layers")}, {layerTitle(d.Name), at("layers", d.Name)}},
	})
}

// compare fills in the changes, from one place on.
func (v *visit) compare(d *layerCompareData, first int) error {
	ctx, leave, err := v.turn()
	if err != nil {
		return err
	}
	defer leave()
	trees := [2]*contents.Tree{}
	for i, of := range []*layerVersionDetail{d.From, d.To} {
		tree, done, err := v.openTree(ctx, of.Content.CodeSha256)
		defer done()
		if err != nil {
			return err
		}
		if trees[i] = tree; tree == nil {
			d.Wrong = errNoArchive.Message
			return nil
		}
	}
	return d.fill(ctx, trees[0], trees[1], first)
}

func (d *layerCompareData) fill(ctx context.Context, from, to *contents.Tree, first int) error {
	diff, err := contents.Compare(ctx, from, to)
	if err != nil {
		return err
	}
	d.Added, d.Removed, d.Changed, d.Same = diff.Added, diff.Removed, diff.Changed, diff.Same
	d.OldSize, d.NewSize = diff.OldSize, diff.NewSize
	room, n := comparedBytes, 0
	d.Later = first > 0
	for _, change := range diff.Changes {
		if d.Kind != "" && string(change.Kind) != d.Kind {
			continue
		}
		if n++; n <= first {
			continue
		}
		c := layerChange{Change: change, Path: printable(change.Path)}
		if room -= 260 + len(html.EscapeString(c.Path)); room < 0 {
			d.Next = d.page(d.Kind, n-1)
			break
		}
		d.Changes = append(d.Changes, c)
	}
	return nil
}
