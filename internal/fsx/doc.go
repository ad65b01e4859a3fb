// Package fsx answers how files are written so that a crash leaves the old or
// the new, and so that hostile names stay inside a directory. What is written,
// and why, is for the callers to know: blob keeps archives with it, runner/layer
// unpacks them, cmd/lamina locks the data directory.
package fsx
