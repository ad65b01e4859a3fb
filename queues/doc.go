// Package queues sends messages to SQS. It knows queue ARNs and how a message is
// sent; what is in it and when it is tried again is control's question.
//
// A walk: an event failed for good, and its function names a queue for that;
// control calls [SQS.Send], which asks the endpoint for the queue's URL, once,
// and sends the message there. The query protocol is spoken, which AWS and every
// emulator understand. SQS's refusals come back as *lamina.QueueError, in SQS's
// own words.
package queues
