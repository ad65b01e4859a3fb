package sam

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const functionType = "AWS::Serverless::Function"

var functionSchema = slices.Concat(
	[]property{{name: "FunctionName", is: isStringOrMap}},
	passed("Handler", "Runtime", "CodeUri", "ImageUri", "PackageType", "InlineCode"),
	[]property{mapProperty("DeadLetterQueue")},
	passed("Description", "MemorySize", "Timeout", "VpcConfig"),
	[]property{
		stringProperty("Role"), mapProperty("AssumeRolePolicyDocument"),
		{name: "Policies", is: isEither(isStringOrMap, isListOf(isStringOrMap))},
	},
	passed("RolePath"),
	[]property{
		stringProperty("PermissionsBoundary"),
		{name: "Environment", is: isMapOf(isMap)},
		{name: "Events", is: isMapOf(isMap)},
		mapProperty("Tags"),
		{name: "PropagateTags", is: isBool},
		{name: "Tracing", is: isStringOrMap},
	},
	passed("KmsKeyArn"),
	[]property{mapProperty("DeploymentPreference")},
	passed("ReservedConcurrentExecutions"),
	[]property{{name: "Layers", is: isListOf(isStringOrMap)}, mapProperty("EventInvokeConfig")},
	passed("EphemeralStorage"),
	[]property{
		{name: "AutoPublishAlias", is: isString},
		{name: "AutoPublishCodeSha256", is: isString},
		{name: "AutoPublishAliasAllProperties", is: isBool, literal: true},
	},
	passed("VersionDescription", "ProvisionedConcurrencyConfig", "FileSystemConfigs", "ImageConfig", "CodeSigningConfigArn", "Architectures"),
	[]property{mapProperty("SnapStart"), mapProperty("FunctionUrlConfig")},
	passed("RuntimeManagementConfig", "LoggingConfig", "RecursiveLoop", "SourceKMSKeyArn"),
	[]property{
		mapProperty("CapacityProviderConfig"), mapProperty("FunctionScalingConfig"),
		{name: "VersionDeletionPolicy", is: func(v any) bool { return v == "Delete" || v == "Retain" }, expected: "one of the strings: 'Delete' or 'Retain'"},
	},
	passed("PublishToLatestPublished", "TenancyConfig"),
	[]property{mapProperty("DurableConfig")},
)

// deadLetterActions are what a function may do to the dead-letter queue of each
// type.
var deadLetterActions = map[string]string{"SQS": "sqs:SendMessage", "SNS": "sns:Publish"}

// reservedTags are set by the transform only.
var reservedTags = []string{"lambda:createdBy", "serverlessrepo:applicationId", "serverlessrepo:semanticVersion"}

// function is a function on its way to what it stands for.
type function struct {
	*source
	tags   []any // of the function, that of SAM first
	own    []any // those that the template gives
	lambda *resource
	alias  *resource // nil without AutoPublishAlias
	code   map[string]any
}

// target is what events invoke.
func (f *function) target() map[string]any {
	if f.alias != nil {
		return ref(f.alias.id)
	}
	return ref(f.id)
}

// targetARN is the ARN of what events invoke.
func (f *function) targetARN() map[string]any {
	if f.alias != nil {
		return ref(f.alias.id)
	}
	return getAtt(f.id, "Arn")
}

// traced reports whether the function has tracing switched on.
func (f *function) traced(t *transform) (bool, error) {
	mode, err := t.parameters(f.get("Tracing"))
	return isTrue(f.get("Tracing")) && mode != "Disabled", err
}

