package resources

import (
	"archive/zip"
	"bytes"
	"embed"
	"fmt"
	"strings"
	"time"
)

// inlineModules are what functions whose code is in the template find beside it.
//
//go:embed inline
var inlineModules embed.FS

const maxInline = 4 << 20 // bytes, as AWS has it

// inlineArchive packs code that is in a template, always into the same bytes: as
// index, with the module that answers CloudFormation when it is asked for.
func inlineArchive(runtime, code string) ([]byte, error) {
	var name, module, asked string
	switch {
	case strings.HasPrefix(runtime, "nodejs"):
		name, module, asked = "index.js", "cfn-response.js", "cfn-response"
	case strings.HasPrefix(runtime, "python"):
		name, module, asked = "index.py", "cfnresponse.py", "cfnresponse"
	case runtime == "":
		return nil, invalid("Runtime and Handler are mandatory parameters for functions created with deployment packages.")
	default:
		return nil, invalid("ZipFile can only be used when Runtime is set to either of nodejs, python.")
	}
	if len(code) > maxInline {
		return nil, invalid("Code in ZipFile must have at most %d bytes.", maxInline)
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	add := func(name string, content []byte) error {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
		h.SetMode(0o644)
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = f.Write(content)
		}
		return err
	}
	err := add(name, []byte(code))
	if err == nil && strings.Contains(code, asked) {
		var text []byte
		if text, err = inlineModules.ReadFile("inline/" + module); err == nil {
			err = add(module, text)
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("pack inline code: %w", err)
	}
	return out.Bytes(), nil
}
