package agent

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"wfm/internal/buildinfo"
	"wfm/protocol"
)

const (
	keepAlive      = 60               // seconds
	publishLimit   = 15 * time.Second // for one message and its PUBACK
	stopLimit      = 3 * time.Second  // for the goodbye, after all commands have ended
	receiveMaximum = 128              // commands in flight to the agent; both lanes hold as many
	// maxPacket keeps messages that the protocol would refuse from being read into memory. The
	// headroom is for the topic and the properties around the largest message.
	maxPacket = protocol.MaxMessageSize + 16<<10

	reasonBadCredentials   = 0x86 // MQTT 5, 3.2.2.2
	reasonNotAuthorized    = 0x87
	reasonBadClientID      = 0x85
	reasonSessionTakenOver = 0x8E
)

// session keeps one profile connected: it subscribes, sends heartbeats, passes commands to the
// executor and empties the outbox.
type session struct {
	profile   Profile
	heartbeat time.Duration
	backoff   *backoff
	exec      *executor
	out       *outbox
	log       *slog.Logger
	bootID    string
	instance  string // of this process

	perConn sync.WaitGroup

	mu        sync.Mutex
	sessionID string                      // of the connection, or of the current attempt
	down      chan struct{}               // closed when the open connection ends; nil while there is none
	changed   chan struct{}               // closed and replaced when a connection comes up
	cm        *autopaho.ConnectionManager // set with the first connection
	conn      net.Conn                    // the newest, so that Reconnect can end it
	stopDial  context.CancelFunc          // ends the newest attempt to connect
}

// Run serves until ctx ends. Then it lets a running command end, says goodbye and disconnects.
func (s *session) Run(ctx context.Context) error {
	// The connection outlives ctx by the time of the clean stop.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	cfg, err := s.config(life)
	if err != nil {
		return err
	}
	s.exec.Start(life)
	cm, err := autopaho.NewConnection(life, cfg)
	if err != nil {
		s.exec.Stop()
		return fmt.Errorf("connect %s: %w", s.profile.ID(), err)
	}
	var sender sync.WaitGroup
	sender.Go(func() {
		s.out.Run(life, func(ctx context.Context, m outMessage) sendResult {
			if !s.awaitConnection(ctx) {
				return sendAgain
			}
			return s.publish(ctx, cm, m)
		})
	})
	<-ctx.Done()
	s.exec.Stop()
	s.goodbye(life, cm)
	end()
	<-cm.Done()
	sender.Wait()
	s.perConn.Wait()
	return nil
}

// goodbye delivers the remaining messages, reports to the server that this end is intended, and
// disconnects. The will is not sent after a DISCONNECT [MQTT-3.1.2-10], so the event replaces it.
func (s *session) goodbye(life context.Context, cm *autopaho.ConnectionManager) {
	ctx, cancel := context.WithTimeout(life, stopLimit)
	defer cancel()
	if s.connection() != nil {
		s.out.Flush(ctx)
		s.publish(ctx, cm, s.event("info", protocol.EventOffline, "agent stopped"))
	}
	if err := cm.Disconnect(ctx); err != nil {
		s.log.Debug("disconnect was cut short", "err", err)
	}
}

func (s *session) config(life context.Context) (autopaho.ClientConfig, error) {
	m := s.profile.MQTT
	scheme, _, err := transport(m)
	if err != nil {
		return autopaho.ClientConfig{}, fmt.Errorf("profile %q: %w", s.profile.ID(), err)
	}
	return autopaho.ClientConfig{
		ServerUrls: []*url.URL{{Scheme: scheme, Host: net.JoinHostPort(m.Host, strconv.Itoa(m.Port))}},
		AttemptConnection: func(ctx context.Context, _ autopaho.ClientConfig, _ *url.URL) (net.Conn, error) {
			return s.connect(ctx)
		},
		KeepAlive:        keepAlive,
		ConnectTimeout:   connectLimit, // for the CONNACK, once connected
		ReconnectBackoff: func(int) time.Duration { return s.backoff.Next() },
		ConnectUsername:  m.Username,
		ConnectPassword:  []byte(m.Password),
		// Clean start is false and there is no session expiry, as with every agent in the field:
		// the broker keeps nothing for an absent node, and the server repeats important messages.
		CleanStartOnInitialConnection: false,
		SessionExpiryInterval:         0,
		ConnectPacketBuilder:          s.connectPacket,
		OnConnectionUp:                func(cm *autopaho.ConnectionManager, _ *paho.Connack) { s.up(life, cm) },
		OnConnectionDown:              s.lost,
		OnConnectError:                s.connectError,
		ClientConfig: paho.ClientConfig{
			ClientID:           m.ClientID,
			OnServerDisconnect: s.serverDisconnect,
			OnClientError:      func(err error) { s.log.Warn("connection lost", "err", err) },
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){
				func(p paho.PublishReceived) (bool, error) {
					s.exec.Receive(p.Packet.Topic, p.Packet.Payload)
					return true, nil
				},
			},
		},
	}, nil
}

