package policy

import (
	"encoding/base64"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// comparison is what an operator compares, without its negation.
type comparison uint8

const (
	stringEquals comparison = iota
	stringEqualsFold
	stringLike
	numericEquals
	numericLess
	numericLessEquals
	numericGreater
	numericGreaterEquals
	dateEquals
	dateLess
	dateLessEquals
	dateGreater
	dateGreaterEquals
	boolean
	binaryEquals
	ipAddress
	arnLike
	null
)

// operators are the condition operators, without ForAllValues:, ForAnyValue: and
// IfExists.
var operators = map[string]struct {
	compare comparison
	negated bool
}{
	"StringEquals":              {stringEquals, false},
	"StringNotEquals":           {stringEquals, true},
	"StringEqualsIgnoreCase":    {stringEqualsFold, false},
	"StringNotEqualsIgnoreCase": {stringEqualsFold, true},
	"StringLike":                {stringLike, false},
	"StringNotLike":             {stringLike, true},
	"NumericEquals":             {numericEquals, false},
	"NumericNotEquals":          {numericEquals, true},
	"NumericLessThan":           {numericLess, false},
	"NumericLessThanEquals":     {numericLessEquals, false},
	"NumericGreaterThan":        {numericGreater, false},
	"NumericGreaterThanEquals":  {numericGreaterEquals, false},
	"DateEquals":                {dateEquals, false},
	"DateNotEquals":             {dateEquals, true},
	"DateLessThan":              {dateLess, false},
	"DateLessThanEquals":        {dateLessEquals, false},
	"DateGreaterThan":           {dateGreater, false},
	"DateGreaterThanEquals":     {dateGreaterEquals, false},
	"Bool":                      {boolean, false},
	"BinaryEquals":              {binaryEquals, false},
	"IpAddress":                 {ipAddress, false},
	"NotIpAddress":              {ipAddress, true},
	"ArnEquals":                 {arnLike, false},
	"ArnLike":                   {arnLike, false},
	"ArnNotEquals":              {arnLike, true},
	"ArnNotLike":                {arnLike, true},
	"Null":                      {null, false},
}

// quantifier says how a condition reads a key of several values.
type quantifier uint8

const (
	single quantifier = iota
	forAllValues
	forAnyValue
)

// operator is a condition operator as policies spell it.
type operator struct {
	compare  comparison
	negated  bool
	values   quantifier
	ifExists bool
}

// parseOperator reads an operator. Case matters.
func parseOperator(name string) (operator, bool) {
	var o operator
	if rest, ok := strings.CutPrefix(name, "ForAllValues:"); ok {
		o.values, name = forAllValues, rest
	} else if rest, ok := strings.CutPrefix(name, "ForAnyValue:"); ok {
		o.values, name = forAnyValue, rest
	}
	name, o.ifExists = strings.CutSuffix(name, "IfExists")
	known, ok := operators[name]
	o.compare, o.negated = known.compare, known.negated
	return o, ok && (o.compare != null || !o.ifExists)
}

// isDate reports whether an operator compares dates, which IAM checks when it
// takes a policy.
func (o operator) isDate() bool { return dateEquals <= o.compare && o.compare <= dateGreaterEquals }

// operand is one value of a condition in a policy, ready to be compared.
type operand struct {
	pattern pattern // of strings, ARNs and booleans
	number  number
	date    instant
	network netip.Prefix
	bytes   []byte
	invalid bool // not of the operator's kind
}

func (o operator) operand(value string, variables bool) operand {
	var v operand
	ok := true
	switch {
	case o.compare == stringLike || o.compare == arnLike:
		v.pattern = compileText(value, variables, true)
	case o.compare <= stringEqualsFold || o.compare == boolean || o.compare == null:
		v.pattern = compileText(value, variables && o.compare != null, false)
	case o.compare <= numericGreaterEquals:
		v.number, ok = parseNumber(value)
	case o.isDate():
		v.date, ok = parseInstant(value)
	case o.compare == binaryEquals:
		var err error
		v.bytes, err = base64.StdEncoding.DecodeString(value)
		ok = err == nil
	case o.compare == ipAddress:
		v.network, ok = parseNetwork(value)
	}
	v.invalid = !ok
	return v
}

// requestValue is one value of a key in a request, read once for all operands.
type requestValue struct {
	text    string
	number  number
	date    instant
	address netip.Addr
	invalid bool // not of the operator's kind
}

func (o operator) requestValue(text string) requestValue {
	v := requestValue{text: text}
	ok := true
	switch {
	case numericEquals <= o.compare && o.compare <= numericGreaterEquals:
		v.number, ok = parseNumber(text)
	case o.isDate():
		v.date, ok = parseInstant(text)
	case o.compare == boolean:
		_, ok = parseBool(text)
	case o.compare == ipAddress:
		addr, err := netip.ParseAddr(text)
		v.address, ok = addr.Unmap().WithZone(""), err == nil
	}
	v.invalid = !ok
	return v
}

// matches compares. It is unknown when a side is not of the operator's kind, or
// has a variable without a value.
func (o operator) matches(v *requestValue, want *operand, e *evaluation) (matches, known bool) {
	if v.invalid || want.invalid {
		return false, false
	}
	switch o.compare {
	case numericEquals, numericLess, numericLessEquals, numericGreater, numericGreaterEquals:
		return ordered(o.compare-numericEquals, v.number.compare(want.number)), true
	case dateEquals, dateLess, dateLessEquals, dateGreater, dateGreaterEquals:
		return ordered(o.compare-dateEquals, v.date.compare(want.date)), true
	case binaryEquals:
		return v.text == string(want.bytes), true
	case ipAddress:
		return want.network.Contains(v.address), true
	}
	p := want.pattern
	if p.form >= formVariable {
		var ok bool
		if p, ok = p.fill(e); !ok {
			return false, false
		}
	}
	switch o.compare {
	case stringEquals:
		return v.text == p.text, true
	case stringEqualsFold:
		return strings.EqualFold(v.text, p.text), true
	case stringLike:
		return matchesText(p, v.text), true
	case boolean:
		is, _ := parseBool(v.text)
		wanted, ok := parseBool(p.text)
		return ok && is == wanted, ok
	}
	return matchesARN(p, v.text), true
}

// ordered reads the sign of a comparison: equal, less, less or equal, greater,
// greater or equal, in the order of the constants.
func ordered(which comparison, sign int) bool {
	switch which {
	case 0:
		return sign == 0
	case 1:
		return sign < 0
	case 2:
		return sign <= 0
	case 3:
		return sign > 0
	}
	return sign >= 0
}

func parseBool(s string) (value, ok bool) {
	switch {
	case strings.EqualFold(s, "true"):
		return true, true
	case strings.EqualFold(s, "false"):
		return false, true
	}
	return false, false
}

// number is exact for whole numbers, and a double otherwise.
type number struct {
	whole   int64
	double  float64
	isWhole bool
}

func parseNumber(s string) (number, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return number{whole: n, double: float64(n), isWhole: true}, true
	}
	// ParseFloat knows words and hexadecimal digits, too.
	if s == "" || strings.Trim(s, "+-.0123456789eE") != "" {
		return number{}, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) {
		return number{}, false
	}
	return number{double: f}, true
}

