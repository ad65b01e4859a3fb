package sandbox

import (
	"errors"
	"syscall"
)

// The server and an init talk JSON over one SOCK_SEQPACKET pair, a message a
// packet. The server asks, one request at a time; the init answers each, and
// tells of exits in between:
//
//	server                              init
//	hello {uid} + fds of output, groups ->
//	                         <-------   done + listener fd     (parked)
//	                                    [+ fds of the device and the relay's listener]
//	start {mounts} + tree fds ------>
//	                         <-------   done {extensions}      (sealed)
//	exec {name, path, env} [+ output fd] ->
//	                         <-------   done [+ fd of its /proc status]
//	                         <-------   exit {name, code, signal} (any time after)
//	signal {name, signal}    ------->
//	                         <-------   done
//	socket                   ------->
//	                         <-------   done + fd of an unconnected TCP socket
//	kill                     ------->
//	                         <-------   exit, for each that ran
//	                         <-------   done
//
// End of file is each side's word for "the other is gone".
type request struct {
	Op    string        `json:"op"` // hello, start, exec, signal, socket, kill
	Hello *helloRequest `json:"hello,omitempty"`
	Start *startRequest `json:"start,omitempty"`
	Exec  *Process      `json:"exec,omitempty"`
	// Name and Signal say which process a signal is for.
	Name   string `json:"name,omitempty"`
	Signal int    `json:"signal,omitempty"`
}

type helloRequest struct {
	UID      int     `json:"uid"` // as the sandbox sees it; the group has the same number
	Rootless bool    `json:"rootless,omitempty"`
	Network  Network `json:"network,omitempty"`

	// After the output come the files of Joins control groups, to be written by
	// whoever forks functions, and with Melts the one that thaws them.
	Joins int  `json:"joins,omitempty"`
	Melts bool `json:"melts,omitempty"`
}

// fds is how many descriptors come along.
func (h *helloRequest) fds() int {
	n := 1 + h.Joins
	if h.Melts {
		n++
	}
	return n
}

type startRequest struct {
	Hostname string   `json:"hostname"`
	TmpBytes int64    `json:"tmp"`
	Mounts   []mount  `json:"mounts,omitempty"`
	Masks    []string `json:"masks,omitempty"`
	Ports    []uint16 `json:"ports,omitempty"` // on which to listen for the host's services
}

// mount is one directory or file to show inside. A server that is root makes
// the trees and sends them as file descriptors, in this order; otherwise only
// the init may mount, and Sources tells it what.
type mount struct {
	Target  string   `json:"target"`
	Sources []string `json:"sources,omitempty"` // the first wins
}

type event struct {
	Op     string     `json:"op"` // done, exit
	Err    *wireError `json:"err,omitempty"`
	Name   string     `json:"name,omitempty"`
	Code   int        `json:"code,omitempty"`
	Signal int        `json:"signal,omitempty"`
	Ports  []uint16   `json:"ports,omitempty"` // whose listeners come along, in this order
	// Extensions are the names of the files in /opt/extensions.
	Extensions []string `json:"extensions,omitempty"`
}

type wireError struct {
	Step  string `json:"step"`
	Errno int    `json:"errno,omitempty"`
	Text  string `json:"text,omitempty"`
}

func toWire(err error) *wireError {
	w := &wireError{Step: "init", Text: err.Error()}
	if e, ok := errors.AsType[*Error](err); ok {
		w.Step, w.Text = e.Step, e.Err.Error()
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		w.Errno, w.Text = int(errno), ""
	}
	return w
}

func (w *wireError) err() error {
	if w.Errno != 0 {
		return &Error{Step: w.Step, Err: syscall.Errno(w.Errno)}
	}
	return &Error{Step: w.Step, Err: errors.New(w.Text)}
}

// step names what failed, keeping only the kernel's number if there is one.
func step(name string, err error) error {
	if err == nil {
		return nil
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return &Error{Step: name, Err: errno}
	}
	return &Error{Step: name, Err: err}
}
