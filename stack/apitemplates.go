package stack

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/stack/sam"
	"github.com/lamina-run/lamina/stack/template"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire/query"
)

// maxTemplateBody bounds a template that is in the request, in bytes.
const maxTemplateBody = 51200

// template returns the template that a request has, empty when it has none.
func (a *api) template(ctx context.Context, in request) (string, error) {
	body, at := in.Given("TemplateBody"), in.Given("TemplateURL")
	switch {
	case body != nil && at != nil:
		return "", Validation.New("Template Body and Template URL cannot both be specified.")
	case body != nil && *body == "":
		return "", Validation.New("1 validation error detected: Value '' at 'templateBody' failed to satisfy constraint: Member must have length greater than or equal to 1")
	case body != nil && len(*body) > maxTemplateBody:
		return "", Validation.Errorf("1 validation error detected: Value at 'templateBody' failed to satisfy constraint: Member must have length less than or equal to %d", maxTemplateBody)
	case body != nil:
		return *body, nil
	case at != nil:
		return a.fetch(ctx, *at)
	}
	return "", nil
}

// object is an object of S3.
type object struct{ bucket, key, version string }

// objectOf reads the URL of an object in any style. Own is the host that the
// client knows this server by.
func objectOf(text, own string) (object, error) {
	u, err := url.Parse(text)
	if err != nil || len(text) > 5120 {
		return object{}, Validation.New("TemplateURL must be a supported URL.")
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		if u.Scheme == "s3" {
			return object{}, Validation.Errorf("S3 error: Domain name specified in %s is not a valid S3 domain", query.Printable(u.Host))
		}
		return object{}, Validation.New("TemplateURL must be a supported URL.")
	}
	o := object{version: u.Query().Get("versionId")}
	path := strings.TrimPrefix(u.Path, "/")
	bucket, ok := bucketOf(u, own)
	if !ok {
		return object{}, Validation.Errorf("S3 error: Domain name specified in %s is not a valid S3 domain", query.Printable(u.Hostname()))
	}
	if o.bucket = bucket; bucket == "" {
		o.bucket, path, _ = strings.Cut(path, "/")
	}
	if o.key = path; o.bucket == "" || o.key == "" || strings.Contains(o.bucket, "..") {
		return object{}, Validation.New("TemplateURL must reference a valid S3 object to which you have access.")
	}
	return o, nil
}

// bucketOf returns the bucket that is in a URL's host, empty when it is in its
// path. ok is false for a host that is no S3.
func bucketOf(u *url.URL, own string) (bucket string, ok bool) {
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	ownHost := strings.ToLower(own)
	if h, _, err := net.SplitHostPort(ownHost); err == nil {
		ownHost = h
	}
	local := host == ownHost || host == "localhost"
	if at, err := netip.ParseAddr(host); err == nil {
		return "", local || at.IsLoopback()
	}
	for _, domain := range []string{".amazonaws.com", ".amazonaws.com.cn"} {
		name, found := strings.CutSuffix(host, domain)
		if !found {
			continue
		}
		// s3, s3.region, s3-region, s3.dualstack.region, and each after a bucket.
		labels := strings.Split(name, ".")
		for i, label := range labels {
			if label == "s3" && len(labels)-i <= 3 || strings.HasPrefix(label, "s3-") && len(labels)-i <= 3 {
				return strings.Join(labels[:i], "."), true
			}
		}
		return "", false
	}
	if local {
		return "", true
	}
	for _, suffix := range []string{ownHost, "localhost"} {
		if name, found := strings.CutSuffix(host, ".s3."+suffix); found && suffix != "" {
			return name, true
		}
		if host == "s3."+suffix {
			return "", true
		}
		if name, found := strings.CutSuffix(host, "."+suffix); found && suffix != "" {
			return name, true
		}
	}
	return "", false
}

