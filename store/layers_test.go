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

func TestLayerNumbersWithoutGap(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		id := layerID("geo")
		var mu sync.Mutex
		var got []int64
		together(8, func(int) {
			for range 25 {
				n := publishLayer(t, s, id, nil).Number
				mu.Lock()
				got = append(got, n)
				mu.Unlock()
			}
		})
		slices.Sort(got)
		if want := oneTo(200); !slices.Equal(got, want) {
			t.Errorf("numbers = %v; want 1 to 200", got)
		}
	})
}

func oneTo(n int64) (all []int64) {
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

func TestLayerNumbersAreNotReused(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		id := layerID("geo")
		for range 2 {
			publishLayer(t, s, id, nil)
		}
		for n := range int64(2) {
			update(t, s, func(tx *Tx) error {
				existed, err := tx.DeleteLayerVersion(t.Context(), id, n+1)
				if !existed {
					t.Errorf("DeleteLayerVersion(%d) = false; want true", n+1)
				}
				return err
			})
		}
		if got := publishLayer(t, s, id, nil).Number; got != 3 {
			t.Errorf("number after deleting 1 and 2 = %d; want 3", got)
		}

		errGiveUp := errors.New("give up")
		err := s.Update(t.Context(), func(tx *Tx) error {
			if _, err := tx.NextLayerNumber(t.Context(), id); err != nil {
				return err
			}
			return errGiveUp
		})
		if !errors.Is(err, errGiveUp) {
			t.Errorf("Update = %v; want %v", err, errGiveUp)
		}
		if got := publishLayer(t, s, id, nil).Number; got != 4 {
			t.Errorf("number after a rolled back publish = %d; want 4", got)
		}
	})
}

func TestLayerVersionRoundTrip(t *testing.T) {
	full := layerVersion(layerID("geo"), 1)
	full.Description, full.LicenseInfo = "maps", pointer("MIT")
	cases := map[string]func(*lamina.LayerVersion){
		"all members":                func(*lamina.LayerVersion) {},
		"lists absent":               func(v *lamina.LayerVersion) { v.Runtimes, v.Architectures = nil, nil },
		"lists empty":                func(v *lamina.LayerVersion) { v.Runtimes, v.Architectures = []string{}, []string{} },
		"license absent":             func(v *lamina.LayerVersion) { v.LicenseInfo = nil },
		"license empty":              func(v *lamina.LayerVersion) { v.LicenseInfo = pointer("") },
		"order of lists as sent":     func(v *lamina.LayerVersion) { v.Architectures = []string{"x86_64", "arm64"} },
		"a runtime twice":            func(v *lamina.LayerVersion) { v.Runtimes = []string{"java21", "java21"} },
		"quotes, NUL-free any text":  func(v *lamina.LayerVersion) { v.Description = "it's \"ü\" \\ $1 ? %" },
		"version of another account": func(v *lamina.LayerVersion) { v.Layer.Account = "999999999999" },
	}
	onBoth(t, func(t *testing.T, s *Store) {
		i := 0
		for name, change := range cases {
			i++
			v := full
			v.Layer.Name = fmt.Sprint("geo", i)
			change(&v)
			update(t, s, func(tx *Tx) error {
				if _, err := tx.NextLayerNumber(t.Context(), v.Layer); err != nil {
					return err
				}
				return tx.InsertLayerVersion(t.Context(), v)
			})
			got := get(t, s, func(tx *Tx) (lamina.LayerVersion, error) { return tx.LayerVersion(t.Context(), v.Layer, 1) })
			if diff := cmp.Diff(v, got); diff != "" {
				t.Errorf("%s: LayerVersion differs (-want +got):\n%s", name, diff)
			}
			update(t, s, func(tx *Tx) error {
				got, err := tx.LockLayerVersion(t.Context(), v.Layer, 1)
				if diff := cmp.Diff(v, got); diff != "" {
					t.Errorf("%s: LockLayerVersion differs (-want +got):\n%s", name, diff)
				}
				return err
			})
		}
	})
}

