// Package traces answers where the time of a request went: it makes spans of
// requests, invocations and cold starts, and sends them to a collector of
// OpenTelemetry, as OTLP over HTTP in JSON. A collector that is slow or gone costs
// spans, never an invocation.
//
// A walk: a request begins ([Tracer.Request]), its invocation begins
// ([Tracer.Invoke]) and gets a trace header that makes what the function does part
// of it, both end, and their spans go to a queue that [Tracer.Run] empties.
package traces
