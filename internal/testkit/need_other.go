//go:build !linux

package testkit

func missingSandbox() string { return "functions run on Linux only" }

func missingOverlay() string { return "overlay is Linux's" }
