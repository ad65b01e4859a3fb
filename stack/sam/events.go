package sam

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// mappingSchema are the properties that every event has which a mapping polls.
var mappingSchema = slices.Concat(
	[]property{{name: "BatchSize", is: isInt}},
	passed("StartingPosition", "StartingPositionTimestamp"),
	[]property{
		{name: "Enabled", is: isBool},
		{name: "MaximumBatchingWindowInSeconds", is: isInt},
		{name: "MaximumRetryAttempts", is: isInt},
		{name: "BisectBatchOnFunctionError", is: isBool},
		{name: "MaximumRecordAgeInSeconds", is: isInt},
		mapProperty("DestinationConfig"),
		{name: "ParallelizationFactor", is: isInt},
		{name: "Topics", is: isList},
		{name: "Queues", is: isList},
		{name: "SourceAccessConfigurations", is: isList},
		stringProperty("SecretsManagerKmsKeyId"),
		{name: "TumblingWindowInSeconds", is: isInt},
		{name: "FunctionResponseTypes", is: isList},
		{name: "KafkaBootstrapServers", is: isList},
		mapProperty("FilterCriteria"),
	},
	passed("KmsKeyArn"),
	[]property{
		stringProperty("ConsumerGroupId"), mapProperty("ScalingConfig"), mapProperty("ProvisionedPollerConfig"), mapProperty("SchemaRegistryConfig"),
		mapProperty("MetricsConfig"), mapProperty("LoggingConfig"),
	},
)

// eventType is a type of event of functions.
type eventType struct {
	schema []property
	// polls is the property that has the ARN of what is polled; "" for none.
	polls string
	// managed is the path of the policy of AWS's that polling takes.
	managed string
	// policy makes the inline policy that polling takes, or returns nil.
	policy func(*transform, *event) (map[string]any, error)
	make   func(*transform, *event, *function) ([]*resource, error)
}

func polled(polls, managed string, policy func(*transform, *event) (map[string]any, error), more ...property) eventType {
	schema := slices.Clone(mappingSchema)
	if polls != "" {
		schema = append(schema, required(polls))
	}
	for _, p := range more {
		if i := slices.IndexFunc(schema, func(one property) bool { return one.name == p.name }); i >= 0 {
			schema[i] = p
		} else {
			schema = append(schema, p)
		}
	}
	return eventType{schema: schema, polls: polls, managed: managed, policy: policy}
}

func required(name string) property {
	return property{name: name, is: isAny, literal: true, required: true}
}

// eventTypes are the events whose resources Lamina offers.
var eventTypes = map[string]eventType{
	"Kinesis":          polled("Stream", "service-role/AWSLambdaKinesisExecutionRole", nil, required("StartingPosition")),
	"DynamoDB":         polled("Stream", "service-role/AWSLambdaDynamoDBExecutionRole", nil, required("StartingPosition")),
	"SQS":              polled("Queue", "service-role/AWSLambdaSQSQueueExecutionRole", nil),
	"MSK":              polled("Stream", "service-role/AWSLambdaMSKExecutionRole", mskPolicy, required("StartingPosition")),
	"MQ":               polled("Broker", "", mqPolicy, property{name: "DynamicPolicyName", is: isBool, literal: true}),
	"SelfManagedKafka": polled("", "", kafkaPolicy),
	"DocumentDB":       polled("Cluster", "", documentDBPolicy, append([]property{required("DatabaseName")}, passed("CollectionName", "FullDocument")...)...),
	"S3": {
		schema: []property{
			{name: "Bucket", is: isString, expected: "string", required: true},
			{name: "Events", is: isEither(isString, isListOf(isString)), required: true, literal: true},
			{name: "Filter", is: isMapOf(isString)},
		},
		make: (*transform).bucketEvent,
	},
	"AlexaSkill": {schema: []property{stringProperty("SkillId")}, make: func(_ *transform, e *event, f *function) ([]*resource, error) {
		return []*resource{e.permission(f, map[string]any{"Principal": "alexa-appkit.amazon.com", "EventSourceToken": e.get("SkillId")})}, nil
	}},
}

