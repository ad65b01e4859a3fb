package parameters

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire/jsontarget"
)

// parameter is one as the operations that read values show it.
type parameter struct {
	Name             string
	Type             string
	Value            string
	Version          int64
	Selector         string `json:",omitzero"`
	LastModifiedDate epoch
	ARN              string
	DataType         string
}

func shown(p store.Parameter, decrypted bool) parameter {
	return parameter{
		Name: p.ID.Name, Type: p.Type, Value: value(p, decrypted), Version: p.Version, LastModifiedDate: epoch(p.Modified),
		ARN: p.ID.ARN(), DataType: p.DataType,
	}
}

// value is what a client sees. The ciphertext of a SecureString says nothing: what
// it is sealed with is nobody's business.
func value(p store.Parameter, decrypted bool) string {
	if p.Type != store.SecureString || decrypted {
		return p.Value
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s:%d", p.ID.ARN(), p.Version))
	return "AQICAH" + base64.StdEncoding.EncodeToString(sum[:])
}

// find returns the version that a selector means: a number, a label, or the last.
func find(ctx context.Context, tx *store.Tx, id store.ParameterID, selector string) (store.Parameter, error) {
	p, err := tx.Parameter(ctx, id)
	if errors.Is(err, lamina.ErrNotFound) {
		return p, notFound()
	}
	if err != nil || selector == "" {
		return p, err
	}
	all, err := tx.ParameterVersions(ctx, id, 0, maxVersions)
	if err != nil {
		return p, err
	}
	number, notNumber := strconv.ParseInt(selector, 10, 64)
	at := slices.IndexFunc(all, func(p store.Parameter) bool {
		return notNumber == nil && p.Version == number || notNumber != nil && slices.Contains(p.Labels, selector)
	})
	switch {
	case at >= 0:
		return all[at], nil
	case notNumber == nil:
		return p, noVersion(id, number)
	}
	return p, jsontarget.Errorf("ParameterVersionNotFound", "Systems Manager could not find label %s of %s. Verify the label and try again.", selector, id.Name)
}

func (s *service) get(ctx context.Context, c *call) (any, error) {
	var in struct {
		Name           string
		WithDecryption bool
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	p, err := s.one(ctx, c, in.Name, in.WithDecryption)
	if err != nil {
		return nil, err
	}
	return struct{ Parameter parameter }{p}, nil
}

func (s *service) one(ctx context.Context, c *call, name string, decrypted bool) (out parameter, err error) {
	id, selector, err := c.id(name)
	if err != nil {
		return out, err
	}
	if err := s.about(ctx, c, id); err != nil {
		return out, err
	}
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		p, err := find(ctx, tx, id, selector)
		if err != nil {
			return err
		}
		if out = shown(p, decrypted); selector != "" {
			out.Selector = ":" + selector
		}
		return nil
	})
	return out, err
}

func (s *service) getSome(ctx context.Context, c *call) (any, error) {
	var in namesInput
	if err := c.read(&in); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	out := struct {
		Parameters        []parameter
		InvalidParameters []string
	}{[]parameter{}, []string{}}
	for _, name := range in.Names {
		p, err := s.one(ctx, c, name, in.WithDecryption)
		if e, ok := errors.AsType[*jsontarget.Error](err); ok && strings.HasPrefix(e.Code, "Parameter") {
			out.InvalidParameters = append(out.InvalidParameters, name)
			continue
		}
		if err != nil {
			return nil, err
		}
		out.Parameters = append(out.Parameters, p)
	}
	return out, nil
}

// page is the part of requests that asks for one.
type page struct {
	MaxResults *int64
	NextToken  string
}

func (p *page) size(most int64) (int, error) {
	switch {
	case p.MaxResults == nil:
		return int(most), nil
	case *p.MaxResults < 1:
		return 0, violation(quoted(strconv.FormatInt(*p.MaxResults, 10)), "maxResults", "Member must have value greater than or equal to 1")
	case *p.MaxResults > most:
		return 0, violation(quoted(strconv.FormatInt(*p.MaxResults, 10)), "maxResults", fmt.Sprintf("Member must have value less than or equal to %d", most))
	}
	return int(*p.MaxResults), nil
}

