// Package sam answers what a template that uses SAM means without it: the
// transform AWS::Serverless-2016-10-31, which replaces each AWS::Serverless::Function
// by a function, its role, its version and alias and whatever its events take, and
// each AWS::Serverless::LayerVersion by a layer version that outlives changes.
//
// It makes what AWS's own translator makes, logical IDs included, since these
// decide what an update replaces; a test runs both on the same templates. What the
// translator makes by accident is made too: where it writes into what two
// functions share by Globals, so does this package. Types and events whose
// resources Lamina does not have are refused here, by their own names.
//
// [Transform] reads a template as package template parses it. It does no I/O.
package sam
