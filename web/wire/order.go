package wire

import (
	"math"

	"wfm/tunnel"
)

// Choosing is the part of [Route.Body] for the members that [ReadOrder] reads.
const Choosing = "staged bool, staged_version 1..2147483647, version 1..2147483647, force bool"

// Commanding is the part of [Route.Codes] for the errors of every command.
const Commanding = "NODE_DISABLED CLIENT_BIND_STATIC_NODE CLIENT_NOT_INITIALIZED MQTT_DISABLED MQTT_CONTROL_UNAVAILABLE"

// ReadOrder reads the version to push. Without staged, staged_version and version, it is the
// desired one.
func ReadOrder(f *Fields) tunnel.Order {
	o := tunnel.Order{Staged: Or(f.Flag("staged"), false), Force: Or(f.Flag("force"), false)}
	staged, version := f.Number("staged_version", 1, math.MaxInt32), f.Number("version", 1, math.MaxInt32)
	switch {
	case staged != nil && version != nil:
		f.Reject("version", "must not be given together with staged_version")
	case staged != nil:
		o.Staged, o.Version = true, *staged
	case version != nil && o.Staged:
		f.Reject("version", "must not be given together with staged; use staged_version")
	case version != nil:
		o.Version = *version
	}
	return o
}
