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
)

// layerPages registers what is about layers.
func layerPages(c *Console) {
	c.handle("GET layers", (*Console).layers)
	c.handle("GET layers-arn", (*Console).openLayerARN)
	c.handle("GET layers-new", (*Console).newLayer)
	c.handle("POST layers-new", (*Console).publishLayerVersion)
	c.handle("GET layers/{name}", (*Console).layer)
	c.handle("GET layers/{name}/publish", (*Console).newLayerVersion)
	c.handle("POST layers/{name}/publish", (*Console).publishLayerVersion)
	c.handle("GET layers/{name}/compare", (*Console).compareLayerVersions)
	c.handle("GET layers/{name}/versions/{version}", (*Console).layerVersion)
	c.handle("GET layers/{name}/versions/{version}/checks", (*Console).layerChecks)
	c.handle("GET layers/{name}/versions/{version}/functions", (*Console).layerFunctions)
	c.handle("GET layers/{name}/versions/{version}/policy", (*Console).layerPolicy)
	c.handle("POST layers/{name}/versions/{version}/policy", (*Console).addLayerPermission)
	c.handle("POST layers/{name}/versions/{version}/policy/remove", (*Console).removeLayerPermission)
	c.handle("GET layers/{name}/versions/{version}/download", (*Console).downloadLayerVersion)
	c.handle("GET layers/{name}/versions/{version}/delete", (*Console).confirmLayerDeletion)
	c.handle("POST layers/{name}/versions/{version}/delete", (*Console).deleteLayerVersion)
}

// layersAPI is where Lambda's operations on layers are.
const layersAPI = "/2018-10-31/layers"

// layerItem is a layer as ListLayers tells it.
type layerItem struct {
	LayerName             string
	LayerArn              string
	LatestMatchingVersion layerVersionItem
}

// layerVersionItem is a version as lists tell it.
type layerVersionItem struct {
	LayerVersionArn         string
	Version                 int64
	Description             string
	CreatedDate             string
	LicenseInfo             string
	CompatibleRuntimes      []string
	CompatibleArchitectures []string

	// Size is what GetLayerVersion tells, in bytes; nil where that was not allowed.
	Size *int64 `json:"-"`
}

// layerVersionDetail is a version as GetLayerVersion tells it.
type layerVersionDetail struct {
	Content struct {
		CodeSha256               string
		CodeSize                 int64
		SigningProfileVersionArn string
		SigningJobArn            string
	}
	LayerArn                string
	LayerVersionArn         string
	Description             string
	CreatedDate             string
	LicenseInfo             string
	Version                 int64
	CompatibleRuntimes      []string
	CompatibleArchitectures []string
}

// layerFilter is what lists are narrowed to.
type layerFilter struct {
	Search, Runtime, Architecture string
	Runtimes                      []string // to choose from
}

func layerFilterOf(q url.Values) layerFilter {
	return layerFilter{
		Search: strings.TrimSpace(q.Get("search")), Runtime: q.Get("runtime"), Architecture: q.Get("architecture"),
		Runtimes: append(supportedRuntimes(), retiredRuntimes()...),
	}
}

