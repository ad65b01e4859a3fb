package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/lamina-run/lamina/control"
	"github.com/lamina-run/lamina/identity"
	"github.com/lamina-run/lamina/objects"
	"github.com/lamina-run/lamina/objects/embedded"
	"github.com/lamina-run/lamina/objects/endpoint"
	"github.com/lamina-run/lamina/server"
	"github.com/lamina-run/lamina/store"
)

// s3 is where archives are read from, and what answers to the signing name s3.
type s3 struct {
	objects   control.Objects // nil for none
	front     server.S3
	own       *embedded.Child // nil unless it is Lamina's own
	functions *notified
}

// notified are the functions that S3 tells of objects. The plane is made after
// S3, which it reads from, and before the first request.
type notified struct{ *control.Plane }

// openS3 opens Lamina's own S3, whose process begins with the first request, or
// the one that the settings name.
func (c *settings) openS3(root identity.Credentials, db *store.Store, authority *identity.Authority, log *slog.Logger) (*s3, error) {
	out := &s3{functions: &notified{}}
	o := endpoint.Options{
		Store: db, Authority: authority, Functions: out.functions, Log: log, Now: time.Now, Hosts: c.s3Hosts(), Owner: embedded.Owner,
	}
	switch {
	case c.S3Endpoint != "":
		other := objects.Options{Endpoint: c.S3Endpoint, Now: time.Now, Proxy: http.ProxyFromEnvironment}
		other.AccessKeyID, other.SecretAccessKey = keyOr(root, c.S3AccessKeyID, c.S3SecretAccessKey)
		external, err := objects.New(other)
		if err != nil {
			return nil, hint(fmt.Errorf("open S3: %w", err), "check --s3-endpoint")
		}
		out.objects = external
		out.front = endpoint.NewElsewhere(o, "This server keeps no objects: it reads them from the S3 at "+c.S3Endpoint+". Ask that one.")
	case !c.S3:
		out.front = endpoint.NewElsewhere(o, "This server has no S3: it runs with --no-s3.")
	default:
		out.own = embedded.New(embedded.Options{Dir: c.file("s3"), Log: log})
		o.Backend = out.own
		served := endpoint.New(o)
		out.objects, out.front = served, served
	}
	return out, nil
}

// s3Hosts are the names under which clients reach the server.
func (c *settings) s3Hosts() objects.Hosts {
	hosts := objects.Hosts(c.TLSName)
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && host != "" {
		hosts = append(hosts[:len(hosts):len(hosts)], host)
	}
	return hosts
}
