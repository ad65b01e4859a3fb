package store

import (
	"fmt"
	"testing"

	"github.com/lamina-run/lamina"
)

// filled has a function with all that a configuration can hold, and a layer with
// many versions, none of which fits nodejs22.x.
func filled(b *testing.B, o Options, versions int64) *Store {
	ctx := b.Context()
	s := open(b, o)
	f, v := newFunction(functionID("hello"))
	v.Config.Environment = map[string]string{"TABLE": "orders", "STAGE": "prod", "LEVEL": "info"}
	for i := range 5 {
		id := layerID(fmt.Sprint("attached", i))
		v.Config.Layers = append(v.Config.Layers, lamina.AttachedLayer{ARN: id.VersionARN(1), Digest: digest(i), CodeSize: 1, UnpackedSize: 2})
	}
	update(b, s, func(tx *Tx) error {
		if err := tx.InsertFunction(ctx, f, v); err != nil {
			return err
		}
		if err := tx.InsertAlias(ctx, lamina.Alias{Function: f.ID, Name: "prod", Target: "1"}); err != nil {
			return err
		}
		if err := tx.InsertAccount(ctx, Account{ID: "1"}); err != nil {
			return err
		}
		if err := tx.PutAccessKey(ctx, AccessKey{ID: "k", Account: "1"}); err != nil {
			return err
		}
		for n := range versions {
			if _, err := tx.NextLayerNumber(ctx, layerID("geo")); err != nil {
				return err
			}
			if err := tx.InsertLayerVersion(ctx, layerVersion(layerID("geo"), n+1)); err != nil {
				return err
			}
		}
		return nil
	})
	return s
}

func BenchmarkReads(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { benchmarkReads(b, sqliteOptions) })
	b.Run("postgres", func(b *testing.B) { benchmarkReads(b, postgresOptions) })
}

func benchmarkReads(b *testing.B, options func(testing.TB) Options) {
	ctx := b.Context()
	for _, versions := range []int64{1, 10_000} {
		s := filled(b, options(b), versions)
		none := LayerFilter{Runtime: "nodejs22.x"}
		for name, read := range map[string]func(tx *Tx) (any, error){
			"FunctionVersion": func(tx *Tx) (any, error) { return tx.FunctionVersion(ctx, functionID("hello"), 0) },
			"Alias":           func(tx *Tx) (any, error) { return tx.Alias(ctx, functionID("hello"), "prod") },
			"LayerVersion":    func(tx *Tx) (any, error) { return tx.LayerVersion(ctx, layerID("geo"), 1) },
			"AccessKey":       func(tx *Tx) (any, error) { return tx.AccessKey(ctx, "k") },
			"LayersPage":      func(tx *Tx) (any, error) { return tx.Layers(ctx, scope, LayerFilter{}, "", 50) },
			"VersionsPage":    func(tx *Tx) (any, error) { return tx.LayerVersions(ctx, layerID("geo"), LayerFilter{}, 0, 50) },
			"NoLayerFits":     func(tx *Tx) (any, error) { return tx.Layers(ctx, scope, none, "", 50) },
			"NoVersionFits":   func(tx *Tx) (any, error) { return tx.LayerVersions(ctx, layerID("geo"), none, 0, 50) },
			"Referenced":      func(tx *Tx) (any, error) { return tx.Referenced(ctx, digest(1)) },
		} {
			b.Run(fmt.Sprintf("%s/versions=%d", name, versions), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					err := s.View(ctx, func(tx *Tx) error {
						_, err := read(tx)
						return err
					})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkPublishLayerVersion(b *testing.B) {
	s := filled(b, sqliteOptions(b), 1)
	for b.Loop() {
		publishLayer(b, s, layerID("geo"), nil)
	}
}
