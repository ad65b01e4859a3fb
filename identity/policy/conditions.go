package policy

// condition is one key below one operator: all conditions of a statement must be
// met.
type condition struct {
	operator operator
	key      key
	operands []operand
}

// newCondition compiles a condition. Variables are those of version 2012-10-17.
func newCondition(o operator, name string, values []string, variables bool) condition {
	c := condition{operator: o, key: newKey(name), operands: make([]operand, len(values))}
	for i, v := range values {
		c.operands[i] = o.operand(v, variables)
	}
	return c
}

// met reports whether a request fulfils the condition. deny is the effect of the
// statement: a negated operator that cannot be decided holds for a denial, and
// does not for a permission.
func (c *condition) met(e *evaluation, deny bool) bool {
	v := e.values(&c.key)
	if c.operator.compare == null {
		return c.absent(v.n == 0)
	}
	if v.n == 0 {
		switch {
		case c.operator.ifExists || c.operator.values == forAllValues:
			return true
		case c.operator.values == forAnyValue:
			return false
		}
		return c.operator.negated
	}
	// Without a quantifier a negated operator must hold for each value, another
	// one for some.
	all := c.operator.values == forAllValues || c.operator.values == single && c.operator.negated
	for i := range v.n {
		text := v.at(i)
		if text == "" && c.operator.values != single {
			continue // an empty string is an empty set
		}
		if c.holds(text, e, deny) != all {
			return !all
		}
	}
	return all
}

// holds reports whether one value of the request matches one of the policy's, or
// with a negated operator none of them.
func (c *condition) holds(text string, e *evaluation, deny bool) bool {
	v := c.operator.requestValue(text)
	undecided := false
	for i := range c.operands {
		matches, known := c.operator.matches(&v, &c.operands[i], e)
		if matches {
			return !c.operator.negated
		}
		undecided = undecided || !known
	}
	if c.operator.negated && undecided {
		return deny
	}
	return c.operator.negated
}

// absent is the Null operator: "true" wants the key to be absent.
func (c *condition) absent(is bool) bool {
	for i := range c.operands {
		if want, ok := parseBool(c.operands[i].pattern.text); ok && want == is {
			return true
		}
	}
	return false
}
