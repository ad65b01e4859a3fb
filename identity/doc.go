// Package identity answers "who asks?": it verifies the AWS Signature Version 4
// of every request, issues and recognizes temporary credentials, and serves IAM,
// STS and a little of Organizations. It tells what bounds a caller ([Principals]);
// what that allows is the question of who asks it, and where accounts, keys and
// roles are kept is store's.
//
// A request walks through it like this. [Verifier.Verify] parses the
// Authorization header (or the query parameters of a presigned URL), finds the
// key, recomputes the signature over what arrived, compares in constant time,
// and returns the [Caller]: who the key is of, and the region and service of the
// credential scope. A key with a session token is the one that the token holds,
// which [Sessions] opens. It leaves a body behind that checks the payload while it
// streams. When the client declared the payload's hash, the signature is proven
// before Verify returns and the body only has to have that hash. When it did not
// (botocore and aws-sdk-go-v2 send Lambda no X-Amz-Content-Sha256), the hash is
// an ingredient of the signature, so a body too big to hold proves it at its end.
//
// In every form the last byte of a body is handed out only when the payload is
// the one that was signed; otherwise the reader returns the exception in its
// place. Whoever reads a body to its end before acting, as wire does, acts only
// for the caller that it was told. Whoever does not must call [Settle] first.
package identity
