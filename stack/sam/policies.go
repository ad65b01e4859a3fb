package sam

import (
	"bytes"
	_ "embed" // the tables below
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

//go:embed policytemplates.json
var policyTemplatesText []byte

// policyTemplate is a policy with parameters. A Ref in the definition means one
// of them.
type policyTemplate struct {
	Parameters []string
	Definition map[string]any
}

var policyTemplates = sync.OnceValue(func() map[string]policyTemplate {
	var all map[string]policyTemplate
	d := json.NewDecoder(bytes.NewReader(policyTemplatesText))
	d.UseNumber()
	if err := d.Decode(&all); err != nil {
		panic(err) // the file above is wrong
	}
	return all
})

//go:embed managedpolicies.txt
var managedPoliciesText string

// managedPaths are the paths of AWS's own policies by name.
var managedPaths = sync.OnceValue(func() map[string]string {
	all := make(map[string]string)
	for path := range strings.Lines(managedPoliciesText) {
		path = strings.TrimSpace(path)
		all[path[strings.LastIndexByte(path, '/')+1:]] = path
	}
	return all
})

// managedPolicy is the ARN of a policy of AWS's at a path.
func (t *transform) managedPolicy(path string) string {
	return "arn:" + t.options.Partition + ":iam::aws:policy/" + path
}

// policyARN finds the ARN of a policy that is given by its name; what no policy
// is called stays as it is.
func (t *transform) policyARN(name string) string {
	if arn := t.managed[name]; arn != "" {
		return arn
	}
	if path, ok := managedPaths()[name]; ok {
		return t.managedPolicy(path)
	}
	return name
}

// policyKind is what an entry of Policies is.
type policyKind int

const (
	unknownPolicy policyKind = iota
	managedByName
	policyDocument
	fromTemplate
)

// kindOf tells what an entry of Policies is.
func kindOf(policy any) (policyKind, error) {
	switch {
	case isString(policy):
		return managedByName, nil
	case isIf(policy):
		args, err := branches(policy)
		if err != nil {
			return unknownPolicy, templatef("%v", err)
		}
		then, err := kindOf(args[1])
		if err != nil {
			return unknownPolicy, err
		}
		otherwise, err := kindOf(args[2])
		switch {
		case err != nil:
			return unknownPolicy, err
		case then == otherwise, isNoValue(args[2]):
			return then, nil
		case isNoValue(args[1]):
			return otherwise, nil
		}
		return unknownPolicy, templatef("Different policy types within the same Fn::If statement is unsupported. " +
			"Separate different policy types into different Fn::If statements")
	case isIntrinsic(policy):
		return managedByName, nil
	}
	if m, ok := policy.(map[string]any); ok {
		if _, ok := m["Statement"]; ok {
			return policyDocument, nil
		}
		if name, _, ok := single(policy); ok && policyTemplates()[name].Definition != nil {
			return fromTemplate, nil
		}
	}
	return unknownPolicy, nil
}

// policyList returns Policies as a list.
func policyList(given any) []any {
	if !isTrue(given) {
		return nil
	}
	if list, ok := given.([]any); ok {
		return list
	}
	return []any{given}
}

// expandPolicies replaces policy templates in the properties of a function by the
// policies they stand for.
func expandPolicies(id string, properties map[string]any) error {
	list := policyList(properties["Policies"])
	if list == nil {
		return nil
	}
	out := make([]any, len(list))
	for i, policy := range list {
		kind, err := kindOf(policy)
		switch {
		case err != nil:
			return err
		case kind != fromTemplate:
			out[i] = policy
		case isIf(policy):
			args, err := branches(policy)
			if err != nil {
				return err
			}
			made := []any{args[0], args[1], args[2]}
			for i := 1; i < 3; i++ {
				if !isNoValue(made[i]) {
					if made[i], err = policyOf(id, made[i]); err != nil {
						return err
					}
				}
			}
			out[i] = map[string]any{"Fn::If": made}
		default:
			if out[i], err = policyOf(id, policy); err != nil {
				return err
			}
		}
	}
	properties["Policies"] = out
	return nil
}

// policyOf makes a policy of a template and its parameters.
func policyOf(id string, policy any) (any, error) {
	name, given, ok := single(policy)
	template := policyTemplates()[name]
	if !ok || template.Definition == nil {
		return nil, errInternal // an Fn::If in an Fn::If
	}
	values, ok := given.(map[string]any)
	if !ok {
		return nil, resourcef(id, "Must specify valid parameter values for policy template '%s'", name)
	}
	var missing []string
	for _, p := range template.Parameters {
		if _, ok := values[p]; !ok {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		return nil, resourcef(id, "Following required parameters of template '%s' don't have values: %s", name, spellList(missing))
	}
	var fill func(any) any
	fill = func(v any) any {
		if function, of, ok := single(v); ok && function == "Ref" {
			if p, ok := of.(string); ok && slices.Contains(template.Parameters, p) {
				return clone(values[p])
			}
			return v
		}
		switch v := v.(type) {
		case map[string]any:
			for name, value := range v {
				v[name] = fill(value)
			}
		case []any:
			for i, value := range v {
				v[i] = fill(value)
			}
		}
		return v
	}
	return fill(clone(template.Definition)), nil
}

// allow is a statement of a policy.
func allow(resource any, actions ...any) map[string]any {
	return map[string]any{"Effect": "Allow", "Action": actions, "Resource": resource}
}

// allowOne is a statement whose action is no list.
func allowOne(resource, action any) map[string]any {
	return map[string]any{"Effect": "Allow", "Action": action, "Resource": resource}
}

// rolePolicy is an inline policy of a role.
func rolePolicy(name string, statements ...any) map[string]any {
	return map[string]any{"PolicyName": name, "PolicyDocument": map[string]any{"Statement": statements}}
}

// sendPolicy is the right to send to a destination. It returns nil for types that
// need none.
func sendPolicy(typ, id string, destination any) map[string]any {
	switch typ {
	case "SQS":
		return rolePolicy(id+"SQSPolicy", allowOne(destination, "sqs:SendMessage"))
	case "SNS":
		return rolePolicy(id+"SNSPolicy", allowOne(destination, "sns:publish"))
	case "EventBridge":
		return rolePolicy(id+"EventBridgePolicy", allowOne(destination, "events:PutEvents"))
	case "Lambda":
		return rolePolicy(id+"LambdaPolicy", allowOne(destination, "lambda:InvokeFunction"))
	case "S3", "S3Bucket":
		within := map[string]any{"Fn::Join": []any{"/", []any{destination, "*"}}}
		return rolePolicy(id+"S3Policy", allowOne(within, "s3:PutObject"), allowOne(destination, "s3:ListBucket"))
	}
	return nil
}

// trust is the document that lets a service assume a role.
func trust(service string) map[string]any {
	return map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
		"Action": []any{"sts:AssumeRole"}, "Effect": "Allow", "Principal": map[string]any{"Service": []any{service}},
	}}}
}

