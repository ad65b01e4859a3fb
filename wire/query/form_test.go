package query

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func read(t testing.TB, target, body string) (Form, error) {
	t.Helper()
	return readForm(httptest.NewRequest(http.MethodPost, target, strings.NewReader(body)), 1000)
}

func TestForm(t *testing.T) {
	t.Parallel()
	f, err := read(t, "/?Action=A", "L.member.1=x&L.member.2=y&L.member.4=z&S.member.1.K=a&S.member.1.V=b&S.member.2.K=c&S.member.4.K=d&S.member.x.K=e&Empty=")
	if err != nil {
		t.Fatal(err)
	}
	if f.Get("Action") != "A" || !slices.Equal(f.List("L"), []string{"x", "y"}) || f.List("None") != nil {
		t.Errorf("Get = %s, List = %v", f.Get("Action"), f.List("L"))
	}
	if f.Given("Empty") == nil || f.Given("None") != nil || f.Members("S") != 2 || f.Members("None") != 0 {
		t.Errorf("Members = %d", f.Members("S"))
	}
	for body, want := range map[string]string{"a=%zz": "MalformedQueryString", strings.Repeat("x", 1001): "RequestEntityTooLarge"} {
		_, err := read(t, "/", body)
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != want {
			t.Errorf("readForm(%.20s) = %v; want %s", body, err, want)
		}
	}
	req := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader("a="), failing{}))
	if _, err := readForm(req, 1000); err == nil {
		t.Error("readForm of half a body is no error")
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func FuzzForm(f *testing.F) {
	f.Add("a.member.1.b=c&a.member.2.b=d", "a")
	f.Fuzz(func(t *testing.T, body, name string) {
		form, err := read(t, "/", body)
		if err != nil {
			return
		}
		if n := form.Members(name); n > len(body) {
			t.Errorf("Members(%q) of %q = %d", name, body, n)
		}
		_ = form.List(name)
	})
}
