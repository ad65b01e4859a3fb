// Package identity answers "who asks?": it verifies the AWS Signature Version 4
// of every request, keeps the root account's access key, and serves the small
// parts of STS and IAM that Lambda's clients expect. What a caller may do to a
// function is control's question, and where accounts, keys and roles are kept is
// store's.
//
// A request walks through it like this. [Verifier.Verify] parses the
// Authorization header (or the query parameters of a presigned URL), finds the
// key, recomputes the signature over what arrived, compares in constant time,
// and returns the [Caller]: the account of the key and the region and service of
// the credential scope. It leaves a body behind that checks the payload while it
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
