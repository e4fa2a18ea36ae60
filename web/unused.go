package web

import (
	"net"
	"net/http"
	"sync"

	"wfm/internal/connlimit"
)

// unused has the connections that have not sent a request, such as those of EMQX's pool. At a
// Shutdown, net/http would wait 5 s for a request on each.
type unused struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	over  bool
}

// watch makes the server's unused connections end with its Shutdown.
func (u *unused) watch(server *http.Server) {
	u.conns = make(map[net.Conn]struct{})
	server.ConnState = u.state
	server.RegisterOnShutdown(u.end)
}

func (u *unused) state(c net.Conn, state http.ConnState) {
	connlimit.State(c, state)
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(u.conns, c)
	case u.over:
		_ = c.Close()
	default:
		u.conns[c] = struct{}{}
	}
}

// end closes them.
func (u *unused) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.over = true
	for c := range u.conns {
		_ = c.Close()
	}
}
