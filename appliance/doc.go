// Package appliance is the composition root: it builds the parts, joins them, starts them in order
// and stops them in reverse.
//
// It owns the order of start and stop, and the ingress: what each message of a node does to the
// store. It does not own flags, environment or exit codes (cmd/wfm).
//
// Enter at [New], then [Appliance.Start] and [Appliance.Stop].
//
// Invariants:
//   - New binds every port and opens the store, or fails having released everything.
//   - Stop is idempotent and returns within the bound of its context.
//   - One message of a node is one transaction: evidence, ACK and journal together, or nothing.
package appliance
