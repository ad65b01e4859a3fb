package wire

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// place is where a member travels.
type place int

const (
	inBody place = iota
	inURI
	inQuery
	inHeader
	inStatus
	inPayload
	inUpload
)

// shape is a structure as the engine sees it: its tags, read once.
type shape struct {
	name   string
	fields []field
}

type field struct {
	index int
	name  string // on the wire
	path  string // in validation messages: lowerCamelCase
	place place
	rule  rule // of the member itself
	of    *node
}

// node describes a type below a member.
type node struct {
	typ    reflect.Type
	shape  *shape // of a structure
	elem   *node  // of a list or a map
	item   rule   // of the elements of a list, the values of a map
	key    rule   // of the keys of a map
	scalar string // String, Integer, Double, Boolean, Timestamp, Blob
}

// rule is what a value must satisfy.
type rule struct {
	required, notNull, sensitive, bare bool

	min, max *float64
	pattern  *pattern
	enum     *enum
}

func (r *rule) empty() bool {
	return !r.notNull && r.min == nil && r.max == nil && r.pattern == nil && r.enum == nil
}

var (
	epochType  = reflect.TypeFor[Epoch]()
	uploadType = reflect.TypeFor[Upload]()
	eventsType = reflect.TypeFor[EventStream]()
	blobType   = reflect.TypeFor[[]byte]()
)

// shapeOf reads the tags of a generated structure. It panics on a tag that it
// does not understand: the program is broken.
func shapeOf(t reflect.Type) *shape {
	s := &shape{name: t.Name()}
	for i := range t.NumField() {
		f := t.Field(i)
		out := field{index: i, name: f.Name, rule: ruleOf(f.Tag.Get("check"))}
		for _, tag := range []struct {
			key   string
			place place
		}{{"uri", inURI}, {"query", inQuery}, {"header", inHeader}, {"status", inStatus}, {"payload", inPayload}, {"upload", inUpload}} {
			if v, ok := f.Tag.Lookup(tag.key); ok {
				out.place = tag.place
				if tag.place != inStatus && tag.place != inPayload {
					out.name = v
				}
			}
		}
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "-" && name != "" {
			out.name = name
		}
		out.path = strings.ToLower(f.Name[:1]) + f.Name[1:]
		if f.Type != uploadType && f.Type != eventsType {
			out.of = nodeOf(f.Type, f.Tag)
		}
		s.fields = append(s.fields, out)
	}
	return s
}

func nodeOf(t reflect.Type, tag reflect.StructTag) *node {
	n := &node{typ: t}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == epochType:
		n.scalar = "Timestamp"
	case t == blobType:
		n.scalar = "Blob"
	case t.Kind() == reflect.String:
		n.scalar = "String"
	case t.Kind() == reflect.Int64:
		n.scalar = "Integer"
	case t.Kind() == reflect.Float64:
		n.scalar = "Double"
	case t.Kind() == reflect.Bool:
		n.scalar = "Boolean"
	case t.Kind() == reflect.Struct:
		n.shape = shapeOf(t)
	case t.Kind() == reflect.Slice:
		n.item = ruleOf(tag.Get("item"))
		n.elem = nodeOf(t.Elem(), "")
	case t.Kind() == reflect.Map:
		n.key, n.item = ruleOf(tag.Get("key")), ruleOf(tag.Get("value"))
		n.elem = nodeOf(t.Elem(), tag)
	default:
		panic(fmt.Sprintf("wire: no encoding for %s", t))
	}
	return n
}

func ruleOf(tag string) rule {
	var r rule
	for word := range strings.SplitSeq(tag, ",") {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "":
		case "required":
			r.required = true
		case "notnull":
			r.notNull = true
		case "sensitive":
			r.sensitive = true
		case "bare":
			r.bare = true
		case "min", "max":
			f, err := strconv.ParseFloat(value, 64)
			if err != nil {
				panic(fmt.Sprintf("wire: check %q: %v", tag, err))
			}
			if key == "min" {
				r.min = &f
			} else {
				r.max = &f
			}
		case "pattern":
			p, ok := patterns[value]
			if !ok {
				panic("wire: unknown pattern " + value)
			}
			r.pattern = p
		case "enum":
			e, ok := enums[value]
			if !ok {
				panic("wire: unknown enum " + value)
			}
			r.enum = &e
		default:
			panic(fmt.Sprintf("wire: check %q", tag))
		}
	}
	return r
}
