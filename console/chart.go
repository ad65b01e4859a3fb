package console

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// chart is a picture of figures over time, and the same as a table.
type chart struct {
	Title  string
	Unit   string // of the figures; empty is a count
	Series []chartSeries
	Lines  []chartLine // of the scale
	Times  []chartTime
	Rows   []chartRow // of the table: only where there is something
	Empty  bool       // there is nothing in all of the time
	Width  int
	Height int
	Left   int // where the figures begin
	Right  int
	Bottom int
}

// chartSeries is one line of a chart.
type chartSeries struct {
	Name  string
	Class string // 1 to 4: its colour
	Path  string // of SVG
	Dots  []chartDot
	Sum   string // what it comes to, or its greatest
}

type (
	chartDot  struct{ X, Y string }
	chartLine struct {
		Y    string
		Text string
	}
	chartTime struct {
		X    string
		Text string
	}
	chartRow struct {
		Time   string
		Values []string
	}
)

// figures are the values of a series; those that are not there are NaN.
type figures struct {
	name   string
	values []float64
	sum    bool // they add up; else the greatest counts
}

const (
	chartWidth  = 640
	chartHeight = 200
	chartLeft   = 48
	chartTop    = 12
	chartBottom = 172
	chartRows   = 60 // of a table
)

// newChart draws series over times, which are a period apart.
func newChart(title, unit string, times []time.Time, period time.Duration, series ...figures) chart {
	c := chart{Title: title, Unit: unit, Width: chartWidth, Height: chartHeight, Left: chartLeft, Right: chartWidth, Bottom: chartBottom, Empty: true}
	most := 0.0
	for _, s := range series {
		for _, y := range s.values {
			if !math.IsNaN(y) {
				most = max(most, y)
				c.Empty = c.Empty && y == 0
			}
		}
	}
	top, step := scale(most)
	x := func(i int) float64 {
		if len(times) < 2 {
			return chartLeft
		}
		return chartLeft + float64(i)*(chartWidth-chartLeft-8)/float64(len(times)-1)
	}
	y := func(value float64) float64 { return chartBottom - value/top*(chartBottom-chartTop) }
	for value := 0.0; value <= top*1.0001; value += step {
		c.Lines = append(c.Lines, chartLine{coordinate(y(value)), figure(value)})
	}
	for i := range 5 {
		if len(times) == 0 {
			break
		}
		n := i * (len(times) - 1) / 4
		layout := "15:04"
		if time.Duration(len(times))*period > 25*time.Hour {
			layout = "Jan 2"
		}
		c.Times = append(c.Times, chartTime{coordinate(min(max(x(n), chartLeft+14), chartWidth-24)), times[n].UTC().Format(layout)})
		if len(times) < 5 {
			break
		}
	}
	for i, s := range series {
		c.Series = append(c.Series, drawn(s, strconv.Itoa(i%4+1), unit, x, y))
	}
	for i := len(times) - 1; i >= 0 && len(c.Rows) < chartRows; i-- {
		row := chartRow{Time: times[i].UTC().Format("2006-01-02 15:04")}
		something := false
		for _, s := range series {
			text := "–"
			if value := s.values[i]; !math.IsNaN(value) {
				text = withUnit(value, unit)
				something = something || value != 0
			}
			row.Values = append(row.Values, text)
		}
		if something {
			c.Rows = append(c.Rows, row)
		}
	}
	return c
}

// drawn makes the line of a series. Where figures are missing it is interrupted; one
// that stands alone is a dot.
func drawn(s figures, class, unit string, x func(int) float64, y func(float64) float64) chartSeries {
	out := chartSeries{Name: s.name, Class: class}
	var path strings.Builder
	sum, most := 0.0, 0.0
	for i, value := range s.values {
		if math.IsNaN(value) {
			continue
		}
		sum += value
		most = max(most, value)
		before := i > 0 && !math.IsNaN(s.values[i-1])
		after := i+1 < len(s.values) && !math.IsNaN(s.values[i+1])
		at := coordinate(x(i)) + " " + coordinate(y(value))
		switch {
		case before:
			path.WriteString("L" + at)
		case after:
			path.WriteString("M" + at)
		case len(out.Dots) < chartRows:
			out.Dots = append(out.Dots, chartDot{coordinate(x(i)), coordinate(y(value))})
		}
	}
	out.Path = path.String()
	switch {
	case s.sum:
		out.Sum = withUnit(sum, unit) + " in all"
	case most == 0:
		out.Sum = "none"
	default:
		out.Sum = "up to " + withUnit(most, unit)
	}
	return out
}

