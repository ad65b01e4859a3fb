package policy

import (
	"regexp"
	"slices"
	"strings"
)

// check holds a document to the rules, in the order of IAM's: when several are
// broken, the client reads of the same one.
func (doc *sourceDocument) check(rules Rules) error {
	if rules.Kind == Trust {
		return doc.checkTrust()
	}
	for i := range doc.statements {
		s := &doc.statements[i]
		switch {
		case !strings.EqualFold(s.effect, allow) && !strings.EqualFold(s.effect, deny):
			return malformed(textSyntax)
		case rules.Kind == Identity && (s.principal != nil || s.notPrincipal != nil):
			return malformed(textNoPrincipals)
		}
	}
	if rules.SecondVersion && doc.version != secondVersion {
		return malformed("Policy document must be version 2012-10-17 or greater.")
	}
	for i := range doc.statements {
		if err := doc.statements[i].checkLegacy(); err != nil {
			return err
		}
	}
	var resource error
	if rules.Kind == Identity {
		var err error
		if resource, err = doc.checkResources(); err != nil {
			return err
		}
	}
	if err := doc.checkSids(rules.Kind); err != nil {
		return err
	}
	for i := range doc.statements {
		if s := &doc.statements[i]; len(s.action)+len(s.notAction) == 0 {
			return malformed(textNoActions)
		}
	}
	if resource != nil {
		return resource
	}
	for i := range doc.statements {
		if err := doc.statements[i].checkActions(); err != nil {
			return err
		}
	}
	for i := range doc.statements {
		s := &doc.statements[i]
		if len(s.resource)+len(s.notResource) == 0 {
			return malformed(textNoResources)
		}
		if rules.Kind == Resource {
			if err := s.checkPrincipals(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (doc *sourceDocument) checkTrust() error {
	for i := range doc.statements {
		s := &doc.statements[i]
		switch {
		case s.effect == "":
			return malformed("Missing required field Effect")
		case s.effect != allow && s.effect != deny:
			return malformed("Invalid effect: %.128s", s.effect)
		case s.resource != nil || s.notResource != nil:
			return malformed("Has prohibited field Resource")
		case s.notPrincipal != nil && s.effect == allow:
			return malformed("Allow with NotPrincipal is not allowed.")
		}
		if err := s.checkPrincipals(); err != nil {
			return err
		}
		if len(s.action)+len(s.notAction) == 0 {
			return malformed("Missing required field Action")
		}
		for _, a := range slices.Concat(s.action, s.notAction) {
			if !foldedPrefix(a, "sts:") {
				return malformed("AssumeRole policy may only specify STS AssumeRole actions.")
			}
		}
		if err := s.checkLegacy(); err != nil {
			return err
		}
		if err := s.checkActions(); err != nil {
			return err
		}
	}
	return doc.checkSids(Trust)
}

// checkPrincipals holds the element to names that can be compared: a wildcard
// stands for everyone, never for a part.
func (s *sourceStatement) checkPrincipals() error {
	p := s.principal
	if p == nil {
		p = s.notPrincipal
	}
	if p == nil {
		return malformed(textNoPrincipal)
	}
	if len(p.pairs) == 0 {
		return malformed("Missing required field Principal cannot be empty!")
	}
	for _, pair := range p.pairs {
		if name := pair[1]; name == "" || name != "*" && strings.ContainsAny(name, "*?") {
			return malformed(`Invalid principal in policy: %q:%.256q`, pair[0], name)
		}
	}
	return nil
}

// checkLegacy holds a statement to what IAM's older parser reads.
func (s *sourceStatement) checkLegacy() error {
	if s.effect != allow && s.effect != deny {
		return malformed(textLegacy)
	}
	for _, c := range s.conditions {
		if !c.operator.isDate() {
			continue
		}
		for _, v := range c.values {
			if _, ok := parseInstant(v); !ok {
				return malformed(textLegacy)
			}
		}
	}
	return nil
}

var sidForm = regexp.MustCompile(`^[0-9A-Za-z]*$`)

// checkSids holds identifiers to be unique, and those of identity policies to be
// alphanumeric. Empty ones are absent ones.
func (doc *sourceDocument) checkSids(kind DocumentKind) error {
	seen := map[string]bool{}
	for i := range doc.statements {
		switch sid := doc.statements[i].sid; {
		case sid == "":
		case kind == Identity && !sidForm.MatchString(sid):
			return malformed("Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*")
		case seen[sid] && kind == Identity:
			return malformed("Statement IDs (SID) in a single policy must be unique.")
		case seen[sid]:
			return malformed("The Statement Ids in the policy are not unique")
		default:
			seen[sid] = true
		}
	}
	return nil
}

// checkActions holds actions to the form service:Name.
func (s *sourceStatement) checkActions() error {
	for _, a := range slices.Concat(s.action, s.notAction) {
		if a == "*" {
			continue
		}
		vendor, name, found := strings.Cut(a, ":")
		switch {
		case !found:
			return malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
		case strings.Contains(name, ":"):
			return malformed("Actions/Condition can contain only one colon.")
		case vendor != "*" && !vendorForm.MatchString(vendor):
			return malformed("Vendor %.128s is not valid", vendor)
		}
	}
	return nil
}

var vendorForm = regexp.MustCompile(`^[a-zA-Z0-9.-]*$`)

// checkResources returns the first resource that is not in ARN format, for which
// other errors come first, and the error of one that IAM's older parser cannot
// read. The latter is not looked for behind the former.
func (doc *sourceDocument) checkResources() (format, legacy error) {
	for i := range doc.statements {
		s := &doc.statements[i]
		for _, r := range slices.Concat(s.resource, s.notResource) {
			if r == "*" {
				continue
			}
			if format == nil {
				format = checkResource(r)
			}
			if format == nil && (strings.Count(r, ":") < segments-1 && strings.Contains(r, "::") || strings.Split(r, ":")[2] == "") {
				return nil, malformed(textLegacy)
			}
		}
	}
	return format, nil
}

// iamPaths is what resources of IAM itself begin with.
var iamPaths = []string{
	"user/", "federated-user/", "role/", "group/", "instance-profile/", "mfa/", "server-certificate/", "policy/", "sms-mfa/",
	"saml-provider/", "oidc-provider/", "report/", "access-report/",
}

// checkResource holds a resource that is not * to ARN format.
func checkResource(r string) error {
	_, rest, found := strings.Cut(r, ":")
	if !found {
		return malformed(`Resource %.512s must be in ARN format or "*".`, r)
	}
	partition, rest, found := strings.Cut(rest, ":")
	if partition != "aws" {
		parts := append(strings.SplitN(rest, ":", 4), "*", "*", "*", "*")
		if !found {
			parts = parts[1:]
		}
		return malformed(`Partition "%.128s" is not valid for resource "arn:%.128s:%.512s".`, partition, partition, strings.Join(parts[:4], ":"))
	}
	service, rest, more := strings.Cut(rest, ":")
	if !found || strings.ContainsAny(service, "*?") {
		return malformed("Resource vendor must be fully qualified and cannot contain regexes.")
	}
	region, rest, _ := strings.Cut(rest, ":")
	account, path, _ := strings.Cut(rest, ":")
	switch {
	case !more:
	case service == "iam" && region != "" && !strings.ContainsAny(region, "*?"):
		return malformed("IAM resource %.512s cannot contain region information.", r)
	case service == "s3" && region != "" && account == "":
		return malformed("Resource %.512s can not contain region information.", r)
	case service == "iam" && !slices.ContainsFunc(iamPaths, func(p string) bool {
		fixed := path
		if i := strings.IndexAny(path, "*?$"); i >= 0 {
			fixed = path[:i]
			return strings.HasPrefix(p, fixed) || strings.HasPrefix(fixed, p)
		}
		return strings.HasPrefix(fixed, p)
	}):
		return malformed(`IAM resource path must either be "*" or start with %s.`, strings.Join(iamPaths, ", "))
	}
	return nil
}

// compile turns a checked document into what requests are matched with.
func (doc *sourceDocument) compile(kind DocumentKind) *Document {
	variables := doc.version == secondVersion
	d := &Document{kind: kind, statements: make([]statement, len(doc.statements))}
	for i := range doc.statements {
		s := &doc.statements[i]
		out := &d.statements[i]
		out.deny = s.effect == deny
		out.notAction, out.notResource = s.notAction != nil, s.notResource != nil
		for _, a := range slices.Concat(s.action, s.notAction) {
			out.actions = append(out.actions, classify(encode(a)))
		}
		for _, r := range slices.Concat(s.resource, s.notResource) {
			out.resources = append(out.resources, compileResource(r, variables))
		}
		if p := s.principal; p != nil {
			out.who = compilePrincipal(p, false)
		} else if p := s.notPrincipal; p != nil {
			out.who = compilePrincipal(p, true)
		}
		for _, c := range s.conditions {
			out.conditions = append(out.conditions, newCondition(c.operator, c.key, c.values, variables))
		}
	}
	return d
}

func compilePrincipal(p *sourcePrincipal, not bool) *principals {
	who := &principals{not: not}
	for _, pair := range p.pairs {
		who.add(pair[0], pair[1])
	}
	return who
}
