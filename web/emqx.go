package web

import (
	"context"
	"net"
	"net/http"
	"time"

	"wfm/internal/emqxcall"
	"wfm/web/api/callback"
	"wfm/web/view"
	"wfm/web/wire"
)

// ExternalBroker configures the server for an external EMQX.
type ExternalBroker struct {
	// Key is the key that EMQX must send with its questions. Required.
	Key emqxcall.Key
	// Username and Password are the appliance's own account. Under the ClientIDs of its sessions it
	// may use all topics of the appliance and read $SYS.
	Username, Password string
	ClientIDs          []string
	// Apart reports that only [Server.ServeCallbacks] answers EMQX's questions, on a listener that
	// the public cannot reach.
	Apart bool
	// CACert is the PEM of the certificates that agents must trust to reach the broker with TLS.
	CACert string
	// Account returns the state of a node's account in EMQX. Required.
	Account func(nodeID string) view.AccountState
	// Settled reports whether EMQX has the current account of the node. Until then, a session may
	// belong to the former agent and is denied everything. It must not block. Nil means always.
	Settled func(nodeID string) bool
	// Ready reports whether the appliance receives the messages that nodes publish. Until then
	// nodes may not log in: after a restart, EMQX acknowledges messages before the appliance has
	// subscribed again. It must not block. Nil means always.
	Ready func() bool
	// Reconcile compares all accounts with EMQX's and repairs the differences. Required.
	Reconcile func(ctx context.Context) error
}

const (
	// callbackIdle is longer than the pauses between EMQX's questions: if a connection is closed
	// just when EMQX asks, EMQX denies.
	callbackIdle = 10 * time.Minute
)

// asked returns the broker whose questions are answered: the external one, or an EMQX beside the
// embedded broker, or nil.
func (s *Server) asked() *ExternalBroker {
	if s.opts.External != nil {
		return s.opts.External
	}
	return s.opts.Asked
}

// asker returns the EMQX whose questions are answered, or nil if there is none.
func (o Options) asker() *callback.Asker {
	b := o.External
	if b == nil {
		b = o.Asked
	}
	if b == nil {
		return nil
	}
	return &callback.Asker{Key: b.Key, Username: b.Username, Password: b.Password, ClientIDs: b.ClientIDs, Settled: b.Settled, Ready: b.Ready}
}

// callbackTable returns the routes of EMQX's questions beside the API. They are not part of the
// API: their answers have no envelope.
func (s *Server) callbackTable() []wire.Route {
	if own := s.asked(); own == nil || own.Apart {
		return nil
	}
	return s.callbacks.Routes()
}

func (s *Server) newCallbacks() *http.Server {
	return &http.Server{
		Handler: s.serving(s.callbacks.Routes()), ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: callbackIdle, MaxHeaderBytes: maxHeaderBytes, ErrorLog: s.http.ErrorLog,
	}
}

// ServeCallbacks answers only EMQX's questions, on l, until Stop. It closes l and returns nil after
// Stop.
func (s *Server) ServeCallbacks(l net.Listener) error { return serve(s.callbackHTTP, l) }
