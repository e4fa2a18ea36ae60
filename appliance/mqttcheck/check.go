package mqttcheck

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"wfm/protocol"
)

// Timeout bounds a whole check: it is as long as deployed agents try.
const Timeout = 15 * time.Second

// maxAnswer bounds one packet of the other side, in bytes.
const maxAnswer = 64 << 10

// Target is the broker's address for agents.
type Target struct {
	Host   string
	Port   int
	TLS    bool
	CACert string // PEM; the only trust anchors
}

func (t Target) String() string { return net.JoinHostPort(t.Host, strconv.Itoa(t.Port)) }

// Account is the account that the check uses.
type Account struct {
	ConfigID, NodeID, Password string
	// Asked reports whether the intended broker was asked for this account. Without TLS, the
	// password is sent to no other broker. If nil, that cannot be known, and the password is sent
	// to any broker.
	Asked func() bool
}

// Failure is the result of a failed check, with a message for an operator.
type Failure struct{ Message string }

func (f *Failure) Error() string { return f.Message }

func failure(format string, args ...any) error { return &Failure{fmt.Sprintf(format, args...)} }

// Run checks the target. Its error is always a *[Failure].
func Run(ctx context.Context, t Target, a Account) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	if !t.TLS && a.Asked != nil {
		if err := knock(ctx, t, a); err != nil {
			return err
		}
	}
	return open(ctx, t, func(s *session) error {
		if err := s.logIn(a); err != nil {
			return err
		}
		return s.subscribe(a)
	})
}

// knock finds out whether the intended broker answers at the target, with a password that is valid
// nowhere. With TLS, its certificate shows that.
func knock(ctx context.Context, t Target, a Account) error {
	return open(ctx, t, func(s *session) error {
		if _, err := s.connect(a.NodeID, protocol.NewSecret()); err != nil {
			return err
		}
		if !a.Asked() {
			return s.unknown()
		}
		return nil
	})
}

// open connects and runs talk.
func open(ctx context.Context, t Target, talk func(*session) error) error {
	conn, err := dial(ctx, t)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	if t.TLS {
		secured, err := handshake(ctx, t, conn)
		if err != nil {
			return err
		}
		conn = secured
	}
	return talk(&session{Conn: conn, in: bufio.NewReader(conn), target: t})
}

func dial(ctx context.Context, t Target) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.String())
	var dns *net.DNSError
	switch {
	case err == nil:
		return conn, nil
	case errors.As(err, &dns):
		return nil, failure("The host name %s cannot be resolved from here (%s). Use a name that exists where the nodes are, or an address.", t.Host, dns.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, failure("Nothing listens at %s. Use the port the broker listens on, or the one that is forwarded to it.", t)
	case timedOut(err):
		return nil, failure("%s does not answer. Look for a firewall in between, and whether the address is reachable from here.", t)
	}
	return nil, failure("%s cannot be reached: %s. Look at the address and the network.", t, cause(err))
}

func handshake(ctx context.Context, t Target, conn net.Conn) (net.Conn, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(t.CACert)) {
		return nil, failure("There is no CA certificate yet that agents could trust. Look at the certificates in the system status.")
	}
	secured := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: t.Host, MinVersion: tls.VersionTLS12})
	err := secured.HandshakeContext(ctx)
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var plain tls.RecordHeaderError
	switch {
	case err == nil:
		return secured, nil
	case errors.As(err, &host):
		return nil, failure("The certificate of %s is not for the host %s. Use a host it is for: %s.", t, t.Host, names(host.Certificate))
	case errors.As(err, &unknown):
		return nil, failure("The certificate of %s does not come from the CA that agents are given. Another server answers there, or a proxy in between ends TLS.",
			t)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return nil, failure("The certificate of %s is not valid at this time. Renew it, or set this machine's clock.", t)
	case errors.As(err, &plain):
		return nil, failure("%s answers without TLS. Use the port with TLS, or switch tls off.", t)
	case timedOut(err):
		return nil, failure("%s accepts connections and then says nothing. Check that this is the port with TLS.", t)
	}
	return nil, failure("TLS with %s failed: %s. Check that this is the port with TLS.", t, cause(err))
}

func names(c *x509.Certificate) string {
	all := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "it names none"
	}
	return strings.Join(all, ", ")
}

// session is the conversation with the broker.
type session struct {
	net.Conn
	in     *bufio.Reader
	target Target
}

