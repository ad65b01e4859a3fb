package wire

import (
	"context"
	"fmt"
	"reflect"
)

// Record is what a request turned out to be. Whoever serves it fills it in, for
// the audit log. It has no payload, no document and no secret in it.
type Record struct {
	Operation string
	Mutates   bool              // it may change something other than by running code
	Names     map[string]string // members that say on what, for those that mutate
	Code      string            // of the exception that was answered, empty for a success
	Trace     string            // X-Amzn-Trace-Id that the answer has; empty for none. Not for the audit log
}

type recordKey struct{}

// WithRecord gives the request of ctx a record to be filled in.
func WithRecord(ctx context.Context, r *Record) context.Context {
	return context.WithValue(ctx, recordKey{}, r)
}

// RecordOf returns the record of ctx, or one that nobody reads.
func RecordOf(ctx context.Context) *Record {
	if r, ok := ctx.Value(recordKey{}).(*Record); ok {
		return r
	}
	return &Record{}
}

// telling are the members of requests that name what they are about.
var telling = []string{
	"FunctionName", "Qualifier", "LayerName", "VersionNumber", "Name", "FunctionVersion", "UUID", "Arn", "Resource", "StatementId",
	"CodeSigningConfigArn", "Principal", "OrganizationId", "Action", "Role", "TagKeys",
}

// maxTold is the length of a name in a record.
const maxTold = 512

// Tell adds a name, unless it is empty.
func (r *Record) Tell(member, value string) {
	if value == "" {
		return
	}
	if r.Names == nil {
		r.Names = map[string]string{}
	}
	if len(value) > maxTold {
		value = value[:maxTold]
	}
	r.Names[member] = value
}

// tell adds what names something in a request.
func (r *Record) tell(in any) {
	v := reflect.ValueOf(in).Elem()
	for _, member := range telling {
		f := v.FieldByName(member)
		if f.IsValid() && f.Kind() == reflect.Pointer {
			f = f.Elem()
		}
		switch {
		case !f.IsValid():
		case f.Kind() == reflect.String:
			r.Tell(member, f.String())
		case f.Kind() == reflect.Int64:
			r.Tell(member, fmt.Sprint(f.Int()))
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.String && f.Len() > 0:
			r.Tell(member, fmt.Sprint(f.Interface()))
		}
	}
}
