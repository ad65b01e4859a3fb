package bench

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/lamina-run/lamina"
	"github.com/lamina-run/lamina/internal/testkit"
	"github.com/lamina-run/lamina/store"
)

// population is what a store is filled with. All of it follows from three
// numbers, so that whoever asks a server knows what is there:
//
//   - functions fn-0 and so on. Every twelfth, fn-0 among them, has everything:
//     versions 1 to 3, aliases, layers, tags, a policy, a URL, a mapping, an event
//     invoke config and a code signing config. The others have parts of that.
//   - layers of 50 versions each, and the layer busy, which has a tenth of all;
//     their runtimes are what [runtimesOf] says.
//   - the function busy, which has as much as crowd of everything, and crowd
//     functions that read one stream.
type population struct {
	functions, layerVersions, crowd int
}

const (
	versionsOfLayer = 50
	allEvery        = 12 // of so many functions one has everything
	signingConfigs  = 1000
	provisionedMost = 450 // twice that is what the limit of an account admits
	busyName        = "busy"
	busyStream      = "arn:aws:kinesis:" + scaleRegion + ":" + testkit.Account + ":stream/busy"
	scaleRegion     = "eu-central-1"
	fitsOneLayer    = "java21"
	fitsNoLayer     = "ruby3.3"
)

var scaleScope = lamina.Scope{Account: testkit.Account, Region: scaleRegion}

func functionID(i int) lamina.FunctionID {
	return lamina.FunctionID{Scope: scaleScope, Name: "fn-" + strconv.Itoa(i)}
}

func layerID(i int) lamina.LayerID {
	return lamina.LayerID{Scope: scaleScope, Name: "layer-" + strconv.Itoa(i)}
}

var (
	busyFunction = lamina.FunctionID{Scope: scaleScope, Name: busyName}
	busyLayer    = lamina.LayerID{Scope: scaleScope, Name: busyName}
)

// busyVersions is how many versions the busy layer has.
func (p population) busyVersions() int { return max(1, p.layerVersions/10) }

// layers is how many others there are.
func (p population) layers() int {
	return max(1, (p.layerVersions-p.busyVersions())/versionsOfLayer)
}

// drawn makes what the server would draw at random, the same in every run.
func drawn(kind string, n ...int) lamina.Digest { return sha256.Sum256(fmt.Append([]byte(kind), n)) }

