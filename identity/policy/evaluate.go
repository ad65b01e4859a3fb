package policy

import "time"

// Request is what someone wants to do.
type Request struct {
	Principal Principal
	// Action such as lambda:InvokeFunction.
	Action string
	// Resource is the ARN of what the action is on, or * for actions that are on
	// none in particular.
	Resource string
	// ResourceAccount owns the resource. Without one the request stays in the
	// principal's account.
	ResourceAccount string
	// Time of the request, for aws:CurrentTime and aws:EpochTime; absent when zero.
	Time time.Time
	// Context has the other condition keys. It may be nil.
	Context Context
}

// Policies are the documents that have a say in a request. What is absent does
// not restrict and does not permit.
type Policies struct {
	// Identity are those of the user and its groups, or of the role.
	Identity []*Document
	// Resource is the one of the resource, or the trust policy of the role that
	// sts:AssumeRole is about.
	Resource *Document
	// Boundary is the permissions boundary of the user or role.
	Boundary *Document
	// Session are those passed when the session was made.
	Session []*Document
	// Control are service control policies, from the organization's root down to
	// the account; each level must allow.
	Control [][]*Document
}

// evaluation is one request under way.
type evaluation struct {
	request *Request
}

// verdict is what documents of one type say together.
type verdict struct {
	denies bool
	allows named // how a permission names the principal; not 0 means there is one
}

// Evaluate decides. An explicit denial decides alone; the rest follows AWS's
// documented order of policy types, in one account or across two.
func Evaluate(r *Request, p *Policies) Decision {
	e := evaluation{r}
	d := Decision{principal: r.Principal.name(), action: r.Action, resource: r.Resource}
	resourceType := ResourceBased
	if p.Resource != nil && p.Resource.kind == Trust {
		resourceType = RoleTrust
	}
	member := r.Principal.hasAccount()

	// Who has no account is bound by the resource's policy alone.
	if !member {
		resource := e.one(p.Resource)
		return d.because(resource.allows != 0 && !resource.denies, resourceType, resource.denies)
	}

	controlled := true
	for _, level := range p.Control {
		v := e.all(level)
		if v.denies {
			return d.because(false, ServiceControl, true)
		}
		controlled = controlled && v.allows != 0
	}
	resource := e.one(p.Resource)
	if resource.denies {
		return d.because(false, resourceType, true)
	}
	// A root user has no policies of its own, and may all.
	root := r.Principal.Kind == Root
	identity, boundary, session := verdict{allows: namedEveryone}, verdict{}, verdict{}
	if !root {
		identity, boundary, session = e.all(p.Identity), e.one(p.Boundary), e.all(p.Session)
	}
	switch {
	case identity.denies:
		return d.because(false, IdentityBased, true)
	case boundary.denies:
		return d.because(false, PermissionsBoundary, true)
	case session.denies:
		return d.because(false, SessionPolicy, true)
	case !controlled:
		return d.because(false, ServiceControl, false)
	}

	permitted := identity.allows != 0
	if r.ResourceAccount == "" || r.ResourceAccount == r.Principal.Account {
		// Within one account a policy of either side is enough, except that a role
		// must trust. Who is named directly is not limited by what others leave
		// out; a role's sessions are, except by the role's policies. An account
		// that is named delegates to its identities' policies.
		switch {
		case resourceType == RoleTrust && resource.allows == 0:
			return d.because(false, RoleTrust, false)
		case resource.allows&(namedDirectly|namedEveryone) != 0:
			return d.because(true, 0, false)
		}
		permitted = permitted || resource.allows&namedIssuer != 0
	}
	switch {
	case !permitted:
		return d.because(false, IdentityBased, false)
	case !root && p.Boundary != nil && boundary.allows == 0:
		return d.because(false, PermissionsBoundary, false)
	case len(p.Session) > 0 && !root && session.allows == 0, len(p.Session) == 0 && r.Principal.Kind == FederatedUser:
		return d.because(false, SessionPolicy, false)
	case r.ResourceAccount != "" && r.ResourceAccount != r.Principal.Account && resource.allows == 0:
		return d.because(false, resourceType, false)
	}
	return d.because(true, 0, false)
}

// all asks documents of which one permission is enough.
func (e *evaluation) all(documents []*Document) verdict {
	var v verdict
	for _, d := range documents {
		if e.ask(d, &v); v.denies {
			break
		}
	}
	return v
}

func (e *evaluation) one(d *Document) verdict {
	var v verdict
	if d != nil {
		e.ask(d, &v)
	}
	return v
}

// ask adds what a document says. After a denial it stops.
func (e *evaluation) ask(d *Document, v *verdict) {
	for i := range d.statements {
		s := &d.statements[i]
		// A permission that adds nothing need not be matched.
		if !s.deny && (v.allows == namedEveryone || s.who == nil && v.allows != 0) {
			continue
		}
		who := s.covers(e)
		switch {
		case who == 0:
		case s.deny:
			v.denies = true
			return
		default:
			v.allows |= who
		}
	}
}

// covers reports whether the statement is about the request, and how it names the
// principal.
func (s *statement) covers(e *evaluation) named {
	r := e.request
	if s.actions.covers(r.Action) == s.notAction {
		return 0
	}
	who := namedEveryone
	if s.who != nil {
		if who = s.who.covers(&r.Principal, s.deny); who == 0 {
			return 0
		}
	}
	if !s.coversResource(e) {
		return 0
	}
	for i := range s.conditions {
		if !s.conditions[i].met(e, s.deny) {
			return 0
		}
	}
	return who
}

// actions are the patterns of Action or NotAction.
type actions []pattern

func (a actions) covers(action string) bool {
	for i := range a {
		if a[i].matchesAction(action) {
			return true
		}
	}
	return false
}

// coversResource reports whether the statement is about the request's resource. A
// pattern with a variable that has no value matches nothing; a permission for
// all but such a pattern permits nothing.
func (s *statement) coversResource(e *evaluation) bool {
	if s.resources == nil {
		return true
	}
	known := true
	for i := range s.resources {
		p := s.resources[i]
		if p.form >= formVariable {
			var ok bool
			if p, ok = p.fill(e); !ok {
				known = false
				continue
			}
		}
		if matchesResource(p, e.request.Resource) {
			return !s.notResource
		}
	}
	return s.notResource && (known || s.deny)
}