// refusedEvents are types of events that Lamina does not offer, with the reason.
var refusedEvents = map[string]string{
	"Api":             "there is no API Gateway; FunctionUrlConfig gives a function an address",
	"HttpApi":         "there is no API Gateway; FunctionUrlConfig gives a function an address",
	"Schedule":        "there is no EventBridge",
	"ScheduleV2":      "there is no EventBridge Scheduler",
	"CloudWatchEvent": "there is no EventBridge",
	"EventBridgeRule": "there is no EventBridge",
	"CloudWatchLogs":  "there are no subscriptions of log groups",
	"SNS":             "there is no SNS",
	"IoTRule":         "there is no IoT",
	"Cognito":         "there is no Cognito",
}

// event is an event of a function. Its logical ID begins with the function's.
type event struct {
	*source
	name string // as the function has it
	eventType
}

// events reads the events of a function, and returns them in the order in which
// they are made.
func (t *transform) events(f *function) ([]*event, error) {
	given, _ := f.get("Events").(map[string]any)
	var out []*event
	for _, name := range t.keys(given, "Resources", f.id, "Properties", "Events") {
		body, ok := given[name].(map[string]any)
		if !ok {
			return nil, eventf(name, "It has to be a map.")
		}
		typ, ok := body["Type"].(string)
		if why := refusedEvents[typ]; why != "" {
			return nil, eventf(name, "Lamina does not offer events of type %s: %s.", typ, why)
		}
		known, exists := eventTypes[typ]
		if !ok || !exists {
			return nil, eventf(name, "Resource dict has missing or invalid value for key Type. Event Type is: %s.", spell(body["Type"]))
		}
		s, err := t.read(f.id+name, body, known.schema, "Resources", f.id, "Properties", "Events", name)
		if err != nil {
			return nil, err
		}
		e := &event{source: s, name: name, eventType: known}
		if typ == "S3" {
			if _, _, err := t.bucket(e); err != nil {
				return nil, err
			}
		}
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b *event) int { return cmp.Compare(a.name, b.name) })
	return out, nil
}

// resources makes what the event stands for, and adds to the role what that
// takes.
func (e *event) resources(t *transform, f *function, role *resource) ([]*resource, error) {
	if e.make != nil {
		return e.make(t, e, f)
	}
	mapping := &resource{id: e.id, typ: "AWS::Lambda::EventSourceMapping", attributes: f.inherit(), properties: map[string]any{}}
	for _, name := range []string{
		"StartingPosition", "StartingPositionTimestamp", "BatchSize", "Enabled", "MaximumBatchingWindowInSeconds", "MaximumRetryAttempts",
		"BisectBatchOnFunctionError", "MaximumRecordAgeInSeconds", "ParallelizationFactor", "Topics", "Queues", "SourceAccessConfigurations",
		"TumblingWindowInSeconds", "FunctionResponseTypes", "FilterCriteria", "KmsKeyArn", "ScalingConfig", "ProvisionedPollerConfig",
		"MetricsConfig", "LoggingConfig", "DestinationConfig",
	} {
		mapping.properties[name] = e.get(name)
	}
	mapping.properties["FunctionName"] = f.target()
	if e.polls != "" {
		mapping.properties["EventSourceArn"] = e.get(e.polls)
	}
	if filter, ok := e.get("FilterCriteria").(map[string]any); ok && len(filter) > 0 && !isIntrinsic(filter) {
		if _, ok := filter["Filters"]; !ok || len(filter) > 1 {
			return nil, eventf(e.name, "FilterCriteria field has a wrong format")
		}
	}
	if err := e.kafka(mapping); err != nil {
		return nil, err
	}
	failed, err := e.failures(mapping)
	if err != nil {
		return nil, err
	}
	if e.typ == "DocumentDB" {
		config := map[string]any{"DatabaseName": e.get("DatabaseName")}
		for _, name := range []string{"CollectionName", "FullDocument"} {
			if value := e.get(name); isTrue(value) {
				config[name] = value
			}
		}
		mapping.properties["DocumentDBEventSourceConfig"] = config
	}
	var policy map[string]any
	if e.policy != nil {
		if policy, err = e.policy(t, e); err != nil {
			return nil, err
		}
	}
	if e.managed != "" {
		arns := role.properties["ManagedPolicyArns"].([]any)
		if arn := t.managedPolicy(e.managed); !contains(arns, arn) {
			role.properties["ManagedPolicyArns"] = append(arns, arn)
		}
	}
	addPolicy(role, policy)
	addPolicy(role, failed)
	return []*resource{mapping}, nil
}

