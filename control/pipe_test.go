package control

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"testing/synctest"
)

func TestPipe(t *testing.T) {
	t.Parallel()
	t.Run("what is written is read, in order and in bounded memory", func(t *testing.T) {
		t.Parallel()
		p := newPipe()
		want := make([]byte, 20*pipeRoom)
		for i := range want {
			want[i] = byte(rand.Uint32())
		}
		go func() {
			defer p.End()
			for rest := want; len(rest) > 0; {
				n := min(len(rest), 1+rand.IntN(2*pipeRoom))
				if err := p.Write(rest[:n]); err != nil {
					t.Errorf("Write = %v", err)
				}
				rest = rest[n:]
			}
		}()
		var got []byte
		for b := p.next(); b != nil; b = p.next() {
			if len(b) > pipeRoom {
				t.Errorf("next = %d bytes; want at most %d", len(b), pipeRoom)
			}
			got = append(got, b...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("read %d bytes, not the %d that were written", len(got), len(want))
		}
	})
	t.Run("a write that waits fails at the end", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPipe()
			if err := p.Write(make([]byte, pipeRoom)); err != nil {
				t.Fatal(err)
			}
			failed := make(chan error, 1)
			go func() { failed <- p.Write([]byte("x")) }()
			synctest.Wait()
			select {
			case err := <-failed:
				t.Fatalf("Write into a full pipe = %v; want it to wait", err)
			default:
			}
			p.End()
			if err := <-failed; err == nil {
				t.Error("Write after End = nil; want an error")
			}
			if b := p.next(); len(b) != pipeRoom {
				t.Errorf("next after End = %d bytes; want the %d from before", len(b), pipeRoom)
			}
			if b := p.next(); b != nil {
				t.Errorf("next at the end = %d bytes; want nil", len(b))
			}
		})
	})
	t.Run("a reader that is gone frees the writer and the memory", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			p := newPipe()
			failed := make(chan error, 1)
			go func() { failed <- p.Write(make([]byte, 3*pipeRoom)) }()
			synctest.Wait()
			p.abandon()
			if err := <-failed; err == nil {
				t.Error("Write after abandon = nil; want an error")
			}
			if b := p.next(); b != nil {
				t.Errorf("next after abandon = %d bytes; want nil", len(b))
			}
			p.End() // a second end is none
		})
	})
}
