package server

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lamina-run/lamina"
)

// Archives opens the archive with a digest; lamina.ErrNotFound when there is none.
type Archives interface {
	OpenArchive(ctx context.Context, d lamina.Digest) (io.ReadSeekCloser, error)
}

// Links makes and checks the links of Content.Location and Code.Location. A link
// downloads one archive, needs no credentials, and expires.
type Links struct {
	Key  []byte // secret of this installation; the same after a restart
	Life time.Duration
	Now  func() time.Time
}

const (
	archivePath = "/archives/"
	linkDate    = "20060102T150405Z"
)

// isLink reports whether a request is for an archive, rather than for an object in
// a bucket that has the name of the path, which is signed or has no digest's name.
func isLink(req *http.Request) bool {
	name, ok := strings.CutPrefix(req.URL.Path, archivePath)
	if !ok || req.Header.Get("Authorization") != "" || strings.Contains(req.URL.RawQuery, "X-Amz-Credential=") {
		return false
	}
	_, err := lamina.ParseDigest(name)
	return err == nil
}

type baseKey struct{}

// withBase remembers the address under which the client reached the server, so
// that links lead back the same way.
func withBase(ctx context.Context, req *http.Request) context.Context {
	scheme := "http://"
	if req.TLS != nil {
		scheme = "https://"
	}
	return context.WithValue(ctx, baseKey{}, scheme+req.Host)
}

// Location returns a link to the archive for the client of the request in ctx.
func (l *Links) Location(ctx context.Context, d lamina.Digest) string {
	base, _ := ctx.Value(baseKey{}).(string)
	date := l.Now().UTC().Format(linkDate)
	life := strconv.FormatInt(int64(l.Life/time.Second), 10)
	return base + archivePath + d.String() + "?X-Amz-Date=" + date + "&X-Amz-Expires=" + life +
		"&X-Amz-Signature=" + l.signature(d.String(), date, life)
}

func (l *Links) signature(digest, date, life string) string {
	mac := hmac.New(sha256.New, l.Key)
	mac.Write([]byte("archive\n" + digest + "\n" + date + "\n" + life))
	return hex.EncodeToString(mac.Sum(nil))
}

// check returns the digest that a link is for, if the link was made here and has
// not expired.
func (l *Links) check(u *url.URL) (lamina.Digest, bool) {
	name := strings.TrimPrefix(u.Path, archivePath)
	q := u.Query()
	date, life := q.Get("X-Amz-Date"), q.Get("X-Amz-Expires")
	if !hmac.Equal([]byte(q.Get("X-Amz-Signature")), []byte(l.signature(name, date, life))) {
		return lamina.Digest{}, false
	}
	made, err := time.Parse(linkDate, date)
	if err != nil {
		return lamina.Digest{}, false
	}
	seconds, err := strconv.ParseInt(life, 10, 32)
	if err != nil || !l.Now().Before(made.Add(time.Duration(seconds)*time.Second)) {
		return lamina.Digest{}, false
	}
	d, err := lamina.ParseDigest(name)
	return d, err == nil
}

// download serves the very bytes that were uploaded.
func (s *Server) download(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		linkError(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource.")
		return
	}
	digest, ok := s.o.Links.check(req.URL)
	if !ok {
		linkError(w, http.StatusForbidden, "AccessDenied", "The link is not valid or has expired.")
		return
	}
	archive, err := s.o.Archives.OpenArchive(req.Context(), digest)
	switch {
	case errors.Is(err, lamina.ErrNotFound):
		linkError(w, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		return
	case err != nil:
		s.refuse(w, req, err)
		return
	}
	defer archive.Close()
	w.Header().Set("Content-Type", "application/zip")
	w.Header().Set("ETag", `"`+digest.String()+`"`)
	http.ServeContent(w, req, "", time.Time{}, archive)
}

// linkError answers as S3 does, since AWS's links lead there.
func linkError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?>`+"\n<Error><Code>"+code+"</Code><Message>"+message+"</Message></Error>") // the client is gone
}
