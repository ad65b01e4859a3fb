package template

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

func joinError() error {
	return errorf("Template error: every Fn::Join object requires two parameters, (1) a string delimiter and (2) a list of strings to be joined or a function that returns a list of strings (such as Fn::GetAZs) to be joined.")
}

func splitError() error {
	return errorf("Template error: every Fn::Split object requires two parameters, (1) a string delimiter and (2) a string to be split or a function that returns a string to be split.")
}

func selectError() error {
	return errorf("Template error: Fn::Select requires a list argument with two elements: an integer index and a list")
}

func subError() error {
	return errorf("Template error: One or more Fn::Sub intrinsic functions don't specify expected arguments. Specify a string as first argument, and an optional second argument to specify a mapping of values to replace in the string")
}

func cidrError() error {
	return errorf("Template error: every Fn::Cidr object requires two or three parameters: (1) a CIDR block, (2) a count of 1 to 256 and (3) the number of subnet bits")
}

func noMapping(name string) error {
	return errorf("Template error: Mapping named '%s' is not present in the 'Mappings' section of template.", printable(name))
}

// attributeOf reads the argument of Fn::GetAtt. The attribute may be a function.
func attributeOf(arg any) (id string, attribute any, ok bool) {
	switch arg := arg.(type) {
	case string:
		id, name, dotted := strings.Cut(arg, ".")
		return id, name, dotted && id != "" && name != ""
	case []any:
		if len(arg) != 2 {
			return "", nil, false
		}
		id, _ = arg[0].(string)
		if _, _, isFunction := function(arg[1]); isFunction {
			return id, arg[1], id != ""
		}
		name, _ := text(arg[1])
		return id, name, id != "" && name != ""
	}
	return "", nil, false
}

// subPart is a piece of a text of Fn::Sub: a literal, or a variable.
type subPart struct{ literal, name string }

// subArguments reads the argument of Fn::Sub.
func subArguments(arg any) (text string, variables map[string]any, ok bool) {
	if text, ok = arg.(string); ok {
		return text, nil, true
	}
	list, _ := arg.([]any)
	if len(list) != 2 {
		return "", nil, false
	}
	text, ok = list[0].(string)
	variables, isMap := list[1].(map[string]any)
	return text, variables, ok && isMap
}

// parseSub cuts a text of Fn::Sub at its variables. ${!x} is the text ${x}.
func parseSub(s string) ([]subPart, error) {
	var parts []subPart
	var literal strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			literal.WriteString(s)
			break
		}
		length := strings.IndexByte(s[i:], '}')
		if length < 0 {
			literal.WriteString(s)
			break
		}
		name := s[i+2 : i+length]
		literal.WriteString(s[:i])
		s = s[i+length+1:]
		if rest, ok := strings.CutPrefix(name, "!"); ok {
			literal.WriteString("${" + rest + "}")
			continue
		}
		name = strings.TrimSpace(name)
		if name == "" || strings.ContainsFunc(name, func(r rune) bool {
			return r != '_' && r != '.' && r != ':' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		}) {
			return nil, errorf("Template error: variable names in Fn::Sub syntax must contain only alphanumeric characters, underscores, periods, and colons")
		}
		if literal.Len() > 0 {
			parts = append(parts, subPart{literal: literal.String()})
			literal.Reset()
		}
		parts = append(parts, subPart{name: name})
	}
	if literal.Len() > 0 {
		parts = append(parts, subPart{literal: literal.String()})
	}
	return parts, nil
}

// defaultOf returns the DefaultValue of Fn::FindInMap.
func defaultOf(list []any) (any, bool) {
	if len(list) != 4 {
		return nil, false
	}
	m, _ := list[3].(map[string]any)
	v, ok := m["DefaultValue"]
	return v, ok && len(m) == 1
}

// evaluator evaluates one value. Its budget bounds what comes of it.
type evaluator struct {
	s       *Scope
	preview bool // functions of what is not known stay as they are
	budget  int
	locals  map[string]any // loop variables, within Extend
}