// addPolicy adds a policy to a role that has none with the same document.
func addPolicy(role *resource, policy map[string]any) {
	if policy == nil {
		return
	}
	policies, _ := role.properties["Policies"].([]any)
	if slices.ContainsFunc(policies, func(one any) bool {
		has, ok := one.(map[string]any)
		return ok && equal(has["PolicyDocument"], policy["PolicyDocument"])
	}) {
		return
	}
	role.properties["Policies"] = append(policies, policy)
}

// kafka sets what mappings of Kafka have.
func (e *event) kafka(mapping *resource) error {
	config := map[string]string{"MSK": "AmazonManagedKafkaEventSourceConfig", "SelfManagedKafka": "SelfManagedKafkaEventSourceConfig"}[e.typ]
	if servers := e.get("KafkaBootstrapServers"); isTrue(servers) {
		mapping.properties["SelfManagedEventSource"] = map[string]any{"Endpoints": map[string]any{"KafkaBootstrapServers": servers}}
	}
	of := make(map[string]any)
	if group := e.get("ConsumerGroupId"); isTrue(group) {
		if config == "" {
			return eventf(e.id, "Property ConsumerGroupId not defined for resource of type %s.", e.typ)
		}
		of["ConsumerGroupId"] = group
	}
	if registry := e.get("SchemaRegistryConfig"); isTrue(registry) && config != "" {
		of["SchemaRegistryConfig"] = registry
	}
	if len(of) > 0 {
		mapping.properties[config] = of
	}
	return nil
}

// failures says where records go that can't be handled, and returns the policy
// that takes.
func (e *event) failures(mapping *resource) (map[string]any, error) {
	given, ok := e.get("DestinationConfig").(map[string]any)
	if !ok || len(given) == 0 {
		delete(mapping.properties, "DestinationConfig")
		return nil, nil
	}
	to, ok := given["OnFailure"].(map[string]any)
	if !ok {
		return nil, eventf(e.id, "Property 'DestinationConfig.OnFailure' should be a map.")
	}
	typ := to["Type"]
	if !isTrue(typ) {
		return nil, nil
	}
	delete(to, "Type")
	if !contains([]any{"SQS", "SNS", "S3", "Kafka"}, typ) {
		return nil, eventf(e.id, "The only valid values for 'Type' are 'SQS', 'SNS', 'S3', and 'Kafka'")
	}
	return sendPolicy(typ.(string), e.id, to["Destination"]), nil
}

// secret returns where the one secret of a type is.
func (e *event) secret(typ string, others ...string) (any, error) {
	configurations := e.get("SourceAccessConfigurations")
	if !isTrue(configurations) {
		return nil, eventf(e.name, "No SourceAccessConfigurations for Amazon %s event provided.", e.typ)
	}
	list, ok := configurations.([]any)
	if !ok {
		return nil, eventf(e.name, "Provided SourceAccessConfigurations cannot be parsed into a list.")
	}
	supported := append([]string{typ}, others...)
	var at any
	for i, one := range list {
		config, ok := one.(map[string]any)
		if !ok {
			return nil, eventf(e.name, "Property 'SourceAccessConfigurations[%d]' should be a map.", i)
		}
		of, ok := config["Type"].(string)
		if !ok {
			return nil, eventf(e.name, "Property 'SourceAccessConfigurations[%d].Type' should be a string.", i)
		}
		if !slices.Contains(supported, of) {
			return nil, eventf(e.name, "Invalid property Type specified in SourceAccessConfigurations. The supported values are: %s.", spellList(supported))
		}
		if of != typ {
			continue
		}
		if isTrue(at) {
			return nil, eventf(e.name, "Multiple %s properties specified in SourceAccessConfigurations.", typ)
		}
		if at = config["URI"]; !isTrue(at) {
			return nil, eventf(e.name, "No %s URI property specified in SourceAccessConfigurations.", typ)
		}
	}
	if !isTrue(at) {
		return nil, eventf(e.name, "No %s property specified in SourceAccessConfigurations.", typ)
	}
	return at, nil
}

