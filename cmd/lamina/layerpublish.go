package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/contents"
)

type publishLayerVerb struct {
	Source      string   `arg:"" help:"Zip, or directory that has python, nodejs, bin or the like in it."`
	Name        string   `required:"" placeholder:"NAME" help:"Name of the layer, or its ARN."`
	Runtime     []string `placeholder:"RUNTIME" help:"Runtime that the layer is for, such as python3.12. May be given several times."`
	Arch        []string `enum:"x86_64,arm64" placeholder:"ARCH" help:"Architecture that the layer is for: ${enum}. May be given twice."`
	Description string   `placeholder:"TEXT" help:"Description of the version."`
	License     string   `placeholder:"TEXT" help:"License: an SPDX identifier, a URL, or its text."`
	Strict      bool     `help:"Publish nothing when there are likely mistakes."`
	output
	stackServer
}

// Run prints the ARN of the new version.
func (v *publishLayerVerb) Run(ctx context.Context, s streams) error {
	opener := layerOpener{server: &v.stackServer, notes: s.notes, limits: lamina.DefaultLimits()}
	l, err := opener.local(v.Source)
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.read(ctx, opener.limits); err != nil {
		return err
	}
	mistakes, err := l.tree.Mistakes(ctx, contents.Use{Runtimes: v.Runtime, Architectures: v.Arch})
	if err != nil {
		return fmt.Errorf("%s: %w", v.Source, err)
	}
	noteMistakes(s.notes, mistakes)
	if v.Strict && len(mistakes) > 0 {
		return hint(fmt.Errorf("%s has likely mistakes: nothing is published", v.Source), "correct them, or publish without --strict")
	}
	answer, err := v.publish(ctx, s.notes, l)
	if err != nil {
		return v.explain(fmt.Errorf("publish layer %s: %w", v.Name, err))
	}
	fmt.Fprintf(s.notes, "published %s version %d: %s, %s unzipped, %s\n", v.Name, answer.Version, bytesText(l.size), bytesText(l.tree.Size), files(l.tree.Files))
	return v.answer(s.out, answer, func(out io.Writer) error {
		_, err := fmt.Fprintln(out, answer.LayerVersionArn)
		return err
	})
}

// publishMeta is a request without its content.
type publishMeta struct {
	Description             string   `json:",omitempty"`
	LicenseInfo             string   `json:",omitempty"`
	CompatibleRuntimes      []string `json:",omitempty"`
	CompatibleArchitectures []string `json:",omitempty"`
}

// publish sends the zip within the request, or by way of a bucket when it is too
// large for that.
func (v *publishLayerVerb) publish(ctx context.Context, notes io.Writer, l *openLayer) (answer layerAnswer, err error) {
	client, err := v.client()
	if err != nil {
		return answer, err
	}
	ref, ok := lamina.ParseLayerReference(v.Name)
	if !ok || ref.Version != 0 {
		return answer, hint(fmt.Errorf("--name %s is no name of a layer", v.Name), "it has letters, digits, hyphens and underscores")
	}
	if ref.Region != "" {
		client.region = ref.Region
	}
	meta := publishMeta{Description: v.Description, LicenseInfo: v.License, CompatibleRuntimes: v.Runtime, CompatibleArchitectures: v.Arch}
	var body *publishBody
	if l.size <= lamina.DefaultLimits().ZippedUpload {
		if body, err = newPublishBody(meta, l); err != nil {
			return answer, err
		}
	} else {
		p := &packager{api: client, note: func(format string, args ...any) { fmt.Fprintf(notes, format+"\n", args...) }}
		sum, err := base64.StdEncoding.DecodeString(l.sha)
		if err != nil {
			return answer, err
		}
		bar := newProgress(notes, "uploading "+v.Source, l.size)
		key, err := p.upload(ctx, io.TeeReader(io.NewSectionReader(l.file, 0, l.size), bar), l.size, sum, ".zip")
		bar.close()
		if err != nil {
			return answer, err
		}
		text, err := json.Marshal(struct {
			publishMeta
			Content map[string]string
		}{meta, map[string]string{"S3Bucket": p.bucket, "S3Key": key}})
		if err != nil {
			return answer, err
		}
		body = &publishBody{head: string(text)}
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, body.reader(io.Discard)); err != nil {
		return answer, fmt.Errorf("read %s: %w", l.name, err)
	}
	bar := newProgress(notes, "uploading "+v.Source, l.size)
	defer bar.close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, client.endpoint+layersPath+"/"+url.PathEscape(v.Name)+"/versions", body.reader(bar))
	if err != nil {
		return answer, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.ContentLength = body.size()
	text, err := client.send(ctx, "lambda", req, hash.Sum(nil))
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return answer, fmt.Errorf("read the answer: %w", err)
	}
	return answer, nil
}

// publishBody is the JSON of a request that has a zip in it, which is never in
// memory as a whole.
type publishBody struct {
	head, tail string
	zip        *os.File // nil for none
	zipSize    int64
}

func newPublishBody(meta publishMeta, l *openLayer) (*publishBody, error) {
	text, err := json.Marshal(struct {
		publishMeta
		Content struct{ ZipFile string }
	}{publishMeta: meta})
	if err != nil {
		return nil, err
	}
	// The zip goes between the quotes of the last member.
	head, ok := strings.CutSuffix(string(text), `"}}`)
	if !ok {
		return nil, errors.New("write request: its content is not at its end")
	}
	return &publishBody{head: head, tail: `"}}`, zip: l.file, zipSize: l.size}, nil
}

func (b *publishBody) size() int64 {
	return int64(len(b.head)) + int64(base64.StdEncoding.EncodedLen(int(b.zipSize))) + int64(len(b.tail))
}

// reader reads the body from its beginning. What is read of the zip is written to
// seen, too.
func (b *publishBody) reader(seen io.Writer) io.Reader {
	if b.zip == nil {
		return strings.NewReader(b.head)
	}
	zip := &base64Reader{in: io.TeeReader(io.NewSectionReader(b.zip, 0, b.zipSize), seen)}
	return io.MultiReader(strings.NewReader(b.head), zip, strings.NewReader(b.tail))
}

// base64Reader encodes what it reads.
type base64Reader struct {
	in   io.Reader
	raw  [24 << 10]byte // a multiple of 3
	text [32 << 10]byte
	rest []byte // of text
}

func (r *base64Reader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		n, err := io.ReadFull(r.in, r.raw[:])
		if n == 0 {
			return 0, err // io.EOF
		}
		if err != nil && err != io.ErrUnexpectedEOF {
			return 0, err
		}
		base64.StdEncoding.Encode(r.text[:], r.raw[:n])
		r.rest = r.text[:base64.StdEncoding.EncodedLen(n)]
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// noteMistakes tells people what is likely to be wrong.
func noteMistakes(notes io.Writer, mistakes []contents.Mistake) {
	for _, m := range mistakes {
		fmt.Fprintf(notes, "%s: %s\n  %s\n", m.Severity, m.Text, m.Advice)
	}
}
