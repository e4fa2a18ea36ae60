package broker

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/appliance/ingress"
	"wfm/hooks"
	"wfm/internal/floodlog"
	"wfm/protocol"
)

// ErrNotConnected is returned by Publish if the node has no live session that is subscribed to the
// topic and can take the message now.
var ErrNotConnected = errors.New("node is not connected to the broker")

// Options configures New. Zero limits mean defaults.
type Options struct {
	Addr    string // host:port to listen on; empty: TLS only
	TLSAddr string // host:port to listen on with TLS; empty: no TLS
	TLS     *tls.Config
	Grants  hooks.Grants
	Ingress ingress.Port
	Logger  *slog.Logger // default: discard
	Limits  Limits
	// KeepAlive is the longest keep-alive of an MQTT 5 client; default and maximum
	// hooks.MaxKeepAlive seconds.
	KeepAlive time.Duration
}

// Broker is the embedded broker.
type Broker struct {
	server   *mqtt.Server
	backend  *mqtt.Client // publishes our commands
	hook     *hooks.Hook
	registry *hooks.Registry
	guests   *guests
	plain    net.Listener // nil without HTTPS
	secure   net.Listener // nil without HTTPS
	listener *listener
	started  time.Time
	sent     atomic.Uint64

	unwatch  func() // ends watching the grants; nil before Start
	stopOnce sync.Once
	stopped  chan struct{}
}

// New binds the addresses and builds the broker. The error for a taken or malformed address is the
// system's, with the address. ctx is for binding only.
func New(ctx context.Context, o Options) (*Broker, error) {
	plain, err := listen(ctx, "MQTT", o.Addr)
	if err != nil {
		return nil, err
	}
	secure, err := listen(ctx, "MQTT over TLS", o.TLSAddr)
	var b *Broker
	if err == nil {
		b, err = newBroker(o, plain, secure)
	}
	if err != nil {
		for _, l := range []net.Listener{plain, secure} {
			if l != nil {
				err = errors.Join(err, l.Close())
			}
		}
		return nil, err
	}
	return b, nil
}

// listen binds the address; if it is empty, it returns nil.
func listen(ctx context.Context, what, addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for %s on %s: %w", what, addr, err)
	}
	return l, nil
}

func newBroker(o Options, plain, secure net.Listener) (*Broker, error) {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	o.Logger = slog.New(floodlog.New(o.Logger.Handler())) // strangers decide how much it logs
	var sockets []socket
	if plain != nil {
		sockets = append(sockets, socket{plain, nil})
	}
	if secure != nil {
		sockets = append(sockets, socket{secure, o.TLS})
	}
	if len(sockets) == 0 {
		return nil, errors.New("the MQTT broker has no address to listen on")
	}
	server := mqtt.New(serverOptions(o.Logger))
	guests := &guests{Grants: o.Grants}
	hook := hooks.New(hooks.Options{Server: server, Grants: guests, Ingress: o.Ingress, KeepAlive: keepAlive(o.KeepAlive), Logger: o.Logger})
	if err := server.AddHook(hook, nil); err != nil {
		return nil, fmt.Errorf("add the broker's hook: %w", err)
	}
	l := newListener("tcp", sockets, o.Limits, o.Logger, hook.Registry().Ended)
	if err := server.AddListener(l); err != nil {
		return nil, fmt.Errorf("add the broker's listener: %w", err)
	}
	b := &Broker{
		server: server, hook: hook, registry: hook.Registry(), guests: guests, plain: plain, secure: secure, listener: l,
		stopped: make(chan struct{}),
	}
	b.backend = server.NewClient(nil, mqtt.LocalListener, "backend", true)
	return b, nil
}

func keepAlive(d time.Duration) uint16 {
	if seconds := d / time.Second; seconds >= 1 && seconds < hooks.MaxKeepAlive {
		return uint16(seconds)
	}
	return hooks.MaxKeepAlive
}

