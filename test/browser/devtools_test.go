package browser

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lamina-run/lamina/internal/testkit"
)

// chromium is a running browser, asked in the DevTools protocol through two pipes:
// a JSON message each way, with a zero byte behind it. That is little enough that
// it needs no module.
type chromium struct {
	cmd    *exec.Cmd
	folder string
	in     *os.File

	mu      sync.Mutex
	last    int
	waiting map[int]chan answer             // one send by read, nobody closes
	heard   map[string]func(string, []byte) // by session
	ended   error
}

type answer struct {
	Result json.RawMessage
	err    error
}

// answerWithin is how long the browser may take for one command.
const answerWithin = 30 * time.Second

// startChromium starts the browser; [chromium.stop] ends it.
func startChromium() (_ *chromium, err error) {
	folder, err := os.MkdirTemp("", "lamina-browser-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(folder)
		}
	}()
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	args := []string{
		"--headless", "--remote-debugging-pipe", "--user-data-dir=" + filepath.Join(folder, "profile"), "--no-first-run", "--no-default-browser-check",
		"--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding", "--disable-breakpad",
		"--hide-scrollbars", "--mute-audio", "--font-render-hinting=none", "--force-color-profile=srgb", "--no-proxy-server", "--lang=en-US",
	}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox")
	}
	b := &chromium{folder: folder, in: in, waiting: map[int]chan answer{}, heard: map[string]func(string, []byte){}}
	b.cmd = exec.Command(testkit.Chromium(), append(args, "about:blank")...)
	b.cmd.Env = append(os.Environ(), "HOME="+folder)
	b.cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its children end with it
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	theirIn.Close()
	theirOut.Close()
	go b.read(out)
	return b, nil
}

func (b *chromium) stop() {
	_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) // it may be gone
	_ = b.cmd.Wait()                                      // killed
	os.RemoveAll(b.folder)
}

var errGone = errors.New("the browser is gone")

func (b *chromium) read(out io.Reader) {
	r := bufio.NewReaderSize(out, 1<<20)
	for {
		text, err := r.ReadBytes(0)
		if err != nil {
			b.mu.Lock()
			b.ended = errGone
			for id, c := range b.waiting {
				c <- answer{err: errGone}
				delete(b.waiting, id)
			}
			b.mu.Unlock()
			return
		}
		var m struct {
			ID        int
			SessionID string `json:"sessionId"`
			Method    string
			Params    json.RawMessage
			Result    json.RawMessage
			Error     *struct{ Message, Data string }
		}
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		c, hear := b.waiting[m.ID], b.heard[m.SessionID]
		delete(b.waiting, m.ID)
		b.mu.Unlock()
		switch {
		case m.Method != "" && hear != nil:
			hear(m.Method, m.Params)
		case c != nil && m.Error != nil:
			c <- answer{err: fmt.Errorf("%s %s", m.Error.Message, m.Error.Data)}
		case c != nil:
			c <- answer{Result: m.Result}
		}
	}
}

// call sends a command, to the browser itself when the session is empty. params
// and out may be nil.
func (b *chromium) call(session, method string, params, out any) error {
	c := make(chan answer, 1)
	b.mu.Lock()
	if b.ended != nil {
		b.mu.Unlock()
		return b.ended
	}
	b.last++
	m := map[string]any{"id": b.last, "method": method}
	if session != "" {
		m["sessionId"] = session
	}
	if params != nil {
		m["params"] = params
	}
	text, err := json.Marshal(m)
	if err == nil {
		b.waiting[b.last] = c
		_, err = b.in.Write(append(text, 0)) // under the lock: messages don't mix
	}
	b.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case a := <-c:
		if a.err != nil {
			return fmt.Errorf("%s: %w", method, a.err)
		}
		if out == nil {
			return nil
		}
		return json.Unmarshal(a.Result, out)
	case <-time.After(answerWithin):
		return fmt.Errorf("%s: no answer in %v", method, answerWithin)
	}
}

// hear has events of a session told, one after the other; what it is told with
// must not call the browser.
func (b *chromium) hear(session string, tell func(method string, params []byte)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if tell == nil {
		delete(b.heard, session)
		return
	}
	b.heard[session] = tell
}

// started is the browser of this test process.
var started struct {
	sync.Once
	b   *chromium
	err error
}

// browserOf returns the browser, which starts for the first who asks.
func browserOf(t testing.TB) *chromium {
	t.Helper()
	started.Do(func() { started.b, started.err = startChromium() })
	if started.err != nil {
		t.Fatalf("start %s: %v", testkit.Chromium(), started.err)
	}
	return started.b
}

func TestMain(m *testing.M) {
	code := m.Run()
	if started.b != nil {
		started.b.stop()
	}
	os.Exit(code)
}
