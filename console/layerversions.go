package console

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lamina-run/lamina"
)

// layerVersionHead is what all pages of one version have in common.
type layerVersionHead struct {
	layerVersionDetail
	Name    string // as in paths: a name, or the ARN of another account's layer
	Tab     string
	Foreign bool // another account's
}

// Path is where the version's pages are.
func (h layerVersionHead) Path(parts ...string) string {
	return at(append([]string{"layers", h.Name, "versions", strconv.FormatInt(h.Version, 10)}, parts...)...)
}

// page is one of the version's pages.
func (h layerVersionHead) page(data any) page {
	return page{
		Title: versionTitle(h.Name, h.Version), Room: "layers", Data: data,
		Trail: []link{{"Layers", at("layers")}, {layerTitle(h.Name), at("layers", h.Name)}},
	}
}

// versionAsked gets the version that the path names.
func (v *visit) versionAsked(tab string) (layerVersionHead, error) {
	h := layerVersionHead{Name: v.req.PathValue("name"), Tab: tab}
	detail, err := v.getLayerVersion(v.context(), h.Name, v.req.PathValue("version"))
	if err != nil {
		return h, err
	}
	h.layerVersionDetail = *detail
	ref, ok := lamina.ParseLayerReference(h.LayerVersionArn)
	h.Foreign = ok && ref.Account != v.caller.Account
	return h, nil
}

type layerVersionData struct {
	layerVersionHead
	layerContents
}

// layerVersion shows what a version is and has.
func (c *Console) layerVersion(v *visit) error {
	h, err := v.versionAsked("contents")
	if err != nil {
		return err
	}
	d := layerVersionData{layerVersionHead: h}
	if d.layerContents, err = v.layerContents(h); err != nil {
		return err
	}
	return v.ok("layerversion", h.page(d))
}

// archive is an open archive that can be read at any place, by one reader at a time.
type archive struct {
	io.ReadSeekCloser
	size int64

	mu sync.Mutex
}

