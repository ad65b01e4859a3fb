package lamina

import (
	"fmt"
	"math"
	"strings"
)

// namedLimit is one of the limits, as an operator sets it.
type namedLimit struct {
	name  string
	least int64 // smallest value that makes sense
	// One of them points at the limit.
	count *int
	long  *int64
}

// named lists the limits in the order of their declaration.
func (l *Limits) named() []namedLimit {
	return []namedLimit{
		{name: "CodeStorage", least: 1, long: &l.CodeStorage},
		{name: "ZippedUpload", least: 1, long: &l.ZippedUpload},
		{name: "Unzipped", least: 1, long: &l.Unzipped},
		{name: "ArchiveEntries", least: 1, count: &l.ArchiveEntries},
		{name: "LayersPerFunction", least: 0, count: &l.LayersPerFunction},
		{name: "EnvironmentBytes", least: 2, count: &l.EnvironmentBytes},
		{name: "PolicyBytes", least: 1, count: &l.PolicyBytes},
		{name: "TagsPerResource", least: 0, count: &l.TagsPerResource},
		{name: "ConcurrentExecutions", least: 1, long: &l.ConcurrentExecutions},
		{name: "MinimumUnreserved", least: 0, long: &l.MinimumUnreserved},
		{name: "RequestRate", least: 0, long: &l.RequestRate},
		{name: "RequestPayload", least: 2, long: &l.RequestPayload},
		{name: "EventPayload", least: 2, long: &l.EventPayload},
		{name: "QueuedEvents", least: 1, long: &l.QueuedEvents},
		{name: "QueuedEventBytes", least: 1, long: &l.QueuedEventBytes},
		{name: "ResponsePayload", least: 2, long: &l.ResponsePayload},
		{name: "StreamedResponse", least: 2, long: &l.StreamedResponse},
		{name: "FunctionNameLength", least: 1, count: &l.FunctionNameLength},
		{name: "LocationMinutes", least: 1, count: &l.LocationMinutes},
		{name: "PageDefault", least: 1, count: &l.PageDefault},
		{name: "LayerPageDefault", least: 1, count: &l.LayerPageDefault},
		{name: "ArchiveNameLength", least: 1, count: &l.ArchiveNameLength},
		{name: "ArchiveRatio", least: 0, long: &l.ArchiveRatio},
		{name: "ArchiveRatioThreshold", least: 0, long: &l.ArchiveRatioThreshold},
		{name: "APIRequests", least: 0, long: &l.APIRequests},
		{name: "GetFunctionRequests", least: 0, long: &l.GetFunctionRequests},
	}
}

func (n namedLimit) value() int64 {
	if n.count != nil {
		return int64(*n.count)
	}
	return *n.long
}

// LimitNames returns every limit with its default, as NAME=VALUE.
func LimitNames() []string {
	defaults := DefaultLimits()
	var names []string
	for _, n := range defaults.named() {
		names = append(names, fmt.Sprintf("%s=%d", n.name, n.value()))
	}
	return names
}

// Set changes the limit of that name, whatever its capitals. It fails for an
// unknown name and for a value with which nothing would work.
func (l *Limits) Set(name string, value int64) error {
	for _, n := range l.named() {
		if !strings.EqualFold(n.name, name) {
			continue
		}
		most := int64(1) << 53
		if n.count != nil {
			most = math.MaxInt32
		}
		if value < n.least || value > most {
			return fmt.Errorf("limit %s=%d: want %d to %d", n.name, value, n.least, most)
		}
		if n.count != nil {
			*n.count = int(value)
		} else {
			*n.long = value
		}
		return nil
	}
	return fmt.Errorf("limit %q: no such limit", name)
}

// Check reports limits that contradict each other.
func (l Limits) Check() error {
	if l.MinimumUnreserved > l.ConcurrentExecutions {
		return fmt.Errorf("limit MinimumUnreserved=%d: more than ConcurrentExecutions=%d", l.MinimumUnreserved, l.ConcurrentExecutions)
	}
	return nil
}
