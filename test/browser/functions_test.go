package browser

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

// newLayer publishes a version of a layer with one Python module and returns its ARN.
func newLayer(t testing.TB, s *testkit.Server, name string, files ...testkit.File) string {
	t.Helper()
	out, err := s.Lambda().PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{
		LayerName: &name, Content: &types.LayerVersionContentInput{ZipFile: testkit.Zip(t, files...)}, CompatibleRuntimes: []types.Runtime{types.RuntimePython312},
	})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.LayerVersionArn)
}

// turnTo opens a page of the function that the tab shows.
func (p *tab) turnTo(name, path string) {
	p.t.Helper()
	p.find("navigation", "Function").find("link", name).click()
	p.at(path)
}

// checked reports whether the box of that name is.
func (p *tab) checked(name string) (is bool) {
	p.t.Helper()
	p.eval(fmt.Sprintf(`document.querySelector("input[name=%s]").checked`, name), &is)
	return is
}

const firstCode = `import os, shared
def lambda_handler(event, context):
    print("line", event.get("n"), os.environ.get("GREETING"), flush=True)
    if event.get("fail"):
        raise ValueError("as you wish")
    return {"layer": shared.name, "n": event.get("n"), "greeting": os.environ.get("GREETING")}
`

// testFunctions: a function from its creation to its deletion, with the mouse.
func testFunctions(t *testing.T, s *testkit.Server) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	ctx, api := t.Context(), s.Lambda()
	base := newLayer(t, s, "flow-base", testkit.File{Name: "python/shared.py", Body: "name = 'base'\n"}, testkit.File{Name: "python/base_only.py", Body: "x = 1\n"})
	over := newLayer(t, s, "flow-over", testkit.File{Name: "python/shared.py", Body: "name = 'over'\n"})
	const name = "orders"
	at := console + "functions/" + name
	p := open(t, s.URL)
	p.signIn(s)
	p.click("link", "Functions")
	p.at(console + "functions")
	p.click("link", "Create a function")
	p.at(console + "functions-new")
	p.accessible()
	p.fill("Name", name)
	p.field("Runtime").choose("python3.12")
	if !p.checked("newrole") { // it is, when there is no role to choose
		p.click("checkbox", "Make a role for this function…")
	}
	p.click("button", "Create")
	p.shows("Function orders created")
	p.at(at)
	active(t, api, name)

	// Its code, in place.
	p.turnTo("Code", at+"/code")
	p.click("link", "lambda_function.py…")
	p.shows("Back to the code")
	p.fill("Text", firstCode)
	p.click("button", "Save")
	p.shows("Saved lambda_function.py")
	p.accessible()
	active(t, api, name)

	// Layers: two are attached, then their order is turned around, by dragging and
	// without.
	p.turnTo("Layers", at+"/layers")
	for i, arn := range []string{base, over} {
		p.field("Add one of your layers that suits").choose(arn)
		p.click("button", "Save")
		p.holds(fmt.Sprintf(`document.querySelectorAll("#layers [name=layer]").length === %d`, i+1))
		p.shows("Layers saved")
		active(t, api, name)
		p.visit(at + "/layers")
	}
	order := func() []string {
		active(t, api, name)
		out, err := api.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: aws.String(name)})
		if err != nil {
			t.Fatal(err)
		}
		var arns []string
		for _, l := range out.Layers {
			arns = append(arns, aws.ToString(l.Arn))
		}
		return arns
	}
	if got := order(); !slices.Equal(got, []string{base, over}) {
		t.Fatalf("layers %v; want %v", got, []string{base, over})
	}
	shadowed := func(by string) {
		t.Helper()
		p.holds(`[...document.querySelectorAll("#shadows tbody tr")].some((r) => r.cells[0].innerText.endsWith("python/shared.py") && r.cells[2].innerText.includes("` + by + `"))`)
	}
	shadowed("flow-over")
	p.accessible()
	p.css("#layers li:last-child .grip").dragTo(p.css("#layers li:first-child .grip"), -10)
	p.shows("nothing is saved yet")
	shadowed("flow-base")
	p.click("button", "Save")
	p.shows("Layers saved")
	if got := order(); !slices.Equal(got, []string{over, base}) {
		t.Errorf("layers after dragging %v; want %v", got, []string{over, base})
	}
	p.visit(at + "/layers")
	p.tabTo("button", "Move flow-base…")
	p.press("Enter")
	p.holds(`document.querySelector("#layers li").dataset.label.startsWith("flow-base")`)
	p.holds(`/is now at place 1|is a preview now/.test(document.querySelector("#status").textContent)`) // one is told after the other
	p.tabTo("button", "Save")
	p.press("Enter")
	p.shows("Layers saved")
	if got := order(); !slices.Equal(got, []string{base, over}) {
		t.Errorf("layers after moving by keyboard %v; want %v", got, []string{base, over})
	}

	p.visit(at + "/environment")
	p.accessible()
	p.fill("New key", "GREETING")
	p.fill("Value", "hello")
	p.click("button", "Save")
	p.shows("Environment saved")
	active(t, api, name)
	if out, err := api.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: aws.String(name)}); err != nil || out.Environment.Variables["GREETING"] != "hello" {
		t.Errorf("environment %+v, %v", out.Environment, err)
	}

	// Tried with an event that the browser keeps.
	p.visit(at + "/test")
	p.accessible()
	p.fill("Event (JSON)", `{"n": 42}`)
	p.fill("Name", "answer")
	p.click("button", "Save the event")
	p.holds(`document.querySelector("[data-saved]").value === "answer"`)
	p.visit(at + "/test")
	p.field("Saved events").choose("answer")
	p.click("button", "Invoke")
	p.shows("Succeeded")
	for _, expression := range []string{
		`JSON.parse(document.querySelector("#payload").innerText).layer === "over"`, `document.querySelector("#payload").innerText.includes("42")`,
		`document.querySelector("#tail").innerText.includes("line 42 hello")`, `document.querySelector("#result").innerText.includes("Duration")`,
		`document.querySelector("#result").innerText.includes("Cold start")`, `document.querySelector("#result").innerText.includes("memory")`,
	} {
		p.holds(expression)
	}
	p.accessible()
	p.fits()
	p.fill("Event (JSON)", `{"n": 7, "fail": true}`)
	p.click("button", "Invoke")
	p.shows("Failed: Unhandled")
	p.holds(`document.querySelector("#payload").innerText.includes("as you wish") && !document.querySelector("#result").innerText.includes("Cold start")`)
	p.fill("Event (JSON)", `no JSON`)
	p.click("button", "Invoke")
	p.shows("Refused")

	// Versions, and an alias that leads to two.
	p.turnTo("Versions", at+"/versions")
	p.fill("Description", "the first")
	p.click("button", "Publish $LATEST")
	p.shows("Version 1 is what $LATEST is now")
	p.visit(at + "/code/file?path=lambda_function.py")
	p.fill("Text", firstCode+"# two\n")
	p.click("button", "Save")
	p.shows("Saved lambda_function.py")
	active(t, api, name)
	p.visit(at + "/versions")
	p.click("button", "Publish $LATEST")
	p.shows("Version 2 is what $LATEST is now")
	p.click("DisclosureTriangle", "Create an alias")
	form := p.css("#newalias")
	form.find("textbox", "Name").fill("live")
	p.eval(`document.querySelector("#newalias [name=version]").value = "1"`, nil)
	p.click("button", "Create the alias")
	p.shows("Alias live created")
	p.accessible()
	p.click("link", "live")
	p.at(at + "/aliases/live")
	p.accessible()
	p.field("Second version").choose("2")
	p.find("slider", "Share of the second version").on(`function() { this.focus() }`, nil)
	for range 10 {
		p.press("ArrowRight")
	}
	p.holds(`document.querySelector("#weight").value === "10"`)
	p.click("button", "Save")
	p.shows("Alias live saved")
	alias, err := api.GetAlias(ctx, &lambda.GetAliasInput{FunctionName: aws.String(name), Name: aws.String("live")})
	if err != nil || aws.ToString(alias.FunctionVersion) != "1" || alias.RoutingConfig == nil || alias.RoutingConfig.AdditionalVersionWeights["2"] != 0.1 {
		t.Errorf("alias %+v, %v; want 10%% of 2", alias, err)
	}

	// Live logs: what is printed while somebody looks.
	p.turnTo("Logs", at+"/logs")
	p.holds(`document.querySelector("#log").innerText.includes("line 42 hello")`)
	p.accessible()
	if _, err := api.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String(name), Payload: []byte(`{"n": 4711}`)}); err != nil {
		t.Fatal(err)
	}
	p.holds(`document.querySelector("#log").innerText.includes("line 4711 hello")`)

	p.turnTo("Concurrency", at+"/concurrency")
	p.accessible()
	p.click("radio", "Reserve for this function…")
	p.fill("Executions at once; 0 stops it", "5")
	p.click("button", "Save")
	p.shows("5 reserved")
	if out, err := api.GetFunctionConcurrency(ctx, &lambda.GetFunctionConcurrencyInput{FunctionName: aws.String(name)}); err != nil || aws.ToInt32(out.ReservedConcurrentExecutions) != 5 {
		t.Errorf("concurrency %+v, %v; want 5", out, err)
	}

	p.turnTo("Access", at+"/access")
	p.accessible()
	p.click("radio", "NONE: everybody…")
	p.click("button", "Create the URL")
	p.shows("Delete the URL")
	url, err := api.GetFunctionUrlConfig(ctx, &lambda.GetFunctionUrlConfigInput{FunctionName: aws.String(name)})
	if err != nil || url.AuthType != types.FunctionUrlAuthTypeNone {
		t.Errorf("URL %+v, %v", url, err)
	}
	host, _, _ := strings.Cut(strings.TrimPrefix(aws.ToString(url.FunctionUrl), "http://"), ".")
	if r := newVisitor(t, s.URL).get("/_lamina/url/" + host + "/"); r.StatusCode != 200 || !strings.Contains(r.text, "over") {
		t.Errorf("the URL answers %s: %s", r.Status, r.text)
	}
	p.click("DisclosureTriangle", "Add a permission")
	p.fill("Statement ID", "from-s3")
	p.fill("Who: a service…", "s3.amazonaws.com")
	p.fill("Only from the source (ARN)", "arn:aws:s3:::flow")
	p.click("button", "Add the permission")
	p.shows("Permission from-s3 added")
	if out, err := api.GetPolicy(ctx, &lambda.GetPolicyInput{FunctionName: aws.String(name)}); err != nil || !strings.Contains(aws.ToString(out.Policy), "arn:aws:s3:::flow") {
		t.Errorf("policy %+v, %v", out, err)
	}
	p.click("button", "Remove from-s3")
	p.shows("Permission from-s3 removed")

	p.turnTo("Monitor", at+"/monitor")
	p.find("heading", "Monitor")
	p.accessible()
	p.turnTo("Configuration", at+"/configuration")
	p.fill("Memory, MB", "256")
	p.click("button", "Save")
	p.shows("Configuration saved")
	active(t, api, name)

	p.visit(at)
	p.click("link", "Delete the function…")
	p.at(at + "/delete")
	p.accessible()
	p.fill("To confirm, type the function's name", name)
	p.click("button", "Delete the function")
	p.shows("Function orders deleted")
	if _, err := api.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String(name)}); !isAbsent(err) {
		t.Errorf("GetFunction after the deletion: %v", err)
	}
}