// maxResult bounds the bytes that one value may come to.
const maxResult = 16 << 20

// noValue is what AWS::NoValue comes to.
type noValue struct{}

func (e *evaluator) spend(n int) error {
	if e.budget -= n; e.budget < 0 {
		return errorf("Template error: a value comes to more than %d bytes", maxResult)
	}
	return nil
}

func (e *evaluator) eval(v any) (any, error) {
	name, arg, ok := function(v)
	if ok && name == "Condition" {
		_, ok = arg.(string)
		ok = ok && e.s.deciding
	}
	if ok {
		if name == "Fn::If" {
			list, ok := arg.([]any)
			if !ok || len(list) != 3 {
				return nil, errorf("Template error: Fn::If requires a list argument with the first element being a condition")
			}
			id, _ := list[0].(string)
			holds, err := e.s.condition(id)
			if err != nil {
				return nil, err
			}
			if holds {
				return e.eval(list[1])
			}
			return e.eval(list[2])
		}
		strict := *e
		strict.preview = false
		got, err := strict.function(name, arg)
		e.budget = strict.budget
		if e.preview && errors.Is(err, ErrUnknown) {
			return v, nil
		}
		return got, err
	}
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, member := range v {
			got, err := e.eval(member)
			if err != nil {
				return nil, err
			}
			if _, none := got.(noValue); none {
				continue
			}
			if err := e.spend(len(name)); err != nil {
				return nil, err
			}
			out[name] = got
		}
		return out, nil
	case []any:
		out := make([]any, 0, len(v))
		for _, member := range v {
			got, err := e.eval(member)
			if err != nil {
				return nil, err
			}
			if _, none := got.(noValue); !none {
				out = append(out, got)
			}
		}
		return out, nil
	case string:
		return v, e.spend(len(v))
	}
	return v, e.spend(8)
}

// strings evaluates a list of texts.
func (e *evaluator) texts(v any, wrong error) ([]string, error) {
	got, err := e.eval(v)
	if err != nil {
		return nil, err
	}
	list, ok := got.([]any)
	if !ok {
		return nil, wrong
	}
	out := make([]string, len(list))
	for i := range list {
		if out[i], ok = text(list[i]); !ok {
			return nil, wrong
		}
	}
	return out, nil
}

// text evaluates what has to be a string.
func (e *evaluator) text(v any, wrong error) (string, error) {
	got, err := e.eval(v)
	if err != nil {
		return "", err
	}
	s, ok := text(got)
	if !ok {
		return "", wrong
	}
	return s, nil
}

