package hooks

import (
	"cmp"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/appliance/ingress"
	"wfm/internal/floodlog"
	"wfm/protocol"
	"wfm/rights"
	"wfm/store"
)

// MaxKeepAlive is the longest keep-alive of a client, in seconds. It also applies to a client that
// asks for more, or for none at all (0).
const MaxKeepAlive = 300

// MaxPacketSize is the largest packet that a client may send, in bytes. It is announced to the
// client. The broker's own limit must be larger, since the broker closes the connection without an
// answer.
const MaxPacketSize = protocol.MaxMessageSize + 1024

// Grants looks up the current rights of a node. [store.DB] implements it.
type Grants interface {
	Grant(nodeID string) (store.Grant, bool)
	// WatchGrants calls fn with the nodes whose right has changed, until stop is called. A change
	// of a right waits for fn.
	WatchGrants(fn func(nodeIDs []string)) (stop func())
}

// Hook is the one hook of the broker.
type Hook struct {
	mqtt.HookBase
	server   *mqtt.Server
	grants   Grants
	ingress  ingress.Port
	log      *slog.Logger
	registry *Registry
	taken    atomic.Uint64
	refused  atomic.Uint64

	keepAlive uint16          // seconds
	told      *floodlog.Keyed // logged refusals
}

// Options configures New.
type Options struct {
	Server  *mqtt.Server
	Grants  Grants
	Ingress ingress.Port
	// KeepAlive is the longest keep-alive of an MQTT 5 client, which can be informed of it, in seconds.
	// Default: [MaxKeepAlive], which it must not exceed.
	KeepAlive uint16
	Logger    *slog.Logger // default: discard
}

// New returns the hook for the server. It must be added to the server before that serves. The server
// starts and stops it.
func New(o Options) *Hook {
	log := cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return &Hook{
		server: o.Server, grants: o.Grants, ingress: o.Ingress, log: log,
		registry:  newRegistry(o.Server, o.Grants, o.Ingress, log),
		keepAlive: cmp.Or(o.KeepAlive, MaxKeepAlive), told: floodlog.NewKeyed(time.Hour),
	}
}

// Registry returns the registry of live MQTT sessions.
func (h *Hook) Registry() *Registry { return h.registry }

// Messages returns how many messages of nodes were stored since the start, and how many were not,
// for any reason.
func (h *Hook) Messages() (taken, refused uint64) { return h.taken.Load(), h.refused.Load() }

// ID names the hook.
func (h *Hook) ID() string { return "wfm" }

// Provides reports whether the hook handles the event.
func (h *Hook) Provides(event byte) bool {
	return slices.Contains([]byte{
		mqtt.OnPacketRead, mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck,
		mqtt.OnSessionEstablish, mqtt.OnSessionEstablished, mqtt.OnPacketEncode, mqtt.OnPacketSent,
		mqtt.OnPublish, mqtt.OnQosPublish, mqtt.OnWill,
	}, event)
}

// OnPacketRead applies our rules to packets before the broker sees them.
func (h *Hook) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if s := h.registry.session(cl); s != nil {
		if s.limiter.Tokens() > packetBurst/2 {
			s.throttledSince = time.Time{}
		}
		if wait := s.limiter.Reserve().Delay(); wait > 0 {
			if s.throttledSince.IsZero() {
				s.throttledSince = time.Now()
			}
			if time.Since(s.throttledSince) > longestThrottle {
				h.refuse(cl, packets.ErrMessageRateTooHigh)
				return pk, packets.ErrRejectPacket
			}
			time.Sleep(wait) // only this connection's own goroutine
		}
	}
	switch pk.FixedHeader.Type {
	case packets.Connect:
		// The store is the queue: every session is a clean one. The broker copies this to the
		// client.
		pk.Connect.Clean = true
		pk.Connect.WillProperties.WillDelayInterval = 0
		if pk.Connect.WillFlag && len(pk.Connect.WillPayload) == 0 {
			pk.Connect.WillPayload = []byte("{}") // the broker refuses an empty payload, which the standard allows
		}
	case packets.Publish:
		if pk.FixedHeader.Qos > 1 {
			// The broker would answer QoS 2 with a PUBACK [MQTT-4.3.3-1].
			h.refuse(cl, packets.ErrQosNotSupported)
			return pk, packets.ErrRejectPacket
		}
		if len(pk.TopicName) >= len(mqtt.SysPrefix) && strings.EqualFold(pk.TopicName[:len(mqtt.SysPrefix)], mqtt.SysPrefix) {
			// The broker would drop it without an answer, so it is refused like any other foreign
			// topic.
			pk.TopicName = "/" + pk.TopicName
		}
	case packets.Disconnect:
		// A session that ends with its connection cannot be extended at its end.
		pk.Properties.SessionExpiryIntervalFlag = false
		if s := h.registry.session(cl); s != nil {
			s.parted.Store(true)
		}
	}
	return pk, nil
}

