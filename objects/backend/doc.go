// Package backend is the child process that keeps buckets: VersityGW's S3 server
// on its posix backend, with what Lamina promises and it does not: what was
// acknowledged is on the disk.
//
// The library changes its process's working directory and has one server per
// process, which is why it is a process of its own. The parent ([embedded]) is
// its only client, over a socket that only the server's user can reach, with a
// key made for this one run. Accounts, permissions, policies and bucket
// configurations are the parent's: to this server everything is one root's.
//
//	parent                                child (lamina s3-backend)
//	  standard input  Settings, JSON  →
//	  descriptor 3                    ←  "ready\n", or what is wrong; end of file
//	  socket          S3 over HTTP    ⇄
//	  standard input  end of file     →  exits at once: the parent is gone
//
// [embedded]: https://pkg.go.dev/github.com/lamina-run/lamina/objects/embedded
package backend
