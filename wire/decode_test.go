package wire

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

func ptr[T any](v T) *T { return &v }

func TestDecode(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, operation, method, target, body string
		header                                map[string]string
		want                                  any
	}{
		{
			"path, query and an absent body", "GetFunction", "GET", "/2015-03-31/functions/my-fn?Qualifier=%24LATEST", "", nil,
			&GetFunctionRequest{FunctionName: "my-fn", Qualifier: ptr("$LATEST")},
		},
		{
			"an integer in the query", "ListLayers", "GET", "/2018-10-31/layers?MaxItems=5&Marker=", "", nil,
			&ListLayersRequest{MaxItems: ptr(int64(5)), Marker: ptr("")},
		},
		{
			"a list in the query", "UntagResource", "DELETE", "/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A111111111111%3Afunction%3Af?tagKeys=a&tagKeys=b", "", nil,
			&UntagResourceRequest{Resource: "arn:aws:lambda:us-east-1:111111111111:function:f", TagKeys: []string{"a", "b"}},
		},
		{
			"headers and a payload", "Invoke", "POST", "/2015-03-31/functions/f/invocations", "{not json",
			map[string]string{"X-Amz-Invocation-Type": "Event"},
			&InvocationRequest{FunctionName: "f", InvocationType: ptr("Event"), Payload: []byte("{not json")},
		},
		{
			"unknown members, nulls and other spellings are ignored", "PublishVersion", "POST", "/2015-03-31/functions/f/versions",
			`{"Description":null,"description":"small","CodeSha256":"x","Novel":{"a":[1]}}`, nil,
			&PublishVersionRequest{FunctionName: "f", CodeSha256: ptr("x")},
		},
		{
			"an empty body is an empty object", "PublishVersion", "POST", "/2015-03-31/functions/f/versions", " \n", nil,
			&PublishVersionRequest{FunctionName: "f"},
		},
		{
			"empty lists and maps differ from absent ones", "UpdateFunctionConfiguration", "PUT", "/2015-03-31/functions/f/configuration",
			`{"Layers":[],"Environment":{"Variables":{}},"VpcConfig":{"SubnetIds":[]},"Timeout":3.0,"MemorySize":1e3}`, nil,
			&UpdateFunctionConfigurationRequest{
				FunctionName: "f", Layers: []string{}, Environment: &Environment{Variables: map[string]string{}},
				VpcConfig: &VpcConfig{SubnetIds: []string{}}, Timeout: ptr(int64(3)), MemorySize: ptr(int64(1000)),
			},
		},
		{
			"numbers, booleans and instants", "CreateEventSourceMapping", "POST", "/2015-03-31/event-source-mappings",
			`{"FunctionName":"f","Enabled":false,"StartingPositionTimestamp":1700000000.25,"SelfManagedEventSource":{"Endpoints":{"KAFKA_BOOTSTRAP_SERVERS":["a:1"]}}}`, nil,
			&CreateEventSourceMappingRequest{
				FunctionName: "f", Enabled: ptr(false), StartingPositionTimestamp: &Epoch{time.UnixMilli(1700000000250).UTC()},
				SelfManagedEventSource: &SelfManagedEventSource{Endpoints: map[string][]string{"KAFKA_BOOTSTRAP_SERVERS": {"a:1"}}},
			},
		},
		{
			"weights", "UpdateAlias", "PUT", "/2015-03-31/functions/f/aliases/live", `{"RoutingConfig":{"AdditionalVersionWeights":{"2":0.25}}}`, nil,
			&UpdateAliasRequest{FunctionName: "f", Name: "live", RoutingConfig: &AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{"2": 0.25}}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, _, _ := quiet()
			var got any
			rt := r.byName[tt.operation]
			rt.input, rt.output = shapeOf(rt.in), shapeOf(rt.out)
			rt.call = func(_ context.Context, in any) (any, error) { got = in; return newOutput(rt), nil }
			req := httptest.NewRequest(tt.method, tt.target, strings.NewReader(tt.body))
			for name, value := range tt.header {
				req.Header.Set(name, value)
			}
			w := do(r, req)
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("input = %s; want %s (answer %d %s)", dump(got), dump(tt.want), w.Code, w.Body)
			}
		})
	}
}

func dump(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return reflect.TypeOf(v).String() + string(text)
}

