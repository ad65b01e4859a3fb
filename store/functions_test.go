package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lamina-run/lamina"
)

func TestFunctionNumbersWithoutGap(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		id := functionID("hello")
		createFunction(t, s, id)
		var mu sync.Mutex
		var got []int64
		together(8, func(int) {
			for range 25 {
				n := publish(t, s, id).Number
				mu.Lock()
				got = append(got, n)
				mu.Unlock()
			}
		})
		slices.Sort(got)
		if want := oneTo(200); !slices.Equal(got, want) {
			t.Errorf("numbers = %v; want 1 to 200", got)
		}
		f := get(t, s, func(tx *Tx) (lamina.Function, error) { return tx.Function(t.Context(), id) })
		if f.LastNumber != 200 {
			t.Errorf("LastNumber = %d; want 200", f.LastNumber)
		}
	})
}

func TestFunctionNumbersAreNotReused(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		id := functionID("hello")
		createFunction(t, s, id)
		publish(t, s, id)
		publish(t, s, id)
		for _, want := range []bool{true, false} {
			update(t, s, func(tx *Tx) error {
				existed, err := tx.DeleteFunctionVersion(t.Context(), id, 2)
				if existed != want {
					t.Errorf("DeleteFunctionVersion = %t; want %t", existed, want)
				}
				return err
			})
		}
		last := get(t, s, func(tx *Tx) (lamina.Version, error) { return tx.LastFunctionVersion(t.Context(), id) })
		if last.Number != 1 {
			t.Errorf("LastFunctionVersion = %d; want 1", last.Number)
		}
		if got := publish(t, s, id).Number; got != 3 {
			t.Errorf("number after deleting 2 = %d; want 3", got)
		}
	})
}

func TestVersionRoundTrip(t *testing.T) {
	set := func(change func(*lamina.Config)) func(*lamina.Version) {
		return func(v *lamina.Version) { change(&v.Config) }
	}
	cases := map[string]func(*lamina.Version){
		"least":             func(*lamina.Version) {},
		"environment empty": set(func(c *lamina.Config) { c.Environment = map[string]string{} }),
		"environment":       set(func(c *lamina.Config) { c.Environment = map[string]string{"A": "ü<&>\u2028", "B": ""} }),
		"layers empty":      set(func(c *lamina.Config) { c.Layers = []lamina.AttachedLayer{} }),
		"layers": set(func(c *lamina.Config) {
			c.Layers = []lamina.AttachedLayer{
				{ARN: "b", Digest: digest(2), CodeSize: 1, UnpackedSize: 2},
				{ARN: "a", Digest: digest(1), CodeSize: 3, UnpackedSize: 4},
			}
		}),
		"architectures empty": set(func(c *lamina.Config) { c.Architectures = []string{} }),
		"VPC with lists absent": set(func(c *lamina.Config) {
			c.VPC = &lamina.VPC{}
		}),
		"VPC with lists empty": set(func(c *lamina.Config) {
			c.VPC = &lamina.VPC{SubnetIDs: []string{}, SecurityGroupIDs: []string{}, IPv6: true}
		}),
		"file systems empty": set(func(c *lamina.Config) { c.FileSystems = []lamina.FileSystem{} }),
		"image empty":        set(func(c *lamina.Config) { c.Image = &lamina.Image{} }),
		"image with empty lists": set(func(c *lamina.Config) {
			c.Image = &lamina.Image{EntryPoint: []string{}, Command: []string{}, WorkingDirectory: pointer("")}
		}),
		"texts empty but present": set(func(c *lamina.Config) { c.DeadLetterTarget, c.KMSKeyARN = pointer(""), pointer("") }),
		"no code":                 func(v *lamina.Version) { v.Code = lamina.Code{ImageURI: "repo:tag"} },
		"every status": func(v *lamina.Version) {
			v.Status = lamina.Status{
				State: "a", StateReason: "b", StateReasonCode: "c",
				LastUpdate: "d", LastUpdateReason: "e", LastUpdateReasonCode: "f",
			}
		},
		"all else": func(v *lamina.Version) {
			v.Source = "fingerprint"
			v.Config.Description, v.Config.Role, v.Config.TracingMode = "d", "role", "Active"
			v.Config.Timeout, v.Config.MemorySize, v.Config.EphemeralStorage = 3, 128, 512
			v.Config.SnapStart = "None"
			v.Config.Logging = lamina.Logging{Format: "JSON", ApplicationLevel: "INFO", SystemLevel: "WARN", Group: "/g"}
		},
	}
	onBoth(t, func(t *testing.T, s *Store) {
		i := 0
		for name, change := range cases {
			i++
			v := createFunction(t, s, functionID(fmt.Sprint("hello", i)))
			change(&v)
			frozen := v
			frozen.Number = 1
			update(t, s, func(tx *Tx) error {
				return errors.Join(tx.PutFunctionVersion(t.Context(), v), tx.InsertFunctionVersion(t.Context(), frozen))
			})
			for _, want := range []lamina.Version{v, frozen} {
				got := get(t, s, func(tx *Tx) (lamina.Version, error) {
					return tx.FunctionVersion(t.Context(), v.Function, want.Number)
				})
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: version %d differs (-want +got):\n%s", name, want.Number, diff)
				}
				if got.Fingerprint() != want.Fingerprint() {
					t.Errorf("%s: the fingerprint of version %d changed", name, want.Number)
				}
			}
		}
	})
}