// fetch reads a template out of S3, with the caller's rights.
func (a *api) fetch(ctx context.Context, at string) (string, error) {
	own, _ := ctx.Value(hostKey{}).(string)
	o, err := objectOf(at, own)
	if err != nil {
		return "", err
	}
	u := url.URL{Scheme: "http", Host: "s3.localhost", Path: "/" + o.bucket + "/" + o.key}
	if o.version != "" {
		u.RawQuery = url.Values{"versionId": {o.version}}.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", Validation.New("TemplateURL must be a supported URL.")
	}
	resp, err := a.Services.Do("s3", req)
	if err != nil {
		return "", fmt.Errorf("read template %s: %w", query.Printable(at), err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", refusedByS3(resp)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, template.MaxBytes+1))
	if err != nil {
		return "", fmt.Errorf("read template %s: %w", query.Printable(at), err)
	}
	if len(text) > template.MaxBytes {
		return "", Validation.Errorf("Template may not exceed %d bytes in size.", template.MaxBytes)
	}
	return string(text), nil
}

// refusedByS3 is an error of S3 in CloudFormation's words.
func refusedByS3(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	var said struct{ Code, Message string }
	if err == nil {
		err = xml.Unmarshal(text, &said)
	}
	if err != nil || resp.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("read template: S3 answers %s", resp.Status)
	}
	return Validation.Errorf("S3 error: %s\nFor more information check http://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html", query.Printable(said.Message))
}

// source is a template that was read.
type source struct {
	text string
	body map[string]any
	t    *template.Template
}

// read parses and checks a template as the client wrote it.
func (a *api) read(text string) (*source, error) {
	body, err := template.Parse(text)
	if err != nil {
		return nil, err
	}
	if err := template.CheckExtensions(body); err != nil {
		return nil, err
	}
	t, err := template.Read(body)
	if err != nil {
		return nil, err
	}
	for _, name := range t.Transforms {
		if name != template.Serverless && name != template.Extensions {
			return nil, Validation.Errorf("No transform named %s found.", query.Printable(name))
		}
	}
	return &source{text: text, body: body, t: t}, nil
}

// transform makes of a template what the engine works with. The extensions come
// first, wherever they are named: SAM has to know what they make.
func (a *api) transform(ctx context.Context, in request, src *source, values map[string]string) (Source, error) {
	out := Source{Original: src.text}
	if len(src.t.Transforms) == 0 {
		return out, nil
	}
	for name, p := range src.t.Parameters {
		if v, ok := values[name]; ok && p.SSM() {
			resolved, _, err := a.Engine.o.Parameters.StackParameter(ctx, v)
			if err != nil {
				return Source{}, err
			}
			values[name] = resolved
		}
	}
	scope := in.scope()
	body, err := template.Extend(src.body, values, template.Pseudo{
		AccountID: scope.Account, Region: scope.Region, Partition: lamina.Partition, URLSuffix: "amazonaws.com", StackName: in.Get("StackName"),
	})
	if err != nil {
		return Source{}, err
	}
	if slices.Contains(src.t.Transforms, template.Serverless) {
		given := make(map[string]any, len(values))
		for name, v := range values {
			given[name] = src.t.Parameters[name].Value(v)
		}
		body, err = sam.Transform(body, sam.Options{Region: scope.Region, Partition: lamina.Partition, Parameters: given, Order: template.Order(src.text)})
		if wrong, ok := errors.AsType[*sam.Error](err); ok {
			return Source{}, Validation.Errorf("Transform %s failed with: %s", template.Serverless, wrong.Error())
		}
		if err != nil {
			return Source{}, Validation.Errorf("Transform %s failed with: %s", template.Serverless, err.Error())
		}
	}
	if out.Processed, err = template.JSON(body); err != nil {
		return Source{}, err
	}
	if len(out.Processed) > template.MaxBytes {
		return Source{}, Validation.Errorf("Template may not exceed %d bytes in size.", template.MaxBytes)
	}
	return out, nil
}

// Capabilities.
const (
	capabilityIAM   = "CAPABILITY_IAM"
	capabilityNamed = "CAPABILITY_NAMED_IAM"
	capabilityAuto  = "CAPABILITY_AUTO_EXPAND"
)

// powers are the types whose resources give rights, and the property that names
// them.
var powers = map[string]string{
	"AWS::IAM::AccessKey": "", "AWS::IAM::Group": "GroupName", "AWS::IAM::InstanceProfile": "InstanceProfileName",
	"AWS::IAM::ManagedPolicy": "ManagedPolicyName", "AWS::IAM::Policy": "", "AWS::IAM::Role": "RoleName", "AWS::IAM::User": "UserName",
	"AWS::IAM::UserToGroupAddition": "", "AWS::IAM::UserPolicy": "", "AWS::IAM::RolePolicy": "", "AWS::IAM::GroupPolicy": "",
}

// capabilities are those that a template needs, and the types because of which.
func capabilities(t *template.Template) (needs, because []string) {
	var iam, named bool
	for _, res := range t.Resources {
		name, ok := powers[res.Type]
		if res.Type == "AWS::Serverless::Function" && res.Properties["Role"] == nil {
			name, ok = "", true // it gets one
		}
		if !ok {
			continue
		}
		iam = true
		if name != "" && res.Properties[name] != nil {
			named = true
		}
		because = append(because, res.Type)
	}
	slices.Sort(because)
	switch {
	case named:
		needs = append(needs, capabilityNamed)
	case iam:
		needs = append(needs, capabilityIAM)
	}
	return needs, slices.Compact(because)
}

// capable refuses a template that needs more than the client acknowledges.
func capable(given []string, t *template.Template) error {
	needs, _ := capabilities(t)
	for _, need := range needs {
		if !slices.Contains(given, need) && !(need == capabilityIAM && slices.Contains(given, capabilityNamed)) {
			return InsufficientCapabilities.Errorf("Requires capabilities : [%s]", need)
		}
	}
	return nil
}

// summarize tells the capabilities that a template needs, and why, as ValidateTemplate and
// GetTemplateSummary tell them.
func summarize(t *template.Template) (needs []string, reason *string) {
	needs, types := capabilities(t)
	if len(t.Transforms) > 0 {
		needs = append(needs, capabilityAuto)
	}
	for _, res := range t.Resources {
		if res.Type == nestedType && !slices.Contains(types, nestedType) {
			needs, types = []string{capabilityNamed, capabilityAuto}, append(types, nestedType) // what is in it is not known
		}
	}
	if len(types) > 0 {
		text := "The following resource(s) require capabilities: [" + strings.Join(types, ", ") + "]"
		reason = &text
	}
	return needs, reason
}

type templateParameterXML struct {
	ParameterKey string
	DefaultValue *string `xml:",omitempty"`
	NoEcho       bool
	Description  string `xml:",omitempty"`
}

// ValidateTemplate checks a template as far as that can be done without values for
// its parameters.
func (a *api) ValidateTemplate(ctx context.Context, in request) (any, error) {
	text, err := a.template(ctx, in)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, Validation.New("Either Template URL or Template Body must be specified.")
	}
	src, err := a.read(text)
	if err != nil {
		return nil, err
	}
	if err := a.known(src.t); err != nil {
		return nil, err
	}
	result := struct {
		Parameters         members[templateParameterXML]
		Description        string           `xml:",omitempty"`
		Capabilities       *members[string] `xml:",omitempty"`
		CapabilitiesReason *string          `xml:",omitempty"`
		DeclaredTransforms *members[string] `xml:",omitempty"`
	}{Description: src.t.Description, DeclaredTransforms: some(src.t.Transforms)}
	for _, name := range slices.Sorted(maps.Keys(src.t.Parameters)) {
		p := src.t.Parameters[name]
		result.Parameters.All = append(result.Parameters.All, templateParameterXML{name, p.Default, p.NoEcho, p.Description})
	}
	needs, reason := summarize(src.t)
	result.Capabilities, result.CapabilitiesReason = some(needs), reason
	return result, nil
}

