// Package layer answers where the files of an archive are: it turns the zip of a
// layer or of a function's code into a directory that sandboxes mount read-only,
// once per digest however many ask. It does not know what an archive is for, and
// leaves the mounting to package sandbox.
//
// The directory is that of an EROFS image (package erofs) where such can be
// mounted, else one that the zip was unpacked to. [Pack] and [Unpack] make the same
// tree. Images stay mounted while they are acquired, and some of them longer.
//
//	dir, release, err := cache.Acquire(ctx, digest) // unpacks on first use
//	defer release()                                 // when the sandbox is gone
//
// # What a crash leaves
//
// An archive is unpacked under a temporary name and renamed, so a process that
// dies leaves no half directory or image under a digest. A machine that dies can: the
// rename may be on disk before the files are. Syncing every file, or the file
// system, before the rename would cost more than unpacking does, on the path of a
// cold start. Instead the cache remembers in which boot of the machine it was
// filled, and begins empty after another one: it holds nothing that can't be
// unpacked again.
package layer
