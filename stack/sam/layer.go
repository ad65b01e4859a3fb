package sam

import (
	"strings"
)

const (
	layerType       = "AWS::Serverless::LayerVersion"
	applicationType = "AWS::Serverless::Application"
)

var layerSchema = []property{
	{name: "LayerName", is: isStringOrMap},
	stringProperty("Description"),
	{name: "PublishLambdaVersion", is: isBool},
	{name: "ContentUri", is: isStringOrMap, required: true},
	{name: "CompatibleArchitectures", is: isListOf(isStringOrMap)},
	{name: "CompatibleRuntimes", is: isListOf(isStringOrMap)},
	stringProperty("LicenseInfo"), stringProperty("RetentionPolicy"),
}

// layer makes a layer version. Its logical ID ends in a hash of what the template
// says of it, so that a change makes another beside the one that is retained.
func (t *transform) layer(id string, body map[string]any) ([]*resource, error) {
	s, err := t.read(id, body, layerSchema, "Resources", id)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"LayerName", "LicenseInfo", "Description", "RetentionPolicy"} {
		if !isTrue(s.get(name)) {
			continue
		}
		value, err := t.parameters(s.get(name))
		if err != nil {
			return nil, err
		}
		if !isStringOrMap(value) {
			return nil, resourcef(id, "Could not resolve parameter for '%s' or parameter is not a String.", name)
		}
		s.properties[name] = value
	}
	attributes := s.inherit()
	switch given := s.get("RetentionPolicy").(type) {
	case nil:
		if _, ok := attributes["DeletionPolicy"]; !ok {
			attributes["DeletionPolicy"] = "Retain"
		}
	case string:
		switch strings.ToLower(given) {
		case "retain":
			attributes["DeletionPolicy"] = "Retain"
		case "delete":
			attributes["DeletionPolicy"] = "Delete"
		default:
			return nil, resourcef(id, "'RetentionPolicy' must be one of the following options: ['Retain', 'Delete'].")
		}
	default:
		if isIntrinsic(given) {
			return nil, resourcef(id, "'RetentionPolicy' does not accept intrinsic functions, please use one of the following options: ['Retain', 'Delete']")
		}
		return nil, resourcef(id, "Invalid 'RetentionPolicy' type, please use one of the following options: ['Retain', 'Delete']")
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	of := s.body()
	for _, name := range []string{"DeletionPolicy", "UpdateReplacePolicy", "Metadata"} {
		delete(of, name)
	}
	r := &resource{
		id: id + hash(map[string]any{id: of}), typ: "AWS::Lambda::LayerVersion", dependsOn: s.dependsOn, attributes: attributes,
		properties: map[string]any{"LayerName": id},
	}
	if name := s.get("LayerName"); isTrue(name) {
		r.properties["LayerName"] = name
	}
	for _, name := range []string{"Description", "CompatibleArchitectures", "CompatibleRuntimes", "LicenseInfo"} {
		r.properties[name] = s.get(name)
	}
	if r.properties["Content"], err = location(s.get("ContentUri"), r.id, "ContentUri"); err != nil {
		return nil, err
	}
	architectures, _ := s.get("CompatibleArchitectures").([]any)
	for _, one := range architectures {
		if !isIntrinsic(one) && one != "arm64" && one != "x86_64" {
			return nil, resourcef(r.id, "CompatibleArchitectures needs to be a list of 'x86_64' or 'arm64'")
		}
	}
	return []*resource{r}, nil
}

var applicationSchema = []property{
	{name: "Location", is: isStringOrMap, required: true},
	stringProperty("TemplateUrl"), mapProperty("Parameters"),
	{name: "NotificationARNs", is: isListOf(isStringOrMap)},
	mapProperty("Tags"),
	{name: "TimeoutInMinutes", is: isInt},
}

// application makes a nested stack.
func (t *transform) application(id string, body map[string]any) ([]*resource, error) {
	given, _ := body["Properties"].(map[string]any)
	at, ok := given["Location"]
	if !ok {
		return nil, resourcef(id, "Resource is missing the required [Location] property.")
	}
	if isMap(at) {
		return nil, resourcef(id, "Lamina does not offer applications of the Serverless Application Repository: Location has to be the address of a template.")
	}
	given["TemplateUrl"] = at
	s, err := t.read(id, body, applicationSchema, "Resources", id)
	if err != nil {
		return nil, err
	}
	tags, _, err := t.tags(s)
	if err != nil {
		return nil, err
	}
	r := &resource{
		id: id, typ: "AWS::CloudFormation::Stack", dependsOn: s.dependsOn, attributes: s.inherit(),
		properties: map[string]any{"TemplateURL": "", "Tags": tags},
	}
	for _, name := range []string{"Parameters", "NotificationARNs", "TimeoutInMinutes"} {
		r.properties[name] = s.get(name)
	}
	if isTrue(at) {
		r.properties["TemplateURL"] = at
	}
	return []*resource{r}, nil
}
