package browser

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

// noise is text that does not get smaller in a zip.
func noise(size int) string {
	r := rand.New(rand.NewPCG(7, 7))
	text := make([]byte, size)
	for i := range text {
		text[i] = byte(r.Uint32())
	}
	return string(text)
}

// file keeps bytes on the disk, for what chooses or drops files.
func file(t testing.TB, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// testLayers: a layer from the zip that is dropped to the version that is deleted.
func testLayers(t *testing.T, s *testkit.Server) {
	ctx, api := t.Context(), s.Lambda()
	const size = 300_000
	first := testkit.Zip(t, testkit.File{Name: "python/geo/__init__.py", Body: "x = 1\n"}, testkit.File{Name: "python/geo/data.bin", Body: noise(size)}, testkit.File{Name: "python/old.py", Body: "old\n"}, testkit.File{Name: "bin/tool", Body: "#!/bin/sh\n", Mode: 0o755})
	second := testkit.Zip(t, testkit.File{Name: "python/geo/__init__.py", Body: "x = 22222\n"}, testkit.File{Name: "python/geo/data.bin", Body: noise(size)}, testkit.File{Name: "python/new.py", Body: "new\n"}, testkit.File{Name: "bin/tool", Body: "#!/bin/sh\n", Mode: 0o755})

	p := open(t, s.URL)
	p.signIn(s)
	p.click("link", "Layers")
	p.at(console + "layers")
	p.accessible()
	p.click("link", "Create a layer")
	p.at(console + "layers-new")
	p.accessible()
	p.fits()
	p.fill("Name", "geo")
	p.fill("Description (optional)", "Shapes & places")
	p.css("[data-drop]").drop(file(t, "geo.zip", first))
	p.shows("geo.zip, 29")
	p.click("checkbox", "python3.12")
	p.click("checkbox", "x86_64")
	p.fill("License (optional…", "MIT")
	p.on(`new MutationObserver((all) => all.forEach((m) => { const b = m.target; if (!b.hidden && b.value > 0 && b.value < b.max) sessionStorage.seen = b.value; }))
		.observe(document.querySelector("#publish progress"), {attributes: true})`)
	p.call("Network.emulateNetworkConditions", map[string]any{"offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 500_000}, nil)
	p.click("button", "Create")
	p.shows("Version 1 is published")
	p.call("Network.emulateNetworkConditions", map[string]any{"offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}, nil)
	p.at(console + "layers/geo/versions/1")
	var seen string
	p.eval("sessionStorage.seen || ''", &seen)
	if n, _ := strconv.Atoi(seen); n <= 0 || n >= len(first)+10_000 {
		t.Errorf("the progress bar showed %q of %d bytes", seen, len(first))
	}
	p.holds(`document.querySelector("#searched").innerText.includes("/opt/python")`)
	p.shows("No function of this account has it")
	p.accessible()
	p.fits()
	p.click("button", "Copy arn:aws:lambda:…")
	p.shows("Copied")
	got, err := api.GetLayerVersion(ctx, &lambda.GetLayerVersionInput{LayerName: aws.String("geo"), VersionNumber: aws.Int64(1)})
	if err != nil || len(got.CompatibleRuntimes) != 1 || len(got.CompatibleArchitectures) != 1 || aws.ToString(got.LicenseInfo) != "MIT" || aws.ToString(got.Description) != "Shapes & places" {
		t.Errorf("GetLayerVersion = %+v, %v", got, err)
	}
	if zip := p.download(func() { p.click("link", "Download") }); !bytes.Equal(zip, first) {
		t.Errorf("the download has %d bytes; want the %d that were dropped", len(zip), len(first))
	}
	p.css("#tree summary").click() // the directories are open or closed; either way they answer
	p.css("#tree summary").click()

	// What is no zip is told at the form, which keeps what was entered.
	p.click("link", "geo")
	p.at(console + "layers/geo")
	p.accessible()
	p.click("link", "Publish a version")
	p.expect(`status of 400`)
	p.fill("Description (optional)", "second")
	p.css("[data-drop]").drop(file(t, "geo.txt", []byte("no zip")))
	p.click("button", "Publish")
	p.shows("Could not unzip uploaded file")
	p.holds(`document.querySelector("[name=description]").value === "second" && document.querySelector("[value='python3.12']").checked`)
	p.css("[data-drop]").drop(file(t, "geo2.zip", second))
	p.click("button", "Publish")
	p.shows("Version 2 is published")

	p.click("link", "geo")
	p.field("From").choose("1")
	p.field("To").choose("2")
	p.click("button", "Compare")
	p.at(console + "layers/geo/compare?from=1&to=2")
	for path, want := range map[string]string{"python/new.py": "added", "python/old.py": "removed", "python/geo/__init__.py": "changed"} {
		p.holds(`[...document.querySelectorAll("#changes tbody tr")].some((r) => r.cells[0].innerText.endsWith(` + strconv.Quote(path) + `) && r.cells[1].innerText.startsWith("` + want + `"))`)
	}
	p.holds(`![...document.querySelectorAll("#changes tbody tr")].some((r) => r.innerText.includes("data.bin"))`)
	p.accessible()
	p.fits()

	// Shared with an account, an organization and everyone.
	policy := func() string {
		out, err := api.GetLayerVersionPolicy(ctx, &lambda.GetLayerVersionPolicyInput{LayerName: aws.String("geo"), VersionNumber: aws.Int64(2)})
		if err != nil {
			return err.Error()
		}
		return aws.ToString(out.Policy)
	}
	p.visit(console + "layers/geo/versions/2")
	p.click("link", "Sharing")
	p.at(console + "layers/geo/versions/2/policy")
	p.accessible()
	for i, c := range []struct{ who, field, value, want string }{
		{"An account", "Account number", "123456789012", "123456789012"},
		{"All accounts of an organization", "Organization ID", "o-abcdefghij", "o-abcdefghij"},
		{"Everyone: all accounts of this server", "", "", `"*"`},
	} {
		sid := "share-" + strconv.Itoa(i)
		p.fill("Statement ID", sid)
		p.click("radio", c.who)
		if c.field != "" {
			p.fill(c.field, c.value)
		}
		p.click("button", "Share")
		p.shows("Statement " + sid + " is added")
		if got := policy(); !strings.Contains(got, sid) || !strings.Contains(got, c.want) {
			t.Errorf("shared with %s: the policy is %s", c.who, got)
		}
	}
	p.accessible()
	p.fits()
	p.click("button", "Remove statement share-0")
	p.shows("Statement share-0 is removed")
	if got := policy(); strings.Contains(got, "share-0") || !strings.Contains(got, "share-1") {
		t.Errorf("without the first statement the policy is %s", got)
	}

	// Who uses it.
	layer := "arn:aws:lambda:" + s.Region + ":" + testkit.Account + ":layer:geo:2"
	newFunction(t, s, "user-of-geo", "def handler(event, context):\n    return 1\n", layer)
	p.css(`.tabs a[href$="/functions"]`).click()
	p.at(console + "layers/geo/versions/2/functions")
	p.shows("user-of-geo")
	p.accessible()
	p.click("link", "Delete")
	p.at(console + "layers/geo/versions/2/delete")
	p.shows("user-of-geo")
	p.accessible()
	p.click("button", "Delete version 2")
	p.shows("Version 2 is deleted")
	if _, err := api.GetLayerVersion(ctx, &lambda.GetLayerVersionInput{LayerName: aws.String("geo"), VersionNumber: aws.Int64(2)}); !isAbsent(err) {
		t.Errorf("GetLayerVersion after the deletion: %v", err)
	}

	// The list, and what narrows it.
	p.visit(console + "layers")
	p.holds(`[...document.querySelectorAll("#layers tbody tr")].some((r) => !r.hidden)`)
	p.fill("Search", "no such layer")
	p.holds(`[...document.querySelectorAll("#layers tbody tr")].every((r) => r.hidden)`)
	p.fill("Search", "geo shapes")
	p.holds(`[...document.querySelectorAll("#layers tbody tr")].some((r) => !r.hidden)`)
	p.field("Runtime").choose("python3.11")
	p.shows("No layer fits")
}

func isAbsent(err error) bool {
	_, ok := errors.AsType[*types.ResourceNotFoundException](err)
	return ok
}

// testLayersByKeyboard does the same without a mouse.
func testLayersByKeyboard(t *testing.T, s *testkit.Server) {
	zip := testkit.Zip(t, testkit.File{Name: "python/keys.py", Body: "x = 1\n"})
	p := open(t, s.URL)
	p.visit(console + "signin")
	p.holds(`document.activeElement.name === "key"`) // the first field has the focus
	p.write(s.AccessKeyID)
	p.tabTo("textbox", "Secret access key")
	p.write(s.SecretAccessKey)
	p.tabTo("button", "Sign in")
	p.press("Enter")
	p.at(console)
	p.tabTo("link", "Skip to the content")
	p.press("Enter")
	p.visit(console)
	p.tabTo("link", "Layers")
	p.press("Enter")
	p.at(console + "layers")
	p.tabTo("link", "Create a layer")
	p.press("Enter")
	p.at(console + "layers-new")
	p.tabTo("textbox", "Name")
	p.write("by-keyboard")
	p.tabTo("textbox", "Description (optional)")
	p.write("typed")
	for i := range 2 {
		p.tabTo("button", "Choose a zip…")
		p.chooseFile(file(t, "keys.zip", zip), func() { p.press("Enter") })
		p.shows("keys.zip, ")
		p.tabTo("checkbox", "python3.12")
		if i == 0 {
			p.press(" ") // the second version has what the first had
		}
		p.tabTo("checkbox", "arm64")
		if i == 0 {
			p.press(" ")
			p.tabTo("button", "Create")
			p.press("Enter")
			p.shows("Version 1 is published")
			p.visit(console + "layers/by-keyboard")
			p.tabTo("link", "Publish a version")
			p.press("Enter")
			p.at(console + "layers/by-keyboard/publish")
			continue
		}
		p.tabTo("button", "Publish")
		p.press(" ")
		p.shows("Version 2 is published")
	}
	p.visit(console + "layers/by-keyboard/versions/1") // from the top of the page
	p.tabTo("link", "Sharing")
	p.press("Enter")
	p.at(console + "layers/by-keyboard/versions/1/policy")
	p.tabTo("textbox", "Statement ID")
	p.write("keys")
	p.tabTo("radio", "…")
	p.press("ArrowDown")
	p.press("ArrowDown")
	p.holds(`document.querySelector("[name=who][value=everyone]").checked`)
	p.tabTo("button", "Share")
	p.press("Enter")
	p.shows("Statement keys is added")
	p.tabTo("button", "Remove statement keys")
	p.press("Enter")
	p.shows("Statement keys is removed")
	p.tabTo("link", "Delete")
	p.press("Enter")
	p.at(console + "layers/by-keyboard/versions/1/delete")
	p.tabTo("button", "Delete version 1")
	p.press("Enter")
	p.shows("Version 1 is deleted")
	p.tabTo("DisclosureTriangle", "Signed in as…")
	p.press("Enter")
	p.tabTo("button", "Sign out")
	p.press("Enter")
	p.at(console + "signin")
}

const role = "arn:aws:iam::" + testkit.Account + ":role/app"

// newFunction makes a Python function of that code.
func newFunction(t testing.TB, s *testkit.Server, name, code string, layers ...string) {
	t.Helper()
	_, err := s.Lambda().CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: &name, Role: aws.String(role), Runtime: types.RuntimePython312, Handler: aws.String("app.handler"), Layers: layers,
		Code: &types.FunctionCode{ZipFile: testkit.Zip(t, testkit.File{Name: "app.py", Body: code})},
	})
	if err != nil {
		t.Fatal(err)
	}
}