func (t *transform) function(id string, body map[string]any) ([]*resource, error) {
	given, _ := body["Properties"].(map[string]any)
	if err := expandPolicies(id, given); err != nil {
		return nil, err
	}
	s, err := t.read(id, body, functionSchema, "Resources", id)
	if err != nil {
		return nil, err
	}
	f := &function{source: s}
	events, err := t.events(f)
	if err != nil {
		return nil, ofFunction(id, err)
	}
	if err := t.validateFunction(f); err != nil {
		return nil, err
	}
	if f.lambda, err = t.lambda(f); err != nil {
		return nil, err
	}
	made := []*resource{f.lambda}

	if isTrue(f.get("ProvisionedConcurrencyConfig")) && !isTrue(f.get("AutoPublishAlias")) {
		return nil, resourcef(id, "To set ProvisionedConcurrencyConfig AutoPublishALias must be defined on the function")
	}
	var aliasName string
	if isTrue(f.get("AutoPublishAlias")) {
		var published []*resource
		if aliasName, published, err = t.publish(f); err != nil {
			return nil, err
		}
		made = append(made, published...)
	}
	if isTrue(f.get("FunctionUrlConfig")) {
		address, err := f.url()
		if err != nil {
			return nil, err
		}
		made = append(made, address...)
	}
	if err := t.prefer(f); err != nil {
		return nil, err
	}
	var policies []any
	if isTrue(f.get("EventInvokeConfig")) {
		configured, needed, err := t.eventInvokeConfig(f, aliasName)
		if err != nil {
			return nil, err
		}
		made, policies = append(made, configured...), needed
	}
	role, err := t.role(f, policies)
	if err != nil {
		return nil, err
	}
	needed, err := t.chooseRole(f, role)
	if err != nil {
		return nil, err
	}
	if needed {
		made = append(made, role)
	}
	for _, e := range events {
		of, err := e.resources(t, f, role)
		if err != nil {
			return nil, ofFunction(id, err)
		}
		made = append(made, of...)
	}
	if isTrue(f.get("PropagateTags")) && len(f.own) > 0 {
		for _, r := range made {
			if r.tagged {
				r.properties["Tags"] = slices.Clone(f.own)
			}
		}
	}
	for property, typ := range map[string]string{
		"Alias": "AWS::Lambda::Alias", "Version": "AWS::Lambda::Version",
		"DestinationTopic": "AWS::SNS::Topic", "DestinationQueue": "AWS::SQS::Queue",
	} {
		for _, r := range made {
			if r.typ == typ {
				t.made[[2]string{id, property}] = r.id
			}
		}
	}
	return made, nil
}

// validate checks what properties say together.
func (t *transform) validateFunction(f *function) error {
	var wrong []string
	for _, other := range []string{"ProvisionedConcurrencyConfig", "VpcConfig"} {
		if f.get("CapacityProviderConfig") != nil && f.get(other) != nil {
			wrong = append(wrong, "Cannot specify 'CapacityProviderConfig' and '"+other+"' together.")
		}
	}
	for _, pair := range [][2]string{{"FunctionScalingConfig", "CapacityProviderConfig"}, {"VersionDeletionPolicy", "AutoPublishAlias"}} {
		if f.get(pair[0]) != nil && f.get(pair[1]) == nil {
			wrong = append(wrong, "'"+pair[0]+"' requires '"+pair[1]+"'.")
		}
	}
	if len(wrong) > 0 {
		return resourcef(f.id, "%s", strings.Join(wrong, "\n"))
	}
	if dlq, ok := f.get("DeadLetterQueue").(map[string]any); ok && len(dlq) > 0 {
		if !isTrue(dlq["Type"]) || !isTrue(dlq["TargetArn"]) {
			return resourcef(f.id, "'DeadLetterQueue' requires Type and TargetArn properties to be specified.")
		}
		typ, ok := dlq["Type"].(string)
		if !ok {
			return resourcef(f.id, "Property 'DeadLetterQueue.Type' should be a string.")
		}
		if deadLetterActions[typ] == "" {
			return resourcef(f.id, "'DeadLetterQueue' requires Type of ['SQS', 'SNS']")
		}
	}
	if !isTrue(f.get("TenancyConfig")) {
		return nil
	}
	for _, of := range []struct{ property, text string }{
		{"ProvisionedConcurrencyConfig", "Provisioned concurrency"}, {"FunctionUrlConfig", "Function URL"}, {"SnapStart", "SnapStart"},
	} {
		if isTrue(f.get(of.property)) {
			return resourcef(f.id, "%s is not supported for functions enabled with tenancy configuration.", of.text)
		}
	}
	events, _ := f.get("Events").(map[string]any)
	for _, name := range t.keys(events, "Resources", f.id, "Properties", "Events") {
		event, _ := events[name].(map[string]any)
		return resourcef(f.id, "Event source '%s' is not supported for functions enabled with tenancy configuration. "+
			"Only Api and HttpApi event sources are supported.", spell(event["Type"]))
	}
	return nil
}

