package control

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
)

// Actions that no operation is named after.
const (
	actionInvoke    = "lambda:InvokeFunction"
	actionInvokeURL = "lambda:InvokeFunctionUrl"
	actionGetLayer  = "lambda:GetLayerVersion"
	actionPassRole  = "iam:PassRole"
)

const anything = "*" // the resource of actions that are about none

// lambdaService is what a function's role has to be passed to.
const lambdaService = "lambda.amazonaws.com"

// rule says what an operation takes to be allowed, as the Service Authorization
// Reference has it.
type rule struct {
	action string // where it is not lambda: and the operation's name
	on     func(ctx context.Context, in request) (identity.Need, error)
	// foreign says that a function's policy may allow it to other accounts.
	foreign bool
	// keys adds condition keys, and more that the request takes.
	keys func(ctx context.Context, p *Plane, in request, n *identity.Need) ([]identity.Need, error)
}

// rules are by operation. A test proves that each one that is offered is here.
var rules = map[string]rule{
	"AddLayerVersionPermission":    {on: onLayerVersion},
	"DeleteLayerVersion":           {on: onLayerVersion},
	"GetLayerVersion":              {on: onLayerVersion, foreign: true},
	"GetLayerVersionByArn":         {on: onLayerVersionARN, action: actionGetLayer, foreign: true},
	"GetLayerVersionPolicy":        {on: onLayerVersion},
	"RemoveLayerVersionPermission": {on: onLayerVersion},
	"PublishLayerVersion":          {on: onLayer, keys: readsObject},
	"ListLayerVersions":            {on: onAnything},
	"ListLayers":                   {on: onAnything},

	"CreateFunction":              {on: onFunction, keys: createsFunction},
	"UpdateFunctionConfiguration": {on: onFunction, keys: configuresFunction},
	"UpdateFunctionCode":          {on: onFunction, foreign: true, keys: readsObject},
	"DeleteFunction":              {on: onQualified, foreign: true},
	"GetFunction":                 {on: onQualified, foreign: true},
	"GetFunctionConfiguration":    {on: onQualified, foreign: true},
	"ListFunctions":               {on: onAnything},
	"GetAccountSettings":          {on: onAnything},
	"PublishVersion":              {on: onFunction, foreign: true},
	"ListVersionsByFunction":      {on: onFunction, foreign: true},
	"CreateAlias":                 {on: onFunction, foreign: true},
	"GetAlias":                    {on: onFunction, foreign: true},
	"UpdateAlias":                 {on: onFunction, foreign: true},
	"DeleteAlias":                 {on: onFunction, foreign: true},
	"ListAliases":                 {on: onFunction, foreign: true},

	"Invoke":                   {on: onQualified, action: actionInvoke, foreign: true},
	"InvokeWithResponseStream": {on: onQualified, action: actionInvoke, foreign: true},
	"InvokeAsync":              {on: onFunction, foreign: true},

	"AddPermission":    {on: onQualified, keys: grants},
	"RemovePermission": {on: onQualified},
	"GetPolicy":        {on: onQualified, foreign: true},

	"PutFunctionConcurrency":             {on: onFunction, foreign: true},
	"GetFunctionConcurrency":             {on: onFunction, foreign: true},
	"DeleteFunctionConcurrency":          {on: onFunction, foreign: true},
	"PutProvisionedConcurrencyConfig":    {on: onQualified, foreign: true},
	"GetProvisionedConcurrencyConfig":    {on: onQualified, foreign: true},
	"DeleteProvisionedConcurrencyConfig": {on: onQualified, foreign: true},
	"ListProvisionedConcurrencyConfigs":  {on: onFunction, foreign: true},
	"GetFunctionScalingConfig":           {on: onQualified},
	"PutFunctionScalingConfig":           {on: onQualified},
	"GetFunctionRecursionConfig":         {on: onFunction},
	"PutFunctionRecursionConfig":         {on: onFunction},
	"GetRuntimeManagementConfig":         {on: onFunction},
	"PutRuntimeManagementConfig":         {on: onFunction},

	"PutFunctionEventInvokeConfig":    {on: onQualified, foreign: true},
	"UpdateFunctionEventInvokeConfig": {on: onQualified, foreign: true},
	"GetFunctionEventInvokeConfig":    {on: onQualified, foreign: true},
	"DeleteFunctionEventInvokeConfig": {on: onQualified, foreign: true},
	"ListFunctionEventInvokeConfigs":  {on: onFunction, foreign: true},

	"CreateFunctionUrlConfig": {on: onFunction, keys: setsURL},
	"UpdateFunctionUrlConfig": {on: onFunction, keys: setsURL},
	"GetFunctionUrlConfig":    {on: onFunction, keys: setsURL},
	"DeleteFunctionUrlConfig": {on: onFunction, keys: setsURL},
	"ListFunctionUrlConfigs":  {on: onFunction, keys: setsURL},

	"CreateEventSourceMapping": {on: onAnything, keys: mapsFunction},
	"UpdateEventSourceMapping": {on: onMapping, keys: mapsFunction},
	"GetEventSourceMapping":    {on: onMapping, keys: mapsFunction},
	"DeleteEventSourceMapping": {on: onMapping, keys: mapsFunction},
	"ListEventSourceMappings":  {on: onAnything, keys: mapsFunction},

	"CreateCodeSigningConfig":          {on: onAnything, keys: tagsResource},
	"GetCodeSigningConfig":             {on: onSigningConfig},
	"UpdateCodeSigningConfig":          {on: onSigningConfig},
	"DeleteCodeSigningConfig":          {on: onSigningConfig},
	"ListFunctionsByCodeSigningConfig": {on: onSigningConfig},
	"ListCodeSigningConfigs":           {on: onAnything},
	"PutFunctionCodeSigningConfig":     {on: onFunction, keys: signsFunction},
	"GetFunctionCodeSigningConfig":     {on: onFunction},
	"DeleteFunctionCodeSigningConfig":  {on: onFunction},

	"TagResource":   {on: onTagged, foreign: true, keys: tagsResource},
	"UntagResource": {on: onTagged, foreign: true, keys: tagsResource},
	"ListTags":      {on: onTagged, foreign: true},
}

