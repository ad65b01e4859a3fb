package endpoint

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// corsRule is one rule of which foreign pages may ask.
type corsRule struct {
	Origins []string `xml:"AllowedOrigin"`
	Methods []string `xml:"AllowedMethod"`
	Headers []string `xml:"AllowedHeader"`
	Exposes []string `xml:"ExposeHeader"`
	MaxAge  *int     `xml:"MaxAgeSeconds"`
}

func parseCORS(text []byte) ([]corsRule, error) {
	var c struct {
		Rules []corsRule `xml:"CORSRule"`
	}
	if err := parse(text, &c); err != nil {
		return nil, err
	}
	return c.Rules, nil
}

func checkCORS(_ *Endpoint, _ *request, text []byte) ([]byte, error) {
	rules, err := parseCORS(text)
	if err != nil {
		return nil, err
	}
	if len(rules) == 0 || len(rules) > 100 {
		return nil, errMalformedXML
	}
	for _, rule := range rules {
		if len(rule.Origins) == 0 || len(rule.Methods) == 0 {
			return nil, errMalformedXML
		}
		for _, m := range rule.Methods {
			if !slices.Contains([]string{"GET", "PUT", "POST", "DELETE", "HEAD"}, m) {
				return nil, errRequest.messagef("Found unsupported HTTP method in CORS config. Unsupported method is %s", m)
			}
		}
		for _, o := range rule.Origins {
			if strings.Count(o, "*") > 1 {
				return nil, errRequest.messagef(`AllowedOrigin "%s" can not have more than one wildcard.`, o)
			}
		}
		for _, h := range rule.Headers {
			if strings.Count(h, "*") > 1 {
				return nil, errRequest.messagef(`AllowedHeader "%s" can not have more than one wildcard.`, h)
			}
		}
	}
	return text, nil
}

func (b *bucket) readCORS() (err error) {
	text, ok := b.Documents["cors"]
	if !ok {
		return nil
	}
	if b.cors, err = parseCORS([]byte(text)); err != nil {
		return fmt.Errorf("read the CORS configuration of bucket %s: %w", b.Name, err)
	}
	return nil
}

// covers reports whether a pattern with at most one asterisk covers a text.
func covers(pattern, text string) bool {
	front, back, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == text
	}
	return len(text) >= len(front)+len(back) && strings.HasPrefix(text, front) && strings.HasSuffix(text, back)
}

// rule returns the first rule for an origin, a method and the headers that a
// preflight asks for.
func (b *bucket) corsRule(origin, method string, headers []string) *corsRule {
	for i := range b.cors {
		rule := &b.cors[i]
		if !slices.Contains(rule.Methods, method) || !slices.ContainsFunc(rule.Origins, func(o string) bool { return covers(o, origin) }) {
			continue
		}
		if !slices.ContainsFunc(headers, func(h string) bool {
			return !slices.ContainsFunc(rule.Headers, func(p string) bool { return covers(strings.ToLower(p), h) })
		}) {
			return rule
		}
	}
	return nil
}

// tell adds a rule's headers to an answer.
func (rule *corsRule) tell(h http.Header, origin string) {
	allowed := origin
	if slices.Contains(rule.Origins, "*") {
		allowed = "*"
	} else {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	h.Set("Access-Control-Allow-Origin", allowed)
	h.Set("Access-Control-Allow-Methods", strings.Join(rule.Methods, ", "))
	if len(rule.Exposes) > 0 {
		h.Set("Access-Control-Expose-Headers", strings.Join(rule.Exposes, ", "))
	}
	if rule.MaxAge != nil {
		h.Set("Access-Control-Max-Age", strconv.Itoa(*rule.MaxAge))
	}
	h.Add("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method")
}

// allowOrigin adds what a page of another origin needs to read the answer.
func (b *bucket) allowOrigin(r *request) {
	if origin := r.header("Origin"); origin != "" {
		if rule := b.corsRule(origin, r.http.Method, nil); rule != nil {
			rule.tell(r.w.Header(), origin)
		}
	}
}

// preflight answers whether a page may send what it is about to. Nobody signs that.
func (e *Endpoint) preflight(r *request) error {
	r.record.Operation = "OPTIONS"
	b, err := e.bucket(r.ctx(), r.name)
	if err != nil {
		return err
	}
	origin, method := r.header("Origin"), r.header("Access-Control-Request-Method")
	if origin == "" || method == "" {
		return &Error{Status: 400, Code: "BadRequest", Message: "Insufficient information. Origin request header needed."}
	}
	var headers []string
	for h := range strings.SplitSeq(r.header("Access-Control-Request-Headers"), ",") {
		if h = strings.ToLower(strings.TrimSpace(h)); h != "" {
			headers = append(headers, h)
		}
	}
	denied := &Error{Status: 403, Code: "AccessForbidden", Message: "CORSResponse: CORS is not enabled for this bucket."}
	if len(b.cors) > 0 {
		denied = denied.messagef("CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.")
	}
	rule := b.corsRule(origin, method, headers)
	if rule == nil {
		return denied.with(Field{"Method", method}, Field{"ResourceType", r.kind()})
	}
	rule.tell(r.w.Header(), origin)
	if len(headers) > 0 {
		r.w.Header().Set("Access-Control-Allow-Headers", strings.Join(headers, ", "))
	}
	r.ids()
	r.w.WriteHeader(http.StatusOK)
	return nil
}
