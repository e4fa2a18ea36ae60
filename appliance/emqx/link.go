package emqx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	paholog "github.com/eclipse/paho.golang/paho/log"
	"github.com/eclipse/paho.golang/paho/session"
	"github.com/eclipse/paho.golang/paho/session/state"

	"wfm/protocol"
	"wfm/store"
)

const (
	keepAlive      = 30 // seconds
	connectLimit   = 10 * time.Second
	subscribeLimit = 10 * time.Second
	// sessionExpiry is how long EMQX keeps for us what nodes send while we are away, in seconds.
	sessionExpiry = 24 * 60 * 60
	// receiveMaximum bounds the messages that are in our hands and not acknowledged.
	receiveMaximum = 512
	// ackEvery is how often what was stored is acknowledged.
	ackEvery = 5 * time.Millisecond
	// settleLimit is how long messages of a new connection wait for the list of who is connected.
	settleLimit = 5 * time.Second

	sysConnected    = "$SYS/brokers/+/clients/+/connected"
	sysDisconnected = "$SYS/brokers/+/clients/+/disconnected"
)

// epoch is one connection to EMQX, from its CONNACK to its end.
type epoch struct {
	ctx  context.Context
	end  context.CancelFunc
	once sync.Once
	// settled is closed when it is known which nodes are connected. What was sent long before then
	// must not count as a sign of life, and waits.
	settled chan struct{}
	listed  bool // it is; under Broker.mu
}

func newEpoch(life context.Context) *epoch {
	e := &epoch{settled: make(chan struct{})}
	e.ctx, e.end = context.WithCancel(life)
	return e
}

func (e *epoch) settle() { e.once.Do(func() { close(e.settled) }) }

// connect starts to connect, again and again until life ends.
func (b *Broker) connect() {
	var mu sync.Mutex
	var current *epoch // of the connection that is coming up or open
	tlsConfig := b.o.TLS
	if tlsConfig != nil && tlsConfig.ServerName == "" {
		tlsConfig = tlsConfig.Clone()
		tlsConfig.ServerName = b.o.URL.Hostname()
	}
	cm, err := autopaho.NewConnection(b.life, autopaho.ClientConfig{
		ServerUrls: []*url.URL{b.o.URL}, TlsCfg: tlsConfig, KeepAlive: keepAlive, ConnectTimeout: connectLimit,
		ReconnectBackoff: reconnectPause,
		ConnectUsername:  b.o.Username, ConnectPassword: []byte(b.o.Password),
		SessionExpiryInterval: sessionExpiry,
		ConnectPacketBuilder: func(c *paho.Connect, _ *url.URL) (*paho.Connect, error) {
			c.Properties.ReceiveMaximum, c.Properties.RequestProblemInfo = paho.Uint16(receiveMaximum), true
			mu.Lock()
			defer mu.Unlock()
			if current != nil {
				current.end()
			}
			current = newEpoch(b.life) // messages may come before the connection counts as up
			return c, nil
		},
		OnConnectionUp: func(cm *autopaho.ConnectionManager, _ *paho.Connack) {
			mu.Lock()
			defer mu.Unlock()
			e := current
			b.running.Go(func() { b.up(cm, e) })
		},
		OnConnectionDown: func() bool {
			mu.Lock()
			e := current
			mu.Unlock()
			e.end()
			b.lost()
			return true
		},
		OnConnectError: b.connectError,
		ClientConfig: paho.ClientConfig{
			ClientID: b.o.ClientID, Session: &freshSession{SessionManager: state.NewInMemory()},
			EnableManualAcknowledgment: true, SendAcksInterval: ackEvery,
			OnServerDisconnect: b.serverDisconnect,
			OnClientError:      func(err error) { b.fail(fmt.Errorf("the connection to EMQX was lost: %w", err)) },
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){
				func(p paho.PublishReceived) (bool, error) {
					mu.Lock()
					e := current
					mu.Unlock()
					b.receive(e, p)
					return true, nil
				},
			},
		},
	})
	if err != nil { // only for a configuration without an address
		b.fail(err)
		return
	}
	b.mu.Lock()
	b.cm = cm
	b.mu.Unlock()
}

