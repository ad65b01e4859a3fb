package sam

import (
	"maps"
	"slices"
)

// inGlobals are the properties that the section Globals may have, in the order in
// which errors list them.
var inGlobals = map[string][]string{
	"Function": {
		"Handler", "Runtime", "CodeUri", "DeadLetterQueue", "Description", "MemorySize", "Timeout", "VpcConfig", "Environment", "Tags",
		"PropagateTags", "Tracing", "KmsKeyArn", "AutoPublishAlias", "AutoPublishAliasAllProperties", "Layers", "DeploymentPreference", "RolePath",
		"PermissionsBoundary", "ReservedConcurrentExecutions", "ProvisionedConcurrencyConfig", "AssumeRolePolicyDocument", "EventInvokeConfig",
		"FileSystemConfigs", "CodeSigningConfigArn", "Architectures", "SnapStart", "EphemeralStorage", "FunctionUrlConfig",
		"RuntimeManagementConfig", "LoggingConfig", "RecursiveLoop", "SourceKMSKeyArn", "TenancyConfig", "DurableConfig",
		"CapacityProviderConfig", "FunctionScalingConfig", "PublishToLatestPublished", "VersionDeletionPolicy",
	},
	"LayerVersion": {"PublishLambdaVersion"},
}

// elsewhere are the sections of Globals that are about types that Lamina does not
// offer. What they say changes nothing.
var elsewhere = []string{
	"Api", "CapacityProvider", "HttpApi", "MicrovmImage", "NetworkConnector", "SimpleTable", "StateMachine", "WebSocketApi",
}

// merge gives every resource what Globals has for its type, and removes the
// section.
func (t *transform) merge(resources map[string]any) error {
	given, ok := t.body["Globals"]
	delete(t.body, "Globals")
	t.globals = make(map[string]map[string]any)
	if ok {
		if err := t.readGlobals(given); err != nil {
			return err
		}
	}
	for _, id := range t.keys(resources, "Resources") {
		r := resources[id].(map[string]any)
		typ, _ := r["Type"].(string)
		if !isSAM(typ) {
			continue
		}
		local, _ := r["Properties"].(map[string]any)
		if local == nil {
			local = map[string]any{}
		}
		r["Properties"] = local
		own, _ := local["Tags"].(map[string]any)
		t.tagOrder[id] = t.keys(own, "Resources", id, "Properties", "Tags")
		global, ok := t.globals[typ]
		if !ok {
			continue
		}
		if ignored := r["IgnoreGlobals"]; isTrue(ignored) {
			var err error
			if global, err = without(id, global, ignored); err != nil {
				return err
			}
		}
		shared, _ := global["Tags"].(map[string]any)
		t.tagOrder[id] = slices.Concat(t.keys(shared, "Globals", "Function", "Tags"), t.tagOrder[id])
		r["Properties"] = mergeMaps(global, local, typ == functionType)
	}
	return nil
}

func (t *transform) readGlobals(given any) error {
	invalid := func(text string) error { return &cause{text: "'Globals' section is invalid. " + text} }
	sections, ok := given.(map[string]any)
	if !ok {
		return invalid("It must be a non-empty dictionary")
	}
	for _, name := range t.keys(sections, "Globals") {
		known, ok := inGlobals[name]
		if !ok && !slices.Contains(elsewhere, name) {
			all := slices.Sorted(slices.Values(append(slices.Clone(elsewhere), "Function", "LayerVersion")))
			return invalid("'" + name + "' is not supported. Must be one of the following values - " + spellList(all))
		}
		section, isMap := sections[name].(map[string]any)
		if !isMap {
			return invalid("Value of ${section} must be a dictionary")
		}
		if !ok {
			continue
		}
		for _, key := range t.keys(section, "Globals", name) {
			if !slices.Contains(known, key) {
				return invalid("'" + key + "' is not a supported property of '" + name + "'. Must be one of the following values - " + spellList(known))
			}
		}
		t.globals["AWS::Serverless::"+name] = section
	}
	return nil
}

// without returns global less what a resource ignores of it.
func without(id string, global map[string]any, ignored any) (map[string]any, error) {
	if ignored == "*" {
		return map[string]any{}, nil
	}
	list, ok := ignored.([]any)
	if !ok {
		return nil, resourcef(id, "Resource %s has invalid resource attribute 'IgnoreGlobals'.", id)
	}
	global = clone(global).(map[string]any)
	for _, one := range list {
		name, ok := one.(string)
		if _, known := global[name]; !ok || !known {
			return nil, resourcef(id, "Resource %s has invalid resource attribute 'IgnoreGlobals' on item '%s'.", id, spell(one))
		}
		delete(global, name)
	}
	return global, nil
}

// mergeMaps merges the properties of a resource into those of Globals: maps
// member by member, lists one after the other, and of all else that of the
// resource counts. The values are shared with both.
func mergeMaps(global, local map[string]any, function bool) map[string]any {
	out := maps.Clone(global)
	for name, value := range local {
		if of, ok := out[name]; ok && (!function || name != "Architectures") {
			value = mergeValues(of, value)
		}
		out[name] = value
	}
	return out
}

func mergeValues(global, local any) any {
	switch l := local.(type) {
	case map[string]any:
		if g, ok := global.(map[string]any); ok && !isIntrinsic(g) && !isIntrinsic(l) {
			return mergeMaps(g, l, false)
		}
	case []any:
		if g, ok := global.([]any); ok {
			return slices.Concat(g, l)
		}
	}
	return local
}
