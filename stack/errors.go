package stack

import "github.com/lamina-run/lamina/wire"

// Exceptions of CloudFormation, by the codes that it sends.
var (
	Validation               = &wire.Kind{Code: "ValidationError", Status: 400}
	AlreadyExists            = &wire.Kind{Code: "AlreadyExistsException", Status: 400}
	LimitExceeded            = &wire.Kind{Code: "LimitExceededException", Status: 400}
	InsufficientCapabilities = &wire.Kind{Code: "InsufficientCapabilitiesException", Status: 400}
	TokenAlreadyExists       = &wire.Kind{Code: "TokenAlreadyExistsException", Status: 400}
	ChangeSetNotFound        = &wire.Kind{Code: "ChangeSetNotFound", Status: 404}
	InvalidChangeSetStatus   = &wire.Kind{Code: "InvalidChangeSetStatus", Status: 400}
)
