package policy

import "strings"

// part is a piece of a text with variables: literal text, or a variable.
type part struct {
	text     string // encoded literal
	key      key    // of a variable; its name is empty for literals
	fallback string // 'default'
	defaults bool
}

// maxDefault is how long a default with a brace in it may be.
const maxDefault = 512

// split cuts a text at its variables. Only documents of version 2012-10-17 have
// variables; ${*}, ${?} and ${$} are the characters themselves. wild says whether
// * and ? are wildcards here.
func split(s string, wild bool) []part {
	literal := func(s string) string {
		if wild {
			return encode(s)
		}
		return s
	}
	var parts []part
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			parts = append(parts, part{text: b.String()})
			b.Reset()
		}
	}
	for {
		before, rest, found := strings.Cut(s, "${")
		if !found {
			break
		}
		end := strings.IndexByte(rest, '}')
		if end < 0 {
			break
		}
		name := rest[:end]
		if at := strings.IndexByte(name, '\''); at >= 0 {
			// A default may have a brace. Looking no further than maxDefault keeps
			// the time linear.
			from := at + 1
			if closing := strings.Index(rest[from:min(len(rest), from+maxDefault)], "'}"); closing >= 0 {
				end = from + closing + 1
				name = rest[:end]
			}
		}
		b.WriteString(literal(before))
		s = rest[end+1:]
		switch name {
		case "*", "?", "$":
			b.WriteString(name)
			continue
		}
		flush()
		v := part{}
		if key, text, ok := strings.Cut(name, ","); ok {
			name = key
			text = strings.TrimSpace(text)
			if len(text) >= 2 && text[0] == '\'' && text[len(text)-1] == '\'' {
				v.fallback, v.defaults = text[1:len(text)-1], true
			}
		}
		v.key = newKey(strings.TrimSpace(name))
		parts = append(parts, v)
	}
	b.WriteString(literal(s))
	flush()
	return parts
}

// compileText returns the pattern of a resource or a condition's value. Without
// variables the text is only encoded, and without wild not even that.
func compileText(s string, variables, wild bool) pattern {
	s = plain(s)
	if !variables || !strings.Contains(s, "${") {
		if !wild {
			return pattern{form: formExact, text: s}
		}
		return classify(encode(s))
	}
	parts := split(s, wild)
	switch {
	case len(parts) == 0:
		return pattern{form: formExact}
	case len(parts) > 1 || parts[0].key.name != "":
		return pattern{form: formVariable, parts: parts}
	case !wild:
		return pattern{form: formExact, text: parts[0].text}
	}
	return classify(parts[0].text)
}

// compileResource returns the pattern of a Resource. Variables stand after the
// fifth colon only; elsewhere AWS does not replace them, and nothing matches.
func compileResource(s string, variables bool) pattern {
	if variables {
		head := s
		for i, colons := 0, 0; i < len(s); i++ {
			if s[i] == ':' {
				if colons++; colons == segments-1 {
					head = s[:i]
					break
				}
			}
		}
		if before, _, found := strings.Cut(head, "${"); found && strings.Contains(before, ":") {
			return pattern{form: formNever}
		}
	}
	return compileText(s, variables, true)
}

// plain returns s without the bytes that stand for wildcards.
func plain(s string) string {
	if strings.IndexByte(s, anyRun) < 0 && strings.IndexByte(s, anyOne) < 0 {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// fill returns the pattern with the variables of a request in it. It is false
// when a variable has no value, or several, and no default.
func (p *pattern) fill(e *evaluation) (pattern, bool) {
	switch p.form {
	default:
		return *p, true
	case formNever:
		return pattern{}, false
	case formVariable:
	}
	var b strings.Builder
	for i := range p.parts {
		part := &p.parts[i]
		if part.key.name == "" {
			b.WriteString(part.text)
			continue
		}
		switch v := e.values(&part.key); {
		case v.n == 1:
			b.WriteString(plain(v.at(0)))
		case part.defaults:
			b.WriteString(part.fallback)
		default:
			return pattern{}, false
		}
	}
	return classify(b.String()), true
}
