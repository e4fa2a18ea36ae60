package emqx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	paholog "github.com/eclipse/paho.golang/paho/log"
	"github.com/eclipse/paho.golang/paho/session"
	"github.com/eclipse/paho.golang/paho/session/state"

	"wfm/internal/retry"
	"wfm/store"
)

const (
	// keepAlive is in seconds. A burst of messages may delay EMQX's answer to a ping for a while.
	keepAlive      = 10
	connectLimit   = 10 * time.Second
	subscribeLimit = 10 * time.Second
	// sessionExpiry is how long EMQX keeps the nodes' messages for us while we are away, in
	// seconds.
	sessionExpiry = 24 * 60 * 60
	// receiveMaximum bounds the messages that we have received and not acknowledged.
	receiveMaximum = 512
	// ackEvery is the time between acknowledgements of stored messages.
	ackEvery = 5 * time.Millisecond
	// settleLimit is how long messages of a new connection wait for the list of connected clients.
	settleLimit = 5 * time.Second

	sysConnected    = "$SYS/brokers/+/clients/+/connected"
	sysDisconnected = "$SYS/brokers/+/clients/+/disconnected"
)

// probes find connections that EMQX no longer has, after a power failure or in a network that drops
// them silently. Until then, the appliance would let nodes log in to an EMQX that has started anew
// and acknowledges messages that no session takes. The system sends the probes, so that neither a
// busy EMQX nor its backlog delays the answers.
var probes = net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 4}

// epoch is one connection to EMQX, from its CONNACK to its end.
type epoch struct {
	ctx  context.Context
	end  context.CancelFunc
	once sync.Once
	// settled is closed once it is known which nodes are connected. Until then messages wait: one
	// that was sent long ago must not count as a sign of life.
	settled chan struct{}
	listed  bool // the list is known; under Broker.mu
	share   bool // of a session for messages only
	// plain reports whether the main session takes all messages of nodes, once plainKnown. Used by
	// up only.
	plain, plainKnown bool
}

func newEpoch(life context.Context) *epoch {
	e := &epoch{settled: make(chan struct{})}
	e.ctx, e.end = context.WithCancel(life)
	return e
}

func (e *epoch) settle() { e.once.Do(func() { close(e.settled) }) }

// link is one session of the appliance at EMQX, with its successive connections.
type link struct {
	b        *Broker
	clientID string
	number   int // 0: the main one
	cm       *autopaho.ConnectionManager

	state linkState // of a share; under Broker.mu

	mu      sync.Mutex
	current *epoch // of the connection that is open or being opened
	soon    bool   // the last login was refused for a temporary reason
}

type linkState int

const (
	linkDown linkState = iota
	linkUp
	linkRefused // EMQX accepts no shared subscriptions
)

// connect connects every session, again and again until life ends.
func (b *Broker) connect() {
	ids := ClientIDs(b.o.ClientID)
	b.mu.Lock()
	b.main = &link{b: b, clientID: ids[0]}
	for i, id := range ids[1:] {
		b.shares = append(b.shares, &link{b: b, clientID: id, number: i + 1})
	}
	b.mu.Unlock()
	for _, l := range append([]*link{b.main}, b.shares...) {
		if err := l.connect(); err != nil { // only for a configuration without an address
			b.fail(err)
			return
		}
	}
}

func (l *link) connect() (err error) {
	b := l.b
	tlsConfig := b.o.TLS
	if tlsConfig != nil && tlsConfig.ServerName == "" {
		tlsConfig = tlsConfig.Clone()
		tlsConfig.ServerName = b.o.URL.Hostname()
	}
	cm, err := autopaho.NewConnection(b.life, autopaho.ClientConfig{
		ServerUrls: []*url.URL{b.o.URL}, TlsCfg: tlsConfig, KeepAlive: keepAlive, ConnectTimeout: connectLimit,
		ReconnectBackoff: l.pause, AttemptConnection: dial,
		ConnectUsername: b.o.Username, ConnectPassword: []byte(b.o.Password),
		SessionExpiryInterval: sessionExpiry,
		ConnectPacketBuilder: func(c *paho.Connect, _ *url.URL) (*paho.Connect, error) {
			c.Properties.ReceiveMaximum, c.Properties.RequestProblemInfo = paho.Uint16(receiveMaximum), true
			l.begin()
			return c, nil
		},
		OnConnectionUp: func(cm *autopaho.ConnectionManager, ack *paho.Connack) {
			e := l.epoch()
			if !ack.SessionPresent {
				b.sessionMissing(l)
			}
			b.running.Go(func() { l.up(cm, e) })
		},
		OnConnectionDown: func() bool {
			e := l.epoch()
			e.end()
			l.down(e)
			return true
		},
		OnConnectError: l.connectError,
		ClientConfig: paho.ClientConfig{
			ClientID: l.clientID, Session: &freshSession{SessionManager: state.NewInMemory()},
			EnableManualAcknowledgment: true, SendAcksInterval: ackEvery,
			OnServerDisconnect: b.serverDisconnect,
			OnClientError:      func(err error) { b.fail(fmt.Errorf("the connection to EMQX was lost: %w", err)) },
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){
				func(p paho.PublishReceived) (bool, error) {
					b.receive(l.epoch(), p)
					return true, nil
				},
			},
		},
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	l.cm = cm
	if l.number == 0 {
		b.cm = cm
	}
	return err
}

// dial opens a connection to EMQX.
func dial(ctx context.Context, c autopaho.ClientConfig, address *url.URL) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.ConnectTimeout)
	defer cancel()
	dialer := &net.Dialer{KeepAliveConfig: probes}
	if c.TlsCfg == nil {
		return dialer.DialContext(ctx, "tcp", address.Host)
	}
	conn, err := (&tls.Dialer{NetDialer: dialer, Config: c.TlsCfg}).DialContext(ctx, "tcp", address.Host)
	if err != nil {
		return nil, err
	}
	return packets.NewThreadSafeConn(conn), nil // the library writes from several goroutines
}

