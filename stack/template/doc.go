// Package template reads CloudFormation templates: what a template says, whether
// it is well made, what its parameters may be, and what its intrinsic functions
// come to. It makes no request and has no clock; what resources are called and
// what other stacks export come in as functions.
//
// [Parse] makes plain maps of JSON or YAML. [Extend] unrolls the loops of
// AWS::LanguageExtensions. [Read] checks the maps and returns a [Template].
// [Template.Values] checks parameters, [Template.Scope] evaluates conditions with
// them, and [Scope.Resolve] evaluates everything else.
//
// Errors of type [*Error] are for the client, in AWS's words where those are known.
package template
