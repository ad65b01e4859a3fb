package policy

import (
	"strconv"
	"strings"
	"time"
)

// Context has the values of a request's condition keys. The keys are in lower
// case; [Context.Set] sees to it. The keys that [Principal] and [Request] have
// fields for, such as aws:PrincipalArn and aws:CurrentTime, are taken from there
// and never from here.
type Context map[string][]string

// Set gives a key its values. A key without values is absent.
func (c Context) Set(name string, values ...string) {
	c[strings.ToLower(name)] = values
}

// key is the name of a condition key, in lower case, and where its values are.
type key struct {
	name   string
	source source
	tag    string // of fromTag, in lower case
}

type source uint8

const (
	fromContext source = iota
	fromTag
	principalARN
	principalAccount
	principalOrgID
	principalOrgPaths
	principalType
	principalIsService
	principalService
	principalServices
	userID
	userName
	currentTime
	epochTime
	resourceAccount
)

var sources = map[string]source{
	"aws:principalarn":              principalARN,
	"aws:principalaccount":          principalAccount,
	"aws:principalorgid":            principalOrgID,
	"aws:principalorgpaths":         principalOrgPaths,
	"aws:principaltype":             principalType,
	"aws:principalisawsservice":     principalIsService,
	"aws:principalservicename":      principalService,
	"aws:principalservicenameslist": principalServices,
	"aws:userid":                    userID,
	"aws:username":                  userName,
	"aws:currenttime":               currentTime,
	"aws:epochtime":                 epochTime,
	"aws:resourceaccount":           resourceAccount,
}

func newKey(name string) key {
	name = strings.ToLower(name)
	if tag, ok := strings.CutPrefix(name, "aws:principaltag/"); ok {
		return key{name: name, source: fromTag, tag: tag}
	}
	return key{name: name, source: sources[name]}
}

// values are those of one key in a request: one, or a list.
type values struct {
	one  string
	many []string
	n    int
}

func (v *values) at(i int) string {
	if v.many != nil {
		return v.many[i]
	}
	return v.one
}

func one(s string) values {
	if s == "" {
		return values{}
	}
	return values{one: s, n: 1}
}

// values looks a key up. Absent keys have no values.
func (e *evaluation) values(k *key) values {
	p := &e.request.Principal
	switch k.source {
	case fromTag:
		return tagValue(p.Tags, k.tag)
	case principalARN:
		if p.Kind == RoleSession {
			return one(p.Issuer)
		}
		if p.hasAccount() {
			return one(p.ARN)
		}
		return values{}
	case principalAccount:
		return one(p.Account)
	case principalOrgID:
		return one(p.OrgID)
	case principalOrgPaths:
		return values{many: p.OrgPaths, n: len(p.OrgPaths)}
	case principalType:
		return one(p.Kind.principalType())
	case principalIsService:
		switch {
		case p.Kind == Service:
			return one("true")
		case p.Kind == Anonymous:
			return values{}
		}
		return one("false")
	case principalService:
		if p.Kind != Service || len(p.Services) == 0 {
			return values{}
		}
		return one(p.Services[0])
	case principalServices:
		if p.Kind != Service {
			return values{}
		}
		return values{many: p.Services, n: len(p.Services)}
	case userID:
		return one(p.userID())
	case userName:
		if p.Kind != User {
			return values{}
		}
		return one(p.UserName)
	case currentTime:
		if e.request.Time.IsZero() {
			return values{}
		}
		return one(e.request.Time.UTC().Format(time.RFC3339Nano))
	case epochTime:
		if e.request.Time.IsZero() {
			return values{}
		}
		return one(strconv.FormatInt(e.request.Time.Unix(), 10))
	case resourceAccount:
		return one(e.request.ResourceAccount)
	}
	v := e.request.Context[k.name]
	return values{many: v, n: len(v)}
}

// tagValue finds a tag; the case of its key does not matter. A tag may be empty,
// and is there all the same.
func tagValue(tags map[string]string, name string) values {
	if v, ok := tags[name]; ok {
		return values{one: v, n: 1}
	}
	for k, v := range tags {
		if strings.EqualFold(k, name) {
			return values{one: v, n: 1}
		}
	}
	return values{}
}