// decrypt is the right to decrypt with the key of the event's secrets, or nil
// when it has none.
func (e *event) decrypt(action any) (any, error) {
	key := e.get("SecretsManagerKmsKeyId")
	if !isTrue(key) {
		return nil, nil
	}
	id, ok := key.(string)
	if !ok {
		return nil, eventf(e.name, "Property 'SecretsManagerKmsKeyId' should be a string.")
	}
	return allowOne(sub("arn:${AWS::Partition}:kms:${AWS::Region}:${AWS::AccountId}:key/"+id), action), nil
}

func networkAccess() any {
	return allow("*", "ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface",
		"ec2:DescribeVpcs", "ec2:DescribeSubnets", "ec2:DescribeSecurityGroups")
}

func mskPolicy(t *transform, e *event) (map[string]any, error) {
	statements, err := e.registry(t)
	if err != nil {
		return nil, err
	}
	list, _ := e.get("SourceAccessConfigurations").([]any)
	for _, one := range list {
		if config, ok := one.(map[string]any); ok && config["Type"] == "CLIENT_CERTIFICATE_TLS_AUTH" && isTrue(config["URI"]) {
			statements = append(statements, allow(config["URI"], "secretsmanager:GetSecretValue"))
		}
	}
	if len(statements) == 0 {
		return nil, nil
	}
	return rolePolicy("MSKExecutionRolePolicy", statements...), nil
}

func mqPolicy(_ *transform, e *event) (map[string]any, error) {
	secret, err := e.secret("BASIC_AUTH", "VIRTUAL_HOST")
	if err != nil {
		return nil, err
	}
	statements := []any{allow(secret, "secretsmanager:GetSecretValue"), allow(e.get("Broker"), "mq:DescribeBroker")}
	decrypt, err := e.decrypt("kms:Decrypt")
	if err != nil {
		return nil, err
	}
	if decrypt != nil {
		statements = append(statements, decrypt)
	}
	name := "SamAutoGeneratedAMQPolicy"
	if e.get("DynamicPolicyName") == true {
		name = e.id + "AMQPolicy"
	}
	return rolePolicy(name, statements...), nil
}

func documentDBPolicy(_ *transform, e *event) (map[string]any, error) {
	secret, err := e.secret("BASIC_AUTH")
	if err != nil {
		return nil, err
	}
	const of = "arn:${AWS::Partition}:rds:${AWS::Region}:${AWS::AccountId}:"
	statements := []any{
		allow(secret, "secretsmanager:GetSecretValue"),
		allow(sub(of+"cluster-pg:*"), "rds:DescribeDBClusterParameters"),
		allow(sub(of+"subgrp:*"), "rds:DescribeDBSubnetGroups"),
		allow(e.get("Cluster"), "rds:DescribeDBClusters"),
		networkAccess(),
	}
	decrypt, err := e.decrypt([]any{"kms:Decrypt"})
	if err != nil {
		return nil, err
	}
	if decrypt != nil {
		statements = append(statements, decrypt)
	}
	return rolePolicy("SamAutoGeneratedDocumentDBPolicy", statements...), nil
}

