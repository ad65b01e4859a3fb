// Package erofs answers how a tree of files looks as an EROFS image, the kernel's
// read-only file system (Documentation/filesystems/erofs.rst). It knows nothing
// about where the files come from and does not mount. Sizes are known before
// content is: so every place in the image is planned first, and files are then
// written in any order, by several goroutines, with nothing kept in memory.
//
//	image, err := erofs.Plan(nodes, time)
//	err = image.WriteTree(out)   // all but files and symlinks
//	c := image.Contents(out)     // one for each goroutine
//	c.Begin(i); c.Write(…); err = c.End()
//
// # The image
//
//	block 0      superblock at 1024, inodes behind it
//	…            inodes, 64 bytes each in slots of 32; what is left of a file,
//	             symlink or directory behind its last whole block follows its
//	             inode when it is small
//	…            blocks of 4096 bytes of files, of large directories
//
// Nothing is compressed: the zip stays where it is, and the image is a cache.
package erofs
