package emqxtest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/internal/emqxcall"
	"wfm/internal/mqtttest"
)

// brokerName is the node of EMQX's cluster.
const brokerName = "emqx@127.0.0.1"

// broker makes a mochi-mqtt behave like EMQX.
type broker struct {
	mqtt.HookBase
	emqx   *Server
	server *mqtt.Server
	listen []*mqtttest.Listener

	mu       sync.Mutex
	sessions map[*mqtt.Client]*session
	lastAt   map[string]int64 // by client id, so that no two connections have the same time
	inboxes  map[string]*inbox
	members  map[string][]string // of shared filters, in order of subscription
	stuck    map[string]string
	turn     int
	refusals map[*mqtt.Client]byte    // CONNACK codes
	kicks    map[string]chan struct{} // of clients being kicked; closed when the session is gone

	done chan struct{} // closed once the broker has stopped
}

type session struct {
	username    string
	superuser   bool
	connectedAt int64 // Unix milliseconds
	established bool
	kicked      bool
	refused     map[string]bool // filters
	cache       map[string]cached
}

type cached struct {
	allowed bool
	until   time.Time
}

func newBroker(e *Server, server *mqtt.Server, l []*mqtttest.Listener) *broker {
	return &broker{
		emqx: e, server: server, listen: l, sessions: make(map[*mqtt.Client]*session), lastAt: make(map[string]int64),
		inboxes: make(map[string]*inbox), members: make(map[string][]string), stuck: make(map[string]string),
		refusals: make(map[*mqtt.Client]byte), kicks: make(map[string]chan struct{}), done: make(chan struct{}),
	}
}

// ID names the hook.
func (b *broker) ID() string { return "emqxtest" }

// Provides lists the events that the hook handles.
func (b *broker) Provides(event byte) bool {
	return slices.Contains([]byte{
		mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPacketRead, mqtt.OnSessionEstablish, mqtt.OnSessionEstablished,
		mqtt.OnDisconnect, mqtt.OnPublish, mqtt.OnWill, mqtt.OnWillSent, mqtt.OnPacketEncode,
	}, event)
}

// OnConnect avoids a problem of mochi with the receive maximum.
func (b *broker) OnConnect(cl *mqtt.Client, _ packets.Packet) error {
	cl.Properties.Props.ReceiveMaximum = 0
	cl.State.Inflight.ResetSendQuota(0)
	return nil
}

// OnConnectAuthenticate asks the authenticators in turn.
func (b *broker) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	user, password := string(pk.Connect.Username), string(pk.Connect.Password)
	if b.emqx.busy() {
		return b.refuse(cl, packets.ErrServerBusy.Code)
	}
	superuser, code := b.authenticate(cl.ID, user, password)
	if code != 0 {
		return b.refuse(cl, code)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at := max(time.Now().UnixMilli(), b.lastAt[cl.ID]+1)
	b.lastAt[cl.ID] = at
	b.sessions[cl] = &session{
		username: user, superuser: superuser, connectedAt: at,
		refused: make(map[string]bool), cache: make(map[string]cached),
	}
	return true
}

// refuse sets the code of the CONNACK.
func (b *broker) refuse(cl *mqtt.Client, code byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refusals[cl] = code
	return false
}

// authenticate returns the code of the CONNACK. A user that no authenticator knows, or that could
// not be asked about, is not authorized; a wrong password in the database is a bad one.
func (b *broker) authenticate(clientID, user, password string) (superuser bool, code byte) {
	s := b.emqx.config()
	if !s.HTTPAuth && !s.Database {
		return false, 0 // no authenticator: anyone can log in
	}
	if s.HTTPAuth {
		answer := b.emqx.ask(s, s.AuthURL, emqxcall.Question{Username: user, Password: password, ClientID: clientID}.Form(emqxcall.LoginFields()))
		switch answer.Result {
		case emqxcall.Allow:
			return answer.IsSuperuser, 0
		case emqxcall.Deny:
			return false, packets.ErrNotAuthorized.Code
		}
	}
	u, known := b.emqx.Users()[user]
	if !s.Database || !known {
		return false, packets.ErrNotAuthorized.Code
	}
	salted := u.Salt + password
	if s.SaltPosition == "suffix" {
		salted = password + u.Salt
	}
	sum := sha256.Sum256([]byte(salted))
	if s.HashName != "sha256" || hex.EncodeToString(sum[:]) != u.Hash {
		return false, packets.ErrBadUsernameOrPassword.Code
	}
	return u.Superuser, 0
}

func (b *broker) session(cl *mqtt.Client) *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sessions[cl]
}

// OnPacketRead decides a SUBSCRIBE: EMQX asks then, and never at a delivery.
func (b *broker) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.FixedHeader.Type == packets.Subscribe || pk.FixedHeader.Type == packets.Publish {
		pk.PacketID |= clientsOwn
	}
	s := b.session(cl)
	i := b.inbox(cl.ID)
	if pk.FixedHeader.Type == packets.Puback && i != nil {
		i.acknowledged(pk.PacketID)
	}
	if pk.FixedHeader.Type != packets.Subscribe || s == nil {
		return pk, nil
	}
	for _, f := range pk.Filters {
		shared := strings.HasPrefix(f.Filter, sharePrefix)
		allowed := b.authorize(cl, s, emqxcall.Subscribe, f.Filter, false) && (!shared || !b.zone(cl).NoShared)
		if shared && allowed {
			b.joined(cl.ID, f.Filter)
		}
		b.mu.Lock()
		s.refused[f.Filter] = !allowed
		b.mu.Unlock()
	}
	return pk, nil
}