// role makes the role of a function that gives none.
func (t *transform) role(f *function, more []any) (*resource, error) {
	document := f.get("AssumeRolePolicyDocument")
	if document == nil {
		document = trust("lambda.amazonaws.com")
	}
	arns := []any{t.managedPolicy("service-role/AWSLambdaBasicExecutionRole")}
	if isTrue(f.get("DurableConfig")) {
		arns[0] = t.managedPolicy("service-role/AWSLambdaBasicDurableExecutionRolePolicy")
	}
	if traced, err := f.traced(t); err != nil {
		return nil, err
	} else if traced {
		if t.options.Partition == "aws" {
			arns = append(arns, t.managedPolicy("AWSXrayWriteOnlyAccess"))
		} else {
			arns = append(arns, t.managedPolicy("AWSXRayDaemonWriteAccess"))
		}
	}
	if isTrue(f.get("VpcConfig")) {
		arns = append(arns, t.managedPolicy("service-role/AWSLambdaVPCAccessExecutionRole"))
	}
	role := &resource{id: f.id + "Role", typ: "AWS::IAM::Role", attributes: f.inherit(), tagged: true}

	var documents []any
	if dlq, ok := f.get("DeadLetterQueue").(map[string]any); ok && len(dlq) > 0 {
		documents = append(documents, map[string]any{"PolicyName": "DeadLetterQueuePolicy", "PolicyDocument": map[string]any{
			"Version": "2012-10-17", "Statement": []any{allowOne(dlq["TargetArn"], deadLetterActions[dlq["Type"].(string)])},
		}})
	}
	documents = append(documents, more...)
	for i, policy := range policyList(f.get("Policies")) {
		kind, err := kindOf(policy)
		if err != nil {
			return nil, err
		}
		named := func(v any) any {
			return map[string]any{"PolicyName": fmt.Sprintf("%sPolicy%d", role.id, i), "PolicyDocument": v}
		}
		switch {
		case kind == policyDocument && isIf(policy):
			documents = append(documents, eachBranch(policy, named))
		case kind == policyDocument:
			documents = append(documents, named(policy))
		case kind == managedByName:
			byName := func(v any) any {
				if name, ok := v.(string); ok {
					return t.policyARN(name)
				}
				return v
			}
			var arn any
			if isIf(policy) {
				arn = eachBranch(policy, byName)
			} else {
				arn = byName(policy)
			}
			if !contains(arns, arn) {
				arns = append(arns, arn)
			}
		default:
			return nil, resourcef(f.id, "Policy at index %d in the 'Policies' property is not valid", i)
		}
	}
	role.properties = map[string]any{
		"AssumeRolePolicyDocument": document,
		"ManagedPolicyArns":        arns,
		"Path":                     f.get("RolePath"),
		"PermissionsBoundary":      f.get("PermissionsBoundary"),
		"Tags":                     f.tags,
	}
	if len(documents) > 0 {
		role.properties["Policies"] = documents
	}
	return role, nil
}

// eachBranch changes both values of an Fn::If, in place, that are there.
func eachBranch(call any, change func(any) any) any {
	args, err := branches(call)
	if err != nil {
		return call // kindOf has refused it
	}
	for i := 1; i < 3; i++ {
		if !isNoValue(args[i]) {
			args[i] = change(args[i])
		}
	}
	return call
}