// lambda makes the function itself, yet without a role of its own.
func (t *transform) lambda(f *function) (*resource, error) {
	r := &resource{id: f.id, typ: "AWS::Lambda::Function", dependsOn: f.dependsOn, attributes: f.attributes, tagged: true, properties: map[string]any{}}
	if name := f.get("FunctionName"); isTrue(name) {
		r.properties["FunctionName"] = name
	}
	for _, name := range []string{
		"Handler", "Runtime", "Description", "MemorySize", "Timeout", "VpcConfig", "Role", "Environment",
		"KmsKeyArn", "ReservedConcurrentExecutions", "Layers", "FileSystemConfigs", "ImageConfig", "PackageType", "Architectures",
		"SnapStart", "EphemeralStorage", "CodeSigningConfigArn", "RuntimeManagementConfig", "LoggingConfig", "TenancyConfig", "RecursiveLoop",
		"DurableConfig", "PublishToLatestPublished",
	} {
		r.properties[name] = f.get(name)
	}
	var err error
	if f.code, err = f.codeOf(); err != nil {
		return nil, err
	}
	r.properties["Code"] = f.code
	if f.tags, f.own, err = t.tags(f.source); err != nil {
		return nil, err
	}
	r.properties["Tags"] = f.tags
	if traced, err := f.traced(t); err != nil {
		return nil, err
	} else if traced {
		r.properties["TracingConfig"] = map[string]any{"Mode": f.get("Tracing")}
	}
	if dlq, ok := f.get("DeadLetterQueue").(map[string]any); ok && len(dlq) > 0 {
		r.properties["DeadLetterConfig"] = map[string]any{"TargetArn": dlq["TargetArn"]}
	}
	if provider, ok := f.get("CapacityProviderConfig").(map[string]any); ok && len(provider) > 0 {
		if r.properties["CapacityProviderConfig"], err = capacityProvider(f.id, provider); err != nil {
			return nil, err
		}
	}
	if scaling := f.get("FunctionScalingConfig"); isTrue(scaling) {
		r.properties["FunctionScalingConfig"] = scaling
	}
	return r, f.validatePackage()
}

// capacityProvider says CapacityProviderConfig as CloudFormation has it.
func capacityProvider(id string, given map[string]any) (map[string]any, error) {
	if given["Arn"] == nil {
		return nil, resourcef(id, "Invalid CapacityProviderConfig: Arn: field required")
	}
	out := map[string]any{"CapacityProviderArn": given["Arn"]}
	for name, value := range given {
		switch {
		case name == "Arn" || value == nil:
		case name == "PerExecutionEnvironmentMaxConcurrency", name == "ExecutionEnvironmentMemoryGiBPerVCpu":
			out[name] = value
		default:
			return nil, resourcef(id, "Invalid CapacityProviderConfig: %s: extra fields not permitted", name)
		}
	}
	return map[string]any{"LambdaManagedInstancesCapacityProviderConfig": out}, nil
}

// tags lists the tags of a resource in the order of the template, with that of
// SAM before them.
func (t *transform) tags(s *source) (all, own []any, err error) {
	given, _ := s.get("Tags").(map[string]any)
	for _, name := range reservedTags {
		if _, ok := given[name]; ok {
			return nil, nil, resourcef(s.id, "%s is a reserved Tag key name and cannot be set on your resource. Please change the tag key in the input.", name)
		}
	}
	for _, name := range ordered(given, t.tagOrder[s.id]) {
		value := given[name]
		if value == nil {
			value = ""
		}
		own = append(own, map[string]any{"Key": name, "Value": value})
	}
	all = append(all, map[string]any{"Key": "lambda:createdBy", "Value": "SAM"})
	return slices.Concat(all, own), own, nil
}

// codeOf says where the code is.
func (f *function) codeOf() (map[string]any, error) {
	kind := f.get("PackageType")
	if !isTrue(kind) {
		kind = "Zip"
	}
	var code map[string]any
	switch kind {
	case "Zip":
		switch inline, uri := f.get("InlineCode"), f.get("CodeUri"); {
		case inline != nil:
			code = map[string]any{"ZipFile": inline}
		case uri != nil:
			var err error
			if code, err = location(uri, f.id, "CodeUri"); err != nil {
				return nil, err
			}
		default:
			return nil, resourcef(f.id, "Only one of 'InlineCode' or 'CodeUri' can be set.")
		}
		if key := f.get("SourceKMSKeyArn"); isTrue(key) {
			code["SourceKMSKeyArn"] = key
		}
	case "Image":
		image := f.get("ImageUri")
		if image == nil {
			return nil, resourcef(f.id, "'ImageUri' must be set.")
		}
		if !isTrue(image) {
			return nil, resourcef(f.id, "'ImageUri' requires that a image hosted at a registry be specified.")
		}
		code = map[string]any{"ImageUri": image}
	default:
		return nil, resourcef(f.id, "invalid 'PackageType' : %s", spell(kind))
	}
	return code, nil
}

