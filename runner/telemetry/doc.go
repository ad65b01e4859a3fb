// Package telemetry answers one question: how do an environment's log lines and
// platform events reach the extensions that asked for them? It is AWS's
// Telemetry API of 2022-07-01, and the Logs API of 2020-08-15 that came before,
// from the subscription to the delivery by HTTP or TCP.
//
//	extension -- PUT /telemetry --> runtimeapi -- Subscribe --> Hub
//	runner -- Publish(event) ----> Hub ----> one buffer per subscriber
//	extension <-- POST [events] --------------- when full, old or flushed
//
// [Hub.Publish] never waits for a subscriber: buffers are bounded, what does not
// fit is counted and told as platform.logsDropped. Events from before a
// subscription are kept until subscriptions close, so that an extension sees the
// initialization that it is part of.
//
// The destination is always inside the environment: only the port of a
// subscription counts, and the caller's Dial connects it there. When events
// happen, and what they say, is the business of package runner.
package telemetry
