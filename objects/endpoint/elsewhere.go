package endpoint

import (
	"net/http"

	"github.com/lamina-run/lamina/wire"
)

// Elsewhere answers requests for S3 where there is none: that it is not here, and
// where it is. Errors of signatures are as they are at S3.
type Elsewhere struct {
	*Endpoint
	Text string // a sentence
}

// NewElsewhere returns what answers with a sentence.
func NewElsewhere(o Options, text string) *Elsewhere { return &Elsewhere{New(o), text} }

// ServeHTTP answers NotImplemented.
func (e *Elsewhere) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	wire.RecordOf(req.Context()).Operation = req.Method
	e.Refuse(w, req, errNotImplemented.messagef("%s", e.Text))
}

// Meant reports that nothing without a signature is for it.
func (*Elsewhere) Meant(*http.Request) bool { return false }
