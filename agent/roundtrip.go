package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"golang.org/x/net/proxy"
)

const (
	connectLimit   = 15 * time.Second // for TCP and TLS, name resolution included
	roundTripLimit = 5 * time.Second  // for each half of a round trip, and for an urgent connection attempt
	// resolverMemory is how long Go's resolver may go on asking the name servers of an older
	// resolv.conf: it checks the file every five seconds.
	resolverMemory = 6 * time.Second
)

// dial connects to the broker. The session and the round trips both use it, so that one proves
// something about the other.
func (s *session) dial(ctx context.Context, limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m := s.profile.MQTT
	_, cfg, err := transport(m)
	if err != nil {
		return nil, err
	}
	conn, err := proxy.Dial(ctx, "tcp", net.JoinHostPort(m.Host, strconv.Itoa(m.Port)))
	if err != nil {
		return nil, err
	}
	if cfg == nil {
		return conn, nil
	}
	secured := tls.Client(conn, cfg)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return packets.NewThreadSafeConn(secured), nil
}

// connect dials for the session, and keeps the connection so that Reconnect can end it.
func (s *session) connect(ctx context.Context) (net.Conn, error) {
	limit := connectLimit
	if s.backoff.Urgent() {
		limit = roundTripLimit // a packet lost to a wrong route would be sent again too late
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.stopDial = cancel
	s.mu.Unlock()
	conn, err := s.dial(ctx, limit)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.conn = conn
	s.mu.Unlock()
	return conn, nil
}

// RoundTrip opens a connection, with name resolution and TLS handshake, and closes it again. Then
// it publishes m and waits for the PUBACK. A reason code that refuses m also proves the round trip.
// RoundTrip makes a session that does not answer reconnect: on its own, the session might hold on
// to a dead connection for longer than a change may wait.
func (s *session) RoundTrip(ctx context.Context, m outMessage) error {
	if net.ParseIP(s.profile.MQTT.Host) == nil && resolverIsStale("/etc/resolv.conf") {
		return errors.New("the name servers of this machine have just changed")
	}
	conn, err := s.dial(ctx, roundTripLimit)
	if err != nil {
		return fmt.Errorf("a new connection to the server is not possible: %w", err)
	}
	_ = conn.Close()
	limited, cancel := context.WithTimeout(ctx, roundTripLimit)
	defer cancel()
	if !s.awaitConnection(limited) {
		return errors.New("the session with the server is not back")
	}
	s.mu.Lock()
	cm := s.cm
	s.mu.Unlock()
	if result := s.publish(limited, cm, m); result == sendTaken || result == sendRefused {
		return nil
	}
	if ctx.Err() == nil {
		s.Reconnect()
	}
	return errors.New("the server does not acknowledge what it is sent")
}

// Urgent keeps the pauses between connection attempts short while on is set.
func (s *session) Urgent(on bool) { s.backoff.SetUrgent(on) }

// Reconnect ends the connection, or the current attempt: either may have the source address of a
// route that is gone. The client then makes a new one.
func (s *session) Reconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopDial != nil {
		s.stopDial()
	}
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

// resolverIsStale reports whether a lookup now may still ask the former name servers, and so prove
// nothing.
func resolverIsStale(resolvConf string) bool {
	info, err := os.Stat(resolvConf)
	if err != nil {
		return false
	}
	age := time.Since(info.ModTime())
	return age >= 0 && age < resolverMemory
}

var _ uplink = (*session)(nil)
