package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lamina-run/lamina/server"
)

type topVerb struct {
	Minutes   int           `default:"5" help:"How many minutes are summed up: 1 to 180."`
	Every     time.Duration `default:"2s" help:"How often the table is drawn on a terminal."`
	Once      bool          `help:"Print the table once, as where there is no terminal."`
	Sort      string        `default:"running" enum:"running,invocations,errors,throttles,p50,p99,memory,name" help:"Which functions come first: ${enum}."`
	Functions string        `default:"auto" enum:"auto,all,region" help:"Whose: of the account in the region, or all there are, which the operator's root may see; auto is all where it may be: ${enum}."`
	output
	stackServer
}

// Validate is called by kong after parsing.
func (v *topVerb) Validate() error {
	if v.Minutes < 1 || v.Minutes > 180 {
		return fmt.Errorf("--minutes %d: want 1 to 180", v.Minutes)
	}
	if v.Every < 100*time.Millisecond {
		return fmt.Errorf("--every %v: want 100ms or more", v.Every)
	}
	return nil
}

// overview is what a look at the server finds.
type overview struct {
	Machine *server.Machine `json:",omitempty"` // for the operator only
	server.Top
}

// Run prints a table, or draws one until it is told to stop.
func (v *topVerb) Run(ctx context.Context, s streams) error {
	api, err := v.api()
	if err != nil {
		return err
	}
	api.service = server.SigningService
	screen := terminal(s.out)
	if v.Once || v.Output == "json" || screen == nil {
		o, err := v.look(ctx, api)
		if err != nil {
			return v.explain(told("look at the server", err))
		}
		return v.answer(s.out, o, func(w io.Writer) error { return v.table(w, o, 0) })
	}
	// The other screen of the terminal, so that this one is as it was afterwards.
	fmt.Fprint(screen, "\x1b[?1049h\x1b[?25l")
	defer fmt.Fprint(screen, "\x1b[?25h\x1b[?1049l")
	for {
		o, err := v.look(ctx, api)
		if ctx.Err() != nil {
			return nil // Ctrl-C is how it ends
		}
		if err != nil {
			return v.explain(told("look at the server", err))
		}
		if err := v.draw(screen, o); err != nil {
			return err
		}
		if wait(ctx, v.Every) != nil {
			return nil
		}
	}
}

// look asks for what the caller may see.
func (v *topVerb) look(ctx context.Context, api *apiClient) (o overview, err error) {
	path := "/_lamina/top?minutes=" + strconv.Itoa(v.Minutes)
	if v.Functions != "region" {
		err = api.do(ctx, http.MethodGet, path+"&all=true", nil, &o.Top)
	}
	if v.Functions == "region" || v.Functions == "auto" && denied(err) {
		v.Functions = "region"
		err = api.do(ctx, http.MethodGet, path, nil, &o.Top)
	}
	if err != nil {
		return o, err
	}
	var m server.Machine
	switch err := api.do(ctx, http.MethodGet, "/_lamina/machine", nil, &m); {
	case err == nil:
		o.Machine = &m
	case !denied(err):
		return o, err
	}
	slices.SortStableFunc(o.Functions, v.compare)
	return o, nil
}

func denied(err error) bool {
	refused, ok := errors.AsType[*apiError](err)
	return ok && refused.Status == http.StatusForbidden
}

// compare puts first what is most.
func (v *topVerb) compare(a, b server.TopFunction) int {
	switch v.Sort {
	case "invocations":
		return cmp.Compare(b.Invocations, a.Invocations)
	case "errors":
		return cmp.Compare(b.Errors, a.Errors)
	case "throttles":
		return cmp.Compare(b.Throttles, a.Throttles)
	case "p50":
		return cmp.Compare(b.Duration.P50, a.Duration.P50)
	case "p99":
		return cmp.Compare(b.Duration.P99, a.Duration.P99)
	case "memory":
		return cmp.Compare(b.Environments.MaxMemory, a.Environments.MaxMemory)
	case "name":
		return 0 // they come that way
	}
	return cmp.Or(cmp.Compare(b.Running, a.Running), cmp.Compare(b.Invocations, a.Invocations))
}

// draw draws the table on a terminal, as much as fits.
func (v *topVerb) draw(screen *os.File, o overview) error {
	size, err := unix.IoctlGetWinsize(int(screen.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return fmt.Errorf("ask the terminal for its size: %w", err)
	}
	var text strings.Builder
	if err := v.table(&text, o, max(int(size.Row), 4)); err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	var out strings.Builder
	out.WriteString("\x1b[H")
	for i, line := range lines {
		if r := []rune(line); size.Col > 0 && len(r) > int(size.Col) {
			line = string(r[:size.Col])
		}
		out.WriteString(line + "\x1b[K")
		if i < len(lines)-1 {
			out.WriteString("\r\n")
		}
	}
	out.WriteString("\x1b[J")
	_, err = io.WriteString(screen, out.String())
	return err
}

// table writes the overview, in at most so many lines, or all with 0.
func (v *topVerb) table(w io.Writer, o overview, lines int) error {
	if m := o.Machine; m != nil {
		fmt.Fprintf(w, "lamina %s   up %s   load %.2f of %d   server %s   cache %s   disk %s free\n", m.Version, span(m.At.Sub(m.Started)),
			m.Load, m.CPUs, bytesText(m.Process.Memory), bytesText(m.Cache.Bytes), bytesText(m.DiskFree))
		e := m.Environments
		fmt.Fprintf(w, "environments: %d busy, %d idle, %d starting, of %d   parked sandboxes: %d   waiting invocations: %d\n",
			e.Busy, e.Idle, e.Starting, e.Limit, e.Parked, e.Waiting)
		lines -= 2
	}
	fmt.Fprintf(w, "the last %d minutes, times in ms\n\n", o.Minutes)
	lines -= 3
	several := false // accounts or regions
	for _, f := range o.Functions {
		several = several || f.Region != o.Functions[0].Region || f.AccountId != o.Functions[0].AccountId
	}
	table := columns(w)
	fmt.Fprintln(table, "FUNCTION\tBUSY\tIDLE\tRUNNING\tINVOCATIONS\tERRORS\tTHROTTLES\tCOLD\tP50\tP90\tP99\tMEMORY")
	shown := o.Functions
	if lines > 0 && len(shown) > lines-1 {
		shown = shown[:max(lines-2, 0)]
	}
	for _, f := range shown {
		name := f.FunctionName
		if several {
			name = f.AccountId + "/" + f.Region + "/" + name
		}
		d, e := f.Duration, f.Environments
		memory := "-"
		if e.MaxMemory > 0 {
			memory = fmt.Sprintf("%d/%d MB", (e.MaxMemory+1<<20-1)>>20, e.MemorySize)
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\n", name, e.Busy, e.Idle, f.Running,
			f.Invocations, f.Errors, f.Throttles, f.ColdStarts, took(f.Invocations, d.P50), took(f.Invocations, d.P90), took(f.Invocations, d.P99), memory)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if more := len(o.Functions) - len(shown); more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
	return nil
}

// took is milliseconds with as many digits as matter.
func took(count uint64, ms float64) string {
	switch {
	case count == 0:
		return "-"
	case ms < 100:
		return strconv.FormatFloat(ms, 'f', 1, 64)
	}
	return strconv.FormatFloat(ms, 'f', 0, 64)
}

// span is a long time in two units.
func span(d time.Duration) string {
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}
