package control

import "github.com/lamina-run/lamina/wire"

// declined are the features whose operations Lamina does not offer. A durable
// execution is a workflow engine of its own; a capacity provider rents EC2
// instances.
var declined = map[string][]string{
	"durable executions": {
		"CheckpointDurableExecution", "GetDurableExecution", "GetDurableExecutionHistory", "GetDurableExecutionState",
		"ListDurableExecutionsByFunction", "SendDurableExecutionCallbackFailure", "SendDurableExecutionCallbackHeartbeat",
		"SendDurableExecutionCallbackSuccess", "StopDurableExecution",
	},
	"capacity providers": {
		"CreateCapacityProvider", "DeleteCapacityProvider", "GetCapacityProvider", "ListCapacityProviders",
		"ListFunctionVersionsByCapacityProvider", "UpdateCapacityProvider",
	},
}

func declineOperations(r *wire.Router) {
	for feature, operations := range declined {
		for _, name := range operations {
			r.Decline(name, feature)
		}
	}
}
