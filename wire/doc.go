// Package wire answers how the API of AWS Lambda looks on the wire: which
// operation a request asks for, how its members travel in path, query, headers
// and body, what they must satisfy, and how outputs and exceptions are written.
// It is the REST-JSON protocol and nothing else: what an operation does is
// decided by the functions given to [Handle].
//
// The shapes, the operation table and the exceptions in zz_model.go are
// generated from the service model; the engine beside them reads their tags.
//
//	r := wire.NewRouter(wire.Options{Log: log, Stage: stage})
//	wire.Handle(r, "PublishVersion", plane.PublishVersion)
//	http.Handle("/", r)
//
// Members that may be absent are pointers, slices and maps: nil is absent, and
// an empty slice or map is an explicit empty one, in requests and in answers.
// Required scalars are plain values: a request without them is refused before
// its handler is called.
package wire
