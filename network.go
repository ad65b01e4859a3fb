package lamina

import "fmt"

// NetworkError is EC2's refusal to describe a network, in its own words.
type NetworkError struct {
	Action  string // such as DescribeSubnets
	Code    string // such as InvalidSubnetID.NotFound
	Message string
}

func (e *NetworkError) Error() string { return fmt.Sprintf("%s: %s: %s", e.Action, e.Code, e.Message) }
