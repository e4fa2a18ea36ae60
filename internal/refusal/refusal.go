package refusal

import "errors"

var (
	// ErrNotInitialized is returned for a command to a node that was never bound to an agent.
	ErrNotInitialized = errors.New("no agent is bound to this node yet")
	// ErrNodeOffline is returned if the node is not connected and the command must not be queued.
	ErrNodeOffline = errors.New("node is not connected")
	// ErrTooManyCommands is returned if the node has as many open commands as it may have.
	ErrTooManyCommands = errors.New("too many commands of this node are open")
	// ErrRolloutEnded is returned for a change of a rollout that has ended.
	ErrRolloutEnded = errors.New("rollout has ended")
	// ErrMQTTDisabled is returned if the appliance runs without a broker.
	ErrMQTTDisabled = errors.New("MQTT services are switched off")
	// ErrMQTTUnavailable is returned while the broker cannot be reached.
	ErrMQTTUnavailable = errors.New("the MQTT broker is not available")
)
