// Package parameters is the Parameter Store of Systems Manager: what its operations
// do with a name, a value and the value's earlier versions. How requests travel is
// package jsontarget's question, where parameters are kept is the store's.
//
//	services["ssm"] = parameters.New(parameters.Options{Store: db, Authority: authority, Log: log, Now: time.Now})
package parameters
