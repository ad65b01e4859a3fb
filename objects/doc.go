// Package objects reads code archives out of S3. It knows buckets, keys and
// versions; whether the bytes are a good archive is control's question, and
// keeping them is blob's.
//
// A walk: UpdateFunctionCode names a bucket and a key; control opens a staged
// blob and calls [S3.Get], which signs one path-style GetObject, and streams the
// answer into the blob. S3's refusals come back as *lamina.ObjectError, in S3's
// own words.
package objects
