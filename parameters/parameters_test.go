package parameters

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/store"
	"github.com/lamina-run/lamina/wire"
	"github.com/lamina-run/lamina/wire/jsontarget"
)

const testAccount = "123456789012"

// door answers requests of one caller.
type door struct {
	t       *testing.T
	h       http.Handler
	caller  identity.Caller
	needs   []identity.Need // as they were asked for
	refused string          // action that is not permitted
	record  wire.Record
}

func (d *door) Permit(_ context.Context, _ identity.Caller, n identity.Need) error {
	d.needs = append(d.needs, n)
	if n.Action == d.refused {
		return wire.AccessDenied.New("no")
	}
	return nil
}

func newDoor(t *testing.T) *door {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "db"), SecretKey: make([]byte, store.SecretKeyBytes)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	err = db.Update(t.Context(), func(tx *store.Tx) error {
		return tx.InsertAccount(t.Context(), store.Account{ID: testAccount})
	})
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: t, caller: identity.Caller{Account: testAccount, Region: "eu-central-1", Kind: identity.KindUser, ARN: "arn:aws:iam::123456789012:user/ann"}}
	d.h = New(Options{Store: db, Authority: d, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.UnixMilli(1_700_000_000_123) }})
	return d
}

// do answers one request: what came, as canonical JSON.
func (d *door) do(operation, body string) string {
	d.t.Helper()
	req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	req.Header.Set(jsontarget.Header, prefix+operation)
	d.record, d.needs = wire.Record{}, nil
	w := httptest.NewRecorder()
	d.h.ServeHTTP(w, req.WithContext(wire.WithRecord(identity.WithCaller(req.Context(), d.caller), &d.record)))
	var v any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		d.t.Fatalf("%s answers %q", operation, w.Body)
	}
	text, _ := json.Marshal(v)
	if w.Code != http.StatusOK {
		return fmt.Sprint(w.Code, " ", string(text))
	}
	return string(text)
}

