// Command wiregen turns the service model of AWS Lambda into package wire's
// zz_model.go: structures with tags, the operation table, the exceptions. It
// emits data only; the engine that reads it is written by hand.
//
// It reads the trimmed copy of the model beside it. With -trim it makes that
// copy anew from botocore, or from the file that -model names.
package main

import (
	"flag"
	"fmt"
	"go/format"
	"os"
)

func main() {
	file := flag.String("model", "", "service model to read (default wiregen/model.json, with -trim that of botocore)")
	out := flag.String("out", "zz_model.go", "file to write")
	copyTo := flag.Bool("trim", false, "write wiregen/model.json and stop")
	flag.Parse()
	if err := run(*file, *out, *copyTo); err != nil {
		fmt.Fprintln(os.Stderr, "wiregen:", err)
		os.Exit(1)
	}
}

func run(file, out string, copyOnly bool) error {
	const trimmed = "wiregen/model.json"
	if file == "" {
		file = trimmed
		if copyOnly {
			var err error
			if file, err = installed(); err != nil {
				return err
			}
		}
	}
	m, err := readModel(file)
	if err != nil {
		return err
	}
	if copyOnly {
		return trim(m, trimmed)
	}
	g := newGenerator(m)
	text, err := g.generate()
	if err != nil {
		return err
	}
	source, err := format.Source(text)
	if err != nil {
		return fmt.Errorf("format: %w\n%s", err, text)
	}
	return os.WriteFile(out, source, 0o644)
}