func TestDecodeRefused(t *testing.T) {
	t.Parallel()
	const versions, config, mapping = "/2015-03-31/functions/f/versions", "/2015-03-31/functions/f/configuration", "/2015-03-31/event-source-mappings"
	tests := []struct{ name, operation, method, target, body, want string }{
		{"a number for a string", "PublishVersion", "POST", versions, `{"Description":5}`, "NUMBER_VALUE can not be converted to a String"},
		{"a boolean for a string", "PublishVersion", "POST", versions, `{"Description":true}`, "TRUE_VALUE can not be converted to a String"},
		{"an object for a string", "PublishVersion", "POST", versions, `{"Description":{}}`, "Start of structure or map found where not expected."},
		{"a string for an integer", "UpdateFunctionConfiguration", "PUT", config, `{"Timeout":"5"}`, "STRING_VALUE can not be converted to an Integer"},
		{"a fraction for an integer", "UpdateFunctionConfiguration", "PUT", config, `{"Timeout":5.5}`, "NUMBER_VALUE can not be converted to an Integer"},
		{"a giant integer", "UpdateFunctionConfiguration", "PUT", config, `{"Timeout":99999999999999999999}`, "NUMBER_VALUE can not be converted to an Integer"},
		{"an infinite number", "UpdateFunctionConfiguration", "PUT", config, `{"Timeout":1e999}`, "NUMBER_VALUE can not be converted to an Integer"},
		{"a string for a boolean", "CreateEventSourceMapping", "POST", mapping, `{"Enabled":"true"}`, "STRING_VALUE can not be converted to a Boolean"},
		{"a string for a list", "UpdateFunctionConfiguration", "PUT", config, `{"Layers":"x"}`, "STRING_VALUE can not be converted to a List"},
		{"a list for a structure", "UpdateFunctionConfiguration", "PUT", config, `{"Environment":[]}`, "Start of list found where not expected"},
		{"a number among strings", "UpdateFunctionConfiguration", "PUT", config, `{"Layers":["a",1]}`, "NUMBER_VALUE can not be converted to a String"},
		{"a number in a map", "UpdateFunctionConfiguration", "PUT", config, `{"Environment":{"Variables":{"AB":1}}}`, "NUMBER_VALUE can not be converted to a String"},
		{"a list as the body", "PublishVersion", "POST", versions, `[]`, "Start of list found where not expected"},
		{"a word in the query", "ListLayers", "GET", "/2018-10-31/layers?MaxItems=many", "", "Value 'many' at 'maxItems' can not be converted to an Integer"},
		{"a word in the path", "GetLayerVersion", "GET", "/2018-10-31/layers/l/versions/one", "", "Value 'one' at 'versionNumber' can not be converted to an Integer"},
		{"half an object", "PublishVersion", "POST", versions, `{"Description":`, "Could not parse request body into json: unexpected end of JSON input"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, _, _ := quiet()
			offerAll(r)
			w := do(r, httptest.NewRequest(tt.method, tt.target, strings.NewReader(tt.body)))
			text, err := marshal(map[string]string{"message": tt.want})
			if err != nil {
				t.Fatal(err)
			}
			wantException(t, w, 400, "SerializationException", string(text))
		})
	}
}

func TestViolations(t *testing.T) {
	t.Parallel()
	const config, mapping = "/2015-03-31/functions/f/configuration", "/2015-03-31/event-source-mappings"
	tests := []struct{ name, operation, method, target, body, want string }{
		{
			"an absent member", "CreateAlias", "POST", "/2015-03-31/functions/f/aliases", `{"Name":"live"}`,
			"1 validation error detected: Value null at 'functionVersion' failed to satisfy constraint: Member must not be null",
		},
		{
			"an alias of digits", "CreateAlias", "POST", "/2015-03-31/functions/f/aliases", `{"Name":"12","FunctionVersion":"1"}`,
			"1 validation error detected: Value '12' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)",
		},
		{
			"an environment keeps its values", "UpdateFunctionConfiguration", "PUT", config, `{"Environment":{"Variables":{"1":"secret"}}}`,
			"1 validation error detected: Value at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]",
		},
		{
			"a member of a structure in a list", "UpdateFunctionConfiguration", "PUT", config, `{"FileSystemConfigs":[{"LocalMountPath":"/mnt/a"}]}`,
			"1 validation error detected: Value null at 'fileSystemConfigs.1.member.arn' failed to satisfy constraint: Member must not be null",
		},
		{
			"a null in a list", "UpdateFunctionConfiguration", "PUT", config, `{"Layers":[null]}`,
			"1 validation error detected: Value '[null]' at 'layers' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 2048, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: " + patterns["LayerVersionArn"].text + ", Member must not be null]",
		},
		{
			"length and pattern are two violations", "PublishVersion", "POST", "/2015-03-31/functions/" + strings.Repeat("!", 141) + "/versions", ``,
			"2 validation errors detected: Value '" + strings.Repeat("!", 141) + "' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 140; Value '" + strings.Repeat("!", 141) + "' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: " + patterns["FunctionName"].text,
		},
		{
			"structures print their members", "CreateEventSourceMapping", "POST", mapping,
			`{"FunctionName":"f","Queues":["a","b"]}`,
			"1 validation error detected: Value '[a, b]' at 'queues' failed to satisfy constraint: Member must have length less than or equal to 1",
		},
		{
			"header values", "Invoke", "POST", "/2015-03-31/functions/f/invocations", ``,
			"1 validation error detected: Value 'Sometimes' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: [Event, RequestResponse, DryRun]",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, _, _ := quiet()
			offerAll(r)
			req := httptest.NewRequest(tt.method, tt.target, strings.NewReader(tt.body))
			if tt.operation == "Invoke" {
				req.Header.Set("X-Amz-Invocation-Type", "Sometimes")
			}
			text, err := marshal(map[string]string{"message": tt.want})
			if err != nil {
				t.Fatal(err)
			}
			wantException(t, do(r, req), 400, "ValidationException", string(text))
		})
	}
}