// parameters are the filter's as the API has them.
func (f layerFilter) parameters(items int, marker string) url.Values {
	q := url.Values{"MaxItems": {strconv.Itoa(items)}}
	for name, value := range map[string]string{"CompatibleRuntime": f.Runtime, "CompatibleArchitecture": f.Architecture, "Marker": marker} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// page is the query of a page of ours with the filter.
func (f layerFilter) page(marker string) string {
	q := url.Values{}
	for name, value := range map[string]string{"search": f.Search, "runtime": f.Runtime, "architecture": f.Architecture, "marker": marker} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q.Encode()
}

// matches reports whether a text has all words of a search, in any case.
func matches(search string, texts ...string) bool {
	text := strings.ToLower(strings.Join(texts, "\n"))
	for word := range strings.FieldsSeq(strings.ToLower(search)) {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

const (
	layersShown   = 50  // on a page, which is what one answer has
	layersFound   = 100 // of a search
	versionsShown = 25  // each of which is asked for its size
)

type layersData struct {
	layerFilter
	Layers []layerItem
	Next   string // the next page's path, if any
	Later  bool   // this is not the first page
	Cut    bool   // there is more than was looked at, or than is shown
}

// layers lists the account's layers: page by page, or those that a search finds.
func (c *Console) layers(v *visit) error {
	q := v.req.URL.Query()
	d := layersData{layerFilter: layerFilterOf(q)}
	list := func(marker string) (string, []layerItem, error) {
		var out struct {
			Layers     []layerItem
			NextMarker string
		}
		err := v.lambda(v.context(), http.MethodGet, layersAPI+"?"+d.parameters(layersShown, marker).Encode(), nil, &out)
		return out.NextMarker, out.Layers, err
	}
	if d.Search == "" {
		next, all, err := list(q.Get("marker"))
		if err != nil {
			return err
		}
		d.Layers, d.Later = all, q.Get("marker") != ""
		if next != "" {
			d.Next = at("layers") + "?" + d.page(next)
		}
	} else {
		cut, err := every(func(marker string) (string, error) {
			next, all, err := list(marker)
			for _, l := range all {
				if !matches(d.Search, l.LayerName, l.LatestMatchingVersion.Description) {
					continue
				}
				if len(d.Layers) == layersFound {
					d.Cut = true
					return "", nil
				}
				d.Layers = append(d.Layers, l)
			}
			return next, err
		})
		if err != nil {
			return err
		}
		d.Cut = d.Cut || cut
	}
	return v.ok("layers", page{Title: "Layers", Room: "layers", Data: d})
}

// supportedRuntimes are those that functions can be made with, the ones that get
// patches first.
func supportedRuntimes() []string {
	all := lamina.RuntimesWithLayers()
	slices.SortStableFunc(all, func(a, b string) int {
		x, y := lamina.RuntimeDeprecated(a), lamina.RuntimeDeprecated(b)
		switch {
		case x == y:
			return 0
		case y:
			return -1
		}
		return 1
	})
	return all
}

// retiredRuntimes are those that functions can no longer be made with.
func retiredRuntimes() []string {
	all := lamina.BlockedRuntimes()
	slices.Sort(all)
	return all
}

// openLayerARN leads to the layer or the version that an ARN names, also another
// account's.
func (c *Console) openLayerARN(v *visit) error {
	arn := strings.TrimSpace(v.req.URL.Query().Get("arn"))
	ref, ok := lamina.ParseLayerReference(arn)
	switch {
	case !ok || ref.Account == "":
		return v.notDone(at("layers"), &refusal{Code: "InvalidARN", Message: "An ARN of a layer version looks like arn:aws:lambda:" + v.session.Region + ":123456789012:layer:name:1."})
	case ref.Region != v.session.Region:
		return v.notDone(at("layers"), &refusal{Code: "OtherRegion", Message: "The layer is in " + ref.Region + ", and this page shows " + v.session.Region + ". Switch the region first."})
	case ref.Account != v.caller.Account && ref.Version == 0:
		return v.notDone(at("layers"), &refusal{Code: "InvalidARN", Message: "Of another account's layer only versions can be opened: the ARN has to end in a number."})
	}
	name := ref.Name
	if ref.Account != v.caller.Account {
		name = ref.ID(lamina.Scope{}).ARN()
	}
	to := at("layers", name)
	if ref.Version != 0 {
		to = at("layers", name, "versions", strconv.FormatInt(ref.Version, 10))
	}
	http.Redirect(v.w, v.req, to, http.StatusSeeOther)
	return nil
}

type layerData struct {
	layerFilter
	Name     string
	Versions []layerVersionItem
	Next     string
	Later    bool
	Denied   string // why sizes are missing, if they are
}

// layer lists the versions of a layer, the newest first.
func (c *Console) layer(v *visit) error {
	q := v.req.URL.Query()
	d := layerData{layerFilter: layerFilterOf(q), Name: v.req.PathValue("name")}
	var out struct {
		LayerVersions []layerVersionItem
		NextMarker    string
	}
	path := layersAPI + "/" + url.PathEscape(d.Name) + "/versions"
	if err := v.lambda(v.context(), http.MethodGet, path+"?"+d.parameters(versionsShown, q.Get("marker")).Encode(), nil, &out); err != nil {
		return err
	}
	d.Versions, d.Later = out.LayerVersions, q.Get("marker") != ""
	if out.NextMarker != "" {
		d.Next = at("layers", d.Name) + "?" + d.page(out.NextMarker)
	}
	// ListLayerVersions does not tell sizes.
	for i := range d.Versions {
		detail, err := v.getLayerVersion(v.context(), d.Name, strconv.FormatInt(d.Versions[i].Version, 10))
		switch {
		case refusedWith(err, "ResourceNotFoundException"): // deleted meanwhile
		case isRefusal(err):
			d.Denied = err.Error()
		case err != nil:
			return err
		default:
			d.Versions[i].Size = &detail.Content.CodeSize
		}
		if d.Denied != "" {
			break
		}
	}
	return v.ok("layer", page{Title: layerTitle(d.Name), Room: "layers", Trail: []link{{"Layers", at("layers")}}, Data: d})
}

// getLayerVersion asks for one version. The name is one of ours or the ARN of
// another account's layer.
func (v *visit) getLayerVersion(ctx context.Context, name, version string) (*layerVersionDetail, error) {
	path := layersAPI + "/" + url.PathEscape(name) + "/versions/" + url.PathEscape(version)
	if strings.HasPrefix(name, "arn:") {
		path = layersAPI + "?find=LayerVersion&Arn=" + url.QueryEscape(name+":"+version)
	}
	d := &layerVersionDetail{}
	if err := v.lambda(ctx, http.MethodGet, path, nil, d); err != nil {
		return nil, err
	}
	return d, nil
}

// layerTitle is what people call a layer that is named by its name or its ARN.
func layerTitle(name string) string {
	if ref, ok := lamina.ParseLayerReference(name); ok && ref.Account != "" {
		return ref.Name + " of account " + ref.Account
	}
	return name
}

// versionTitle is that of a version.
func versionTitle(name string, version int64) string {
	return fmt.Sprintf("%s version %d", layerTitle(name), version)
}

// isRefusal reports whether a service refused what it was asked for.
func isRefusal(err error) bool {
	_, ok := err.(*refusal) //nolint:errorlint // a wrapped one has more to say
	return ok
}