func (e *evaluator) function(name string, arg any) (any, error) {
	list, _ := arg.([]any)
	switch name {
	case "Ref":
		id, ok := arg.(string)
		if !ok {
			return nil, errorf("Template error: every Ref object must have a single String value.")
		}
		return e.ref(id)
	case "Fn::GetAtt":
		id, attribute, ok := attributeOf(arg)
		wrong := errorf("Template error: every Fn::GetAtt object requires two non-empty parameters, the resource name and the resource attribute")
		if !ok {
			return nil, wrong
		}
		name, err := e.text(attribute, wrong)
		if err != nil {
			return nil, err
		}
		return e.attribute(id, name)
	case "Fn::Sub":
		return e.sub(arg)
	case "Fn::Join":
		if len(list) != 2 {
			return nil, joinError()
		}
		delimiter, err := e.text(list[0], joinError())
		if err != nil {
			return nil, err
		}
		parts, err := e.texts(list[1], joinError())
		if err != nil {
			return nil, err
		}
		size := 0
		for _, p := range parts {
			size += len(p) + len(delimiter)
		}
		if err := e.spend(size); err != nil {
			return nil, err
		}
		return strings.Join(parts, delimiter), nil
	case "Fn::Split":
		if len(list) != 2 {
			return nil, splitError()
		}
		delimiter, err := e.text(list[0], splitError())
		if err != nil {
			return nil, err
		}
		s, err := e.text(list[1], splitError())
		if err != nil {
			return nil, err
		}
		if delimiter == "" {
			return nil, splitError()
		}
		out := []any{}
		for part := range strings.SplitSeq(s, delimiter) {
			out = append(out, part)
		}
		return out, e.spend(len(s))
	case "Fn::Select":
		return e.choose(list)
	case "Fn::Base64":
		s, err := e.text(arg, errorf("Template error: every Fn::Base64 object must have a String-typed value."))
		if err != nil {
			return nil, err
		}
		return base64.StdEncoding.EncodeToString([]byte(s)), e.spend(len(s) * 2)
	case "Fn::FindInMap":
		return e.find(list)
	case "Fn::GetAZs":
		region, err := e.text(arg, errorf("Template error: every Fn::GetAZs object must have a String-typed value."))
		if err != nil {
			return nil, err
		}
		if region == "" {
			region = e.s.pseudo.Region
		}
		return []any{region + "a", region + "b", region + "c"}, e.spend(3 * len(region))
	case "Fn::Cidr":
		return e.cidr(list)
	case "Fn::ImportValue":
		export, err := e.text(arg, errorf("Template error: the attribute in Fn::ImportValue must be a string or a function that returns a string"))
		if err != nil {
			return nil, err
		}
		if e.s.Import == nil {
			return nil, fmt.Errorf("import %s: %w", export, ErrUnknown)
		}
		return e.s.Import(export)
	case "Fn::Length":
		got, err := e.eval(arg)
		if err != nil {
			return nil, err
		}
		l, ok := got.([]any)
		if !ok {
			return nil, errorf("Template error: every Fn::Length object requires a list, or a function that returns a list")
		}
		return json.Number(strconv.Itoa(len(l))), nil
	case "Fn::ToJsonString":
		got, err := e.eval(arg)
		if err != nil {
			return nil, err
		}
		switch got.(type) {
		case map[string]any, []any:
		default:
			return nil, errorf("Template error: every Fn::ToJsonString object requires an object or a list")
		}
		s, err := JSON(got)
		if err != nil {
			return nil, err
		}
		return s, e.spend(len(s))
	case "Fn::Transform":
		return nil, noMacros()
	}
	if boolean[name] && e.s.deciding {
		return e.decide(name, arg)
	}
	return nil, unsupported(name)
}

func isPseudo(name string) bool {
	switch name {
	case "AWS::AccountId", "AWS::NotificationARNs", "AWS::NoValue", "AWS::Partition", "AWS::Region", "AWS::StackId", "AWS::StackName", "AWS::URLSuffix":
		return true
	}
	return false
}

func (e *evaluator) ref(id string) (any, error) {
	if v, ok := e.locals[id]; ok {
		return v, nil
	}
	if p, ok := e.s.t.Parameters[id]; ok {
		v, known := e.s.parameters[id]
		if !known {
			return nil, fmt.Errorf("parameter %s: %w", id, ErrUnknown)
		}
		return p.Value(v), e.spend(len(v))
	}
	p := e.s.pseudo
	switch id {
	case "AWS::AccountId":
		return p.AccountID, nil
	case "AWS::NotificationARNs":
		all := make([]any, len(p.NotificationARNs))
		for i := range all {
			all[i] = p.NotificationARNs[i]
		}
		return all, nil
	case "AWS::NoValue":
		return noValue{}, nil
	case "AWS::Partition":
		return p.Partition, nil
	case "AWS::Region":
		return p.Region, nil
	case "AWS::StackId":
		return p.StackID, nil
	case "AWS::StackName":
		return p.StackName, nil
	case "AWS::URLSuffix":
		return p.URLSuffix, nil
	}
	if err := e.s.made(id); err != nil {
		return nil, err
	}
	if e.s.Ref == nil {
		return nil, fmt.Errorf("resource %s: %w", id, ErrUnknown)
	}
	return e.s.Ref(id)
}

