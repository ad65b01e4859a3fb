package sam

import (
	"maps"
	"regexp"
	"strings"
)

var (
	aliasCharacters = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
	onlyDigits      = regexp.MustCompile(`^[0-9]+$`)
)

// publish makes the version and the alias of a function with AutoPublishAlias.
func (t *transform) publish(f *function) (name string, made []*resource, err error) {
	resolved, err := t.parameters(f.get("AutoPublishAlias"))
	if err != nil {
		return "", nil, err
	}
	name, ok := resolved.(string)
	if !ok {
		return "", nil, resourcef(f.id, "'AutoPublishAlias' must be a string or a Ref to a template parameter")
	}
	var sum string
	if given := f.get("AutoPublishCodeSha256"); isTrue(given) {
		resolved, err := t.parameters(given)
		if err != nil {
			return "", nil, err
		}
		if sum, ok = resolved.(string); !ok {
			return "", nil, resourcef(f.id, "AutoPublishCodeSha256 must be a string")
		}
		description, err := t.parameters(f.get("Description"))
		if err != nil {
			return "", nil, err
		}
		switch text, ok := description.(string); {
		case !isTrue(description):
			f.lambda.properties["Description"] = sum
		case ok:
			f.lambda.properties["Description"] = text + " " + sum
		default:
			f.lambda.properties["Description"] = map[string]any{"Fn::Join": []any{" ", []any{description, sum}}}
		}
	}
	version, err := t.version(f, sum)
	if err != nil {
		return "", nil, err
	}
	if name == "" {
		return "", nil, resourcef(f.id, "Alias name is required to create an alias")
	}
	if !aliasCharacters.MatchString(name) || onlyDigits.MatchString(name) {
		return "", nil, resourcef(f.id, "AutoPublishAlias name ('%s') must contain only alphanumeric characters, hyphens, or underscores "+
			"matching (?!^[0-9]+$)([a-zA-Z0-9-_]+) pattern.", name)
	}
	f.alias = &resource{
		id:  f.id + "Alias" + strings.NewReplacer("-", "D", "_", "U").Replace(name),
		typ: "AWS::Lambda::Alias", attributes: f.inherit(),
		properties: map[string]any{"Name": name, "FunctionName": ref(f.id), "FunctionVersion": getAtt(version.id, "Version")},
	}
	if provisioned := f.get("ProvisionedConcurrencyConfig"); isTrue(provisioned) {
		f.alias.properties["ProvisionedConcurrencyConfig"] = provisioned
	}
	return name, []*resource{version, f.alias}, nil
}

// version makes the version that AutoPublishAlias publishes. Its logical ID is a
// hash of what, when it changes, publishes another.
func (t *transform) version(f *function, sum string) (*resource, error) {
	if _, err := t.parameters(f.code); err != nil {
		return nil, err
	}
	of := make(map[string]any)
	if f.get("AutoPublishAliasAllProperties") == true {
		of = f.lambda.body()["Properties"].(map[string]any)
		resources := t.out["Resources"].(map[string]any)
		layers, _ := f.get("Layers").([]any)
		for _, l := range layers {
			id := logicalID(l)
			if layer, ok := resources[id].(map[string]any); ok {
				if p, ok := layer["Properties"].(map[string]any); ok && isTrue(p["PublishLambdaVersion"]) {
					of[id] = p
				}
			}
		}
	} else {
		maps.Copy(of, f.code)
		if environment, ok := f.get("Environment").(map[string]any); ok {
			maps.Copy(of, environment)
		}
		if size := f.get("MemorySize"); isTrue(size) {
			of["MemorySize"] = size
		}
		if snap, ok := f.get("SnapStart").(map[string]any); ok && len(snap) > 0 {
			if on, ok := snap["ApplyOn"]; ok && on != "None" {
				of["SnapStart"] = snap
			}
		}
	}
	digest := hash(of)
	if sum != "" {
		digest = sum[:min(10, len(sum))]
	}
	attributes := f.inherit()
	if _, ok := attributes["DeletionPolicy"]; !ok {
		switch policy := f.get("VersionDeletionPolicy"); {
		case policy != nil:
			attributes["DeletionPolicy"] = policy
		case f.get("CapacityProviderConfig") != nil:
			attributes["DeletionPolicy"] = "Delete"
		default:
			attributes["DeletionPolicy"] = "Retain"
		}
	}
	version := &resource{
		id: f.id + "Version" + digest, typ: "AWS::Lambda::Version", attributes: attributes,
		properties: map[string]any{"FunctionName": ref(f.id), "Description": f.get("VersionDescription")},
	}
	if f.get("CapacityProviderConfig") != nil {
		version.properties["FunctionScalingConfig"] = f.get("FunctionScalingConfig")
	}
	if !isAlphanumeric(version.id) {
		return nil, resourcef(version.id, "Logical ids must be alphanumeric.")
	}
	return version, nil
}

