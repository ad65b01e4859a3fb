package server

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/metrics"
	"github.com/lamina-run/lamina/wire"
)

// Observed is what callers are told of functions and the machine, as far as they
// may know. Nothing is told without Metrics.
type Observed struct {
	Metrics   *metrics.Metrics
	Authority Authority
	// Environments tells of all that there are; nil when functions can't run.
	Environments func() []VersionEnvironments
	// Machine tells of the whole machine.
	Machine func() Machine
	Now     func() time.Time
}

// VersionEnvironments are the execution environments of one version.
type VersionEnvironments struct {
	Function lamina.FunctionID `json:"-"`
	Version  string            // $LATEST or a number
	Environments
}

// Environments are the execution environments of a version, of a function, or of
// the machine.
type Environments struct {
	Starting    int
	Busy        int
	Idle        int
	Provisioned int        // wanted ahead of invocations
	Ready       int        // of these, that are there
	MemorySize  int64      `json:",omitempty"` // MB that each may use
	MaxMemory   int64      `json:",omitempty"` // bytes that one of them used, at most
	Oldest      *time.Time `json:",omitempty"` // when the oldest was made
}

// Plus counts others too.
func (e Environments) Plus(o Environments) Environments {
	e.Starting += o.Starting
	e.Busy += o.Busy
	e.Idle += o.Idle
	e.Provisioned += o.Provisioned
	e.Ready += o.Ready
	e.MemorySize = max(e.MemorySize, o.MemorySize)
	e.MaxMemory = max(e.MaxMemory, o.MaxMemory)
	if e.Oldest == nil || o.Oldest != nil && o.Oldest.Before(*e.Oldest) {
		e.Oldest = o.Oldest
	}
	return e
}

// Top is what functions did of late, and what they have.
type Top struct {
	At        time.Time
	Since     time.Time // when counting began
	Minutes   int       // that are summed up
	Functions []TopFunction
}

// TopFunction is one function of a [Top]. Counts and durations are as in
// [metrics.Point].
type TopFunction struct {
	AccountId    string //nolint:revive,staticcheck // as AWS spells it
	Region       string
	FunctionName string
	Running      uint64 // invocations, now
	metrics.Point
	Environments        Environments
	VersionEnvironments []VersionEnvironments `json:",omitempty"`
}

// FunctionMetrics is the history of one function.
type FunctionMetrics struct {
	FunctionName string
	metrics.Series
}

// ColdStarts are the last cold starts of one function, the newest first.
type ColdStarts struct {
	FunctionName string
	ColdStarts   []ColdStart
}

// ColdStart is where the time of one went, in milliseconds.
type ColdStart struct {
	At        time.Time
	RequestId string //nolint:revive,staticcheck // as AWS spells it
	Version   string
	Archives  float64 // code and layers: fetched, unpacked, mounted
	Runtime   float64 // interpreter and credentials
	Sandbox   float64
	Init      float64 // Init Duration of the REPORT line
	Total     float64
}

// Machine is what the operator is told of the whole machine. Sizes are in bytes.
type Machine struct {
	At           time.Time
	Started      time.Time
	Version      string
	CPUs         int
	Load         float64 `json:",omitempty"` // of the last minute
	MemoryTotal  int64   `json:",omitempty"`
	MemoryFree   int64   `json:",omitempty"` // for whoever wants it, caches included
	DiskTotal    int64   `json:",omitempty"` // of the file system that has the data
	DiskFree     int64   `json:",omitempty"`
	Process      Process
	Environments MachineEnvironments
	Cache        Cache
}

// Process is the server's own.
type Process struct {
	Memory     int64 `json:",omitempty"` // resident
	Goroutines int
}

// MachineEnvironments are those of all functions.
type MachineEnvironments struct {
	Limit   int // that there can be
	Waiting int // invocations for which there is no place
	Parked  int // sandboxes that no function has yet
	Environments
}

// Cache is the archives that are ready for use.
type Cache struct {
	Archives int
	InUse    int
	Mounted  int
	Bytes    int64
	MaxBytes int64
}

// actionMetrics is what CloudWatch asks for; it is on no resource.
const actionMetrics = "cloudwatch:GetMetricData"

// handleObserved serves figures to whoever may have them.
func (o Internal) handleObserved(handle func(pattern string, answer func(*http.Request) (any, error))) {
	permitted := func(pattern string, answer func(*http.Request, identity.Caller) (any, error)) {
		handle(pattern, func(req *http.Request) (any, error) {
			c, ok := identity.CallerOf(req.Context())
			if !ok {
				return nil, wire.MissingAuthenticationToken.New("Missing Authentication Token")
			}
			if !c.IsRoot() || c.Session != nil { // the root may do all in its account, unless its session is bounded
				if err := o.Observed.Authority.Permit(req.Context(), c, identity.Need{Action: actionMetrics, Resource: "*", Account: c.Account}); err != nil {
					return nil, err
				}
			}
			return answer(req, c)
		})
	}
	permitted("GET /_lamina/top", o.top)
	permitted("GET /_lamina/functions/{name}/metrics", o.functionMetrics)
	permitted("GET /_lamina/functions/{name}/cold-starts", o.coldStarts)
	permitted("GET /_lamina/machine", func(_ *http.Request, c identity.Caller) (any, error) {
		if c.Account != o.Operator {
			return nil, wire.AccessDenied.Errorf("User: %s is not authorized to perform this operation: it is for the first account.", c.ARN)
		}
		return o.Observed.Machine(), nil
	})
}