// tokenPrefix begins every token, which are names in base64.
const tokenPrefix = "1:"

func token(after string) string {
	return base64.URLEncoding.EncodeToString([]byte(tokenPrefix + after))
}

// after is the last name of the page before.
func (p *page) after() (string, error) {
	if p.NextToken == "" {
		return "", nil
	}
	text, err := base64.URLEncoding.DecodeString(p.NextToken)
	name, ok := strings.CutPrefix(string(text), tokenPrefix)
	if err != nil || !ok {
		return "", jsontarget.Errorf("InvalidNextToken", "The specified token isn't valid.")
	}
	return name, nil
}

// scan walks parameters by name, from after, until enough of them are kept. It
// returns the name to go on after, empty at the end.
func (s *service) scan(ctx context.Context, in lamina.Scope, prefix, after string, enough int, keep func(*store.Tx, store.Parameter) (bool, error)) (next string, err error) {
	const batch = 200
	kept := 0
	for {
		var all []store.Parameter
		err := s.Store.View(ctx, func(tx *store.Tx) (err error) {
			if all, err = tx.Parameters(ctx, in, prefix, after, batch); err != nil {
				return err
			}
			for i, p := range all {
				ok, err := keep(tx, p)
				if err != nil {
					return err
				}
				after = p.ID.Name
				if ok {
					kept++
				}
				if kept == enough {
					if i < len(all)-1 || len(all) == batch {
						next = after
					}
					return nil
				}
			}
			return nil
		})
		if err != nil || kept == enough || len(all) < batch {
			return next, err
		}
	}
}

func (s *service) getByPath(ctx context.Context, c *call) (any, error) {
	var in struct {
		page
		Path             string
		Recursive        bool
		ParameterFilters []filter
		WithDecryption   bool
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	size, err := in.size(10)
	if err != nil {
		return nil, err
	}
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	if in.Path == "" {
		return nil, required("path")
	}
	path := strings.TrimSuffix(in.Path, "/") + "/"
	if path != "/" && !pathName.MatchString(strings.TrimSuffix(path, "/")) {
		return nil, invalid("%s", invalidPath)
	}
	filters, err := newFilters(in.ParameterFilters, filtersByPath)
	if err != nil {
		return nil, err
	}
	below := store.ParameterID{Scope: c.scope(), Name: path}
	if err := s.permit(ctx, c, strings.TrimSuffix(below.ARN(), "/"), nil, nil); err != nil {
		return nil, err
	}
	out := struct {
		Parameters []parameter
		NextToken  string `json:",omitzero"`
	}{Parameters: []parameter{}}
	prefix := path
	if path == "/" {
		prefix = "" // a name without slashes is at the top
	}
	next, err := s.scan(ctx, c.scope(), prefix, after, size, func(tx *store.Tx, p store.Parameter) (bool, error) {
		if !in.Recursive && strings.Contains(strings.TrimPrefix(p.ID.Name, path), "/") {
			return false, nil
		}
		label := filters.label()
		if label != nil {
			found, err := labelled(ctx, tx, p, label)
			if err != nil || found == nil {
				return false, err
			}
			p = *found
		}
		if ok, err := filters.match(ctx, tx, p); err != nil || !ok {
			return false, err
		}
		out.Parameters = append(out.Parameters, shown(p, in.WithDecryption))
		return true, nil
	})
	if next != "" {
		out.NextToken = token(next)
	}
	return out, err
}

// labelled is the version of a parameter that has one of the labels, or nil.
func labelled(ctx context.Context, tx *store.Tx, p store.Parameter, labels []string) (*store.Parameter, error) {
	all, err := tx.ParameterVersions(ctx, p.ID, 0, maxVersions)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if slices.ContainsFunc(all[i].Labels, func(l string) bool { return slices.Contains(labels, l) }) {
			return &all[i], nil
		}
	}
	return nil, nil
}

