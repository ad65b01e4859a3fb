package resources

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

const layersPath = "/2018-10-31/layers/"

func createLayerVersion(ctx context.Context, w *work) (Made, error) {
	name := w.in.str("LayerName")
	if name == "" {
		name = w.LogicalID // so that versions of one layer follow each other
		if len(name) > 140 {
			name = name[:140]
		}
	}
	path := layersPath + url.PathEscape(name) + "/versions"
	in := object(w.in.pick("CompatibleArchitectures", "CompatibleRuntimes", "Description", "LicenseInfo"))
	in["Content"] = map[string]any(w.in.sub("Content").pick("S3Bucket", "S3Key", "S3ObjectVersion"))
	before, noted := strings.CutPrefix(w.Note, noteVersion)
	if !noted {
		last, err := w.layerVersions(ctx, path, 1)
		if err != nil {
			return Made{}, err
		}
		before = "0"
		if len(last) > 0 {
			before = last[0].number()
		}
		if err := w.Keep(noteVersion + before); err != nil {
			return Made{}, err
		}
	} else if w.Again {
		// What came after, and is what this step publishes, an earlier attempt published.
		all, err := w.layerVersions(ctx, path, 50)
		if err != nil {
			return Made{}, err
		}
		for _, v := range all {
			if later(v.number(), before) && v.repeats(w.in) {
				return v.made(), nil
			}
		}
	}
	var v layerVersion
	if err := w.lambda(ctx, http.MethodPost, path, in, &v); err != nil {
		return Made{}, err
	}
	return v.made(), nil
}

// layerVersion is one as the operations show it.
type layerVersion struct {
	LayerVersionArn         string
	Description             string
	LicenseInfo             string
	CompatibleRuntimes      []any
	CompatibleArchitectures []any
}

func (v *layerVersion) number() string {
	_, number := cutLast(v.LayerVersionArn)
	return number
}

func (v *layerVersion) made() Made {
	return Made{PhysicalID: v.LayerVersionArn, Attributes: map[string]any{"LayerVersionArn": v.LayerVersionArn}}
}

// repeats reports whether a version says of itself what the properties say.
func (v *layerVersion) repeats(p properties) bool {
	return v.Description == p.str("Description") && v.LicenseInfo == p.str("LicenseInfo") &&
		equal(v.CompatibleRuntimes, p.list("CompatibleRuntimes")) && equal(v.CompatibleArchitectures, p.list("CompatibleArchitectures"))
}

// layerVersions lists versions, the last first.
func (w *work) layerVersions(ctx context.Context, path string, most int) ([]layerVersion, error) {
	var page struct{ LayerVersions []layerVersion }
	query := "?MaxItems=50"
	if most == 1 {
		query = "?MaxItems=1"
	}
	err := w.lambda(ctx, http.MethodGet, path+query, nil, &page)
	if isGone(err) {
		err = nil
	}
	return page.LayerVersions, err
}

func updateNothing(_ context.Context, w *work) (Made, error) {
	return Made{PhysicalID: w.PhysicalID, Attributes: w.Attributes}, nil
}

// layerVersionPath is where a layer version is, by its ARN.
func layerVersionPath(arn string) string {
	layer, number := cutLast(arn)
	return layersPath + url.PathEscape(layer) + "/versions/" + url.PathEscape(number)
}

func deleteLayerVersion(ctx context.Context, w *work) error {
	return w.lambda(ctx, http.MethodDelete, layerVersionPath(w.PhysicalID), nil, nil)
}

func createLayerVersionPermission(ctx context.Context, w *work) (Made, error) {
	arn := w.in.str("LayerVersionArn")
	statement := w.generated(100)
	in := object(w.in.pick("Action", "OrganizationId", "Principal"))
	in["StatementId"] = statement
	err := w.lambda(ctx, http.MethodPost, layerVersionPath(arn)+"/policy", in, nil)
	if isExisting(err) && w.Again {
		err = nil
	}
	if err != nil {
		return Made{}, err
	}
	id := arn + "#" + statement
	return Made{PhysicalID: id, Attributes: map[string]any{"Id": id}}, nil
}

func deleteLayerVersionPermission(ctx context.Context, w *work) error {
	arn, statement, ok := strings.Cut(w.PhysicalID, "#")
	if !ok {
		return nil
	}
	return w.lambda(ctx, http.MethodDelete, layerVersionPath(arn)+"/policy/"+url.PathEscape(statement), nil, nil)
}

