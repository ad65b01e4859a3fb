package logs

import (
	"errors"
	"strings"
	"testing"
)

// The examples of AWS's documents, and what lies between them.
func TestPatterns(t *testing.T) {
	t.Parallel()
	const (
		apache = `127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534`
		trail  = `{"eventType":"UpdateTrail","sourceIPAddress":"111.111.111.111","arrayKey":["value","another value"],
			"objectList":[{"name":"a","id":1},{"name":"b","id":2}],"SomeObject":null,"ThisFlag":true}`
		users = `{"user":{"id":1,"email":"John.Stiles@example.com"},"users":[{"id":2,"email":"John.Doe@example.com"},
			{"id":3,"email":"Jane.Doe@example.com"}],"actions":["GET","PUT","DELETE"],"coordinates":[[0,1,2],[4,5,6],[7,8,9]]}`
	)
	for _, c := range []struct {
		pattern string
		message string
		want    bool
	}{
		{``, `anything`, true},
		{`""`, `anything`, true},
		{`ERROR`, `Exiting with ERRORCODE: -1`, true},
		{`ERROR`, `an error`, false},
		{`ERROR Exception`, `[ERROR] Unhandled Exception`, true},
		{`ERROR Exception`, `[ERROR] Unhandled`, false},
		{`"[ERROR]"`, `[ERROR] x`, true},
		{`"say \"hi\""`, `to say "hi" is`, true},
		{`"INTERNAL SERVER ERROR"`, `[ERROR 500] INTERNAL SERVER ERROR`, true},
		{`ERROR -Exiting`, `Exiting with ERRORCODE: -1`, false},
		{`ERROR - "Exiting"`, `Exiting with ERRORCODE: -1`, false},
		{`-Exiting`, `ERROR`, true},
		{`?ERROR ?WARN`, `WARN message`, true},
		{`?ERROR ?WARN`, `ERROR message`, true},
		{`?ERROR ?WARN`, `message`, false},
		{`?ERROR REQUEST`, `INFO REQUEST`, true}, // the question mark has no effect then
		{`?ERROR -WARN`, `INFO`, true},
		{`%AUTHORIZED%`, `[ERROR 401] UNAUTHORIZED REQUEST`, true},
		{`%^colou?r%`, `color`, true},
		{`%^colou?r%`, `a color`, false},
		{`%\d{3}% ERROR`, `ERROR 404`, true},
		{`Ünïcode`, `Ünïcode`, true},

		{`{ $.eventType = "UpdateTrail" }`, trail, true},
		{`{$.eventType="UpdateTrail"}`, trail, true},
		{`{ $.eventType = UpdateTrail }`, trail, true},
		{`{ $.eventType = Update* }`, trail, true},
		{`{ $.eventType = "*Trail" }`, trail, true},
		{`{ $.eventType = *dateT* }`, trail, true},
		{`{ $.eventType = Up*il }`, trail, false}, // an asterisk within is one
		{`{ $.eventType = * }`, trail, true},
		{`{ $.eventType = %Trail$% }`, trail, true},
		{`{ $.sourceIPAddress != 123.123.* }`, trail, true},
		{`{ $.sourceIPAddress != 111.111.* }`, trail, false},
		{`{ $.arrayKey[0] = "value" }`, trail, true},
		{`{ $.arrayKey[2] = "value" }`, trail, false},
		{`{ $.arrayKey[*] = "another value" }`, trail, true},
		{`{ $.objectList[1].id = 2 }`, trail, true},
		{`{ $.objectList[*].id = 2 }`, trail, true},
		{`{ $.objectList[*].id = 3 }`, trail, false},
		{`{ $.eventType[0] = "U" }`, trail, false},
		{`{ $.SomeObject IS NULL }`, trail, true},
		{`{ $.ThisFlag IS NULL }`, trail, false},
		{`{ $.SomeOtherObject IS NULL }`, trail, false},
		{`{ $.SomeOtherObject NOT EXISTS }`, trail, true},
		{`{ $.SomeObject NOT EXISTS }`, trail, false},
		{`{ $.SomeObject EXISTS }`, trail, true},
		{`{ $.ThisFlag IS TRUE }`, trail, true},
		{`{ $.ThisFlag IS FALSE }`, trail, false},
		{`{ $.ThisFlag = true }`, trail, true},
		{`{ $['eventType'] = "UpdateTrail" }`, trail, true},
		{`{ $.['eventType'] = "UpdateTrail" }`, trail, true},

		{`{ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") }`, users, true},
		{`{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" }`, users, false},
		{`{ $.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = nonmatch && $.actions[2] = nomatch }`, users, true},
		{`{ ($.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = nonmatch) && $.actions[2] = nomatch }`, users, false},
		{`{ $.coordinates[1][2] = 6 }`, users, true},
		{`{ $.users = 1 }`, users, false},
		{`{ $.users != 1 }`, users, false},
		{`{ $.absent != 1 }`, users, false},

		{`{ $.latency >= 500 }`, `{"latency": 500}`, true},
		{`{ $.latency > +1000 }`, `{"latency": 1000}`, false},
		{`{ $.numbers[0] < 10e3 }`, `{"numbers": [9999.5]}`, true},
		{`{ $.numbers[0] < 10e-3 }`, `{"numbers": [0.02]}`, false},
		{`{ $.errorCode = 400 }`, `{"errorCode": 400.0}`, true},
		{`{ $.errorCode = 4* }`, `{"errorCode": 404}`, true},
		{`{ $.errorCode != 500 }`, `{"errorCode": 400}`, true},
		{`{ $.errorCode = 400 }`, `{"errorCode": "400"}`, true},
		{`{ $.errorCode > 300 }`, `{"errorCode": "400"}`, false},
		{`{ $.level = "ERROR" && $.message = "*x*" }`, "{\"level\":\"ERROR\",\"message\":\"a x b\"}\n", true},
		{`{ $[0].a = 1 }`, `[{"a":1}]`, true},
		{`{ $.a = 1 }`, `{"a":1} trailing`, false},
		{`{ $.a = 1 }`, `not {"a":1}`, false},
		{`{ $.a = 1 }`, ``, false},

		{`[ip, user, username, timestamp, request, status_code, bytes]`, apache, true},
		{`[ip, user, username, timestamp, request, status_code]`, apache, false},
		{`[ip, user, username, timestamp, request, status_code = 404, bytes]`, apache, true},
		{`[ip, user, username, timestamp, request, status_code = 4*, bytes > 1000]`, apache, true},
		{`[ip, user, username, timestamp, request = *html*, status_code = 4*, bytes]`, apache, true},
		{`[ip, user, username, timestamp, request, status_code = 4* && status_code != 404, bytes]`, apache, false},
		{`[..., status_code, bytes > 2000]`, apache, false},
		{`[ip, user, ..., status_code = 404, bytes]`, apache, true},
		{`[ip = 127.0.0.1, ...]`, apache, true},
		{`[..., request=*.html*, status_code=4*,]`, apache, true},
		{`[ip=%127\.0\.0\.[1-9]%, ...]`, apache, true},
		{`[w1=ERROR, w2]`, `ERROR message`, true},
		{`[w1=ERROR || w1=WARN, w2]`, `WARN message`, true},
		{`[w1=!ERROR&&w1=!WARN, w2]`, `INFO message`, true},
		{`[w1!=ERROR&&w1!=WARN, w2]`, `WARN message`, false},
		{`[a="x,y", b]`, `x,y z`, true},
		{`[]`, `x`, true},
	} {
		matches, err := parsePattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		if got := matches == nil || matches([]byte(c.message)); got != c.want {
			t.Errorf("%s matches %s: %v; want %v", c.pattern, c.message, got, c.want)
		}
	}
}