// fitting fills two layers:
//
//	alpha: 1 python arm64, 2 python x86_64, 3 node arm64, 4 undeclared
//	beta:  1 python, 2 arm64 and x86_64
//	gamma: 1 python arm64, deleted
func fitting(t *testing.T, s *Store) {
	declare := func(runtimes, architectures []string) func(*lamina.LayerVersion) {
		return func(v *lamina.LayerVersion) { v.Runtimes, v.Architectures = runtimes, architectures }
	}
	python, node := []string{"python3.12", "python3.13"}, []string{"nodejs22.x"}
	arm, intel := []string{"arm64"}, []string{"x86_64"}
	publishLayer(t, s, layerID("alpha"), declare(python, arm))
	publishLayer(t, s, layerID("alpha"), declare(python, intel))
	publishLayer(t, s, layerID("alpha"), declare(node, arm))
	publishLayer(t, s, layerID("alpha"), declare(nil, nil))
	publishLayer(t, s, layerID("beta"), declare(python, nil))
	publishLayer(t, s, layerID("beta"), declare([]string{}, []string{"arm64", "x86_64"}))
	publishLayer(t, s, layerID("gamma"), declare(python, arm))
	update(t, s, func(tx *Tx) error {
		_, err := tx.DeleteLayerVersion(t.Context(), layerID("gamma"), 1)
		return err
	})
	for _, other := range []lamina.Scope{{Account: scope.Account, Region: "us-east-1"}, {Account: "999999999999", Region: scope.Region}} {
		publishLayer(t, s, lamina.LayerID{Scope: other, Name: "alpha"}, nil)
		publishLayer(t, s, lamina.LayerID{Scope: other, Name: "other"}, nil)
	}
}

func TestLayerFilters(t *testing.T) {
	cases := []struct {
		name   string
		filter LayerFilter
		alpha  []int64
		layers []string
	}{
		{"no filter", LayerFilter{}, []int64{4, 3, 2, 1}, []string{"alpha:4", "beta:2"}},
		{"runtime", LayerFilter{Runtime: "python3.13"}, []int64{2, 1}, []string{"alpha:2", "beta:1"}},
		{"architecture", LayerFilter{Architecture: "arm64"}, []int64{3, 1}, []string{"alpha:3", "beta:2"}},
		{"both in one version", LayerFilter{"python3.12", "arm64"}, []int64{1}, []string{"alpha:1"}},
		{"both but in no version", LayerFilter{"nodejs22.x", "x86_64"}, nil, nil},
		{"unknown runtime", LayerFilter{Runtime: "cobol"}, nil, nil},
	}
	onBoth(t, func(t *testing.T, s *Store) {
		fitting(t, s)
		for _, c := range cases {
			alpha := get(t, s, func(tx *Tx) ([]lamina.LayerVersion, error) {
				return tx.LayerVersions(t.Context(), layerID("alpha"), c.filter, 0, 50)
			})
			if got := layerNumbers(alpha); !slices.Equal(got, c.alpha) {
				t.Errorf("%s: LayerVersions(alpha) = %v; want %v", c.name, got, c.alpha)
			}
			for _, limit := range []int{50, 1} {
				var layers []string
				for after := ""; ; {
					page := get(t, s, func(tx *Tx) ([]lamina.LayerVersion, error) {
						return tx.Layers(t.Context(), scope, c.filter, after, limit)
					})
					for _, v := range page {
						layers = append(layers, fmt.Sprintf("%s:%d", v.Layer.Name, v.Number))
						after = v.Layer.Name
					}
					if len(page) < limit {
						break
					}
				}
				if !slices.Equal(layers, c.layers) {
					t.Errorf("%s: Layers by %d = %v; want %v", c.name, limit, layers, c.layers)
				}
			}
		}
	})
}

func TestLayerVersionPages(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		for range 7 {
			publishLayer(t, s, layerID("geo"), nil)
		}
		for _, filter := range []LayerFilter{{}, {Runtime: "python3.12", Architecture: "arm64"}} {
			var got [][]int64
			for before := int64(0); ; {
				page := get(t, s, func(tx *Tx) ([]lamina.LayerVersion, error) {
					return tx.LayerVersions(t.Context(), layerID("geo"), filter, before, 3)
				})
				if len(page) == 0 {
					break
				}
				got = append(got, layerNumbers(page))
				before = page[len(page)-1].Number
			}
			if diff := cmp.Diff([][]int64{{7, 6, 5}, {4, 3, 2}, {1}}, got); diff != "" {
				t.Errorf("pages with %v (-want +got):\n%s", filter, diff)
			}
		}
	})
}

// TestNamesOrderByBytes: a locale of PostgreSQL would ignore case and hyphens,
// and pages would differ between the databases.
func TestNamesOrderByBytes(t *testing.T) {
	want := []string{"A-b", "B", "Z_z", "_x", "a", "a-b", "a_b", "ab"}
	onBoth(t, func(t *testing.T, s *Store) {
		for _, name := range want {
			publishLayer(t, s, layerID(name), nil)
			createFunction(t, s, functionID(name))
		}
		var layers, functions []string
		view(t, s, func(tx *Tx) error {
			for after := ""; ; {
				page, err := tx.Layers(t.Context(), scope, LayerFilter{}, after, 3)
				if err != nil || len(page) == 0 {
					return err
				}
				for _, v := range page {
					layers = append(layers, v.Layer.Name)
				}
				after = layers[len(layers)-1]
			}
		})
		view(t, s, func(tx *Tx) error {
			for after := ""; ; {
				page, err := tx.Functions(t.Context(), scope, after, 3)
				if err != nil || len(page) == 0 {
					return err
				}
				for _, v := range page {
					functions = append(functions, v.Function.Name)
				}
				after = functions[len(functions)-1]
			}
		})
		if !slices.Equal(layers, want) {
			t.Errorf("layers = %v; want %v", layers, want)
		}
		if !slices.Equal(functions, want) {
			t.Errorf("functions = %v; want %v", functions, want)
		}
	})
}

