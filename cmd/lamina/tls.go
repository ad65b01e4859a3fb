package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lamina-run/lamina/certificates"
	"github.com/lamina-run/lamina/internal/fsx"
)

// doors are the listeners of a server.
type doors struct {
	public   net.Listener
	local    net.Listener // plain, for functions and the operator's verbs; the public one without TLS
	endpoint string       // URL of the public one
	trust    string       // file with the authority that clients have to trust, or empty
}

// open listens where the settings say.
func (s *settings) open() (d doors, err error) {
	l, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return d, hint(fmt.Errorf("listen: %w", err), "choose another address with --listen; port 0 takes a free one")
	}
	d.public, d.local, d.endpoint = l, l, endpointURL("http", l.Addr().String())
	if !s.TLS && s.TLSCertificate == "" {
		return d, nil
	}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	source, err := s.certificates()
	if err != nil {
		return d, hint(err, "check --tls-certificate and --tls-key, or the directory %s", s.file(tlsDir))
	}
	// What functions say to the server stays on this host, and so does what the
	// verbs say: neither has to know whom the certificate was issued to.
	if d.local, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return d, fmt.Errorf("listen for functions: %w", err)
	}
	d.public = tls.NewListener(l, certificates.Config(source))
	d.endpoint = endpointURL("https", l.Addr().String())
	if s.TLSCertificate == "" {
		d.trust = filepath.Join(s.file(tlsDir), certificates.AuthorityFile)
	} else if name := source.Name(); name != "" {
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return d, fmt.Errorf("listen: %w", err)
		}
		d.endpoint = endpointURL("https", net.JoinHostPort(name, port))
	}
	return d, nil
}

func (s *settings) certificates() (certificates.Source, error) {
	if s.TLSCertificate != "" {
		return certificates.FromFiles(s.TLSCertificate, s.TLSKey, time.Now)
	}
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	host, _, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		hosts = append(hosts, host)
	}
	hosts = append(hosts, s.TLSName...)
	slices.Sort(hosts[3:])
	return certificates.MakeOwn(s.file(tlsDir), slices.Compact(hosts), time.Now)
}

// all are the listeners, each once.
func (d doors) all() []net.Listener {
	if d.local == d.public {
		return []net.Listener{d.public}
	}
	return []net.Listener{d.public, d.local}
}

func (d doors) close() {
	for _, l := range d.all() {
		l.Close() // again after Serve closed it: harmless
	}
}

// tell leaves word of the listeners in the data directory.
func (d doors) tell(s *settings) error {
	text := d.endpoint + "\n"
	if d.trust != "" {
		text += d.trust + "\n"
	}
	if err := fsx.WriteFile(s.file(endpointFile), []byte(text), 0o644); err != nil {
		return err
	}
	return fsx.WriteFile(s.file(localFile), []byte(endpointURL("http", d.local.Addr().String())+"\n"), 0o644)
}

// told is what tell left: the URL, and the file with the authority to trust, if any.
func (s *settings) told() (endpoint, trust string, err error) {
	text, err := os.ReadFile(s.file(endpointFile))
	if err != nil {
		return "", "", hint(fmt.Errorf("read the endpoint: %w", err), "start the server first: lamina serve --data %s", s.Data)
	}
	endpoint, trust, _ = strings.Cut(strings.TrimSpace(string(text)), "\n")
	return endpoint, trust, nil
}
