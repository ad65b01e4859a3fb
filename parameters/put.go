package parameters

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
	"github.com/lamina-run/lamina/wire/jsontarget"
)

// Quotas of AWS's.
const (
	maxStandard    = 4 << 10 // bytes of a value
	maxAdvanced    = 8 << 10
	maxVersions    = 100
	maxLabels      = 10
	maxTags        = 50
	maxParameters  = 100_000 // of an account in a region
	maxDescription = 1024
	maxPattern     = 1024
)

const (
	tierStandard    = "Standard"
	tierAdvanced    = "Advanced"
	tierIntelligent = "Intelligent-Tiering"
)

var types = []string{store.SecureString, "StringList", "String"} // as AWS's message lists them

type tag struct{ Key, Value string }

type putInput struct {
	Name           string
	Description    *string
	Value          string
	Type           string
	KeyID          *string `json:"KeyId"`
	Overwrite      bool
	AllowedPattern *string
	Tags           []tag
	Tier           string
	Policies       string
	DataType       string
}

func (in *putInput) check() error {
	switch {
	case in.Name == "":
		return required("name")
	case in.Value == "":
		return violation("''", "value", "Member must have length greater than or equal to 1")
	case in.Type != "" && !slices.Contains(types, in.Type):
		return violation(quoted(in.Type), "type", "Member must satisfy enum value set: [SecureString, StringList, String]")
	case in.Tier != "" && !slices.Contains([]string{tierStandard, tierAdvanced, tierIntelligent}, in.Tier):
		return violation(quoted(in.Tier), "tier", "Member must satisfy enum value set: [Standard, Advanced, Intelligent-Tiering]")
	case in.Description != nil && len(*in.Description) > maxDescription:
		return violation(quoted("…"), "description", "Member must have length less than or equal to 1024")
	case in.AllowedPattern != nil && len(*in.AllowedPattern) > maxPattern:
		return violation(quoted("…"), "allowedPattern", "Member must have length less than or equal to 1024")
	case in.DataType != "" && in.DataType != "text" && in.DataType != "aws:ec2:image" && in.DataType != "aws:ssm:integration":
		return invalid("The following data type is not supported: %s (Data type names are all lowercase.)", in.DataType)
	case in.Policies != "" && in.Policies != "[]" && in.Policies != "{}":
		return jsontarget.Errorf("UnsupportedOperationException", "Lamina does not offer parameter policies.")
	case in.Overwrite && len(in.Tags) > 0:
		return invalid("Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. " +
			"To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.")
	case !utf8.ValidString(in.Value):
		return invalid("Parameter value is not text.")
	}
	return nil
}

// fill sets what the request says.
func (in *putInput) fill(p *store.Parameter) {
	p.Value = in.Value
	for _, set := range []struct {
		to   *string
		from string
	}{{&p.Type, in.Type}, {&p.Tier, in.Tier}, {&p.DataType, in.DataType}} {
		if set.from != "" {
			*set.to = set.from
		}
	}
	for _, set := range []struct{ to, from *string }{{&p.Description, in.Description}, {&p.Pattern, in.AllowedPattern}, {&p.KeyID, in.KeyID}} {
		if set.from != nil {
			*set.to = *set.from
		}
	}
	if p.Type != store.SecureString {
		p.KeyID = ""
	} else if p.KeyID == "" {
		p.KeyID = "alias/aws/ssm"
	}
}

func (s *service) put(ctx context.Context, c *call) (any, error) {
	var in putInput
	if err := c.read(&in); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	id, selector, err := c.id(in.Name)
	if err != nil {
		return nil, err
	}
	if selector != "" {
		return nil, invalid("%s", invalidName(in.Name))
	}
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	if err := s.permit(ctx, c, id.ARN(), tags, nil); err != nil {
		return nil, err
	}
	wire.RecordOf(ctx).Tell("Name", id.Name)
	var p store.Parameter
	err = s.Store.Update(ctx, func(tx *store.Tx) error {
		p = store.Parameter{ID: id, DataType: "text", Tier: tierStandard}
		last, err := tx.LockParameter(ctx, id)
		switch {
		case errors.Is(err, lamina.ErrNotFound):
			if err := newName(id); err != nil {
				return err
			}
			if in.Type == "" {
				return invalid("A parameter type is required when you create a parameter.")
			}
			if n, err := tx.CountParameters(ctx, id.Scope); err != nil {
				return err
			} else if n >= maxParameters {
				return jsontarget.Errorf("ParameterLimitExceeded", "You have exceeded the number of parameters for this AWS account.")
			}
			// The same parameter under its other spelling has the same ARN.
			if _, err := tx.Parameter(ctx, otherSpelling(id)); !errors.Is(err, lamina.ErrNotFound) {
				return errors.Join(err, exists())
			}
			err = tx.InsertParameter(ctx, id)
			if errors.Is(err, lamina.ErrExists) && !in.Overwrite {
				return exists()
			}
			if err != nil {
				return err
			}
		case err != nil:
			return err
		case !in.Overwrite:
			return exists()
		default:
			if p, err = tx.Parameter(ctx, id); err != nil {
				return err
			}
			p.Labels = nil
		}
		if err := s.makeRoom(ctx, tx, id); err != nil {
			return err
		}
		in.fill(&p)
		if err := checkValue(&p); err != nil {
			return err
		}
		p.Version, p.Modified, p.ModifiedBy = last+1, s.Now(), c.caller.ARN
		if err := tx.InsertParameterVersion(ctx, p); err != nil {
			return err
		}
		return tx.SetTags(ctx, id.ARN(), tags)
	})
	if err != nil {
		return nil, err
	}
	return struct {
		Version int64
		Tier    string
	}{p.Version, p.Tier}, nil
}

