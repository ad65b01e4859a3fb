package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/contents"
)

// layerVerbs are about layers. Those that ask a server do so as any client of its
// API does.
type layerVerbs struct {
	Build   buildLayerVerb   `cmd:"" help:"Build the zip of a layer from a list of dependencies or a directory, the same bytes every time."`
	Publish publishLayerVerb `cmd:"" help:"Publish a zip or a directory as a new version of a layer, and print its ARN."`
	Inspect inspectLayerVerb `cmd:"" help:"Show what is in layers, what runtimes find of it, and likely mistakes; of several, what a function sees at /opt."`
	Diff    diffLayersVerb   `cmd:"" help:"Compare two layers: files added, removed and changed."`
	Prune   pruneLayersVerb  `cmd:"" help:"Delete layer versions that no function version uses. Without --yes it only tells which."`
	Pull    pullLayerVerb    `cmd:"" help:"Fetch a layer version from AWS and keep it here under the same ARN."`
	Pulled  pulledLayersVerb `cmd:"" help:"List the layer versions that were pulled, but those of accounts that are of this server."`
}

// layerAnswer is what GetLayerVersion and PublishLayerVersion answer.
type layerAnswer struct {
	LayerArn        string
	LayerVersionArn string
	Version         int64
	Description     string
	CreatedDate     string
	Content         struct {
		Location   string
		CodeSha256 string
		CodeSize   int64
	}
	CompatibleRuntimes      []string `json:",omitempty"`
	CompatibleArchitectures []string `json:",omitempty"`
	LicenseInfo             *string  `json:",omitempty"`
}

func (a layerAnswer) use() contents.Use {
	return contents.Use{Runtimes: a.CompatibleRuntimes, Architectures: a.CompatibleArchitectures}
}

const (
	layersPath    = "/2018-10-31/layers"
	functionsPath = "/2015-03-31/functions"
)

// openLayer is an archive that is looked into.
type openLayer struct {
	name string // a path, or the ARN
	arn  string // empty for a file or a directory
	use  contents.Use
	size int64 // of the zip
	sha  string
	tree *contents.Tree

	file      *os.File
	temporary bool
}

func (l *openLayer) close() {
	l.file.Close()
	if l.temporary {
		os.Remove(l.file.Name())
	}
}

// layerOpener opens layers wherever they are.
type layerOpener struct {
	server *stackServer
	notes  io.Writer
	limits lamina.Limits
}

// isLayerPath reports whether an argument is meant as a file or a directory.
func isLayerPath(arg string) bool {
	if strings.HasPrefix(arg, "arn:") {
		return false
	}
	_, err := os.Stat(arg)
	return err == nil || strings.ContainsAny(arg, "/\\") || strings.HasSuffix(arg, ".zip")
}

// open reads a zip, what publish would make of a directory, or a layer version by
// its ARN, NAME:NUMBER, or NAME for the newest. The caller closes it.
func (o *layerOpener) open(ctx context.Context, arg string) (*openLayer, error) {
	var l *openLayer
	var err error
	if isLayerPath(arg) {
		l, err = o.local(arg)
	} else {
		l, err = o.remote(ctx, arg)
	}
	if err != nil {
		return nil, err
	}
	if err := l.read(ctx, o.limits); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// read makes the tree and the hash.
func (l *openLayer) read(ctx context.Context, limits lamina.Limits) error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	l.size = info.Size()
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(l.file, 0, l.size)); err != nil {
		return fmt.Errorf("read %s: %w", l.name, err)
	}
	l.sha = base64.StdEncoding.EncodeToString(hash.Sum(nil))
	l.tree, err = contents.Read(ctx, l.file, l.size, limits)
	if refused, ok := errors.AsType[*lamina.ArchiveError](err); ok && refused.Reason == lamina.ArchiveTooLarge && refused.Err == nil {
		return hint(fmt.Errorf("%s: %w", l.name, err), "a function and its layers may have %d bytes unzipped", limits.Unzipped)
	}
	if err != nil {
		return hint(fmt.Errorf("%s: %w", l.name, err), "Lamina would not publish it; make the zip again")
	}
	return nil
}

// local opens a zip, or makes one of a directory.
func (o *layerOpener) local(path string) (*openLayer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, bare(err))
	}
	if !info.IsDir() {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, bare(err))
		}
		return &openLayer{name: path, file: file}, nil
	}
	file, err := os.CreateTemp("", "lamina-layer-*.zip")
	if err != nil {
		return nil, fmt.Errorf("make a zip: %w", err)
	}
	l := &openLayer{name: path, file: file, temporary: true}
	bar := newProgress(o.notes, "zipping "+path, 0)
	err = zipLayer(io.MultiWriter(file, bar), path)
	bar.close()
	if err != nil {
		l.close()
		return nil, fmt.Errorf("zip %s: %w", path, err)
	}
	return l, nil
}