func createPermission(ctx context.Context, w *work) (Made, error) {
	statement := w.generated(100)
	in := object(w.in.pick("Action", "EventSourceToken", "FunctionUrlAuthType", "InvokedViaFunctionUrl", "Principal", "PrincipalOrgID", "SourceAccount", "SourceArn"))
	in["StatementId"] = statement
	err := w.lambda(ctx, http.MethodPost, functionPath(w.in.str("FunctionName"))+"/policy", in, nil)
	if isExisting(err) && w.Again {
		err = nil
	}
	if err != nil {
		return Made{}, err
	}
	return Made{PhysicalID: statement, Attributes: map[string]any{"Id": statement}}, nil
}

func deletePermission(ctx context.Context, w *work) error {
	return w.lambda(ctx, http.MethodDelete, functionPath(w.in.str("FunctionName"))+"/policy/"+url.PathEscape(w.PhysicalID), nil, nil)
}

// urlPath is where a function URL is.
func (w *work) urlPath(p properties) string {
	path := "/2021-10-31/functions/" + url.PathEscape(p.str("TargetFunctionArn")) + "/url"
	if q := p.str("Qualifier"); q != "" {
		path = qualified(path, q)
	}
	return path
}

func createURL(ctx context.Context, w *work) (Made, error) {
	path := w.urlPath(w.in)
	mine, err := w.absent(ctx, w.in.str("TargetFunctionArn"), func() error { return w.lambda(ctx, http.MethodGet, path, nil, nil) })
	if err != nil {
		return Made{}, err
	}
	var made functionURL
	err = w.lambda(ctx, http.MethodPost, path, w.in.pick("AuthType", "Cors", "InvokeMode"), &made)
	if isExisting(err) && mine {
		err = w.lambda(ctx, http.MethodGet, path, nil, &made)
	}
	return made.made(), err
}

type functionURL struct{ FunctionArn, FunctionUrl string }

func (u *functionURL) made() Made {
	return Made{PhysicalID: u.FunctionArn, Attributes: map[string]any{"FunctionArn": u.FunctionArn, "FunctionUrl": u.FunctionUrl}}
}

func updateURL(ctx context.Context, w *work) (Made, error) {
	in := object(w.in.pick("AuthType", "Cors", "InvokeMode"))
	if !w.in.has("Cors") {
		in["Cors"] = object{}
	}
	if !w.in.has("InvokeMode") {
		in["InvokeMode"] = "BUFFERED"
	}
	var made functionURL
	err := w.lambda(ctx, http.MethodPut, w.urlPath(w.in), in, &made)
	if err != nil {
		return Made{PhysicalID: w.PhysicalID}, err
	}
	return made.made(), nil
}

func deleteURL(ctx context.Context, w *work) error {
	return w.lambda(ctx, http.MethodDelete, w.urlPath(w.in), nil, nil)
}

func (w *work) eventInvokePath(p properties) string {
	return qualified("/2019-09-25/functions/"+url.PathEscape(p.str("FunctionName"))+"/event-invoke-config", p.str("Qualifier"))
}

func createEventInvokeConfig(ctx context.Context, w *work) (Made, error) {
	id := w.in.str("FunctionName") + "|" + w.in.str("Qualifier")
	path := w.eventInvokePath(w.in)
	if _, err := w.absent(ctx, id, func() error { return w.lambda(ctx, http.MethodGet, path, nil, nil) }); err != nil {
		return Made{}, err
	}
	if err := w.lambda(ctx, http.MethodPut, path, w.in.pick("DestinationConfig", "MaximumEventAgeInSeconds", "MaximumRetryAttempts"), nil); err != nil {
		return Made{}, err
	}
	return Made{PhysicalID: id}, nil
}

func updateEventInvokeConfig(ctx context.Context, w *work) (Made, error) {
	err := w.lambda(ctx, http.MethodPut, w.eventInvokePath(w.in), w.in.pick("DestinationConfig", "MaximumEventAgeInSeconds", "MaximumRetryAttempts"), nil)
	return Made{PhysicalID: w.PhysicalID}, err
}

func deleteEventInvokeConfig(ctx context.Context, w *work) error {
	return w.lambda(ctx, http.MethodDelete, w.eventInvokePath(w.in), nil, nil)
}

const mappingsPath = "/2015-03-31/event-source-mappings"

