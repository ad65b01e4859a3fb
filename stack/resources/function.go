package resources

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Limits of waiting for what Lambda prepares.
const (
	functionLimit    = 10 * time.Minute
	provisionedLimit = 20 * time.Minute
	mappingLimit     = 5 * time.Minute
)

const functionsPath = "/2015-03-31/functions"

// functionPath is where a function is. The name may be an ARN.
func functionPath(name string) string { return functionsPath + "/" + url.PathEscape(name) }

func qualified(path, qualifier string) string {
	return path + "?Qualifier=" + url.QueryEscape(qualifier)
}

// configured are the properties that CreateFunction takes as they are and
// UpdateFunctionConfiguration changes, with what each is when the template has none.
var configured = map[string]any{
	"DeadLetterConfig": object{"TargetArn": ""}, "Description": "", "Environment": object{"Variables": object{}}, "EphemeralStorage": object{"Size": 512},
	"FileSystemConfigs": []any{}, "Handler": nil, "ImageConfig": object{}, "Layers": []any{}, "LoggingConfig": object{"LogFormat": "Text"},
	"MemorySize": 128, "Role": nil, "Runtime": nil, "SnapStart": object{"ApplyOn": "None"}, "Timeout": 3, "TracingConfig": object{"Mode": "PassThrough"},
	"VpcConfig": object{"SubnetIds": []any{}, "SecurityGroupIds": []any{}},
}

// functionState is what the operations say of a function.
type functionState struct {
	FunctionArn            string
	Version                string
	State                  string
	StateReason            string
	LastUpdateStatus       string
	LastUpdateStatusReason string
	SnapStart              json.RawMessage
}

func (f *functionState) attributes() map[string]any {
	all := map[string]any{"Arn": f.FunctionArn}
	var snap struct{ ApplyOn, OptimizationStatus string }
	if len(f.SnapStart) > 0 && json.Unmarshal(f.SnapStart, &snap) == nil {
		all["SnapStartResponse"] = string(f.SnapStart)
		all["SnapStartResponse.ApplyOn"], all["SnapStartResponse.OptimizationStatus"] = snap.ApplyOn, snap.OptimizationStatus
	}
	return all
}

// code is the code of a function, as requests have it.
func code(p properties) (object, error) {
	c := p.sub("Code")
	out := object(c.pick("S3Bucket", "S3Key", "S3ObjectVersion", "ImageUri", "SourceKMSKeyArn"))
	if !c.has("ZipFile") {
		return out, nil
	}
	archive, err := inlineArchive(p.str("Runtime"), c.str("ZipFile"))
	out["ZipFile"] = archive // base64 in JSON
	return out, err
}

func checkFunction(c *checker, p map[string]any) {
	code, ok := p["Code"].(map[string]any)
	if !ok || unknown(code) {
		return
	}
	sources := 0
	for _, name := range []string{"ZipFile", "ImageUri", "S3Bucket"} {
		if _, ok := code[name]; ok {
			sources++
		}
	}
	_, bucket := code["S3Bucket"]
	_, key := code["S3Key"]
	switch {
	case sources != 1:
		c.add("/Code", "Please provide exactly one source of code: ZipFile, ImageUri, or S3Bucket with S3Key")
	case bucket != key:
		c.add("/Code", "required key [S3Key] not found")
	}
	if mode, ok := code["S3ObjectStorageMode"].(string); ok && mode != "COPY" {
		c.add("/Code/S3ObjectStorageMode", "Lamina keeps a copy of all code: %s is not offered", mode)
	}
}

