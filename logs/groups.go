package logs

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const (
	maxTags       = 50
	describeLimit = 50
)

var groupClasses = []string{"STANDARD", "INFREQUENT_ACCESS", "DELIVERY"}

// retentions are the days that AWS offers.
var retentions = []int64{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

func (s *Store) createLogGroup(_ context.Context, c call) (any, error) {
	var in struct {
		LogGroupName              *string
		KMSKeyID                  *string `json:"kmsKeyId"`
		Tags                      map[string]string
		LogGroupClass             *string
		DeletionProtectionEnabled bool
	}
	if err := decode(c.body, &in); err != nil {
		return nil, err
	}
	var wrong checks
	wrong.needText("logGroupName", in.LogGroupName, groupNameRule)
	wrong.text("kmsKeyId", in.KMSKeyID, kmsKeyRule)
	wrong.tags("tags", in.Tags)
	wrong.oneOf("logGroupClass", in.LogGroupClass, groupClasses...)
	if err := wrong.err(); err != nil {
		return nil, err
	}
	if strings.HasPrefix(*in.LogGroupName, "aws/") {
		return nil, invalidParameter("Log groups starting with AWS/ are reserved for AWS.")
	}
	about := description{
		Name: *in.LogGroupName, Created: s.now().UnixMilli(), Tags: in.Tags, DeletionProtection: in.DeletionProtectionEnabled,
	}
	if in.KMSKeyID != nil {
		about.KMSKeyID = *in.KMSKeyID
	}
	if in.LogGroupClass != nil {
		about.Class = *in.LogGroupClass
	}
	_, err := s.createGroup(c.Scope, about)
	return nil, err
}

// groupName reads a request that has a group's name and nothing else of interest.
func (c call) groupName() (groupID, error) {
	var in struct{ LogGroupName *string }
	if err := decode(c.body, &in); err != nil {
		return groupID{}, err
	}
	var wrong checks
	wrong.needText("logGroupName", in.LogGroupName, groupNameRule)
	if err := wrong.err(); err != nil {
		return groupID{}, err
	}
	return c.group(*in.LogGroupName), nil
}

func (s *Store) deleteLogGroup(_ context.Context, c call) (any, error) {
	id, err := c.groupName()
	if err != nil {
		return nil, err
	}
	// What was printed before belongs to this group, not to the next of its name.
	s.flush()
	return nil, s.deleteGroup(id)
}

// groupOut is a group as answers have it.
type groupOut struct {
	LogGroupName              string `json:"logGroupName"`
	CreationTime              int64  `json:"creationTime"`
	RetentionInDays           int64  `json:"retentionInDays,omitempty"`
	MetricFilterCount         int    `json:"metricFilterCount"`
	ARN                       string `json:"arn"`
	StoredBytes               int64  `json:"storedBytes"`
	KMSKeyID                  string `json:"kmsKeyId,omitempty"`
	LogGroupClass             string `json:"logGroupClass"`
	LogGroupARN               string `json:"logGroupArn"`
	DeletionProtectionEnabled bool   `json:"deletionProtectionEnabled"`
}

func (g *group) out() (groupOut, error) {
	about, stored, err := g.describe()
	out := groupOut{
		LogGroupName: about.Name, CreationTime: about.Created, RetentionInDays: about.RetentionInDays, ARN: g.id.ARN() + ":*",
		StoredBytes: stored, KMSKeyID: about.KMSKeyID, LogGroupClass: about.Class, LogGroupARN: g.id.ARN(),
		DeletionProtectionEnabled: about.DeletionProtection,
	}
	if out.LogGroupClass == "" {
		out.LogGroupClass = groupClasses[0]
	}
	return out, err
}

func (s *Store) describeLogGroups(_ context.Context, c call) (any, error) {
	var in struct {
		AccountIdentifiers    []string
		LogGroupNamePrefix    *string
		LogGroupNamePattern   *string
		NextToken             *string
		Limit                 *int64
		LogGroupClass         *string
		LogGroupIdentifiers   []string
		IncludeLinkedAccounts bool
	}
	if err := decode(c.body, &in); err != nil {
		return nil, err
	}
	var wrong checks
	wrong.text("logGroupNamePrefix", in.LogGroupNamePrefix, groupNameRule)
	wrong.text("logGroupNamePattern", in.LogGroupNamePattern, groupMatchRule)
	wrong.text("nextToken", in.NextToken, tokenRule)
	wrong.number("limit", in.Limit, 1, describeLimit)
	wrong.oneOf("logGroupClass", in.LogGroupClass, groupClasses...)
	wrong.count("logGroupIdentifiers", len(in.LogGroupIdentifiers), 0, describeLimit)
	if err := wrong.err(); err != nil {
		return nil, err
	}
	if in.LogGroupNamePrefix != nil && in.LogGroupNamePattern != nil {
		return nil, invalidParameter("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
	}
	after, err := unmark(in.NextToken)
	if err != nil {
		return nil, err
	}
	var only []groupID
	for _, identifier := range in.LogGroupIdentifiers {
		id, err := c.identified(identifier)
		if err != nil {
			return nil, err
		}
		only = append(only, id)
	}
	limit := describeLimit
	if in.Limit != nil {
		limit = int(*in.Limit)
	}
	out := struct {
		LogGroups []groupOut `json:"logGroups"`
		NextToken string     `json:"nextToken,omitempty"`
	}{LogGroups: []groupOut{}}
	s.flush() // a function that printed for the first time made its group
	for _, g := range s.list(c.Scope) {
		name := g.id.Name
		switch {
		case name <= after && after != "",
			in.LogGroupNamePrefix != nil && !strings.HasPrefix(name, *in.LogGroupNamePrefix),
			in.LogGroupNamePattern != nil && !strings.Contains(strings.ToLower(name), strings.ToLower(*in.LogGroupNamePattern)),
			only != nil && !slices.Contains(only, g.id):
			continue
		}
		one, err := g.out()
		if errors.Is(err, errGone) || err == nil && in.LogGroupClass != nil && one.LogGroupClass != *in.LogGroupClass {
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(out.LogGroups) == limit {
			out.NextToken = mark(out.LogGroups[limit-1].LogGroupName)
			break
		}
		out.LogGroups = append(out.LogGroups, one)
	}
	return out, nil
}

// changeGroup changes what is known of a group that must exist.
func (s *Store) changeGroup(id groupID, f func(*description) error) error {
	g, err := s.group(id)
	if err == nil {
		err = g.change(f)
	}
	if errors.Is(err, errGone) {
		return noGroup()
	}
	return err
}

func (s *Store) putRetentionPolicy(_ context.Context, c call) (any, error) {
	var in struct {
		LogGroupName    *string
		RetentionInDays *int64
	}
	if err := decode(c.body, &in); err != nil {
		return nil, err
	}
	var wrong checks
	wrong.needText("logGroupName", in.LogGroupName, groupNameRule)
	wrong.need("retentionInDays", in.RetentionInDays != nil)
	if in.RetentionInDays != nil {
		days, set := strconv.FormatInt(*in.RetentionInDays, 10), make([]string, len(retentions))
		for i, d := range retentions {
			set[i] = strconv.FormatInt(d, 10)
		}
		wrong.oneOf("retentionInDays", &days, set...)
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	return nil, s.changeGroup(c.group(*in.LogGroupName), func(d *description) error {
		d.RetentionInDays = *in.RetentionInDays
		return nil
	})
}

func (s *Store) deleteRetentionPolicy(_ context.Context, c call) (any, error) {
	id, err := c.groupName()
	if err != nil {
		return nil, err
	}
	return nil, s.changeGroup(id, func(d *description) error {
		d.RetentionInDays = 0
		return nil
	})
}

func (s *Store) associateKMSKey(_ context.Context, c call) (any, error) {
	return nil, s.setKMSKey(c, true)
}

func (s *Store) disassociateKMSKey(_ context.Context, c call) (any, error) {
	return nil, s.setKMSKey(c, false)
}

// setKMSKey keeps the key's name and shows it. Logs are not encrypted with it.
func (s *Store) setKMSKey(c call, associate bool) error {
	var in struct {
		LogGroupName       *string
		ResourceIdentifier *string
		KMSKeyID           *string `json:"kmsKeyId"`
	}
	if err := decode(c.body, &in); err != nil {
		return err
	}
	var wrong checks
	wrong.text("logGroupName", in.LogGroupName, groupNameRule)
	wrong.text("resourceIdentifier", in.ResourceIdentifier, resourceRule)
	if associate {
		wrong.needText("kmsKeyId", in.KMSKeyID, kmsKeyRule)
	}
	if err := wrong.err(); err != nil {
		return err
	}
	g, err := s.groupOf(c, in.LogGroupName, in.ResourceIdentifier)
	if err != nil {
		return err
	}
	return s.changeGroup(g.id, func(d *description) error {
		d.KMSKeyID = ""
		if associate {
			d.KMSKeyID = *in.KMSKeyID
		}
		return nil
	})
}

func (s *Store) putLogGroupDeletionProtection(_ context.Context, c call) (any, error) {
	var in struct {
		LogGroupIdentifier        *string
		DeletionProtectionEnabled *bool
	}
	if err := decode(c.body, &in); err != nil {
		return nil, err
	}
	var wrong checks
	wrong.needText("logGroupIdentifier", in.LogGroupIdentifier, identifierRule)
	wrong.need("deletionProtectionEnabled", in.DeletionProtectionEnabled != nil)
	if err := wrong.err(); err != nil {
		return nil, err
	}
	g, err := s.groupOf(c, nil, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	return nil, s.changeGroup(g.id, func(d *description) error {
		d.DeletionProtection = *in.DeletionProtectionEnabled
		return nil
	})
}

// resource reads the ARN of a request about tags.
func (c call) resource(in any, arn **string, more func(*checks)) (groupID, error) {
	if err := decode(c.body, in); err != nil {
		return groupID{}, err
	}
	var wrong checks
	wrong.needText("resourceArn", *arn, resourceARNRule)
	if more != nil {
		more(&wrong)
	}
	if err := wrong.err(); err != nil {
		return groupID{}, err
	}
	if !strings.HasPrefix(**arn, "arn:") {
		return groupID{}, invalidParameter("Invalid resource ARN.")
	}
	id, err := c.identified(**arn)
	if err != nil {
		return groupID{}, noResource()
	}
	return id, nil
}

// noSuchResource is the error of a resource whose group does not exist.
func noSuchResource(err error) error {
	if e, ok := errors.AsType[*Exception](err); ok && e.Code == "ResourceNotFoundException" {
		return noResource()
	}
	return err
}

func (s *Store) tagResource(_ context.Context, c call) (any, error) {
	var in struct {
		ResourceARN *string `json:"resourceArn"`
		Tags        map[string]string
	}
	id, err := c.resource(&in, &in.ResourceARN, func(wrong *checks) {
		wrong.need("tags", in.Tags != nil)
		wrong.tags("tags", in.Tags)
	})
	if err != nil {
		return nil, err
	}
	return nil, noSuchResource(s.changeGroup(id, func(d *description) error {
		return d.tag(in.Tags, exception("TooManyTagsException", "A resource can have no more than %d tags.", maxTags))
	}))
}

func (d *description) tag(tags map[string]string, tooMany error) error {
	all := maps.Clone(d.Tags)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, tags)
	if len(all) > maxTags {
		return tooMany
	}
	d.Tags = all
	return nil
}

func (d *description) untag(keys []string) {
	d.Tags = maps.Clone(d.Tags)
	for _, k := range keys {
		delete(d.Tags, k)
	}
}

func (s *Store) untagResource(_ context.Context, c call) (any, error) {
	var in struct {
		ResourceARN *string `json:"resourceArn"`
		TagKeys     []string
	}
	id, err := c.resource(&in, &in.ResourceARN, func(wrong *checks) {
		wrong.need("tagKeys", in.TagKeys != nil)
		wrong.count("tagKeys", len(in.TagKeys), 0, maxTags)
		for _, k := range in.TagKeys {
			wrong.text("tagKeys", &k, tagKeyRule)
		}
	})
	if err != nil {
		return nil, err
	}
	return nil, noSuchResource(s.changeGroup(id, func(d *description) error {
		d.untag(in.TagKeys)
		return nil
	}))
}

// tagsOut is what lists of tags answer.
type tagsOut struct {
	Tags map[string]string `json:"tags"`
}

func (s *Store) tagsOf(id groupID) (any, error) {
	g, err := s.group(id)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.about.Tags == nil {
		return tagsOut{map[string]string{}}, nil
	}
	return tagsOut{g.about.Tags}, nil // never changed: tag and untag make another
}

func (s *Store) listTagsForResource(_ context.Context, c call) (any, error) {
	var in struct {
		ResourceARN *string `json:"resourceArn"`
	}
	id, err := c.resource(&in, &in.ResourceARN, nil)
	if err != nil {
		return nil, err
	}
	out, err := s.tagsOf(id)
	return out, noSuchResource(err)
}

func (s *Store) listTagsLogGroup(_ context.Context, c call) (any, error) {
	id, err := c.groupName()
	if err != nil {
		return nil, err
	}
	return s.tagsOf(id)
}

func (s *Store) tagLogGroup(_ context.Context, c call) (any, error) {
	var in struct {
		LogGroupName *string
		Tags         map[string]string
	}
	if err := decode(c.body, &in); err != nil {
		return nil, err
	}
	var wrong checks
	wrong.needText("logGroupName", in.LogGroupName, groupNameRule)
	wrong.need("tags", in.Tags != nil)
	wrong.tags("tags", in.Tags)
	if err := wrong.err(); err != nil {
		return nil, err
	}
	return nil, s.changeGroup(c.group(*in.LogGroupName), func(d *description) error {
		return d.tag(in.Tags, invalidParameter("A resource can have no more than %d tags.", maxTags))
	})
}

func (s *Store) untagLogGroup(_ context.Context, c call) (any, error) {
	var in struct {
		LogGroupName *string
		Tags         []string
	}
	if err := decode(c.body, &in); err != nil {
		return nil, err
	}
	var wrong checks
	wrong.needText("logGroupName", in.LogGroupName, groupNameRule)
	wrong.need("tags", in.Tags != nil)
	if in.Tags != nil {
		wrong.count("tags", len(in.Tags), 1, 0)
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	return nil, s.changeGroup(c.group(*in.LogGroupName), func(d *description) error {
		d.untag(in.Tags)
		return nil
	})
}

// describeMetricFilters answers that there are none: Lamina has no metrics.
func (s *Store) describeMetricFilters(_ context.Context, c call) (any, error) {
	var in struct{ LogGroupName, FilterNamePrefix *string }
	if err := decode(c.body, &in); err != nil {
		return nil, err
	}
	var wrong checks
	wrong.text("logGroupName", in.LogGroupName, groupNameRule)
	wrong.text("filterNamePrefix", in.FilterNamePrefix, filterNameRule)
	if err := wrong.err(); err != nil {
		return nil, err
	}
	if in.LogGroupName != nil {
		if _, err := s.group(c.group(*in.LogGroupName)); err != nil {
			return nil, err
		}
	}
	return map[string]any{"metricFilters": []any{}}, nil
}

// describeSubscriptionFilters answers that there are none.
func (s *Store) describeSubscriptionFilters(_ context.Context, c call) (any, error) {
	id, err := c.groupName()
	if err != nil {
		return nil, err
	}
	if _, err := s.group(id); err != nil {
		return nil, err
	}
	return map[string]any{"subscriptionFilters": []any{}}, nil
}