// logicalID returns what a Ref or Fn::GetAtt is about, or "".
func logicalID(v any) string {
	name, of, ok := single(v)
	switch of := of.(type) {
	case string:
		if ok && name == "Ref" {
			return of
		}
		if id, rest, found := strings.Cut(of, "."); ok && name == "Fn::GetAtt" && found && !strings.Contains(rest, ".") {
			return id
		}
	case []any:
		if ok && name == "Fn::GetAtt" && len(of) == 2 {
			id, _ := of[0].(string)
			return id
		}
	}
	return ""
}

// url makes the address of a function, and the right to use it without
// credentials when that is wanted.
func (f *function) url() ([]*resource, error) {
	config, ok := f.get("FunctionUrlConfig").(map[string]any)
	if !ok {
		return nil, errInternal
	}
	auth := config["AuthType"]
	if !isIntrinsic(config) {
		if !isIntrinsic(auth) && auth != "AWS_IAM" && auth != "NONE" {
			return nil, resourcef(f.id, "AuthType is required to configure function property `FunctionUrlConfig`. Please provide either AWS_IAM or NONE.")
		}
		if err := f.validateCORS(config["Cors"]); err != nil {
			return nil, err
		}
	}
	target := ref(f.id)
	if f.alias != nil {
		target = ref(f.alias.id)
	}
	address := &resource{
		id: f.id + "Url", typ: "AWS::Lambda::Url", attributes: f.inherit(),
		properties: map[string]any{"AuthType": auth, "TargetFunctionArn": target, "InvokeMode": config["InvokeMode"]},
	}
	if cors := config["Cors"]; isTrue(cors) {
		address.properties["Cors"] = cors
	}
	if auth != "NONE" || isIntrinsic(config) {
		return []*resource{address}, nil
	}
	return []*resource{
		address,
		{id: f.id + "UrlPublicPermissions", typ: "AWS::Lambda::Permission", attributes: f.inherit(), properties: map[string]any{
			"Action": "lambda:InvokeFunctionUrl", "FunctionName": target, "Principal": "*", "FunctionUrlAuthType": auth,
		}},
		{id: f.id + "URLInvokeAllowPublicAccess", typ: "AWS::Lambda::Permission", attributes: f.inherit(), properties: map[string]any{
			"Action": "lambda:InvokeFunction", "FunctionName": target, "Principal": "*", "InvokedViaFunctionUrl": true,
		}},
	}, nil
}

func (f *function) validateCORS(cors any) error {
	if !isTrue(cors) || isIntrinsic(cors) {
		return nil
	}
	given, ok := cors.(map[string]any)
	if !ok {
		return resourcef(f.id, "Property 'FunctionUrlConfig.Cors' should be a map.")
	}
	for _, name := range ordered(given, nil) {
		is, typ := isList, "list"
		switch name {
		case "AllowOrigins", "AllowMethods", "AllowHeaders", "ExposeHeaders":
		case "AllowCredentials":
			is, typ = isBool, "bool"
		case "MaxAge":
			is, typ = isInt, "int"
		default:
			return resourcef(f.id, "%s is not a valid property for configuring Cors.", name)
		}
		if !isIntrinsic(given[name]) && !is(given[name]) {
			return resourcef(f.id, "%s must be of type %s.", name, typ)
		}
	}
	return nil
}

// destinationTypes are those that EventInvokeConfig may name.
var destinationTypes = []string{"SQS", "SNS", "EventBridge", "Lambda", "S3Bucket"}

