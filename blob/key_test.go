package blob

import (
	"strings"
	"testing"

	"github.com/lamina-run/lamina"
)

// FuzzKey: a key is a digest's only if that digest's listing would show it, and
// nobody but Lamina would have named it so.
func FuzzKey(f *testing.F) {
	b := &Bucket{o: BucketOptions{Location: Location{Bucket: "archives", Prefix: "some/where/"}}}
	name := b.prefix(lamina.Digest{0xab, 1, 2})
	for _, key := range []string{name, name + ".XYZ", name + ".", name + "..", name + ".a/b", name + "/x", name[:len(name)-1], strings.ToUpper(name), "some/where/sha256/README", "", "sha256/" + name} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		d, ok := b.digest(key)
		if !ok {
			return
		}
		unique, found := strings.CutPrefix(key, b.prefix(d))
		if !found || strings.ContainsAny(unique, "/") || (unique != "" && (unique[0] != '.' || len(unique) < 2)) {
			t.Errorf("%q is taken for an object of %s", key, d)
		}
	})
}