// known refuses types of resources that nobody makes.
func (a *api) known(t *template.Template) error {
	if slices.Contains(t.Transforms, template.Serverless) {
		return nil // it has types of its own, and what it makes of them is known later
	}
	var unknown []string
	for _, res := range t.Resources {
		if _, ok := a.types.Type(res.Type); !ok {
			unknown = append(unknown, query.Printable(res.Type))
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return Validation.Errorf("Template format error: Unrecognized resource types: [%s]", strings.Join(slices.Compact(unknown), ", "))
	}
	return nil
}

// GetTemplate returns the template of a stack or a change set.
func (a *api) GetTemplate(ctx context.Context, in request) (any, error) {
	stage, err := in.one("TemplateStage", "Original", "Processed")
	if err != nil {
		return nil, err
	}
	set, err := in.sized("ChangeSetName", false, longest, changeSetName)
	if err != nil {
		return nil, err
	}
	if set == "" || !strings.HasPrefix(set, "arn:") {
		if in.Get("StackName") == "" {
			return nil, Validation.New("StackName is a required parameter.")
		}
	}
	var t store.StackTemplate
	err = a.view(ctx, func(tx *store.Tx) error {
		id, digest := "", ""
		if set != "" {
			c, err := a.Engine.FindChangeSet(ctx, tx, in.Get("StackName"), set)
			if err != nil {
				return err
			}
			id, digest = c.Stack, c.Template
		} else {
			s, err := a.find(ctx, tx, in.Get("StackName"))
			if err != nil {
				return err
			}
			id, digest = s.ID, s.Template
		}
		if digest == "" {
			return nil // of a stack that has none yet
		}
		var err error
		t, err = tx.StackTemplate(ctx, id, digest)
		return err
	})
	if err != nil {
		return nil, err
	}
	body := t.Original
	if stage == "Processed" && t.Processed != "" {
		body = t.Processed
	}
	return struct {
		TemplateBody    string
		StagesAvailable members[string]
	}{body, list([]string{"Original", "Processed"})}, nil
}

type parameterDeclarationXML struct {
	ParameterKey         string
	DefaultValue         *string `xml:",omitempty"`
	ParameterType        string
	NoEcho               bool
	Description          string `xml:",omitempty"`
	ParameterConstraints struct {
		AllowedValues *members[string] `xml:",omitempty"`
	}
}

// GetTemplateSummary tells what a template, given or of a stack, has and needs.
func (a *api) GetTemplateSummary(ctx context.Context, in request) (any, error) {
	text, err := a.template(ctx, in)
	if err != nil {
		return nil, err
	}
	name := in.Get("StackName")
	switch {
	case text != "" && name != "":
		return nil, Validation.New("You cannot specify both a template and a stack name.")
	case text == "" && name == "":
		return nil, Validation.New("Either Template URL or Template Body must be specified.")
	case text == "":
		if _, err := in.stack(); err != nil {
			return nil, err
		}
		err := a.view(ctx, func(tx *store.Tx) error {
			s, err := a.find(ctx, tx, name)
			if err != nil {
				return err
			}
			if s.Template == "" {
				return Validation.Errorf("GetTemplateSummary cannot be called on %s stacks.", s.Status)
			}
			t, err := tx.StackTemplate(ctx, s.ID, s.Template)
			text = t.Original
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	src, err := a.read(text)
	if err != nil {
		return nil, err
	}
	type identifierXML struct {
		ResourceType       string
		LogicalResourceIds members[string]
	}
	result := struct {
		Parameters                  members[parameterDeclarationXML]
		Description                 string           `xml:",omitempty"`
		Capabilities                *members[string] `xml:",omitempty"`
		CapabilitiesReason          *string          `xml:",omitempty"`
		ResourceTypes               members[string]
		Version                     string           `xml:",omitempty"`
		Metadata                    string           `xml:",omitempty"`
		DeclaredTransforms          *members[string] `xml:",omitempty"`
		ResourceIdentifierSummaries members[identifierXML]
	}{Description: src.t.Description, Version: src.t.Version, DeclaredTransforms: some(src.t.Transforms)}
	for _, name := range slices.Sorted(maps.Keys(src.t.Parameters)) {
		p := src.t.Parameters[name]
		x := parameterDeclarationXML{ParameterKey: name, DefaultValue: p.Default, ParameterType: p.Type, NoEcho: p.NoEcho, Description: p.Description}
		x.ParameterConstraints.AllowedValues = some(p.AllowedValues)
		result.Parameters.All = append(result.Parameters.All, x)
	}
	byType := map[string][]string{}
	for _, id := range slices.Sorted(maps.Keys(src.t.Resources)) {
		typ := src.t.Resources[id].Type
		byType[typ] = append(byType[typ], id)
	}
	for _, typ := range slices.Sorted(maps.Keys(byType)) {
		result.ResourceTypes.All = append(result.ResourceTypes.All, typ)
		result.ResourceIdentifierSummaries.All = append(result.ResourceIdentifierSummaries.All, identifierXML{typ, list(byType[typ])})
	}
	if src.t.Metadata != nil {
		if result.Metadata, err = template.JSON(src.t.Metadata); err != nil {
			return nil, err
		}
	}
	needs, reason := summarize(src.t)
	result.Capabilities, result.CapabilitiesReason = some(needs), reason
	return result, nil
}

// usesTransform refuses a change set by a transform that the caller may not use.
func (a *api) usesTransform(ctx context.Context, in request) error {
	n := identity.Need{Action: "cloudformation:CreateChangeSet", Account: in.Caller.Account}
	n.Resource = "arn:" + lamina.Partition + ":cloudformation:" + in.Caller.Region + ":aws:transform/Serverless-2016-10-31"
	return a.may(ctx, in.Caller, n, n)
}
