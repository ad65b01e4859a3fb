package endpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/lamina-run/lamina/identity/policy"
)

// policyKind is the bucket policy among a bucket's documents. Unlike the others
// it is JSON.
const policyKind = "policy"

const policyBytes = 20 << 10

func (b *bucket) readPolicy() error {
	text, ok := b.Documents[policyKind]
	if !ok {
		return nil
	}
	d, err := policy.Parse(text, policy.Rules{Kind: policy.Resource})
	if err != nil {
		return fmt.Errorf("read the policy of bucket %s: %w", b.Name, err)
	}
	b.policy, b.public = d, d.Public()
	return nil
}

func (e *Endpoint) getBucketPolicy(r *request) error {
	text, ok := r.b.Documents[policyKind]
	if !ok {
		return noSuch("NoSuchBucketPolicy", "The bucket policy does not exist").with(Field{"BucketName", r.name})
	}
	r.w.Header().Set("Content-Type", "application/json")
	r.ids()
	_, _ = r.w.Write([]byte(text)) // the client is gone
	return nil
}

func (e *Endpoint) putBucketPolicy(r *request) error {
	text, err := r.body()
	if err != nil {
		return err
	}
	d, err := parsePolicy(string(text), r.name)
	if err != nil {
		return err
	}
	if d.Public() && r.b.access.BlockPublicPolicy {
		return errAccessDenied.messagef(`User: %s is not authorized to perform: s3:PutBucketPolicy on resource: "%s" because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.`,
			r.caller.ARN, r.b.arn())
	}
	if err := e.keep(r.ctx(), r.name, map[string]string{policyKind: string(text)}); err != nil {
		return err
	}
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (e *Endpoint) deleteBucketPolicy(r *request) error { return e.deleteDocument(r, policyKind) }

func (e *Endpoint) getBucketPolicyStatus(r *request) error {
	if r.b.policy == nil {
		return noSuch("NoSuchBucketPolicy", "The bucket policy does not exist").with(Field{"BucketName", r.name})
	}
	return r.writeXML(http.StatusOK, fmt.Appendf(nil, `<PolicyStatus xmlns="%s"><IsPublic>%t</IsPublic></PolicyStatus>`, namespace, r.b.public))
}

var errPolicy = &Error{Status: 400, Code: "MalformedPolicy"}

// texts is one string or a list of them.
type texts []string

func (t *texts) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(t))
}

type policyStatement struct {
	Action, NotAction, Resource, NotResource texts
}

// statements are one or a list.
type statements []policyStatement

func (s *statements) UnmarshalJSON(data []byte) error {
	if data[0] == '{' {
		*s = make(statements, 1)
		return json.Unmarshal(data, &(*s)[0])
	}
	return json.Unmarshal(data, (*[]policyStatement)(s))
}

// parsePolicy reads a bucket's policy as PutBucketPolicy does: its language, and
// that it is about the bucket and what is in it.
func parsePolicy(text, bucket string) (*policy.Document, error) {
	if !strings.HasPrefix(strings.TrimSpace(text), "{") || !json.Valid([]byte(text)) {
		return nil, errPolicy.messagef("Policies must be valid JSON and the first byte must be '{'")
	}
	if len(text) > policyBytes {
		return nil, &Error{Status: 400, Code: "PolicyTooLarge", Message: "The policy exceeds the maximum allowed document size."}
	}
	d, err := policy.Parse(text, policy.Rules{Kind: policy.Resource})
	if malformed, ok := errors.AsType[*policy.Malformed](err); ok {
		message := malformed.Text
		if strings.HasPrefix(message, "Invalid principal in policy") { // S3 names the principal in an element of its own
			_, detail, _ := strings.Cut(message, ": ")
			return nil, errPolicy.messagef("Invalid principal in policy").with(Field{"Detail", strings.ReplaceAll(detail, `":"`, `" : "`)})
		}
		return nil, errPolicy.messagef("%s", message)
	}
	if err != nil {
		return nil, errPolicy.messagef("%s", err)
	}
	var read struct{ Statement statements }
	if err := json.Unmarshal([]byte(text), &read); err != nil {
		return nil, errPolicy.messagef("Syntax errors in policy.")
	}
	arn := "arn:aws:s3:::" + bucket
	for _, s := range read.Statement {
		for _, a := range slices.Concat(s.Action, s.NotAction) {
			if vendor, _, _ := strings.Cut(a, ":"); a != "*" && !strings.EqualFold(vendor, "s3") {
				return nil, errPolicy.messagef("Policy has invalid action")
			}
		}
		for _, resource := range slices.Concat(s.Resource, s.NotResource) {
			if !aboutBucket(resource, arn) {
				return nil, errPolicy.messagef("Policy has invalid resource")
			}
		}
	}
	return d, nil
}

// aboutBucket reports whether a resource of a policy can be the bucket or
// something in it, and nothing else. Wildcards may stand for the end of its name.
func aboutBucket(resource, arn string) bool {
	name, _, _ := strings.Cut(resource, "/")
	if i := strings.IndexAny(name, "*?"); i >= 0 {
		// S3 takes a pattern of the name when it covers this bucket's.
		return i >= len("arn:aws:s3:::") && name[:i] == arn[:min(i, len(arn))] && globs(name, arn)
	}
	return name == arn
}

// globs reports whether a pattern with asterisks and question marks covers a text.
func globs(pattern, text string) bool {
	p, s, star, from := 0, 0, -1, 0
	for s < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, s
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[s]):
			p++
			s++
		case star >= 0:
			from++
			p, s = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
