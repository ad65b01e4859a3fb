package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"time"
)

// decoder fills an input and collects what it violates, in one walk.
type decoder struct {
	params map[string]string
	query  url.Values
	header http.Header
	body   body

	violations []string
}

// decode makes the input of an operation. The error is an exception of the
// client's.
func (rt *route) decode(req *http.Request, params map[string]string, b body) (any, error) {
	d := &decoder{params: params, query: req.URL.Query(), header: req.Header, body: b}
	in := reflect.New(rt.in)
	var members map[string]json.RawMessage
	if !rt.hasPayload() {
		var err error
		if members, err = object(b.document); err != nil {
			return nil, err
		}
	}
	if err := d.structure(rt.input, in.Elem(), members, ""); err != nil {
		return nil, err
	}
	if err := d.verdict(); err != nil {
		return nil, err
	}
	return in.Interface(), nil
}

func (rt *route) hasPayload() bool {
	return slices.ContainsFunc(rt.input.fields, func(f field) bool { return f.place == inPayload })
}

// object reads a JSON object without looking into its members. An empty
// document is an empty object.
func object(document []byte) (map[string]json.RawMessage, error) {
	document = bytes.TrimSpace(document)
	if len(document) == 0 || string(document) == "null" {
		return nil, nil
	}
	var members map[string]json.RawMessage
	err := json.Unmarshal(document, &members)
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nil, mismatch(document, "Structure")
	}
	if err != nil {
		return nil, Serialization.Errorf("Could not parse request body into json: %v", err)
	}
	return members, nil
}

func (d *decoder) structure(s *shape, v reflect.Value, members map[string]json.RawMessage, path string) error {
	for i := range s.fields {
		f := &s.fields[i]
		at := path + f.path
		var err error
		switch dst := v.Field(f.index); f.place {
		case inURI:
			err = d.text(f, dst, []string{d.params[f.name]}, at)
		case inQuery:
			err = d.text(f, dst, d.query[f.name], at)
		case inHeader:
			var values []string
			if h := d.header.Get(f.name); h != "" {
				values = []string{h}
			}
			err = d.text(f, dst, values, at)
		case inPayload:
			err = d.payload(f, dst, at)
		case inUpload:
			err = d.upload(f, dst, members[f.name])
		case inBody:
			err = d.member(f, dst, members[f.name], at)
		case inStatus:
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) upload(f *field, dst reflect.Value, raw json.RawMessage) error {
	if d.body.upload != nil {
		dst.Set(reflect.ValueOf(d.body.upload))
		return nil
	}
	if raw == nil || string(raw) == "null" {
		return nil
	}
	return mismatch(raw, "Blob")
}

func (d *decoder) payload(f *field, dst reflect.Value, at string) error {
	if f.of.scalar == "Blob" {
		if len(d.body.document) > 0 {
			dst.SetBytes(d.body.document)
			d.check(&f.rule, f.of, dst, at, nil)
		} else if f.rule.required {
			d.missing(at)
		}
		return nil
	}
	document := bytes.TrimSpace(d.body.document)
	if len(document) == 0 {
		document = nil
	}
	return d.member(f, dst, document, at)
}

// text binds what travels outside the body.
func (d *decoder) text(f *field, dst reflect.Value, values []string, at string) error {
	if f.of.elem != nil && len(values) > 0 { // a list
		dst.Set(reflect.ValueOf(values))
		show := func() string { return quoted(bracketed(values)) }
		d.check(&f.rule, f.of, dst, at, show)
		d.items(f.of, dst, false, at, show)
		return nil
	}
	if len(values) == 0 || values[0] == "" && f.of.scalar != "String" {
		if f.rule.required {
			d.missing(at)
		}
		return nil
	}
	s := values[0]
	v := settle(dst)
	switch f.of.scalar {
	case "String":
		v.SetString(s)
	case "Integer":
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return Serialization.Errorf("Value '%s' at '%s' can not be converted to an Integer", s, at)
		}
		v.SetInt(n)
	case "Double":
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
			return Serialization.Errorf("Value '%s' at '%s' can not be converted to a Double", s, at)
		}
		v.SetFloat(n)
	case "Boolean":
		if s != "true" && s != "false" {
			return Serialization.Errorf("Value '%s' at '%s' can not be converted to a Boolean", s, at)
		}
		v.SetBool(s == "true")
	case "Timestamp":
		t, err := time.Parse(time.RFC3339Nano, s)
		if err == nil {
			v.Set(reflect.ValueOf(Epoch{t}))
		} else if n, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(n) < 1e12 {
			v.Set(reflect.ValueOf(epochOf(n)))
		} else {
			return Serialization.Errorf("Value '%s' at '%s' can not be converted to a Timestamp", s, at)
		}
	}
	d.check(&f.rule, f.of, v, at, func() string { return quoted(s) })
	return nil
}

// settle makes the value that a pointer points to.
func settle(v reflect.Value) reflect.Value {
	if v.Kind() != reflect.Pointer {
		return v
	}
	v.Set(reflect.New(v.Type().Elem()))
	return v.Elem()
}

// member binds a member of a JSON object and checks it.
func (d *decoder) member(f *field, dst reflect.Value, raw json.RawMessage, at string) error {
	if raw == nil || string(raw) == "null" {
		if f.rule.required {
			d.missing(at)
		}
		return nil
	}
	show := func() string { return quoted(display(f.of, raw)) }
	return d.value(f.of, &f.rule, settle(dst), raw, at, show)
}