// scale is the end of a scale for values up to most, and the distance of its lines.
func scale(most float64) (top, step float64) {
	if most <= 0 {
		return 1, 1
	}
	step = math.Pow(10, math.Floor(math.Log10(most)))
	for _, part := range []float64{0.2, 0.5, 1, 2} {
		if most/(step*part) <= 5 {
			step *= part
			break
		}
	}
	return step * math.Ceil(most/step-1e-9), step
}

func coordinate(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// figure is a number with at most three places that say something.
func figure(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(math.Round(v/1e4)/100, 'f', -1, 64) + "M"
	case v >= 1e4:
		return strconv.FormatFloat(math.Round(v/100)/10, 'f', -1, 64) + "k"
	case v >= 100:
		return strconv.FormatFloat(math.Round(v), 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func withUnit(v float64, unit string) string {
	if unit == "" {
		return figure(v)
	}
	return figure(v) + " " + unit
}

// chartRange is a time that charts can show. The server keeps minutes for three
// hours, and hours for two weeks.
type chartRange struct {
	Name, Text string
	Ago        time.Duration
}

var chartRanges = []chartRange{
	{"1h", "1 hour", time.Hour},
	{"3h", "3 hours", 3 * time.Hour},
	{"1d", "1 day", 24 * time.Hour},
	{"14d", "14 days", 14 * 24 * time.Hour},
}

// functionFigures is a function's history, as the server counts it.
type functionFigures struct {
	Since  time.Time
	Period int64 // seconds
	Points []struct {
		Start                                                            time.Time
		Invocations, Errors, Throttles, ConcurrentExecutions, ColdStarts float64
		AsyncEventsReceived, AsyncEventsDropped                          float64
		Duration                                                         struct{ Average, Minimum, Maximum, P50, P90, P99 float64 }
		ColdStart, InitDuration                                          struct{ Average, Maximum float64 }
	}
}

// laminaService is what is asked for the server's own figures.
const laminaService = "lamina"

// functionCharts asks for the history of a function and draws it, the first most
// charts. The note tells why there is none, or since when was counted.
func (v *visit) functionCharts(h *functionHead, r chartRange, most int) (_ []chart, note string, err error) {
	var in functionFigures
	now := v.o.Now()
	q := url.Values{"from": {strconv.FormatInt(now.Add(-r.Ago).Unix()+1, 10)}, "to": {strconv.FormatInt(now.Unix(), 10)}}
	err = v.asJSON(v.context(), laminaService, http.MethodGet, "/_lamina/functions/"+url.PathEscape(h.Name)+"/metrics?"+q.Encode(), "", nil, nil, &in)
	if refusedWith(err, "UnknownOperationException") {
		return nil, "This server keeps no figures.", nil
	}
	if err != nil {
		return nil, "", h.part("Figures", err)
	}
	return chartsOf(in, now, r, most), sinceNote(in, now, r), nil
}

// sinceNote tells when counting began, if that was within the time shown.
func sinceNote(in functionFigures, now time.Time, r chartRange) string {
	if in.Since.After(now.Add(-r.Ago)) {
		return "Counting began " + in.Since.UTC().Format("2006-01-02 15:04:05 UTC") + ", when the server started. It forgets what was before."
	}
	return ""
}

func chartsOf(in functionFigures, now time.Time, r chartRange, most int) []chart {
	period := max(time.Duration(in.Period)*time.Second, time.Minute)
	n := len(in.Points)
	times := make([]time.Time, n)
	column := func(value func(i int) float64) []float64 {
		out := make([]float64, n)
		for i := range out {
			out[i] = value(i)
		}
		return out
	}
	ran := func(value func(i int) float64) []float64 { // durations of what did not run are none
		return column(func(i int) float64 {
			if in.Points[i].Invocations == 0 {
				return math.NaN()
			}
			return value(i)
		})
	}
	for i := range times {
		times[i] = in.Points[i].Start
	}
	p := in.Points
	all := []func() chart{
		func() chart {
			return newChart("Invocations", "", times, period,
				figures{"Invocations", column(func(i int) float64 { return p[i].Invocations }), true},
				figures{"Errors", column(func(i int) float64 { return p[i].Errors }), true},
				figures{"Throttles", column(func(i int) float64 { return p[i].Throttles }), true})
		},
		func() chart {
			return newChart("Duration", "ms", times, period,
				figures{"Median", ran(func(i int) float64 { return p[i].Duration.P50 }), false},
				figures{"90th percentile", ran(func(i int) float64 { return p[i].Duration.P90 }), false},
				figures{"99th percentile", ran(func(i int) float64 { return p[i].Duration.P99 }), false},
				figures{"Longest", ran(func(i int) float64 { return p[i].Duration.Maximum }), false})
		},
		func() chart {
			return newChart("Concurrent executions", "", times, period,
				figures{"Most at once", column(func(i int) float64 { return p[i].ConcurrentExecutions }), false})
		},
		func() chart {
			return newChart("Cold starts", "", times, period, figures{"Cold starts", column(func(i int) float64 { return p[i].ColdStarts }), true})
		},
		func() chart {
			cold := func(value func(i int) float64) []float64 {
				return column(func(i int) float64 {
					if p[i].ColdStarts == 0 {
						return math.NaN()
					}
					return value(i)
				})
			}
			return newChart("Time of cold starts", "ms", times, period,
				figures{"Average", cold(func(i int) float64 { return p[i].ColdStart.Average }), false},
				figures{"Longest", cold(func(i int) float64 { return p[i].ColdStart.Maximum }), false},
				figures{"Average of Init", cold(func(i int) float64 { return p[i].InitDuration.Average }), false})
		},
		func() chart {
			return newChart("Asynchronous events", "", times, period,
				figures{"Received", column(func(i int) float64 { return p[i].AsyncEventsReceived }), true},
				figures{"Dropped", column(func(i int) float64 { return p[i].AsyncEventsDropped }), true})
		},
	}
	out := make([]chart, 0, most)
	for _, draw := range all[:min(most, len(all))] {
		out = append(out, draw())
	}
	return out
}

// coldStart is where the time of one went, in milliseconds, as the server answers it.
type coldStart struct {
	At                                      time.Time
	RequestId, Version                      string //nolint:revive,staticcheck // as AWS spells it
	Archives, Runtime, Sandbox, Init, Total float64
}

// Bars are its parts side by side.
func (s coldStart) Bars() []bar { return bars(s.parts()) }

func (s coldStart) parts() []part {
	return []part{{"Archives", s.Archives}, {"Runtime", s.Runtime}, {"Sandbox", s.Sandbox}, {"Init", s.Init}}
}

// When tells when it was.
func (s coldStart) When() string { return s.At.UTC().Format("2006-01-02 15:04:05 UTC") }

// Milliseconds is how long all of it took.
func (s coldStart) Milliseconds() string { return fmt.Sprintf("%.1f ms", s.Total) }

// coldStartsOf asks for the last cold starts of a function.
func (v *visit) coldStartsOf(name string) ([]coldStart, error) {
	var out struct{ ColdStarts []coldStart }
	err := v.asJSON(v.context(), laminaService, http.MethodGet, "/_lamina/functions/"+url.PathEscape(name)+"/cold-starts", "", nil, nil, &out)
	return out.ColdStarts, err
}

type functionMonitorData struct {
	*functionHead
	Range      chartRange
	Ranges     []chartRange
	Charts     []chart
	Note       string
	ColdStarts []coldStart
}

func (c *Console) functionMonitor(v *visit) error {
	h, err := v.functionHead("monitor")
	if err != nil {
		return err
	}
	d := functionMonitorData{functionHead: h, Range: chartRanges[1], Ranges: chartRanges}
	for _, r := range chartRanges {
		if r.Name == v.req.URL.Query().Get("range") {
			d.Range = r
		}
	}
	if d.Charts, d.Note, err = v.functionCharts(h, d.Range, 6); err != nil {
		return err
	}
	if d.Charts != nil {
		d.ColdStarts, err = v.coldStartsOf(h.Name)
		if err := h.part("Cold starts", err); err != nil {
			return err
		}
	}
	return v.showFunction("functionmonitor", "Monitor", h, d)
}
