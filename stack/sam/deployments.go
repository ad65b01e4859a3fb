package sam

import (
	"slices"
	"strconv"
)

// deployment is how the alias of a function moves to another version.
type deployment struct {
	enabled   bool
	typ       any
	alarms    any
	role      any
	triggers  any
	condition any
	tags      []any
}

const (
	deployApplication = "ServerlessDeploymentApplication"
	deployRole        = "CodeDeployServiceRole"
	deployCondition   = "ServerlessCodeDeployCondition"
)

var deployConfigurations = []string{
	"Canary10Percent5Minutes", "Canary10Percent10Minutes", "Canary10Percent15Minutes", "Canary10Percent30Minutes",
	"Linear10PercentEvery1Minute", "Linear10PercentEvery2Minutes", "Linear10PercentEvery3Minutes", "Linear10PercentEvery10Minutes",
	"AllAtOnce",
}

// prefer reads the DeploymentPreference of a function.
func (t *transform) prefer(f *function) error {
	given, ok := f.get("DeploymentPreference").(map[string]any)
	if !ok || len(given) == 0 {
		return nil
	}
	for _, name := range []string{"Enabled", "Type", "PassthroughCondition"} {
		if _, ok := given[name]; !ok {
			continue
		}
		value, err := t.parameters(given[name])
		if err != nil {
			return err
		}
		if given[name], err = t.mapped(value); err != nil {
			return err
		}
	}
	d := &deployment{
		typ: given["Type"], alarms: given["Alarms"], role: given["Role"], triggers: given["TriggerConfigurations"],
	}
	if passthrough, ok := given["PassthroughCondition"]; ok {
		switch {
		case contains([]any{true, "true", "True"}, passthrough):
			d.condition = f.attributes["Condition"]
		case contains([]any{false, "false", "False"}, passthrough):
		case isIntrinsic(passthrough):
			return resourcef(f.id, "Unsupported intrinsic: the only intrinsic functions supported for property PassthroughCondition are FindInMap and parameter Refs.")
		default:
			return resourcef(f.id, "Invalid value for property PassthroughCondition.")
		}
	}
	enabled, ok := given["Enabled"]
	if d.enabled = !ok || isTrue(enabled) && enabled != "false" && enabled != "False"; !d.enabled {
		t.deployed[f.id] = new(deployment)
		t.deployOf = append(t.deployOf, f.id)
		return nil
	}
	if _, ok := given["Type"]; !ok {
		return resourcef(f.id, "'DeploymentPreference' is missing required Property 'Type'")
	}
	if hooks, ok := given["Hooks"]; ok {
		of, ok := hooks.(map[string]any)
		if !ok {
			return resourcef(f.id, "'Hooks' property of 'DeploymentPreference' must be a dictionary")
		}
		if of["PreTraffic"] != nil || of["PostTraffic"] != nil {
			return resourcef(f.id, "Lamina does not offer Hooks of DeploymentPreference: an alias moves to another version at once, and nothing is asked before or after.")
		}
	}
	if isTrue(f.get("PropagateTags")) && len(f.own) > 0 {
		d.tags = f.own
	}
	t.deployed[f.id] = d
	t.deployOf = append(t.deployOf, f.id)
	if f.alias == nil {
		return resourcef(f.id, "'DeploymentPreference' requires AutoPublishAlias property to be specified.")
	}
	if _, err := alarms(f.id, d.alarms); err != nil {
		return err
	}
	f.alias.attributes["UpdatePolicy"] = map[string]any{"CodeDeployLambdaAliasUpdate": map[string]any{
		"ApplicationName": ref(deployApplication), "DeploymentGroupName": ref(f.id + "DeploymentGroup"),
	}}
	return nil
}

