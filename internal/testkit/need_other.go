//go:build !linux

package testkit

func missingSandbox() string { return "functions run on Linux only" }

func missingNetwork() string { return "TUN devices are Linux's" }

func missingOverlay() string { return "overlay is Linux's" }

func missingCgroup() string { return "control groups are Linux's" }

func missingEROFS() string { return "EROFS is Linux's" }