func TestFunctionRoundTrip(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		f, v := newFunction(functionID("hello"))
		f.ReservedConcurrency, f.LastNumber = pointer[int64](0), 4
		update(t, s, func(tx *Tx) error { return tx.InsertFunction(t.Context(), f, v) })
		for _, reserved := range []*int64{f.ReservedConcurrency, nil, pointer[int64](7)} {
			f.ReservedConcurrency = reserved
			update(t, s, func(tx *Tx) error {
				if err := tx.SetReservedConcurrency(t.Context(), f.ID, reserved); err != nil {
					return err
				}
				locked, err := tx.LockFunction(t.Context(), f.ID)
				if diff := cmp.Diff(f, locked); diff != "" {
					t.Errorf("LockFunction differs (-want +got):\n%s", diff)
				}
				return err
			})
			got := get(t, s, func(tx *Tx) (lamina.Function, error) { return tx.Function(t.Context(), f.ID) })
			if diff := cmp.Diff(f, got); diff != "" {
				t.Errorf("Function differs (-want +got):\n%s", diff)
			}
		}
	})
}

func TestVersionPages(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		for name, versions := range map[string]int{"a": 2, "b": 0, "c": 1} {
			createFunction(t, s, functionID(name))
			for range versions {
				publish(t, s, functionID(name))
			}
		}
		createFunction(t, s, lamina.FunctionID{Scope: lamina.Scope{Account: scope.Account, Region: "us-east-1"}, Name: "b"})

		view(t, s, func(tx *Tx) error {
			var functions, versions, all []string
			for after := ""; ; {
				page, err := tx.Functions(t.Context(), scope, after, 2)
				if err != nil {
					return err
				}
				functions = append(functions, qualified(page)...)
				if len(page) < 2 {
					break
				}
				after = page[1].Function.Name
			}
			for after := int64(-1); ; {
				page, err := tx.FunctionVersions(t.Context(), functionID("a"), after, 1)
				if err != nil {
					return err
				}
				versions = append(versions, qualified(page)...)
				if len(page) == 0 {
					break
				}
				after = page[0].Number
			}
			var last lamina.Version
			for {
				page, err := tx.AllFunctionVersions(t.Context(), scope, last.Function.Name, last.Number, 2)
				if err != nil {
					return err
				}
				all = append(all, qualified(page)...)
				if len(page) < 2 {
					break
				}
				last = page[1]
			}
			for name, c := range map[string]struct{ got, want []string }{
				"Functions":           {functions, []string{"a:$LATEST", "b:$LATEST", "c:$LATEST"}},
				"FunctionVersions":    {versions, []string{"a:$LATEST", "a:1", "a:2"}},
				"AllFunctionVersions": {all, []string{"a:$LATEST", "a:1", "a:2", "b:$LATEST", "c:$LATEST", "c:1"}},
			} {
				if !slices.Equal(c.got, c.want) {
					t.Errorf("%s = %v; want %v", name, c.got, c.want)
				}
			}
			return nil
		})
	})
}

