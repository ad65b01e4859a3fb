package sandbox

import "os"

// An init or a spawner begins its life here, and not in main, where the program's
// other packages would have been initialised before: those of a server take
// several times as long as a sandbox's start.
//
// This is the one init function there is; see docs/house.md.
func init() {
	if len(os.Args) != 2 || os.Args[0] != "lamina" {
		return
	}
	switch {
	case os.Args[1] == InitVerb && os.Getpid() == 1:
		Init()
	case os.Args[1] == SpawnVerb:
		Spawn()
	}
}
