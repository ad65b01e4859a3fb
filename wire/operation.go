package wire

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

//go:generate go run ./wiregen

// Operation is one row of the service's operation table.
type Operation struct {
	Name   string // PublishLayerVersion
	Method string // POST
	Path   string // template: /2018-10-31/layers/{LayerName}/versions
	Query  string // literal query that tells two operations of one path apart, as find=LayerVersion, or empty
	Status int    // of a success; outputs with a status member may set another

	in, out reflect.Type
	upload  []string // path of the member that is streamed, or nil
}

// NoContent is the output of operations that answer without a body.
type NoContent struct{}

// Operations returns a copy of the operation table, sorted by name.
func Operations() []Operation { return slices.Clone(operations) }

// OperationsTable writes the operation table as Markdown; handled says which
// operations are offered, declined for which feature one never will be.
func OperationsTable(handled func(name string) bool, declined func(name string) string) string {
	var out strings.Builder
	offered, refused := 0, 0
	for _, op := range operations {
		if handled(op.Name) {
			offered++
		} else if declined(op.Name) != "" {
			refused++
		}
	}
	fmt.Fprintf(&out, "Lamina offers %d of %d operations and declines %d.\n\n", offered, len(operations), refused)
	out.WriteString("| operation | request | success | offered |\n|---|---|---|---|\n")
	for _, op := range operations {
		path, word := op.Path, "no"
		if op.Query != "" {
			path += "?" + op.Query
		}
		if handled(op.Name) {
			word = "yes"
		} else if what := declined(op.Name); what != "" {
			word = "declined: " + what
		}
		fmt.Fprintf(&out, "| %s | `%s %s` | %d | %s |\n", op.Name, op.Method, path, op.Status, word)
	}
	return out.String()
}
