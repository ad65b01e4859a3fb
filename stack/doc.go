// Package stack is CloudFormation: what a stack is, and how its resources are
// made, changed and deleted. What a type of resource does is in stack/resources,
// what a template says in stack/template.
//
// An operation (CreateStack, UpdateStack, DeleteStack, …) checks what it can,
// records that the operation is under way, and returns. [Engine.Run] finds the
// stack, takes a lease on it and works until the status of the stack is one that
// lasts:
//
//	CREATE_IN_PROGRESS ──── CREATE_COMPLETE
//	      │ a resource failed
//	ROLLBACK_IN_PROGRESS ── ROLLBACK_COMPLETE
//
// Each step of a resource is recorded before it begins and when it has ended, so
// that another server, or the same one after a crash, goes on where this one was.
package stack