func (e *evaluator) attribute(id, name string) (any, error) {
	if err := e.s.made(id); err != nil {
		return nil, err
	}
	if e.s.GetAtt == nil {
		return nil, fmt.Errorf("attribute %s of resource %s: %w", name, id, ErrUnknown)
	}
	return e.s.GetAtt(id, name)
}

func (e *evaluator) sub(arg any) (any, error) {
	s, variables, ok := subArguments(arg)
	if !ok {
		return nil, subError()
	}
	parts, err := parseSub(s)
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	known := map[string]string{}
	for _, p := range parts {
		piece := p.literal
		if p.name != "" {
			var done bool
			if piece, done = known[p.name]; !done {
				if piece, err = e.variable(p.name, variables); err != nil {
					return nil, err
				}
				known[p.name] = piece
			}
		}
		if err := e.spend(len(piece)); err != nil {
			return nil, err
		}
		out.WriteString(piece)
	}
	return out.String(), nil
}

// variable is what ${name} stands for in Fn::Sub.
func (e *evaluator) variable(name string, variables map[string]any) (string, error) {
	var got any
	var err error
	if v, ok := variables[name]; ok {
		got, err = e.eval(v)
	} else if v, ok := e.locals[name]; ok {
		got = v
	} else if id, attribute, dotted := strings.Cut(name, "."); dotted {
		got, err = e.attribute(id, attribute)
	} else {
		got, err = e.ref(name)
	}
	if err != nil {
		return "", err
	}
	s, ok := text(got)
	if !ok {
		return "", errorf("Template error: every value of a Fn::Sub object must be a string: %s is none", printable(name))
	}
	return s, nil
}

func (e *evaluator) choose(list []any) (any, error) {
	if len(list) != 2 {
		return nil, selectError()
	}
	at, err := e.text(list[0], selectError())
	if err != nil {
		return nil, err
	}
	i, err := strconv.Atoi(at)
	if err != nil {
		return nil, selectError()
	}
	of := list[1]
	if l, ok := of.([]any); ok && i >= 0 && i < len(l) {
		// The others need not be known. But what has no value has no place.
		missing := slices.ContainsFunc(l, func(v any) bool {
			n, a, ok := function(v)
			return ok && (n == "Fn::If" || n == "Ref" && a == "AWS::NoValue")
		})
		if !missing {
			return e.eval(l[i])
		}
	}
	got, err := e.eval(of)
	if err != nil {
		return nil, err
	}
	l, ok := got.([]any)
	if !ok {
		return nil, selectError()
	}
	if i < 0 || i >= len(l) {
		return nil, errorf("Template error: Fn::Select cannot select nonexistent value at index %d", i)
	}
	return l[i], nil
}

func (e *evaluator) find(list []any) (any, error) {
	if len(list) != 3 && len(list) != 4 {
		return nil, errorf("Template error: every Fn::FindInMap object requires three parameters, the map name, map key and the attribute for return value")
	}
	var keys [3]string
	var err error
	for i := range keys {
		wrong := errorf("Template error: every Fn::FindInMap object requires three parameters, the map name, map key and the attribute for return value")
		if keys[i], err = e.text(list[i], wrong); err != nil {
			return nil, err
		}
	}
	m, ok := e.s.t.Mappings[keys[0]]
	v, found := m[keys[1]][keys[2]]
	if found {
		return e.eval(v)
	}
	if v, fallback := defaultOf(list); fallback {
		return e.eval(v)
	}
	if !ok {
		return nil, noMapping(keys[0])
	}
	return nil, errorf("Template error: Unable to get mapping for %s", printable(strings.Join(keys[:], "::")))
}