// in is the server, asked about a region.
func (o *layerOpener) in(region string) (*apiClient, error) {
	api, err := o.server.api()
	if err != nil {
		return nil, err
	}
	api.region = cmp.Or(region, api.region)
	return api, nil
}

// remote downloads a layer version.
func (o *layerOpener) remote(ctx context.Context, arg string) (*openLayer, error) {
	answer, api, err := o.version(ctx, arg)
	if err != nil {
		return nil, err
	}
	arn := answer.LayerVersionArn
	if dir, ok := strings.CutPrefix(answer.Content.Location, hotReloadLink); ok {
		dir, err := url.PathUnescape(dir)
		if err != nil {
			return nil, fmt.Errorf("%s is shown from %s: %w", arn, answer.Content.Location, err)
		}
		l, err := o.local(dir)
		if err != nil {
			return nil, hint(fmt.Errorf("%s is shown from a directory of the server's machine: %w", arn, err), "inspect it there")
		}
		l.name, l.arn, l.use = arn, arn, answer.use()
		return l, nil
	}
	file, err := download(ctx, api.http, answer.Content.Location, o.notes, arn, o.limits.Unzipped+zipSlack)
	if err != nil {
		return nil, o.server.explain(fmt.Errorf("download %s: %w", arn, err))
	}
	return &openLayer{name: arn, arn: arn, use: answer.use(), file: file, temporary: true}, nil
}

// hotReloadLink begins the link to what is no archive, but a directory of the
// server's machine that functions see as it is.
const hotReloadLink = "file://"

// zipSlack is how many bytes a zip may have beyond the limit of what it unpacks to.
const zipSlack = 64 << 20

// version describes a layer version that an argument names.
func (o *layerOpener) version(ctx context.Context, arg string) (answer layerAnswer, api *apiClient, err error) {
	name, number := arg, int64(0)
	if i := strings.LastIndexByte(arg, ':'); i >= 0 {
		if n, ok := lamina.ParseNumber(arg[i+1:]); ok {
			name, number = arg[:i], n
		}
	}
	ref, ok := lamina.ParseLayerReference(name)
	if !ok || ref.Version != 0 {
		return answer, nil, hint(fmt.Errorf("%s is no file, no directory and no layer version", arg), "give a path, an ARN, or the name of a layer with a number: geo:3")
	}
	if api, err = o.in(ref.Region); err != nil {
		return answer, nil, err
	}
	if number == 0 {
		var list struct{ LayerVersions []struct{ Version int64 } }
		if err := api.do(ctx, http.MethodGet, layersPath+"/"+url.PathEscape(name)+"/versions?MaxItems=1", nil, &list); err != nil {
			return answer, nil, o.server.explain(fmt.Errorf("list the versions of layer %s: %w", name, err))
		}
		if len(list.LayerVersions) == 0 {
			return answer, nil, hint(fmt.Errorf("layer %s has no versions", name), "is it in this region? give another with --region")
		}
		number = list.LayerVersions[0].Version
	}
	path := layersPath + "/" + url.PathEscape(name) + "/versions/" + strconv.FormatInt(number, 10)
	if ref.Account != "" {
		path = layersPath + "?find=LayerVersion&Arn=" + url.QueryEscape(name+":"+strconv.FormatInt(number, 10))
	}
	if err := api.do(ctx, http.MethodGet, path, nil, &answer); err != nil {
		err = fmt.Errorf("look for layer version %s:%d: %w", name, number, err)
		if isStatus(err, http.StatusNotFound) {
			return answer, nil, hint(err, "list what there is: aws lambda list-layer-versions --layer-name %s", name)
		}
		return answer, nil, o.server.explain(err)
	}
	return answer, api, nil
}

// download keeps what a link leads to in a file that the caller removes.
func download(ctx context.Context, client *http.Client, link string, notes io.Writer, what string, most int64) (_ *os.File, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the link answers %s", resp.Status)
	}
	file, err := os.CreateTemp("", "lamina-layer-*.zip")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
			os.Remove(file.Name())
		}
	}()
	bar := newProgress(notes, "downloading "+what, max(resp.ContentLength, 0))
	defer bar.close()
	n, err := io.Copy(io.MultiWriter(file, bar), io.LimitReader(resp.Body, most+1))
	if err == nil && n > most {
		err = fmt.Errorf("it has more than %d bytes", most)
	}
	return file, err
}
