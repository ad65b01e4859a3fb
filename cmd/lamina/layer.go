package main

type layerVerbs struct {
	Build buildLayerVerb `cmd:"" help:"Build the zip of a layer from a list of dependencies, or from a directory."`
}
