package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

type logsVerb struct {
	Group  string `arg:"" name:"function" help:"Name or ARN of a function, or a log group: what has a slash is one."`
	Follow bool   `short:"f" help:"Go on with what comes, until Ctrl-C."`
	Since  string `short:"s" default:"10m" placeholder:"TIME" help:"How far back to begin: 30s, 10m, 2h, 3d, 1w, or a time as 2006-01-02T15:04:05Z."`
	Filter string `placeholder:"PATTERN" help:"Only lines that match a filter pattern of CloudWatch Logs, such as ERROR or '{ $$.level = \"ERROR\" }'."`
	output
	stackServer

	pause time.Duration
}

const (
	logsPause   = 500 * time.Millisecond // between two looks
	logsOverlap = 10 * time.Second       // that a look goes back, for lines of other streams that came late
)

// logLine is an event as FilterLogEvents tells it.
type logLine struct {
	Timestamp     int64  `json:"timestamp"` // milliseconds
	LogStreamName string `json:"logStreamName"`
	Message       string `json:"message"`
	EventID       string `json:"eventId"`
}

// Run prints lines, the oldest first.
func (v *logsVerb) Run(ctx context.Context, s streams) error {
	from, err := sinceTime(v.Since, time.Now())
	if err != nil {
		return &coded{exitUsage, fmt.Errorf("--since: %w", err)}
	}
	api, err := v.client()
	if err != nil {
		return err
	}
	group, err := v.group(ctx)
	if err != nil {
		return v.explain(told("look up "+v.Group, err))
	}
	t := &tailing{api: api, group: group, filter: v.Filter, from: from.UnixMilli(), seen: map[string]int64{}}
	waiting := false
	for {
		err := t.look(ctx, func(line logLine) error { return v.print(s.out, line) })
		missing, ok := errors.AsType[*apiError](err)
		switch {
		case ok && missing.Code == "ResourceNotFoundException":
			if !v.Follow {
				return hint(fmt.Errorf("there is no log group %s", group), "a function has one when it has run; --follow waits for it")
			}
			if !waiting {
				fmt.Fprintf(s.notes, "waiting for the first line of %s\n", group)
			}
			waiting = true
		case v.Follow && ctx.Err() != nil:
			return nil // Ctrl-C is how following ends
		case err != nil:
			return v.explain(told("read "+group, err))
		}
		if !v.Follow {
			return nil
		}
		if wait(ctx, max(v.pause, logsPause)) != nil {
			return nil
		}
	}
}

// group is the log group that the argument means.
func (v *logsVerb) group(ctx context.Context) (string, error) {
	if strings.Contains(v.Group, "/") {
		return v.Group, nil
	}
	api, err := v.api()
	if err != nil {
		return "", err
	}
	var c struct {
		FunctionName  string
		LoggingConfig struct{ LogGroup string }
	}
	err = api.do(ctx, http.MethodGet, "/2015-03-31/functions/"+url.PathEscape(v.Group)+"/configuration", nil, &c)
	if c.LoggingConfig.LogGroup != "" {
		return c.LoggingConfig.LogGroup, nil
	}
	if refused, ok := errors.AsType[*apiError](err); ok {
		name := v.Group
		if parts := strings.Split(name, ":"); len(parts) >= 7 && parts[0] == "arn" {
			name = parts[6]
		}
		name, _, _ = strings.Cut(name, ":")
		switch refused.Code {
		case "ResourceNotFoundException", "AccessDeniedException": // its log outlives it, and may be read by others
			return "/aws/lambda/" + name, nil
		}
	}
	return "/aws/lambda/" + c.FunctionName, err
}

// sinceTime is the time that a word means.
func sinceTime(text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if n := len(text) - 1; n > 0 && (text[n] == 'd' || text[n] == 'w') {
		count, err := strconv.ParseUint(text[:n], 10, 16)
		if err == nil {
			days := int(count)
			if text[n] == 'w' {
				days *= 7
			}
			return now.AddDate(0, 0, -days), nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return time.Time{}, fmt.Errorf("%q: want 30s, 10m, 2h, 3d, 1w or 2006-01-02T15:04:05Z", text)
	}
	return now.Add(-d), nil
}

func (v *logsVerb) print(out io.Writer, line logLine) error {
	if v.Output == "json" { // one object a line, so that it can be followed
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		return e.Encode(line)
	}
	at := time.UnixMilli(line.Timestamp).UTC().Format("2006-01-02T15:04:05.000Z")
	_, err := fmt.Fprintf(out, "%s %s\n", at, safeText(out, strings.TrimRight(line.Message, "\r\n")))
	return err
}

// tailing reads a log group, each line once.
type tailing struct {
	api    *stackClient
	group  string
	filter string
	from   int64            // milliseconds
	seen   map[string]int64 // events that another look may find again, and their times
}

// look passes on what there is and was not seen before.
func (t *tailing) look(ctx context.Context, take func(logLine) error) error {
	in := map[string]any{"logGroupName": t.group, "startTime": t.from}
	if t.filter != "" {
		in["filterPattern"] = t.filter
	}
	last := t.from
	for {
		var page struct {
			Events    []logLine
			NextToken string
		}
		if err := t.api.logs(ctx, "FilterLogEvents", in, &page); err != nil {
			return err
		}
		for _, line := range page.Events {
			if _, known := t.seen[line.EventID]; known {
				continue
			}
			t.seen[line.EventID] = line.Timestamp
			last = max(last, line.Timestamp)
			if err := take(line); err != nil {
				return err
			}
		}
		if page.NextToken == "" {
			break
		}
		in["nextToken"] = page.NextToken
	}
	t.from = max(t.from, last-logsOverlap.Milliseconds())
	for id, at := range t.seen {
		if at < t.from {
			delete(t.seen, id)
		}
	}
	return nil
}