func (e *evaluator) cidr(list []any) (any, error) {
	if len(list) != 2 && len(list) != 3 {
		return nil, cidrError()
	}
	block, err := e.text(list[0], cidrError())
	if err != nil {
		return nil, err
	}
	prefix, err := netip.ParsePrefix(block)
	if err != nil {
		return nil, errorf("Template error: Fn::Cidr: %s is not a CIDR block", printable(block))
	}
	count, bits := 0, 8
	if prefix.Addr().Is6() {
		bits = 64
	}
	for i, to := range []*int{&count, &bits}[:len(list)-1] {
		s, err := e.text(list[i+1], cidrError())
		if err != nil {
			return nil, err
		}
		if *to, err = strconv.Atoi(s); err != nil {
			return nil, cidrError()
		}
	}
	size := prefix.Addr().BitLen()
	if count < 1 || count > 256 || bits < 1 || size-bits < prefix.Bits() {
		return nil, cidrError()
	}
	first := new(big.Int).SetBytes(prefix.Masked().Addr().AsSlice())
	step := new(big.Int).Lsh(big.NewInt(1), uint(bits))
	room := new(big.Int).Lsh(big.NewInt(1), uint(size-bits-prefix.Bits()))
	if room.Cmp(big.NewInt(int64(count))) < 0 {
		return nil, errorf("Template error: Fn::Cidr: %s has no room for %d blocks of %d bits", block, count, bits)
	}
	out := make([]any, count)
	for i := range out {
		raw := make([]byte, size/8)
		first.FillBytes(raw)
		at, _ := netip.AddrFromSlice(raw)
		out[i] = netip.PrefixFrom(at, size-bits).String()
		first.Add(first, step)
	}
	return out, e.spend(count * 20)
}

// decide evaluates a function of conditions and rules.
func (e *evaluator) decide(name string, arg any) (bool, error) {
	list, _ := arg.([]any)
	truth := func(v any) (bool, error) {
		got, err := e.eval(v)
		if err != nil {
			return false, err
		}
		b, ok := got.(bool)
		if !ok {
			return false, errorf("Template error: every %s object requires boolean parameters.", name)
		}
		return b, nil
	}
	switch name {
	case "Condition":
		id, _ := arg.(string)
		return e.s.condition(id)
	case "Fn::And", "Fn::Or":
		for _, v := range list {
			b, err := truth(v)
			if err != nil || b == (name == "Fn::Or") {
				return b, err
			}
		}
		return name == "Fn::And", nil
	case "Fn::Not":
		if len(list) != 1 {
			return false, errorf("Template error: every Fn::Not object requires a list of 1 boolean parameter.")
		}
		b, err := truth(list[0])
		return !b && err == nil, err
	}
	if len(list) != 2 {
		return false, errorf("Template error: every %s object requires a list of 2 string parameters.", name)
	}
	a, err := e.eval(list[0])
	if err != nil {
		return false, err
	}
	b, err := e.eval(list[1])
	if err != nil {
		return false, err
	}
	if name == "Fn::Equals" {
		return same(a, b), nil
	}
	first, ok := a.([]any)
	if !ok {
		return false, errorf("Template error: every %s object requires a list as its first parameter.", name)
	}
	contains := func(list []any, v any) bool { return slices.ContainsFunc(list, func(m any) bool { return same(m, v) }) }
	switch name {
	case "Fn::Contains":
		return contains(first, b), nil
	case "Fn::EachMemberEquals":
		return !slices.ContainsFunc(first, func(v any) bool { return !same(v, b) }), nil
	}
	second, ok := b.([]any)
	if !ok {
		return false, errorf("Template error: every %s object requires two lists.", name)
	}
	return !slices.ContainsFunc(first, func(v any) bool { return !contains(second, v) }), nil
}

// same compares values as strings, where they are scalars.
func same(a, b any) bool {
	x, ok := text(a)
	y, ok2 := text(b)
	if ok && ok2 {
		return x == y
	}
	return ok == ok2 && reflect.DeepEqual(a, b)
}
