package differential

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// model is the service model, as far as requests need it.
type model struct {
	Operations map[string]*operation
	Shapes     map[string]*shape
}

type operation struct {
	Name  string
	HTTP  struct{ Method, RequestURI string }
	Input *ref
}

type ref struct{ Shape, Location, LocationName string }

type shape struct {
	Type        string
	Members     map[string]ref
	Required    []string
	Payload     string
	Member      *ref
	Key, Value  *ref
	Enum        []string
	Pattern     string
	Min, Max    *float64
	EventStream bool
}

func readModel(t *testing.T) *model {
	t.Helper()
	data, err := os.ReadFile("../../wire/wiregen/model.json")
	if err != nil {
		t.Fatal(err)
	}
	var m model
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return &m
}

// names returns the operations in a fixed order.
func (m *model) names() []string {
	var all []string
	for name := range m.Operations {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// request is one request, before it is signed.
type request struct {
	Operation string
	Method    string
	Path      string // escaped, with the query
	Header    map[string]string
	Body      []byte
	Spoiled   bool // something in it is wrong on purpose
}

// generator makes requests. With the same seed and the same names it makes the
// same ones.
type generator struct {
	*model
	r *rand.Rand
	// names are values that exist on the server, by member or shape.
	known map[string][]string
	zip   []byte
	// tame are requests that succeed on a server as furnish leaves it, of
	// operations of which random requests hardly ever do.
	tame map[string]func() map[string]any
	made int // requests so far, for names that are new

	spoil    bool // spoil something
	spoiled  bool // done
	optional int  // percent of the optional members that are there
}

func (g *generator) chance(percent int) bool { return g.r.IntN(100) < percent }

func pick[T any](g *generator, all []T) T { return all[g.r.IntN(len(all))] }

// request makes one of an operation.
func (g *generator) request(name string) request {
	op := g.Operations[name]
	g.spoil, g.spoiled, g.optional = g.chance(35), false, pick(g, []int{0, 10, 30, 60})
	g.made++
	var tame map[string]any
	if f := g.tame[name]; f != nil && !g.spoil && g.chance(20) {
		tame = f()
	}
	out := request{Operation: name, Method: op.HTTP.Method, Header: map[string]string{}}
	path, query := op.HTTP.RequestURI, url.Values{}
	if before, literal, ok := strings.Cut(path, "?"); ok {
		path = before
		query, _ = url.ParseQuery(literal) // of the model
	}
	body := map[string]any{}
	var payload []byte
	if op.Input != nil {
		in := g.Shapes[op.Input.Shape]
		for _, member := range sorted(in.Members) {
			at := in.Members[member]
			required := slices.Contains(in.Required, member)
			value, given := tame[member]
			if !given && (tame != nil || !required && !g.chance(g.optional)) {
				continue
			}
			if required && at.Location != "uri" && g.spoiling(4) {
				continue
			}
			if !given {
				value = g.value(member, at.Shape, 0)
			}
			wire := at.LocationName
			if wire == "" {
				wire = member
			}
			switch {
			case in.Payload == member:
				payload = g.payload(at.Shape, value)
			case at.Location == "uri":
				text := fmt.Sprint(value)
				if text == "" || text == "." || text == ".." {
					text = "-" // another path, which signers clean in different ways
				}
				path = strings.ReplaceAll(path, "{"+wire+"}", url.PathEscape(text))
				path = strings.ReplaceAll(path, "{"+wire+"+}", url.PathEscape(text))
			case at.Location == "querystring":
				if list, ok := value.([]any); ok {
					for _, v := range list {
						query.Add(wire, fmt.Sprint(v))
					}
					continue
				}
				query.Set(wire, fmt.Sprint(value))
			case at.Location == "header":
				if text := fmt.Sprint(value); printable(text) {
					out.Header[wire] = text
				}
			case at.Location == "statusCode":
			default:
				body[wire] = value
			}
		}
		if in.Payload == "" && len(body) > 0 {
			if g.spoiling(2) {
				body["NoSuchMember"] = g.junk()
			}
			payload, _ = json.Marshal(body) // maps and scalars
			if g.spoiling(4) {
				payload = g.broken(payload)
			}
		}
	}
	out.Path = path
	if len(query) > 0 {
		out.Path += "?" + query.Encode()
	}
	out.Body, out.Spoiled = payload, g.spoiled
	return out
}

// payload is what a member that is the whole body travels as.
func (g *generator) payload(name string, value any) []byte {
	if g.Shapes[name].Type != "blob" {
		text, _ := json.Marshal(value) // maps and scalars
		return text
	}
	if g.spoiling(15) {
		return g.broken([]byte(`{"a":[1,"b"]}`))
	}
	text, _ := json.Marshal(g.junk()) // maps and scalars
	return text
}

// spoiling reports whether to do something wrong here: at most once in a request.
func (g *generator) spoiling(percent int) bool {
	if g.spoil && !g.spoiled && g.chance(percent) {
		g.spoiled = true
		return true
	}
	return false
}

func (g *generator) junk() any {
	return pick(g, []any{nil, true, "text", "", 0, -1, 3.5, 1e300, []any{}, []any{map[string]any{}}, map[string]any{"a": []any{1, "b", nil}}, strings.Repeat("x", 5000), "\x00", "ü\u2028😀"})
}

// broken damages a document.
func (g *generator) broken(document []byte) []byte {
	switch g.r.IntN(7) {
	case 0:
		return document[:g.r.IntN(len(document))]
	case 1:
		return append(slices.Clone(document), '}')
	case 2:
		damaged := slices.Clone(document)
		damaged[g.r.IntN(len(damaged))] = byte(g.r.IntN(256))
		return damaged
	case 3:
		return []byte("\xff\xfe{}")
	case 4:
		return []byte(strings.Repeat("[", 20_000))
	case 5:
		return []byte(`"` + strings.Repeat("\\u0000", 10) + `"`)
	default:
		return []byte("[]")
	}
}

// value makes one of a shape. Member is what it is called, for names that exist.
func (g *generator) value(member, name string, depth int) any {
	s := g.Shapes[name]
	if g.spoiling(12) {
		return g.wrong(s)
	}
	switch s.Type {
	case "structure":
		out := map[string]any{}
		for _, m := range sorted(s.Members) {
			if slices.Contains(s.Required, m) && !g.spoiling(5) || g.chance(g.optional) && depth < 4 {
				out[m] = g.value(m, s.Members[m].Shape, depth+1)
			}
		}
		return out
	case "list":
		n := g.length(s, 3)
		out := make([]any, 0, n)
		for range n {
			out = append(out, g.value(member, s.Member.Shape, depth+1))
		}
		return out
	case "map":
		out := map[string]any{}
		for range g.length(s, 3) {
			out[fmt.Sprint(g.value("", s.Key.Shape, depth+1))] = g.value("", s.Value.Shape, depth+1)
		}
		return out
	case "integer", "long":
		low, high := bounds(s, 0, 1000)
		if g.chance(30) {
			return pick(g, []int64{low, high})
		}
		return low + g.r.Int64N(min(high-low, 1<<40)+1)
	case "double":
		low, high := bounds(s, 0, 1)
		return float64(low) + g.r.Float64()*float64(high-low)
	case "boolean":
		return g.chance(50)
	case "timestamp":
		return 1_700_000_000 + g.r.IntN(1000)
	case "blob":
		if member == "ZipFile" {
			return base64.StdEncoding.EncodeToString(g.zip)
		}
		return base64.StdEncoding.EncodeToString([]byte("bytes"))
	default:
		return g.text(member, name, s)
	}
}

func (g *generator) text(member, name string, s *shape) string {
	if all := slices.Concat(g.known[member], g.known[name]); len(all) > 0 && g.chance(85) {
		return pick(g, all)
	}
	if len(s.Enum) > 0 {
		return pick(g, s.Enum)
	}
	low, high := bounds(s, 0, 20)
	text := ""
	for range 20 {
		if s.Pattern != "" {
			text = g.matching(s.Pattern)
		} else {
			text = strings.Repeat("a", int(low+g.r.Int64N(min(high-low, 30)+1)))
		}
		if n := int64(utf8.RuneCountInString(text)); n >= low && (s.Max == nil || n <= high) {
			return text
		}
	}
	return text
}

// wrong makes a value that breaks a constraint of a shape, or has another type.
func (g *generator) wrong(s *shape) any {
	all := []any{g.junk(), g.junk(), nil}
	low, high := bounds(s, 0, 1000)
	switch s.Type {
	case "string":
		all = append(all, "", strings.Repeat("y", int(min(high, 20_000))+1), "!! $ \n/%2F..", "\u0000", "арн", "arn:aws:lambda:::", "$", ":", "a:b:c:d:e:f:g:h")
	case "integer", "long", "double":
		all = append(all, low-1, high+1, int64(1)<<62, -1, 1.5, "7", "NaN")
	case "list":
		all = append(all, make([]any, min(high, 500)+1), []any{}, []any{nil}, []any{g.junk()})
	case "map":
		all = append(all, map[string]any{"": g.junk()}, map[string]any{strings.Repeat("k", 3000): "v"}, map[string]any{"k": nil})
	case "structure":
		all = append(all, map[string]any{}, map[string]any{"NoSuchMember": 1})
	case "blob":
		all = append(all, "no base64!", base64.StdEncoding.EncodeToString([]byte("no zip")), base64.StdEncoding.EncodeToString(g.zip[:len(g.zip)/2]))
	}
	return pick(g, all)
}

func (g *generator) length(s *shape, most int64) int {
	low, high := bounds(s, 0, most)
	high = max(low, min(high, most))
	return int(low + g.r.Int64N(high-low+1))
}

func bounds(s *shape, low, high int64) (int64, int64) {
	if s.Min != nil {
		low = int64(*s.Min)
	}
	if s.Max != nil {
		high = int64(*s.Max)
	}
	return low, max(low, high)
}

// matching makes a text that a pattern matches, or any text where Go does not
// understand the pattern.
func (g *generator) matching(pattern string) string {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "word"
	}
	var out strings.Builder
	g.sample(re, &out)
	return out.String()
}

func (g *generator) sample(re *syntax.Regexp, out *strings.Builder) {
	repeat := func(low, high int) {
		if high < 0 {
			high = low + 4
		}
		for range low + g.r.IntN(min(high-low, 6)+1) {
			g.sample(re.Sub[0], out)
		}
	}
	switch re.Op {
	case syntax.OpLiteral:
		out.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		for range 20 {
			i := g.r.IntN(len(re.Rune)/2) * 2
			c := re.Rune[i] + rune(g.r.IntN(int(min(re.Rune[i+1]-re.Rune[i], 100))+1))
			if c >= ' ' && c < 0x7f {
				out.WriteRune(c)
				return
			}
		}
		out.WriteRune('a')
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		out.WriteByte(byte('a' + g.r.IntN(26)))
	case syntax.OpStar:
		repeat(0, -1)
	case syntax.OpPlus:
		repeat(1, -1)
	case syntax.OpQuest:
		repeat(0, 1)
	case syntax.OpRepeat:
		repeat(re.Min, re.Max)
	case syntax.OpConcat, syntax.OpCapture:
		for _, sub := range re.Sub {
			g.sample(sub, out)
		}
	case syntax.OpAlternate:
		g.sample(pick(g, re.Sub), out)
	default: // empty matches
	}
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) && len(s) < 8000
}

func sorted[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}