func createFunction(ctx context.Context, w *work) (Made, error) {
	name, _ := w.name("FunctionName", 64)
	in := object(w.in.pick("Architectures", "CodeSigningConfigArn", "PackageType"))
	for property := range configured {
		if v, ok := w.in[property]; ok {
			in[property] = v
		}
	}
	if key := w.in.str("KmsKeyArn"); key != "" {
		in["KMSKeyArn"] = key
	}
	if w.in.sub("Code").has("ImageUri") && in["PackageType"] == nil {
		in["PackageType"] = "Image"
	}
	from, err := code(w.in)
	if err != nil {
		return Made{}, err
	}
	in["FunctionName"], in["Code"], in["Tags"] = name, from, w.allTags()
	switch err := w.assumable(ctx, func() error { return w.lambda(ctx, http.MethodPost, functionsPath, in, nil) }); {
	case isExisting(err):
		mine, err := w.functionIsOurs(ctx, name)
		if err != nil {
			return Made{}, err
		}
		if !mine {
			return Made{}, w.alreadyExists(name)
		}
	case err != nil:
		return Made{}, err
	}
	made := Made{PhysicalID: name} // from here on there is something to delete
	if n, ok := w.in.int("ReservedConcurrentExecutions"); ok {
		if err := w.reserve(ctx, name, n); err != nil {
			return made, err
		}
	}
	if c := w.in.sub("RuntimeManagementConfig"); c != nil {
		if err := w.manageRuntime(ctx, name, "", c); err != nil {
			return made, err
		}
	}
	if loop := w.in.str("RecursiveLoop"); loop != "" {
		if err := w.recursion(ctx, name, loop); err != nil {
			return made, err
		}
	}
	f, err := w.settled(ctx, name)
	if err != nil {
		return made, err
	}
	made.Attributes = f.attributes()
	return made, nil
}