// metadata is a parameter without its value.
type metadata struct {
	Name             string
	ARN              string `json:",omitzero"`
	Type             string
	KeyID            string `json:"KeyId,omitzero"`
	LastModifiedDate epoch
	LastModifiedUser string
	Description      string `json:",omitzero"`
	Value            string `json:",omitzero"` // of a history
	AllowedPattern   string `json:",omitzero"`
	Version          int64
	Labels           []string `json:",omitzero"` // of a history
	Tier             string
	Policies         []string
	DataType         string
}

func described(p store.Parameter) metadata {
	return metadata{
		Name: p.ID.Name, Type: p.Type, KeyID: p.KeyID, LastModifiedDate: epoch(p.Modified), LastModifiedUser: p.ModifiedBy,
		Description: p.Description, AllowedPattern: p.Pattern, Version: p.Version, Tier: p.Tier, Policies: []string{}, DataType: p.DataType,
	}
}

func (s *service) history(ctx context.Context, c *call) (any, error) {
	var in struct {
		page
		Name           string
		WithDecryption bool
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	size, err := in.size(50)
	if err != nil {
		return nil, err
	}
	text, err := in.after()
	if err != nil {
		return nil, err
	}
	after, _ := strconv.ParseInt(text, 10, 64) // a token that is none of these begins anew
	id, selector, err := c.id(in.Name)
	if err != nil {
		return nil, err
	}
	if selector != "" {
		return nil, invalid("%s", invalidName(in.Name))
	}
	if err := s.about(ctx, c, id); err != nil {
		return nil, err
	}
	out := struct {
		Parameters []metadata
		NextToken  string `json:",omitzero"`
	}{Parameters: []metadata{}}
	err = s.Store.View(ctx, func(tx *store.Tx) error {
		if _, err := find(ctx, tx, id, ""); err != nil {
			return err
		}
		all, err := tx.ParameterVersions(ctx, id, after, size+1)
		if err != nil {
			return err
		}
		if len(all) > size {
			all = all[:size]
			out.NextToken = token(strconv.FormatInt(all[size-1].Version, 10))
		}
		for _, p := range all {
			m := described(p)
			m.Value, m.Labels = value(p, in.WithDecryption), p.Labels
			out.Parameters = append(out.Parameters, m)
		}
		return nil
	})
	return out, err
}

func (s *service) describe(ctx context.Context, c *call) (any, error) {
	var in struct {
		page
		Filters          []filter
		ParameterFilters []filter
		Shared           bool
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	size, err := in.size(50)
	if err != nil {
		return nil, err
	}
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	if len(in.Filters) > 0 && len(in.ParameterFilters) > 0 {
		return nil, invalid("You can use either Filters or ParameterFilters in a single request.")
	}
	for i, f := range in.Filters { // the old ones, of which names may be parts
		if f.Key == "Name" {
			in.Filters[i].Option = "BeginsWith"
		}
	}
	filters, err := newFilters(append(in.Filters, in.ParameterFilters...), filtersOfAll)
	if err != nil {
		return nil, err
	}
	if err := s.permit(ctx, c, "*", nil, nil); err != nil {
		return nil, err
	}
	out := struct {
		Parameters []metadata
		NextToken  string `json:",omitzero"`
	}{Parameters: []metadata{}}
	if in.Shared {
		return out, nil // nobody shares any
	}
	next, err := s.scan(ctx, c.scope(), "", after, size, func(tx *store.Tx, p store.Parameter) (bool, error) {
		ok, err := filters.match(ctx, tx, p)
		if ok && err == nil {
			m := described(p)
			m.ARN = p.ID.ARN()
			out.Parameters = append(out.Parameters, m)
		}
		return ok, err
	})
	if next != "" {
		out.NextToken = token(next)
	}
	return out, err
}

// filter is one of a request's.
type filter struct {
	Key    string
	Option string
	Values []string
}

type filters []filter

const (
	filtersByPath = "Type, KeyId, Label"
	filtersOfAll  = "Path, Name, Type, KeyId, Tier, DataType"
)

var filterKey = regexp.MustCompile(`^(tag:.+|Name|Type|KeyId|Path|Label|Tier|DataType)$`)

// newFilters checks the filters of a request.
func newFilters(all []filter, valid string) (filters, error) {
	seen := map[string]bool{}
	for i, f := range all {
		option := f.Option
		if !filterKey.MatchString(f.Key) || len(f.Key) > 132 {
			return nil, violation(quoted(f.Key), fmt.Sprintf("parameterFilters.%d.member.key", i+1),
				"Member must satisfy regular expression pattern: tag:.+|Name|Type|KeyId|Path|Label|Tier|DataType")
		}
		isTag := strings.HasPrefix(f.Key, "tag:")
		if !isTag && !slices.Contains(strings.Split(valid, ", "), f.Key) || isTag && valid == filtersByPath {
			return nil, jsontarget.Errorf("InvalidFilterKey", "The following filter key is not valid: %s. Valid filter keys include: [%s].", f.Key, valid)
		}
		if seen[f.Key] {
			return nil, jsontarget.Errorf("InvalidFilterKey",
				"The following filter is duplicated in the request: %s. A request can contain only one occurrence of a specific filter.", f.Key)
		}
		seen[f.Key] = true
		if len(f.Values) == 0 && !isTag {
			return nil, jsontarget.Errorf("InvalidFilterValue", "The following filter values are missing : null for filter key %s.", f.Key)
		}
		if len(f.Values) > 50 {
			return nil, violation("'…'", fmt.Sprintf("parameterFilters.%d.member.values", i+1), "Member must have length less than or equal to 50")
		}
		options := []string{"BeginsWith", "Equals"}
		switch f.Key {
		case "Path":
			options = []string{"Recursive", "OneLevel"}
			if option == "" {
				all[i].Option, option = "OneLevel", "OneLevel"
			}
			for _, v := range f.Values {
				if v != "/" && !pathName.MatchString(strings.TrimSuffix(v, "/")) {
					return nil, invalid("%s", invalidPath)
				}
			}
		case "Name":
			options = append(options, "Contains")
		}
		if option == "" {
			all[i].Option, option = "Equals", "Equals"
		}
		if !slices.Contains(options, option) {
			return nil, jsontarget.Errorf("InvalidFilterOption", "The following filter option is not valid: %s. Valid options include: [%s].",
				option, strings.Join(options, ", "))
		}
	}
	return all, nil
}

// label has the values of the filter by label, nil without one.
func (f filters) label() []string {
	for _, one := range f {
		if one.Key == "Label" {
			return one.Values
		}
	}
	return nil
}

func (f filters) match(ctx context.Context, tx *store.Tx, p store.Parameter) (bool, error) {
	for _, one := range f {
		var what string
		switch one.Key {
		case "Label":
			continue
		case "Path":
			if !slices.ContainsFunc(one.Values, func(path string) bool { return one.below(path, p.ID.Name) }) {
				return false, nil
			}
			continue
		case "Name":
			what = p.ID.Name
		case "Type":
			what = p.Type
		case "KeyId":
			what = p.KeyID
		case "Tier":
			what = p.Tier
		case "DataType":
			what = p.DataType
		default:
			tags, err := tx.Tags(ctx, p.ID.ARN())
			if err != nil {
				return false, err
			}
			value, ok := tags[strings.TrimPrefix(one.Key, "tag:")]
			if !ok {
				return false, nil
			}
			if len(one.Values) == 0 {
				continue
			}
			what = value
		}
		if !slices.ContainsFunc(one.Values, func(v string) bool { return one.holds(what, v) }) {
			return false, nil
		}
	}
	return true, nil
}

func (f filter) below(path, name string) bool {
	rest, ok := strings.CutPrefix(name, strings.TrimSuffix(path, "/")+"/")
	return ok && (f.Option == "Recursive" || !strings.Contains(rest, "/"))
}

func (f filter) holds(what, value string) bool {
	if f.Key == "Name" { // name and /name are one
		what, value = strings.TrimPrefix(what, "/"), strings.TrimPrefix(value, "/")
	}
	switch f.Option {
	case "BeginsWith":
		return strings.HasPrefix(what, value)
	case "Contains":
		return strings.Contains(what, value)
	}
	return what == value
}
