// Package blob keeps archives by the SHA-256 of their bytes. It answers "where
// are these bytes?" and promises that what it acknowledged survives a crash. Who
// needs which blob is the store's knowledge: it is asked through a func when
// unused blobs are swept.
//
// An archive is staged while it arrives, checked by its owner, and kept:
//
//	s, err := disk.Stage(ctx)
//	defer s.Discard()
//	io.Copy(s, upload)              // hashed on the way
//	lamina.ReadArchive(s, s.Size(), limits)
//	s.Keep(ctx)                     // durable; the row that refers to it comes second
//
// [Disk] keeps blobs in a directory of one server's. [Bucket] keeps them in S3 for
// many servers, each with a directory for what arrives and for what it read of
// late; both stage and open the same way.
//
// Package blobtest has the suite that every implementation passes.
package blob