// value binds JSON that is not null.
func (d *decoder) value(n *node, r *rule, v reflect.Value, raw json.RawMessage, at string, show func() string) error {
	if n.shape != nil {
		if raw[0] != '{' {
			return mismatch(raw, "Structure")
		}
		members, err := object(raw)
		if err != nil {
			return err
		}
		return d.structure(n.shape, v, members, at+".")
	}
	switch {
	case v.Kind() == reflect.Map:
		if raw[0] != '{' {
			return mismatch(raw, "Map")
		}
		return d.mapping(n, r, v, raw, at, show)
	case n.elem != nil:
		if raw[0] != '[' {
			return mismatch(raw, "List")
		}
		return d.list(n, r, v, raw, at, show)
	}
	if err := scalar(n, v, raw); err != nil {
		return err
	}
	d.check(r, n, v, at, show)
	return nil
}

func (d *decoder) list(n *node, r *rule, v reflect.Value, raw json.RawMessage, at string, show func() string) error {
	var raws []json.RawMessage
	if err := json.Unmarshal(raw, &raws); err != nil {
		return Serialization.Errorf("Could not parse request body into json: %v", err)
	}
	v.Set(reflect.MakeSlice(v.Type(), len(raws), len(raws)))
	kept := 0
	for i, item := range raws {
		if string(item) == "null" {
			continue
		}
		// Constraints of the elements are those of the list; only structures have their own.
		if err := d.value(n.elem, &rule{}, v.Index(kept), item, at+"."+strconv.Itoa(i+1)+".member", nil); err != nil {
			return err
		}
		kept++
	}
	d.check(r, n, v, at, show)
	v.SetLen(kept)
	d.items(n, v, kept < len(raws), at, show)
	return nil
}

func (d *decoder) mapping(n *node, r *rule, v reflect.Value, raw json.RawMessage, at string, show func() string) error {
	members, err := object(raw)
	if err != nil {
		return err
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(members)))
	var badKeys, badValues bool
	for _, key := range sortedKeys(members) {
		if n.key.violated(stringNode, reflect.ValueOf(key)) != nil {
			badKeys = true
		}
		item := members[key]
		if string(item) == "null" {
			badValues = badValues || n.item.notNull
			continue
		}
		e := reflect.New(n.elem.typ).Elem()
		if err := d.value(n.elem, &rule{}, e, item, at+"."+key, func() string { return quoted(display(n.elem, item)) }); err != nil {
			return err
		}
		badValues = badValues || n.item.violated(n.elem, e) != nil
		v.SetMapIndex(reflect.ValueOf(key), e)
	}
	d.check(r, n, v, at, show)
	if r.sensitive {
		show = nil
	}
	if badKeys {
		d.violate(at, show, "Map keys must satisfy constraint: "+bracketed(n.key.texts(stringNode)))
	}
	if badValues {
		d.violate(at, show, "Map value must satisfy constraint: "+bracketed(n.item.texts(n.elem)))
	}
	return nil
}

// scalar reads a JSON scalar that is not null.
func scalar(n *node, v reflect.Value, raw json.RawMessage) error {
	switch c := raw[0]; {
	case n.scalar == "String" && c == '"':
		return unmarshal(raw, v.Addr().Interface())
	case n.scalar == "Blob" && c == '"':
		var s string
		if err := unmarshal(raw, &s); err != nil {
			return err
		}
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return badBase64()
		}
		v.SetBytes(b)
		return nil
	case n.scalar == "Boolean" && (c == 't' || c == 'f'):
		v.SetBool(c == 't')
		return nil
	case (c == '-' || isDigit(rune(c))) && n.scalar != "String" && n.scalar != "Boolean" && n.scalar != "Blob":
		return number(n, v, raw)
	}
	return mismatch(raw, n.scalar)
}

func number(n *node, v reflect.Value, raw json.RawMessage) error {
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return mismatch(raw, n.scalar)
	}
	switch n.scalar {
	case "Integer":
		i, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil {
			if f != math.Trunc(f) || math.Abs(f) >= 1<<53 {
				return mismatch(raw, n.scalar)
			}
			i = int64(f) // 3.0 and 1e2 are integers, too
		}
		v.SetInt(i)
	case "Double":
		v.SetFloat(f)
	case "Timestamp":
		if math.Abs(f) >= 1e12 {
			return mismatch(raw, n.scalar)
		}
		v.Set(reflect.ValueOf(epochOf(f)))
	}
	return nil
}

func unmarshal(raw json.RawMessage, dst any) error {
	if err := json.Unmarshal(raw, dst); err != nil {
		return Serialization.Errorf("Could not parse request body into json: %v", err)
	}
	return nil
}

// mismatch is the service's complaint about a JSON value of the wrong type.
func mismatch(raw []byte, want string) *Exception {
	article := "a "
	if want == "Integer" {
		article = "an "
	}
	switch raw[0] {
	case '{':
		return Serialization.New("Start of structure or map found where not expected.")
	case '[':
		return Serialization.New("Start of list found where not expected")
	case '"':
		return Serialization.New("STRING_VALUE can not be converted to " + article + want)
	case 't':
		return Serialization.New("TRUE_VALUE can not be converted to " + article + want)
	case 'f':
		return Serialization.New("FALSE_VALUE can not be converted to " + article + want)
	}
	return Serialization.New("NUMBER_VALUE can not be converted to " + article + want)
}

func badBase64() *Exception {
	return Serialization.New("A binary value is no valid Base64")
}