// clientsOwn separates packet ids that clients chose from those of messages to them, which mochi
// mixes up. Tests use small ones.
const clientsOwn = 1 << 15

// OnPacketEncode restores the client's packet id in acknowledgements.
func (b *broker) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	if pk.FixedHeader.Type == packets.Suback || pk.FixedHeader.Type == packets.Puback {
		pk.PacketID &^= clientsOwn
	}
	switch {
	case pk.FixedHeader.Type == packets.Suback && b.zone(cl).NoShared && b.subscribesShared(cl):
		for i, code := range pk.ReasonCodes {
			if code >= 0x80 {
				pk.ReasonCodes[i] = packets.ErrSharedSubscriptionsNotSupported.Code
			}
		}
	case pk.FixedHeader.Type == packets.Connack && pk.ReasonCode == packets.ErrBadUsernameOrPassword.Code:
		b.mu.Lock()
		pk.ReasonCode = b.refusals[cl]
		delete(b.refusals, cl)
		b.mu.Unlock()
	}
	if pk.ReasonCode == packets.CodeNoMatchingSubscribers.Code {
		pk.Properties.ReasonString = packets.CodeNoMatchingSubscribers.Reason // otherwise mochi leaves the code out
	}
	return pk
}

// OnACLCheck asks for a PUBLISH; for a SUBSCRIBE it already has the answer.
func (b *broker) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	s := b.session(cl)
	switch {
	case s == nil: // a delivery to a session without a connection
		return !write && b.inbox(cl.ID) == nil
	case !write && b.inbox(cl.ID) != nil: // spread delivers
		b.mu.Lock()
		defer b.mu.Unlock()
		refused, asked := s.refused[topic]
		return asked && !refused
	case write:
		return b.authorize(cl, s, emqxcall.Publish, topic, false)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !s.refused[topic]
}

func (b *broker) authorize(cl *mqtt.Client, s *session, action, topic string, retain bool) bool {
	if s.superuser {
		return true
	}
	c := b.emqx.config()
	key := action + " " + topic
	b.mu.Lock()
	known, ok := s.cache[key]
	b.mu.Unlock()
	allowed := ok && known.allowed
	if !ok || time.Now().After(known.until) {
		allowed = b.decide(c, cl.ID, s.username, action, plainTopic(topic), retain)
		b.mu.Lock()
		if len(s.cache) >= 32 {
			clear(s.cache)
		}
		if c.CacheTTL > 0 {
			s.cache[key] = cached{allowed, time.Now().Add(c.CacheTTL)}
		}
		b.mu.Unlock()
	}
	if !allowed && c.DenyAction == "disconnect" {
		cl.Stop(packets.ErrNotAuthorized)
	}
	return allowed
}

// plainTopic returns the topic that EMQX asks about: without $share and $delayed.
func plainTopic(topic string) string {
	for _, prefix := range []string{"$share/", "$delayed/"} {
		if rest, ok := strings.CutPrefix(topic, prefix); ok {
			_, rest, _ = strings.Cut(rest, "/")
			return rest
		}
	}
	return topic
}

func (b *broker) decide(c Settings, clientID, user, action, topic string, retain bool) bool {
	if c.AuthzURL != "" {
		b.emqx.mu.Lock()
		b.emqx.asked++
		b.emqx.mu.Unlock()
		question := emqxcall.Question{Username: user, ClientID: clientID, Topic: topic, Action: action, Retain: retain}
		answer := b.emqx.ask(c, c.AuthzURL, question.Form(emqxcall.TopicFields()))
		switch answer.Result {
		case emqxcall.Allow:
			return true
		case emqxcall.Deny:
			return false
		}
	}
	return c.AllowAll || c.NoMatch == "allow"
}

// OnSessionEstablish waits until a session of the client id that is ending is gone completely.
func (b *broker) OnSessionEstablish(cl *mqtt.Client, pk packets.Packet) {
	if old, ok := b.server.Clients.Get(cl.ID); ok && old != cl && old.Closed() {
		b.awaitEnd(old)
	}
	b.mu.Lock()
	kicked := b.kicks[cl.ID]
	b.mu.Unlock()
	if kicked != nil {
		<-kicked
	}
	if s := b.session(cl); s != nil && s.superuser {
		b.inboxOf(cl, s, pk.Connect.Clean)
	}
}

// OnSessionEstablished publishes the event of the connection.
func (b *broker) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	s := b.session(cl)
	if s == nil {
		return
	}
	b.mu.Lock()
	s.established = true
	b.mu.Unlock()
	b.tell(cl, s, "connected", "")
	if i := b.inbox(cl.ID); i != nil {
		i.attach(cl, b.zone(cl))
	}
}

