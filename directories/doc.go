// Package directories shows directories of the host to functions as they are,
// for development: it knows which ones the operator allows, tells one state of a
// directory from the next, and makes an archive of one. What runs from them is
// control's and runner's question.
//
// A walk: UpdateFunctionCode names the bucket hot-reload and a path; control has
// [Allowed.Check] vouch for the path and keeps its canonical form. At each
// invocation the runner asks [Allowed.Stamp] for the directory's state, and
// starts a fresh environment when it is another one. PublishVersion freezes the
// directory with [Allowed.Archive].
package directories
