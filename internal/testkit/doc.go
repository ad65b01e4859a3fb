// Package testkit is what tests need around Lamina: a real server of the real
// binary on a free port ([Start]), the clients for it, and [Need], which skips a
// test where the machine lacks something, or fails it where it must not lack.
//
// Only tests import it; the arch test holds that.
package testkit