// transport returns the scheme and the TLS configuration. With TLS, the certificate from bind is
// the only trust anchor: a server that the system happens to trust is not the server this node was
// bound to. If the bind answer names no certificate, the system's roots apply.
func transport(m protocol.BindMQTT) (scheme string, cfg *tls.Config, err error) {
	if !m.TLS {
		return "mqtt", nil, nil
	}
	var roots *x509.CertPool // nil: the system's
	if m.CACert != "" {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(m.CACert)) {
			return "", nil, fmt.Errorf("mqtt.ca_cert holds no certificate: %w", ErrProfileInvalid)
		}
	}
	return "mqtts", &tls.Config{RootCAs: roots, ServerName: m.Host, MinVersion: tls.VersionTLS12}, nil
}

// connectPacket gives every attempt a session id of its own, and a will that carries it: the server
// must be able to distinguish the will of an earlier connection from the end of this one.
func (s *session) connectPacket(c *paho.Connect, _ *url.URL) (*paho.Connect, error) {
	s.mu.Lock()
	s.sessionID = protocol.NewID("ses")
	s.mu.Unlock()
	will, topic, err := s.encode(s.event("info", protocol.EventOffline, "connection lost"))
	if err != nil {
		return nil, fmt.Errorf("build will: %w", err)
	}
	c.WillMessage = &paho.WillMessage{Topic: topic, Payload: will, QoS: 1}
	c.WillProperties = &paho.WillProperties{}
	c.Properties = &paho.ConnectProperties{
		ReceiveMaximum:    paho.Uint16(receiveMaximum),
		MaximumPacketSize: paho.Uint32(maxPacket), RequestProblemInfo: true,
		User: paho.UserProperties{{Key: protocol.PropertyInstance, Value: s.instance}},
	}
	return c, nil
}

// up runs in the connection's own goroutine and must not block it.
func (s *session) up(life context.Context, cm *autopaho.ConnectionManager) {
	s.backoff.Up()
	ctx, end := context.WithCancel(life)
	down := make(chan struct{})
	s.mu.Lock()
	s.cm, s.down = cm, down
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	s.exec.tryAgain() // if a missing network kept a tunnel from starting, it may start now
	s.log.Info("connected", "host", s.profile.MQTT.Host, "tls", s.profile.MQTT.TLS)
	s.perConn.Go(func() {
		defer end()
		s.serve(ctx, cm)
	})
	s.perConn.Go(func() { // ends serve with the connection
		defer end()
		select {
		case <-down:
		case <-ctx.Done():
		}
	})
}

// lost runs when an open connection ended.
func (s *session) lost() bool {
	s.backoff.Down()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		close(s.down)
		s.down = nil
	}
	return true // keep trying
}

// connection returns a channel that closes when the open connection ends, or nil if there is none.
func (s *session) connection() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

