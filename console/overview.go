package console

import (
	"net/http"
	"sync"
)

// overviewData is what the first page tells. What the caller may not see is a
// refusal in its place.
type overviewData struct {
	Account *struct {
		AccountLimit struct{ TotalCodeSize, ConcurrentExecutions, UnreservedConcurrentExecutions int64 }
		AccountUsage struct{ TotalCodeSize, FunctionCount int64 }
	}
	Layers  []layerItem
	Denied  []string
	Machine *machine
}

// machine is what the operator sees of the whole server.
type machine struct{}

type layerItem struct {
	LayerName             string
	LayerArn              string
	LatestMatchingVersion struct {
		LayerVersionArn, Description, CreatedDate string
		Version                                   int64
		CompatibleRuntimes                        []string
		CompatibleArchitectures                   []string
	}
}

// overview tells what there is.
func (c *Console) overview(v *visit) error {
	var d overviewData
	var mu sync.Mutex
	ask := func(what, path string, out any) func() error {
		return func() error {
			err := v.lambda(v.context(), http.MethodGet, path, nil, out)
			if r, ok := err.(*refusal); ok { //nolint:errorlint // nothing wraps it
				mu.Lock()
				defer mu.Unlock()
				d.Denied = append(d.Denied, what+": "+r.Message)
				return nil
			}
			return err
		}
	}
	var layers struct{ Layers []layerItem }
	for _, question := range []func() error{
		ask("Account", "/2016-08-19/account-settings/", &d.Account),
		ask("Layers", "/2018-10-31/layers?MaxItems=5", &layers),
	} {
		if err := question(); err != nil {
			return err
		}
	}
	d.Layers = layers.Layers
	return v.ok("overview", page{Title: "Overview", Room: "overview", Data: d})
}