func (n number) compare(m number) int {
	if n.isWhole && m.isWhole {
		return sign(n.whole, m.whole)
	}
	return sign(n.double, m.double)
}

func sign[T int64 | float64 | int32](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// instant is a time of any year that policies may name, which is more than
// time.Time has.
type instant struct {
	seconds int64 // since 1970
	nanos   int32
}

func (t instant) compare(u instant) int {
	if s := sign(t.seconds, u.seconds); s != 0 {
		return s
	}
	return sign(t.nanos, u.nanos)
}

// maxYear is what IAM takes, on both sides of the year 0.
const maxYear = 292278993

// parseInstant reads a date as policies write it: seconds since 1970, or
// ISO 8601 as W3C profiles it, from a year and T to fractions of a second, with
// an optional zone.
func parseInstant(s string) (instant, bool) {
	if !strings.ContainsAny(s, "-tT") {
		n, err := strconv.ParseInt(s, 10, 64)
		return instant{seconds: n}, err == nil && n >= 0 && s[0] != '+'
	}
	date, clock := s, ""
	if i := strings.IndexAny(s, "tT"); i >= 0 {
		date, clock = s[:i], s[i+1:]
	}
	before := strings.HasPrefix(date, "-")
	fields := strings.SplitN(strings.TrimPrefix(date, "-"), "-", 4)
	calendar := [3]int{0, 1, 1}
	if len(fields) > len(calendar) {
		return instant{}, false
	}
	for i, f := range fields {
		n, ok := digits(f, 9)
		if !ok {
			return instant{}, false
		}
		calendar[i] = n
	}
	year, month, day := calendar[0], calendar[1], calendar[2]
	if year > maxYear || month < 1 || month > 12 || day < 1 || day > 31 {
		return instant{}, false
	}
	if before {
		year = -year
	}
	seconds, nanos, ok := parseClock(clock)
	if !ok {
		return instant{}, false
	}
	t := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	return instant{seconds: t.Unix() + int64(seconds), nanos: nanos}, true
}

// parseClock reads what follows T, hh:mm:ss.fffffffff and a zone, of which only
// the hour has to be there. It returns seconds since midnight, in UTC.
func parseClock(s string) (seconds int, nanos int32, ok bool) {
	if s == "" {
		return 0, 0, true
	}
	offset := 0
	if i := strings.IndexAny(s, "zZ+-"); i >= 0 {
		zone := s[i:]
		switch s = s[:i]; zone[0] {
		case 'z', 'Z':
			if len(zone) > 1 {
				return 0, 0, false
			}
		default:
			hours, minutes, _ := strings.Cut(zone[1:], ":")
			if len(hours) == 4 && minutes == "" {
				hours, minutes = hours[:2], hours[2:]
			}
			h, okHours := digits(hours, 2)
			m, okMinutes := 0, minutes == ""
			if !okMinutes {
				m, okMinutes = digits(minutes, 2)
				okMinutes = okMinutes && len(minutes) == 2
			}
			if !okHours || !okMinutes || len(hours) != 2 || h > 23 || m > 59 {
				return 0, 0, false
			}
			if offset = h*3600 + m*60; zone[0] == '-' {
				offset = -offset
			}
		}
	}
	s, fraction, fractional := strings.Cut(s, ".")
	fields := strings.SplitN(s, ":", 4)
	if len(fields) > 3 || fractional && len(fields) < 3 {
		return 0, 0, false
	}
	var parts [3]int
	for i, f := range fields {
		n, ok := digits(f, 2)
		if !ok || n > 59 || i == 0 && n > 23 {
			return 0, 0, false
		}
		parts[i] = n
	}
	if fractional {
		n, ok := digits(fraction, 9)
		if !ok {
			return 0, 0, false
		}
		for range 9 - len(fraction) {
			n *= 10
		}
		nanos = int32(n)
	}
	return parts[0]*3600 + parts[1]*60 + parts[2] - offset, nanos, true
}

// digits reads a number of one to most digits.
func digits(s string, most int) (int, bool) {
	if s == "" || len(s) > most {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

// parseNetwork reads an address, or a range of them in CIDR notation.
func parseNetwork(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen()), true
}