// mapped are the properties of an event source mapping that only requests that
// create take, and those that updates take, too.
var (
	mappedOnce = []string{"EventSourceArn", "LoggingConfig", "Queues", "SelfManagedEventSource", "StartingPosition", "Topics"}
	mapped     = []string{
		"AmazonManagedKafkaEventSourceConfig", "BatchSize", "BisectBatchOnFunctionError", "DestinationConfig", "DocumentDBEventSourceConfig", "Enabled",
		"FilterCriteria", "FunctionName", "FunctionResponseTypes", "MaximumBatchingWindowInSeconds", "MaximumRecordAgeInSeconds", "MaximumRetryAttempts",
		"MetricsConfig", "ParallelizationFactor", "ProvisionedPollerConfig", "ScalingConfig", "SelfManagedKafkaEventSourceConfig", "SourceAccessConfigurations",
		"TumblingWindowInSeconds",
	}
	// unmapped are what properties become that a template has no more.
	unmapped = object{
		"FilterCriteria": object{"Filters": []any{}}, "FunctionResponseTypes": []any{}, "MaximumBatchingWindowInSeconds": 0, "MaximumRecordAgeInSeconds": -1,
		"MaximumRetryAttempts": -1, "ParallelizationFactor": 1, "ScalingConfig": object{}, "TumblingWindowInSeconds": 0, "BisectBatchOnFunctionError": false,
		"DestinationConfig": object{"OnFailure": object{}}, "Enabled": true, "MetricsConfig": object{"Metrics": []any{}}, "ProvisionedPollerConfig": object{},
	}
)

type mapping struct {
	UUID                  string
	EventSourceMappingArn string
	State                 string
}

func (m *mapping) made() Made {
	return Made{PhysicalID: m.UUID, Attributes: map[string]any{"Id": m.UUID, "EventSourceMappingArn": m.EventSourceMappingArn}}
}

func createEventSourceMapping(ctx context.Context, w *work) (Made, error) {
	in := object(w.in.pick(append(mappedOnce[:len(mappedOnce):len(mappedOnce)], mapped...)...))
	if v, ok := w.in["StartingPositionTimestamp"]; ok {
		in["StartingPositionTimestamp"] = v
	}
	if key := w.in.str("KmsKeyArn"); key != "" {
		in["KMSKeyArn"] = key
	}
	in["Tags"] = w.allTags()
	var m mapping
	err := w.lambda(ctx, http.MethodPost, mappingsPath, in, &m)
	if isExisting(err) && w.Again {
		found, lookErr := w.findMapping(ctx)
		if lookErr != nil {
			return Made{}, lookErr
		}
		if found != nil {
			m, err = *found, nil
		}
	}
	if err != nil {
		return Made{}, err
	}
	return m.made(), w.mappingSettled(ctx, m.UUID)
}

// findMapping is what an earlier attempt made, or nil.
func (w *work) findMapping(ctx context.Context) (*mapping, error) {
	query := url.Values{"FunctionName": {w.in.str("FunctionName")}}
	if arn := w.in.str("EventSourceArn"); arn != "" {
		query.Set("EventSourceArn", arn)
	}
	for {
		var page struct {
			EventSourceMappings []mapping
			NextMarker          string
		}
		if err := w.lambda(ctx, http.MethodGet, mappingsPath+"?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		for _, m := range page.EventSourceMappings {
			tags, err := w.lambdaTags(ctx, m.EventSourceMappingArn)
			if err != nil {
				return nil, err
			}
			if w.ours(tags) {
				return &m, nil
			}
		}
		if page.NextMarker == "" {
			return nil, nil
		}
		query.Set("Marker", page.NextMarker)
	}
}

func (w *work) lambdaTags(ctx context.Context, arn string) (map[string]string, error) {
	var out struct{ Tags map[string]string }
	err := w.lambda(ctx, http.MethodGet, "/2017-03-31/tags/"+url.PathEscape(arn), nil, &out)
	return out.Tags, err
}

func (w *work) mappingSettled(ctx context.Context, uuid string) error {
	late := &Failure{Handler: "NotStabilized", Message: "Event source mapping " + uuid + " did not settle in time."}
	return w.await(ctx, mappingLimit, late, func() (bool, error) {
		var m mapping
		err := w.lambda(ctx, http.MethodGet, mappingsPath+"/"+uuid, nil, &m)
		return m.State == "Enabled" || m.State == "Disabled", err
	})
}

