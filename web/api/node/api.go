package node

import (
	"context"
	"log/slog"
	"net"
	"slices"

	"wfm/apply"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/web/access"
	"wfm/web/reach"
	"wfm/web/view"
	"wfm/web/wire"
)

// API answers the calls about one node: its tunnel config, its commands, how it is.
// Its fields are set before the first request and not changed after that.
type API struct {
	DB        *store.DB
	Log       *slog.Logger
	Audit     *access.Auditor
	Reader    *view.Reader
	Directory *reach.Directory
	Resolver  *net.Resolver
	Commands  Commands
	Stopping  context.Context
	Applier   *apply.Applier
}

// Commands gives commands to nodes and follows them.
type Commands interface {
	// Issue stores the command and sends it. With queue, the command may wait for a node that is
	// away. Errors: protocol.ErrInvalidAction; store.ErrNodeNotFound, ErrNodeDisabled,
	// ErrNodeStatic; those of package refusal about commands; tunnel.ErrNothingToStart.
	Issue(ctx context.Context, nodeID string, action protocol.Action, requestedBy string, queue bool) (store.Command, error)
	// Push pushes a version of the node's config; see tunnel.Order for which. Errors: those of
	// tunnel.Door.Push, where *tunnel.UpToDateError comes with the version taken, and those of
	// Issue.
	Push(ctx context.Context, nodeID string, o tunnel.Order, requestedBy string) (store.Command, tunnel.Taken, error)
	// Wait returns the command once it has ended, or as it is when ctx ends (then without an
	// error).
	Wait(ctx context.Context, requestID string) (store.Command, error)
	// Cancel ends an open command. Errors: store.ErrCommandNotFound, ErrCommandEnded.
	Cancel(ctx context.Context, requestID, by string) (store.Command, error)
}

// Routes has the routes of these calls.
func (a *API) Routes() []wire.Route {
	return slices.Concat(a.desiredRoutes(), a.confhistoryRoutes(), a.syncRoutes(), a.controlRoutes(), a.commandRoutes(), a.rotateRoutes())
}