func drawnUUID(kind string, n ...int) string {
	d := drawn(kind, n...)
	d[6], d[8] = d[6]&0x0f|0x40, d[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", d[0:4], d[4:6], d[6:8], d[8:10], d[10:16])
}

func signingConfigID(i int) string { return "csc-" + drawn("signing config", i).String()[:17] }

func mappingUUID(i int) string { return drawnUUID("mapping", i) }

// runtimesOf is nothing for a quarter of the layers; one layer alone has
// [fitsOneLayer], the last of them.
func (p population) runtimesOf(layer int) (runtimes, architectures []string) {
	switch {
	case layer > 0 && layer == p.layers()-1:
		return []string{fitsOneLayer}, []string{"arm64"}
	case layer%4 == 0:
		return []string{"python3.12"}, nil
	case layer%4 == 1:
		return []string{"python3.12", "python3.13"}, []string{"x86_64", "arm64"}
	case layer%4 == 2:
		return []string{"nodejs22.x"}, []string{"arm64"}
	}
	return nil, nil
}

// load fills a store that a server will find in the directory. With many rows it
// takes minutes; with keep it may be there from an earlier run.
func (p population) load(t *testing.T, dir string) {
	t.Helper()
	done := filepath.Join(dir, fmt.Sprintf("loaded-%d-%d-%d", p.functions, p.layerVersions, p.crowd))
	if _, err := os.Stat(done); err == nil {
		t.Logf("%s is loaded", dir)
		return
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s, err := store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "lamina.db")})
	if err != nil {
		t.Fatal(err)
	}
	l := loader{ctx: t.Context(), population: p, now: time.UnixMilli(1_700_000_000_000)}
	for _, part := range []struct {
		name   string
		n, per int // steps, and how many of them are one transaction
		step   func(tx *store.Tx, i int) error
	}{
		{"layer versions", p.layers(), 100, l.layer},
		{"versions of the busy layer", p.busyVersions(), 5000, l.busyLayerVersion},
		{"code signing configs", min(signingConfigs, p.functions), 5000, l.signingConfig},
		{"functions", p.functions, 500, l.function},
		{"the busy function", 1, 1, l.busyFunction},
		{"settings of the busy function", p.crowd, 500, l.busySetting},
	} {
		from := time.Now()
		for i := 0; i < part.n; i += part.per {
			err := s.Update(t.Context(), func(tx *store.Tx) error {
				for j := i; j < min(i+part.per, part.n); j++ {
					if err := part.step(tx, j); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatalf("load %s: %v", part.name, err)
			}
		}
		if p.functions > 1 {
			t.Logf("loaded %s in %v", part.name, time.Since(from).Round(time.Millisecond))
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "lamina.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(done, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d functions and %d layer versions are %d MB, loaded in %v", p.functions, p.layerVersions, info.Size()>>20, time.Since(began).Round(time.Second))
}

// loader writes through the store's methods, as control does.
type loader struct {
	population
	ctx context.Context // that of the test, which is the loader's life
	now time.Time
}

func (l loader) layerVersion(tx *store.Tx, id lamina.LayerID, runtimes, architectures []string) error {
	n, err := tx.NextLayerNumber(l.ctx, id)
	if err != nil {
		return err
	}
	license := "MIT"
	return tx.InsertLayerVersion(l.ctx, lamina.LayerVersion{
		Layer: id, Number: n, Digest: drawn(id.Name, int(n)), CodeSize: 1 << 20, UnpackedSize: 4 << 20,
		Description: "dependencies of the order service, build " + strconv.FormatInt(n, 10), LicenseInfo: &license,
		Runtimes: runtimes, Architectures: architectures, Created: l.now.Add(time.Duration(n) * time.Minute),
	})
}

func (l loader) layer(tx *store.Tx, i int) error {
	runtimes, architectures := l.runtimesOf(i)
	for range min(versionsOfLayer, l.layerVersions) {
		if err := l.layerVersion(tx, layerID(i), runtimes, architectures); err != nil {
			return err
		}
	}
	if i%allEvery > 0 {
		return nil
	}
	arn := layerID(i).VersionARN(1)
	return tx.PutPolicy(l.ctx, lamina.Policy{Resource: arn, RevisionID: drawnUUID(arn), Statements: []lamina.Statement{{
		Sid: "everyone", Effect: "Allow", Principal: lamina.Principal{Value: "*"}, Action: "lambda:GetLayerVersion", Resource: arn,
	}}})
}

func (l loader) busyLayerVersion(tx *store.Tx, i int) error {
	return l.layerVersion(tx, busyLayer, []string{[]string{"python3.12", "python3.13"}[i%2]}, []string{"x86_64"})
}

func (l loader) signingConfig(tx *store.Tx, i int) error {
	description := "release " + strconv.Itoa(i)
	return tx.InsertCodeSigningConfig(l.ctx, lamina.CodeSigningConfig{
		Scope: scaleScope, ID: signingConfigID(i), Description: &description, Policy: lamina.SigningWarn, Modified: l.now,
		Publishers: []string{"arn:aws:signer:" + scaleRegion + ":" + testkit.Account + ":/signing-profiles/release/abcdefghij"},
	})
}

// create writes a function with its first versions.
func (l loader) create(tx *store.Tx, id lamina.FunctionID, versions int, layers []lamina.AttachedLayer, state string) error {
	latest := lamina.Version{
		Function: id, Incarnation: drawnUUID("incarnation " + id.Name), RevisionID: drawnUUID("revision " + id.Name), LastModified: l.now,
		Config: lamina.Config{
			Description: "takes orders", Runtime: "python3.12", Handler: "app.handler", Role: "arn:aws:iam::" + testkit.Account + ":role/bench",
			PackageType: lamina.PackageZip, Timeout: 3, MemorySize: 128, EphemeralStorage: 512, Architectures: []string{"x86_64"},
			Environment: map[string]string{"TABLE": "orders", "STAGE": "prod", "LEVEL": "info"}, Layers: layers, TracingMode: "PassThrough",
			SnapStart: "None", Logging: lamina.Logging{Format: "Text", Group: "/aws/lambda/" + id.Name},
		},
		Code:   lamina.Code{Digest: drawn("code " + id.Name), CodeSize: 64 << 10, UnpackedSize: 256 << 10},
		Status: lamina.Status{State: state, LastUpdate: lamina.UpdateSuccessful},
	}
	if err := tx.InsertFunction(l.ctx, lamina.Function{ID: id, Incarnation: latest.Incarnation, Created: l.now}, latest); err != nil {
		return err
	}
	for n := range versions {
		v := latest.Freeze(int64(n+1), nil, drawnUUID("revision "+id.Name, n+1), l.now)
		v.Status.State = state
		if err := tx.InsertFunctionVersion(l.ctx, v); err != nil {
			return err
		}
	}
	return nil
}

func (l loader) function(tx *store.Tx, i int) error {
	id := functionID(i)
	all := i%allEvery == 0
	var layers []lamina.AttachedLayer
	if i%3 == 0 {
		for n := range 2 {
			layer := layerID((i + n) % l.layers())
			layers = append(layers, lamina.AttachedLayer{ARN: layer.VersionARN(1), Digest: drawn(layer.Name, 1), CodeSize: 1 << 20, UnpackedSize: 4 << 20})
		}
	}
	versions := 3 - i%4
	// Provisioned concurrency of active versions would have the server start
	// environments, and that is not what is measured.
	provisioned := versions > 0 && i/allEvery < provisionedMost && i%allEvery == 4
	state := lamina.StateActive
	if provisioned {
		state = lamina.StateInactive
	}
	err := l.create(tx, id, versions, layers, state)
	if err == nil && versions > 0 {
		err = tx.InsertAlias(l.ctx, lamina.Alias{Function: id, Name: "prod", Target: "1", RevisionID: drawnUUID("prod", i)})
	}
	if err == nil && versions == 3 {
		err = tx.InsertAlias(l.ctx, lamina.Alias{Function: id, Name: "canary", Target: "2", RevisionID: drawnUUID("canary", i), Weights: map[string]float64{"3": 0.1}})
	}
	if err == nil && provisioned {
		err = tx.PutProvisioned(l.ctx, lamina.Provisioned{Function: id, Qualifier: "1", Requested: 1, Modified: l.now})
	}
	if err == nil && i%2 == 0 {
		err = tx.SetTags(l.ctx, id.ARN(), map[string]string{"team": "orders", "stage": "prod", "cost": strconv.Itoa(i % 100)})
		err = errors.Join(err, l.mapping(tx, i, id.ARN(), "arn:aws:sqs:"+scaleRegion+":"+testkit.Account+":queue-"+strconv.Itoa(i)))
	}
	if err == nil && i%4 == 0 {
		err = tx.PutPolicy(l.ctx, lamina.Policy{Resource: id.ARN(), RevisionID: drawnUUID("policy", i), Statements: []lamina.Statement{{
			Sid: "events", Effect: "Allow", Principal: lamina.Principal{Kind: "Service", Value: "events.amazonaws.com"}, Action: "lambda:InvokeFunction", Resource: id.ARN(),
		}}})
		err = errors.Join(err, l.setting(tx, id, "", "$LATEST"))
	}
	if err == nil && i < l.crowd {
		err = l.mapping(tx, -1-i, id.ARN(), busyStream)
	}
	if err == nil && all {
		config := 0 // half of them share one
		if i%(2*allEvery) > 0 {
			config = i % min(signingConfigs, l.functions)
		}
		err = tx.SetFunctionCodeSigningConfig(l.ctx, id, signingConfigID(config))
	}
	return err
}

func (l loader) mapping(tx *store.Tx, n int, function, source string) error {
	kind, _ := lamina.SourceKindOf(source)
	m := lamina.EventSourceMapping{
		Scope: scaleScope, UUID: mappingUUID(n), FunctionARN: function, Enabled: true, State: lamina.MappingEnabled,
		LastModified: l.now, Source: lamina.EventSource{Kind: kind, ARN: source, BatchSize: 10},
	}
	if kind.Streams() {
		m.Source.StartingPosition = "LATEST"
	}
	return tx.InsertEventSourceMapping(l.ctx, m)
}

// setting gives a function a URL and an event invoke config.
func (l loader) setting(tx *store.Tx, id lamina.FunctionID, url, config string) error {
	retries, onFailure := int64(1), "arn:aws:sqs:"+scaleRegion+":"+testkit.Account+":failures"
	return errors.Join(
		tx.InsertFunctionURL(l.ctx, lamina.FunctionURL{
			Function: id, Qualifier: url, ID: drawn("url " + id.QualifiedARN(url)).String()[:32], AuthType: lamina.URLAuthIAM, Created: l.now, LastModified: l.now,
		}),
		tx.PutEventInvokeConfig(l.ctx, lamina.EventInvokeConfig{
			Function: id, Qualifier: config, MaximumRetries: &retries, OnFailure: &onFailure, LastModified: l.now,
		}))
}

func (l loader) busyFunction(tx *store.Tx, _ int) error {
	return errors.Join(
		l.create(tx, busyFunction, l.crowd, nil, lamina.StateInactive),
		l.mapping(tx, -1-l.crowd, busyFunction.ARN(), busyStream))
}

func (l loader) busySetting(tx *store.Tx, i int) error {
	alias := "alias-" + strconv.Itoa(i)
	err := errors.Join(
		tx.InsertAlias(l.ctx, lamina.Alias{Function: busyFunction, Name: alias, Target: strconv.Itoa(1 + i), RevisionID: drawnUUID(alias)}),
		l.setting(tx, busyFunction, alias, alias),
		l.mapping(tx, l.functions+i, busyFunction.ARN(), "arn:aws:sqs:"+scaleRegion+":"+testkit.Account+":busy-"+strconv.Itoa(i)))
	if err == nil && i < provisionedMost {
		err = tx.PutProvisioned(l.ctx, lamina.Provisioned{Function: busyFunction, Qualifier: alias, Requested: 1, Modified: l.now})
	}
	return err
}
