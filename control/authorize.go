package control

import (
	"context"
	"fmt"
	"maps"
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
	"RemovePermission": {on: onQualified, keys: removes},
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

	"CreateCodeSigningConfig":          {on: onAnything, keys: createsSigningConfig},
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

func (ownAccount) Serves(context.Context, string, string, string) error { return nil }

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
	return identity.Need{Resource: arn, Account: ref.Account, Policy: arn, Tagged: ref.ARN()}, nil
}

// onFunction is about a function, whatever version is meant.
func onFunction(ctx context.Context, in request) (identity.Need, error) {
	ref, err := named(ctx, in)
	if err != nil {
		return identity.Need{}, err
	}
	return identity.Need{Resource: ref.ARN(), Account: ref.Account, Policy: ref.ARN(), Tagged: ref.ARN()}, nil
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
	arn := lamina.EventSourceMapping{Scope: s, UUID: strings.ToLower(in.text("UUID"))}.ARN()
	return identity.Need{Resource: arn, Account: s.Account, Tagged: arn}, nil
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

// onARN is about a resource whose ARN the client wrote. The IDs of mappings may be
// written in any case.
func onARN(ctx context.Context, arn string) identity.Need {
	parts := strings.SplitN(arn, ":", 7)
	if len(parts) == 7 && parts[5] == "event-source-mapping" {
		arn = strings.ToLower(arn)
	}
	n := identity.Need{Resource: arn, Account: caller(ctx).Account, Tagged: arn}
	if len(parts) > 5 && parts[4] != "" {
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
	tag, err := createsTagged(ctx, p, in, n)
	if err != nil {
		return nil, err
	}
	if arn := in.text("CodeSigningConfigArn"); arn != "" {
		n.Set("lambda:CodeSigningConfigArn", arn)
	}
	object, err := readsObject(ctx, p, in, n)
	return slices.Concat(more, tag, object), err
}

// createsTagged is about the tags that something new gets: they take a permission
// of their own.
func createsTagged(_ context.Context, _ *Plane, in request, n *identity.Need) ([]identity.Need, error) {
	tags := in.tags()
	if len(tags) == 0 {
		return nil, nil
	}
	if err := tagKeys(tags, nil, n); err != nil {
		return nil, err
	}
	tag := identity.Need{Action: "lambda:TagResource", Resource: n.Resource, Account: n.Account}
	return []identity.Need{tag}, tagKeys(tags, nil, &tag)
}

// configuresFunction is about what a function's configuration refers to. The
// layers' own permissions are asked for where the layers are read.
func configuresFunction(ctx context.Context, _ *Plane, in request, n *identity.Need) ([]identity.Need, error) {
	if layers := in.texts("Layers"); len(layers) > 0 {
		named := slices.Clone(layers)
		for i, arn := range named {
			if ref, ok := lamina.ParseLayerReference(arn); ok { // each has one spelling, whatever the client's was
				named[i] = ref.ID(scope(ctx)).VersionARN(ref.Version)
			}
		}
		n.Set("lambda:Layer", named...)
	}
	if vpc, ok := in.member("VpcConfig").(*wire.VpcConfig); ok && vpc != nil {
		n.Set("lambda:SubnetIds", vpc.SubnetIds...)
		n.Set("lambda:SecurityGroupIds", vpc.SecurityGroupIds...)
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
func readsObject(ctx context.Context, p *Plane, in request, _ *identity.Need) ([]identity.Need, error) {
	if p.objectsDecide {
		return nil, nil
	}
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
	n.Set("lambda:Principal", spellings(in.text("Principal"))...)
	return urlKeys(in, n), nil
}

// spellings are the ways to write a principal: an account is its number, or the
// ARN of its root.
func spellings(who string) []string {
	const before, after = "arn:" + lamina.Partition + ":iam::", ":root"
	if accountID.MatchString(who) {
		return []string{who, before + who + after}
	}
	if id := strings.TrimSuffix(strings.TrimPrefix(who, before), after); accountID.MatchString(id) {
		return []string{who, id}
	}
	return []string{who}
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

// removes tells who loses a permission, and the condition of URLs that it had.
func removes(ctx context.Context, p *Plane, in request, n *identity.Need) ([]identity.Need, error) {
	if n.Account != caller(ctx).Account {
		return nil, nil // is not going to be allowed
	}
	ref, err := named(ctx, in)
	if err != nil {
		return nil, err
	}
	err = p.store.View(ctx, func(tx *store.Tx) error {
		policy, err := tx.Policy(ctx, ref.arn())
		if err != nil {
			return ignoreMissing(err)
		}
		if s, ok := policy.Find(in.text("StatementId")); ok {
			n.Set("lambda:Principal", spellings(s.Principal.Value)...)
			if auth := s.Condition["StringEquals"]["lambda:FunctionUrlAuthType"]; auth != "" {
				n.Set("lambda:FunctionUrlAuthType", auth)
			}
		}
		return nil
	})
	return nil, err
}

// mapsFunction tells the functions of a mapping: the one that the request names,
// and the one that it has. Both have to be allowed.
func mapsFunction(ctx context.Context, p *Plane, in request, n *identity.Need) ([]identity.Need, error) {
	more, err := createsTagged(ctx, p, in, n)
	if err != nil {
		return nil, err
	}
	if len(more) > 0 {
		more[0].Resource = lamina.EventSourceMapping{Scope: scope(ctx), UUID: anything}.ARN()
	}
	var functions []string
	if in.text("FunctionName") != "" {
		ref, err := named(ctx, in)
		if err != nil {
			return nil, err
		}
		functions = append(functions, ref.arn())
	}
	if id := in.text("UUID"); id != "" {
		err := p.store.View(ctx, func(tx *store.Tx) error {
			m, err := tx.EventSourceMapping(ctx, scope(ctx), id)
			if err == nil && !slices.Contains(functions, m.FunctionARN) {
				functions = append(functions, m.FunctionARN)
			}
			return ignoreMissing(err)
		})
		if err != nil {
			return nil, err
		}
	}
	for i, arn := range functions {
		if i == 0 {
			n.Set("lambda:FunctionArn", arn)
			continue
		}
		other := *n
		other.Context = maps.Clone(n.Context)
		other.Set("lambda:FunctionArn", arn)
		more = append(more, other)
	}
	return more, nil
}

// createsSigningConfig is about its tags.
func createsSigningConfig(ctx context.Context, p *Plane, in request, n *identity.Need) ([]identity.Need, error) {
	more, err := createsTagged(ctx, p, in, n)
	for i := range more {
		more[i].Resource = lamina.CodeSigningConfig{Scope: scope(ctx), ID: anything}.ARN()
	}
	return more, err
}

// signsFunction takes a permission on the code signing config as well.
func signsFunction(ctx context.Context, _ *Plane, in request, n *identity.Need) ([]identity.Need, error) {
	config := onARN(ctx, in.text("CodeSigningConfigArn"))
	config.Action = n.Action
	config.Set("lambda:CodeSigningConfigArn", config.Resource)
	n.Set("lambda:CodeSigningConfigArn", config.Resource)
	return []identity.Need{config}, nil
}

func tagsResource(_ context.Context, _ *Plane, in request, n *identity.Need) ([]identity.Need, error) {
	return nil, tagKeys(in.tags(), in.texts("TagKeys"), n)
}

// tagKeys are the condition keys about tags in a request. Conditions do not
// mind the case of a tag's key, so of two that differ in nothing else a policy
// could not tell which is meant.
func tagKeys(tags map[string]string, keys []string, n *identity.Need) error {
	seen := map[string]bool{}
	keys = slices.Clone(keys) // the request's
	for key, value := range tags {
		if seen[strings.ToLower(key)] {
			return wire.InvalidParameterValue.Errorf("Duplicate tag keys found. Tag keys are case insensitive for users and roles: %s", key)
		}
		seen[strings.ToLower(key)] = true
		n.Set("aws:RequestTag/"+key, value)
		keys = append(keys, key)
	}
	slices.Sort(keys)
	n.Set("aws:TagKeys", keys...)
	return nil
}
