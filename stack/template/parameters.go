package template

import (
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// MaxParameter bounds the value of a parameter, in bytes.
const MaxParameter = 4096

// Parameter is a member of the Parameters section.
type Parameter struct {
	Type                  string
	Default               *string // nil when a value has to be given
	Description           string
	AllowedValues         []string
	AllowedPattern        string
	ConstraintDescription string
	NoEcho                bool
	MinLength, MaxLength  *int64
	MinValue, MaxValue    *big.Float

	pattern *regexp.Regexp
}

// ofAWS are the types of things that AWS has, which are taken as they are given.
var ofAWS = []string{
	"AWS::EC2::AvailabilityZone::Name", "AWS::EC2::Image::Id", "AWS::EC2::Instance::Id", "AWS::EC2::KeyPair::KeyName", "AWS::EC2::SecurityGroup::GroupName",
	"AWS::EC2::SecurityGroup::Id", "AWS::EC2::Subnet::Id", "AWS::EC2::Volume::Id", "AWS::EC2::VPC::Id", "AWS::Route53::HostedZone::Id",
}

const ssmValue = "AWS::SSM::Parameter::Value<"

// SSM reports whether the parameter's value is the name of an SSM parameter, whose
// value is meant.
func (p Parameter) SSM() bool { return strings.HasPrefix(p.Type, ssmValue) }

// valueType is the type of what the parameter comes to.
func (p Parameter) valueType() string {
	if inner, ok := strings.CutPrefix(p.Type, ssmValue); ok {
		return strings.TrimSuffix(inner, ">")
	}
	return p.Type
}

// List reports whether a reference to the parameter is a list.
func (p Parameter) List() bool {
	t := p.valueType()
	return t == "CommaDelimitedList" || strings.HasPrefix(t, "List<")
}

// Value is what a reference to the parameter is: a string, or a list of strings.
// Of an SSM type it takes the value that the name led to.
func (p Parameter) Value(s string) any {
	if !p.List() {
		return s
	}
	list := []any{}
	if s == "" {
		return list
	}
	for part := range strings.SplitSeq(s, ",") {
		list = append(list, strings.TrimSpace(part))
	}
	return list
}

func knownType(t string) bool {
	switch {
	case t == "String" || t == "Number" || t == "List<Number>" || t == "CommaDelimitedList" || t == "List<String>" || t == "AWS::SSM::Parameter::Name":
		return true
	case strings.HasPrefix(t, ssmValue) && strings.HasSuffix(t, ">"):
		inner := strings.TrimSuffix(strings.TrimPrefix(t, ssmValue), ">")
		return inner != "Number" && !strings.HasPrefix(inner, "AWS::SSM") && knownType(inner)
	}
	inner, list := strings.CutPrefix(t, "List<")
	if list {
		inner = strings.TrimSuffix(inner, ">")
	}
	return slices.Contains(ofAWS, inner)
}

var parameterMembers = []string{
	"Type", "Default", "Description", "AllowedValues", "AllowedPattern", "ConstraintDescription", "NoEcho", "MinLength", "MaxLength", "MinValue", "MaxValue",
}

func (r *reader) parameters() error {
	all, err := r.section("Parameters", MaxParameters)
	if err != nil || all == nil {
		return err
	}
	r.t.Parameters = make(map[string]Parameter, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name == "Fn::Transform" {
			return noMacros()
		}
		if err := named("Parameter", name); err != nil {
			return err
		}
		m, ok := all[name].(map[string]any)
		if !ok {
			return formatError("Any Parameters member must be an object.")
		}
		p, err := parameter(name, m)
		if err != nil {
			return err
		}
		if _, twice := r.t.Resources[name]; twice {
			return formatError("Parameter and resource names must be unique: %s is both.", name)
		}
		r.t.Parameters[name] = p
		if p.Default != nil {
			if err := p.check(name, *p.Default); err != nil {
				return formatError("%s", err)
			}
		}
	}
	return nil
}

func parameter(name string, m map[string]any) (p Parameter, err error) {
	for _, member := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(parameterMembers, member) {
			return p, errorf("Invalid template parameter property '%s'", printable(member))
		}
	}
	var ok bool
	if p.Type, ok = m["Type"].(string); !ok || p.Type == "" {
		return p, formatError("Every Parameters object must contain a Type member.")
	}
	if !knownType(p.Type) {
		return p, formatError("Unrecognized parameter type: %s", printable(p.Type))
	}
	wrong := func(member, is string) error {
		return formatError("Every %s member of parameter %s must be %s.", member, name, is)
	}
	if v, given := m["Default"]; given {
		d, ok := text(v)
		if list, isList := v.([]any); isList && p.List() {
			parts := make([]string, len(list))
			ok = true
			for i := range list {
				var isText bool
				parts[i], isText = text(list[i])
				ok = ok && isText
			}
			d = strings.Join(parts, ",")
		}
		if !ok {
			return p, formatError("Every Default member must be a string.")
		}
		p.Default = &d
	}
	for member, to := range map[string]*string{
		"Description": &p.Description, "AllowedPattern": &p.AllowedPattern, "ConstraintDescription": &p.ConstraintDescription,
	} {
		if v, given := m[member]; given {
			if *to, ok = text(v); !ok {
				return p, wrong(member, "a string")
			}
		}
	}
	if len(p.Description) > 4000 {
		return p, formatError("'Description' length of parameter %s is greater than 4000", name)
	}
	if v, given := m["NoEcho"]; given {
		s, _ := text(v)
		switch strings.ToLower(s) {
		case "true":
			p.NoEcho = true
		case "false":
		default:
			return p, wrong("NoEcho", "a boolean")
		}
	}
	if v, given := m["AllowedValues"]; given {
		list, ok := v.([]any)
		if !ok {
			return p, wrong("AllowedValues", "a list")
		}
		p.AllowedValues = make([]string, len(list))
		for i := range list {
			if p.AllowedValues[i], ok = text(list[i]); !ok {
				return p, formatError("Every AllowedValues value must be a string.")
			}
		}
	}
	if p.AllowedPattern != "" {
		if p.pattern, err = compile(p.AllowedPattern); err != nil {
			return p, formatError("AllowedPattern of parameter %s is not a regular expression that Lamina understands: %s", name, printable(err.Error()))
		}
	}
	for member, to := range map[string]**int64{"MinLength": &p.MinLength, "MaxLength": &p.MaxLength} {
		if v, given := m[member]; given {
			s, _ := text(v)
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil || n < 0 {
				return p, wrong(member, "a number")
			}
			*to = &n
		}
	}
	for member, to := range map[string]**big.Float{"MinValue": &p.MinValue, "MaxValue": &p.MaxValue} {
		if v, given := m[member]; given {
			s, _ := text(v)
			if *to, ok = number(s); !ok {
				return p, wrong(member, "a number")
			}
		}
	}
	return p, nil
}

