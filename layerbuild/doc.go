// Package layerbuild answers what the archive of a layer is that a list of
// dependencies, or a directory, makes for one runtime and architecture. It asks
// the package manager that the user has, in a directory of its own, and makes of
// what that leaves a zip whose bytes depend on the packages alone: not on the
// day, the directory, the user or the machine. What a layer is when it is
// published is for others to know; what unpacks it need not trust this package.
//
// A build goes from [Find] (what is SOURCE?) over one file per language, which
// returns a [tree], through trimming and compiling, to the zip and its sizes.
package layerbuild