// deploy adds what deployments take.
func (t *transform) deploy() error {
	var enabled []string
	everyRole := true
	var conditions []any
	unconditional := false
	var tags []any
	for _, id := range t.deployOf {
		d := t.deployed[id]
		if d.condition != nil && !contains(conditions, d.condition) {
			conditions = append(conditions, d.condition)
		}
		if !d.enabled {
			continue
		}
		enabled = append(enabled, id)
		everyRole = everyRole && isTrue(d.role)
		unconditional = unconditional || !isTrue(d.condition)
		for _, tag := range d.tags {
			key := tag.(map[string]any)["Key"]
			if i := slices.IndexFunc(tags, func(one any) bool { return one.(map[string]any)["Key"] == key }); i >= 0 {
				tags[i] = tag
			} else {
				tags = append(tags, tag)
			}
		}
	}
	if len(enabled) == 0 {
		return nil
	}
	var condition any
	if !unconditional {
		if condition = conditions[0]; len(conditions) > 1 {
			condition = deployCondition
			if t.conditions == nil {
				return errInternal
			}
			anyOf(t.conditions, conditions, deployCondition)
		}
	}
	out := t.out["Resources"].(map[string]any)
	add := func(id, typ string, condition any, properties map[string]any) {
		r := &resource{typ: typ, attributes: map[string]any{}, properties: properties}
		if condition != nil {
			r.attributes["Condition"] = condition
		}
		out[id] = r.body()
	}
	var merged any
	if len(tags) > 0 {
		merged = tags
	}
	add(deployApplication, "AWS::CodeDeploy::Application", condition, map[string]any{"ComputePlatform": "Lambda", "Tags": merged})
	if !everyRole {
		policy := "service-role/AWSCodeDeployRoleForLambda"
		if t.options.Partition == "aws-iso" || t.options.Partition == "aws-iso-b" {
			policy += "Limited"
		}
		add(deployRole, "AWS::IAM::Role", condition, map[string]any{
			"AssumeRolePolicyDocument": trust("codedeploy.amazonaws.com"), "ManagedPolicyArns": []any{t.managedPolicy(policy)}, "Tags": merged,
		})
	}
	for _, id := range enabled {
		d := t.deployed[id]
		properties := map[string]any{
			"ApplicationName": ref(deployApplication),
			"AutoRollbackConfiguration": map[string]any{
				"Enabled": true, "Events": []any{"DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_ALARM", "DEPLOYMENT_STOP_ON_REQUEST"},
			},
			"DeploymentConfigName": deployConfiguration(clone(d.typ), ""),
			"DeploymentStyle":      map[string]any{"DeploymentType": "BLUE_GREEN", "DeploymentOption": "WITH_TRAFFIC_CONTROL"},
			"ServiceRoleArn":       getAtt(deployRole, "Arn"),
		}
		configured, err := alarms(id, d.alarms)
		if err != nil {
			t.errs = append(t.errs, err)
			continue
		}
		properties["AlarmConfiguration"] = configured
		if isTrue(d.role) {
			properties["ServiceRoleArn"] = d.role
		}
		if isTrue(d.triggers) {
			properties["TriggerConfigurations"] = d.triggers
		}
		if len(d.tags) > 0 {
			properties["Tags"] = d.tags
		}
		add(id+"DeploymentGroup", "AWS::CodeDeploy::DeploymentGroup", d.condition, properties)
	}
	return nil
}

// anyOf adds a condition that holds when one of several does. Fn::Or takes ten at
// most.
func anyOf(conditions map[string]any, of []any, name string) {
	more := (len(of) - 2) / 9
	for len(of) > 1 {
		to := name
		if more > 0 {
			to = name + strconv.Itoa(more)
			more--
		}
		n := min(10, len(of))
		list := make([]any, n)
		for i, one := range of[:n] {
			list[i] = map[string]any{"Condition": one}
		}
		conditions[to] = map[string]any{"Fn::Or": list}
		of = append(slices.Clone(of[n:]), any(to))
	}
}

// alarms says which alarms stop a deployment. It returns nil for none.
func alarms(id string, given any) (any, error) {
	if !isTrue(given) || isNoValue(given) {
		return nil, nil
	}
	configure := func(v any) (any, error) {
		list, ok := v.([]any)
		if !ok {
			return nil, resourcef(id, "Alarms must be a list")
		}
		if len(list) == 0 || isNoValue(list[0]) {
			return map[string]any{}, nil
		}
		named := make([]any, len(list))
		for i, one := range list {
			named[i] = map[string]any{"Name": one}
		}
		return map[string]any{"Enabled": true, "Alarms": named}, nil
	}
	if !isIf(given) {
		return configure(given)
	}
	call := clone(given)
	args, err := branches(call)
	if err != nil {
		return nil, resourcef(id, "%v", err)
	}
	for i := 1; i < 3; i++ {
		if args[i], err = configure(args[i]); err != nil {
			return nil, err
		}
	}
	return call, nil
}

// deployConfiguration says the type of a deployment as CodeDeploy calls it.
func deployConfiguration(v any, within string) any {
	switch of := v.(type) {
	case []any:
		for i, one := range of {
			of[i] = deployConfiguration(one, "")
		}
	case map[string]any:
		if isIntrinsic(of) {
			for name, value := range of {
				of[name] = deployConfiguration(value, name)
			}
		}
	case string:
		if slices.Contains(deployConfigurations, of) {
			call := []any{"CodeDeployDefault.Lambda${ConfigName}", map[string]any{"ConfigName": of}}
			if within == "Fn::Sub" { // which does not nest
				return call
			}
			return map[string]any{"Fn::Sub": call}
		}
	}
	return v
}
