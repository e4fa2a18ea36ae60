package agenttest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
)

// Client is a bound agent.
type Client struct {
	ConfigID, NodeID, Interface string
	Password                    string // MQTT

	t                                testing.TB
	host, username, clientID, caCert string
	port                             int
	tls                              bool
	subscribe                        []string
	commands                         chan *paho.Publish

	mu         sync.Mutex
	boot       string
	conn       net.Conn
	stored     map[string]string // by interface: the config on disk
	running    map[string]string // by interface: the family of tools it was started with
	violations []string
	refused    int // connections that the broker refused
}

func newClient(tb testing.TB) *Client {
	tb.Helper()
	return &Client{t: tb, running: map[string]string{}, commands: make(chan *paho.Publish, 64)}
}

// Stored returns the config on the client's disk for its own interface.
func (c *Client) Stored() string { c.mu.Lock(); defer c.mu.Unlock(); return c.stored[c.Interface] }

// Running returns the family of tools its tunnel was started with, "wg" or "awg". It returns ""
// while the tunnel does not run.
func (c *Client) Running() string { c.mu.Lock(); defer c.mu.Unlock(); return c.running[c.Interface] }

// Violations returns the faults of the received messages.
func (c *Client) Violations() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.violations...)
}

// Refused returns how often the broker refused a connection.
func (c *Client) Refused() int { c.mu.Lock(); defer c.mu.Unlock(); return c.refused }

// Run connects, and stays connected until the test ends or stop is called, which disconnects.
func (c *Client) Run() (stop func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	scheme := "mqtt"
	if c.tls {
		scheme = "mqtts"
	}
	cm, err := autopaho.NewConnection(ctx, autopaho.ClientConfig{
		ServerUrls: []*url.URL{{Scheme: scheme, Host: net.JoinHostPort(c.host, strconv.Itoa(c.port))}},
		KeepAlive:  60, CleanStartOnInitialConnection: false, SessionExpiryInterval: 0,
		ConnectUsername: c.username, ConnectPassword: []byte(c.Password),
		ReconnectBackoff:     func(int) time.Duration { return 50 * time.Millisecond },
		AttemptConnection:    func(ctx context.Context, _ autopaho.ClientConfig, _ *url.URL) (net.Conn, error) { return c.dial(ctx) },
		ConnectPacketBuilder: c.connect,
		OnConnectionUp:       func(cm *autopaho.ConnectionManager, _ *paho.Connack) { go c.up(ctx, cm) },
		OnConnectError:       func(error) { c.mu.Lock(); c.refused++; c.mu.Unlock() },
		ClientConfig: paho.ClientConfig{ClientID: c.clientID, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
			func(p paho.PublishReceived) (bool, error) { c.commands <- p.Packet; return true, nil },
		}},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	var worker sync.WaitGroup
	worker.Go(func() {
		for {
			select {
			case p := <-c.commands:
				c.execute(ctx, cm, p)
			case <-ctx.Done():
				return
			}
		}
	})
	var once sync.Once
	stop = func() {
		once.Do(func() {
			leave, done := context.WithTimeout(ctx, time.Second)
			_ = cm.Disconnect(leave)
			done()
			cancel()
			<-cm.Done()
			worker.Wait()
		})
	}
	c.t.Cleanup(stop)
	return stop
}

// dial trusts only ca_cert, and checks the host's name.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: time.Minute}).DialContext(ctx, "tcp", net.JoinHostPort(c.host, strconv.Itoa(c.port)))
	if err == nil && c.tls {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(c.caCert)) {
			return nil, fmt.Errorf("ca_cert holds no certificate")
		}
		secure := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: c.host, MinVersion: tls.VersionTLS12})
		if err = secure.HandshakeContext(ctx); err == nil {
			conn = secure
		}
	}
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn
	return conn, nil
}

// connect sets the ids and the will of the connection.
func (c *Client) connect(p *paho.Connect, _ *url.URL) (*paho.Connect, error) {
	c.mu.Lock()
	c.boot = strconv.FormatInt(time.Now().UnixNano(), 10)
	c.mu.Unlock()
	p.WillMessage = &paho.WillMessage{
		Topic: c.topic("event"), QoS: 1,
		Payload: c.envelope("event", "", map[string]any{"event": "offline", "level": "info", "message": "Client disconnected with will message."}),
	}
	return p, nil
}

func (c *Client) up(ctx context.Context, cm *autopaho.ConnectionManager) {
	var s paho.Subscribe
	for _, topic := range c.subscribe {
		s.Subscriptions = append(s.Subscriptions, paho.SubscribeOptions{Topic: topic, QoS: 1})
	}
	if _, err := cm.Subscribe(ctx, &s); err != nil {
		return // the connection broke
	}
	c.event(ctx, cm, "online", "Client connected and MQTT session established.")
	c.publish(ctx, cm, "heartbeat", "", map[string]any{"client_online": true, "wg_online": c.Running() != ""})
}

func (c *Client) topic(suffix string) string {
	return "wfm/" + c.ConfigID + "/" + c.NodeID + "/" + suffix
}

func (c *Client) envelope(kind, requestID string, payload map[string]any) []byte {
	c.mu.Lock()
	boot := c.boot
	c.mu.Unlock()
	raw, err := json.Marshal(map[string]any{
		"type": kind, "request_id": requestID, "config_id": c.ConfigID, "node_id": c.NodeID, "boot_id": "boot-" + boot, "session_id": "session-" + boot,
		"sent_at": time.Now().UTC().Format(time.RFC3339), "payload": payload,
	})
	if err != nil {
		panic(err) // strings and bools always have a JSON form
	}
	return raw
}

func (c *Client) publish(ctx context.Context, cm *autopaho.ConnectionManager, kind, requestID string, payload map[string]any) {
	_, _ = cm.Publish(ctx, &paho.Publish{Topic: c.topic(kind), QoS: 1, Payload: c.envelope(kind, requestID, payload)})
}

func (c *Client) event(ctx context.Context, cm *autopaho.ConnectionManager, name, message string) {
	c.publish(ctx, cm, "event", "", map[string]any{"event": name, "level": "info", "message": strings.TrimSpace(message)})
}
