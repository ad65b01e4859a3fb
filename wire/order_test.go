package wire

import (
	"context"
	"slices"
	"testing"
)

func TestKeysOf(t *testing.T) {
	t.Parallel()
	ctx := withDocument(t.Context(), []byte(`{"a":{"Variables":{"z":"1","a":{"b":2},"m":null}},"b":[]}`))
	for name, c := range map[string]struct {
		ctx  context.Context
		path []string
		want []string
	}{
		"in the client's order": {ctx, []string{"a", "Variables"}, []string{"z", "a", "m"}},
		"at the top":            {ctx, nil, []string{"a", "b"}},
		"no such member":        {ctx, []string{"a", "x", "y"}, nil},
		"no map":                {ctx, []string{"b"}, nil},
		"no request":            {t.Context(), []string{"a"}, nil},
	} {
		if got := KeysOf(c.ctx, c.path...); !slices.Equal(got, c.want) {
			t.Errorf("%s: KeysOf = %v; want %v", name, got, c.want)
		}
	}
}

func TestBodyFor(t *testing.T) {
	t.Parallel()
	if got := BodyFor(DefaultMaxZip); got != DefaultMaxBody {
		t.Errorf("BodyFor(DefaultMaxZip) = %d; want DefaultMaxBody, %d", got, DefaultMaxBody)
	}
}