func kafkaPolicy(t *transform, e *event) (map[string]any, error) {
	switch topics, ok := e.get("Topics").([]any); {
	case !isTrue(e.get("KafkaBootstrapServers")):
		return nil, eventf(e.name, "No KafkaBootstrapServers provided for self managed kafka as an event source")
	case !isTrue(e.get("Topics")):
		return nil, eventf(e.name, "No Topics provided for self managed kafka as an event source")
	case ok && len(topics) != 1:
		return nil, eventf(e.name, "Topics for self managed kafka only supports single configuration entry.")
	case !isTrue(e.get("SourceAccessConfigurations")):
		return nil, eventf(e.name, "No SourceAccessConfigurations for self managed kafka event provided.")
	}
	statements, err := e.kafkaAccess()
	if err != nil {
		return nil, err
	}
	decrypt, err := e.decrypt([]any{"kms:Decrypt"})
	if err != nil {
		return nil, err
	}
	if decrypt != nil {
		statements = append(statements, decrypt)
	}
	registry, err := e.registry(t)
	if err != nil {
		return nil, err
	}
	if statements = append(statements, registry...); len(statements) == 0 {
		return nil, nil
	}
	policy := rolePolicy("SelfManagedKafkaExecutionRolePolicy", statements...)
	policy["PolicyDocument"].(map[string]any)["Version"] = "2012-10-17"
	return policy, nil
}

// kafkaAccess reads how a Kafka of one's own is reached.
func (e *event) kafkaAccess() ([]any, error) {
	list, ok := e.get("SourceAccessConfigurations").([]any)
	if !ok {
		return nil, eventf(e.name, "SourceAccessConfigurations for self managed kafka event should be a list.")
	}
	var subnet, group, mechanism bool
	var secret, certificate any
	for _, one := range list {
		config, ok := one.(map[string]any)
		if !ok {
			return nil, resourcef(e.name, "Property 'SourceAccessConfigurations' should be a map.")
		}
		uri, what := config["URI"], spell(config["Type"])
		switch what {
		case "VPC_SUBNET":
			subnet = true
		case "VPC_SECURITY_GROUP":
			group = true
		case "SERVER_ROOT_CA_CERTIFICATE":
			certificate = uri
		case "OAUTHBEARER_SCOPE", "OAUTHBEARER_AUDIENCE", "OAUTHBEARER_LOGICAL_CLUSTER", "OAUTHBEARER_IDENTITY_POOL":
		case "SASL_SCRAM_256_AUTH", "SASL_SCRAM_512_AUTH", "BASIC_AUTH", "CLIENT_CERTIFICATE_TLS_AUTH", "OAUTHBEARER_AUTH", "IAM_AUTH", "IAM_OAUTHBEARER_AUTH":
			if mechanism {
				return nil, eventf(e.name, "Multiple auth mechanism properties specified in SourceAccessConfigurations for self managed kafka event.")
			}
			if mechanism = true; strings.HasPrefix(what, "IAM_") {
				continue
			}
			secret, what = uri, "auth mechanism"
		default:
			return nil, eventf(e.name, "Invalid SourceAccessConfigurations Type provided for self managed kafka event.")
		}
		if !isTrue(uri) {
			return nil, eventf(e.name, "No %s URI property specified in SourceAccessConfigurations for self managed kafka event.", what)
		}
		if !isString(uri) && !isIntrinsic(uri) {
			return nil, eventf(e.name, "Wrong Type for %s URI property specified in SourceAccessConfigurations for self managed kafka event.", what)
		}
	}
	if subnet != group {
		return nil, eventf(e.name, "VPC_SUBNET and VPC_SECURITY_GROUP in SourceAccessConfigurations for SelfManagedKafka must be both provided.")
	}
	var statements []any
	for _, at := range []any{secret, certificate} {
		if isTrue(at) {
			statements = append(statements, allow(at, "secretsmanager:GetSecretValue"))
		}
	}
	if subnet {
		statements = append(statements, networkAccess())
	}
	return statements, nil
}