// TestOperations is the life of some parameters, in order. Want is in what is
// answered; a leading ! is not.
func TestOperations(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	long := strings.Repeat("x", 4097)
	for _, step := range []struct{ operation, body, want string }{
		{"PutParameter", `{"Name":"/app/db/host","Value":"h1","Type":"String","Tags":[{"Key":"team","Value":"a"}]}`, `{"Tier":"Standard","Version":1}`},
		{"PutParameter", `{"Name":"/app/db/host","Value":"h1","Type":"String"}`, `400 {"__type":"ParameterAlreadyExists","message":"The parameter already exists. To overwrite`},
		{"PutParameter", `{"Name":"/app/db/host","Value":"h2","Overwrite":true,"Description":"where"}`, `"Version":2`},
		{"PutParameter", `{"Name":"/app/db/host","Value":"h2","Overwrite":true,"Tags":[{"Key":"a","Value":"b"}]}`, "tags and overwrite can't be used together"},
		{"PutParameter", `{"Name":"/app/secret","Value":"hush","Type":"SecureString"}`, `"Version":1`},
		{"PutParameter", `{"Name":"/app/list","Value":"a,b","Type":"StringList","AllowedPattern":"^[a-z]$"}`, `"Version":1`},
		{"PutParameter", `{"Name":"/app/list","Value":"a,7","Overwrite":true}`, "ParameterPatternMismatchException"},
		{"PutParameter", `{"Name":"/app/list","Value":"a,7","Overwrite":true,"AllowedPattern":"("}`, "InvalidAllowedPatternException"},
		{"PutParameter", `{"Name":"plain","Value":"v","Type":"String","Tier":"Intelligent-Tiering"}`, `{"Tier":"Standard","Version":1}`},
		{"PutParameter", `{"Name":"/plain","Value":"v","Type":"String"}`, "ParameterAlreadyExists"},
		{"PutParameter", `{"Name":"big","Value":"` + long + `","Type":"String"}`, "Standard tier parameters support a maximum parameter value of 4096 characters."},
		{"PutParameter", `{"Name":"big","Value":"` + long + `","Type":"String","Tier":"Intelligent-Tiering"}`, `{"Tier":"Advanced","Version":1}`},
		{"PutParameter", `{"Name":"untyped","Value":"v"}`, "A parameter type is required when you create a parameter."},
		{"PutParameter", `{"Name":"n","Value":"v","Type":"Text"}`, "Value 'Text' at 'type' failed to satisfy constraint: Member must satisfy enum value set: [SecureString, StringList, String]"},
		{"PutParameter", `{"Name":"n","Value":"","Type":"String"}`, "Value '' at 'value' failed to satisfy constraint"},
		{"PutParameter", `{"Value":"v","Type":"String"}`, "Value null at 'name' failed to satisfy constraint: Member must not be null"},
		{"PutParameter", `{"Name":"a/b","Value":"v","Type":"String"}`, "Parameter name must be a fully qualified name."},
		{"PutParameter", `{"Name":"/aws/x/y","Value":"v","Type":"String"}`, "No access to reserved parameter name: /aws/x/y."},
		{"PutParameter", `{"Name":"ssmThing","Value":"v","Type":"String"}`, `can't be prefixed with \"aws\" or \"ssm\"`},
		{"PutParameter", `{"Name":"image","Value":"v","Type":"String","DataType":"aws:ec2:image"}`, "is not the ID of an image"},
		{"PutParameter", `{"Name":"n","Value":"v","Type":"String","DataType":"int"}`, "The following data type is not supported: int"},
		{"PutParameter", `{"Name":5}`, "SerializationException"},
		{"GetParameter", `{"Name":"/app/db/host"}`, `{"Parameter":{"ARN":"arn:aws:ssm:eu-central-1:123456789012:parameter/app/db/host","DataType":"text","LastModifiedDate":1700000000.123,"Name":"/app/db/host","Type":"String","Value":"h2","Version":2}}`},
		{"GetParameter", `{"Name":"/app/db/host:1"}`, `"Selector":":1","Type":"String","Value":"h1"`},
		{"GetParameter", `{"Name":"/app/db/host:9"}`, "Systems Manager could not find version 9 of /app/db/host. Verify the version and try again."},
		{"GetParameter", `{"Name":"arn:aws:ssm:eu-central-1:123456789012:parameter/app/db/host"}`, `"Value":"h2"`},
		{"GetParameter", `{"Name":"arn:aws:ssm:eu-central-1:123456789012:parameter/plain"}`, `"Name":"plain"`},
		{"GetParameter", `{"Name":"arn:aws:ssm:us-east-1:123456789012:parameter/plain"}`, `400 {"__type":"ParameterNotFound","message":""}`},
		{"GetParameter", `{"Name":"absent"}`, `400 {"__type":"ParameterNotFound","message":""}`},
		{"GetParameter", `{"Name":"/app/secret"}`, "!hush"},
		{"GetParameter", `{"Name":"/app/secret"}`, `"Value":"AQICAH`},
		{"GetParameter", `{"Name":"/app/secret","WithDecryption":true}`, `"Value":"hush"`},
		{"GetParameters", `{"Names":["plain","absent","/app/db/host:9","/app/db/host:2"]}`, `{"InvalidParameters":["absent","/app/db/host:9"],"Parameters":[{"ARN":"arn:aws:ssm:eu-central-1:123456789012:parameter/plain"`},
		{"GetParameters", `{"Names":["1","2","3","4","5","6","7","8","9","10","11"]}`, "Value '[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]' at 'names' failed to satisfy constraint: Member must have length less than or equal to 10"},
		{"GetParametersByPath", `{"Path":"/app"}`, "!db/host"},
		{"GetParametersByPath", `{"Path":"/app","Recursive":true,"MaxResults":2}`, `"NextToken"`},
		{"GetParametersByPath", `{"Path":"/app","Recursive":true,"ParameterFilters":[{"Key":"Type","Values":["String"]}]}`, "!/app/list"},
		{"GetParametersByPath", `{"Path":"/"}`, `"Name":"plain"`},
		{"GetParametersByPath", `{"Path":"app"}`, "The parameter name must begin with a forward slash"},
		{"GetParametersByPath", `{"Path":"/app","MaxResults":11}`, "Value '11' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 10"},
		{"GetParametersByPath", `{"Path":"/app","NextToken":"no"}`, "InvalidNextToken"},
		{"GetParametersByPath", `{"Path":"/app","ParameterFilters":[{"Key":"Name","Values":["x"]}]}`, "The following filter key is not valid: Name. Valid filter keys include: [Type, KeyId, Label]."},
		{"DescribeParameters", `{"ParameterFilters":[{"Key":"Name","Option":"Contains","Values":["db"]}]}`, `{"Parameters":[{"ARN":"arn:aws:ssm:eu-central-1:123456789012:parameter/app/db/host","DataType":"text","Description":"where","LastModifiedDate":1700000000.123,"LastModifiedUser":"arn:aws:iam::123456789012:user/ann","Name":"/app/db/host","Policies":[],"Tier":"Standard","Type":"String","Version":2}]}`},
		{"DescribeParameters", `{"ParameterFilters":[{"Key":"tag:team","Values":["a"]}]}`, `/app/db/host`},
		{"DescribeParameters", `{"ParameterFilters":[{"Key":"tag:team","Values":["b"]}]}`, `{"Parameters":[]}`},
		{"DescribeParameters", `{"ParameterFilters":[{"Key":"Path","Values":["/app"]}]}`, "!db/host"},
		{"DescribeParameters", `{"ParameterFilters":[{"Key":"Color","Values":["b"]}]}`, "parameterFilters.1.member.key"},
		{"DescribeParameters", `{"MaxResults":1}`, `"NextToken"`},
		{"DescribeParameters", `{"Filters":[{"Key":"Name","Values":["pl"]}]}`, `"Name":"plain"`},
		{"LabelParameterVersion", `{"Name":"/app/db/host","ParameterVersion":1,"Labels":["live","aws-x","1st"]}`, `{"InvalidLabels":["aws-x","1st"],"ParameterVersion":1}`},
		{"GetParameter", `{"Name":"/app/db/host:live"}`, `"Value":"h1"`},
		{"LabelParameterVersion", `{"Name":"/app/db/host","Labels":["live"]}`, `"ParameterVersion":2`},
		{"GetParameter", `{"Name":"/app/db/host:live"}`, `"Value":"h2"`},
		{"GetParametersByPath", `{"Path":"/app/db","ParameterFilters":[{"Key":"Label","Values":["live"]}]}`, `"Value":"h2"`},
		{"GetParameterHistory", `{"Name":"/app/db/host","MaxResults":1}`, `"Value":"h1","Version":1`},
		{"GetParameterHistory", `{"Name":"/app/db/host"}`, `"Labels":["live"]`},
		{"GetParameterHistory", `{"Name":"absent"}`, "ParameterNotFound"},
		{"UnlabelParameterVersion", `{"Name":"/app/db/host","ParameterVersion":2,"Labels":["live","x"]}`, `{"InvalidLabels":["x"],"RemovedLabels":["live"]}`},
		{"GetParameter", `{"Name":"/app/db/host:live"}`, "could not find label live"},
		{"AddTagsToResource", `{"ResourceType":"Parameter","ResourceId":"plain","Tags":[{"Key":"k","Value":"v"}]}`, `{}`},
		{"AddTagsToResource", `{"ResourceType":"Document","ResourceId":"plain","Tags":[]}`, "InvalidResourceType"},
		{"ListTagsForResource", `{"ResourceType":"Parameter","ResourceId":"plain"}`, `{"TagList":[{"Key":"k","Value":"v"}]}`},
		{"RemoveTagsFromResource", `{"ResourceType":"Parameter","ResourceId":"plain","TagKeys":["k"]}`, `{}`},
		{"ListTagsForResource", `{"ResourceType":"Parameter","ResourceId":"plain"}`, `{"TagList":[]}`},
		{"ListTagsForResource", `{"ResourceType":"Parameter","ResourceId":"absent"}`, "InvalidResourceId"},
		{"DeleteParameter", `{"Name":"plain"}`, `{}`},
		{"DeleteParameter", `{"Name":"plain"}`, "ParameterNotFound"},
		{"DeleteParameters", `{"Names":["plain","/app/list"]}`, `{"DeletedParameters":["/app/list"],"InvalidParameters":["plain"]}`},
		{"CreateDocument", `{}`, "Lamina does not offer the operation"},
	} {
		got := d.do(step.operation, step.body)
		want, absent := strings.CutPrefix(step.want, "!")
		if strings.Contains(got, want) == absent {
			t.Errorf("%s %.200s\ngot  %s\nwant %s", step.operation, step.body, got, step.want)
		}
	}
}

