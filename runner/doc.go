// Package runner answers one question: what comes of an invocation? It keeps the
// environments of each version, in each of which one process runs one
// invocation at a time, and turns what happens there into a [lamina.Result].
//
//	Invoke(invocation)
//	  take     an idle environment of this very version, the last used first;
//	           or a slot for a new one; or wait for either
//	  start    archives from the layer cache, a sandbox
//	  begin    external extensions and, when all have registered, the runtime's process
//	  deliver  START; the event goes to the process through its Runtime API
//	  await    a response, an error, the process's exit or the deadline
//	  settle   extensions finish; the caller has its response already
//	  report   what was printed meanwhile, END, REPORT
//	  put      the environment back, or close it
//
// A function that fails, times out or exits gives a Result, not an error. A
// process that timed out or exited is started again for the next invocation, in
// the same sandbox with the same /tmp. An initialization that fails is repeated
// once, as part of the invocation. Extensions are told why they end, and have
// until then to do so.
//
// How a process is confined is the business of package sandbox, how archives
// become directories that of package layer, what a language needs that of
// package runtimes, HTTP towards the processes that of package runtimeapi, and
// what extensions learn that of package telemetry.
package runner
