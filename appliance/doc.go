// Package appliance is the composition root: it creates the parts, connects them, starts them in
// order and stops them in reverse.
//
// It owns the order of start and stop. It does not own flags, environment or exit codes (cmd/wfm).
//
// Enter at [New], then [Appliance.Start] and [Appliance.Stop].
//
// Invariants:
//   - New binds every port and opens the store. If it fails, it has released everything.
//   - Stop is idempotent and returns within the bound of its context.
package appliance
