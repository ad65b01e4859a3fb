//go:build !linux

package fsx

import "os"

// StartWriteback does nothing here; see the Linux file.
func StartWriteback(*os.File, int64, int64) {}