// Authorize answers the exception of a caller who may not do what the request
// asks for. The request is one of wire's, checked. The context that it returns
// lets the operation reach what of another account's was permitted.
func (p *Plane) Authorize(ctx context.Context, operation string, in any) (context.Context, error) {
	c := caller(ctx)
	if c.IsRoot() && !reaches(in, c.Account) {
		return ctx, nil // what is the account's own may be done by its root; the rest of the rules costs time
	}
	needs, err := p.needs(withForeign(ctx, anything), operation, request{reflect.ValueOf(in).Elem()})
	if err != nil {
		return ctx, err
	}
	for _, n := range needs {
		if err := p.permit(ctx, n); err != nil {
			return ctx, err
		}
		if n.Account != c.Account {
			ctx = withForeign(ctx, n.Resource)
		}
	}
	return ctx, nil
}

type foreignKey struct{}

// withForeign lets what handles ctx reach a resource of another account: an ARN,
// or anything while it is only looked at.
func withForeign(ctx context.Context, arn string) context.Context {
	have, _ := ctx.Value(foreignKey{}).([]string)
	return context.WithValue(ctx, foreignKey{}, append(slices.Clip(have), arn))
}

// mayReach reports whether ctx lets its handler reach an ARN of another account,
// or a version of it.
func mayReach(ctx context.Context, arn string) bool {
	have, _ := ctx.Value(foreignKey{}).([]string)
	return slices.ContainsFunc(have, func(a string) bool { return a == anything || a == arn || strings.HasPrefix(a, arn+":") })
}

// reaches reports whether a request may be about another account's resources.
func reaches(in any, account string) bool {
	r := request{reflect.ValueOf(in).Elem()}
	for _, member := range []string{"FunctionName", "LayerName", "Arn", "Resource", "CodeSigningConfigArn"} {
		if v := r.text(member); strings.Contains(v, ":") && !strings.Contains(v, ":"+account+":") && !strings.HasPrefix(v, account+":") {
			return true
		}
	}
	return false
}

// needs lists what a request takes.
func (p *Plane) needs(ctx context.Context, operation string, in request) ([]identity.Need, error) {
	r, ok := rules[operation]
	if !ok {
		return nil, fmt.Errorf("control: operation %s has no rule", operation)
	}
	n, err := r.on(ctx, in)
	if err != nil {
		return nil, err
	}
	if n.Action = r.action; n.Action == "" {
		n.Action = "lambda:" + operation
	}
	if !r.foreign {
		n.Policy = ""
	}
	var more []identity.Need
	if r.keys != nil {
		if more, err = r.keys(ctx, p, in, &n); err != nil {
			return nil, err
		}
	}
	return append([]identity.Need{n}, more...), nil
}

// permit answers the exception of a caller who lacks a permission.
func (p *Plane) permit(ctx context.Context, n identity.Need) error {
	return p.authority.Permit(ctx, caller(ctx), n)
}

// ownAccount is the authority where there is no other: everybody has their own
// account, and nothing else.
type ownAccount struct{}

func (ownAccount) Permit(_ context.Context, c identity.Caller, n identity.Need) error {
	if n.Account != "" && n.Account != c.Account {
		return wire.AccessDenied.Errorf("User: %s is not authorized to perform: %s on resource: %s because no resource-based policy allows the %s action",
			c.ARN, n.Action, n.Resource, n.Action)
	}
	return nil
}

