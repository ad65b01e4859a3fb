package main

// What the service was recorded to enforce where its published model says
// something else. Each entry is data: a newer model that agrees makes it idle.

// constraint replaces what the model says about one shape, or about one member
// of a structure ("Structure.Member"). Zero fields leave the model's word.
type constraint struct {
	min, max *float64
	pattern  string
	enum     string // name of an entry of enums, "-" for no check here
	bare     bool   // list items: print the constraint without the "Member must satisfy constraint" wrapper
	nullable bool   // list items, map values: the service does not list "Member must not be null"
}

func num(f float64) *float64 { return &f }

const region = `(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}`

// overrides by shape or member; recorded 11/2025 and 1/2026 in validation messages.
var overrides = map[string]constraint{
	"FunctionName":            {pattern: `(arn:(aws[a-zA-Z-]*)?:lambda:)?(` + region + `:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?`},
	"UnqualifiedFunctionName": {pattern: `(arn:(aws[a-zA-Z-]*)?:lambda:)?(` + region + `:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)`},
	"NamespacedFunctionName":  {pattern: `(arn:(aws[a-zA-Z-]*)?:lambda:)?(` + region + `:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?`},
	"LayerVersionArn": {
		max:     num(2048),
		pattern: `(arn:(aws[a-zA-Z-]*)?:lambda:` + region + `:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+)`,
	},
	"TaggableResource": {pattern: `arn:(aws[a-zA-Z-]*):lambda:` + region + `:\d{12}:(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|layer:([a-zA-Z0-9-_]+)|code-signing-config:csc-[a-z0-9]{17}|event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|capacity-provider:[a-zA-Z0-9-_]+)`},
	"DestinationArn":   {pattern: `$|kafka://([^.]([a-zA-Z0-9\-_.]{0,248}))|arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:(` + region + `)?:(\d{12})?:(.*)`},
	"Timeout":          {max: num(900)},
	"SubnetId":         {min: num(0), max: num(1024), pattern: `subnet-[0-9a-z]*`, nullable: true},
	"SecurityGroupId":  {min: num(0), max: num(1024), pattern: `sg-[0-9a-zA-Z]*`, nullable: true},

	// A wrong runtime of a function is no ValidationException; its handler answers.
	"CreateFunctionRequest.Runtime":              {enum: "-"},
	"UpdateFunctionConfigurationRequest.Runtime": {enum: "-"},
	// Layers accept runtimes that the message no longer prints.
	"CompatibleRuntimes":                         {enum: "CompatibleRuntimes", bare: true},
	"ListLayersRequest.CompatibleRuntime":        {enum: "CompatibleRuntime"},
	"ListLayerVersionsRequest.CompatibleRuntime": {enum: "CompatibleRuntime"},
}

// enumeration is a set of words: those the service prints, in its own order,
// and the shape whose words it accepts besides.
type enumeration struct {
	printed []string
	also    string
}

// enums that differ from the model, by shape or by a name of overrides.
var enums = map[string]enumeration{
	"SnapStartApplyOn":    {printed: []string{"PublishedVersions", "None"}},
	"InvokeMode":          {printed: []string{"RESPONSE_STREAM", "BUFFERED"}},
	"RecursiveLoop":       {printed: []string{"Terminate", "Allow"}},
	"EventSourcePosition": {printed: []string{"LATEST", "AT_TIMESTAMP", "TRIM_HORIZON"}},
	"CompatibleRuntimes": {also: "Runtime", printed: []string{
		"nodejs20.x", "python3.14", "provided.al2023", "python3.12", "python3.13", "nodejs24.x", "nodejs22.x", "java25",
		"python3.10", "python3.11", "java21", "ruby3.3", "ruby3.4", "ruby3.2", "python3.8", "python3.9", "java17",
		"nodejs16.x", "dotnet10", "dotnet8", "java11", "dotnet6", "nodejs18.x", "provided.al2", "java8.al2",
	}},
	"CompatibleRuntime": {also: "Runtime", printed: []string{
		"ruby3.5", "ruby2.6", "dotnetcore1.0", "python3.7", "nodejs8.10", "nasa", "ruby2.7", "python2.7-greengrass",
		"dotnetcore2.0", "python3.8", "java21", "dotnet6", "dotnetcore2.1", "python3.9", "java11", "nodejs6.10", "provided",
		"dotnetcore3.1", "dotnet8", "java25", "java17", "nodejs", "nodejs4.3", "java8.al2", "go1.x", "dotnet10",
		"nodejs20.x", "go1.9", "byol", "nodejs10.x", "provided.al2023", "nodejs22.x", "python3.10", "java8", "nodejs12.x",
		"python3.11", "nodejs24.x", "nodejs8.x", "python3.12", "nodejs14.x", "nodejs8.9", "nodejs26.x", "python3.13",
		"python3.14", "nodejs16.x", "python3.15", "provided.al2", "nodejs4.3-edge", "nodejs18.x", "ruby3.2", "python3.4",
		"ruby3.3", "ruby3.4", "ruby2.5", "python3.6", "python2.7",
	}},
}

// absent members: the model requires them and the service leaves them out.
var absent = map[string]bool{
	"GetFunctionCodeSigningConfigResponse.CodeSigningConfigArn": true, // recorded: {} without a configuration
	"GetFunctionCodeSigningConfigResponse.FunctionName":         true,
}

// statuses that the service answers instead of the model's.
var statuses = map[string]int{
	"DeleteFunction": 204, // recorded; the model says 200
}

// renamed shapes: the package needs the name for something of its own.
var renamed = map[string]string{
	"Operation": "DurableOperation",
}

// matchers of patterns that look around, which Go's regexp refuses: the shape,
// the pattern that was translated, and the function that package wire has for it.
var matchers = map[string]struct{ pattern, function string }{
	"Alias":                {`(?!^[0-9]+$)([a-zA-Z0-9-_]+)`, "matchAlias"},
	"FunctionUrlQualifier": {`((?!^\d+$)^[0-9a-zA-Z-_]+$)`, "matchAlias"},
	"S3Bucket":             {`[0-9A-Za-z\.\-_]*(?<!\.)`, "matchS3Bucket"},
	"CollectionName":       {`(^(?!(system\x2e)))(^[_a-zA-Z0-9])([^$]*)`, "matchCollectionName"},
}
