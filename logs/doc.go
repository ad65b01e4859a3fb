// Package logs keeps what functions print, and answers the operations of
// CloudWatch Logs that clients read it with. What a line is, and when it was
// printed, is the runner's question; who asks, and how a request travels, is the
// server's.
//
// A [Store] is a directory. Each log group has a directory of its own in it, with
// segments that are only ever appended to and then dropped whole, oldest first:
// when retention says so, or when all groups together would take more than the
// store may. The streams of a group share its segments, so a thousand
// environments cost no thousand files. An index beside the segments spares
// reading them at the next start; without it they tell everything themselves.
//
//	store, err := logs.Open(logs.Options{Dir: dir, Bytes: 1 << 30, Log: log, Now: time.Now})
//	go store.Run(ctx)
//	store.Write(version, stream, at, line) // quick: the disk comes later
//	answer, err := store.Answer(ctx, scope, "FilterLogEvents", body)
//
// Function output is written within some 50 milliseconds, and always before a read
// is answered. It survives the death of the server, not that of the machine: the
// kernel decides when it reaches the disk. PutLogEvents, and everything about
// groups and streams, is on the disk when it is answered.
package logs
