package logs

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A filter pattern is one of three:
//
//	ERROR "exact phrase" -absent ?either ?or %regular expression%
//	{ $.level = "ERROR" && ($.latency > 100 || $.items[*].id = 4*) }
//	[ip, user, ..., status = 4* && status != 404, bytes]
//
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html

// parsePattern returns what tells whether a message matches; nil is all of them.
// Its error is an exception.
func parsePattern(text string) (func(message []byte) bool, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "" || text == `""`:
		return nil, nil
	case text[0] == '{':
		if len(text) < 2 || text[len(text)-1] != '}' {
			return nil, invalidParameter("If a filter pattern starts with '{' it must end with '}'")
		}
		return parseJSONPattern(text[1 : len(text)-1])
	case text[0] == '[':
		if len(text) < 2 || text[len(text)-1] != ']' {
			return nil, invalidParameter("If a filter pattern starts with '[' it must end with ']'")
		}
		return parseFieldsPattern(text[1 : len(text)-1])
	}
	return parseTerms(text)
}

func invalidPattern() error { return invalidParameter("Invalid filter pattern") }

// term is one word, phrase or regular expression of a text pattern.
type term struct {
	text []byte
	expr *regexp.Regexp
}

func (t term) in(message []byte) bool {
	if t.expr != nil {
		return t.expr.Match(message)
	}
	return bytes.Contains(message, t.text)
}

// parseTerms parses a pattern for unstructured text.
func parseTerms(text string) (func([]byte) bool, error) {
	var required, excluded, optional []term
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimLeftFunc(text, unicode.IsSpace) {
		into := &required
		switch text[0] {
		case '-':
			into = &excluded
		case '?':
			into = &optional
		}
		if into != &required {
			text = strings.TrimLeftFunc(text[1:], unicode.IsSpace)
		}
		var t term
		var err error
		if t, text, err = nextTerm(text); err != nil {
			return nil, err
		}
		*into = append(*into, t)
	}
	return func(message []byte) bool {
		for _, t := range excluded {
			if t.in(message) {
				return false
			}
		}
		for _, t := range required {
			if !t.in(message) {
				return false
			}
		}
		if len(optional) == 0 || len(required)+len(excluded) > 0 {
			return true // beside other terms, those with a question mark have no effect
		}
		for _, t := range optional {
			if t.in(message) {
				return true
			}
		}
		return false
	}, nil
}

// nextTerm reads one term, without what says how it is meant.
func nextTerm(text string) (t term, rest string, err error) {
	switch {
	case text == "":
		return term{}, "", invalidPattern()
	case text[0] == '"':
		phrase, rest, ok := cutQuoted(text)
		if !ok {
			return term{}, "", invalidPattern()
		}
		return term{text: []byte(phrase)}, rest, nil
	case text[0] == '%':
		expr, rest, err := cutRegexp(text)
		return term{expr: expr}, rest, err
	}
	end := strings.IndexFunc(text, unicode.IsSpace)
	if end < 0 {
		end = len(text)
	}
	word := text[:end]
	if strings.ContainsFunc(word, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		return term{}, "", invalidParameter("Invalid character(s) in term '%s'", word)
	}
	return term{text: []byte(word)}, text[end:], nil
}

// cutQuoted reads a text in double quotes, in which a backslash protects the next
// quote or backslash.
func cutQuoted(text string) (inside, rest string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return b.String(), text[i+1:], true
		case c == '\\' && i+1 < len(text) && (text[i+1] == '"' || text[i+1] == '\\'):
			i++
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// maxRegexps is how many regular expressions a pattern may have.
const maxRegexps = 2

// cutRegexp reads a regular expression between percent signs. What AWS allows in
// one is a part of what Go does, and the same.
func cutRegexp(text string) (expr *regexp.Regexp, rest string, err error) {
	inside, rest, ok := strings.Cut(text[1:], "%")
	if !ok || inside == "" {
		return nil, "", invalidPattern()
	}
	escaped := false
	for _, r := range inside {
		alphanumeric := r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r))
		if !alphanumeric && !escaped && !strings.ContainsRune(`:_#=@/;,-^$?[]{}|\*+. `, r) || r >= utf8.RuneSelf {
			return nil, "", invalidParameter("Invalid character(s) in regular expression '%s'", inside)
		}
		escaped = r == '\\' && !escaped
	}
	expr, err = regexp.Compile(inside)
	if err != nil {
		return nil, "", invalidPattern()
	}
	return expr, rest, nil
}

// operand is the right side of a comparison.
type operand struct {
	text   string
	quoted bool
	number float64
	isNum  bool
	expr   *regexp.Regexp
	// An asterisk at either end stands for anything; open is what is between them.
	open        string
	left, right bool
}