func exists() error {
	return jsontarget.Errorf("ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
}

// otherSpelling is the same name with its slash, or without.
func otherSpelling(id store.ParameterID) store.ParameterID {
	if name, ok := strings.CutPrefix(id.Name, "/"); ok {
		id.Name = name
	} else {
		id.Name = "/" + id.Name
	}
	return id
}

// makeRoom removes the oldest version when there are as many as there may be.
func (s *service) makeRoom(ctx context.Context, tx *store.Tx, id store.ParameterID) error {
	all, err := tx.ParameterVersions(ctx, id, 0, maxVersions)
	if err != nil || len(all) < maxVersions {
		return err
	}
	if oldest := all[0]; len(oldest.Labels) > 0 {
		return jsontarget.Errorf("ParameterMaxVersionLimitExceeded", "You attempted to create a new version of %s by calling the PutParameter API "+
			"with the overwrite flag. Version %d, the oldest version, can't be deleted because it has a label associated with it. "+
			"Move the label to another version of the parameter, and try again.", id.Name, oldest.Version)
	}
	return tx.DeleteParameterVersion(ctx, id, all[0].Version)
}

// checkValue tells what is wrong with a value, and decides the tier.
func checkValue(p *store.Parameter) error {
	most := maxStandard
	switch {
	case p.Tier == tierIntelligent && len(p.Value) > maxStandard:
		p.Tier, most = tierAdvanced, maxAdvanced
	case p.Tier == tierIntelligent:
		p.Tier = tierStandard
	case p.Tier == tierAdvanced:
		most = maxAdvanced
	}
	if len(p.Value) > most {
		if most == maxAdvanced {
			return invalid("Advanced tier parameters support a maximum parameter value of 8192 characters.")
		}
		return invalid("Standard tier parameters support a maximum parameter value of 4096 characters. To create a larger parameter value, " +
			"upgrade the parameter to use the advanced-parameter tier. For more information, see " +
			"https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html")
	}
	if p.DataType == "aws:ec2:image" && (p.Type != "String" || !imageID.MatchString(p.Value)) {
		return invalid("The parameter value %s is not the ID of an image.", quoted(p.Value))
	}
	if p.Pattern == "" {
		return nil
	}
	pattern, err := regexp.Compile(p.Pattern)
	if err != nil {
		return jsontarget.Errorf("InvalidAllowedPatternException", "The request doesn't meet the regular expression requirement: %s", p.Pattern)
	}
	values := []string{p.Value}
	if p.Type == "StringList" {
		values = strings.Split(p.Value, ",")
	}
	for _, v := range values {
		if at := pattern.FindStringIndex(v); at == nil {
			return jsontarget.Errorf("ParameterPatternMismatchException", "Parameter value, cannot be validated against allowedPattern: %s", p.Pattern)
		}
	}
	return nil
}

// tagMap checks tags that are to be set.
func tagMap(tags []tag) (map[string]string, error) {
	if len(tags) > maxTags {
		return nil, tooManyTags()
	}
	all := map[string]string{}
	for _, t := range tags {
		switch {
		case t.Key == "" || utf8.RuneCountInString(t.Key) > 128:
			return nil, violation(quoted(t.Key), "tags", "Member must have length between 1 and 128")
		case utf8.RuneCountInString(t.Value) > 256:
			return nil, violation(quoted(t.Value), "tags", "Member must have length less than or equal to 256")
		}
		if _, twice := all[t.Key]; twice {
			return nil, invalid("Duplicate tag key: %s", t.Key)
		}
		all[t.Key] = t.Value
	}
	return all, nil
}

func tooManyTags() error {
	return jsontarget.Errorf("TooManyTagsError", "The number of tags exceeds the limit of %d.", maxTags)
}

type tagsInput struct {
	ResourceType string
	ResourceID   string `json:"ResourceId"`
	Tags         []tag
	TagKeys      []string
}

// tagged is the parameter that a request about tags means.
func (s *service) tagged(ctx context.Context, c *call, in *tagsInput) (store.ParameterID, error) {
	if err := c.read(in); err != nil {
		return store.ParameterID{}, err
	}
	if in.ResourceType != "Parameter" {
		return store.ParameterID{}, jsontarget.Errorf("InvalidResourceType", "The resource type is not valid. Lamina has parameters only.")
	}
	id, selector, err := c.id(in.ResourceID)
	if err != nil || selector != "" {
		return id, noResource(in.ResourceID)
	}
	tags, err := tagMap(in.Tags)
	if err != nil {
		return id, err
	}
	wire.RecordOf(ctx).Tell("Name", id.Name)
	return id, s.permit(ctx, c, id.ARN(), tags, in.TagKeys)
}

func noResource(name string) error {
	return jsontarget.Errorf("InvalidResourceId", "The resource ID %q is not valid. Verify that you entered the correct ID and try again.", name)
}

// ofExisting turns the store's word of a missing parameter into the client's.
func ofExisting(err error, id store.ParameterID) error {
	if errors.Is(err, lamina.ErrNotFound) {
		return noResource(id.Name)
	}
	return err
}

func (s *service) addTags(ctx context.Context, c *call) (any, error) {
	var in tagsInput
	id, err := s.tagged(ctx, c, &in)
	if err != nil {
		return nil, err
	}
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	err = s.Store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockParameter(ctx, id); err != nil {
			return ofExisting(err, id)
		}
		if err := tx.SetTags(ctx, id.ARN(), tags); err != nil {
			return err
		}
		have, err := tx.Tags(ctx, id.ARN())
		if err == nil && len(have) > maxTags {
			err = tooManyTags()
		}
		return err
	})
	return struct{}{}, err
}

