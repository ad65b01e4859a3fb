package console

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// overviewData is what the first page tells. What the caller may not see is told
// in Denied.
type overviewData struct {
	Account *struct {
		AccountLimit struct {
			TotalCodeSize, CodeSizeUnzipped, CodeSizeZipped      int64
			ConcurrentExecutions, UnreservedConcurrentExecutions int64
		}
		AccountUsage struct{ TotalCodeSize, FunctionCount int64 }
	}
	Functions []recentFunction
	Layers    []layerItem
	Stacks    []stackItem // that something is being done to
	Denied    []string
	Activity  *activity // nil where nobody counts, or it may not be known
	Machine   *machine  // nil but for the operator
}

// activity is what the account's functions did in the last minutes, and what they
// have now.
type activity struct {
	Minutes     int
	Running     int64
	Invocations int64
	Errors      int64
	Throttles   int64
	Starting    int64
	Busy        int64
	Idle        int64
}

// machine is what the operator sees of the whole server, in bytes where nothing
// else is said.
type machine struct {
	Started      string
	Version      string
	CPUs         int64
	Load         float64 // of the last minute
	MemoryTotal  int64
	MemoryFree   int64
	DiskTotal    int64
	DiskFree     int64
	Process      struct{ Memory, Goroutines int64 }
	Environments struct{ Limit, Waiting, Parked, Starting, Busy, Idle int64 }
	Cache        struct{ Archives, InUse, Mounted, Bytes, MaxBytes int64 }
}

// MemoryUsed is what others can't have, in bytes.
func (m machine) MemoryUsed() int64 { return max(m.MemoryTotal-m.MemoryFree, 0) }

// DiskUsed is what is taken of the file system that has the data, in bytes.
func (m machine) DiskUsed() int64 { return max(m.DiskTotal-m.DiskFree, 0) }

// figuresService answers what this server tells of itself.
const figuresService = "lamina"

// figures asks for what this server tells of itself. It reports false where it
// tells nothing, or not to this caller.
func (v *visit) figures(path string, out any) (bool, error) {
	err := v.asJSON(v.context(), figuresService, http.MethodGet, path, "", nil, nil, out)
	if r, ok := err.(*refusal); ok && (r.Status == http.StatusForbidden || r.Status == http.StatusNotFound || r.Status == http.StatusMethodNotAllowed) { //nolint:errorlint // nothing wraps it
		return false, nil
	}
	return err == nil, err
}

// now fills in what changes all the time. A script that asks again does so for what
// was told before, as each refusal is a line of the audit log.
func (v *visit) now(d *overviewData) error {
	again := v.req.URL.Query().Get("again")
	if wanted := v.caller.Account == v.o.Operator; !v.isPart() && wanted || strings.Contains(again, "machine") {
		var m machine
		if ok, err := v.figures("/_lamina/machine", &m); err != nil {
			return err
		} else if ok {
			d.Machine = &m
		}
	}
	if v.isPart() && !strings.Contains(again, "activity") {
		return nil
	}
	var top struct {
		Minutes   int
		Functions []struct {
			Running, Invocations, Errors, Throttles int64
			Environments                            struct{ Starting, Busy, Idle int64 }
		}
	}
	ok, err := v.figures("/_lamina/top", &top)
	if ok {
		d.Activity = &activity{Minutes: top.Minutes}
		for _, f := range top.Functions {
			d.Activity.Running += f.Running
			d.Activity.Invocations += f.Invocations
			d.Activity.Errors += f.Errors
			d.Activity.Throttles += f.Throttles
			d.Activity.Starting += f.Environments.Starting
			d.Activity.Busy += f.Environments.Busy
			d.Activity.Idle += f.Environments.Idle
		}
	}
	return err
}

// Again is the page to ask for what changes all the time; empty where there is
// nothing of that kind.
func (d overviewData) Again() string {
	var what []string
	if d.Activity != nil {
		what = append(what, "activity")
	}
	if d.Machine != nil {
		what = append(what, "machine")
	}
	if what == nil {
		return ""
	}
	return at("") + "?again=" + strings.Join(what, "-")
}

type recentFunction struct{ FunctionName, Runtime, LastModified, Description string }

const (
	// recentShown is how many of the latest functions and layers are shown.
	recentShown = 5
	// recentPages bounds how many pages of a listing they are looked for in.
	recentPages = 20
)

// overview tells what there is.
func (c *Console) overview(v *visit) error {
	var d overviewData
	if err := v.now(&d); err != nil {
		return err
	}
	if v.isPart() {
		return v.ok("overview", page{Data: d})
	}
	questions := []struct {
		what string
		ask  func() error
	}{
		{"Account", func() error {
			return v.lambda(v.context(), http.MethodGet, "/2016-08-19/account-settings/", nil, &d.Account)
		}},
		{"Functions", func() (err error) { d.Functions, err = v.recentFunctions(); return err }},
		{"Layers", func() (err error) { d.Layers, err = v.recentLayers(); return err }},
		{"Stacks", func() (err error) {
			busy := slices.DeleteFunc(slices.Clone(liveStatuses), func(s string) bool { return !strings.HasSuffix(s, "_IN_PROGRESS") })
			d.Stacks, _, err = v.listStacks(v.context(), busy, "")
			return err
		}},
	}
	for _, q := range questions {
		if err := q.ask(); isRefusal(err) {
			d.Denied = append(d.Denied, q.what+": "+err.Error())
		} else if err != nil {
			return err
		}
	}
	return v.ok("overview", page{Title: "Overview", Room: "overview", Data: d})
}

// recentPage asks for a page of a listing and reads it into out.
func (v *visit) recentPage(path, marker string, out any) error {
	q := url.Values{"MaxItems": {"50"}}
	if marker != "" {
		q.Set("Marker", marker)
	}
	return v.lambda(v.context(), http.MethodGet, path+"?"+q.Encode(), nil, out)
}

// recentFunctions are those that changed last. AWS's times sort as text.
func (v *visit) recentFunctions() (all []recentFunction, err error) {
	pages := 0
	_, err = every(func(marker string) (string, error) {
		var out struct {
			Functions  []recentFunction
			NextMarker string
		}
		if err := v.recentPage("/2015-03-31/functions/", marker, &out); err != nil {
			return "", err
		}
		all = append(all, out.Functions...)
		if pages++; pages == recentPages {
			return "", nil
		}
		return out.NextMarker, nil
	})
	slices.SortStableFunc(all, func(a, b recentFunction) int { return cmp.Compare(b.LastModified, a.LastModified) })
	return all[:min(len(all), recentShown)], err
}

// recentLayers are those with the youngest versions.
func (v *visit) recentLayers() (all []layerItem, err error) {
	pages := 0
	_, err = every(func(marker string) (string, error) {
		var out struct {
			Layers     []layerItem
			NextMarker string
		}
		if err := v.recentPage(layersAPI, marker, &out); err != nil {
			return "", err
		}
		all = append(all, out.Layers...)
		if pages++; pages == recentPages {
			return "", nil
		}
		return out.NextMarker, nil
	})
	slices.SortStableFunc(all, func(a, b layerItem) int {
		return cmp.Compare(b.LatestMatchingVersion.CreatedDate, a.LatestMatchingVersion.CreatedDate)
	})
	return all[:min(len(all), recentShown)], err
}
