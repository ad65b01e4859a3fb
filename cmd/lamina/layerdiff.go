package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/contents"
)

type diffLayersVerb struct {
	Old      string `arg:"" help:"Zip, directory, ARN of a layer version, or name of a layer, with :NUMBER or its newest version."`
	New      string `arg:"" help:"The same, to compare with it."`
	ExitCode bool   `help:"Exit with 1 when they differ."`
	output
	stackServer
}

// layerDifference is the answer in JSON.
type layerDifference struct {
	Old, New                      string
	OldUnpackedSize               int64
	NewUnpackedSize               int64
	Added, Removed, Changed, Same int
	Changes                       []layerChange
}

type layerChange struct {
	Path    string
	Change  contents.ChangeKind
	What    []string `json:",omitempty"`
	OldSize int64
	NewSize int64
}

// Run compares two layers.
func (v *diffLayersVerb) Run(ctx context.Context, s streams) error {
	opener := &layerOpener{server: &v.stackServer, notes: s.notes, limits: lamina.DefaultLimits()}
	before, err := opener.open(ctx, v.Old)
	if err != nil {
		return err
	}
	defer before.close()
	after, err := opener.open(ctx, v.New)
	if err != nil {
		return err
	}
	defer after.close()
	d, err := contents.Compare(ctx, before.tree, after.tree)
	if err != nil {
		return fmt.Errorf("compare %s and %s: %w", v.Old, v.New, err)
	}
	out := layerDifference{
		Old: before.name, New: after.name, OldUnpackedSize: d.OldSize, NewUnpackedSize: d.NewSize,
		Added: d.Added, Removed: d.Removed, Changed: d.Changed, Same: d.Same, Changes: []layerChange{},
	}
	for _, c := range d.Changes {
		one := layerChange{Path: c.Path, Change: c.Kind, What: c.What}
		if c.Old != nil {
			one.OldSize = c.Old.Size
		}
		if c.New != nil {
			one.NewSize = c.New.Size
		}
		out.Changes = append(out.Changes, one)
	}
	if err := v.answer(s.out, out, func(w io.Writer) error { return differenceTable(w, out) }); err != nil {
		return err
	}
	if v.ExitCode && len(d.Changes) > 0 {
		return errors.New("they differ")
	}
	return nil
}

func differenceTable(w io.Writer, d layerDifference) error {
	table := columns(w)
	for _, c := range d.Changes {
		switch c.Change {
		case contents.Added:
			fmt.Fprintf(table, "+\t%s\t%s\n", printable(c.Path), bytesText(c.NewSize))
		case contents.Removed:
			fmt.Fprintf(table, "-\t%s\t%s\n", printable(c.Path), bytesText(c.OldSize))
		default:
			sizes := bytesText(c.OldSize)
			if c.OldSize != c.NewSize {
				sizes += " -> " + bytesText(c.NewSize)
			}
			fmt.Fprintf(table, "~\t%s\t%s\t%s\n", printable(c.Path), sizes, strings.Join(c.What, ", "))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d added, %d removed, %d changed, %d the same; unzipped %s -> %s\n",
		d.Added, d.Removed, d.Changed, d.Same, bytesText(d.OldUnpackedSize), bytesText(d.NewUnpackedSize))
	return err
}
