package console

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// layerForm is what people enter to publish a version.
type layerForm struct {
	Name          string
	Description   string
	License       string
	Runtimes      []string
	Architectures []string
	Bucket        string
	Key           string
	ObjectVersion string
}

type layerPublishData struct {
	layerForm
	New               bool // a layer, not a version of one
	Wrong             string
	Most              int64 // bytes of a zip that is sent
	Supported         []string
	Retired           []string
	MostRuntimes      int
	SomeRetired       bool // one of the retired ones is chosen
	ArchitectureNames []string
}

// maxLayerRuntimes is how many runtimes a version can be compatible with.
const maxLayerRuntimes = 15

// Has reports whether a list of the form has a value.
func (layerForm) Has(list []string, value string) bool {
	for _, v := range list {
		if v == value {
			return true
		}
	}
	return false
}

func (v *visit) showLayerForm(status int, form layerForm, isNew bool, wrong string) error {
	d := layerPublishData{
		layerForm: form, New: isNew, Wrong: wrong, Most: v.o.Limits.ZippedUpload,
		Supported: supportedRuntimes(), Retired: retiredRuntimes(), MostRuntimes: maxLayerRuntimes,
		ArchitectureNames: []string{"x86_64", "arm64"},
	}
	for _, r := range d.Retired {
		d.SomeRetired = d.SomeRetired || form.Has(form.Runtimes, r)
	}
	p := page{Title: "Create a layer", Room: "layers", Trail: []link{{"Layers", at("layers")}}, Data: d}
	if !isNew {
		p.Title, p.Trail = "Publish a version", append(p.Trail, link{layerTitle(form.Name), at("layers", form.Name)})
	}
	v.show(status, "layerpublish", p)
	return nil
}

// newLayer shows the form for a layer's first version.
func (c *Console) newLayer(v *visit) error {
	return v.showLayerForm(http.StatusOK, layerForm{Name: v.req.URL.Query().Get("name")}, true, "")
}

// newLayerVersion shows the form for another version, with what the last one had.
func (c *Console) newLayerVersion(v *visit) error {
	form := layerForm{Name: v.req.PathValue("name")}
	var out struct{ LayerVersions []layerVersionItem }
	err := v.lambda(v.context(), http.MethodGet, layersAPI+"/"+url.PathEscape(form.Name)+"/versions?MaxItems=1", nil, &out)
	if err != nil && !isRefusal(err) { // who may not list may still publish
		return err
	}
	for _, last := range out.LayerVersions {
		form.License, form.Runtimes, form.Architectures = last.LicenseInfo, last.CompatibleRuntimes, last.CompatibleArchitectures
	}
	return v.showLayerForm(http.StatusOK, form, false, "")
}

// publishLayerVersion publishes what the form has. What the API refuses is told at
// the form, with what was entered.
func (c *Console) publishLayerVersion(v *visit) error {
	post := v.req.PostForm
	form := layerForm{
		Name: strings.TrimSpace(post.Get("name")), Description: post.Get("description"), License: post.Get("license"),
		Runtimes: post["runtime"], Architectures: post["architecture"],
		Bucket: strings.TrimSpace(post.Get("bucket")), Key: strings.TrimSpace(post.Get("key")), ObjectVersion: strings.TrimSpace(post.Get("object-version")),
	}
	isNew := v.req.PathValue("name") == ""
	if !isNew {
		form.Name = v.req.PathValue("name")
	}
	file, err := v.file("zip")
	if err != nil {
		return err
	}
	if file != nil {
		defer file.Close()
	}
	fromS3 := form.Bucket != "" || form.Key != ""
	switch {
	case form.Name == "":
		return v.showLayerForm(http.StatusUnprocessableEntity, form, isNew, "Enter a name.")
	case file == nil && !fromS3:
		return v.showLayerForm(http.StatusUnprocessableEntity, form, isNew, "Choose a zip, or name an object of a bucket.")
	case file != nil && fromS3:
		return v.showLayerForm(http.StatusUnprocessableEntity, form, isNew, "Choose a zip or name an object of a bucket, not both.")
	}
	out := layerVersionDetail{}
	err = v.publish(form, file, &out)
	if refused, ok := err.(*refusal); ok { //nolint:errorlint // nothing wraps it
		return v.showLayerForm(refused.Status, form, isNew, refused.Message+" ("+refused.Code+")")
	}
	if err != nil {
		return err
	}
	return v.done(at("layers", form.Name, "versions", strconv.FormatInt(out.Version, 10)), "Version %d is published", out.Version)
}

// file opens the file of a form's field, nil when none was chosen.
func (v *visit) file(field string) (multipart.File, error) {
	form := v.req.MultipartForm
	if form == nil || len(form.File[field]) == 0 || form.File[field][0].Size == 0 && form.File[field][0].Filename == "" {
		return nil, nil //nolint:nilnil // no file is no error
	}
	f, err := form.File[field][0].Open()
	if err != nil {
		return nil, fmt.Errorf("open upload: %w", err)
	}
	return f, nil
}

// publish does PublishLayerVersion. The zip goes through in pieces; nil takes it
// from the bucket.
func (v *visit) publish(form layerForm, zip io.Reader, out *layerVersionDetail) error {
	in := struct {
		Description             string   `json:",omitempty"`
		LicenseInfo             string   `json:",omitempty"`
		CompatibleRuntimes      []string `json:",omitempty"`
		CompatibleArchitectures []string `json:",omitempty"`
		Content                 any      `json:",omitempty"`
	}{form.Description, form.License, form.Runtimes, form.Architectures, nil}
	path := layersAPI + "/" + url.PathEscape(form.Name) + "/versions"
	if zip == nil {
		content := map[string]string{"S3Bucket": form.Bucket, "S3Key": form.Key}
		if form.ObjectVersion != "" {
			content["S3ObjectVersion"] = form.ObjectVersion
		}
		in.Content = content
		return v.lambda(v.context(), http.MethodPost, path, in, out)
	}
	text, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("publish layer: %w", err)
	}
	head := strings.TrimSuffix(string(text), "}")
	if head != "{" {
		head += ","
	}
	body := io.MultiReader(strings.NewReader(head+`"Content":{"ZipFile":"`), &base64Reader{from: zip}, strings.NewReader(`"}}`))
	_, answer, err := v.do(v.context(), "lambda", http.MethodPost, path, "application/json", nil, body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("read answer of lambda: %w", err)
	}
	return nil
}

// base64Reader reads what another reader yields as base64.
type base64Reader struct {
	from io.Reader
	raw  [24 << 10]byte // a multiple of three, so that only the last piece is padded
	text [32 << 10]byte
	left []byte // of text
	err  error  // what ended from
}

// Read implements [io.Reader].
func (r *base64Reader) Read(p []byte) (int, error) {
	for len(r.left) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		n, err := io.ReadFull(r.from, r.raw[:])
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		r.err = err
		base64.StdEncoding.Encode(r.text[:], r.raw[:n])
		r.left = r.text[:base64.StdEncoding.EncodedLen(n)]
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}
