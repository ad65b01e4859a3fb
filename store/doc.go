// Package store answers what exists: layers, functions, versions, aliases,
// policies, tags, accounts and identities, with the numbers and references between
// them. It keeps no archive bytes (package blob does) and makes no decisions
// that AWS would explain to a client (package control does).
//
// Everything happens in a transaction:
//
//	err := s.Update(ctx, func(tx *store.Tx) error {
//		f, err := tx.LockFunction(ctx, id) // others wait here
//		if err != nil {
//			return err // wraps lamina.ErrNotFound
//		}
//		…
//		return tx.InsertFunctionVersion(ctx, latest.Freeze(f.LastNumber+1, …))
//	})
//
// # One text, two dialects
//
// Every statement is accepted by SQLite and by PostgreSQL; what differs is in
// sqlite.go and postgres.go. Names are compared byte by byte on both: columns
// have the collation "binary", which SQLite has built in and which postgres.go
// creates from "C".
//
// # Locks
//
// SQLite has one writer at a time, so an Update sees nothing change. PostgreSQL
// runs Updates side by side at READ COMMITTED, and what a decision depends on
// must be locked first: [Tx.LockFunction], [Tx.LockLayerVersion],
// [Tx.LockPolicy], [Tx.LockUsage], and of identities [Tx.LockAccount],
// [Tx.LockIdentity], [Tx.LockPolicyDocument]. Each is an update that changes nothing. Take
// them in that order; a deadlock is broken by the database and retried. What
// belongs to a function (its versions, aliases, concurrency, settings and URLs) is
// only ever changed under the function's lock.
package store
