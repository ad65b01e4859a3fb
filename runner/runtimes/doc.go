// Package runtimes answers one question per language: what does a function of
// this runtime find when it starts? That is its interpreter, which is looked for
// on the host and shown at /var/lang; Lamina's own client of the Runtime API,
// shown at /var/runtime; the environment; and the program to start.
//
//	runtimes := runtimes.New(…)                 looks at nothing yet
//	runtimes.Launch(ctx, request)               finds the interpreter, once
//	-> Launch{Path, Args, Env, Binds, Masks}    plain data for package runner
//
// Each language has a folder with its client and a file that says where its
// interpreters are and what its environment adds: python, nodejs, ruby, java. That
// of Java is compiled: see java/jargen. docs/runtimes.md tells users what to expect.
// The directories of code and layers, and the sandbox, are the caller's.
package runtimes