func serverOptions(log *slog.Logger) *mqtt.Options {
	c := mqtt.NewDefaultServerCapabilities()
	c.MaximumSessionExpiryInterval = 0 // no broker sessions: the store is the queue
	c.RetainAvailable = 0
	c.MaximumQos = 1
	c.TopicAliasMaximum = 0
	c.SharedSubAvailable, c.WildcardSubAvailable, c.SubIDAvailable = 0, 0, 0 // announced; the ACL enforces it
	c.MaximumPacketSize = 2 * hooks.MaxPacketSize                            // the hook refuses earlier, with a reason
	c.MaximumClientWritesPending = 128                                       // 8 bytes each, per connection, before CONNECT; twice a node's open commands
	c.Compatibilities.NoInheritedPropertiesOnAck = true
	return &mqtt.Options{
		Capabilities:            c,
		ClientNetReadBufferSize: 256,
		SysTopicResendInterval:  60, // each one stops the world for runtime.ReadMemStats
		Logger:                  slog.New(hooks.BrokerLog(log.Handler())),
	}
}

// Addr returns the broker's address without TLS, nil if there is none.
func (b *Broker) Addr() net.Addr { return addrOf(b.plain) }

// TLSAddr returns the broker's address with TLS, nil if there is none.
func (b *Broker) TLSAddr() net.Addr { return addrOf(b.secure) }

func addrOf(l net.Listener) net.Addr {
	if l == nil {
		return nil
	}
	return l.Addr()
}

// Port returns the broker's port, with TLS or without, 0 if there is none.
func (b *Broker) Port(overTLS bool) int {
	addr := b.Addr()
	if overTLS {
		addr = b.TLSAddr()
	}
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}

// Start begins to accept connections.
func (b *Broker) Start() error {
	b.started = time.Now()
	b.unwatch = b.guests.WatchGrants(b.registry.Settle)
	if err := b.server.Serve(); err != nil {
		return fmt.Errorf("start the broker: %w", err)
	}
	return nil
}

// StartedAt returns when the broker began to accept connections.
func (b *Broker) StartedAt() time.Time { return b.started }

// Stop closes every connection and returns when everything has ended or ctx ends. It may be called
// again.
func (b *Broker) Stop(ctx context.Context) error {
	b.stopOnce.Do(func() {
		b.registry.Close()
		if b.unwatch != nil {
			b.unwatch()
		}
		go func() {
			defer close(b.stopped)
			_ = b.server.Close()
		}()
	})
	select {
	case <-b.stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop the broker: %w", ctx.Err())
	}
}

// Publish passes a command to the node's session. It expires after expiry if the client has not
// received it by then. A nil error means that the session took it, not that it arrived. Error:
// [ErrNotConnected].
func (b *Broker) Publish(topic protocol.Topic, message []byte, expiry time.Duration) error {
	taken, err := b.registry.Deliver(topic, func() error {
		return b.server.InjectPacket(b.backend, packets.Packet{
			FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1},
			TopicName:   topic.String(),
			Payload:     message,
			PacketID:    1,                                                                             // never sent: each delivery gets its own
			Properties:  packets.Properties{MessageExpiryInterval: uint32(max(1, expiry/time.Second))}, //nolint:gosec // minutes
		})
	})
	switch {
	case err != nil:
		return fmt.Errorf("publish to %s: %w", topic, err)
	case !taken:
		return fmt.Errorf("publish to %s: %w", topic, ErrNotConnected)
	}
	b.sent.Add(1)
	return nil
}

// Messages returns counts since the start: messages of nodes that were stored, messages passed to
// nodes, and messages of nodes that were not stored.
func (b *Broker) Messages() (in, out, refused uint64) {
	in, refused = b.hook.Messages()
	return in, b.sent.Load(), refused
}

// Unserved returns the last client that was refused at its first packet, the zero value if there
// was none since the start.
func (b *Broker) Unserved() Unserved { return b.listener.unserved() }

// Sessions returns the number of live sessions.
func (b *Broker) Sessions() int { return b.registry.Sessions() }

// Connected reports whether the node has a live session.
func (b *Broker) Connected(nodeID string) bool { return b.registry.Connected(nodeID) }

// SessionID returns the id of the node's live session, 0 if there is none.
func (b *Broker) SessionID(nodeID string) uint64 { return b.registry.SessionID(nodeID) }

// Ready reports whether the node has a live session that is subscribed to the topic.
func (b *Broker) Ready(topic protocol.Topic) bool { return b.registry.Ready(topic) }