func (s *service) removeTags(ctx context.Context, c *call) (any, error) {
	var in tagsInput
	id, err := s.tagged(ctx, c, &in)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.Store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockParameter(ctx, id); err != nil {
			return ofExisting(err, id)
		}
		return tx.DeleteTags(ctx, id.ARN(), in.TagKeys)
	})
}

func (s *service) listTags(ctx context.Context, c *call) (any, error) {
	var in tagsInput
	id, err := s.tagged(ctx, c, &in)
	if err != nil {
		return nil, err
	}
	out := struct{ TagList []tag }{[]tag{}}
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		if _, err := tx.Parameter(ctx, id); err != nil {
			return ofExisting(err, id)
		}
		tags, err := tx.Tags(ctx, id.ARN())
		for key, value := range tags {
			out.TagList = append(out.TagList, tag{key, value})
		}
		return err
	})
	slices.SortFunc(out.TagList, func(a, b tag) int { return strings.Compare(a.Key, b.Key) })
	return out, err
}

func (s *service) delete(ctx context.Context, c *call) (any, error) {
	var in struct{ Name string }
	if err := c.read(&in); err != nil {
		return nil, err
	}
	existed, err := s.remove(ctx, c, in.Name)
	if err == nil && !existed {
		err = notFound()
	}
	return struct{}{}, err
}

func (s *service) remove(ctx context.Context, c *call, name string) (existed bool, err error) {
	id, selector, err := c.id(name)
	if err != nil {
		return false, err
	}
	if selector != "" {
		return false, invalid("%s", invalidName(name))
	}
	if err := s.about(ctx, c, id); err != nil {
		return false, err
	}
	err = s.Store.Update(ctx, func(tx *store.Tx) (err error) {
		existed, err = tx.DeleteParameter(ctx, id)
		return err
	})
	return existed, err
}

type namesInput struct {
	Names          []string
	WithDecryption bool
}

func (in *namesInput) check() error {
	switch n := len(in.Names); {
	case n == 0:
		return violation("'[]'", "names", "Member must have length greater than or equal to 1")
	case n > 10:
		return violation(fmt.Sprintf("'[%s]'", strings.Join(in.Names, ", ")), "names", "Member must have length less than or equal to 10")
	}
	return nil
}

func (s *service) deleteSome(ctx context.Context, c *call) (any, error) {
	var in namesInput
	if err := c.read(&in); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	out := struct{ DeletedParameters, InvalidParameters []string }{[]string{}, []string{}}
	for _, name := range in.Names {
		existed, err := s.remove(ctx, c, name)
		if err != nil {
			return nil, err
		}
		if existed {
			out.DeletedParameters = append(out.DeletedParameters, name)
		} else {
			out.InvalidParameters = append(out.InvalidParameters, name)
		}
	}
	return out, nil
}

