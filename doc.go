// Package lamina holds the nouns of AWS Lambda and the rules between them: what
// a name, an ARN, a function, a version, an alias, a layer and an invocation
// are, which of their combinations are legal, and what publishing freezes.
//
// It answers "what is it?", never "where is it kept?" or "how does it travel?":
// package store keeps the nouns, package wire gives them AWS's JSON, package
// control decides what an operation does with them, package runner executes
// them. Nothing here does I/O or reads a clock.
package lamina
