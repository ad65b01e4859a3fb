// Package metrics answers how often functions ran, how that went and how long it
// took: in the last three hours by the minute, in the last two weeks by the hour,
// and since the server started. It keeps all of it in bounded memory; a restart
// forgets it. Who may see what is package server's question.
//
// A walk: control calls [Metrics.Begin] when an invocation begins, and what that
// returned when it ends. Both touch the one function's minute, under its own
// mutex. When the minute is over it is packed, and counts towards the hour.
package metrics
