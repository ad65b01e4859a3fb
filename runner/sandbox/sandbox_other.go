//go:build !linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

var errLinux = errors.New("running functions needs Linux")

// Pool is what [NewPool] would return on Linux.
type Pool struct{}

// Sandbox is what [Pool.Start] would return on Linux.
type Sandbox struct{}

// Images is what [OpenImages] would return on Linux.
type Images struct{}

// OpenImages fails: mounting images needs Linux.
func OpenImages() (*Images, error) { return nil, errLinux }

// NewPool fails: running functions needs Linux.
func NewPool(Options) (*Pool, error) { return nil, errLinux }

// Init exits: there is nothing to become.
func Init() {
	fmt.Fprintln(os.Stderr, "lamina: "+errLinux.Error())
	os.Exit(1)
}

// Spawn exits, like Init.
func Spawn() { Init() }

// Probe reports that nothing is usable.
func Probe(context.Context) Report {
	return Report{Checks: []Check{{
		Name: "linux", Detail: errLinux.Error(), Hint: "run the server in a Linux virtual machine or container",
	}}}
}

// DefaultNetwork is none: there are no sandboxes.
func DefaultNetwork() (Network, error) { return NetworkNone, errLinux }

func (m *Images) Mount(string) (string, func() error, error) { return "", nil, errLinux }

func (m *Images) Close() error { return nil }

func (p *Pool) Run(context.Context) error { return errLinux }

func (p *Pool) Parked() int { return 0 }

func (p *Pool) Start(context.Context, Spec) (*Sandbox, error) { return nil, errLinux }

func (s *Sandbox) Exec(context.Context, Process) error { return errLinux }

func (s *Sandbox) Extensions() []string { return nil }

func (s *Sandbox) Signal(context.Context, string, syscall.Signal) error { return errLinux }

func (s *Sandbox) Dial(context.Context, int) (net.Conn, error) { return nil, errLinux }

func (s *Sandbox) Listener() net.Listener { return nil }

func (s *Sandbox) Output() *os.File { return nil }

func (s *Sandbox) Exited() <-chan Exit { return nil }

func (s *Sandbox) KillProcesses(context.Context) error { return errLinux }

func (s *Sandbox) PeakMemory() (int64, error) { return 0, errLinux }

func (s *Sandbox) Idle(time.Duration) {}

func (s *Sandbox) Wake() error { return errLinux }

func (s *Sandbox) LimitCPU() error { return errLinux }

func (s *Sandbox) OutOfMemory() bool { return false }

func (s *Sandbox) Close() error { return nil }