// eventInvokeConfig makes what EventInvokeConfig asks for: the configuration,
// queues and topics for destinations that have none, and policies of the role.
func (t *transform) eventInvokeConfig(f *function, alias string) (made []*resource, policies []any, err error) {
	resolved, err := t.parameters(f.get("EventInvokeConfig"))
	if err != nil {
		return nil, nil, err
	}
	given, ok := resolved.(map[string]any)
	if !ok {
		return nil, nil, errInternal
	}
	config := &resource{id: f.id + "EventInvokeConfig", typ: "AWS::Lambda::EventInvokeConfig", attributes: f.attributes}
	if f.alias != nil {
		config.dependsOn = []any{f.alias.id}
	}
	destinations := make(map[string]any)
	if of := given["DestinationConfig"]; isTrue(of) {
		wanted, ok := of.(map[string]any)
		if !ok {
			return nil, nil, resourcef(f.id, "Property 'EventInvokeConfig.DestinationConfig' should be a map.")
		}
		for _, name := range []string{"OnSuccess", "OnFailure"} {
			if wanted[name] == nil {
				continue
			}
			to, ok := wanted[name].(map[string]any)
			if !ok {
				return nil, nil, resourcef(f.id, "Property 'EventInvokeConfig.DestinationConfig.%s' should be a map.", name)
			}
			r, at, policy, err := t.destination(f, to, config.id, name)
			if err != nil {
				return nil, nil, err
			}
			destinations[name] = map[string]any{"Destination": at}
			to["Destination"] = at // as the translator does, which shows when functions share globals
			if r != nil {
				made = append(made, r)
			}
			policies = append(policies, policy)
		}
	}
	config.properties = map[string]any{
		"FunctionName": ref(f.id), "Qualifier": "$LATEST", "DestinationConfig": destinations,
		"MaximumEventAgeInSeconds": given["MaximumEventAgeInSeconds"], "MaximumRetryAttempts": given["MaximumRetryAttempts"],
	}
	if alias != "" {
		config.properties["Qualifier"] = alias
	}
	return append(made, config), policies, nil
}

// destination says where events go, which is a queue or topic of its own when the
// template does not tell, or tells it under a condition.
func (t *transform) destination(f *function, to map[string]any, id, event string) (made *resource, at any, policy map[string]any, err error) {
	typ, _ := to["Type"].(string)
	if !contains([]any{"SQS", "SNS", "EventBridge", "Lambda", "S3Bucket"}, typ) {
		return nil, nil, nil, resourcef(f.id, "'Type: %s' must be one of %s", spell(to["Type"]), spellList(destinationTypes))
	}
	condition, other, err := t.absent(to["Destination"], id)
	if err != nil {
		return nil, nil, nil, err
	}
	at = to["Destination"]
	if at != nil && condition == nil {
		return nil, at, sendPolicy(typ, id+event, at), nil
	}
	both := f.attributes["Condition"]
	if both == nil {
		both = condition
	} else if condition != nil {
		if t.conditions == nil {
			return nil, nil, nil, errInternal
		}
		name := conditionName(spell(both)+"AND"+spell(condition), f.id)
		t.conditions[name] = map[string]any{"Fn::And": []any{
			map[string]any{"Condition": map[string]any{"Condition": both}},
			map[string]any{"Condition": map[string]any{"Condition": condition}},
		}}
		both = name
	}
	made = &resource{attributes: f.inherit(), tagged: true, properties: map[string]any{}}
	var arn map[string]any
	switch typ {
	case "SQS":
		made.id, made.typ = id+event+"Queue", "AWS::SQS::Queue"
		arn = getAtt(made.id, "Arn")
	case "SNS":
		made.id, made.typ = id+event+"Topic", "AWS::SNS::Topic"
		arn = ref(made.id)
	default:
		return nil, nil, nil, resourcef(f.id, "Destination is required if Type is not ['SQS', 'SNS']")
	}
	if isTrue(both) {
		made.attributes["Condition"] = both
	}
	at = arn
	if isTrue(condition) {
		at = choose(condition, arn, other)
	}
	return made, at, sendPolicy(typ, id+event, at), nil
}

// absent tells under which condition a value has AWS::NoValue, and what it has
// otherwise.
func (t *transform) absent(value any, id string) (condition, otherwise any, err error) {
	if !isIf(value) {
		return nil, nil, nil
	}
	args, err := branches(value)
	if err != nil {
		return nil, nil, resourcef(id, "Malformed 'Destination' property: %v.", err)
	}
	switch then, last := isNoValue(args[1]), isNoValue(args[2]); {
	case then == last:
		return nil, nil, nil
	case then:
		return args[0], args[2], nil
	}
	if t.conditions == nil {
		return nil, nil, errInternal
	}
	name := conditionName("NOT"+spell(args[0]), id)
	t.conditions[name] = not(args[0])
	return name, args[1], nil
}

// conditionName is the name of a condition that the transform adds.
func conditionName(name, of string) string {
	name += hash(of)
	return name[:min(len(name), 255)]
}
