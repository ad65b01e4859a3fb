package main

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
)

// output is how a verb answers: a table for people, or JSON for programs. Verbs
// embed it and answer through [output.answer].
type output struct {
	Output string `env:"LAMINA_OUTPUT" enum:"table,json" default:"table" help:"How to answer: ${enum}."`
}

// answer writes v as indented JSON, or has table write what people read.
func (o output) answer(out io.Writer, v any, table func(io.Writer) error) error {
	if o.Output == "json" {
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	return table(out)
}

// columns aligns cells that are separated by tabs; the caller flushes it.
func columns(out io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(out, 0, 0, 2, ' ', 0) }

// printable returns a text of strangers, such as the name of a file in a zip, so
// that it can neither move the cursor nor break a table. What is not printable is
// quoted as Go does.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) < 0 {
		return s
	}
	return strconv.Quote(s)
}

// orEmpty returns a list that JSON shows as [] when there is nothing in it.
func orEmpty[T any](all []T) []T {
	if all == nil {
		return []T{}
	}
	return all
}