// reconnectPause doubles from a quarter of a second to half a minute, with a random part.
func reconnectPause(attempt int) time.Duration {
	if attempt == 0 {
		return 0
	}
	pause := min(30*time.Second, 250*time.Millisecond<<min(attempt-1, 10))
	return pause/2 + rand.N(pause) //nolint:gosec // no secret
}

// up makes a new connection useful: it subscribes, and has the accounts and connections compared.
func (b *Broker) up(cm *autopaho.ConnectionManager, e *epoch) {
	timer := time.AfterFunc(settleLimit, e.settle) // the management API may be away while MQTT is not
	defer func() { timer.Stop(); e.settle() }()
	for attempt := 1; ; attempt++ {
		err := subscribe(e.ctx, cm)
		if err == nil {
			break
		}
		if e.ctx.Err() != nil {
			return
		}
		b.fail(err)
		select {
		case <-time.After(reconnectPause(attempt)):
		case <-e.ctx.Done():
			return
		}
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
	<-e.ctx.Done()
}

func subscribe(ctx context.Context, cm *autopaho.ConnectionManager) error {
	filters := []string{sysConnected, sysDisconnected}
	for _, kind := range protocol.UpstreamKinds() {
		filters = append(filters, protocol.TopicPrefix+"/+/+/"+string(kind))
	}
	var sub paho.Subscribe
	for _, f := range filters {
		sub.Subscriptions = append(sub.Subscriptions, paho.SubscribeOptions{Topic: f, QoS: 1, RetainHandling: 2})
	}
	ctx, cancel := context.WithTimeout(ctx, subscribeLimit)
	defer cancel()
	ack, err := cm.Subscribe(ctx, &sub)
	if ack != nil {
		for i, code := range ack.Reasons {
			if code >= reasonRefused {
				advice := "it says why in its log"
				if code == reasonNotAuthorized {
					advice = "make the appliance's account there a superuser"
				}
				return fmt.Errorf("EMQX refuses the subscription to %s (0x%02x): %s", filters[min(i, len(filters)-1)], code, advice)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("subscribe at EMQX: %w", err)
	}
	return nil
}

// lost records that EMQX is out of sight, and what is known of connections with it.
func (b *Broker) lost() {
	b.mu.Lock()
	b.epoch = nil
	b.mu.Unlock()
	b.gate.Lock() // whoever deals with a message ends first
	defer b.gate.Unlock()
	b.mu.Lock()
	for _, s := range b.sessions {
		s.stop()
	}
	clear(b.sessions)
	clear(b.ended)
	b.mu.Unlock()
	if err := b.o.Store.Update((*store.Tx).ForgetConnections); err != nil && !errors.Is(err, store.ErrClosed) {
		b.log.Error("cannot record that EMQX is out of sight", "err", err)
	}
}

func (b *Broker) connectError(err error) {
	if refused, ok := errors.AsType[*autopaho.ConnackError](err); ok {
		err = fmt.Errorf("EMQX refuses the login of %q (0x%02x): check WFM_EMQX_USERNAME and WFM_EMQX_PASSWORD", b.o.Username, refused.ReasonCode)
		b.accounts.recovered() // which makes the account
	}
	b.fail(err)
}

func (b *Broker) serverDisconnect(d *paho.Disconnect) {
	err := fmt.Errorf("EMQX closed the connection (%s)", (&packets.Disconnect{ReasonCode: d.ReasonCode}).Reason())
	if d.ReasonCode == packets.DisconnectSessionTakenOver {
		err = errors.New("a copy of this appliance has connected to this EMQX; only one may")
	}
	b.fail(err)
}

// fail notes why there is no connection. It is logged when it is news.
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

// freshSession forgets at every new connection what was published and not acknowledged on the last
// one. The library would send it again whenever the connection comes back: a command that was
// meanwhile cancelled or has expired. What still has to be sent the ledger of commands knows.
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
	_ = old.Close() // wakes whoever waits for an acknowledgement of it
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