// refuse ends a connection. An MQTT 5 client gets the reason.
func (h *Hook) refuse(cl *mqtt.Client, code packets.Code) {
	if s := h.registry.session(cl); s != nil {
		s.end(code)
	}
	cl.Stop(code)
}

// OnConnect clears every option of a client that causes trouble in the broker.
func (h *Hook) OnConnect(cl *mqtt.Client, _ packets.Packet) error {
	// A Receive Maximum deadlocks the broker's publisher, and its quota leaks. Our delivery does
	// not depend on the broker's inflight messages, see OnQosPublish.
	cl.Properties.Props.ReceiveMaximum = 0
	cl.State.Inflight.ResetSendQuota(0)
	cl.Properties.Props.TopicAliasMaximum = 0
	longest := h.keepAlive
	if cl.Properties.ProtocolVersion < level5 {
		longest = MaxKeepAlive // an older client uses its own keep-alive, and would be cut off between two pings
	}
	if cl.State.Keepalive == 0 || cl.State.Keepalive > longest {
		cl.State.Keepalive = longest
		cl.State.ServerKeepalive = true // Server Keep Alive, MQTT 5 3.2.2.3.14
	}
	return nil
}

// OnConnectAuthenticate admits the agent of an enabled node, under its own client id only.
func (h *Hook) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	code, reason := h.admit(cl, pk)
	if code == packets.CodeSuccess {
		return true
	}
	h.tellRefused(cl, string(pk.Connect.Username), reason)
	h.registry.refuse(cl, code)
	return false
}

// admit decides whether the client may log in. If not, it returns the reason as a code and in
// words.
func (h *Hook) admit(cl *mqtt.Client, pk packets.Packet) (code packets.Code, reason string) {
	grant, _ := h.grants.Grant(string(pk.Connect.Username))
	login := rights.Login{ClientID: cl.ID, Password: pk.Connect.Password}
	if pk.Connect.WillFlag { // the broker publishes it without a question
		login.Will = &rights.Will{Topic: pk.Connect.WillTopic, QoS: pk.Connect.WillQos, Retain: pk.Connect.WillRetain}
	}
	switch rights.Admit(grant, login) {
	case rights.Admitted:
		h.registry.add(cl, grant, instance(pk))
		return packets.CodeSuccess, ""
	case rights.ForeignClientID:
		return packets.ErrClientIdentifierNotValid, "client id is not the node's"
	case rights.ForbiddenWill:
		return packets.ErrNotAuthorized, "last will is not on the node's own event topic, or is retained"
	case rights.UnknownUser, rights.WrongPassword: // one answer for both
	}
	return packets.ErrBadUsernameOrPassword, "unknown user or wrong password"
}

// instance returns the name of the agent's process in CONNECT, or "".
func instance(pk packets.Packet) string {
	for _, p := range pk.Properties.User {
		if p.Key == protocol.PropertyInstance && protocol.ValidID(p.Val) {
			return p.Val
		}
	}
	return ""
}

// tellRefused logs a refused login, once an hour for each user, address and reason: a client that
// was reset tries again every few seconds for ever.
func (h *Hook) tellRefused(cl *mqtt.Client, user, reason string) {
	host, _, _ := net.SplitHostPort(cl.Net.Remote)
	if repeated, ok := h.told.Take(clip(user)+" "+host+" "+reason, time.Now()); ok {
		h.log.Warn("MQTT connection refused", "node_id", clip(user), "client_id", clip(cl.ID), "remote", cl.Net.Remote, "reason", reason, "repeated", repeated)
	}
}

// tellForbidden logs that a node has published to a topic that is not its own.
func (h *Hook) tellForbidden(s *session, topic string) {
	if repeated, ok := h.told.Take(s.NodeID+" forbidden topic", time.Now()); ok {
		h.log.Warn("a node's message was refused", "node_id", s.NodeID, "remote", s.Remote, "topic", clip(topic),
			"err", "the topic is not one of the node's own", "repeated", repeated)
	}
}

// clip shortens a string that an outsider can write into our log.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// OnACLCheck decides every publish, every subscription and every delivery. It must be cheap.
func (h *Hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	s := h.registry.session(cl)
	if s == nil {
		return false
	}
	grant, _ := h.grants.Grant(s.NodeID)
	switch {
	case !write:
		return rights.MaySubscribe(grant, s.right(), topic)
	case rights.MayPublish(grant, s.right(), topic, false): // the broker retains nothing
		return true
	case rights.Holds(grant, s.right()):
		h.refused.Add(1)
		h.tellForbidden(s, topic)
	}
	return false
}

// OnSessionEstablish makes the session the only one of its client id.
func (h *Hook) OnSessionEstablish(cl *mqtt.Client, _ packets.Packet) { h.registry.establish(cl) }

// OnSessionEstablished reports the session.
func (h *Hook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	if s := h.registry.session(cl); s != nil && !cl.Closed() {
		s.established.Store(true)
		if conn, ok := cl.Net.Conn.(Conn); ok {
			conn.Farewell(func() []byte { return h.registry.farewell(s) })
		}
		h.ingress.Connected(s.Session)
	}
}