func TestPatternsThatAreNone(t *testing.T) {
	t.Parallel()
	for pattern, message := range map[string]string{
		`email@domain.com`:      "Invalid character(s) in term 'email@domain.com'",
		`"open`:                 "Invalid filter pattern",
		`-`:                     "Invalid filter pattern",
		`{ $.a = 1`:             "If a filter pattern starts with '{' it must end with '}'",
		`[a`:                    "If a filter pattern starts with '[' it must end with ']'",
		`{}`:                    "Invalid filter pattern",
		`{ a = 1 }`:             "Invalid filter pattern",
		`{ $ = 1 }`:             "Invalid filter pattern",
		`{ $.a }`:               "Invalid filter pattern",
		`{ $.a = }`:             "Invalid filter pattern",
		`{ $.a < x }`:           "Invalid filter pattern",
		`{ $.a IS 1 }`:          "Invalid filter pattern",
		`{ ($.a = 1 }`:          "Invalid filter pattern",
		`{ $.a = 1 $.b = 2 }`:   "Invalid filter pattern",
		`{ $.a[x] = 1 }`:        "Invalid filter pattern",
		`[..., a, ...]`:         "Invalid filter pattern",
		`[a = 1 && b = 2]`:      "Invalid filter pattern",
		`[a b]`:                 "Invalid filter pattern",
		`%(a)%`:                 "Invalid character(s) in regular expression '(a)'",
		`%[a%`:                  "Invalid filter pattern",
		`%a`:                    "Invalid filter pattern",
		`[a=%a%, b=%b%, c=%c%]`: "A filter pattern can have at most 2 regular expressions",
		`{` + strings.Repeat("(", 500) + `$.a = 1` + strings.Repeat(")", 500) + `}`: "Invalid filter pattern",
	} {
		_, err := parsePattern(pattern)
		if e, ok := errors.AsType[*Exception](err); !ok || e.Code != "InvalidParameterException" || e.Message != message {
			t.Errorf("%s: %v; want %s", pattern, err, message)
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, p := range []string{`ERROR -x ?y "z"`, `{ $.a[*].b = "x*" && ($['c'] > 1e3 || $.d IS NULL) }`, `[a, ..., b=4* && b!=404, c=%x{2,3}%]`, `%a|b%`} {
		f.Add(p, `{"a":[{"b":"xy"}],"c":2000}`)
		f.Add(p, `1 [2 3] "4 5" 404`)
	}
	f.Fuzz(func(t *testing.T, pattern, message string) {
		matches, err := parsePattern(pattern)
		if err != nil {
			if _, ok := errors.AsType[*Exception](err); !ok {
				t.Errorf("%q: %v is no exception", pattern, err)
			}
			return
		}
		if matches == nil {
			return
		}
		first := matches([]byte(message))
		if again := matches([]byte(message)); again != first {
			t.Errorf("%q can't make up its mind about %q", pattern, message)
		}
	})
}
