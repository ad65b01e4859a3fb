// Package policy answers "may they?": it reads the policy documents of AWS, and
// decides by AWS's published evaluation logic whether a request is allowed. Who
// asks was proven elsewhere, and where policies are kept is store's question: the
// package does no I/O, and the time of a request comes with the request.
//
// A decision walks through it like this. [Parse] turns a document's text into a
// [Document], or answers the text that IAM refuses it with; [FromPolicy] does the
// same for the permissions of functions and layers, without a detour through
// JSON. A Document never changes and may be shared and cached. A [Request] says
// who wants to do what to which resource, and [Policies] which documents have a
// say. [Evaluate] returns a [Decision], and [Decision.Message] the sentence for
// the client, in AWS's wording.
//
// Where AWS's documentation leaves the outcome open, because a variable or a
// value cannot be resolved, the package decides against the caller:
// docs/decisions/0010-policies.md lists the cases.
package policy
