package policy

import "slices"

// narrowing are the condition keys whose values tell a bounded set of callers, as
// S3 has them in "The meaning of public".
var narrowing = []string{
	"aws:calledvia", "aws:principalaccount", "aws:principalarn", "aws:principalorgid", "aws:principalorgpaths", "aws:sourceaccount", "aws:sourcearn",
	"aws:sourceip", "aws:sourceorgid", "aws:sourceorgpaths", "aws:sourcevpc", "aws:sourcevpce", "aws:userid",
	"s3:dataaccesspointaccount", "s3:dataaccesspointarn", "s3:x-amz-server-side-encryption-aws-kms-key-id",
}

// Public reports whether the document permits something to everyone, as S3's
// Block Public Access sees it: a permission for all principals counts unless a
// condition with fixed values says which.
func (d *Document) Public() bool {
	return slices.ContainsFunc(d.statements, func(s statement) bool {
		if s.deny || s.who == nil || !s.who.everyone && !s.who.not {
			return false
		}
		return !slices.ContainsFunc(s.conditions, condition.narrows)
	})
}

// narrows reports whether only a bounded set of callers can meet the condition.
func (c condition) narrows() bool {
	if !slices.Contains(narrowing, c.key.name) || c.operator.negated || c.operator.ifExists || c.operator.values == forAllValues || len(c.operands) == 0 {
		return false
	}
	switch c.operator.compare {
	case ipAddress: // S3 takes a range of more than 2^24 addresses for everyone
		return !slices.ContainsFunc(c.operands, func(o operand) bool {
			return !o.network.IsValid() || o.network.Bits() < 8
		})
	case stringEquals, stringEqualsFold, stringLike, arnLike:
		return !slices.ContainsFunc(c.operands, func(o operand) bool {
			if o.pattern.form == formExact {
				return false
			}
			// A wildcard in the resource of an ARN leaves its account fixed.
			return c.operator.compare != arnLike || !fixedAccount(o.pattern)
		})
	}
	return false
}

// fixedAccount reports whether every ARN of a pattern is of one account or, where
// ARNs have none, of one resource.
func fixedAccount(p pattern) bool {
	if p.form >= formVariable {
		return false
	}
	text, colons := p.text, 0
	for i := range len(text) {
		switch {
		case text[i] == ':':
			if colons++; colons == segments-1 {
				return i > 0 && text[i-1] != ':' // an account was there
			}
		case text[i] >= anyOne:
			return false
		}
	}
	return false
}
