package logs

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// checks gathers what is wrong with the members of a request, as AWS does before
// it looks at anything else.
type checks []string

func (c *checks) violate(value, at, constraint string) {
	*c = append(*c, fmt.Sprintf("Value%s at '%s' failed to satisfy constraint: %s", value, at, constraint))
}

func (c *checks) err() error {
	switch n := len(*c); n {
	case 0:
		return nil
	case 1:
		return invalidParameter("1 validation error detected: %s", (*c)[0])
	default:
		return invalidParameter("%d validation errors detected: %s", n, strings.Join(*c, "; "))
	}
}

// textRule is what the service model says of a text.
type textRule struct {
	min, max int
	pattern  *regexp.Regexp
	shown    string // the pattern as AWS shows it
}

func rule(least, most int, pattern string) textRule {
	r := textRule{min: least, max: most, shown: pattern}
	if pattern != "" {
		r.pattern = regexp.MustCompile(`^(?:` + pattern + `)$`)
	}
	return r
}

var (
	groupNameRule   = rule(1, 512, `[\.\-_/#A-Za-z0-9]+`)
	groupMatchRule  = rule(0, 512, `[\.\-_/#A-Za-z0-9]*`)
	streamNameRule  = rule(1, 512, `[^:*]*`)
	identifierRule  = rule(1, 2048, `[\w#+=/:,.@-]*`)
	resourceARNRule = rule(1, 1011, `[\w+=/:,.@-]*`)
	resourceRule    = rule(1, 2048, `[\w+=/:,.@\-\*]*`)
	tokenRule       = rule(1, 0, "")
	patternRule     = rule(0, 1024, "")
	kmsKeyRule      = rule(0, 256, "")
	tagKeyRule      = rule(1, 128, `([\p{L}\p{Z}\p{N}_.:/=+\-@]+)`)
	tagValueRule    = rule(0, 256, `([\p{L}\p{Z}\p{N}_.:/=+\-@]*)`)
	filterNameRule  = rule(1, 512, `[^:*]*`)
)

// text checks a member that may be absent.
func (c *checks) text(at string, v *string, r textRule) {
	if v == nil {
		return
	}
	value := " '" + *v + "'"
	n := utf8.RuneCountInString(*v)
	if r.max > 0 && n > r.max {
		c.violate(value, at, "Member must have length less than or equal to "+strconv.Itoa(r.max))
	}
	if n < r.min {
		c.violate(value, at, "Member must have length greater than or equal to "+strconv.Itoa(r.min))
	}
	if r.pattern != nil && !r.pattern.MatchString(*v) {
		c.violate(value, at, "Member must satisfy regular expression pattern: "+r.shown)
	}
}

// needText checks a member that must be there.
func (c *checks) needText(at string, v *string, r textRule) {
	c.need(at, v != nil)
	c.text(at, v, r)
}

func (c *checks) need(at string, given bool) {
	if !given {
		c.violate(" null", at, "Member must not be null")
	}
}

// number checks a member that may be absent; a most of zero is no bound.
func (c *checks) number(at string, v *int64, least, most int64) {
	switch {
	case v == nil:
	case *v < least:
		c.violate(" '"+strconv.FormatInt(*v, 10)+"'", at, "Member must have value greater than or equal to "+strconv.FormatInt(least, 10))
	case most > 0 && *v > most:
		c.violate(" '"+strconv.FormatInt(*v, 10)+"'", at, "Member must have value less than or equal to "+strconv.FormatInt(most, 10))
	}
}

// count checks how many members a list or map has.
func (c *checks) count(at string, n, least, most int) {
	switch {
	case n < least:
		c.violate("", at, "Member must have length greater than or equal to "+strconv.Itoa(least))
	case most > 0 && n > most:
		c.violate("", at, "Member must have length less than or equal to "+strconv.Itoa(most))
	}
}

// oneOf checks a member of an enumeration.
func (c *checks) oneOf(at string, v *string, set ...string) {
	if v == nil {
		return
	}
	for _, s := range set {
		if *v == s {
			return
		}
	}
	c.violate(" '"+*v+"'", at, "Member must satisfy enum value set: ["+strings.Join(set, ", ")+"]")
}

// tags checks the tags of a request.
func (c *checks) tags(at string, tags map[string]string) {
	if tags == nil {
		return
	}
	c.count(at, len(tags), 1, maxTags)
	for k, v := range tags {
		c.text(at, &k, tagKeyRule)
		c.text(at, &v, tagValueRule)
	}
}

// decode reads the members of a request.
func decode(body []byte, in any) error {
	if len(body) == 0 {
		body = []byte("{}")
	}
	err := json.Unmarshal(body, in)
	if err == nil {
		return nil
	}
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return exception("SerializationException", "The member %s can't be a JSON %s.", mismatch.Field, mismatch.Value)
	}
	return exception("SerializationException", "The body is no JSON: %v", err)
}
