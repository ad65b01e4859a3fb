package query

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lamina-run/lamina/wire"
)

// ContentType is that of requests with a body.
const ContentType = "application/x-www-form-urlencoded"

// MaxBody bounds the form of a request unless its service says otherwise.
const MaxBody = 1 << 20

// Form is the parameters of a request.
type Form struct{ values url.Values }

// readForm reads the parameters from the query and the body.
func readForm(req *http.Request, most int64) (Form, error) {
	values, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return Form{}, Errorf(http.StatusBadRequest, "MalformedQueryString", "The query string contains a syntax error")
	}
	if req.Body == nil {
		return Form{values}, nil
	}
	text, err := io.ReadAll(io.LimitReader(req.Body, most+1))
	switch {
	case int64(len(text)) > most:
		return Form{}, Errorf(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Request must be smaller than %d bytes", most)
	case err != nil:
		return Form{}, Unread(err)
	}
	body, err := url.ParseQuery(string(text))
	if err != nil {
		return Form{}, Errorf(http.StatusBadRequest, "MalformedQueryString", "The body contains a syntax error")
	}
	for name, v := range body {
		values[name] = append(values[name], v...)
	}
	return Form{values}, nil
}

// Unread is the error of a body that could not be read: the verifier's own, or
// that the client hung up.
func Unread(err error) error {
	if ex, ok := errors.AsType[*wire.Exception](err); ok {
		return ex
	}
	return Errorf(http.StatusBadRequest, "MalformedQueryString", "The request body ended before its end")
}

// Get returns a parameter, empty when there is none.
func (f Form) Get(name string) string { return f.values.Get(name) }

// Given returns a parameter, or nil when there is none.
func (f Form) Given(name string) *string {
	v, ok := f.values[name]
	if !ok {
		return nil
	}
	return &v[0]
}

// List returns name.member.1, name.member.2 and so on.
func (f Form) List(name string) []string {
	var all []string
	for i := 1; ; i++ {
		v := f.Given(name + ".member." + strconv.Itoa(i))
		if v == nil {
			return all
		}
		all = append(all, *v)
	}
}

// Members returns how many name.member.N.* structures there are, counted from 1
// without gaps.
func (f Form) Members(name string) int {
	given := map[int]bool{}
	for param := range f.values {
		if rest, ok := strings.CutPrefix(param, name+".member."); ok {
			number, _, _ := strings.Cut(rest, ".")
			if i, err := strconv.Atoi(number); err == nil {
				given[i] = true
			}
		}
	}
	n := 0
	for given[n+1] {
		n++
	}
	return n
}

// Time is a time as query services write it: to the second.
type Time time.Time

// MarshalText implements encoding.TextMarshaler.
func (t Time) MarshalText() ([]byte, error) {
	return []byte(time.Time(t).UTC().Format(time.RFC3339)), nil
}

// Printable is a client's text for a message: short, and one line of ASCII.
func Printable(s string) string {
	const most = 256
	if len(s) > most {
		s = s[:most]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// NewForm is a form with these parameters.
func NewForm(values url.Values) Form { return Form{values} }