// registry is the right to read the schema registry of an event.
func (e *event) registry(t *transform) ([]any, error) {
	if !isTrue(e.get("SchemaRegistryConfig")) {
		return nil, nil
	}
	config, ok := e.get("SchemaRegistryConfig").(map[string]any)
	if !ok {
		return nil, eventf(e.name, "Property 'SchemaRegistryConfig' should be a map.")
	}
	for _, name := range []string{"SchemaRegistryURI", "EventRecordFormat", "SchemaValidationConfigs"} {
		if _, ok := config[name]; !ok {
			return nil, eventf(e.name, "Missing required field %s in SchemaRegistryConfig", name)
		}
	}
	if format := config["EventRecordFormat"]; format != "JSON" && format != "SOURCE" {
		return nil, eventf(e.name, "EventRecordFormat in SchemaRegistryConfig must be either 'JSON' or 'SOURCE'")
	}
	if !isList(config["SchemaValidationConfigs"]) {
		return nil, eventf(e.name, "SchemaValidationConfigs must be a list")
	}
	var statements []any
	if access := config["AccessConfigs"]; isTrue(access) {
		list, ok := access.([]any)
		if !ok {
			return nil, eventf(e.name, "AccessConfigs in SchemaRegistryConfig must be a list")
		}
		for _, one := range list {
			of, _ := one.(map[string]any)
			_, typed := of["Type"]
			at, located := of["URI"]
			if !typed || !located {
				return nil, eventf(e.name, "Each AccessConfig must be a dict with 'Type' and 'URI' fields")
			}
			statements = append(statements, allow(at, "secretsmanager:GetSecretValue"))
		}
	}
	at := config["SchemaRegistryURI"]
	arn := at
	if m, ok := at.(map[string]any); ok {
		resolved, err := t.parameters(maps.Clone(m))
		if err != nil {
			return nil, err
		}
		of, ok := resolved.(map[string]any)
		if !ok {
			return nil, errInternal
		}
		arn = of["Fn::Sub"]
	}
	text, _ := arn.(string)
	parts := strings.Split(text, ":")
	if !strings.HasPrefix(text, "arn") || len(parts) < 6 {
		return statements, nil
	}
	name, ok := strings.CutPrefix(parts[5], "registry/")
	if !ok {
		return statements, nil
	}
	return append(statements,
		allow(at, "glue:GetRegistry"),
		allow([]any{sub("arn:${AWS::Partition}:glue:${AWS::Region}:${AWS::AccountId}:schema/" + name + "/*")}, "glue:GetSchemaVersion")), nil
}

// permission lets the event's service invoke the function.
func (e *event) permission(f *function, properties map[string]any) *resource {
	properties["Action"] = "lambda:InvokeFunction"
	properties["FunctionName"] = f.target()
	return &resource{id: e.id + "Permission", typ: "AWS::Lambda::Permission", attributes: f.inherit(), properties: properties}
}

// bucketProperties are those that the translator knows of a bucket.
var bucketProperties = []string{
	"AccessControl", "AccelerateConfiguration", "AnalyticsConfigurations", "BucketEncryption", "BucketName", "CorsConfiguration",
	"IntelligentTieringConfigurations", "InventoryConfigurations", "LifecycleConfiguration", "LoggingConfiguration", "MetricsConfigurations",
	"NotificationConfiguration", "ObjectLockConfiguration", "ObjectLockEnabled", "OwnershipControls", "PublicAccessBlockConfiguration",
	"ReplicationConfiguration", "Tags", "VersioningConfiguration", "WebsiteConfiguration",
}

// bucket returns the bucket of an S3 event, which is in the same template.
func (t *transform) bucket(e *event) (id string, body map[string]any, err error) {
	if of, ok := e.get("Bucket").(map[string]any); ok {
		if given, ok := of["Ref"]; ok {
			id, ok := given.(string)
			if !ok {
				return "", nil, eventf(e.name, "'Ref' value in S3 events is not a valid string.")
			}
			if body, ok := t.body["Resources"].(map[string]any)[id].(map[string]any); ok {
				return id, body, nil
			}
		}
	}
	return "", nil, eventf(e.name, "S3 events must reference an S3 bucket in the same template.")
}