func (f *function) validatePackage() error {
	if f.get("PackageType") == "Image" {
		if isTrue(f.get("Handler")) || isTrue(f.get("Runtime")) || isTrue(f.get("Layers")) {
			return resourcef(f.id, "Runtime, Handler, Layers cannot be present when PackageType is of type `Image`")
		}
		return nil
	}
	if !isTrue(f.get("Runtime")) || !isTrue(f.get("Handler")) {
		return resourcef(f.id, "Runtime and Handler needs to be present when PackageType is of type `Zip`")
	}
	if isTrue(f.get("ImageConfig")) {
		return resourcef(f.id, "ImageUri or ImageConfig cannot be present when PackageType is of type `Zip`")
	}
	return nil
}

var dynamicReference = regexp.MustCompile(`\{\{resolve:(ssm|ssm-secure|secretsmanager):[a-zA-Z0-9_.\-/]+(:\d+)?\}\}`)

// location says where a zip is: given as s3://bucket/key?versionId=v or as a map.
func location(given any, id, property string) (map[string]any, error) {
	switch at := given.(type) {
	case map[string]any:
		if !isTrue(at["Bucket"]) || !isTrue(at["Key"]) {
			return nil, resourcef(id, "'%s' requires Bucket and Key properties to be specified.", property)
		}
		out := map[string]any{"S3Bucket": at["Bucket"], "S3Key": at["Key"]}
		for from, to := range map[string]string{"Version": "S3ObjectVersion", "StorageMode": "S3ObjectStorageMode"} {
			if value, ok := at[from]; ok {
				out[to] = value
			}
		}
		return out, nil
	case string:
		if found := dynamicReference.FindString(at); strings.Contains(found, "/") {
			return nil, resourcef(id, "Unsupported dynamic reference detected in '%s'. Please consider using alternative 'FunctionCode' object format.", property)
		}
		if out := parseS3(at); out != nil {
			return out, nil
		}
		return nil, resourcef(id, "'%s' is not a valid S3 Uri of the form 's3://bucket/key' with optional versionId query parameter.", property)
	}
	return nil, resourcef(id, "'%s' must be of type dict or string.", property)
}

// parseS3 reads s3://bucket/key?versionId=v, or returns nil.
func parseS3(text string) map[string]any {
	if len(text) < 5 || !strings.EqualFold(text[:5], "s3://") {
		return nil
	}
	rest, _, _ := strings.Cut(text[5:], "#")
	rest, query, _ := strings.Cut(rest, "?")
	bucket, key, ok := strings.Cut(rest, "/")
	if !ok || bucket == "" || strings.ContainsAny(bucket, "[]") {
		return nil
	}
	out := map[string]any{"S3Bucket": bucket, "S3Key": strings.TrimLeft(key, "/")}
	var versions []string
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if unescape(name) == "versionId" && value != "" {
			versions = append(versions, unescape(value))
		}
	}
	if len(versions) == 1 {
		out["S3ObjectVersion"] = versions[0]
	}
	return out
}

func unescape(s string) string {
	if out, err := url.QueryUnescape(s); err == nil {
		return out
	}
	return s
}

// chooseRole gives the function its role, and reports whether that is the one
// that was made for it.
func (t *transform) chooseRole(f *function, role *resource) (bool, error) {
	given := f.get("Role")
	if given == nil {
		f.lambda.properties["Role"] = getAtt(role.id, "Arn")
		return true, nil
	}
	if !isIf(given) {
		return false, nil
	}
	resolved, err := t.parameters(given)
	if err != nil {
		return false, err
	}
	args, err := branches(resolved)
	if err != nil {
		return false, resourcef(f.id, "Malformed 'Role' property: %v.", err)
	}
	arn := getAtt(role.id, "Arn")
	switch then, otherwise := isNoValue(args[1]), isNoValue(args[2]); {
	case then && otherwise:
		f.lambda.properties["Role"] = arn
	case then:
		f.lambda.properties["Role"] = choose(args[0], arn, args[2])
		role.attributes["Condition"] = args[0]
	case otherwise:
		name := "NOT" + spell(args[0])
		if t.conditions == nil {
			return false, errInternal
		}
		f.lambda.properties["Role"] = choose(args[0], args[1], arn)
		role.attributes["Condition"] = name
		t.conditions[name] = not(args[0])
	default:
		return false, nil
	}
	return true, nil
}