// testFunctionsByKeyboard: the main way, without a mouse.
func testFunctionsByKeyboard(t *testing.T, s *testkit.Server) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	ctx, api := t.Context(), s.Lambda()
	const name = "typed"
	at := console + "functions/" + name
	p := open(t, s.URL)
	p.signIn(s)
	p.visit(console + "functions")
	p.tabTo("link", "Create a function")
	p.press("Enter")
	p.at(console + "functions-new")
	p.holds(`document.activeElement.name === "name"`) // the first field has the focus
	p.write(name)
	p.tabTo("combobox", "Runtime")
	for range 40 { // by its letters and arrows, as selects are
		var runtime string
		if p.eval(`document.querySelector("#runtime").value`, &runtime); runtime == "python3.12" {
			break
		}
		p.press("ArrowDown")
	}
	p.tabTo("checkbox", "Make a role for this function…")
	if !p.checked("newrole") {
		p.press(" ")
	}
	p.tabTo("button", "Create")
	p.press("Enter")
	p.shows("Function typed created")
	active(t, api, name)
	p.tabTo("link", "Code")
	p.press("Enter")
	p.at(at + "/code")
	p.tabTo("link", "lambda_function.py…")
	p.press("Enter")
	p.shows("Back to the code")
	p.tabTo("textbox", "Text")
	p.press("Home", ctrl)
	p.write("# typed\n")
	p.tabTo("button", "Save") // Tab leaves the field
	p.press("Enter")
	p.shows("Saved lambda_function.py")
	active(t, api, name)
	p.visit(at)
	p.tabTo("link", "Test")
	p.press("Enter")
	p.at(at + "/test")
	p.tabTo("button", "Invoke")
	p.press("Enter")
	p.shows("Succeeded")
	p.visit(at)
	p.tabTo("link", "Versions")
	p.press("Enter")
	p.at(at + "/versions")
	p.tabTo("textbox", "Description")
	p.write("typed")
	p.press("Enter")
	p.shows("Version 1 is what $LATEST is now")
	p.tabTo("DisclosureTriangle", "Create an alias")
	p.press("Enter")
	p.tabTo("textbox", "Name")
	p.write("live")
	p.tabTo("button", "Create the alias")
	p.press("Enter")
	p.shows("Alias live created")
	p.tabTo("link", "live")
	p.press("Enter")
	p.at(at + "/aliases/live")
	p.tabTo("slider", "Share of the second version")
	p.press("ArrowRight")
	p.press("ArrowRight")
	p.holds(`document.querySelector("#weight").value === "2"`)
	p.press("Home")
	p.tabTo("button", "Save")
	p.press("Enter")
	p.shows("Alias live saved")
	p.visit(at)
	p.tabTo("link", "Logs") // all of them
	p.tabTo("link", "Logs")
	p.press("Enter")
	p.at(at + "/logs")
	p.tabTo("log", "Lines of the log") // to be scrolled
	p.visit(at)
	p.tabTo("link", "Delete the function…")
	p.press("Enter")
	p.at(at + "/delete")
	p.tabTo("textbox", "To confirm, type the function's name")
	p.write(name)
	p.tabTo("button", "Delete the function")
	p.press("Enter")
	p.shows("Function typed deleted")
	if _, err := api.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String(name)}); !isAbsent(err) {
		t.Errorf("GetFunction after the deletion: %v", err)
	}
}
