package wire

import (
	"regexp"
	"strings"
	"sync"
	"unicode"
)

// pattern is a regular expression of the service. A value must match it as a
// whole.
type pattern struct {
	text  string            // as the service prints it
	match func(string) bool // hand-written, for what Go's regexp refuses; else nil

	once     sync.Once
	compiled *regexp.Regexp
}

func (p *pattern) matches(s string) bool {
	if p.match != nil {
		return p.match(s)
	}
	p.once.Do(func() { p.compiled = regexp.MustCompile(`\A(?:` + p.text + `)\z`) })
	return p.compiled.MatchString(s)
}

// enum is a set of words, printed in the service's order; some are accepted
// without being printed.
type enum struct {
	printed  []string
	accepted []string
}

func only(s string, ok func(r rune) bool) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !ok(r) })
}

func isWord(r rune) bool {
	return isDigit(r) || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' || r == '_'
}

func isDigit(r rune) bool { return r >= '0' && r <= '9' }

// matchAlias: word characters, not digits alone.
func matchAlias(s string) bool { return only(s, isWord) && !only(s, isDigit) }

// matchS3Bucket: word characters and dots, no dot at the end. The empty name
// matches; its length is another constraint.
func matchS3Bucket(s string) bool {
	return s == "" || only(s, func(r rune) bool { return isWord(r) || r == '.' }) && !strings.HasSuffix(s, ".")
}

// matchCollectionName: starts with a letter, digit or underscore, has no dollar
// sign, and is not of the system's.
func matchCollectionName(s string) bool {
	if s == "" || strings.HasPrefix(s, "system.") || strings.Contains(s, "$") {
		return false
	}
	first := rune(s[0])
	return first < unicode.MaxASCII && first != '-' && isWord(first)
}