// ReadAt implements [io.ReaderAt].
func (a *archive) ReadAt(p []byte, off int64) (int, error) {
	if r, ok := a.ReadSeekCloser.(io.ReaderAt); ok {
		return r.ReadAt(p, off)
	}
	a.mu.Lock() // the place in the file is what it guards
	defer a.mu.Unlock()
	if _, err := a.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.ReadFull(a.ReadSeekCloser, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// openArchive opens the archive of a CodeSha256 that the API told this caller of.
// It is nil where there is none: a directory of the host has a CodeSha256 too. The
// caller closes it.
func (v *visit) openArchive(ctx context.Context, sha256 string) (*archive, error) {
	sum, err := base64.StdEncoding.DecodeString(sha256)
	if err != nil || len(sum) != len(lamina.Digest{}) {
		return nil, nil //nolint:nilnil // there is no archive, and nothing went wrong
	}
	f, err := v.o.Archives.OpenArchive(ctx, lamina.Digest(sum))
	if errors.Is(err, lamina.ErrNotFound) {
		return nil, nil //nolint:nilnil // as above
	}
	if err != nil {
		return nil, err
	}
	a := &archive{ReadSeekCloser: f}
	if a.size, err = f.Seek(0, io.SeekEnd); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
}

// errNoArchive is told where bytes are wanted that there are not.
var errNoArchive = &refusal{
	Status: http.StatusNotFound, Code: "NoArchive",
	Message: "This version has no archive: it is a directory of the server's host, which functions see as it is at each invocation.",
}

var notInFilenames = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// downloadLayerVersion sends the archive to whoever may get the version.
func (c *Console) downloadLayerVersion(v *visit) error {
	h, err := v.versionAsked("")
	if err != nil {
		return err
	}
	a, err := v.openArchive(v.context(), h.Content.CodeSha256)
	if err != nil {
		return err
	}
	if a == nil {
		return errNoArchive
	}
	defer a.Close()
	ref, _ := lamina.ParseLayerReference(h.LayerVersionArn) // it is the API's own
	name := notInFilenames.ReplaceAllString(ref.Name, "-") + "-" + strconv.FormatInt(h.Version, 10) + ".zip"
	header := v.w.Header()
	header.Set("Content-Type", "application/zip")
	header.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	header.Set("Etag", `"`+strings.TrimRight(h.Content.CodeSha256, "=")+`"`)
	http.ServeContent(v.w, v.req, "", time.Time{}, a.ReadSeekCloser)
	return nil
}

type layerUser struct {
	FunctionName string
	Version      string
	Runtime      string
	LastModified string
	Place        int // among the function's layers, from 1
}

type layerFunctionsData struct {
	layerVersionHead
	Users []layerUser
	Count int  // of all that were found, of which Users are the first
	Cut   bool // not all functions were looked at
	Other int  // that have another version of the layer
}

const (
	usersShown = 200
	// usersTime bounds the search for users, which reads the account's functions.
	usersTime = 10 * time.Second
)

// Count64 is Count as pages show it.
func (d layerFunctionsData) Count64() int64 { return int64(d.Count) }

// findUsers looks through the versions of the account's functions.
func (v *visit) findUsers(h layerVersionHead) (layerFunctionsData, error) {
	d := layerFunctionsData{layerVersionHead: h}
	ctx, cancel := context.WithTimeout(v.context(), usersTime)
	defer cancel()
	ours := h.LayerArn + ":"
	cut, err := every(func(marker string) (string, error) {
		var out struct {
			Functions []struct {
				FunctionName, Version, Runtime, LastModified string
				Layers                                       []struct{ Arn string }
			}
			NextMarker string
		}
		query := url.Values{"FunctionVersion": {"ALL"}, "MaxItems": {"50"}}
		if marker != "" {
			query.Set("Marker", marker)
		}
		if err := v.lambda(ctx, http.MethodGet, "/2015-03-31/functions/?"+query.Encode(), nil, &out); err != nil {
			return "", err
		}
		for _, f := range out.Functions {
			for i, l := range f.Layers {
				if l.Arn == h.LayerVersionArn {
					if d.Count++; len(d.Users) < usersShown {
						d.Users = append(d.Users, layerUser{f.FunctionName, f.Version, f.Runtime, f.LastModified, i + 1})
					}
				} else if strings.HasPrefix(l.Arn, ours) {
					d.Other++
				}
			}
		}
		return out.NextMarker, nil
	})
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && v.context().Err() == nil {
		cut, err = true, nil
	}
	d.Cut = cut
	return d, err
}

// layerFunctions shows who uses a version: as a page, or as a part of the version's.
func (c *Console) layerFunctions(v *visit) error {
	h, err := v.versionAsked("functions")
	if err != nil {
		return err
	}
	d, err := v.findUsers(h)
	if err != nil {
		return err
	}
	return v.ok("layerfunctions", h.page(d))
}

type layerDeletionData struct {
	layerFunctionsData
	Denied string // why nobody knows who uses it
}

// confirmLayerDeletion tells what a deletion would mean.
func (c *Console) confirmLayerDeletion(v *visit) error {
	h, err := v.versionAsked("delete")
	if err != nil {
		return err
	}
	var d layerDeletionData
	if d.layerFunctionsData, err = v.findUsers(h); isRefusal(err) {
		d.Denied = err.Error()
	} else if err != nil {
		return err
	}
	return v.ok("layerdelete", h.page(d))
}

func (c *Console) deleteLayerVersion(v *visit) error {
	name, version := v.req.PathValue("name"), v.req.PathValue("version")
	err := v.lambda(v.context(), http.MethodDelete, layersAPI+"/"+url.PathEscape(name)+"/versions/"+url.PathEscape(version), nil, nil)
	if err != nil {
		return v.notDone(at("layers", name, "versions", version, "delete"), err)
	}
	return v.done(at("layers", name), "Version %s is deleted", version)
}
