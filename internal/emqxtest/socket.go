package emqxtest

import (
	"log/slog"
	"net"
	"sync"

	"github.com/mochi-mqtt/server/v2/listeners"
)

// conns knows when mochi has released a connection: it cleans up after an old one by client id, and
// must not meet a new one with the same id.
type conns struct {
	mu    sync.Mutex
	conns map[net.Conn]chan struct{}
	over  bool // no more
}

func newConns() *conns { return &conns{conns: make(map[net.Conn]chan struct{})} }

// socket is a listener.
type socket struct {
	id string
	l  net.Listener
	*conns
}

// done is closed once the connection is gone completely.
func (s *conns) done(c net.Conn) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if done := s.conns[c]; done != nil {
		return done
	}
	over := make(chan struct{})
	close(over)
	return over
}

func (s *socket) Init(*slog.Logger) error { return nil }
func (s *socket) ID() string              { return s.id }
func (s *socket) Address() string         { return s.l.Addr().String() }
func (s *socket) Protocol() string        { return "tcp" }

func (s *socket) Serve(establish listeners.EstablishFn) {
	for {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		done := make(chan struct{})
		s.mu.Lock()
		if s.over {
			_ = c.Close()
		}
		s.conns.conns[c] = done
		s.mu.Unlock()
		go func() {
			_ = establish(s.ID(), c)
			_ = c.Close()
			s.mu.Lock()
			delete(s.conns.conns, c)
			s.mu.Unlock()
			close(done)
		}()
	}
}

func (s *socket) Close(closeClients listeners.CloseFn) {
	_ = s.l.Close()
	closeClients(s.ID())
	s.cut() // those that have not logged in
}

// cut closes every connection, and those still to come.
func (s *conns) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	for c := range s.conns {
		_ = c.Close()
	}
}