// begin makes the epoch of a connection that is being opened: messages may arrive before it counts
// as up.
func (l *link) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != nil {
		l.current.end()
	}
	l.current, l.soon = newEpoch(l.b.life), false
	l.current.share = l.number > 0
}

func (l *link) epoch() *epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current
}

// pause returns how long to wait before the next attempt to connect.
func (l *link) pause(attempt int) time.Duration {
	l.mu.Lock()
	soon := l.soon
	l.mu.Unlock()
	if soon {
		return time.Second + rand.N(time.Second) //nolint:gosec // no secret
	}
	return reconnectPause(attempt)
}

// reconnectPause doubles from a quarter of a second to half a minute, with a random part.
func reconnectPause(attempt int) time.Duration {
	if attempt == 0 {
		return 0
	}
	pause := retry.Pause(250*time.Millisecond, 30*time.Second, attempt-1)
	return pause/2 + rand.N(pause) //nolint:gosec // no secret
}

// up prepares a new connection for use.
func (l *link) up(cm *autopaho.ConnectionManager, e *epoch) {
	if l.number == 0 {
		l.b.up(cm, e)
		return
	}
	l.share(cm, e)
}

// down records that the connection e has ended.
func (l *link) down(e *epoch) {
	if l.number == 0 {
		l.b.lost()
		return
	}
	l.move(e, linkDown)
}

// up prepares the main connection: it subscribes, and requests a comparison of accounts and
// connections.
func (b *Broker) up(cm *autopaho.ConnectionManager, e *epoch) {
	timer := time.AfterFunc(settleLimit, func() { b.settle(e) }) // the management API may be away while MQTT is not
	defer func() { timer.Stop(); b.settle(e) }()
	if !b.persist(e, func() error { return subscribe(e.ctx, cm, sysConnected, sysDisconnected) }) {
		return
	}
	b.awaitShares(e)
	if !b.usePlain(cm, e) {
		return
	}
	b.mu.Lock()
	if e.ctx.Err() != nil {
		b.mu.Unlock()
		return
	}
	b.epoch, b.lastUp, b.lastErr = e, time.Now(), nil
	b.mu.Unlock()
	b.log.Info("connected to EMQX", "host", b.o.URL.Host, "tls", b.o.TLS != nil)
	b.accounts.recovered()
	b.running.Go(func() { b.forgetDenials(e.ctx) })
	for e.ctx.Err() == nil {
		b.mu.Lock()
		moved := b.moved
		b.mu.Unlock()
		if !b.usePlain(cm, e) {
			return
		}
		select {
		case <-moved:
		case <-e.ctx.Done():
		}
	}
}

// persist tries until it succeeds. It returns false if the connection has ended before.
func (b *Broker) persist(e *epoch, try func() error) bool {
	for attempt := 1; ; attempt++ {
		err := try()
		if err == nil {
			return true
		}
		if e.ctx.Err() != nil {
			return false
		}
		b.fail(err)
		select {
		case <-time.After(reconnectPause(attempt)):
		case <-e.ctx.Done():
			return false
		}
	}
}

// errShared is returned by subscribe if EMQX accepts no shared subscriptions.
var errShared = errors.New("EMQX accepts no shared subscriptions on the appliance's listener")

func subscribe(ctx context.Context, cm *autopaho.ConnectionManager, filters ...string) error {
	var sub paho.Subscribe
	for _, f := range filters {
		sub.Subscriptions = append(sub.Subscriptions, paho.SubscribeOptions{Topic: f, QoS: 1, RetainHandling: 2})
	}
	ctx, cancel := context.WithTimeout(ctx, subscribeLimit)
	defer cancel()
	ack, err := cm.Subscribe(ctx, &sub)
	if ack != nil {
		for i, code := range ack.Reasons {
			if code < reasonRefused {
				continue
			}
			advice := "it says why in its log"
			switch code {
			case reasonSharedRefused:
				return errShared
			case reasonNotAuthorized:
				advice = "make the appliance's account there a superuser"
			}
			return fmt.Errorf("EMQX refuses the subscription to %s (0x%02x): %s", filters[min(i, len(filters)-1)], code, advice)
		}
	}
	if err != nil {
		return fmt.Errorf("subscribe at EMQX: %w", err)
	}
	return nil
}

