package policy

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"
)

// FuzzPattern holds the matchers to their order: ArnLike covers no more than
// Resource, and that no more than StringLike.
func FuzzPattern(f *testing.F) {
	for _, s := range [][2]string{
		{"arn:aws:lambda:*:*:function:f", function},
		{"arn:aws:dynamodb:*:table/prod-*", "arn:aws:dynamodb:us-east-1:111122223333:table/prod-x"},
		{"*a*a*a*b", "aaaaaaaaaaaaaaaa"},
		{"a?c:*", "aéc:x:y"},
		{"", ""},
		{"\xff?", "\xff\xfe"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		p := classify(encode(pattern))
		loose, arn, resource := matchesText(p, name), matchesARN(p, name), matchesResource(p, name)
		if arn && !resource || resource && !loose {
			t.Errorf("%q and %q: ArnLike %t, Resource %t, StringLike %t", pattern, name, arn, resource, loose)
		}
		if literal := compileText(name, false, false); !matchesText(literal, literal.text) {
			t.Errorf("%q does not match itself", name)
		}
	})
}

// FuzzParse holds the parser to what it promises of any bytes: an error that is
// one of its two, or a document that evaluates.
func FuzzParse(f *testing.F) {
	g := generator{rand.New(rand.NewPCG(1, 1))}
	for i := range 20 {
		f.Add(g.document(DocumentKind(i%3)), uint8(i%3))
	}
	f.Add(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${a, 'b}'}${*}${"}}`, uint8(0))
	f.Add(`{"Statement":[[[[[[`, uint8(1))
	requests := make([]Request, 20)
	for i := range requests {
		requests[i] = g.request()
	}
	f.Fuzz(func(t *testing.T, text string, kind uint8) {
		d, err := Parse(text, Rules{Kind: DocumentKind(kind % 3), SecondVersion: kind >= 128})
		switch err := err.(type) {
		case nil:
		case *Malformed:
			if err.Text == "" || strings.Contains(err.Text, "%!") || d != nil {
				t.Errorf("Parse = %v, %q", d, err.Text)
			}
			return
		case *TooLarge:
			return
		default:
			t.Fatalf("Parse = %T %v", err, err)
		}
		for i := range requests {
			p := &Policies{Identity: []*Document{d}, Boundary: d, Session: []*Document{d}, Control: [][]*Document{{d}}, Resource: d}
			if got := Evaluate(&requests[i], p); got.Allowed != (got.Message() == "") {
				t.Errorf("Evaluate = %+v, message %q", got, got.Message())
			}
		}
	})
}

// FuzzInstant holds dates to a round trip where time.Time knows them, too.
func FuzzInstant(f *testing.F) {
	for _, s := range []string{"2020-01-01T00:00:01.5Z", "2016-12-13t2:00:00.593194+23", "-292275054", "01T", "1577836800", "9223372036854775807", "2020-01-01T10:00-0130"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseInstant(s)
		if want, err := time.Parse(time.RFC3339Nano, s); err == nil && len(fmt.Sprint(want.Nanosecond())) <= 9 && !strings.Contains(s, ",") && regexp.MustCompile(`(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$`).MatchString(s) {
			if ok && (got.seconds != want.Unix() || int(got.nanos) != want.Nanosecond()) {
				t.Errorf("parseInstant(%q) = %+v; want %v", s, got, want)
			}
		}
		if ok && got.compare(got) != 0 {
			t.Errorf("parseInstant(%q) is not equal to itself", s)
		}
	})
}