func TestViolationsAreBounded(t *testing.T) {
	t.Parallel()
	r, _, _ := quiet()
	offerAll(r)
	body := `{"FileSystemConfigs":[` + strings.TrimSuffix(strings.Repeat("{},", 100_000), ",") + `]}`
	w := do(r, httptest.NewRequest("PUT", "/2015-03-31/functions/f/configuration", strings.NewReader(body)))
	// One of them is the length of the list, which prints the list as a whole.
	if got := strings.Count(w.Body.String(), "failed to satisfy"); w.Code != 400 || got != maxViolations {
		t.Errorf("answer = %d with %d violations; want a 400 with %d", w.Code, got, maxViolations)
	}
}

func TestSizeOfAPayload(t *testing.T) {
	t.Parallel()
	r, _, _ := quiet()
	offerAll(r)
	const target = "/2015-03-31/functions/f/invocations"
	if w := do(r, httptest.NewRequest("POST", target, strings.NewReader(strings.Repeat("x", maxDocument)))); w.Code != 200 {
		t.Errorf("status of 6 MiB = %d; want 200", w.Code)
	}
	for _, length := range []int64{maxDocument + 1, -1} {
		req := httptest.NewRequest("POST", target, strings.NewReader(strings.Repeat("x", maxDocument+1)))
		req.ContentLength = length
		wantException(t, do(r, req), 413, "RequestEntityTooLargeException",
			`{"message":"Request must be smaller than 6291456 bytes for the InvokeFunction operation"}`)
	}
	wider := NewRouter(Options{MaxPayload: maxDocument + 10})
	offerAll(wider)
	if w := do(wider, httptest.NewRequest("POST", target, strings.NewReader(strings.Repeat("x", maxDocument+10)))); w.Code != 200 {
		t.Errorf("status of a payload as large as configured = %d; want 200", w.Code)
	}
	if w := do(wider, httptest.NewRequest("POST", target, strings.NewReader(strings.Repeat("x", maxDocument+11)))); w.Code != 413 {
		t.Errorf("status of a larger payload = %d; want 413", w.Code)
	}
}

// FuzzDocument: whatever the JSON is, the answer is a success or a client's error.
func FuzzDocument(f *testing.F) {
	for _, seed := range []string{
		`{"FunctionName":"f","Role":"arn:aws:iam::111111111111:role/r","Code":{"S3Bucket":"abc","S3Key":"k"},"Layers":["x",null],"Environment":{"Variables":{"A":null}}}`,
		`{"FileSystemConfigs":[{"Arn":1}],"Timeout":1e9,"Architectures":[[]],"Tags":{"a":{}}}`, `{"Code":{"ZipFile":"QUI="}}`, `[`, `{"VpcConfig":null}`,
	} {
		f.Add(seed)
	}
	r := NewRouter(Options{Stage: (&discardStage{}).stage})
	offerAll(r)
	f.Fuzz(func(t *testing.T, text string) {
		for _, target := range []struct{ method, url string }{
			{"POST", "/2015-03-31/functions"},
			{"POST", "/2015-03-31/event-source-mappings"},
			{"PUT", "/2015-03-31/functions/f/aliases/a"},
			{"POST", "/2025-12-01/durable-executions/x/checkpoint"},
		} {
			w := do(r, httptest.NewRequest(target.method, target.url, strings.NewReader(text)))
			if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
				t.Fatalf("%s %s %q: %d %s", target.method, target.url, text, w.Code, w.Body)
			}
		}
	})
}

type discardStage struct{}

func (*discardStage) stage(context.Context) (Upload, error) { return &memoryUpload{}, nil }
