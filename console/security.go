package console

import (
	"crypto/subtle"
	"net"
	"net/http"
	"strings"
)

// protect sets the headers that keep what others stored from acting in our name:
// scripts and styles of ours only, by the nonce of this answer, no frames, no
// forms that lead elsewhere, nothing kept in shared caches.
func (v *visit) protect() {
	h := v.w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-"+v.nonce+"'; style-src 'nonce-"+v.nonce+"'; img-src 'self'; connect-src 'self'; "+
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types lamina")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// uploadBytes bounds the body of a form: an archive as large as the limit has it,
// and 14 MB for the rest.
func (c *Console) uploadBytes() int64 { return c.o.Limits.ZippedUpload + 14<<20 }

// strangerBytes bounds the body of a form of somebody who has not signed in.
const strangerBytes = 64 << 10

// formMemory is what of an upload stays in memory; the rest is a file that goes
// with the request.
const formMemory = 1 << 20

// errForm is told of forms that are not from our pages.
var errForm = &refusal{
	Status: http.StatusForbidden, Code: "InvalidForm",
	Message: "The form is not from this session. Go back, reload the page and send it again.",
}

// shows reports whether a request only shows something.
func (v *visit) shows() bool {
	return v.req.Method == http.MethodGet || v.req.Method == http.MethodHead
}

// checkSender lets through what only shows something, and forms that, as far as the
// browser says where they come from, our own pages sent.
func (v *visit) checkSender() error {
	if !v.shows() && v.origin.Check(v.req) != nil {
		return errForm
	}
	return nil
}

// checkForm reads a form, which has to know the session's token, in its field csrf
// or in the header X-Csrf-Token.
func (v *visit) checkForm() error {
	if v.shows() {
		return nil
	}
	most := int64(strangerBytes)
	if v.session.KeyID != "" {
		most = v.uploadBytes()
	}
	v.req.Body = http.MaxBytesReader(v.w, v.req.Body, most)
	var err error
	if strings.HasPrefix(v.req.Header.Get("Content-Type"), "multipart/form-data") {
		err = v.req.ParseMultipartForm(formMemory)
	} else {
		err = v.req.ParseForm()
	}
	if err != nil {
		return &refusal{Status: http.StatusRequestEntityTooLarge, Code: "RequestTooLarge", Message: "The form could not be read: " + err.Error() + "."}
	}
	got := v.req.Header.Get("X-Csrf-Token")
	if got == "" {
		got = v.req.PostForm.Get("csrf")
	}
	if got == "" || subtle.ConstantTimeCompare([]byte(got), []byte(v.session.CSRF)) != 1 {
		return errForm
	}
	return nil
}

// sourceOf is the IP address of the browser.
func sourceOf(req *http.Request) string {
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		return req.RemoteAddr
	}
	return host
}
