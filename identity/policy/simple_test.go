package policy

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The second evaluator: slow, and as close to the words of the documentation as
// code gets. It shares no code with the first, and reads the documents' text.

type object = map[string]any

// expressions are compiled once: few are new.
var expressions sync.Map

func fits(expression, s string) bool {
	known, ok := expressions.Load(expression)
	if !ok {
		known, _ = expressions.LoadOrStore(expression, regexp.MustCompile(expression))
	}
	return known.(*regexp.Regexp).MatchString(s)
}

// simple reports whether a request is allowed.
func simple(r *Request, d documents) bool {
	p := r.Principal
	hasAccount := p.Kind == Root || p.Kind == User || p.Kind == RoleSession || p.Kind == FederatedUser
	resource := d.resource
	if d.trust != "" {
		resource = d.trust
	}
	resourceSays := look(r, resource)
	if !hasAccount {
		return !resourceSays["Deny"] && (resourceSays["all"] || resourceSays["self"])
	}
	identity, boundary, session := look(r, d.identity...), look(r, d.boundary), look(r, d.session...)
	if p.Kind == Root {
		identity, boundary, session = map[string]bool{"all": true}, map[string]bool{"all": true}, map[string]bool{"all": true}
	}

	// Deny evaluation: one is enough, anywhere.
	if resourceSays["Deny"] || identity["Deny"] || boundary["Deny"] || session["Deny"] {
		return false
	}
	for _, level := range d.control {
		says := look(r, level...)
		if says["Deny"] || !says["all"] {
			return false
		}
	}
	sameAccount := r.ResourceAccount == "" || r.ResourceAccount == p.Account
	resourceAllows := resourceSays["all"] || resourceSays["self"] || resourceSays["issuer"] || resourceSays["account"]
	if d.trust != "" && !resourceAllows || !sameAccount && !resourceAllows {
		return false
	}
	if sameAccount && (resourceSays["all"] || resourceSays["self"]) {
		return true
	}
	if !identity["all"] && !(sameAccount && resourceSays["issuer"]) {
		return false
	}
	if d.boundary != "" && !boundary["all"] {
		return false
	}
	if p.Kind == Root {
		return true
	}
	if len(d.session) > 0 {
		return session["all"]
	}
	return p.Kind != FederatedUser
}

// look returns what documents say about a request: Deny, and how permissions name
// the principal (all, self, issuer, account).
func look(r *Request, texts ...string) map[string]bool {
	says := map[string]bool{}
	for _, text := range texts {
		if text == "" {
			continue
		}
		var doc object
		if err := json.Unmarshal([]byte(text), &doc); err != nil {
			panic(err)
		}
		all, ok := doc["Statement"].([]any)
		if !ok {
			all = []any{doc["Statement"]}
		}
		for _, s := range all {
			s := s.(object)
			effect := s["Effect"].(string)
			if !applies(r, s, effect, doc["Version"] == "2012-10-17") {
				continue
			}
			how := principalMatches(r.Principal, s, effect)
			if effect == "Deny" {
				says["Deny"] = says["Deny"] || len(how) > 0
				continue
			}
			for _, h := range how {
				says[h] = true
			}
		}
	}
	return says
}

func texts(v any) []string {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return []string{v}
	case bool:
		return []string{strconv.FormatBool(v)}
	case float64:
		return []string{strconv.FormatFloat(v, 'f', -1, 64)}
	}
	var all []string
	for _, item := range v.([]any) {
		all = append(all, texts(item)...)
	}
	return all
}

// principalMatches returns how a statement names the principal.
func principalMatches(p Principal, s object, effect string) []string {
	element, not := s["Principal"], false
	if element == nil {
		element, not = s["NotPrincipal"], true
	}
	if element == nil {
		return []string{"all"}
	}
	if element == "*" {
		element = object{"AWS": "*"}
	}
	var how []string
	for kind, names := range element.(object) {
		for _, name := range texts(names) {
			hasAccount := p.Account != ""
			switch {
			case kind == "AWS" && name == "*":
				how = append(how, "all")
			case kind == "AWS" && hasAccount && (name == p.Account || name == "arn:aws:iam::"+p.Account+":root"):
				how = append(how, "account")
				if p.Kind == Root {
					how = append(how, "self")
				}
			case kind == "AWS" && hasAccount && (name == p.ARN || name == p.UserID):
				how = append(how, "self")
			case kind == "AWS" && hasAccount && name == p.Issuer:
				how = append(how, "issuer")
			case kind == "AWS" && p.Kind == RoleSession && name == strings.Split(p.UserID, ":")[0]:
				how = append(how, "issuer")
			case kind == "Service" && slices.Contains(p.Services, name), kind == "Federated" && name == p.Provider:
				how = append(how, "self")
			case kind == "CanonicalUser" && name == p.CanonicalUser:
				how = append(how, "account")
			}
		}
	}
	if !not {
		return how
	}
	if effect == "Allow" {
		if len(how) == 0 {
			return []string{"all"}
		}
		return nil
	}
	for _, level := range map[Kind][]string{
		Root: {"self", "account"}, User: {"self", "account"}, FederatedUser: {"self", "account"}, RoleSession: {"self", "issuer", "account"},
		Service: {"self"}, WebIdentity: {"self"}, Anonymous: {"self"},
	}[p.Kind] {
		if !slices.Contains(how, level) && !slices.Contains(how, "all") {
			return []string{"all"}
		}
	}
	return nil
}

