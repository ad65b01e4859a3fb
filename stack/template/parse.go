package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of a template's text and of what it becomes.
const (
	MaxBytes = 1 << 20 // of text
	maxDepth = 100     // of maps and lists in each other
	maxNodes = 250_000 // values, aliases counted as often as they are used
)

// Parse makes plain maps of a template in JSON or YAML: map[string]any, []any,
// string, bool, nil, and [json.Number] with the spelling kept. Short forms such as
// !GetAtt become maps of one key, those of Fn::GetAtt with a list of two. Scalars
// are those of YAML 1.1 without timestamps. The error is an [*Error].
func Parse(text string) (map[string]any, error) {
	return parse(text, nil)
}

// Order returns the keys of the map at a path of a template, as they are written,
// or nil when there is no map. Elements of lists are counted from 0. Those of a
// template that Parse refuses are nil.
func Order(text string) func(path ...string) []string {
	o := order{}
	body, err := parse(text, o)
	return func(path ...string) []string {
		if err != nil {
			return nil
		}
		var at any = body
		for _, step := range path {
			switch v := at.(type) {
			case map[string]any:
				at = v[step]
			case []any:
				i, err := strconv.Atoi(step)
				if err != nil || i < 0 || i >= len(v) {
					return nil
				}
				at = v[i]
			default:
				return nil
			}
		}
		m, _ := at.(map[string]any)
		if found := o[reflect.ValueOf(m).Pointer()]; found != nil {
			return found.keys
		}
		return nil
	}
}

// order has the keys of maps by where those are; nil has none.
type order map[uintptr]*orderOf

type orderOf struct {
	m    map[string]any // kept, so that no other gets its place
	keys []string
}

func (o order) note(m map[string]any, key string) {
	if o == nil {
		return
	}
	at := reflect.ValueOf(m).Pointer()
	if o[at] == nil {
		o[at] = &orderOf{m: m}
	}
	o[at].keys = append(o[at].keys, key)
}

func parse(text string, o order) (map[string]any, error) {
	if len(text) > MaxBytes {
		return nil, formatError("Template may not exceed %d bytes in size.", MaxBytes)
	}
	text = strings.TrimPrefix(text, "\uFEFF")
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return nil, formatError("unsupported structure.")
	}
	var v any
	var err error
	if strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{") {
		v, err = parseJSON(text, o)
	} else {
		v, err = parseYAML(text, o)
	}
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, formatError("unsupported structure.")
	}
	return m, nil
}

// jsonReader reads one JSON text, refusing what is ambiguous in it.
type jsonReader struct {
	text  string
	d     *json.Decoder
	nodes int
	order order
}

func parseJSON(text string, o order) (any, error) {
	r := &jsonReader{text: text, d: json.NewDecoder(strings.NewReader(text)), order: o}
	r.d.UseNumber()
	v, err := r.value(0)
	if err == nil {
		if _, err = r.d.Token(); errors.Is(err, io.EOF) {
			return v, nil
		}
		if err == nil {
			err = r.wrong(r.d.InputOffset(), "")
		}
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return nil, r.wrong(e.Offset, "")
	}
	if _, ok := errors.AsType[*Error](err); !ok {
		return nil, r.wrong(int64(len(text)), "")
	}
	return nil, err
}

// wrong is the error of a place in the text.
func (r *jsonReader) wrong(offset int64, cause string) error {
	before := r.text[:min(int(max(offset, 0)), len(r.text))]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	if cause != "" {
		cause = " " + cause
	}
	return formatError("JSON not well-formed.%s (line %d, column %d)", cause, line, max(column, 1))
}

func (r *jsonReader) value(depth int) (any, error) {
	t, err := r.d.Token()
	if err != nil {
		return nil, err
	}
	if r.nodes++; depth > maxDepth || r.nodes > maxNodes {
		return nil, r.wrong(r.d.InputOffset(), "It is too deep or too large.")
	}
	switch t {
	case json.Delim('{'):
		m := map[string]any{}
		for r.d.More() {
			key, err := r.d.Token()
			if err != nil {
				return nil, err
			}
			name := key.(string) // the decoder takes nothing else
			if _, twice := m[name]; twice {
				return nil, r.wrong(r.d.InputOffset(), fmt.Sprintf("Duplicate key %s.", printable(name)))
			}
			if m[name], err = r.value(depth + 1); err != nil {
				return nil, err
			}
			r.order.note(m, name)
		}
		_, err := r.d.Token()
		return m, err
	case json.Delim('['):
		list := []any{}
		for r.d.More() {
			v, err := r.value(depth + 1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := r.d.Token()
		return list, err
	}
	return t, nil
}

// printable is a name out of a template for a message: not too long, on one line.
func printable(name string) string {
	const most = 128
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, name)
}

// JSON is a value as JSON without escapes for HTML, members in order.
func JSON(v any) (string, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", fmt.Errorf("encode template: %w", err)
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}
