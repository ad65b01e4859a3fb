// Package audit keeps who changed what: one line of JSON for each request that
// may have changed something, or was not allowed to, in files of bounded size.
package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Entry is one request. It has neither payload nor secret in it.
type Entry struct {
	Time      time.Time         `json:"time"`
	RequestID string            `json:"requestId"`
	Account   string            `json:"account"`
	Principal string            `json:"principal"` // ARN
	KeyID     string            `json:"accessKeyId"`
	Source    string            `json:"sourceIp"`
	Agent     string            `json:"userAgent,omitempty"`
	Service   string            `json:"service"`
	Region    string            `json:"region"`
	Operation string            `json:"operation"`
	Names     map[string]string `json:"request,omitempty"` // what it was about
	Status    int               `json:"status"`            // of the answer
	Code      string            `json:"errorCode,omitempty"`
}

const (
	current = "audit.jsonl"
	prefix  = "audit-"
	suffix  = ".jsonl"
	stamp   = "20060102T150405.000000000Z"

	parts    = 8         // files that the bound is shared by
	mostLine = 16 << 10  // of one entry, which no request exceeds
	MinBytes = 256 << 10 // of [Options.Bytes]
)

// Options configures a [Log].
type Options struct {
	Dir   string // made when missing, for the owner's eyes only
	Bytes int64  // of all files together; the oldest go first
	Now   func() time.Time
}

// Log appends entries. It is safe for concurrent use.
type Log struct {
	o Options

	mu   sync.Mutex
	file *os.File
	size int64
}

// Open opens the log of a directory.
func Open(o Options) (*Log, error) {
	l := &Log{o: o}
	err := os.MkdirAll(o.Dir, 0o700)
	if err == nil {
		err = l.open()
	}
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	return l, nil
}

func (l *Log) open() error {
	f, err := os.OpenFile(filepath.Join(l.o.Dir, current), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Append writes an entry, with the present time. It survives the end of this
// process when Append returns; after a power cut the last seconds may be missing.
func (l *Log) Append(e Entry) error {
	e.Time = l.o.Now().UTC()
	line, err := json.Marshal(e)
	if err == nil && len(line) > mostLine {
		e.Names, e.Agent = nil, ""
		line, err = json.Marshal(e)
	}
	if err == nil {
		err = l.append(append(line, '\n'), e.Time)
	}
	if err != nil {
		return fmt.Errorf("append to the audit log: %w", err)
	}
	return nil
}

func (l *Log) append(line []byte, at time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil { // an earlier turn failed halfway
		if err := l.open(); err != nil {
			return err
		}
	}
	if l.size > 0 && l.size+int64(len(line)) > l.o.Bytes/parts {
		if err := l.turn(at); err != nil {
			return err
		}
	}
	n, err := l.file.Write(line)
	l.size += int64(n)
	return err
}

// turn begins a new file, and removes the oldest ones. It wants l.mu.
func (l *Log) turn(at time.Time) error {
	err := l.file.Close()
	l.file = nil
	if err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(l.o.Dir, current), filepath.Join(l.o.Dir, prefix+at.Format(stamp)+suffix)); err != nil {
		return err
	}
	list, err := os.ReadDir(l.o.Dir)
	if err != nil {
		return err
	}
	var old []string
	for _, item := range list {
		if name := item.Name(); strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix) {
			old = append(old, name)
		}
	}
	slices.Sort(old)
	for len(old) > parts-1 {
		if err := os.Remove(filepath.Join(l.o.Dir, old[0])); err != nil {
			return err
		}
		old = old[1:]
	}
	return l.open()
}

// Close closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