// applies looks at everything but the principal.
func applies(r *Request, s object, effect string, variables bool) bool {
	actionMatches := func(patterns any) bool {
		return slices.ContainsFunc(texts(patterns), func(p string) bool {
			return fits("(?is)^"+wild(p, ".*", ".")+"$", r.Action)
		})
	}
	if s["Action"] != nil && !actionMatches(s["Action"]) || s["NotAction"] != nil && actionMatches(s["NotAction"]) {
		return false
	}
	keys := keysOf(r)
	unknown := false
	resourceMatches := func(patterns any) bool {
		return slices.ContainsFunc(texts(patterns), func(p string) bool {
			expression, ok := arnExpression(p, keys, variables, true)
			unknown = unknown || !ok
			return ok && fits("(?s)^"+expression+"$", r.Resource)
		})
	}
	if s["Resource"] != nil && !resourceMatches(s["Resource"]) {
		return false
	}
	if s["NotResource"] != nil && (resourceMatches(s["NotResource"]) || unknown && effect == "Allow") {
		return false
	}
	conditions, _ := s["Condition"].(object)
	for operator, below := range conditions {
		for key, values := range below.(object) {
			if !conditionMet(operator, keys[strings.ToLower(key)], texts(values), keys, variables, effect) {
				return false
			}
		}
	}
	return true
}

