package main

import (
	"bytes"
	"go/format"
	"os"
	"strings"
	"testing"
)

func TestGeneratedFileIsUpToDate(t *testing.T) {
	t.Parallel()
	m, err := readModel("model.json")
	if err != nil {
		t.Fatal(err)
	}
	text, err := newGenerator(m).generate()
	if err != nil {
		t.Fatal(err)
	}
	got, err := format.Source(text)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../zz_model.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("zz_model.go is not what the generator writes; run go generate ./wire")
	}
}

func TestGeneratorRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*model)
		want   string
	}{
		{"a pattern that needs another matcher", func(m *model) {
			s := m.Shapes.Of["StatementId"]
			s.Pattern = `(?!x)[a-z]+`
			m.Shapes.Of["StatementId"] = s
		}, "pattern of StatementId needs a hand-written matcher"},
		{"a changed pattern that has a matcher", func(m *model) {
			s := m.Shapes.Of["Alias"]
			s.Pattern = `(?!^[0-9]+$)([a-z]+)`
			m.Shapes.Of["Alias"] = s
		}, "pattern of Alias needs a hand-written matcher"},
		{"an override without its shape", func(m *model) { delete(m.Shapes.Of, "SubnetId") }, "override of unknown shape SubnetId"},
		{"a status without its operation", func(m *model) { delete(m.Operations.Of, "DeleteFunction") }, "status of unknown operation DeleteFunction"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, err := readModel("model.json")
			if err != nil {
				t.Fatal(err)
			}
			tt.change(m)
			if _, err := newGenerator(m).generate(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("generate = %v; want %q", err, tt.want)
			}
		})
	}
}