func named(req *http.Request, c identity.Caller) lamina.FunctionID {
	return lamina.FunctionID{Scope: lamina.Scope{Account: c.Account, Region: c.Region}, Name: req.PathValue("name")}
}

// top sums up the caller's functions, or with all=true everybody's for the
// operator's root.
func (o Internal) top(req *http.Request, c identity.Caller) (any, error) {
	q := req.URL.Query()
	minutes := 5
	if text := q.Get("minutes"); text != "" {
		var err error
		if minutes, err = strconv.Atoi(text); err != nil || minutes < 1 || minutes > int(metrics.MinutesKept/time.Minute) {
			return nil, wire.InvalidParameterValue.Errorf("minutes must be a number from 1 to %d.", int(metrics.MinutesKept/time.Minute))
		}
	}
	mine := func(id lamina.FunctionID) bool { return id.Account == c.Account && id.Region == c.Region }
	switch q.Get("all") {
	case "", "false":
	case "true":
		if c.Account != o.Operator || !c.IsRoot() || c.Session != nil {
			return nil, wire.AccessDenied.Errorf("User: %s is not authorized to see all accounts: it is for the root of the first account.", c.ARN)
		}
		mine = func(lamina.FunctionID) bool { return true }
	default:
		return nil, wire.InvalidParameterValue.Errorf("all must be true or false.")
	}
	out := Top{At: o.Observed.Now().UTC(), Since: o.Observed.Metrics.Since().UTC(), Minutes: minutes, Functions: []TopFunction{}}
	at := map[lamina.FunctionID]int{}
	of := func(id lamina.FunctionID) *TopFunction {
		i, ok := at[id]
		if !ok {
			i = len(out.Functions)
			at[id] = i
			out.Functions = append(out.Functions, TopFunction{AccountId: id.Account, Region: id.Region, FunctionName: id.Name})
		}
		return &out.Functions[i]
	}
	for _, s := range o.Observed.Metrics.Functions(mine, time.Duration(minutes)*time.Minute) {
		f := of(s.Function)
		f.Running, f.Point = s.Running, s.Point
	}
	if o.Observed.Environments != nil {
		for _, e := range o.Observed.Environments() {
			if mine(e.Function) {
				f := of(e.Function)
				f.Environments = f.Environments.Plus(e.Environments)
				f.VersionEnvironments = append(f.VersionEnvironments, e)
			}
		}
	}
	// What only has environments was not in the order of the rest.
	slices.SortStableFunc(out.Functions, func(a, b TopFunction) int {
		return slices.Compare([]string{a.AccountId, a.Region, a.FunctionName}, []string{b.AccountId, b.Region, b.FunctionName})
	})
	return out, nil
}

// functionMetrics answers the last hour of a function, or the time that the
// request names.
func (o Internal) functionMetrics(req *http.Request, c identity.Caller) (any, error) {
	to := o.Observed.Now()
	q := req.URL.Query()
	if err := readTime(q.Get("to"), &to); err != nil {
		return nil, err
	}
	from := to.Add(-time.Hour)
	if err := readTime(q.Get("from"), &from); err != nil {
		return nil, err
	}
	if from.After(to) {
		return nil, wire.InvalidParameterValue.Errorf("from must not be after to.")
	}
	id := named(req, c)
	s := o.Observed.Metrics.Series(id.Account, id.Region, id.Name, from, to)
	if s.Points == nil {
		s.Points = []metrics.Point{}
	}
	return FunctionMetrics{FunctionName: id.Name, Series: s}, nil
}

// readTime reads a time as ISO 8601 or as seconds, as CloudWatch does; an empty
// one leaves what is there.
func readTime(text string, t *time.Time) error {
	if text == "" {
		return nil
	}
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil && seconds >= 0 && seconds < 1<<40 {
		*t = time.Unix(seconds, 0)
		return nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return wire.InvalidParameterValue.Errorf("%.100q is no time: want 2006-01-02T15:04:05Z or seconds since 1970.", text)
	}
	*t = at
	return nil
}

func (o Internal) coldStarts(req *http.Request, c identity.Caller) (any, error) {
	id := named(req, c)
	out := ColdStarts{FunctionName: id.Name, ColdStarts: []ColdStart{}}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	for _, s := range o.Observed.Metrics.ColdStarts(id) {
		out.ColdStarts = append(out.ColdStarts, ColdStart{
			At: s.At.UTC(), RequestId: s.RequestID, Version: lamina.Version{Number: s.Version}.Qualifier(),
			Archives: ms(s.Archives), Runtime: ms(s.Runtime), Sandbox: ms(s.Sandbox), Init: ms(s.Init), Total: ms(s.Total()),
		})
	}
	return out, nil
}
