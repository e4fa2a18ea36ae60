package mqtttest

import (
	"log/slog"
	"net"
	"sync"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Listener is a listener of a mochi broker. When the broker closes, it ends every connection, also
// those that have not logged in, and waits for their end. With mochi's own listeners, the broker
// would wait for those for ever, and count new connections while it waits.
type Listener struct {
	server *mqtt.Server
	id     string
	l      net.Listener

	mu     sync.Mutex
	conns  map[net.Conn]chan struct{} // closed once mochi has released the connection
	closed bool                       // no more
	served sync.WaitGroup
}

var _ listeners.Listener = (*Listener)(nil)

// NewListener returns a listener of the server that accepts from l.
func NewListener(server *mqtt.Server, id string, l net.Listener) *Listener {
	return &Listener{server: server, id: id, l: l, conns: make(map[net.Conn]chan struct{})}
}

// Gone returns a channel that is closed once mochi has released the connection, or that is closed
// already if the connection is not one of the listener's.
func (l *Listener) Gone(c net.Conn) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if gone := l.conns[c]; gone != nil {
		return gone
	}
	gone := make(chan struct{})
	close(gone)
	return gone
}

// ID returns the id that mochi knows the listener by.
func (l *Listener) ID() string { return l.id }

// Address returns the host and port.
func (l *Listener) Address() string { return l.l.Addr().String() }

// Protocol returns the network, for mochi.
func (l *Listener) Protocol() string { return "tcp" }

// Init does nothing: the listener has no log.
func (l *Listener) Init(*slog.Logger) error { return nil }

// Serve accepts until Close.
func (l *Listener) Serve(establish listeners.EstablishFn) {
	for {
		c, err := l.l.Accept()
		if err != nil {
			return
		}
		l.serve(c, establish)
	}
}

func (l *Listener) serve(c net.Conn, establish listeners.EstablishFn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = c.Close()
		return
	}
	gone := make(chan struct{})
	l.conns[c] = gone
	l.served.Go(func() {
		_ = establish(l.id, c)
		_ = c.Close()
		l.mu.Lock()
		delete(l.conns, c)
		l.mu.Unlock()
		close(gone)
	})
}

// Close stops accepting, and returns once every connection has ended. It does not call mochi's
// function for that: the function locks the list of clients twice for reading, and so blocks for
// ever if a client comes or goes in between.
func (l *Listener) Close(listeners.CloseFn) {
	_ = l.l.Close()
	for _, cl := range l.server.Clients.GetAll() {
		if cl.Net.Listener == l.id && !cl.Closed() {
			_ = l.server.DisconnectClient(cl, packets.ErrServerShuttingDown)
		}
	}
	l.Cut()
	l.served.Wait()
}

// Cut closes every connection without a DISCONNECT, and those still to come.
func (l *Listener) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for c := range l.conns {
		_ = c.Close()
	}
}
