package policy

import (
	"strings"
	"unicode/utf8"
)

// Compiled patterns spell wildcards with bytes that UTF-8 never has, so that an
// asterisk that a variable stands for, or ${*}, stays an asterisk.
const (
	anyRun = '\xff' // *
	anyOne = '\xfe' // ?
)

// form says how much work a pattern is. Most are none.
type form uint8

const (
	formExact    form = iota // no wildcard
	formAll                  // * alone
	formPrefix               // one wildcard, * at the end
	formWild                 // anything else
	formVariable             // variables, filled in at each request
	formNever                // cannot be matched by any request, nor ruled out
)

// pattern is the compiled text of an action, a resource or a condition's value.
type pattern struct {
	form  form
	text  string // encoded; of formPrefix without the asterisk
	parts []part // of formVariable
}

// encode replaces the wildcards of literal policy text.
func encode(s string) string {
	s = plain(s)
	if strings.IndexByte(s, '*') < 0 && strings.IndexByte(s, '?') < 0 {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		switch c {
		case '*':
			b[i] = anyRun
		case '?':
			b[i] = anyOne
		}
	}
	return string(b)
}

// classify returns the pattern of an encoded text without variables.
func classify(text string) pattern {
	first := strings.IndexByte(text, anyRun)
	if one := strings.IndexByte(text, anyOne); one >= 0 && (first < 0 || one < first) {
		first = one
	}
	switch {
	case first < 0:
		return pattern{form: formExact, text: text}
	case first < len(text)-1 || text[first] == anyOne:
		return pattern{form: formWild, text: text}
	case first == 0:
		return pattern{form: formAll, text: text}
	}
	return pattern{form: formPrefix, text: text[:first]}
}

// matchesAction reports whether an action, such as lambda:InvokeFunction, is
// meant. Case does not matter.
func (p *pattern) matchesAction(action string) bool {
	switch p.form {
	case formAll:
		return true
	case formExact:
		return len(p.text) == len(action) && foldedPrefix(action, p.text)
	case formPrefix:
		return foldedPrefix(action, p.text)
	}
	return glob(p.text, action, true)
}

// matchesText reports whether an encoded text covers s as StringLike does: a
// wildcard covers any character.
func matchesText(p pattern, s string) bool {
	switch p.form {
	case formAll:
		return true
	case formExact:
		return s == p.text
	case formPrefix:
		return strings.HasPrefix(s, p.text)
	}
	return glob(p.text, s, false)
}

// matchesResource reports whether an encoded text covers an ARN as the Resource
// element does. In the first five of the parts between colons a wildcard stays
// inside its part, except that an asterisk which ends a part may go on beyond the
// colon; in the resource itself, after the fifth colon, wildcards cover all.
func matchesResource(p pattern, arn string) bool {
	switch p.form {
	case formAll:
		return true
	case formExact:
		return arn == p.text
	case formPrefix:
		return strings.HasPrefix(arn, p.text)
	}
	if bySegment(p.text, arn) {
		return true
	}
	if !runsOn(p.text) || strings.Count(arn, ":") <= strings.Count(p.text, ":") {
		return false
	}
	return strings.HasPrefix(arn, literalPrefix(p.text)) && strings.HasSuffix(arn, literalSuffix(p.text)) && acrossColons(p.text, arn)
}

// matchesARN reports whether an encoded text covers an ARN as ArnLike does: each
// of the six components for itself. A pattern of fewer components that ends in an
// asterisk covers whatever follows.
func matchesARN(p pattern, arn string) bool {
	switch p.form {
	case formAll:
		return true
	case formExact:
		return arn == p.text
	case formPrefix:
		return strings.HasPrefix(arn, p.text)
	}
	return bySegment(p.text, arn)
}

// segments is the number of components of an ARN. The last has colons of its own.
const segments = 6

// bySegment matches component by component.
func bySegment(p, s string) bool {
	for range segments - 1 {
		i, j := strings.IndexByte(p, ':'), strings.IndexByte(s, ':')
		if i < 0 {
			if j < 0 {
				return glob(p, s, false)
			}
			return p != "" && p[len(p)-1] == anyRun && glob(p, s[:j], false)
		}
		if j < 0 || !glob(p[:i], s[:j], false) {
			return false
		}
		p, s = p[i+1:], s[j+1:]
	}
	return glob(p, s, false)
}

// runsOn reports whether one of the first components ends in an asterisk, with
// another component behind it.
func runsOn(p string) bool {
	for range segments - 1 {
		i := strings.IndexByte(p, ':')
		if i < 0 {
			return false
		}
		if i > 0 && p[i-1] == anyRun {
			return true
		}
		p = p[i+1:]
	}
	return false
}

func literalPrefix(p string) string {
	for i := range len(p) {
		if p[i] >= anyOne {
			return p[:i]
		}
	}
	return p
}

func literalSuffix(p string) string {
	for i := len(p); i > 0; i-- {
		if p[i-1] >= anyOne {
			return p[i:]
		}
	}
	return p
}

// acrossColons is matchesResource for patterns whose asterisks may have to leave
// their component. It follows all ways through the pattern at once, so its time
// is the product of both lengths.
func acrossColons(p, s string) bool {
	var buffer [2][256]bool
	now, next := buffer[0][:], buffer[1][:]
	if len(p) >= len(now) {
		now, next = make([]bool, len(p)+1), make([]bool, len(p)+1)
	}
	now, next = now[:len(p)+1], next[:len(p)+1]
	now[0] = true
	for i := 0; ; i++ {
		// An asterisk may stand for nothing.
		for k := range len(p) {
			if now[k] && p[k] == anyRun {
				now[k+1] = true
			}
		}
		if i == len(s) {
			return now[len(p)]
		}
		clear(next)
		alive, c, segment := false, s[i], 1
		inside := !utf8.RuneStart(c)
		for k := range len(p) + 1 {
			if now[k] && inside && k > 0 && p[k-1] == anyOne {
				next[k], alive = true, true // the rest of the character that ? began
			}
			if k == len(p) {
				break
			}
			t := p[k]
			if now[k] {
				free := c != ':' || segment == segments || t == anyRun && (k+1 == len(p) || p[k+1] == ':')
				switch {
				case t == anyRun && free:
					next[k], alive = true, true
				case t == anyOne && free && !inside, t == c:
					next[k+1], alive = true, true
				}
			}
			if t == ':' && segment < segments {
				segment++
			}
		}
		if !alive {
			return false
		}
		now, next = next, now
	}
}

// glob matches an encoded pattern; fold ignores the case of ASCII letters. Only
// the last asterisk is ever reconsidered, so its time is at most the product of
// both lengths.
func glob(p, s string, fold bool) bool {
	i, k := 0, 0
	star, from := -1, 0
	for i < len(s) {
		if k < len(p) {
			switch c := p[k]; {
			case c == anyRun:
				star, from = k, i
				k++
				continue
			case c == anyOne:
				i += width(s[i:])
				k++
				continue
			case c == s[i] || fold && lower(c) == lower(s[i]):
				i++
				k++
				continue
			}
		}
		if star < 0 {
			return false
		}
		from += width(s[from:])
		i, k = from, star+1
	}
	for k < len(p) && p[k] == anyRun {
		k++
	}
	return k == len(p)
}

// width is the number of bytes of the first character.
func width(s string) int {
	if s[0] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(s)
	return n
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// foldedPrefix reports whether s begins with prefix, ignoring the case of ASCII
// letters.
func foldedPrefix(s, prefix string) bool {
	if len(s) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if lower(s[i]) != lower(prefix[i]) {
			return false
		}
	}
	return true
}
