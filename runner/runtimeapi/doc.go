// Package runtimeapi answers one question: how do the invocations reach the
// process of one sandbox, and its answers come back? It is AWS's Runtime API,
// version 2018-06-01, for one environment that runs one invocation at a time.
//
//	runner                      Session                        runtime process
//	                              <- GET  invocation/next ------ parks
//	Deliver ------------------->  -- 200, request ID, event --->
//	                              <- POST invocation/{id}/response
//	<- Outcomes: Responded -----  -- 202 ---------------------->
//	                              <- GET  invocation/next ------ parks
//
// An invocation that is delivered before the runtime asks waits for it, so that
// a cold start costs no extra turn. Deliver writes to the parked connection
// itself, and the connection's goroutine hands the outcome straight back: a warm
// invocation wakes two goroutines, not four.
//
// The process is not trusted. Lines, headers, bodies and connections are
// bounded, a body is stored only for the invocation that is running, and what
// is out of order gets the status that AWS documents.
//
// What a timeout, an exit or a log line means is the business of package runner.
package runtimeapi
