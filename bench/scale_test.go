package bench

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/lamina-run/lamina/internal/testkit"
)

var (
	scale     = flag.Bool("scale", false, "measure a large store; without it that test skips")
	functions = flag.Int("functions", 100_000, "functions of the large store")
	versions  = flag.Int("versions", 1_000_000, "layer versions of the large store")
	keep      = flag.String("keep", "", "directory for the stores of -scale, which the next run then need not load")
)

const (
	mostGet    = 2.0 // times the p99 of a store with one of each
	mostList   = 20 * time.Millisecond
	mostMemory = 1.2 // times that of a store of a tenth the size
	// Of so many, p99 is the tenth and the fourth worst.
	getsARound  = 1000
	listsARound = 400
)

// get is an operation that reads one thing of those that a population has. It is
// the same answer but for names on every store.
type get struct {
	name string
	path func(p population) string
}

// aFunction draws one that has everything.
func (p population) aFunction() int { return allEvery * rand.IntN((p.functions+allEvery-1)/allEvery) }

// aLayer draws one of those that declare one runtime, as all stores have them.
func (p population) aLayer() int { return rand.IntN((p.layers()+3)/4) * 4 }

func (p population) aNumber() int { return 1 + rand.IntN(min(versionsOfLayer, p.layerVersions)) }

func ofFunction(version, rest string) func(population) string {
	return func(p population) string {
		return "/" + version + "/functions/" + functionID(p.aFunction()).Name + rest
	}
}

var gets = []get{
	{"GetFunction", ofFunction("2015-03-31", "")},
	{"GetFunction of an alias", ofFunction("2015-03-31", "?Qualifier=canary")},
	{"GetFunctionConfiguration", ofFunction("2015-03-31", "/configuration")},
	{"GetFunctionConcurrency", ofFunction("2019-09-30", "/concurrency")},
	{"GetAlias", ofFunction("2015-03-31", "/aliases/prod")},
	{"GetPolicy", ofFunction("2015-03-31", "/policy")},
	{"GetFunctionCodeSigningConfig", ofFunction("2020-06-30", "/code-signing-config")},
	{"GetFunctionUrlConfig", ofFunction("2021-10-31", "/url")},
	{"GetFunctionEventInvokeConfig", ofFunction("2019-09-25", "/event-invoke-config")},
	{"GetRuntimeManagementConfig", ofFunction("2021-07-20", "/runtime-management-config")},
	{"GetFunctionRecursionConfig", ofFunction("2024-08-31", "/recursion-config")},
	{"GetProvisionedConcurrencyConfig", func(p population) string {
		return "/2019-09-30/functions/busy/provisioned-concurrency?Qualifier=alias-" + strconv.Itoa(rand.IntN(min(p.crowd, provisionedMost)))
	}},
	{"GetEventSourceMapping", func(p population) string {
		return "/2015-03-31/event-source-mappings/" + mappingUUID(p.aFunction())
	}},
	{"GetCodeSigningConfig", func(p population) string {
		return "/2020-04-22/code-signing-configs/" + signingConfigARN(rand.IntN(min(p.functions, signingConfigs)))
	}},
	{"GetLayerVersion", func(p population) string {
		return "/2018-10-31/layers/" + layerID(p.aLayer()).Name + "/versions/" + strconv.Itoa(p.aNumber())
	}},
	{"GetLayerVersion of the busy layer", func(p population) string {
		return "/2018-10-31/layers/busy/versions/" + strconv.Itoa(1+rand.IntN(p.busyVersions()))
	}},
	{"GetLayerVersionByArn", func(p population) string {
		return "/2018-10-31/layers?find=LayerVersion&Arn=" + url.QueryEscape(layerID(p.aLayer()).VersionARN(int64(p.aNumber())))
	}},
	{"GetLayerVersionPolicy", func(p population) string {
		return "/2018-10-31/layers/" + layerID(p.aLayer()/allEvery*allEvery).Name + "/versions/1/policy"
	}},
	{"GetAccountSettings", func(population) string { return "/2016-08-19/account-settings" }},
	{"ListTags", func(p population) string {
		return "/2017-03-31/tags/" + escape(functionID(p.aFunction()).ARN())
	}},
}

func signingConfigARN(i int) string {
	return escape("arn:aws:lambda:" + scaleRegion + ":" + testkit.Account + ":code-signing-config:" + signingConfigID(i))
}

// escape is what SDKs make of an ARN in a path.
func escape(arn string) string { return strings.ReplaceAll(arn, ":", "%3A") }

// list is the first page of an operation: of what is in its member, and how many
// entries that has on a large store.
type list struct {
	name, path, member string
	entries            int
}

