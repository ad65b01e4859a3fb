// Package runner answers one question: what comes of an invocation? It keeps the
// environments of each version, in each of which one process runs one
// invocation at a time, and turns what happens there into a [lamina.Result].
//
//	Invoke(invocation)
//	  take     an idle environment of this very version, the last used first;
//	           or a slot for a new one; or wait for either
//	  start    archives from the layer cache, a sandbox, the runtime's process
//	  deliver  START; the event goes to the process through its Runtime API
//	  await    a response, an error, the process's exit or the deadline
//	  report   what was printed meanwhile, END, REPORT
//	  put      the environment back, or close it
//
// A function that fails, times out or exits gives a Result, not an error. A
// process that timed out or exited is started again for the next invocation, in
// the same sandbox with the same /tmp. One that could not initialize takes its
// sandbox with it.
//
// How a process is confined is the business of package sandbox, how archives
// become directories that of package layer, what a language needs that of
// package runtimes, and HTTP towards the process that of package runtimeapi.
package runner