// awaitConnection waits until there is a connection. It returns false if ctx ends first.
func (s *session) awaitConnection(ctx context.Context) bool {
	for {
		s.mu.Lock()
		up, changed := s.down != nil, s.changed
		s.mu.Unlock()
		if up {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// serve subscribes and then sends heartbeats while the connection is up. The first heartbeat comes
// after the subscription: it tells the server that commands will arrive.
func (s *session) serve(ctx context.Context, cm *autopaho.ConnectionManager) {
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		err := s.subscribe(ctx, cm)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		s.log.Error("subscription refused, commands will not arrive", "err", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
	tick := time.NewTicker(s.heartbeat)
	defer tick.Stop()
	for {
		s.publish(ctx, cm, s.exec.heartbeat())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// heartbeat also contains the agent's version and capabilities, by which the server notices an
// agent that was replaced.
func heartbeat(up bool, wanted protocol.WantedState, publicKey string) protocol.Heartbeat {
	online := true
	return protocol.Heartbeat{
		ClientOnline: &online, WGOnline: &up, ClientVersion: buildinfo.Version(), Capabilities: capabilities(), WantedState: wanted,
		PublicKey: publicKey,
	}
}

func (s *session) subscribe(ctx context.Context, cm *autopaho.ConnectionManager) error {
	var sub paho.Subscribe
	for _, filter := range protocol.SubscribeTopics(s.profile.Node.ConfigID, s.profile.Node.NodeID) {
		// No retained messages: a command left in the broker is outdated.
		sub.Subscriptions = append(sub.Subscriptions, paho.SubscribeOptions{Topic: filter, QoS: 1, RetainHandling: 2})
	}
	ctx, cancel := context.WithTimeout(ctx, publishLimit)
	defer cancel()
	if _, err := cm.Subscribe(ctx, &sub); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

// publish sends one message on the open connection and waits for its PUBACK.
func (s *session) publish(ctx context.Context, cm *autopaho.ConnectionManager, m outMessage) sendResult {
	down := s.connection()
	if down == nil {
		return sendAgain
	}
	data, topic, err := s.encode(m)
	if err != nil {
		s.log.Error("a message cannot be encoded, it is dropped", "type", m.kind, "request_id", m.requestID, "err", err)
		return sendNever
	}
	ctx, cancel := context.WithTimeout(ctx, publishLimit)
	defer cancel()
	// The client may wait for a PUBACK that a lost connection can no longer bring.
	go func() {
		select {
		case <-down:
			cancel()
		case <-ctx.Done():
		}
	}()
	resp, err := cm.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: data})
	switch {
	case resp != nil && resp.ReasonCode >= 0x80:
		s.log.Warn("the broker refused a message", "type", m.kind, "request_id", m.requestID, "reason_code", resp.ReasonCode)
		return sendRefused
	case errors.Is(err, paho.ErrInvalidArguments):
		s.log.Error("the broker does not offer what a message needs, it is dropped", "type", m.kind, "request_id", m.requestID, "err", err)
		return sendNever
	case err != nil:
		s.log.Debug("a message was not taken", "type", m.kind, "request_id", m.requestID, "err", err)
		return sendAgain
	}
	return sendTaken
}

// encode puts m into the envelope of the current connection.
func (s *session) encode(m outMessage) (data []byte, topic string, err error) {
	t := protocol.Topic{ConfigID: s.profile.Node.ConfigID, NodeID: s.profile.Node.NodeID, Kind: m.kind}
	env, err := protocol.NewEnvelope(t, m.requestID, m.payload, time.Now())
	if err != nil {
		return nil, "", err
	}
	s.mu.Lock()
	env.BootID, env.SessionID = s.bootID, s.sessionID
	s.mu.Unlock()
	data, err = env.Encode()
	return data, t.String(), err
}

func (s *session) event(level, event, text string) outMessage {
	return message(protocol.KindEvent, protocol.Event{Level: level, Event: event, Message: text})
}

func (s *session) connectError(err error) {
	var refused *autopaho.ConnackError
	if errors.As(err, &refused) && denies(refused.ReasonCode) {
		switch s.backoff.Denied() { // once, not at every attempt
		case refusalPassing:
			s.log.Warn("credentials refused: the broker may not be ready yet, will try again; if it lasts, see that the node and its config are enabled on the server",
				"reason_code", refused.ReasonCode)
		case refusalLasting:
			s.log.Error("credentials refused: if the node and its config are enabled on the server, bind this node again", "reason_code", refused.ReasonCode)
		case refusalKnown:
		}
		return
	}
	s.backoff.Failed()
	s.log.Warn("cannot connect, will try again", "host", s.profile.MQTT.Host, "err", err)
}

// denies reports whether the CONNACK's reason code stands for a lasting refusal.
func denies(code byte) bool {
	return code == reasonBadCredentials || code == reasonNotAuthorized || code == reasonBadClientID
}

func (s *session) serverDisconnect(d *paho.Disconnect) {
	if d.ReasonCode == reasonSessionTakenOver {
		if s.backoff.TakenOver() { // once, not at every turn
			s.log.Error("another machine uses this node's identity: bind one of them again", "reason_code", d.ReasonCode)
		}
		return
	}
	s.log.Warn("the broker closed the connection", "reason_code", d.ReasonCode,
		"reason", (&packets.Disconnect{ReasonCode: d.ReasonCode}).Reason())
}

// readBootID returns the kernel's boot id, which changes only with a reboot, or a random id if
// there is none.
func readBootID() string { return cmp.Or(kernelBootID(), protocol.NewID("boot")) }

// kernelBootID returns the kernel's boot id, or "" if it has none.
func kernelBootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if id := strings.TrimSpace(string(data)); err == nil && len(id) <= protocol.MaxIDLength {
		return id
	}
	return ""
}
