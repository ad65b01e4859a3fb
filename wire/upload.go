package wire

import (
	"context"
	"io"
)

// Upload is a member of a body that was streamed to storage while the request
// was read. A router discards every upload after the handler has returned;
// whoever wants the bytes calls Keep before.
type Upload interface {
	io.Writer
	io.ReaderAt

	// Size is the number of bytes written.
	Size() int64
	// Sum is the SHA-256 of the bytes written.
	Sum() [32]byte
	// Keep makes the bytes durable. It is an error after Discard.
	Keep(ctx context.Context) error
	// Discard releases the bytes. It may be called again, and does nothing
	// after Keep.
	Discard() error
}