type labelInput struct {
	Name             string
	ParameterVersion *int64
	Labels           []string
}

func (s *service) labelled(ctx context.Context, c *call, in *labelInput) (store.ParameterID, error) {
	if err := c.read(in); err != nil {
		return store.ParameterID{}, err
	}
	if n := len(in.Labels); n == 0 || n > maxLabels {
		return store.ParameterID{}, violation(fmt.Sprintf("'%v'", in.Labels), "labels", "Member must have length between 1 and 10")
	}
	for _, l := range in.Labels {
		if len(l) == 0 || len(l) > 100 {
			return store.ParameterID{}, violation(fmt.Sprintf("'[%.120s]'", l), "labels", "Member must satisfy constraint: "+
				"[Member must have length less than or equal to 100, Member must have length greater than or equal to 1]")
		}
	}
	id, _, err := c.id(in.Name)
	if err == nil {
		err = s.about(ctx, c, id)
	}
	return id, err
}

func noVersion(id store.ParameterID, version int64) error {
	return jsontarget.Errorf("ParameterVersionNotFound", "Systems Manager could not find version %d of %s. Verify the version and try again.", version, id.Name)
}

// versions locks a parameter and returns all of its versions.
func versions(ctx context.Context, tx *store.Tx, id store.ParameterID) (all []store.Parameter, last int64, err error) {
	last, err = tx.LockParameter(ctx, id)
	if errors.Is(err, lamina.ErrNotFound) {
		return nil, 0, notFound()
	}
	if err == nil {
		all, err = tx.ParameterVersions(ctx, id, 0, maxVersions)
	}
	return all, last, err
}

func (s *service) label(ctx context.Context, c *call) (any, error) {
	var in labelInput
	id, err := s.labelled(ctx, c, &in)
	if err != nil {
		return nil, err
	}
	out := struct {
		InvalidLabels    []string
		ParameterVersion int64
	}{[]string{}, 0}
	var good []string
	for _, l := range in.Labels {
		folded := strings.ToLower(l)
		if !labelForm.MatchString(l) || strings.HasPrefix(folded, "aws") || strings.HasPrefix(folded, "ssm") {
			out.InvalidLabels = append(out.InvalidLabels, l)
		} else if !slices.Contains(good, l) {
			good = append(good, l)
		}
	}
	err = s.Store.Update(ctx, func(tx *store.Tx) error {
		all, last, err := versions(ctx, tx, id)
		if err != nil {
			return err
		}
		out.ParameterVersion = last
		if in.ParameterVersion != nil {
			out.ParameterVersion = *in.ParameterVersion
		}
		at := slices.IndexFunc(all, func(p store.Parameter) bool { return p.Version == out.ParameterVersion })
		if at < 0 {
			return noVersion(id, out.ParameterVersion)
		}
		for i, p := range all {
			had := len(p.Labels)
			labels := slices.DeleteFunc(slices.Clone(p.Labels), func(l string) bool { return slices.Contains(good, l) })
			if i == at {
				if labels = append(labels, good...); len(labels) > maxLabels {
					return jsontarget.Errorf("ParameterVersionLabelLimitExceeded",
						"A parameter version can have maximum 10 labels. Move one or more labels to another version and try again.")
				}
			} else if len(labels) == had {
				continue
			}
			if err := tx.SetParameterLabels(ctx, id, p.Version, labels); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

func (s *service) unlabel(ctx context.Context, c *call) (any, error) {
	var in labelInput
	id, err := s.labelled(ctx, c, &in)
	if err != nil {
		return nil, err
	}
	if in.ParameterVersion == nil {
		return nil, required("parameterVersion")
	}
	out := struct{ RemovedLabels, InvalidLabels []string }{}
	err = s.Store.Update(ctx, func(tx *store.Tx) error {
		out.RemovedLabels, out.InvalidLabels = []string{}, []string{}
		all, _, err := versions(ctx, tx, id)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(all, func(p store.Parameter) bool { return p.Version == *in.ParameterVersion })
		if at < 0 {
			return noVersion(id, *in.ParameterVersion)
		}
		labels := slices.Clone(all[at].Labels)
		for _, l := range in.Labels {
			if i := slices.Index(labels, l); i >= 0 {
				labels = slices.Delete(labels, i, i+1)
				out.RemovedLabels = append(out.RemovedLabels, l)
			} else {
				out.InvalidLabels = append(out.InvalidLabels, l)
			}
		}
		return tx.SetParameterLabels(ctx, id, *in.ParameterVersion, labels)
	})
	return out, err
}