// unknown returns the failure that another broker answers.
func (s *session) unknown() error {
	return failure("An MQTT broker answers at %s, but it does not know this appliance's nodes. Use the address of this appliance's own broker.", s.target)
}

func (s *session) logIn(a Account) error {
	reason, err := s.connect(a.NodeID, a.Password)
	switch {
	case err != nil:
		return err
	case reason == packets.ConnackBadUsernameOrPassword || reason == packets.ConnackNotAuthorized:
		return s.unknown()
	case reason >= 0x80:
		return failure("The broker at %s refuses a login (reason code 0x%02x). Look at its log.", s.target, reason)
	}
	return nil
}

// connect requests a session of the node, and returns the reason code of the answer.
func (s *session) connect(nodeID, password string) (reason byte, err error) {
	p := packets.NewControlPacket(packets.CONNECT)
	c := p.Content.(*packets.Connect)
	c.ClientID, c.Username, c.Password = protocol.ClientID(nodeID), nodeID, []byte(password)
	c.UsernameFlag, c.PasswordFlag, c.CleanStart, c.KeepAlive = true, true, true, 60
	answer, err := s.exchange(p)
	ack, ok := answer.(*packets.Connack)
	switch {
	case err == nil && !ok:
		err = failure("%s answers, but not as an MQTT 5 broker. Use the broker's own port.", s.target)
	case timedOut(err):
		err = failure("%s accepts connections and does not answer a login. Look whether it is the broker's port, and whether it wants TLS.", s.target)
	case err != nil && !s.target.TLS:
		err = failure("%s closes the connection at login: it is no MQTT 5 broker, or it wants TLS.", s.target)
	case err != nil:
		err = failure("%s closes the connection at login: it is no MQTT 5 broker. Use the broker's own port.", s.target)
	default:
		reason = ack.ReasonCode
	}
	return reason, err
}

// subscribe requests a topic of the node, and the same topic of another node.
func (s *session) subscribe(a Account) error {
	own := protocol.Topic{ConfigID: a.ConfigID, NodeID: a.NodeID, Kind: protocol.KindControl}
	foreign := own
	foreign.NodeID = protocol.NewID("node")
	p := packets.NewControlPacket(packets.SUBSCRIBE)
	sub := p.Content.(*packets.Subscribe)
	sub.PacketID = 1
	sub.Subscriptions = []packets.SubOptions{{Topic: own.String(), QoS: 1}, {Topic: foreign.String(), QoS: 1}}
	answer, err := s.exchange(p)
	ack, ok := answer.(*packets.Suback)
	switch {
	case err != nil || !ok || len(ack.Reasons) != 2:
		return failure("The broker at %s lets a node log in, but does not answer when it subscribes. Look at its log.", s.target)
	case ack.Reasons[0] >= 0x80:
		return failure("The broker at %s does not let a node read its own commands (reason code 0x%02x). Look at its authorization.", s.target, ack.Reasons[0])
	case ack.Reasons[1] < 0x80:
		return failure("The broker at %s lets a node read the commands of another one. Do not use it before its authorization denies that.", s.target)
	}
	_, _ = packets.NewControlPacket(packets.DISCONNECT).WriteTo(s)
	return nil
}

// exchange sends the packet and returns the content of the answer.
func (s *session) exchange(p *packets.ControlPacket) (any, error) {
	if _, err := p.WriteTo(s); err != nil {
		return nil, err
	}
	if err := s.bounded(); err != nil {
		return nil, err
	}
	answer, err := packets.ReadPacket(s.in)
	if err != nil {
		return nil, err
	}
	return answer.Content, nil
}

var errTooLong = errors.New("the answer is not a valid packet")

// bounded checks the length of the next packet before memory is allocated for it.
func (s *session) bounded() error {
	length := 0
	for i := 1; i <= 4; i++ {
		head, err := s.in.Peek(i + 1)
		if err != nil {
			return err
		}
		length |= int(head[i]&0x7f) << (7 * (i - 1))
		if head[i]&0x80 == 0 {
			if length > maxAnswer {
				return errTooLong
			}
			return nil
		}
	}
	return errTooLong
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || (errors.As(err, &timeout) && timeout.Timeout())
}

// cause returns the system's own error, without the addresses around it.
func cause(err error) string {
	var no syscall.Errno
	switch {
	case errors.As(err, &no):
		return no.Error()
	case errors.Is(err, io.EOF):
		return "the other side closed the connection"
	}
	return strings.TrimSuffix(err.Error(), ".")
}