func TestSetStatus(t *testing.T) {
	active := lamina.Status{State: lamina.StateActive, LastUpdate: lamina.UpdateSuccessful}
	onBoth(t, func(t *testing.T, s *Store) {
		pending := lamina.Status{State: lamina.StatePending, StateReasonCode: "Creating"}
		f, v := newFunction(functionID("hello"))
		v.Status = pending
		update(t, s, func(tx *Tx) error { return tx.InsertFunction(t.Context(), f, v) })
		updating := createFunction(t, s, functionID("updating"))
		updating.Status.LastUpdate = lamina.UpdateInProgress
		updating.LastModified = now.Add(1e9)
		update(t, s, func(tx *Tx) error { return tx.PutFunctionVersion(t.Context(), updating) })
		createFunction(t, s, functionID("settled"))

		waiting := func() []string {
			return qualified(get(t, s, func(tx *Tx) ([]lamina.Version, error) { return tx.PendingVersions(t.Context(), 10) }))
		}
		if got, want := waiting(), []string{"hello:$LATEST", "updating:$LATEST"}; !slices.Equal(got, want) {
			t.Errorf("PendingVersions = %v; want %v", got, want)
		}

		stale, former, absent := v, v, v
		stale.RevisionID = "other"
		former.Incarnation = "former"
		absent.Number = 1
		steps := []struct {
			name    string
			v       lamina.Version
			changed bool
		}{
			{"revision is not the current one", stale, false},
			{"function was created again since", former, false},
			{"version is not there", absent, false},
			{"all match", v, true},
			{"done already", v, false},
		}
		for _, step := range steps {
			update(t, s, func(tx *Tx) error {
				changed, err := tx.SetStatus(t.Context(), step.v, active, "r1")
				if changed != step.changed {
					t.Errorf("%s: SetStatus = %t; want %t", step.name, changed, step.changed)
				}
				return err
			})
		}
		got := get(t, s, func(tx *Tx) (lamina.Version, error) { return tx.FunctionVersion(t.Context(), f.ID, 0) })
		v.Status, v.RevisionID = active, "r1"
		if diff := cmp.Diff(v, got); diff != "" {
			t.Errorf("version differs (-want +got):\n%s", diff)
		}
		update(t, s, func(tx *Tx) error {
			_, err := tx.SetStatus(t.Context(), updating, active, "")
			return err
		})
		got = get(t, s, func(tx *Tx) (lamina.Version, error) { return tx.FunctionVersion(t.Context(), updating.Function, 0) })
		if got.RevisionID != updating.RevisionID {
			t.Errorf("revision after SetStatus without one = %q; want %q", got.RevisionID, updating.RevisionID)
		}
		if got := waiting(); got != nil {
			t.Errorf("PendingVersions = %v; want none", got)
		}
	})
}

// TestSetStatusOnce: of many who saw the same revision, one wins.
func TestSetStatusOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		v := createFunction(t, s, functionID("hello"))
		var mu sync.Mutex
		wins := 0
		together(8, func(i int) {
			var changed bool
			update(t, s, func(tx *Tx) (err error) {
				changed, err = tx.SetStatus(t.Context(), v, lamina.Status{}, fmt.Sprint("new", i))
				return err
			})
			mu.Lock()
			defer mu.Unlock()
			if changed {
				wins++
			}
		})
		if wins != 1 {
			t.Errorf("%d changed the status; want 1", wins)
		}
	})
}