func TestPagesOfAPathAreWhole(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	for i := range 23 {
		d.do("PutParameter", fmt.Sprintf(`{"Name":"/p/%02d","Value":"v","Type":"String"}`, i))
		d.do("PutParameter", fmt.Sprintf(`{"Name":"/p/%02d/deep","Value":"v","Type":"String"}`, i))
	}
	var names []string
	token := ""
	for range 5 {
		var page struct {
			Parameters []struct{ Name string }
			NextToken  string
		}
		if err := json.Unmarshal([]byte(d.do("GetParametersByPath", fmt.Sprintf(`{"Path":"/p/","NextToken":%q}`, token))), &page); err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Parameters {
			names = append(names, p.Name)
		}
		if token = page.NextToken; token == "" {
			break
		}
	}
	if len(names) != 23 || !slices.IsSorted(names) || token != "" {
		t.Errorf("the pages have %v and end with the token %q; want 23 names", names, token)
	}
}

func TestVersionsAreAHundred(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	d.do("PutParameter", `{"Name":"n","Value":"0","Type":"String"}`)
	for range 99 {
		d.do("PutParameter", `{"Name":"n","Value":"1","Overwrite":true}`)
	}
	if got := d.do("PutParameter", `{"Name":"n","Value":"1","Overwrite":true}`); !strings.Contains(got, `"Version":101`) {
		t.Errorf("version 101: %s", got)
	}
	if got := d.do("GetParameter", `{"Name":"n:1"}`); !strings.Contains(got, "ParameterVersionNotFound") {
		t.Errorf("version 1 is still there: %s", got)
	}
	d.do("LabelParameterVersion", `{"Name":"n","ParameterVersion":2,"Labels":["keep"]}`)
	if got := d.do("PutParameter", `{"Name":"n","Value":"1","Overwrite":true}`); !strings.Contains(got, "ParameterMaxVersionLimitExceeded") {
		t.Errorf("a labelled version makes room: %s", got)
	}
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	const base = "arn:aws:ssm:eu-central-1:123456789012:"
	d := newDoor(t)
	for _, c := range []struct{ operation, body, resource string }{
		{"PutParameter", `{"Name":"/a/b","Value":"v","Type":"String","Tags":[{"Key":"k","Value":"v"}]}`, base + "parameter/a/b"},
		{"GetParameter", `{"Name":"/a/b:1"}`, base + "parameter/a/b"},
		{"GetParameters", `{"Names":["plain"]}`, base + "parameter/plain"},
		{"GetParametersByPath", `{"Path":"/a/"}`, base + "parameter/a"},
		{"GetParameterHistory", `{"Name":"/a/b"}`, base + "parameter/a/b"},
		{"DescribeParameters", `{}`, "*"},
		{"LabelParameterVersion", `{"Name":"/a/b","Labels":["x"]}`, base + "parameter/a/b"},
		{"AddTagsToResource", `{"ResourceType":"Parameter","ResourceId":"/a/b","Tags":[{"Key":"k","Value":"v"}]}`, base + "parameter/a/b"},
		{"DeleteParameters", `{"Names":["/a/b"]}`, base + "parameter/a/b"},
		{"DeleteParameter", `{"Name":"/a/b"}`, base + "parameter/a/b"},
	} {
		d.refused = "ssm:" + c.operation
		if got := d.do(c.operation, c.body); !strings.Contains(got, "AccessDeniedException") {
			t.Errorf("%s without permission: %s", c.operation, got)
		}
		if len(d.needs) != 1 || d.needs[0].Action != d.refused || d.needs[0].Resource != c.resource {
			t.Errorf("%s needs %+v; want %s on %s", c.operation, d.needs, d.refused, c.resource)
		}
		if mutates := !strings.HasPrefix(c.operation, "Get") && !strings.HasPrefix(c.operation, "Describe"); d.record.Mutates != mutates || d.record.Operation != c.operation || d.record.Code != "AccessDeniedException" {
			t.Errorf("%s is recorded as %+v", c.operation, d.record)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"/a/b", "a", "a:1", "arn:aws:ssm:eu-central-1:123456789012:parameter/a/b:live", "//", "/", "a/b", ":", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, reference string) {
		c := &call{caller: identity.Caller{Account: testAccount, Region: "eu-central-1"}}
		id, _, err := c.id(reference)
		if err != nil {
			return
		}
		again, selector, err := c.id(id.ARN())
		if err != nil || selector != "" || again.ARN() != id.ARN() {
			t.Errorf("%q is %q, whose ARN is %q, %v", reference, id.Name, again.Name, err)
		}
	})
}