// bucketEvent has a bucket notify the function.
func (t *transform) bucketEvent(e *event, f *function) ([]*resource, error) {
	id, body, err := t.bucket(e)
	if err != nil {
		return nil, err
	}
	permission := e.permission(f, map[string]any{"Principal": "s3.amazonaws.com", "SourceAccount": ref("AWS::AccountId")})

	condition, conditional := permission.attributes["Condition"]
	if !conditional {
		// The bucket asks Lambda for the permission when it is made.
		var on []any
		switch given := body["DependsOn"].(type) {
		case nil:
			if _, ok := body["DependsOn"]; ok {
				return nil, resourcef(e.id, "Invalid type for field 'DependsOn'. Expected a string or list of strings.")
			}
		case string:
			on = []any{given}
		case []any:
			for _, one := range given {
				if !isString(one) {
					return nil, resourcef(e.id, "Invalid type for field 'DependsOn'. Expected a string or list of strings.")
				}
				if !contains(on, one) {
					on = append(on, one)
				}
			}
		default:
			return nil, resourcef(e.id, "Invalid type for field 'DependsOn'. Expected a string or list of strings.")
		}
		if !contains(on, permission.id) {
			on = append(on, permission.id)
		}
		body["DependsOn"] = on
	}
	if given, ok := body["Properties"]; ok && given != nil && !isMap(given) {
		return nil, resourcef(id, "Properties should be a map.")
	}
	properties, _ := body["Properties"].(map[string]any)
	if properties == nil {
		properties = map[string]any{}
		body["Properties"] = properties
	}
	if conditional {
		// Nothing depends on a resource under a condition, but for who refers to it.
		if tags := properties["Tags"]; tags != nil && !isList(tags) {
			return nil, resourcef(id, "Property 'Tags' should be a list.")
		}
		tags, _ := properties["Tags"].([]any)
		properties["Tags"] = append(slices.Clone(tags), map[string]any{
			"Key":   "sam:ConditionalDependsOn:" + permission.id,
			"Value": choose(condition, ref(permission.id), "no dependency"),
		})
	}
	if err := e.notify(f, id, properties); err != nil {
		return nil, err
	}
	schema := make([]property, len(bucketProperties))
	for i, name := range bucketProperties {
		schema[i] = property{name: name, is: isAny}
	}
	if body["Type"] != "AWS::S3::Bucket" {
		if _, ok := body["Type"]; !ok {
			return nil, resourcef(id, "Resource dict missing key 'Type'.")
		}
		return nil, resourcef(id, "Resource has incorrect Type; expected 'AWS::S3::Bucket', got '%s'", spell(body["Type"]))
	}
	s, err := t.read(id, body, schema, "Resources", id)
	if err != nil {
		return nil, err
	}
	return []*resource{permission, {
		id: id, typ: "AWS::S3::Bucket", dependsOn: s.dependsOn, attributes: s.attributes, properties: maps.Clone(properties), tagged: true,
	}}, nil
}

// notify adds the function to the notifications of a bucket.
func (e *event) notify(f *function, bucket string, properties map[string]any) error {
	base := map[string]any{"Function": f.targetARN()}
	if filter := e.get("Filter"); filter != nil {
		base["Filter"] = filter
	}
	types, ok := e.get("Events").([]any)
	if !ok {
		types = []any{e.get("Events")}
	}
	if properties["NotificationConfiguration"] == nil {
		properties["NotificationConfiguration"] = map[string]any{}
	}
	config, ok := properties["NotificationConfiguration"].(map[string]any)
	if !ok {
		return resourcef(bucket, "Property 'NotificationConfiguration' should be a map.")
	}
	if config["LambdaConfigurations"] == nil {
		config["LambdaConfigurations"] = []any{}
	}
	list, ok := config["LambdaConfigurations"].([]any)
	if !ok {
		return resourcef(bucket, "Invalid type for LambdaConfigurations. Must be a list.")
	}
	for _, typ := range types {
		one := clone(base).(map[string]any)
		one["Event"] = typ
		var entry any = one
		if condition, ok := f.attributes["Condition"]; ok {
			entry = choose(condition, one, nil)
		}
		if !contains(list, entry) {
			list = append(list, entry)
		}
	}
	config["LambdaConfigurations"] = list
	return nil
}