func updateEventSourceMapping(ctx context.Context, w *work) (Made, error) {
	in := object{}
	for _, name := range mapped {
		if !w.changed(name) {
			continue
		}
		if v, ok := w.in[name]; ok {
			in[name] = v
		} else if none, ok := unmapped[name]; ok {
			in[name] = none
		}
	}
	if w.changed("KmsKeyArn") {
		in["KMSKeyArn"] = w.in.str("KmsKeyArn")
	}
	var m mapping
	path := mappingsPath + "/" + url.PathEscape(w.PhysicalID)
	var err error
	if len(in) > 0 {
		err = w.lambda(ctx, http.MethodPut, path, in, &m)
	} else {
		err = w.lambda(ctx, http.MethodGet, path, nil, &m)
	}
	if err == nil {
		err = w.retag(ctx, m.EventSourceMappingArn)
	}
	if err == nil {
		err = w.mappingSettled(ctx, w.PhysicalID)
	}
	if err != nil {
		return Made{PhysicalID: w.PhysicalID}, err
	}
	return m.made(), nil
}

func deleteEventSourceMapping(ctx context.Context, w *work) error {
	path := mappingsPath + "/" + url.PathEscape(w.PhysicalID)
	var m mapping
	err := w.lambda(ctx, http.MethodGet, path, nil, &m)
	if err == nil && m.State != "Deleting" {
		err = w.lambda(ctx, http.MethodDelete, path, nil, nil)
	}
	if err != nil {
		return err
	}
	late := &Failure{Handler: "NotStabilized", Message: "Event source mapping " + w.PhysicalID + " was not deleted in time."}
	return w.await(ctx, mappingLimit, late, func() (bool, error) {
		err := w.lambda(ctx, http.MethodGet, path, nil, nil)
		if isGone(err) {
			return true, nil
		}
		return false, err
	})
}

const signingPath = "/2020-04-22/code-signing-configs"

type signingConfig struct{ CodeSigningConfigArn, CodeSigningConfigId string }

func (c *signingConfig) made() Made {
	return Made{PhysicalID: c.CodeSigningConfigArn, Attributes: map[string]any{"CodeSigningConfigArn": c.CodeSigningConfigArn, "CodeSigningConfigId": c.CodeSigningConfigId}}
}

func createCodeSigningConfig(ctx context.Context, w *work) (Made, error) {
	if w.Again {
		found, err := w.findSigningConfig(ctx)
		if err != nil {
			return Made{}, err
		}
		if found != nil {
			return found.made(), nil
		}
	}
	in := object(w.in.pick("AllowedPublishers", "CodeSigningPolicies", "Description"))
	in["Tags"] = w.allTags()
	var out struct{ CodeSigningConfig signingConfig }
	if err := w.lambda(ctx, http.MethodPost, signingPath, in, &out); err != nil {
		return Made{}, err
	}
	return out.CodeSigningConfig.made(), nil
}

func (w *work) findSigningConfig(ctx context.Context) (*signingConfig, error) {
	path := signingPath
	for {
		var page struct {
			CodeSigningConfigs []signingConfig
			NextMarker         string
		}
		if err := w.lambda(ctx, http.MethodGet, path, nil, &page); err != nil {
			return nil, err
		}
		for _, c := range page.CodeSigningConfigs {
			tags, err := w.lambdaTags(ctx, c.CodeSigningConfigArn)
			if err != nil {
				return nil, err
			}
			if w.ours(tags) {
				return &c, nil
			}
		}
		if page.NextMarker == "" {
			return nil, nil
		}
		path = signingPath + "?Marker=" + url.QueryEscape(page.NextMarker)
	}
}

func updateCodeSigningConfig(ctx context.Context, w *work) (Made, error) {
	in := object(w.in.pick("AllowedPublishers", "CodeSigningPolicies"))
	in["Description"] = w.in.str("Description")
	if !w.in.has("CodeSigningPolicies") {
		in["CodeSigningPolicies"] = object{"UntrustedArtifactOnDeployment": "Warn"}
	}
	var out struct{ CodeSigningConfig signingConfig }
	err := w.lambda(ctx, http.MethodPut, signingPath+"/"+url.PathEscape(w.PhysicalID), in, &out)
	if err == nil {
		err = w.retag(ctx, w.PhysicalID)
	}
	if err != nil {
		return Made{PhysicalID: w.PhysicalID}, err
	}
	return out.CodeSigningConfig.made(), nil
}

func deleteCodeSigningConfig(ctx context.Context, w *work) error {
	return w.lambda(ctx, http.MethodDelete, signingPath+"/"+url.PathEscape(w.PhysicalID), nil, nil)
}