// lost records that EMQX is out of sight, and with it the state of all connections.
func (b *Broker) lost() {
	b.mu.Lock()
	b.epoch = nil
	b.mu.Unlock()
	b.gate.Lock() // after all messages being processed
	defer b.gate.Unlock()
	b.mu.Lock()
	for _, s := range b.sessions {
		s.stop()
	}
	clear(b.sessions)
	clear(b.ended)
	clear(b.gone)
	b.mu.Unlock()
	if err := b.o.Store.Update((*store.Tx).ForgetConnections); err != nil && !errors.Is(err, store.ErrClosed) {
		b.log.Error("cannot record that EMQX is out of sight", "err", err)
	}
}

func (l *link) connectError(err error) {
	if refused, ok := errors.AsType[*autopaho.ConnackError](err); ok {
		soon := refused.ReasonCode == reasonNotAuthorized || refused.ReasonCode == reasonBusy
		l.mu.Lock()
		l.soon = soon
		l.mu.Unlock()
		err = loginError(l.b.o.Username, refused.ReasonCode)
		if l.number == 0 {
			l.b.accounts.recovered() // which creates the account
		}
	}
	l.b.fail(err)
}

// loginError says, for people, why EMQX refuses the appliance's own login.
func loginError(username string, code byte) error {
	switch code {
	case reasonBusy:
		return errors.New("EMQX is busy (0x89): too many clients connect to it at the moment")
	case reasonNotAuthorized:
		return fmt.Errorf("EMQX cannot ask the appliance yet, or does not know the account %q yet (0x87); after a start this takes up to 15 s, "+
			"later `wfm emqx doctor` says why", username)
	case reasonBadPassword:
		return fmt.Errorf("EMQX refuses the password of %q (0x86): check WFM_EMQX_USERNAME and WFM_EMQX_PASSWORD", username)
	}
	return fmt.Errorf("EMQX refuses the login of %q (0x%02x, %s)", username, code, (&packets.Connack{ReasonCode: code}).Reason())
}

func (b *Broker) serverDisconnect(d *paho.Disconnect) {
	err := fmt.Errorf("EMQX closed the connection (%s)", (&packets.Disconnect{ReasonCode: d.ReasonCode}).Reason())
	if d.ReasonCode == packets.DisconnectSessionTakenOver {
		err = errors.New("a copy of this appliance has connected to this EMQX; only one may")
	}
	b.fail(err)
}

// fail records why there is no connection, and logs it if the reason is new.
func (b *Broker) fail(err error) {
	if b.life.Err() != nil {
		return
	}
	b.mu.Lock()
	news := b.lastErr == nil || b.lastErr.Error() != err.Error()
	b.lastErr = err
	b.mu.Unlock()
	if news {
		b.log.Warn("no connection to EMQX; trying again", "err", err)
	}
}

// freshSession forgets, at every new connection, the messages that were published and not
// acknowledged on the last one. The library would send them again when the connection comes back,
// even if the command was cancelled or has expired meanwhile. The command ledger knows what still
// has to be sent.
type freshSession struct {
	session.SessionManager
	mu sync.Mutex
}

func (s *freshSession) present() session.SessionManager {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.SessionManager
}

func (s *freshSession) ConAckReceived(w io.Writer, c *packets.Connect, a *packets.Connack) error {
	fresh := state.NewInMemory()
	s.mu.Lock()
	old := s.SessionManager
	s.SessionManager = fresh
	s.mu.Unlock()
	_ = old.Close() // ends the waiting for acknowledgements of it
	return fresh.ConAckReceived(w, c, a)
}

func (s *freshSession) ConnectionLost(d *packets.Disconnect) error {
	return s.present().ConnectionLost(d)
}

func (s *freshSession) AddToSession(ctx context.Context, p session.Packet, resp chan<- packets.ControlPacket) error {
	return s.present().AddToSession(ctx, p, resp)
}

func (s *freshSession) PacketReceived(p *packets.ControlPacket, c chan<- *packets.Publish) error {
	return s.present().PacketReceived(p, c)
}

func (s *freshSession) Ack(p *packets.Publish) error { return s.present().Ack(p) }

func (s *freshSession) Close() error { return s.present().Close() }

func (s *freshSession) SetErrorLogger(l paholog.Logger) { s.present().SetErrorLogger(l) }

func (s *freshSession) SetDebugLogger(l paholog.Logger) { s.present().SetDebugLogger(l) }