func TestDeleteFunctionStartsAfresh(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		id, neighbour := functionID("hello"), functionID("hello2")
		old := createFunction(t, s, id)
		createFunction(t, s, neighbour)
		old.Config.Layers = []lamina.AttachedLayer{{ARN: "layer", Digest: digest(5)}}
		update(t, s, func(tx *Tx) error { return tx.PutFunctionVersion(ctx, old) })
		publish(t, s, id)
		publish(t, s, id)
		resources := []string{id.ARN(), id.QualifiedARN("1"), id.QualifiedARN("prod"), neighbour.ARN(), neighbour.QualifiedARN("1")}
		update(t, s, func(tx *Tx) error {
			for _, arn := range resources {
				if err := tx.PutPolicy(ctx, lamina.Policy{Resource: arn, Statements: []lamina.Statement{{Sid: "s"}}}); err != nil {
					return err
				}
			}
			return errors.Join(
				tx.SetTags(ctx, id.ARN(), map[string]string{"team": "a"}),
				tx.SetTags(ctx, neighbour.ARN(), map[string]string{"team": "b"}),
				tx.InsertAlias(ctx, lamina.Alias{Function: id, Name: "prod", Target: "1"}),
			)
		})

		update(t, s, func(tx *Tx) error { return tx.DeleteFunction(ctx, id) })
		if err := s.Update(ctx, func(tx *Tx) error { return tx.DeleteFunction(ctx, id) }); !errors.Is(err, lamina.ErrNotFound) {
			t.Errorf("second DeleteFunction = %v; want ErrNotFound", err)
		}
		fresh := createFunction(t, s, id)
		view(t, s, func(tx *Tx) error {
			for i, arn := range resources {
				_, err := tx.Policy(ctx, arn)
				if got, want := err == nil, i >= 3; got != want {
					t.Errorf("policy of %s exists: %t; want %t (%v)", arn, got, want, err)
				}
			}
			if tags, err := tx.Tags(ctx, id.ARN()); len(tags) > 0 || err != nil {
				t.Errorf("Tags = %v, %v; want none", tags, err)
			}
			if tags, err := tx.Tags(ctx, neighbour.ARN()); len(tags) != 1 || err != nil {
				t.Errorf("Tags of the neighbour = %v, %v; want one", tags, err)
			}
			if _, err := tx.Alias(ctx, id, "prod"); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("Alias = %v; want ErrNotFound", err)
			}
			if referenced, err := tx.Referenced(ctx, digest(5)); referenced || err != nil {
				t.Errorf("Referenced = %t, %v; want false", referenced, err)
			}
			versions, err := tx.FunctionVersions(ctx, id, -1, 10)
			if len(versions) != 1 {
				t.Errorf("FunctionVersions = %v; want $LATEST", qualified(versions))
			}
			return err
		})
		if got := publish(t, s, id).Number; got != 1 {
			t.Errorf("first number = %d; want 1", got)
		}

		// What was read before the deletion can't be written now.
		late := []func(tx *Tx) error{
			func(tx *Tx) error { return tx.PutFunctionVersion(ctx, old) },
			func(tx *Tx) error { return tx.InsertFunctionVersion(ctx, old.Freeze(2, nil, "r", now)) },
		}
		for i, write := range late {
			if err := s.Update(ctx, write); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("late write %d = %v; want ErrNotFound", i, err)
			}
		}
		got := get(t, s, func(tx *Tx) (lamina.Version, error) { return tx.FunctionVersion(ctx, id, 0) })
		if diff := cmp.Diff(fresh, got); diff != "" {
			t.Errorf("$LATEST differs (-want +got):\n%s", diff)
		}
	})
}

func TestFunctionsUsing(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		one, two := layerID("one").VersionARN(1), layerID("two").VersionARN(1)
		attach := func(id lamina.FunctionID, arns ...string) {
			v := get(t, s, func(tx *Tx) (lamina.Version, error) { return tx.FunctionVersion(t.Context(), id, 0) })
			v.Config.Layers = nil
			for i, arn := range arns {
				v.Config.Layers = append(v.Config.Layers, lamina.AttachedLayer{ARN: arn, Digest: digest(i + 1)})
			}
			update(t, s, func(tx *Tx) error { return tx.PutFunctionVersion(t.Context(), v) })
		}
		using := func(arn string, limit int) []string {
			return qualified(get(t, s, func(tx *Tx) ([]lamina.Version, error) {
				return tx.FunctionsUsing(t.Context(), arn, limit)
			}))
		}
		a, b := functionID("a"), functionID("b")
		createFunction(t, s, a)
		createFunction(t, s, b)
		attach(a, one, two)
		publish(t, s, a)
		attach(a, two)
		attach(b, one)
		for _, c := range []struct {
			arn   string
			limit int
			want  []string
		}{
			{one, 10, []string{"a:1", "b:$LATEST"}},
			{two, 10, []string{"a:$LATEST", "a:1"}},
			{two, 1, []string{"a:$LATEST"}},
			{"absent", 10, nil},
		} {
			if got := using(c.arn, c.limit); !slices.Equal(got, c.want) {
				t.Errorf("FunctionsUsing(%s, %d) = %v; want %v", c.arn, c.limit, got, c.want)
			}
		}
	})
}

