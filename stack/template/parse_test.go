package template

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, want string }{
		{
			"short forms", "a: !Ref B\nb: !GetAtt C.D.E\nc: !GetAtt [F, !Ref G]\nd: !Sub ['${X}', {X: !ImportValue y}]\ne: !If [Q, !Base64 yes, 1]\nf: !Condition R\n",
			`{"a":{"Ref":"B"},"b":{"Fn::GetAtt":["C","D.E"]},"c":{"Fn::GetAtt":["F",{"Ref":"G"}]},"d":{"Fn::Sub":["${X}",{"X":{"Fn::ImportValue":"y"}}]},"e":{"Fn::If":["Q",{"Fn::Base64":"yes"},1]},"f":{"Condition":"R"}}`,
		},
		{"booleans of YAML 1.1", "a: [yes, No, ON, off, True, y, n, 'yes', \"no\"]", `{"a":[true,false,true,false,true,"y","n","yes","no"]}`},
		{
			"numbers keep their spelling", "a: [1.10, 123456789012345678901234567890, 1_000, +5, -7, .5, 5., 007.5, 1e3]",
			`{"a":[1.10,123456789012345678901234567890,1000,5,-7,0.5,5.0,7.5,1e3]}`,
		},
		{"octal, hexadecimal, binary, sixty", "a: [0755, 0o755, 0x1F, 0b101, 1:30, 089, 065115117704]", `{"a":[493,"0o755",31,5,90,"089",7133765572]}`},
		{"dates are strings", "a: 2012-10-17\nb: 2001-12-14t21:59:43.10-05:00", `{"a":"2012-10-17","b":"2001-12-14t21:59:43.10-05:00"}`},
		{"nulls", "a: ~\nb:\nc: null\nd: ''", `{"a":null,"b":null,"c":null,"d":""}`},
		{"explicit tags", "a: !!str 12\nb: !!int \"12\"", `{"a":"12","b":12}`},
		{"block scalars", "a: |\n  x\n  yes\nb: >-\n  1\n  2", `{"a":"x\nyes\n","b":"1 2"}`},
		{"aliases and merges", "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: {<<: [*x, {c: 4}]}\nw: *x", `{"x":{"a":1,"b":2},"y":{"a":1,"b":3},"z":{"a":1,"b":2,"c":4},"w":{"a":1,"b":2}}`},
		{"keys", "On: a\nNull: b\n'1': c", `{"On":"a","Null":"b","1":"c"}`},
		{"JSON", "\ufeff {\"a\": [1.0, true, null, \"\\u00e9\"], \"b\": {\"c\": 1e400}}", `{"a":[1.0,true,null,"é"],"b":{"c":1e400}}`},
		{
			"functions of one tag only", "a: !Join ['', [!Ref A, 'b']]\nb: !GetAZs ''\nc: !Select [0, !Split [',', 'a,b']]",
			`{"a":{"Fn::Join":["",[{"Ref":"A"},"b"]]},"b":{"Fn::GetAZs":""},"c":{"Fn::Select":[0,{"Fn::Split":[",","a,b"]}]}}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := Parse(tc.text)
			if err != nil {
				t.Fatalf("Parse = %v", err)
			}
			d := json.NewDecoder(strings.NewReader(tc.want))
			d.UseNumber()
			var want map[string]any
			if err := d.Decode(&want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Parse (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	laughs := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 9; i++ {
		ref := strings.Repeat("*a"+string(rune('0'+i-1))+", ", 10)
		laughs += "a" + string(rune('0'+i)) + ": &a" + string(rune('0'+i)) + " [" + ref[:len(ref)-2] + "]\n"
	}
	for _, tc := range []struct{ name, text, want string }{
		{"nothing", "", "Template format error: unsupported structure."},
		{"a text", "template.yml", "Template format error: unsupported structure."},
		{"a list", "- a", "Template format error: unsupported structure."},
		{"not UTF-8", "a: \xff", "Template format error: unsupported structure."},
		{"broken JSON", "{\"a\":\n  1,, }", "Template format error: JSON not well-formed. (line 2, column 4)"},
		{"JSON that ends early", `{"a": [1`, "Template format error: JSON not well-formed. (line 1, column 8)"},
		{"more than one JSON", `{} {}`, "Template format error: JSON not well-formed."},
		{"duplicate keys of JSON", `{"a": 1, "a": 2}`, "Duplicate key a. (line 1, column 12)"},
		{"duplicate keys of YAML", "a: 1\nb:\n  c: 1\n  c: 2", "Duplicate key c. (line 4, column 3)"},
		{"broken YAML", "a:\n  - b\n c: [", "Template format error: YAML not well-formed. (line 2"},
		{"two documents", "a: 1\n---\nb: 2\n", "YAML not well-formed. (line 2: a template is one document)"},
		{"a number as a key", "Mappings:\n  AccountMap:\n    123456789012: {a: b}", "Template format error: [/Mappings/AccountMap] map keys must be strings; received numeric [123456789012] instead"},
		{"a tag that is none", "a: !Foo b", "Unsupported tag !Foo. (line 1, column 4)"},
		{"a type of YAML", "a: !!set {b, c}", "Unsupported tag !!set."},
		{"billion laughs", laughs, "It is too deep or too large."},
		{"an alias in its anchor", "a: &a [*a]", "It is too deep or too large."},
		{"deep YAML", "a: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "too deep"},
		{"deep JSON", `{"a":` + strings.Repeat("[", 200_000), "too deep"},
		{"large", "a: " + strings.Repeat("x", MaxBytes), "may not exceed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := Parse(tc.text)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Parse = %v, %v; want %s", got, err, tc.want)
			}
			if _, ok := err.(*Error); err != nil && !ok {
				t.Errorf("the error is a %T", err)
			}
		})
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"z: 1\na: [{y: 1, b: {<<: {m: 1, l: 2}, k: 3}}]\n", `{"z": 1, "a": [{"y": 1, "b": {"k": 3, "l": 2, "m": 1}}]}`} {
		keys := Order(text)
		for path, want := range map[string]string{"": "z a", "a/0": "y b", "a/0/b": "k l m", "a": "", "z": "", "x/y": "", "a/1": ""} {
			var at []string
			if path != "" {
				at = strings.Split(path, "/")
			}
			if got := strings.Join(keys(at...), " "); got != want {
				t.Errorf("%s: Order(%s) = %s; want %s", text, path, got, want)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("Resources:\n  A: {Type: AWS::S3::Bucket, Properties: {N: !Sub 'x${B}', M: !GetAtt A.B}}\n")
	f.Add(`{"Resources": {"A": {"Type": "X", "Properties": {"P": {"Fn::Join": ["", [{"Ref": "A"}]]}}}}}`)
	f.Add("Transform: AWS::LanguageExtensions\nResources:\n  Fn::ForEach::L: [X, [a, b], {'R${X}': {Type: T, Properties: {N: !Ref X}}}]\n")
	f.Add("a: &a {<<: *a}\nb: [0x_, 1:2:3, 0b_, 1_, .5e3, -0, +0b1]\n")
	f.Add("Parameters: {P: {Type: Number, Default: 1, MinValue: 0}}\nConditions: {C: !Equals [!Ref P, 1]}\nRules: {R: {Assertions: [{Assert: !Contains [[1], !Ref P]}]}}\nResources: {A: {Type: T, Condition: C}}")
	f.Fuzz(func(t *testing.T, text string) {
		body, err := Parse(text)
		if err != nil {
			if _, ok := err.(*Error); !ok {
				t.Fatalf("Parse = %T %v", err, err)
			}
			return
		}
		again, err := JSON(body)
		if err != nil {
			t.Fatalf("JSON of what Parse returned = %v", err)
		}
		if back, err := Parse(again); len(again) <= MaxBytes && (err != nil || !cmp.Equal(body, back)) {
			t.Fatalf("Parse of %s = %v, %v; want what it came from", again, back, err)
		}
		body, err = Extend(body, map[string]string{}, Pseudo{})
		if err != nil {
			return
		}
		read, err := Read(body)
		if err != nil {
			if _, ok := err.(*Error); !ok {
				t.Fatalf("Read = %T %v", err, err)
			}
			return
		}
		values, err := read.Values(nil)
		if err != nil {
			return
		}
		s, err := read.Scope(values, Pseudo{Region: "eu-west-1"})
		if err != nil {
			return
		}
		if _, err := s.Graph(); err != nil {
			return
		}
		for _, id := range s.Active() {
			if p, err := s.PreviewProperties(id); err == nil {
				if _, err := JSON(p); err != nil {
					t.Fatalf("JSON of properties = %v", err)
				}
				_, _ = References(p)
			}
		}
	})
}
