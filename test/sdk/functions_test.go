package sdk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/lamina-run/lamina/internal/testkit"
)

func TestFunctionLife(t *testing.T) {
	b := open(t)
	layer := b.layer("lib", archive(t, "python/lib.py", "N = 1\n"))
	zip := python(t, "1")
	b.function("life", zip, *layer.LayerVersionArn)
	got, err := b.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("life")})
	if err != nil {
		t.Fatal(err)
	}
	c := got.Configuration
	if c.State != types.StateActive || c.LastUpdateStatus != types.LastUpdateStatusSuccessful || aws.ToString(c.Version) != "$LATEST" {
		t.Errorf("state %s, update %s, version %s; want Active, Successful, $LATEST", c.State, c.LastUpdateStatus, aws.ToString(c.Version))
	}
	if len(c.Layers) != 1 || aws.ToString(c.Layers[0].Arn) != *layer.LayerVersionArn || c.Layers[0].CodeSize != layer.Content.CodeSize {
		t.Errorf("layers %+v; want the one attached with its size", c.Layers)
	}
	if status, body := fetch(t, aws.ToString(got.Code.Location)); status != 200 || !bytes.Equal(body, zip) {
		t.Errorf("Code.Location = %d, %d bytes; want the %d bytes sent", status, len(body), len(zip))
	}
	_, err = b.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: aws.String("life"), Role: aws.String(role), Handler: aws.String("app.handler"), Runtime: types.RuntimePython311,
		Code: &types.FunctionCode{ZipFile: zip},
	})
	wantError[*types.ResourceConflictException](t, "CreateFunction of a taken name", err)
	if _, err := b.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("life"), Layers: []string{}}); err != nil {
		t.Fatal(err)
	}
	b.updated("life")
	if got, err := b.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: aws.String("life")}); err != nil || len(got.Layers) != 0 {
		t.Errorf("after Layers=[]: %+v, %v; want none", got, err)
	}
	if _, err := b.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: aws.String("life")}); err != nil {
		t.Fatal(err)
	}
	_, err = b.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("life")})
	wantError[*types.ResourceNotFoundException](t, "GetFunction of a deleted function", err)
}

func TestFunctionLayerErrors(t *testing.T) {
	b := open(t)
	one := b.layer("twice", archive(t, "n", "1"))
	two := b.layer("twice", archive(t, "n", "2"))
	var many []string
	for i := range 6 {
		many = append(many, *b.layer(fmt.Sprintf("many-%d", i), archive(t, "n", "")).LayerVersionArn)
	}
	for _, c := range []struct {
		name   string
		layers []string
	}{
		{"two versions of one layer", []string{*one.LayerVersionArn, *two.LayerVersionArn}},
		{"a version that does not exist", []string{*one.LayerArn + ":99"}},
		{"six layers", many},
		{"another region's layer", []string{strings.Replace(*one.LayerVersionArn, region, "us-west-2", 1)}},
	} {
		_, err := b.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
			FunctionName: aws.String("refused"), Role: aws.String(role), Handler: aws.String("app.handler"), Runtime: types.RuntimePython311,
			Code: &types.FunctionCode{ZipFile: python(t, "1")}, Layers: c.layers,
		})
		wantError[*types.InvalidParameterValueException](t, c.name, err)
	}
}

