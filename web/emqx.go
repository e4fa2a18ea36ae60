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

// ExternalBroker is what the server needs where the broker is an external EMQX.
type ExternalBroker struct {
	// Key is what EMQX has to show when it asks. Required.
	Key emqxcall.Key
	// Username and Password are the appliance's own account, which may use every topic of ours and
	// read $SYS, under the ClientIDs of its sessions.
	Username, Password string
	ClientIDs          []string
	// Apart leaves EMQX's questions to [Server.ServeCallbacks], which takes them on a listener that
	// the public cannot reach.
	Apart bool
	// CACert is what agents need to trust to reach the broker with TLS, PEM.
	CACert string
	// Account says how far EMQX knows a node's account. Required.
	Account func(nodeID string) view.AccountState
	// Settled reports whether EMQX knows the node's account as it is now. Until it does, a session
	// may be one of the former agent, and is denied everything. It must be quick; nil: it always does.
	Settled func(nodeID string) bool
	// Ready reports whether the appliance takes what nodes publish. Until then nodes may not log in: after a
	// restart, EMQX acknowledges messages before the appliance has subscribed again. It must be quick; nil:
	// always.
	Ready func() bool
	// Reconcile compares all accounts with EMQX's and repairs what differs. Required.
	Reconcile func(ctx context.Context) error
}

const (
	// callbackIdle is longer than the pauses between EMQX's questions: a connection that is closed
	// just when it asks makes it deny.
	callbackIdle = 10 * time.Minute
)

// asked is the broker whose questions are answered: the external one, or an EMQX beside the embedded
// broker. Nil: none is.
func (s *Server) asked() *ExternalBroker {
	if s.opts.External != nil {
		return s.opts.External
	}
	return s.opts.Asked
}

// asker is what of it answers need; nil while nothing is answered.
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

// callbackTable is what EMQX asks where the API is. It is no part of the API: the answers are bare.
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

// ServeCallbacks answers EMQX's questions, and nothing else, on l until Stop, and closes l. It
// returns nil after Stop.
func (s *Server) ServeCallbacks(l net.Listener) error { return serve(s.callbackHTTP, l) }