func (ownAccount) Serves(context.Context, string, string) error { return nil }

// request reads members of a request by name, whatever its type.
type request struct{ reflect.Value }

// text is a member that is a string or a pointer to one; empty when there is none.
func (r request) text(member string) string {
	v := r.FieldByName(member)
	if !v.IsValid() {
		return ""
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	if v.Kind() != reflect.String {
		return ""
	}
	return v.String()
}

func (r request) texts(member string) []string {
	v, _ := r.member(member).([]string)
	return v
}

// tags are the keys and values of the request's tags.
func (r request) tags() map[string]string {
	v, _ := r.member("Tags").(map[string]string)
	return v
}

func (r request) member(name string) any {
	v := r.FieldByName(name)
	if !v.IsValid() {
		return nil
	}
	return v.Interface()
}

func onAnything(ctx context.Context, _ request) (identity.Need, error) {
	return identity.Need{Resource: anything, Account: caller(ctx).Account}, nil
}

// onQualified is about what FunctionName and Qualifier name together.
func onQualified(ctx context.Context, in request) (identity.Need, error) {
	ref, err := named(ctx, in)
	if err != nil {
		return identity.Need{}, err
	}
	arn := ref.QualifiedARN(ref.Qualifier)
	if ref.Qualifier == lamina.Latest {
		arn = ref.ARN() // has no policy of its own
	}
	return identity.Need{Resource: arn, Account: ref.Account, Policy: arn}, nil
}

// onFunction is about a function, whatever version is meant.
func onFunction(ctx context.Context, in request) (identity.Need, error) {
	ref, err := named(ctx, in)
	if err != nil {
		return identity.Need{}, err
	}
	return identity.Need{Resource: ref.ARN(), Account: ref.Account, Policy: ref.ARN()}, nil
}

func named(ctx context.Context, in request) (reference, error) {
	qualifier := in.text("Qualifier")
	return resolve(ctx, in.text("FunctionName"), &qualifier)
}

func onLayer(ctx context.Context, in request) (identity.Need, error) {
	id, err := layerReference(ctx, in.text("LayerName"))
	if err != nil {
		return identity.Need{}, err
	}
	return identity.Need{Resource: id.ARN(), Account: id.Account}, nil
}

func onLayerVersion(ctx context.Context, in request) (identity.Need, error) {
	n, err := onLayer(ctx, in)
	n.Resource += fmt.Sprintf(":%d", in.FieldByName("VersionNumber").Int())
	n.Policy = n.Resource
	return n, err
}

func onLayerVersionARN(ctx context.Context, in request) (identity.Need, error) {
	ref, ok := lamina.ParseLayerReference(in.text("Arn"))
	if !ok {
		return identity.Need{}, errNoLayer
	}
	return needLayer(ref.ID(scope(ctx)), ref.Version), nil
}

// needLayer is what using a layer version takes.
func needLayer(id lamina.LayerID, number int64) identity.Need {
	arn := id.VersionARN(number)
	return identity.Need{Action: actionGetLayer, Resource: arn, Account: id.Account, Policy: arn}
}

func onMapping(ctx context.Context, in request) (identity.Need, error) {
	s := scope(ctx)
	return identity.Need{
		Resource: "arn:" + lamina.Partition + ":lambda:" + s.Region + ":" + s.Account + ":event-source-mapping:" + strings.ToLower(in.text("UUID")),
		Account:  s.Account,
	}, nil
}

func onSigningConfig(ctx context.Context, in request) (identity.Need, error) {
	return onARN(ctx, in.text("CodeSigningConfigArn")), nil
}

// onTagged is about any resource that has tags. Functions have policies besides.
func onTagged(ctx context.Context, in request) (identity.Need, error) {
	n := onARN(ctx, in.text("Resource"))
	if parts := strings.SplitN(n.Resource, ":", 7); len(parts) == 7 && parts[5] == "function" {
		n.Policy = n.Resource
	}
	return n, nil
}

// onARN is about a resource whose ARN the client wrote.
func onARN(ctx context.Context, arn string) identity.Need {
	n := identity.Need{Resource: arn, Account: caller(ctx).Account}
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 && parts[4] != "" {
		n.Account = parts[4]
	}
	return n
}

// createsFunction is about a role that the function gets, archives, layers and tags.
func createsFunction(ctx context.Context, p *Plane, in request, n *identity.Need) ([]identity.Need, error) {
	more, err := configuresFunction(ctx, p, in, n)
	if err != nil {
		return nil, err
	}
	if tags := in.tags(); len(tags) > 0 {
		tag := *n
		tag.Action, tag.Context = "lambda:TagResource", map[string][]string{}
		tagKeys(tags, nil, &tag)
		tagKeys(tags, nil, n)
		more = append(more, tag)
	}
	if arn := in.text("CodeSigningConfigArn"); arn != "" {
		n.Set("lambda:CodeSigningConfigArn", arn)
	}
	object, err := readsObject(ctx, p, in, n)
	return append(more, object...), err
}

// configuresFunction is about what a function's configuration refers to. Layers
// are checked where they are read.
func configuresFunction(_ context.Context, _ *Plane, in request, n *identity.Need) ([]identity.Need, error) {
	if layers := in.texts("Layers"); len(layers) > 0 {
		n.Set("lambda:Layer", layers...)
	}
	if vpc, ok := in.member("VpcConfig").(*wire.VpcConfig); ok && vpc != nil {
		if len(vpc.SubnetIds) > 0 {
			n.Set("lambda:SubnetIds", vpc.SubnetIds...)
		}
		if len(vpc.SecurityGroupIds) > 0 {
			n.Set("lambda:SecurityGroupIds", vpc.SecurityGroupIds...)
		}
	}
	role := in.text("Role")
	if role == "" {
		return nil, nil
	}
	pass := identity.Need{Action: actionPassRole, Resource: role}
	if parts := strings.SplitN(role, ":", 6); len(parts) == 6 {
		pass.Account = parts[4]
	}
	pass.Set("iam:PassedToService", lambdaService)
	pass.Set("iam:AssociatedResourceArn", n.Resource)
	return []identity.Need{pass}, nil
}

// readsObject is about an archive in S3.
func readsObject(ctx context.Context, _ *Plane, in request, _ *identity.Need) ([]identity.Need, error) {
	source := in
	for _, member := range []string{"Content", "Code"} {
		if v := in.FieldByName(member); v.IsValid() && v.Kind() == reflect.Struct {
			source = request{v}
		} else if v.IsValid() && v.Kind() == reflect.Pointer && !v.IsNil() {
			source = request{v.Elem()}
		}
	}
	bucket, key := source.text("S3Bucket"), source.text("S3Key")
	if bucket == "" {
		return nil, nil
	}
	action := "s3:GetObject"
	if source.text("S3ObjectVersion") != "" {
		action = "s3:GetObjectVersion"
	}
	return []identity.Need{{
		Action: action, Resource: "arn:" + lamina.Partition + ":s3:::" + bucket + "/" + key, Account: caller(ctx).Account,
	}}, nil
}

func grants(_ context.Context, _ *Plane, in request, n *identity.Need) ([]identity.Need, error) {
	n.Set("lambda:Principal", in.text("Principal"))
	return urlKeys(in, n), nil
}

func setsURL(_ context.Context, _ *Plane, in request, n *identity.Need) ([]identity.Need, error) {
	return urlKeys(in, n), nil
}

// urlKeys adds the condition keys about function URLs. It needs nothing more.
func urlKeys(in request, n *identity.Need) []identity.Need {
	for _, member := range []string{"AuthType", "FunctionUrlAuthType"} {
		if v := in.text(member); v != "" {
			n.Set("lambda:FunctionUrlAuthType", v)
		}
	}
	n.Set("lambda:FunctionArn", n.Resource)
	return nil
}

// mapsFunction tells the function of a mapping: the one that the request names,
// else the one that it has.
func mapsFunction(ctx context.Context, p *Plane, in request, n *identity.Need) ([]identity.Need, error) {
	if in.text("FunctionName") != "" {
		ref, err := named(ctx, in)
		if err != nil {
			return nil, err
		}
		n.Set("lambda:FunctionArn", ref.arn())
		return nil, nil
	}
	id := in.text("UUID")
	if id == "" {
		return nil, nil
	}
	err := p.store.View(ctx, func(tx *store.Tx) error {
		m, err := tx.EventSourceMapping(ctx, scope(ctx), id)
		if err == nil {
			n.Set("lambda:FunctionArn", m.FunctionARN)
		}
		return ignoreMissing(err)
	})
	return nil, err
}

// signsFunction takes a permission on the code signing config as well.
func signsFunction(ctx context.Context, _ *Plane, in request, n *identity.Need) ([]identity.Need, error) {
	config := onARN(ctx, in.text("CodeSigningConfigArn"))
	config.Action = n.Action
	n.Set("lambda:CodeSigningConfigArn", config.Resource)
	return []identity.Need{config}, nil
}

func tagsResource(_ context.Context, _ *Plane, in request, n *identity.Need) ([]identity.Need, error) {
	tagKeys(in.tags(), in.texts("TagKeys"), n)
	return nil, nil
}

// tagKeys are the condition keys about tags in a request.
func tagKeys(tags map[string]string, keys []string, n *identity.Need) {
	for key, value := range tags {
		n.Set("aws:RequestTag/"+key, value)
		keys = append(keys, key)
	}
	if len(keys) > 0 {
		slices.Sort(keys)
		n.Set("aws:TagKeys", keys...)
	}
}
