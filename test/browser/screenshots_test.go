package browser

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

// testScreenshots takes the pictures of the README, and more to look at, into the
// folder of -screenshots. Nothing else is on its server.
func testScreenshots(t *testing.T, _ *testkit.Server) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	s := testkit.Start(t, testkit.Options{})
	furnish(t, s)
	p := open(t, s.URL)
	p.look(1280, "light")
	p.visit(console + "signin")
	p.picture("signin-light")
	p.signIn(s)
	for name, path := range map[string]string{
		"overview": "", "layers": "layers", "layer": "layers/imaging", "layer-version": "layers/imaging/versions/2", "compare": "layers/imaging/compare?from=1&to=2", "share": "layers/imaging/versions/2/policy",
		"publish": "layers-new", "functions": "functions", "function": "functions/thumbnails", "function-layers": "functions/thumbnails/layers", "code": "functions/thumbnails/code/file?path=app.py",
		"versions": "functions/thumbnails/versions", "alias": "functions/thumbnails/aliases/live", "access": "functions/thumbnails/access", "logs": "functions/thumbnails/logs", "monitor": "functions/thumbnails/monitor?range=1h",
		"environment": "functions/thumbnails/environment", "concurrency": "functions/thumbnails/concurrency", "configuration": "functions/thumbnails/configuration", "new": "functions-new", "stacks": "stacks", "log-groups": "logs",
	} {
		for look, width := range map[string]int{"light": 1280, "dark": 1280, "phone-light": 390, "phone-dark": 390} {
			p.look(width, map[bool]string{true: "light", false: "dark"}[look == "light" || look == "phone-light"])
			p.visit(console + path)
			p.holds(`!document.querySelector("[aria-busy=true]")`)
			p.on(`document.querySelectorAll(".tree details").forEach((d) => { d.open = true })`)
			p.fits()
			p.accessible()
			p.picture(name + "-" + look)
		}
	}
	p.look(1280, "light")
	p.visit(console + "functions/thumbnails/test")
	p.fill("Event (JSON)", `{"image": "holiday.jpg"}`)
	p.click("button", "Invoke")
	p.shows("Succeeded")
	for look, width := range map[string]int{"light": 1280, "dark": 1280, "phone-light": 390, "phone-dark": 390} {
		p.look(width, map[bool]string{true: "light", false: "dark"}[look == "light" || look == "phone-light"])
		p.fits()
		p.picture("test-" + look)
	}
}

// furnish makes what a small workshop has.
func furnish(t *testing.T, s *testkit.Server) {
	t.Helper()
	ctx, api := t.Context(), s.Lambda()
	publish := func(name, description string, files ...testkit.File) string {
		out, err := api.PublishLayerVersion(ctx, &lambda.PublishLayerVersionInput{
			LayerName: &name, Description: &description, LicenseInfo: aws.String("MIT"), Content: &types.LayerVersionContentInput{ZipFile: testkit.Zip(t, files...)},
			CompatibleRuntimes: []types.Runtime{types.RuntimePython312, types.RuntimePython313}, CompatibleArchitectures: []types.Architecture{types.ArchitectureX8664},
		})
		if err != nil {
			t.Fatal(err)
		}
		return aws.ToString(out.LayerVersionArn)
	}
	file := func(name string, size int) testkit.File { return testkit.File{Name: name, Body: noise(size)} }
	publish("imaging", "Resizing and thumbnails", file("python/imaging/__init__.py", 900), file("python/imaging/codec.py", 48_000), file("python/imaging/legacy.py", 21_000), file("python/colors.py", 3_000))
	imaging := publish("imaging", "Resizing and thumbnails, faster", file("python/imaging/__init__.py", 950), file("python/imaging/codec.py", 52_000), file("python/imaging/resize.py", 31_000), file("python/colors.py", 3_400),
		testkit.File{Name: "bin/imagetool", Body: "#!/bin/sh\n", Mode: 0o755}, file("lib/libcodec.so.2", 180_000), testkit.File{Name: "lib/libcodec.so", Link: "libcodec.so.2"})
	fonts := publish("house-fonts", "Fonts and colours of the house", file("fonts/House-Regular.ttf", 120_000), file("fonts/House-Bold.ttf", 124_000), file("python/colors.py", 2_800))
	name := "thumbnails"
	code := `import json, time

def handler(event, context):
    image = event.get("image", "sample.jpg")
    print("reading", image)
    if event.get("broken"):
        raise ValueError(f"{image} is no picture")
    time.sleep(event.get("wait", 0))
    return {"image": image, "thumbnail": image.replace(".jpg", "-small.jpg"), "width": 320, "height": 200}
`
	if _, err := api.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: &name, Role: aws.String(role), Runtime: types.RuntimePython312, Handler: aws.String("app.handler"), Description: aws.String("Makes thumbnails of what is uploaded"),
		Layers: []string{imaging, fonts}, Code: &types.FunctionCode{ZipFile: testkit.Zip(t, testkit.File{Name: "app.py", Body: code}, testkit.File{Name: "README.md", Body: "Thumbnails.\n"})},
		Environment: &types.Environment{Variables: map[string]string{"QUALITY": "80", "BUCKET": "thumbnails-eu"}}, MemorySize: aws.Int32(256), Tags: map[string]string{"team": "media"},
	}); err != nil {
		t.Fatal(err)
	}
	active(t, api, name)
	if _, err := api.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: &name, Description: aws.String("First release")}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: &name, Timeout: aws.Int32(10)}); err != nil {
		t.Fatal(err)
	}
	active(t, api, name)
	if _, err := api.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: &name, Description: aws.String("More time")}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: &name, Name: aws.String("live"), FunctionVersion: aws.String("1"), Description: aws.String("What people use"), RoutingConfig: &types.AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{"2": 0.1}}}); err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		event := fmt.Sprintf(`{"image": "picture-%d.jpg", "wait": %g, "broken": %t}`, i, float64(i%7)*0.004, i%17 == 5)
		if _, err := api.Invoke(ctx, &lambda.InvokeInput{FunctionName: &name, Payload: []byte(event)}); err != nil {
			t.Fatal(err)
		}
	}
	newFunction(t, s, "nightly-report", "def handler(event, context):\n    return 'done'\n")
	if _, err := api.AddLayerVersionPermission(ctx, &lambda.AddLayerVersionPermissionInput{
		LayerName: aws.String("imaging"), VersionNumber: aws.Int64(2), StatementId: aws.String("partner"), Action: aws.String("lambda:GetLayerVersion"), Principal: aws.String("123456789012"),
	}); err != nil {
		t.Fatal(err)
	}
}