// wild is the regular expression of a text with wildcards.
func wild(p, star, one string) string {
	var b strings.Builder
	for _, c := range p {
		switch c {
		case '*':
			b.WriteString(star)
		case '?':
			b.WriteString(one)
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	return b.String()
}

var variable = regexp.MustCompile(`\$\{([^}']*?)(?:,\s*'([^']*)')?\}`)

// filled cuts a text at its variables and returns the expression of the whole.
func filled(p string, keys map[string][]string, variables bool, expression func(string) string) (string, bool) {
	if !variables {
		return expression(p), true
	}
	out, at := "", 0
	for _, m := range variable.FindAllStringSubmatchIndex(p, -1) {
		out += expression(p[at:m[0]])
		at = m[1]
		name := p[m[2]:m[3]]
		values := keys[strings.ToLower(strings.TrimSpace(name))]
		switch {
		case name == "*" || name == "?" || name == "$":
			out += regexp.QuoteMeta(name)
		case len(values) == 1:
			out += regexp.QuoteMeta(values[0])
		case m[4] >= 0:
			out += regexp.QuoteMeta(p[m[4]:m[5]])
		default:
			return "", false
		}
	}
	return out + expression(p[at:]), true
}

// arnExpression is the regular expression of an ARN, part by part.
func arnExpression(p string, keys map[string][]string, variables, runOn bool) (string, bool) {
	parts := strings.SplitN(p, ":", 6)
	var out []string
	for i, part := range parts {
		last := i == len(parts)-1
		if i == 5 {
			e, ok := filled(part, keys, variables, func(s string) string { return wild(s, ".*", ".") })
			return strings.Join(append(out, e), ":"), ok
		}
		if variables && strings.Contains(part, "${") {
			return "", false
		}
		rest, tail := strings.CutSuffix(part, "*")
		e := wild(rest, "[^:]*", "[^:]")
		switch {
		case tail && (last || runOn):
			e += ".*"
		case tail:
			e += "[^:]*"
		}
		out = append(out, e)
	}
	return strings.Join(out, ":"), true
}

// keysOf has every key of a request.
func keysOf(r *Request) map[string][]string {
	keys := map[string][]string{}
	for k, v := range r.Context {
		keys[k] = v
	}
	p := r.Principal
	set := func(key string, values ...string) {
		delete(keys, key)
		if len(values) > 0 && values[0] != "" {
			keys[key] = values
		}
	}
	arn := p.ARN
	if p.Kind == RoleSession {
		arn = p.Issuer
	}
	set("aws:principalarn", arn)
	set("aws:principalaccount", p.Account)
	set("aws:principalorgid", p.OrgID)
	set("aws:principalorgpaths", p.OrgPaths...)
	set("aws:principaltype", map[Kind]string{Root: "Account", User: "User", RoleSession: "AssumedRole", FederatedUser: "FederatedUser", Anonymous: "Anonymous"}[p.Kind])
	set("aws:userid", p.UserID)
	if p.Kind == Root {
		set("aws:userid", p.Account)
	} else if p.Kind == Anonymous {
		set("aws:userid", "anonymous")
	}
	set("aws:username", p.UserName)
	if p.Kind != Anonymous {
		set("aws:principalisawsservice", fmt.Sprint(p.Kind == Service))
	}
	if p.Kind == Service {
		set("aws:principalservicename", p.Services[0])
		set("aws:principalservicenameslist", p.Services...)
	}
	for k, v := range p.Tags {
		keys["aws:principaltag/"+strings.ToLower(k)] = []string{v}
	}
	set("aws:resourceaccount", r.ResourceAccount)
	if !r.Time.IsZero() {
		set("aws:currenttime", r.Time.Format(time.RFC3339))
		set("aws:epochtime", fmt.Sprint(r.Time.Unix()))
	}
	return keys
}

// conditionMet transliterates the pages about operators, absent keys and sets.
func conditionMet(operator string, have, want []string, keys map[string][]string, variables bool, effect string) bool {
	quantifier := ""
	if q, rest, ok := strings.Cut(operator, ":"); ok {
		quantifier, operator = q, rest
	}
	operator, ifExists := strings.CutSuffix(operator, "IfExists")
	if operator == "Null" {
		return slices.Contains(want, strconv.FormatBool(len(have) == 0))
	}
	negated := strings.Contains(operator, "Not")
	positive := strings.Replace(operator, "Not", "", 1)
	if len(have) == 0 && ifExists {
		return true
	}
	if quantifier != "" {
		have = slices.DeleteFunc(slices.Clone(have), func(s string) bool { return s == "" })
	}
	if len(have) == 0 {
		return quantifier == "ForAllValues" || quantifier == "" && negated
	}
	one := func(value string) bool {
		unsure := false
		for _, w := range want {
			matches, sure := compare(positive, value, w, keys, variables)
			if matches {
				return !negated
			}
			unsure = unsure || !sure
		}
		if negated && unsure {
			return effect == "Deny"
		}
		return negated
	}
	if quantifier == "ForAllValues" || quantifier == "" && negated {
		return !slices.ContainsFunc(have, func(v string) bool { return !one(v) })
	}
	return slices.ContainsFunc(have, one)
}

func compare(operator, value, want string, keys map[string][]string, variables bool) (matches, sure bool) {
	match := func(flags string, expression func(string) string) (bool, bool) {
		e, ok := filled(want, keys, variables, expression)
		return ok && fits("(?s"+flags+")^"+e+"$", value), ok
	}
	family := strings.TrimSuffix(strings.TrimSuffix(operator, "Equals"), "Than")
	switch {
	case operator == "StringEquals":
		return match("", regexp.QuoteMeta)
	case operator == "StringEqualsIgnoreCase":
		return match("i", regexp.QuoteMeta)
	case operator == "StringLike":
		return match("", func(s string) string { return wild(s, ".*", ".") })
	case operator == "Bool":
		a, b := strings.ToLower(value), strings.ToLower(want)
		sure := (a == "true" || a == "false") && (b == "true" || b == "false")
		return sure && a == b, sure
	case operator == "ArnEquals" || operator == "ArnLike":
		e, ok := arnExpression(want, keys, variables, false)
		if variables && strings.Contains(want, "${") {
			e, ok = filled(want, keys, true, func(s string) string { return wild(s, "[^:]*", "[^:]") })
		}
		return ok && fits("(?s)^"+e+"$", value), ok
	case operator == "BinaryEquals":
		data, err := base64.StdEncoding.DecodeString(want)
		return err == nil && string(data) == value, err == nil
	case operator == "IpAddress":
		if !strings.Contains(want, "/") {
			want += map[bool]string{true: "/128", false: "/32"}[strings.Contains(want, ":")]
		}
		_, network, err := net.ParseCIDR(want)
		ip := net.ParseIP(value)
		return err == nil && ip != nil && network.Contains(ip), err == nil && ip != nil
	case strings.HasPrefix(family, "Numeric"):
		const form = `^[+-]?\d+(\.\d+)?$`
		a, okA := new(big.Rat).SetString(value)
		b, okB := new(big.Rat).SetString(want)
		if !okA || !okB || !fits(form, value) || !fits(form, want) {
			return false, false
		}
		return sided(strings.TrimPrefix(operator, "Numeric"), a.Cmp(b)), true
	case strings.HasPrefix(family, "Date"):
		a, okA := date(value)
		b, okB := date(want)
		return okA && okB && sided(strings.TrimPrefix(operator, "Date"), a.Compare(b)), okA && okB
	}
	panic(operator)
}

func sided(relation string, sign int) bool {
	return map[string]bool{
		"Equals": sign == 0, "LessThan": sign < 0, "LessThanEquals": sign <= 0, "GreaterThan": sign > 0, "GreaterThanEquals": sign >= 0,
	}[relation]
}

func date(s string) (time.Time, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(n, 0), true
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
