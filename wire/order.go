package wire

import (
	"bytes"
	"context"
	"encoding/json"
)

type documentKey struct{}

// withDocument remembers the JSON of a request, for [KeysOf].
func withDocument(ctx context.Context, document []byte) context.Context {
	return context.WithValue(ctx, documentKey{}, document)
}

// KeysOf returns the keys of a map in the request of ctx, in the order in which
// the client wrote them, which a Go map forgets and a message of the service
// repeats. The path names members from the top. It is nil when ctx has no
// request or the request no such map.
func KeysOf(ctx context.Context, path ...string) []string {
	document, _ := ctx.Value(documentKey{}).([]byte)
	for _, name := range path {
		members, err := object(document)
		if err != nil {
			return nil
		}
		document = members[name]
	}
	dec := json.NewDecoder(bytes.NewReader(document))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil
	}
	var keys []string
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil
		}
		keys = append(keys, key.(string)) // a key is never anything else
	}
	return keys
}
