package telemetry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// API is the one of the two that an extension subscribed with.
type API int

// Telemetry is the API of 2022-07-01, Logs that of 2020-08-15.
const (
	Telemetry API = iota
	Logs
)

// Category is one of the streams that a subscription chooses from.
type Category string

// The streams.
const (
	Platform  Category = "platform"
	Function  Category = "function"
	Extension Category = "extension"
)

// AWS's own bounds.
const (
	reservedPort = 9001

	minItems, maxItems, defaultItems       = 1000, 10_000, 10_000
	minBytes, maxBytes, defaultBytes       = 256 << 10, 1 << 20, 256 << 10
	minTimeout, maxTimeout, defaultTimeout = 25, 30_000, 1000
)

// subscription is what an extension asked for.
type subscription struct {
	api     API
	types   []Category
	objects bool // JSON lines are records as they are, not strings
	done    bool // it is told of platform.runtimeDone; the first Logs API was not
	http    bool
	port    int
	path    string // of HTTP
	items   int
	bytes   int
	timeout time.Duration
}

func (s *subscription) wants(c Category) bool { return slices.Contains(s.types, c) }

// parse reads a subscription. The error is for the extension to read: all that
// is wrong with it, in one line.
func parse(api API, body []byte) (*subscription, error) {
	var in struct {
		SchemaVersion *string  `json:"schemaVersion"`
		Types         []string `json:"types"`
		Buffering     *struct {
			MaxItems  *json.Number `json:"maxItems"`
			MaxBytes  *json.Number `json:"maxBytes"`
			TimeoutMs *json.Number `json:"timeoutMs"`
		} `json:"buffering"`
		Destination *struct {
			Protocol string       `json:"protocol"`
			URI      string       `json:"URI"`
			Port     *json.Number `json:"port"`
		} `json:"destination"`
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if err := decoder.Decode(&in); err != nil {
		return nil, fmt.Errorf("request body is not valid: %w", err)
	}
	s := &subscription{api: api, items: defaultItems, bytes: defaultBytes, timeout: defaultTimeout * time.Millisecond}
	var wrong []string
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }

	versions := []string{"2022-07-01", "2022-12-13", "2025-01-29"}
	if api == Logs {
		versions = []string{"2020-08-15", "2021-03-18"}
	}
	switch {
	case in.SchemaVersion == nil && api == Telemetry:
		complain("schemaVersion is not provided")
	case in.SchemaVersion == nil: // it was optional once
	case !slices.Contains(versions, *in.SchemaVersion):
		complain("schemaVersion should be one of %s", strings.Join(versions, ", "))
	default:
		s.objects = api == Telemetry && *in.SchemaVersion != versions[0]
		s.done = api == Telemetry || *in.SchemaVersion != versions[0]
	}

	if len(in.Types) == 0 {
		complain("types should not be empty")
	}
	for _, t := range in.Types {
		switch c := Category(t); c {
		case Platform, Function, Extension:
			if !s.wants(c) {
				s.types = append(s.types, c)
			}
		default:
			complain("types should be platform, function or extension: %.40q", t)
		}
	}

	bound := func(name string, n *json.Number, low, high int, into *int) {
		if n == nil {
			return
		}
		v, err := strconv.Atoi(n.String())
		if err != nil || v < low || v > high {
			complain("buffering.%s should be between %d and %d", name, low, high)
			return
		}
		*into = v
	}
	if b := in.Buffering; b != nil {
		bound("maxItems", b.MaxItems, minItems, maxItems, &s.items)
		bound("maxBytes", b.MaxBytes, minBytes, maxBytes, &s.bytes)
		ms := defaultTimeout
		bound("timeoutMs", b.TimeoutMs, minTimeout, maxTimeout, &ms)
		s.timeout = time.Duration(ms) * time.Millisecond
	}

	switch d := in.Destination; {
	case d == nil:
		complain("destination is not provided")
	case d.Protocol == "HTTP":
		s.http = true
		u, err := url.Parse(d.URI)
		switch {
		case d.URI == "":
			complain("URI is not provided")
		case err != nil || u.Scheme != "http":
			complain("URI should start with http://")
		case u.Hostname() != "sandbox" && u.Hostname() != "sandbox.localdomain":
			complain("URI host should be sandbox.localdomain")
		case u.Port() == "":
			complain("URI port is not provided")
		default:
			s.port, _ = strconv.Atoi(u.Port()) // what is no number is 0, which is refused below
			s.path = u.RequestURI()
		}
		if s.port == 0 && u != nil && u.Port() != "" {
			complain("URI port should be between 1 and 65535")
		}
	case d.Protocol == "TCP":
		switch {
		case d.Port == nil:
			complain("port is not provided")
		default:
			s.port, _ = strconv.Atoi(d.Port.String()) // as above
			if s.port == 0 {
				complain("port should be between 1 and 65535")
			}
		}
	default:
		complain("protocol should be HTTP or TCP")
	}
	switch {
	case s.port == reservedPort:
		complain("port %d is reserved", reservedPort)
	case s.port < 0 || s.port > 65535:
		complain("port should be between 1 and 65535")
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(wrong, "; "))
	}
	return s, nil
}
