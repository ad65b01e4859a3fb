package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// terminal returns the terminal that w is, or nil.
func terminal(w io.Writer) *os.File {
	file, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if _, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ); err != nil {
		return nil
	}
	return file
}

// progressBar shows how far long work is in one line of a terminal. Where there
// is no terminal it shows nothing. It counts what is written to it, so that it can
// be the second end of an [io.TeeReader].
type progressBar struct {
	screen *os.File // nil where there is no terminal
	what   string
	total  int64 // bytes; 0 when nobody knows

	mu    sync.Mutex
	done  int64
	drawn time.Time
}

// newProgress returns a bar for so many bytes, 0 when that is unknown. The caller
// closes it before it writes to notes itself.
func newProgress(notes io.Writer, what string, total int64) *progressBar {
	return &progressBar{screen: terminal(notes), what: what, total: total}
}

// redraw is how often a bar is drawn at most.
const redraw = 80 * time.Millisecond

// Write counts the bytes.
func (p *progressBar) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += int64(len(b))
	if now := time.Now(); p.screen != nil && now.Sub(p.drawn) >= redraw {
		p.drawn = now
		p.draw()
	}
	return len(b), nil
}

func (p *progressBar) draw() {
	size, err := unix.IoctlGetWinsize(int(p.screen.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return // it was a terminal a moment ago
	}
	line := fmt.Sprintf("%9s  %s", bytesText(p.done), p.what)
	if p.total > 0 {
		done := min(p.done, p.total)
		const cells = 24
		full := int(done * cells / p.total)
		line = fmt.Sprintf("[%s%s] %3d %%  %s of %s  %s", strings.Repeat("#", full), strings.Repeat(".", cells-full),
			done*100/p.total, bytesText(done), bytesText(p.total), p.what)
	}
	if text, width := []rune(line), cmp.Or(int(size.Col), 80); len(text) >= width {
		line = string(text[:width-1])
	}
	fmt.Fprintf(p.screen, "\r%s\x1b[K", line)
}

// close takes the bar off the screen.
func (p *progressBar) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.screen != nil && !p.drawn.IsZero() {
		fmt.Fprint(p.screen, "\r\x1b[K")
	}
	p.screen = nil
}