var decimal = regexp.MustCompile(`^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?$`)

// number reads a number as exactly as parameters need it.
func number(s string) (*big.Float, bool) {
	if s = strings.TrimSpace(s); len(s) > longestNumber || !decimal.MatchString(s) {
		return nil, false
	}
	f, _, err := big.ParseFloat(s, 10, 512, big.ToNearestEven)
	return f, err == nil
}

// patterns whose parts only Java has, and what does the same here.
var javaPatterns = strings.NewReplacer(`\Z`, `\z`, `\h`, `[ \t]`, `\R`, `(?:\r\n|[\n\r])`, `*+`, `*`, `++`, `+`, `?+`, `?`)

// compile reads a pattern, which has to match the whole value. Patterns are
// Java's: those that look around are not understood here.
func compile(pattern string) (*regexp.Regexp, error) {
	const most = 4096
	if len(pattern) > most {
		return nil, fmt.Errorf("it has more than %d characters", most)
	}
	p, err := regexp.Compile(`^(?s:` + pattern + `)$`)
	if err != nil {
		if p, again := regexp.Compile(`^(?s:` + javaPatterns.Replace(pattern) + `)$`); again == nil {
			return p, nil
		}
	}
	return p, err
}

// check holds a value to the parameter's constraints.
func (p Parameter) check(name, value string) error {
	fail := func(format string, args ...any) error {
		if p.ConstraintDescription != "" {
			return errorf("Parameter %s failed to satisfy constraint: %s", name, p.ConstraintDescription)
		}
		return errorf("Parameter '"+name+"' "+format, args...)
	}
	if len(value) > MaxParameter {
		return errorf("Parameter '%s' must contain at most %d characters", name, MaxParameter)
	}
	t := p.Type // of SSM types, it is the name that is constrained
	if p.SSM() {
		t = "String"
	}
	each := []string{value}
	if !p.SSM() && p.List() {
		each = nil
		for _, v := range p.Value(value).([]any) {
			each = append(each, v.(string))
		}
	}
	for _, v := range each {
		if t == "Number" || t == "List<Number>" {
			n, ok := number(v)
			switch {
			case !ok:
				return errorf("Parameter '%s' must be a number", name)
			case p.MinValue != nil && n.Cmp(p.MinValue) < 0:
				return fail("must be a number not less than %s", p.MinValue.Text('f', -1))
			case p.MaxValue != nil && n.Cmp(p.MaxValue) > 0:
				return fail("must be a number not greater than %s", p.MaxValue.Text('f', -1))
			}
		}
		if p.AllowedValues != nil && !slices.Contains(p.AllowedValues, v) && !(t == "Number" && slices.ContainsFunc(p.AllowedValues, func(a string) bool { return sameNumber(a, v) })) {
			return fail("must be one of AllowedValues")
		}
		if p.pattern != nil && !p.pattern.MatchString(v) {
			return fail("must match pattern %s", p.AllowedPattern)
		}
	}
	if t == "String" {
		n := int64(len([]rune(value)))
		switch {
		case p.MinLength != nil && n < *p.MinLength:
			return fail("must contain at least %d characters", *p.MinLength)
		case p.MaxLength != nil && n > *p.MaxLength:
			return fail("must contain at most %d characters", *p.MaxLength)
		}
	}
	return nil
}

func sameNumber(a, b string) bool {
	x, ok := number(a)
	y, ok2 := number(b)
	return ok && ok2 && x.Cmp(y) == 0
}

// Values are the values of all parameters: those that are given, else the
// defaults. Of SSM types they are names. The error is an [*Error].
func (t *Template) Values(given map[string]string) (map[string]string, error) {
	var missing, unknown []string
	all := make(map[string]string, len(t.Parameters))
	for name := range given {
		if _, ok := t.Parameters[name]; !ok {
			unknown = append(unknown, printable(name))
		}
	}
	for name, p := range t.Parameters {
		v, ok := given[name]
		if !ok && p.Default != nil {
			v, ok = *p.Default, true
		}
		if !ok {
			missing = append(missing, name)
		}
		all[name] = v
	}
	slices.Sort(missing)
	slices.Sort(unknown)
	switch {
	case len(unknown) > 0:
		return nil, errorf("Parameters: [%s] do not exist in the template", strings.Join(unknown, ", "))
	case len(missing) > 0:
		return nil, errorf("Parameters: [%s] must have values", strings.Join(missing, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if err := t.Parameters[name].check(name, given[name]); err != nil {
			return nil, err
		}
	}
	return all, nil
}
