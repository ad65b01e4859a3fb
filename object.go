package lamina

import "fmt"

// Object is an object in S3.
type Object struct {
	Region  string // of the request; where S3 is asked
	Bucket  string
	Key     string
	Version string // empty is the latest
}

// ObjectError is S3's refusal to give an object, in its own words.
type ObjectError struct {
	Code    string // such as NoSuchKey
	Message string
	Region  string // of the bucket, when it is in another one
}

func (e *ObjectError) Error() string { return fmt.Sprintf("get object: %s: %s", e.Code, e.Message) }