var lists = []list{
	{"ListFunctions", "/2015-03-31/functions", "Functions", 50},
	{"ListFunctions, all versions", "/2015-03-31/functions?FunctionVersion=ALL", "Functions", 50},
	{"ListVersionsByFunction", "/2015-03-31/functions/busy/versions", "Versions", 50},
	{"ListAliases", "/2015-03-31/functions/busy/aliases", "Aliases", 50},
	{"ListAliases of a version", "/2015-03-31/functions/busy/aliases?FunctionVersion=7", "Aliases", 1},
	{"ListLayers", "/2018-10-31/layers", "Layers", 50},
	{"ListLayers, a runtime of many", "/2018-10-31/layers?CompatibleRuntime=python3.12", "Layers", 50},
	{"ListLayers, a runtime and architecture", "/2018-10-31/layers?CompatibleRuntime=nodejs22.x&CompatibleArchitecture=arm64", "Layers", 50},
	{"ListLayers, a runtime of one", "/2018-10-31/layers?CompatibleRuntime=" + fitsOneLayer, "Layers", 1},
	{"ListLayers, a runtime of none", "/2018-10-31/layers?CompatibleRuntime=" + fitsNoLayer, "Layers", 0},
	{"ListLayerVersions", "/2018-10-31/layers/busy/versions", "LayerVersions", 50},
	{"ListLayerVersions, a runtime of half", "/2018-10-31/layers/busy/versions?CompatibleRuntime=python3.13", "LayerVersions", 50},
	{"ListLayerVersions, a runtime of none", "/2018-10-31/layers/busy/versions?CompatibleRuntime=" + fitsNoLayer, "LayerVersions", 0},
	{"ListEventSourceMappings", "/2015-03-31/event-source-mappings", "EventSourceMappings", 100},
	{"ListEventSourceMappings of a function", "/2015-03-31/event-source-mappings?FunctionName=busy", "EventSourceMappings", 100},
	{"ListEventSourceMappings of a source", "/2015-03-31/event-source-mappings?EventSourceArn=" + url.QueryEscape(busyStream), "EventSourceMappings", 100},
	{"ListEventSourceMappings of both", "/2015-03-31/event-source-mappings?FunctionName=busy&EventSourceArn=" + url.QueryEscape(busyStream), "EventSourceMappings", 1},
	{"ListCodeSigningConfigs", "/2020-04-22/code-signing-configs", "CodeSigningConfigs", 50},
	{"ListFunctionsByCodeSigningConfig", "/2020-04-22/code-signing-configs/" + signingConfigARN(0) + "/functions", "FunctionArns", 50},
	{"ListProvisionedConcurrencyConfigs", "/2019-09-30/functions/busy/provisioned-concurrency?List=ALL", "ProvisionedConcurrencyConfigs", 50},
	{"ListFunctionUrlConfigs", "/2021-10-31/functions/busy/urls", "FunctionUrlConfigs", 50},
	{"ListFunctionEventInvokeConfigs", "/2019-09-25/functions/busy/event-invoke-config/list", "FunctionEventInvokeConfigs", 50},
}

// filled is a server on a store that was filled.
type filled struct {
	population
	*testkit.Server
	line *line
}

func serveFilled(t *testing.T, dir string, p population) *filled {
	t.Helper()
	s := testkit.Start(t, testkit.Options{Data: dir, Region: scaleRegion, Env: []string{"LAMINA_LOG_LEVEL=warn"}})
	return &filled{p, s, dial(t, s.URL)}
}

func (f *filled) sign(t *testing.T, path string) request {
	return sign(t, f.Server, http.MethodGet, path, nil)
}