// OnDisconnect publishes the event of its end.
func (b *broker) OnDisconnect(cl *mqtt.Client, err error, _ bool) {
	s := b.session(cl)
	if s == nil {
		return
	}
	b.mu.Lock()
	delete(b.sessions, cl)
	if i := b.inboxes[cl.ID]; i != nil {
		i.detach(cl)
	}
	kicked, established := s.kicked, s.established
	b.mu.Unlock()
	reason := "tcp_closed"
	switch {
	case kicked:
		reason = "kicked"
	case cl.IsTakenOver():
		reason = "takenover"
	case err == nil:
		reason = "normal"
	}
	if established {
		b.tell(cl, s, "disconnected", reason)
	}
}

func (b *broker) tell(cl *mqtt.Client, s *session, event, reason string) {
	now := time.Now().UnixMilli()
	fields := map[string]any{
		"clientid": cl.ID, "username": s.username, "ipaddress": "127.0.0.1", "sockport": 1883, "protocol": "mqtt",
		"proto_name": "MQTT", "proto_ver": cl.Properties.ProtocolVersion, "connected_at": s.connectedAt, "ts": now,
	}
	if event == "connected" {
		fields["keepalive"], fields["clean_start"], fields["expiry_interval"] = cl.State.Keepalive, cl.Properties.Clean, cl.Properties.Props.SessionExpiryInterval
	} else {
		fields["reason"], fields["disconnected_at"] = reason, now
	}
	raw, _ := json.Marshal(fields)
	out := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 0}, TopicName: "$SYS/brokers/" + brokerName + "/clients/" + cl.ID + "/" +
		event, Payload: raw}
	b.spread(cl.ID, out)
	_ = b.server.Publish("$SYS/brokers/"+brokerName+"/clients/"+cl.ID+"/"+event, raw, false, 0)
}

// OnPublish reports a lack of subscribers, as EMQX does to a client of MQTT 5.
func (b *broker) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if strings.HasPrefix(pk.TopicName, "$SYS/") {
		return pk, nil // done in tell
	}
	if b.delay(cl.ID, pk) {
		return pk, packets.CodeSuccessIgnore
	}
	reached := b.spread(cl.ID, pk)
	if reached == 0 && !cl.Net.Inline && cl.Properties.ProtocolVersion == 5 && pk.FixedHeader.Qos > 0 {
		return pk, packets.CodeNoMatchingSubscribers
	}
	return pk, nil
}

// OnWillSent delivers a will to the superusers; mochi delivers it to all others.
func (b *broker) OnWillSent(cl *mqtt.Client, pk packets.Packet) {
	if pk.TopicName != "" {
		b.spread(cl.ID, pk)
	}
}

// subscribesShared reports whether the client requested a shared subscription and did not get it.
func (b *broker) subscribesShared(cl *mqtt.Client) bool {
	s := b.session(cl)
	if s == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for filter, refused := range s.refused {
		if refused && strings.HasPrefix(filter, sharePrefix) {
			return true
		}
	}
	return false
}

// OnWill asks for permission when the will is published.
func (b *broker) OnWill(cl *mqtt.Client, will mqtt.Will) (mqtt.Will, error) {
	s := b.session(cl)
	if s == nil || !b.authorize(cl, s, emqxcall.Publish, will.TopicName, will.Retain) {
		return mqtt.Will{}, nil
	}
	return will, nil
}

// awaitEnd waits until the connection is gone completely: mochi cleans up after an old one by client
// id, and must not meet a new one with the same id.
func (b *broker) awaitEnd(cl *mqtt.Client) {
	for _, l := range b.listen {
		<-l.Gone(cl.Net.Conn)
	}
}

func (b *broker) client(id string) *mqtt.Client {
	cl, ok := b.server.Clients.Get(id)
	if !ok || cl.Net.Inline || cl.Closed() {
		return nil
	}
	return cl
}

// kick ends a client's session and returns once it is gone.
func (b *broker) kick(id string) bool {
	cl := b.client(id)
	if cl == nil {
		return false
	}
	s := b.session(cl)
	if s == nil {
		return false
	}
	gone := make(chan struct{})
	b.mu.Lock()
	if s.kicked {
		other := b.kicks[id]
		b.mu.Unlock()
		if other != nil {
			<-other
		}
		return true
	}
	s.kicked, b.kicks[id] = true, gone
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.kicks, id)
		b.mu.Unlock()
		close(gone)
	}()
	_ = b.server.DisconnectClient(cl, packets.ErrAdministrativeAction)
	cl.Stop(packets.ErrAdministrativeAction)
	b.awaitEnd(cl)
	b.leave(id)
	b.server.UnsubscribeClient(cl)
	cl.ClearInflights()
	if now, ok := b.server.Clients.Get(id); ok && now == cl {
		b.server.Clients.Delete(id)
	}
	return true
}

func (b *broker) clearCache(id string) bool {
	cl := b.client(id)
	if cl == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.sessions[cl]; s != nil {
		clear(s.cache)
	}
	return true
}

func (b *broker) clearCaches() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sessions {
		clear(s.cache)
	}
}