// TestUsage compares the counters with sums after every kind of change.
func TestUsage(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		id, other := functionID("hello"), functionID("other")
		latest := createFunction(t, s, id) // 100
		expect := func(after string, wantBytes, wantFunctions int64) {
			t.Helper()
			view(t, s, func(tx *Tx) error {
				bytes, functions, err := tx.CodeUsage(ctx, scope)
				if bytes != wantBytes || functions != wantFunctions {
					t.Errorf("after %s CodeUsage = %d, %d; want %d, %d", after, bytes, functions, wantBytes, wantFunctions)
				}
				return err
			})
		}
		expect("create", 100, 1)
		createFunction(t, s, other)
		publish(t, s, id)
		publish(t, s, id)
		expect("two versions of one of two functions", 400, 2)
		latest.Code.CodeSize = 30
		update(t, s, func(tx *Tx) error { return tx.PutFunctionVersion(ctx, latest) })
		expect("smaller code", 330, 2)
		publishLayer(t, s, layerID("geo"), nil)
		publishLayer(t, s, layerID("geo"), nil)
		expect("two layer versions", 350, 2)
		update(t, s, func(tx *Tx) error {
			_, err1 := tx.DeleteLayerVersion(ctx, layerID("geo"), 1)
			_, err2 := tx.DeleteLayerVersion(ctx, layerID("geo"), 1)
			_, err3 := tx.DeleteFunctionVersion(ctx, id, 1)
			_, err4 := tx.DeleteFunctionVersion(ctx, id, 1)
			return errors.Join(err1, err2, err3, err4)
		})
		expect("deleting one of each, twice", 240, 2)
		update(t, s, func(tx *Tx) error { return tx.DeleteFunction(ctx, id) })
		expect("deleting a function", 110, 1)
		together(8, func(i int) { publishLayer(t, s, layerID(fmt.Sprint("l", i)), nil) })
		expect("eight writers", 190, 1)
		view(t, s, func(tx *Tx) error {
			bytes, functions, err := tx.CodeUsage(ctx, lamina.Scope{Account: scope.Account, Region: "us-east-1"})
			if bytes != 0 || functions != 0 {
				t.Errorf("CodeUsage of another region = %d, %d; want 0, 0", bytes, functions)
			}
			return err
		})
	})
}

// TestReservedLimit: with LockUsage, a limit on the sum holds when all come at
// once.
func TestReservedLimit(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		for i := range 8 {
			createFunction(t, s, functionID(fmt.Sprint("f", i)))
		}
		errLimit := errors.New("limit")
		together(8, func(i int) {
			id := functionID(fmt.Sprint("f", i))
			err := s.Update(ctx, func(tx *Tx) error {
				if err := tx.LockUsage(ctx, scope); err != nil {
					return err
				}
				others, err := tx.ReservedTotal(ctx, scope, id)
				if err != nil {
					return err
				}
				if others+30 > 100 {
					return errLimit
				}
				return tx.SetReservedConcurrency(ctx, id, pointer[int64](30))
			})
			if err != nil && !errors.Is(err, errLimit) {
				t.Error(err)
			}
		})
		if got := get(t, s, func(tx *Tx) (int64, error) { return tx.ReservedTotal(ctx, scope, lamina.FunctionID{}) }); got != 90 {
			t.Errorf("ReservedTotal = %d; want 90", got)
		}
	})
}

func TestReferenced(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		layer := publishLayer(t, s, layerID("geo"), nil)
		v := createFunction(t, s, functionID("hello"))
		v.Code.Digest = digest(50)
		v.Config.Layers = []lamina.AttachedLayer{{ARN: "a", Digest: digest(51)}}
		update(t, s, func(tx *Tx) error { return tx.PutFunctionVersion(ctx, v) })
		image := createFunction(t, s, functionID("image"))
		image.Code = lamina.Code{ImageURI: "repo:tag"}
		update(t, s, func(tx *Tx) error { return tx.PutFunctionVersion(ctx, image) })
		for _, c := range []struct {
			name string
			d    lamina.Digest
			want bool
		}{
			{"layer version", layer.Digest, true},
			{"code", digest(50), true},
			{"former code", digest(1000), false},
			{"attached layer", digest(51), true},
			{"nobody", digest(99), false},
			{"absent", lamina.Digest{}, false},
		} {
			if got := get(t, s, func(tx *Tx) (bool, error) { return tx.Referenced(ctx, c.d) }); got != c.want {
				t.Errorf("Referenced(%s) = %t; want %t", c.name, got, c.want)
			}
		}
	})
}