func newOperand(text string, quoted bool) operand {
	o := operand{text: text, quoted: quoted}
	if !quoted {
		o.number, o.isNum = parseNumber(text)
	}
	o.open = text
	if o.left = strings.HasPrefix(o.open, "*"); o.left {
		o.open = o.open[1:]
	}
	if o.right = strings.HasSuffix(o.open, "*"); o.right {
		o.open = o.open[:len(o.open)-1]
	}
	return o
}

// parseNumber reads a number as patterns have them: no hexadecimal, no infinity.
func parseNumber(text string) (float64, bool) {
	if strings.Trim(text, "+-.0123456789eE") != "" || !strings.ContainsAny(text, "0123456789") {
		return 0, false
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil
}

// equals compares with a text.
func (o *operand) equals(text string) bool {
	switch {
	case o.expr != nil:
		return o.expr.MatchString(text)
	case o.left && o.right:
		return strings.Contains(text, o.open)
	case o.left:
		return strings.HasSuffix(text, o.open)
	case o.right:
		return strings.HasPrefix(text, o.open)
	}
	return text == o.text
}

// compare applies an operator to a text, which may be a number.
func (o *operand) compare(operator, text string) bool {
	n, isNum := 0.0, false
	if o.isNum {
		n, isNum = parseNumber(text)
	}
	switch operator {
	case "=":
		return isNum && n == o.number || o.equals(text)
	case "!=":
		return !(isNum && n == o.number || o.equals(text))
	case "<":
		return isNum && n < o.number
	case "<=":
		return isNum && n <= o.number
	case ">":
		return isNum && n > o.number
	}
	return isNum && n >= o.number
}

// condition is a part of a JSON pattern, or of a field of a fields pattern.
type condition[T any] func(T) bool

// conditions parses terms that && and || and parentheses join.
type conditions[T any] struct {
	text    string
	depth   int
	regexps int
	// one reads a single comparison.
	one func(*conditions[T]) (condition[T], error)
}

const maxDepth = 100

func (p *conditions[T]) space() { p.text = strings.TrimLeftFunc(p.text, unicode.IsSpace) }

func (p *conditions[T]) skip(token string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.text, token)
	if ok {
		p.text = rest
	}
	return ok
}

// word skips a keyword, whatever its case.
func (p *conditions[T]) word(word string) bool {
	p.space()
	if len(p.text) < len(word) || !strings.EqualFold(p.text[:len(word)], word) {
		return false
	}
	if len(p.text) > len(word) && isNameByte(p.text[len(word)]) {
		return false
	}
	p.text = p.text[len(word):]
	return true
}

func isNameByte(c byte) bool {
	return c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func (p *conditions[T]) or() (condition[T], error) {
	left, err := p.and()
	for err == nil && p.skip("||") {
		var right condition[T]
		a := left
		if right, err = p.and(); err == nil {
			left = func(v T) bool { return a(v) || right(v) }
		}
	}
	return left, err
}

func (p *conditions[T]) and() (condition[T], error) {
	left, err := p.primary()
	for err == nil && p.skip("&&") {
		var right condition[T]
		a := left
		if right, err = p.primary(); err == nil {
			left = func(v T) bool { return a(v) && right(v) }
		}
	}
	return left, err
}

func (p *conditions[T]) primary() (condition[T], error) {
	if !p.skip("(") {
		return p.one(p)
	}
	if p.depth++; p.depth > maxDepth {
		return nil, invalidPattern()
	}
	inside, err := p.or()
	if err != nil {
		return nil, err
	}
	p.depth--
	if !p.skip(")") {
		return nil, invalidPattern()
	}
	return inside, nil
}

// operator reads what compares.
func (p *conditions[T]) operator() (string, bool) {
	for _, o := range []string{"!=", "<=", ">=", "=", "<", ">"} {
		if p.skip(o) {
			if o == "=" && p.skip("!") { // an old spelling that AWS's documents have
				return "!=", true
			}
			return o, true
		}
	}
	return "", false
}

// operand reads what is compared with.
func (p *conditions[T]) operand() (operand, error) {
	p.space()
	switch {
	case p.text == "":
		return operand{}, invalidPattern()
	case p.text[0] == '"':
		inside, rest, ok := cutQuoted(p.text)
		if !ok {
			return operand{}, invalidPattern()
		}
		p.text = rest
		return newOperand(inside, true), nil
	case p.text[0] == '%':
		if p.regexps++; p.regexps > maxRegexps {
			return operand{}, invalidParameter("A filter pattern can have at most %d regular expressions", maxRegexps)
		}
		expr, rest, err := cutRegexp(p.text)
		p.text = rest
		return operand{expr: expr}, err
	}
	end := strings.IndexFunc(p.text, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`()&|"%=<>!{},[]`, r) })
	if end < 0 {
		end = len(p.text)
	}
	if end == 0 {
		return operand{}, invalidPattern()
	}
	o := newOperand(p.text[:end], false)
	p.text = p.text[end:]
	return o, nil
}