func TestVersionsAndAliases(t *testing.T) {
	b := open(t)
	first, second := python(t, "'first'"), python(t, "'second'")
	b.function("site", first)
	if got := b.publish("site"); aws.ToString(got.Version) != "1" || aws.ToString(got.CodeSha256) != codeSHA256(first) {
		t.Errorf("published %s of %s; want 1 of %s", aws.ToString(got.Version), aws.ToString(got.CodeSha256), codeSHA256(first))
	}
	if got := b.publish("site"); aws.ToString(got.Version) != "1" {
		t.Errorf("unchanged code gave version %s; want 1 again", aws.ToString(got.Version))
	}
	b.update("site", second)
	if got := b.publish("site"); aws.ToString(got.Version) != "2" || aws.ToString(got.CodeSha256) != codeSHA256(second) {
		t.Errorf("published %s of %s; want 2 of %s", aws.ToString(got.Version), aws.ToString(got.CodeSha256), codeSHA256(second))
	}
	old, err := b.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("site"), Qualifier: aws.String("1")})
	if err != nil {
		t.Fatal(err)
	}
	if _, body := fetch(t, aws.ToString(old.Code.Location)); !bytes.Equal(body, first) {
		t.Errorf("version 1's code changed")
	}

	alias, err := b.CreateAlias(t.Context(), &lambda.CreateAliasInput{FunctionName: aws.String("site"), Name: aws.String("live"), FunctionVersion: aws.String("1")})
	if err != nil {
		t.Fatal(err)
	}
	moved, err := b.UpdateAlias(t.Context(), &lambda.UpdateAliasInput{
		FunctionName: aws.String("site"), Name: aws.String("live"), FunctionVersion: aws.String("2"), RevisionId: alias.RevisionId,
		RoutingConfig: &types.AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{"1": 0.25}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(moved.FunctionVersion) != "2" || moved.RoutingConfig == nil || moved.RoutingConfig.AdditionalVersionWeights["1"] != 0.25 {
		t.Errorf("moved alias %+v; want version 2 and a quarter to 1", moved)
	}
	_, err = b.UpdateAlias(t.Context(), &lambda.UpdateAliasInput{FunctionName: aws.String("site"), Name: aws.String("live"), RevisionId: alias.RevisionId})
	wantError[*types.PreconditionFailedException](t, "UpdateAlias with a stale RevisionId", err)
	_, err = b.CreateAlias(t.Context(), &lambda.CreateAliasInput{FunctionName: aws.String("site"), Name: aws.String("lost"), FunctionVersion: aws.String("9")})
	wantError[*types.ResourceNotFoundException](t, "CreateAlias to an unknown version", err)

	list, err := b.ListVersionsByFunction(t.Context(), &lambda.ListVersionsByFunctionInput{FunctionName: aws.String("site")})
	if err != nil {
		t.Fatal(err)
	}
	var numbers []string
	for _, v := range list.Versions {
		numbers = append(numbers, aws.ToString(v.Version))
	}
	if want := []string{"$LATEST", "1", "2"}; !slices.Equal(numbers, want) {
		t.Errorf("versions %v; want %v", numbers, want)
	}
	_, err = b.PublishVersion(t.Context(), &lambda.PublishVersionInput{FunctionName: aws.String("site"), CodeSha256: aws.String(codeSHA256(first))})
	wantError[*types.InvalidParameterValueException](t, "PublishVersion with another CodeSha256", err)
	_, err = b.PublishVersion(t.Context(), &lambda.PublishVersionInput{FunctionName: aws.String("absent")})
	wantError[*types.ResourceNotFoundException](t, "PublishVersion(absent)", err)
}

func TestInvokeWithLayers(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	b := open(t)
	one := b.layer("one", archive(t, "python/greet.py", "def hello(who):\n    return 'hello ' + who\n", "which.txt", "one"))
	two := b.layer("two", archive(t, "python/twice.py", "def twice(n):\n    return 2 * n\n", "which.txt", "two"))
	b.function("greeter", archive(t, "app.py", strings.Join([]string{
		"import greet, twice",
		"def handler(event, context):",
		"    print('heard', event['who'])",
		"    if event.get('fail'): raise ValueError('asked to')",
		"    return {'said': greet.hello(event['who']), 'n': twice.twice(21), 'which': open('/opt/which.txt').read(), 'id': context.aws_request_id}",
		"",
	}, "\n")), *one.LayerVersionArn, *two.LayerVersionArn)

	out := b.invoke("greeter", `{"who":"Ada"}`)
	var got struct{ Said, Which, ID string }
	if err := json.Unmarshal(out.Payload, &got); err != nil || out.FunctionError != nil {
		t.Fatalf("answer %s, %v, function error %v", out.Payload, err, aws.ToString(out.FunctionError))
	}
	if got.Said != "hello Ada" || got.Which != "two" {
		t.Errorf("answer %s; want hello Ada, and the last layer's which.txt", out.Payload)
	}
	if out.StatusCode != 200 || aws.ToString(out.ExecutedVersion) != "$LATEST" {
		t.Errorf("status %d, executed %s; want 200, $LATEST", out.StatusCode, aws.ToString(out.ExecutedVersion))
	}
	log := logOf(t, out)
	for _, line := range []string{"START RequestId: " + got.ID, "heard Ada", "END RequestId: " + got.ID, "REPORT RequestId: " + got.ID} {
		if !strings.Contains(log, line) {
			t.Errorf("log tail %q lacks %q", log, line)
		}
	}

	out = b.invoke("greeter", `{"who":"Ada","fail":true}`)
	var failed struct{ ErrorMessage, ErrorType string }
	if err := json.Unmarshal(out.Payload, &failed); err != nil {
		t.Fatal(err)
	}
	if out.StatusCode != 200 || aws.ToString(out.FunctionError) != "Unhandled" || failed.ErrorType != "ValueError" || failed.ErrorMessage != "asked to" {
		t.Errorf("failing function: %d %s %s; want 200 Unhandled ValueError asked to", out.StatusCode, aws.ToString(out.FunctionError), out.Payload)
	}

	_, err := b.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("absent")})
	wantError[*types.ResourceNotFoundException](t, "Invoke(absent)", err)
}

func TestPublishedVersionKeepsItsCodeAndLayers(t *testing.T) {
	testkit.Need(t, testkit.Sandbox, testkit.Python)
	b := open(t)
	app := archive(t, "app.py", "import lib\ndef handler(event, context):\n    return [lib.N, context.function_version]\n")
	old := b.layer("lib", archive(t, "python/lib.py", "N = 'old'\n"))
	fresh := b.layer("lib", archive(t, "python/lib.py", "N = 'new'\n"))
	b.function("frozen", app, *old.LayerVersionArn)
	b.publish("frozen")
	if _, err := b.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("frozen"), Layers: []string{*fresh.LayerVersionArn}}); err != nil {
		t.Fatal(err)
	}
	b.updated("frozen")
	b.publish("frozen")
	if _, err := b.DeleteLayerVersion(t.Context(), &lambda.DeleteLayerVersionInput{LayerName: aws.String("lib"), VersionNumber: aws.Int64(1)}); err != nil {
		t.Fatal(err)
	}
	for qualifier, want := range map[string]string{"1": `["old","1"]`, "2": `["new","2"]`, "$LATEST": `["new","$LATEST"]`} {
		out := b.invoke("frozen:"+qualifier, "{}")
		if got := strings.ReplaceAll(string(out.Payload), " ", ""); got != want || aws.ToString(out.ExecutedVersion) != qualifier {
			t.Errorf("version %s answered %s as %s; want %s", qualifier, got, aws.ToString(out.ExecutedVersion), want)
		}
	}
	if _, err := b.CreateAlias(t.Context(), &lambda.CreateAliasInput{FunctionName: aws.String("frozen"), Name: aws.String("live"), FunctionVersion: aws.String("1")}); err != nil {
		t.Fatal(err)
	}
	if out := b.invoke("frozen:live", "{}"); aws.ToString(out.ExecutedVersion) != "1" {
		t.Errorf("the alias executed %s; want 1", aws.ToString(out.ExecutedVersion))
	}
}
