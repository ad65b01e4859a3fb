// Package contents answers what is in archives, and what a function sees of its
// layers. [Read] makes a tree of a zip under the rules of [lamina.ReadArchive], so
// that it is what unpacking leaves behind. [Compare] tells two trees apart.
// [Merge] puts layers on top of each other as the sandbox does, and remembers what
// hides what. [Tree.Search] tells what a runtime finds by itself, and
// [Tree.Mistakes] what people get wrong.
//
// It reads archives and nothing else: where they come from, who may see them and
// how they are shown is its callers' business.
//
//	tree, err := contents.Read(file, size, lamina.DefaultLimits())
//	for _, e := range tree.Children("python") { … }
//	merged := contents.Merge(contents.Layer{Name: "base", Tree: tree}, …)
package contents