func TestDeleteLayerVersion(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		id := layerID("geo")
		v := publishLayer(t, s, id, nil)
		p := lamina.Policy{Resource: v.ARN(), RevisionID: "r", Statements: []lamina.Statement{{Sid: "s"}}}
		update(t, s, func(tx *Tx) error { return tx.PutPolicy(t.Context(), p) })
		for _, want := range []bool{true, false} {
			update(t, s, func(tx *Tx) error {
				existed, err := tx.DeleteLayerVersion(t.Context(), id, 1)
				if existed != want {
					t.Errorf("DeleteLayerVersion = %t; want %t", existed, want)
				}
				return err
			})
		}
		view(t, s, func(tx *Tx) error {
			if _, err := tx.LayerVersion(t.Context(), id, 1); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("LayerVersion = %v; want ErrNotFound", err)
			}
			if _, err := tx.Policy(t.Context(), v.ARN()); !errors.Is(err, lamina.ErrNotFound) {
				t.Errorf("Policy = %v; want ErrNotFound", err)
			}
			return nil
		})
	})
}

// TestAttachAgainstDelete: whoever comes first, a function never holds a layer
// whose bytes a sweep may take, and a deleted version is never attached.
func TestAttachAgainstDelete(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		id := layerID("geo")
		latest := createFunction(t, s, functionID("hello"))
		for i := range 30 {
			v := publishLayer(t, s, id, func(v *lamina.LayerVersion) { v.Digest = digest(i) })
			var attached bool
			together(2, func(who int) {
				err := s.Update(t.Context(), func(tx *Tx) error {
					if who == 0 {
						_, err := tx.DeleteLayerVersion(t.Context(), id, v.Number)
						return err
					}
					locked, err := tx.LockLayerVersion(t.Context(), id, v.Number)
					if err != nil {
						return err
					}
					attach := latest
					attach.Config.Layers = []lamina.AttachedLayer{{ARN: locked.ARN(), Digest: locked.Digest}}
					return tx.PutFunctionVersion(t.Context(), attach)
				})
				switch {
				case err == nil && who == 1:
					attached = true
				case err != nil && (who == 0 || !errors.Is(err, lamina.ErrNotFound)):
					t.Errorf("round %d, writer %d: %v", i, who, err)
				}
			})
			if got := get(t, s, func(tx *Tx) (bool, error) { return tx.Referenced(t.Context(), v.Digest) }); got != attached {
				t.Errorf("round %d: Referenced = %t; want %t, as attached", i, got, attached)
			}
		}
	})
}

func TestRaiseLayerNumber(t *testing.T) {
	onBoth(t, func(t *testing.T, s *Store) {
		id := layerID("pulled")
		raise := func(n, before int64) {
			t.Helper()
			update(t, s, func(tx *Tx) error {
				got, err := tx.RaiseLayerNumber(t.Context(), id, n)
				if got != before {
					t.Errorf("RaiseLayerNumber(%d) = %d; want %d", n, got, before)
				}
				return err
			})
		}
		raise(7, 0)
		raise(3, 7)
		raise(7, 7)
		if got := publishLayer(t, s, id, nil).Number; got != 8 {
			t.Errorf("number after 7 was reached = %d; want 8", got)
		}
		raise(9, 8)
		update(t, s, func(tx *Tx) error { return tx.InsertLayerVersion(t.Context(), layerVersion(id, 9)) })

		// Those whose account is not here are what was pulled.
		update(t, s, func(tx *Tx) error {
			all, err := tx.PulledLayerVersions(t.Context(), 2)
			var got []string
			for _, v := range all {
				got = append(got, v.ARN())
			}
			if want := []string{id.VersionARN(8), id.VersionARN(9)}; !slices.Equal(got, want) {
				t.Errorf("PulledLayerVersions(2) = %q; want %q", got, want)
			}
			if err != nil {
				return err
			}
			return tx.InsertAccount(t.Context(), Account{ID: id.Account})
		})
		update(t, s, func(tx *Tx) error {
			all, err := tx.PulledLayerVersions(t.Context(), 10)
			if len(all) > 0 {
				t.Errorf("PulledLayerVersions() with the account here = %d; want none", len(all))
			}
			return err
		})
	})
}