// assumable repeats a request for as long as a role that was just made is not
// known everywhere yet.
func (w *work) assumable(ctx context.Context, do func() error) error {
	for pause := 50 * time.Millisecond; ; pause *= 2 {
		err := do()
		if err == nil || pause > time.Second || !strings.Contains(err.Error(), "cannot be assumed by Lambda") {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// adopts reports whether the step takes over what has the name of a property.
func (w *work) adopts(property string) bool { return w.Adopt && w.in.str(property) != "" }

// functionIsOurs reports whether a function is what an earlier attempt made.
func (w *work) functionIsOurs(ctx context.Context, name string) (bool, error) {
	if !w.Again || w.adopts("FunctionName") {
		return w.adopts("FunctionName"), nil
	}
	var f struct{ Tags map[string]string }
	err := w.lambda(ctx, http.MethodGet, functionPath(name), nil, &f)
	return w.ours(f.Tags), err
}

// settled waits until a function is neither made nor updated any more.
func (w *work) settled(ctx context.Context, name string) (*functionState, error) {
	var f functionState
	err := w.await(ctx, functionLimit, &Failure{Handler: "NotStabilized", Message: "Function " + name + " did not become active in time."}, func() (bool, error) {
		f = functionState{}
		if err := w.lambda(ctx, http.MethodGet, functionPath(name)+"/configuration", nil, &f); err != nil {
			return false, err
		}
		switch {
		case f.State == "Failed":
			return false, &Failure{Handler: "NotStabilized", Message: f.StateReason}
		case f.LastUpdateStatus == "Failed":
			return false, &Failure{Handler: "NotStabilized", Message: f.LastUpdateStatusReason}
		}
		return f.State != "Pending" && f.LastUpdateStatus != "InProgress", nil
	})
	return &f, err
}

func (w *work) reserve(ctx context.Context, name string, n int64) error {
	return w.lambda(ctx, http.MethodPut, "/2017-10-31/functions/"+url.PathEscape(name)+"/concurrency", object{"ReservedConcurrentExecutions": n}, nil)
}

func (w *work) manageRuntime(ctx context.Context, name, qualifier string, c properties) error {
	path := "/2021-07-20/functions/" + url.PathEscape(name) + "/runtime-management-config"
	if qualifier != "" {
		path = qualified(path, qualifier)
	}
	return w.lambda(ctx, http.MethodPut, path, c.pick("UpdateRuntimeOn", "RuntimeVersionArn"), nil)
}

func (w *work) recursion(ctx context.Context, name, loop string) error {
	return w.lambda(ctx, http.MethodPut, "/2024-08-31/functions/"+url.PathEscape(name)+"/recursion-config", object{"RecursiveLoop": loop}, nil)
}

func updateFunction(ctx context.Context, w *work) (Made, error) {
	name := w.PhysicalID
	made := Made{PhysicalID: name}
	// What an earlier attempt began is waited for.
	if _, err := w.settled(ctx, name); err != nil && w.Again {
		return made, err
	}
	if w.changed("CodeSigningConfigArn") {
		path := "/2020-06-30/functions/" + url.PathEscape(name) + "/code-signing-config"
		var err error
		if arn := w.in.str("CodeSigningConfigArn"); arn != "" {
			err = w.lambda(ctx, http.MethodPut, path, object{"CodeSigningConfigArn": arn}, nil)
		} else {
			err = w.lambda(ctx, http.MethodDelete, path, nil, nil)
		}
		if err != nil {
			return made, err
		}
	}
	inline := w.in.sub("Code").has("ZipFile") && w.changed("Runtime")
	if w.changed("Code") || w.changed("Architectures") || inline {
		in, err := code(w.in)
		if err != nil {
			return made, err
		}
		in["Architectures"] = []any{"x86_64"}
		if w.in.has("Architectures") {
			in["Architectures"] = w.in["Architectures"]
		}
		if err := w.lambda(ctx, http.MethodPut, functionPath(name)+"/code", in, nil); err != nil {
			return made, err
		}
		if _, err := w.settled(ctx, name); err != nil {
			return made, err
		}
	}
	in := object{}
	for property, none := range configured {
		if !w.changed(property) {
			continue
		}
		if v, ok := w.in[property]; ok {
			in[property] = v
		} else if none != nil {
			in[property] = none
		}
	}
	if w.changed("KmsKeyArn") {
		in["KMSKeyArn"] = w.in.str("KmsKeyArn")
	}
	if len(in) > 0 {
		err := w.assumable(ctx, func() error { return w.lambda(ctx, http.MethodPut, functionPath(name)+"/configuration", in, nil) })
		if err != nil {
			return made, err
		}
	}
	if w.changed("ReservedConcurrentExecutions") {
		var err error
		if n, ok := w.in.int("ReservedConcurrentExecutions"); ok {
			err = w.reserve(ctx, name, n)
		} else {
			err = w.lambda(ctx, http.MethodDelete, "/2017-10-31/functions/"+url.PathEscape(name)+"/concurrency", nil, nil)
		}
		if err != nil {
			return made, err
		}
	}
	if w.changed("RuntimeManagementConfig") {
		c := w.in.sub("RuntimeManagementConfig")
		if c == nil {
			c = properties{"UpdateRuntimeOn": "Auto"}
		}
		if err := w.manageRuntime(ctx, name, "", c); err != nil {
			return made, err
		}
	}
	if w.changed("RecursiveLoop") {
		loop := w.in.str("RecursiveLoop")
		if loop == "" {
			loop = "Terminate"
		}
		if err := w.recursion(ctx, name, loop); err != nil {
			return made, err
		}
	}
	f, err := w.settled(ctx, name)
	if err != nil {
		return made, err
	}
	if err := w.retag(ctx, f.FunctionArn); err != nil {
		return made, err
	}
	made.Attributes = f.attributes()
	return made, nil
}

// retag changes the tags of something of Lambda's.
func (w *work) retag(ctx context.Context, arn string) error {
	set, remove := w.tagChanges()
	path := "/2017-03-31/tags/" + url.PathEscape(arn)
	if len(remove) > 0 {
		if err := w.lambda(ctx, http.MethodDelete, path+"?"+url.Values{"tagKeys": remove}.Encode(), nil, nil); err != nil {
			return err
		}
	}
	if len(set) > 0 {
		return w.lambda(ctx, http.MethodPost, path, object{"Tags": set}, nil)
	}
	return nil
}

func deleteFunction(ctx context.Context, w *work) error {
	return w.lambda(ctx, http.MethodDelete, functionPath(w.PhysicalID), nil, nil)
}

// lastVersion is the number of the last version of a function.
func (w *work) lastVersion(ctx context.Context, name string) (last string, err error) {
	marker := ""
	for {
		var page struct {
			Versions   []struct{ Version string }
			NextMarker string
		}
		path := functionPath(name) + "/versions?MaxItems=10000"
		if marker != "" {
			path += "&Marker=" + url.QueryEscape(marker)
		}
		if err := w.lambda(ctx, http.MethodGet, path, nil, &page); err != nil {
			return "", err
		}
		for _, v := range page.Versions {
			if len(v.Version) > len(last) && v.Version != "$LATEST" || len(v.Version) == len(last) && v.Version > last {
				last = v.Version
			}
		}
		if marker = page.NextMarker; marker == "" {
			return last, nil
		}
	}
}

// later compares numbers of versions.
func later(a, b string) bool { return len(a) > len(b) || len(a) == len(b) && a > b }

const noteVersion = "after version " // of a function, or of a layer

func createVersion(ctx context.Context, w *work) (Made, error) {
	name := w.in.str("FunctionName")
	before, noted := strings.CutPrefix(w.Note, noteVersion)
	if !noted {
		var err error
		if before, err = w.lastVersion(ctx, name); err != nil {
			return Made{}, err
		}
		if err := w.Keep(noteVersion + before); err != nil {
			return Made{}, err
		}
	}
	// Publishing again what was published is answered with that version.
	var f functionState
	if err := w.lambda(ctx, http.MethodPost, functionPath(name)+"/versions", w.in.pick("CodeSha256", "Description"), &f); err != nil {
		return Made{}, err
	}
	if !later(f.Version, before) {
		return Made{}, &Failure{Handler: "AlreadyExists", Message: fmt.Sprintf("A version for this Lambda function exists ( %s ). Modify the function to create a new version.", f.Version)}
	}
	made := Made{PhysicalID: f.FunctionArn, Attributes: map[string]any{"Version": f.Version, "FunctionArn": f.FunctionArn}}
	if policy := w.in.sub("RuntimePolicy"); policy != nil {
		if err := w.manageRuntime(ctx, name, f.Version, policy); err != nil {
			return made, err
		}
	}
	if _, err := w.settled(ctx, f.FunctionArn); err != nil {
		return made, err
	}
	return made, w.provision(ctx, name, f.Version, w.in.sub("ProvisionedConcurrencyConfig"))
}

// provision sets the provisioned concurrency of a version or an alias, and waits
// until it is there.
func (w *work) provision(ctx context.Context, name, qualifier string, c properties) error {
	n, ok := c.int("ProvisionedConcurrentExecutions")
	if !ok {
		return nil
	}
	path := qualified("/2019-09-30/functions/"+url.PathEscape(name)+"/provisioned-concurrency", qualifier)
	if err := w.lambda(ctx, http.MethodPut, path, object{"ProvisionedConcurrentExecutions": n}, nil); err != nil {
		return err
	}
	late := &Failure{Handler: "NotStabilized", Message: "Provisioned concurrency of " + name + ":" + qualifier + " was not allocated in time."}
	return w.await(ctx, provisionedLimit, late, func() (bool, error) {
		var state struct{ Status, StatusReason string }
		if err := w.lambda(ctx, http.MethodGet, path, nil, &state); err != nil {
			return false, err
		}
		if state.Status == "FAILED" {
			return false, &Failure{Handler: "NotStabilized", Message: state.StatusReason}
		}
		return state.Status == "READY", nil
	})
}

func deleteVersion(ctx context.Context, w *work) error {
	name, version := cutLast(w.PhysicalID)
	if version == "" {
		return nil
	}
	return w.lambda(ctx, http.MethodDelete, qualified(functionPath(name), version), nil, nil)
}

// cutLast cuts an ARN at its last colon.
func cutLast(arn string) (before, last string) {
	i := strings.LastIndexByte(arn, ':')
	if i < 0 {
		return arn, ""
	}
	return arn[:i], arn[i+1:]
}

// routing is the RoutingConfig of an alias as requests have it.
func routing(p properties) object {
	weights := object{}
	for _, v := range p.sub("RoutingConfig").objects("AdditionalVersionWeights") {
		weights[v.str("FunctionVersion")] = v["FunctionWeight"]
	}
	return object{"AdditionalVersionWeights": weights}
}

func createAlias(ctx context.Context, w *work) (Made, error) {
	function, name := w.in.str("FunctionName"), w.in.str("Name")
	path := functionPath(function) + "/aliases"
	mine, err := w.absent(ctx, name, func() error { return w.lambda(ctx, http.MethodGet, path+"/"+url.PathEscape(name), nil, nil) })
	if err != nil {
		return Made{}, err
	}
	in := object(w.in.pick("Description", "FunctionVersion", "Name"))
	if w.in.has("RoutingConfig") {
		in["RoutingConfig"] = routing(w.in)
	}
	var alias struct{ AliasArn string }
	err = w.lambda(ctx, http.MethodPost, path, in, &alias)
	if isExisting(err) && mine {
		err = w.lambda(ctx, http.MethodPut, path+"/"+url.PathEscape(name), in, &alias)
	}
	if err != nil {
		return Made{}, err
	}
	made := Made{PhysicalID: alias.AliasArn, Attributes: map[string]any{"AliasArn": alias.AliasArn}}
	return made, w.provision(ctx, function, name, w.in.sub("ProvisionedConcurrencyConfig"))
}

// absent makes sure, before the first attempt, that what a step is about to make
// is not there: look finds it. Then it is the step's own what a later attempt
// finds, and mine is true.
func (w *work) absent(ctx context.Context, identifier string, look func() error) (mine bool, err error) {
	const note = "was absent"
	if w.Again && w.Note == note {
		return true, nil
	}
	switch err := look(); {
	case err == nil && w.Adopt:
		return true, nil
	case err == nil:
		return false, w.alreadyExists(identifier)
	case !isGone(err):
		return false, err
	}
	return false, w.Keep(note)
}

func updateAlias(ctx context.Context, w *work) (Made, error) {
	function, name := w.in.str("FunctionName"), w.in.str("Name")
	made := Made{PhysicalID: w.PhysicalID, Attributes: map[string]any{"AliasArn": w.PhysicalID}}
	in := object{"FunctionVersion": w.in.str("FunctionVersion"), "Description": w.in.str("Description"), "RoutingConfig": routing(w.in)}
	if err := w.lambda(ctx, http.MethodPut, functionPath(function)+"/aliases/"+url.PathEscape(name), in, nil); err != nil {
		return made, err
	}
	if !w.changed("ProvisionedConcurrencyConfig") {
		return made, nil
	}
	if w.in.has("ProvisionedConcurrencyConfig") {
		return made, w.provision(ctx, function, name, w.in.sub("ProvisionedConcurrencyConfig"))
	}
	err := w.lambda(ctx, http.MethodDelete, qualified("/2019-09-30/functions/"+url.PathEscape(function)+"/provisioned-concurrency", name), nil, nil)
	if isGone(err) {
		err = nil
	}
	return made, err
}

func deleteAlias(ctx context.Context, w *work) error {
	function, name := cutLast(w.PhysicalID)
	return w.lambda(ctx, http.MethodDelete, functionPath(function)+"/aliases/"+url.PathEscape(name), nil, nil)
}