// TestScale holds a server with many functions and layer versions against one
// that has one of each, and its memory against one that has a tenth.
//
// Percentiles of milliseconds are those of the machine when others use it, too:
// run it there as chrt -r 1 make bench-scale.
func TestScale(t *testing.T) {
	if !*scale {
		t.Skip("loads a store for minutes; run make bench-scale")
	}
	*rounds = max(*rounds, 5)
	dir := *keep
	if dir == "" {
		dir = t.TempDir()
	}
	large := population{*functions, *versions, max(1, *functions/20)}
	tenth := population{*functions / 10, *versions / 10, max(1, *functions/200)}
	if tenth.crowd < provisionedMost {
		t.Fatalf("-functions %d: want at least %d", *functions, 200*provisionedMost)
	}
	populations := []population{{1, 1, 1}, tenth, large}
	at := func(p population) string { return filepath.Join(dir, strconv.Itoa(p.functions)) }
	for _, p := range populations {
		p.load(t, at(p))
	}
	var servers []*filled
	for _, p := range populations { // when all are loaded: a connection is kept for a while only
		servers = append(servers, serveFilled(t, at(p), p))
	}
	one, many := servers[0], servers[2]
	load, _ := os.ReadFile("/proc/loadavg") // absent elsewhere than on Linux
	count(t, many)

	getFigures, listFigures := make([]*scaled, len(gets)), make([]*scaled, len(lists))
	for i, g := range gets {
		getFigures[i] = &scaled{name: g.name}
	}
	for i, l := range lists {
		listFigures[i] = &scaled{name: l.name}
	}
	requests := 0
	for round := range *rounds + 1 {
		for i, g := range gets {
			measure(t, servers, getFigures[i], round > 0, getsARound, func(f *filled) request { return f.sign(t, g.path(f.population)) })
			requests += getsARound
		}
		for i, l := range lists {
			measure(t, servers, listFigures[i], round > 0, listsARound, func(f *filled) request { return f.sign(t, l.path) })
			requests += listsARound
		}
	}

	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nGet\tp50\tof one\tp99\tof one\tratio of p99\tbound\n")
	for _, f := range getFigures {
		ratio := float64(f.p99(many)) / float64(f.p99(one))
		verdict := fmt.Sprintf("%.1f", mostGet)
		if ratio > mostGet {
			verdict += "  EXCEEDED"
			t.Errorf("%s: p99 is %.2f times that of a store with one; want at most %.1f", f.name, ratio, mostGet)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%.2f\t%s\n", f.name, show(f.p50(many), time.Microsecond), show(f.p50(one), time.Microsecond),
			show(f.p99(many), time.Microsecond), show(f.p99(one), time.Microsecond), ratio, verdict)
	}
	fmt.Fprintf(w, "\nfirst page of\tp50\tof a tenth\tp99\tof a tenth\t\tbound\n")
	for _, f := range listFigures {
		verdict := show(mostList, time.Millisecond)
		if f.p99(many) > mostList {
			verdict += "  EXCEEDED"
			t.Errorf("%s: p99 is %v; want at most %v", f.name, f.p99(many), mostList)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t\t%s\n", f.name, show(f.p50(many), time.Millisecond), show(f.p50(servers[1]), time.Millisecond),
			show(f.p99(many), time.Millisecond), show(f.p99(servers[1]), time.Millisecond), verdict)
	}
	var resident []float64
	for _, s := range servers {
		now, _ := status(t, s.PID())
		resident = append(resident, float64(now)/(1<<20))
	}
	verdict := fmt.Sprintf("%.1f", mostMemory)
	if resident[2] > mostMemory*resident[1] {
		verdict += "  EXCEEDED"
		t.Errorf("resident memory is %.2f times that of a store of a tenth the size; want at most %.1f", resident[2]/resident[1], mostMemory)
	}
	fmt.Fprintf(w, "\nmemory\tlarge\ttenth\tone\t\tlarge to tenth\tbound\n")
	fmt.Fprintf(w, "resident after %d requests\t%.1f MB\t%.1f MB\t%.1f MB\t\t%.2f\t%s\n", requests, resident[2], resident[1], resident[0], resident[2]/resident[1], verdict)
	w.Flush()
	after, _ := os.ReadFile("/proc/loadavg") // as above
	fmt.Printf("\n%d functions, %d layer versions; medians of the percentiles of %d rounds, %d requests a round and Get, %d a List, to all servers in turns\n%s/%s, %d cores, %s, load before: %s, after: %s\n",
		*functions, *versions, *rounds, getsARound, listsARound, runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(),
		strings.TrimSpace(string(load)), strings.TrimSpace(string(after)))
	for _, s := range servers {
		s.Stop()
	}
}

// count asks for each first page once, so that none is quick for being empty.
func count(t *testing.T, f *filled) {
	t.Helper()
	for _, l := range lists {
		var page map[string]json.RawMessage
		var entries []json.RawMessage
		call(t, f.Server, f.line, http.MethodGet, l.path, nil, &page)
		if err := json.Unmarshal(page[l.member], &entries); err != nil || len(entries) != l.entries {
			t.Fatalf("%s: %d entries, %v; want %d", l.name, len(entries), err, l.entries)
		}
	}
}

// scaled has the percentiles of each round, by server.
type scaled struct {
	name       string
	half, most map[*filled][]time.Duration
}

func (s *scaled) p50(f *filled) time.Duration { return percentile(s.half[f], 50) }
func (s *scaled) p99(f *filled) time.Duration { return percentile(s.most[f], 50) }

// measure sends n requests to each server, in turns, and adds their percentiles
// unless the round is one to warm up.
func measure(t *testing.T, servers []*filled, s *scaled, counts bool, n int, next func(*filled) request) {
	t.Helper()
	took := make(map[*filled][]time.Duration)
	queue := make(map[*filled][]request)
	for _, f := range servers {
		for range n {
			queue[f] = append(queue[f], next(f))
		}
	}
	for i := range n {
		for _, f := range servers {
			_, d := f.line.send(t, queue[f][i])
			took[f] = append(took[f], d)
		}
	}
	if !counts {
		return
	}
	if s.half == nil {
		s.half, s.most = make(map[*filled][]time.Duration), make(map[*filled][]time.Duration)
	}
	for f, all := range took {
		s.half[f], s.most[f] = append(s.half[f], percentile(all, 50)), append(s.most[f], percentile(all, 99))
	}
}
