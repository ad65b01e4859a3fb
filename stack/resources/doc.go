// Package resources is what stacks are made of: for each type of resource, which
// properties it has, which of them make a new resource when they change, and how
// it is created, updated and deleted by requests to Lamina's services.
package resources