// OnPacketEncode corrects CONNACK: the broker announces less than it refuses, and sends MQTT 3.1.1
// clients codes that their standard does not know. It also keeps DISCONNECT from such clients,
// where it goes from client to server only (MQTT 3.1.1, 3.14).
func (h *Hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	if pk.FixedHeader.Type == packets.Disconnect {
		if s := h.registry.session(cl); s != nil {
			s.superseded.Store(true)
			s.parted.Store(true)
		}
		if cl.Properties.ProtocolVersion < level5 {
			cl.Stop(packets.Code{Code: pk.ReasonCode, Reason: pk.Properties.ReasonString}) // nothing can be written any more
		}
		return pk
	}
	if pk.FixedHeader.Type != packets.Connack {
		return pk
	}
	if code, ok := h.registry.refusal(cl); ok { // the broker has one code for all refused logins
		pk.ReasonCode, pk.Properties.ReasonString = code.Code, code.Reason
	}
	if cl.Properties.ProtocolVersion < level5 {
		pk.ReasonCode = connackV3(pk.ReasonCode)
		return pk
	}
	p := &pk.Properties
	p.RetainAvailable, p.RetainAvailableFlag = 0, true
	p.WildcardSubAvailable, p.WildcardSubAvailableFlag = 0, true
	p.SharedSubAvailable, p.SharedSubAvailableFlag = 0, true
	p.SubIDAvailable, p.SubIDAvailableFlag = 0, true
	p.MaximumPacketSize = MaxPacketSize
	return pk
}

// connackV3 returns the CONNACK return code of MQTT 3.1.1 (table 3.1), which only has 0 to 5. Code
// 3, which libraries call "server unavailable", stands only for temporary conditions.
func connackV3(code byte) byte {
	switch code {
	case packets.ErrUnsupportedProtocolVersion.Code:
		return returnBadLevel
	case packets.ErrClientIdentifierNotValid.Code:
		return returnBadClientID
	case packets.ErrUnspecifiedError.Code, packets.ErrImplementationSpecificError.Code, packets.ErrServerUnavailable.Code,
		packets.ErrServerBusy.Code, packets.ErrServerShuttingDown.Code, packets.ErrQuotaExceeded.Code, packets.ErrConnectionRateExceeded.Code:
		return returnUnavailable
	}
	if code > returnNotAuthorized {
		return returnNotAuthorized
	}
	return code
}

// OnPacketSent reports a subscription once its SUBACK is being sent, so that no command can
// overtake it.
func (h *Hook) OnPacketSent(cl *mqtt.Client, pk packets.Packet, _ []byte) {
	if pk.FixedHeader.Type != packets.Suback {
		return
	}
	if s := h.registry.session(cl); s != nil {
		h.ingress.Subscribed(s.Session)
	}
}

// OnPublish stores a message of a node. Its result decides whether the broker sends a PUBACK, so
// every path is deliberate.
func (h *Hook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline {
		return pk, nil // our own commands
	}
	s := h.registry.session(cl)
	topic, err := protocol.ParseTopic(pk.TopicName)
	if s == nil || err != nil {
		h.refuse(cl, packets.ErrNotAuthorized)
		return pk, packets.ErrRejectPacket
	}
	err = h.ingress.Receive(s.Session, topic, pk.Payload)
	if err != nil {
		h.refused.Add(1)
	} else {
		h.taken.Add(1)
	}
	tellable := cl.Properties.ProtocolVersion == 5 && pk.FixedHeader.Qos > 0
	switch {
	case err == nil:
		return pk, packets.CodeSuccessIgnore // acknowledged, but not distributed
	case errors.Is(err, ingress.ErrRefused) && tellable:
		return pk, packets.ErrPayloadFormatInvalid
	case errors.Is(err, ingress.ErrRefused):
		// The refusal is recorded; an MQTT 3.1.1 client would only send the same again.
		return pk, packets.CodeSuccessIgnore
	case tellable:
		return pk, packets.ErrQuotaExceeded
	default:
		h.refuse(cl, packets.ErrQuotaExceeded)
		return pk, packets.ErrRejectPacket
	}
}

// OnQosPublish forgets an outbound message as soon as it is handed over. With the broker's inflight
// table, a client's packet id could collide with ours. A command is done when its ACK arrives, not
// its PUBACK.
func (h *Hook) OnQosPublish(cl *mqtt.Client, pk packets.Packet, _ int64, _ int) {
	if pk.FixedHeader.Type == packets.Publish && cl.State.Inflight.Delete(pk.PacketID) {
		h.registry.uncountInflight()
	}
}

// OnWill stores the will and suppresses its publication: a will bypasses the ACL.
func (h *Hook) OnWill(cl *mqtt.Client, will mqtt.Will) (mqtt.Will, error) {
	if s := h.registry.session(cl); s != nil && s.established.Load() && !h.registry.isClosing() {
		h.ingress.Will(s.Session, will.Payload, s.willCause())
	}
	return mqtt.Will{}, nil
}
