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
