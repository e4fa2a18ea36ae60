package ingress

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"wfm/appliance/command"
	"wfm/internal/floodlog"
	"wfm/internal/plaintext"
	"wfm/protocol"
	"wfm/store"
)

// Bounds of the parts of an event that are kept, in bytes.
const (
	maxEventName    = 64
	maxEventMessage = 1024
)

// errRevoked is returned for a message of a session whose node was reset or disabled meanwhile.
var errRevoked = errors.New("the node's access was revoked")

// Ingress stores the messages of nodes before they are acknowledged.
type Ingress struct {
	db       *store.DB
	ledger   *command.Ledger
	log      *slog.Logger
	unstored unstored

	identities identities
}

var _ Port = (*Ingress)(nil)

// Options configures New.
type Options struct {
	Store  *store.DB
	Ledger *command.Ledger // gets ACKs, outputs and ready nodes
	Logger *slog.Logger    // default: discard
}

// New returns an ingress, which needs no start.
func New(o Options) *Ingress {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	// Nodes decide how much there is to log.
	return &Ingress{db: o.Store, ledger: o.Ledger, log: slog.New(floodlog.New(o.Logger.Handler()))}
}

// Receive stores one message in one transaction. If the message is malformed or contradicts its
// session, Receive records that in the node's journal and returns ErrRefused.
func (g *Ingress) Receive(s Session, topic protocol.Topic, message []byte) error {
	take, refused := g.prepare(s, topic, message)
	return g.outcome(s, topic, refused, g.db.Update(take))
}

// ReceiveAll stores the messages in order and with one disk write, each like Receive in a
// transaction of its own.
func (g *Ingress) ReceiveAll(messages []Message) []error {
	takes, refused := make([]func(*store.Tx) error, len(messages)), make([]error, len(messages))
	for i, m := range messages {
		takes[i], refused[i] = g.prepare(m.Session, m.Topic, m.Payload)
	}
	inOrder(messages, takes)
	errs := g.db.UpdateAll(takes)
	for i, m := range messages {
		errs[i] = g.outcome(m.Session, m.Topic, refused[i], errs[i])
	}
	return errs
}

// errEarlier is returned for a message that waits for an earlier one of its node.
var errEarlier = errors.New("an earlier message of the node could not be stored")

// inOrder makes a node's message fail if an earlier message of the node failed and has to be stored
// again, so that an older message never follows a newer one. The store may run the functions more
// than once.
func inOrder(messages []Message, takes []func(*store.Tx) error) {
	failed := make(map[string]int) // by node: the first message that failed
	for i, take := range takes {
		id := messages[i].Topic.NodeID
		takes[i] = func(tx *store.Tx) error {
			first, some := failed[id]
			if some && first < i {
				return errEarlier
			}
			err := take(tx)
			if err != nil && !errors.Is(err, ErrRefused) && !errors.Is(err, errRevoked) {
				failed[id] = i
			} else if some {
				delete(failed, id)
			}
			return err
		}
	}
}

// prepare returns the function that stores the message. If the message is malformed, the function
// records the refusal, and refused is the reason.
func (g *Ingress) prepare(s Session, topic protocol.Topic, message []byte) (fn func(*store.Tx) error, refused error) {
	env, take, err := g.decode(s, topic, message)
	if err != nil {
		return g.refuse(s, topic, err), fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return func(tx *store.Tx) error {
		if err := allowed(tx, s); err != nil {
			return err
		}
		if err := notRetired(tx, s, env); err != nil {
			return err
		}
		return take(tx)
	}, nil
}

// decode reads the message and returns the function that applies it.
func (g *Ingress) decode(s Session, topic protocol.Topic, message []byte) (env protocol.Envelope, take func(*store.Tx) error, err error) {
	if env, err = protocol.Decode(topic, message); err != nil {
		return env, nil, err
	}
	switch topic.Kind {
	case protocol.KindHeartbeat:
		var hb protocol.Heartbeat
		err = env.DecodePayload(&hb)
		take = func(tx *store.Tx) error { return g.heartbeat(tx, s, env, hb) }
	case protocol.KindEvent:
		var ev protocol.Event
		err = env.DecodePayload(&ev)
		take = func(tx *store.Tx) error { return g.event(tx, s, topic, env, ev) }
	default: // an ACK: the ACL admits no command
		var ack protocol.Ack
		err = env.DecodePayload(&ack)
		take = func(tx *store.Tx) error { return g.ack(tx, s, topic, env, ack) }
	}
	return env, take, err
}

// outcome returns the result of a message. err is that of its transaction, refused that of prepare.
func (g *Ingress) outcome(s Session, topic protocol.Topic, refused, err error) error {
	switch {
	case err == nil:
		return refused
	case refused == nil && !errors.Is(err, errRevoked) && !errors.Is(err, errRetired) && !errors.Is(err, errEarlier):
		g.log.Error("a node's message could not be stored", "node_id", s.NodeID, "kind", string(topic.Kind), "err", err)
	}
	return err
}

// allowed checks, in the transaction that stores the message, that the session may still send it.
func allowed(tx *store.Tx, s Session) error {
	grant, ok, err := tx.Grant(s.NodeID)
	if err == nil && (!ok || grant.Generation != s.Generation) {
		err = errRevoked
	}
	return err
}

// errRetired is returned for a message of a session that was ended by a bind or a reset.
var errRetired = fmt.Errorf("%w: its session was ended", ErrRefused)

// notRetired refuses messages of the formerly bound agent that an external broker delivers late:
// the next agent inherits nothing of a session. The embedded broker knows the session itself.
func notRetired(tx *store.Tx, s Session, env protocol.Envelope) error {
	if s.ID != 0 || env.SessionID == "" {
		return nil
	}
	e, err := tx.Evidence(env.NodeID)
	if err == nil && e.RetiredSessionID == plaintext.Line(env.SessionID, maxEventName) {
		err = errRetired
	}
	return err
}

// refuse returns a function that records the refusal of a message.
func (g *Ingress) refuse(s Session, topic protocol.Topic, cause error) func(*store.Tx) error {
	g.log.Warn("a node's message was refused", "node_id", s.NodeID, "kind", string(topic.Kind), "err", cause)
	return func(tx *store.Tx) error {
		if err := allowed(tx, s); err != nil {
			return err
		}
		return tx.Note(s.NodeID, store.JournalEntry{
			Level: "warning", Event: "message_refused", Message: fmt.Sprintf("%s: %v", topic.Kind, cause),
		})
	}
}

// markReachable records that the node sent a message, and makes the other changes of change.
func markReachable(tx *store.Tx, s Session, env protocol.Envelope, change func(*store.Evidence)) error {
	return tx.UpdateEvidence(env.NodeID, func(e *store.Evidence) {
		identify(e, env)
		if s.Late {
			return // the node sent it while it was still connected
		}
		e.ReachableAt = tx.Now().UTC()
		change(e)
	})
}

// identify records which agent session sent the newest message, and when.
func identify(e *store.Evidence, env protocol.Envelope) {
	session := plaintext.Line(env.SessionID, maxEventName)
	if session != e.SessionID {
		e.SentAt = time.Time{}
	}
	e.BootID, e.SessionID = plaintext.Line(env.BootID, maxEventName), session
	if sent := sentAt(env); sent.After(e.SentAt) {
		e.SentAt = sent
	}
}

// sentAt returns when the message was sent by the node's clock; zero if it does not say.
func sentAt(env protocol.Envelope) time.Time {
	t, _ := time.Parse(time.RFC3339, env.SentAt)
	return t.UTC()
}

// overtakenFor bounds the time after a message during which an older one is ignored. After that,
// the node's clock must have been set back: EMQX redelivers an ended session's messages at once.
const overtakenFor = 5 * time.Minute

// overtaken reports whether a newer message of the same agent session is stored already, so that this
// one says nothing about the present. An external broker that ends one of the appliance's sessions
// hands its messages to the others, where newer ones of the same node may have come before.
func overtaken(tx *store.Tx, s Session, env protocol.Envelope) (bool, error) {
	sent := sentAt(env)
	if s.ID != 0 || env.SessionID == "" || sent.IsZero() {
		return false, nil
	}
	e, err := tx.Evidence(env.NodeID)
	return plaintext.Line(env.SessionID, maxEventName) == e.SessionID && sent.Before(e.SentAt) && tx.Now().Sub(e.ReachableAt) < overtakenFor, err
}

func (g *Ingress) heartbeat(tx *store.Tx, s Session, env protocol.Envelope, hb protocol.Heartbeat) error {
	if old, err := overtaken(tx, s, env); old || err != nil {
		return err
	}
	if err := markReachable(tx, s, env, func(e *store.Evidence) {
		e.HeartbeatAt = tx.Now().UTC()
		setTunnel(tx, e, hb.WGOnline)
		e.AgentWanted = hb.WantedState
	}); err != nil {
		return err
	}
	if !s.Late {
		if err := tellFound(tx, env.NodeID); err != nil {
			return err
		}
	}
	// The agent may have been replaced by another version since it was bound, even by one that
	// announces no capabilities: then it has none beyond the protocol.
	n, err := tx.Node(env.NodeID)
	version, can := command.Word(hb.ClientVersion), command.Words(hb.Capabilities)
	if err != nil || n.Client == nil {
		return err
	}
	key := n.Client.PublicKey
	if !s.Late && protocol.ValidPublicKey(hb.PublicKey) {
		key = hb.PublicKey
	}
	if slices.Equal(n.Client.Capabilities, can) && (version == "" || n.Client.Version == version) && n.Client.PublicKey == key {
		return nil
	}
	return tx.UpdateClient(env.NodeID, func(c *store.Client) {
		c.Capabilities, c.PublicKey = can, key
		if version != "" {
			c.Version = version
		}
	})
}

// setTunnel records the tunnel's state in the node's message, if it has one.
func setTunnel(tx *store.Tx, e *store.Evidence, running *bool) {
	if running != nil {
		e.TunnelRunning, e.TunnelAt = running, tx.Now().UTC()
	}
}

func (g *Ingress) ack(tx *store.Tx, s Session, topic protocol.Topic, env protocol.Envelope, ack protocol.Ack) error {
	verdict, err := g.ledger.Ack(tx, topic, env, ack) // first: it reads the tunnel's former state
	if err != nil {
		return err
	}
	cmd := verdict.Command
	err = markReachable(tx, s, env, func(e *store.Evidence) {
		if topic.Kind == protocol.KindDetectAck {
			e.DetectAckAt = tx.Now().UTC()
			if ack.Status == protocol.AckApplied {
				e.AgentWanted = ack.WantedState
			}
		}
		if !verdict.Counts(protocol.AckApplied) {
			return // it does not report the tunnel's present state
		}
		setTunnel(tx, e, ack.WGOnline)
		if cmd.Action.Leaves() != protocol.WantedNone {
			setTunnel(tx, e, new(cmd.Action.Starts()))
		}
	})
	if err != nil || verdict.Refused != "" {
		return err
	}
	switch {
	case verdict.Counts(protocol.AckFailed) && cmd.Kind.ChangesNode():
		// The next heartbeat or detect shows whether it runs now.
		err = tx.UpdateEvidence(env.NodeID, func(e *store.Evidence) { e.TunnelRunning = nil })
	case verdict.Counts(protocol.AckApplied) && !s.Late:
		err = tellFound(tx, env.NodeID)
	}
	if err != nil {
		return err
	}
	return updateClient(tx, cmd)
}

// updateClient records the agent's own data from the ACK of the command.
func updateClient(tx *store.Tx, cmd store.Command) error {
	ack, described := cmd.Ack, cmd.Action == protocol.ActionDescribe && cmd.Ack.Status == protocol.AckApplied
	rotated := cmd.Action == protocol.ActionRotateKey && ack.Status == protocol.AckApplied
	tellsKey := (described || rotated) && protocol.ValidPublicKey(ack.PublicKey)
	if ack.ClientVersion == "" && ack.Platform == "" && !described && !tellsKey {
		return nil
	}
	return tx.UpdateClient(cmd.NodeID, func(c *store.Client) {
		c.Version, c.Platform = cmp.Or(ack.ClientVersion, c.Version), command.Platform(c.Platform, ack.Platform)
		if described {
			c.Capabilities = ack.Capabilities
		}
		if tellsKey {
			c.PublicKey = ack.PublicKey
		}
	})
}

func (g *Ingress) event(tx *store.Tx, s Session, topic protocol.Topic, env protocol.Envelope, ev protocol.Event) error {
	name, message := plaintext.Line(ev.Event, maxEventName), command.Message(ev.Message, maxEventMessage)
	record := func(e *store.Evidence) { e.EventAt, e.LastEvent, e.LastEventMessage = tx.Now().UTC(), name, message }
	old, err := overtaken(tx, s, env)
	if err != nil {
		return err
	}
	switch {
	case ev.Event == protocol.EventOffline: // perhaps a will, which is as old as its session
		err = tx.UpdateEvidence(env.NodeID, func(e *store.Evidence) {
			if superseded(e, s, env) {
				message += " (of a session that another one may have replaced; it says nothing about the node)"
				e.WillAt = tx.Now().UTC()
				e.WillUndecided = e.ReachableAt.Before(e.ConnectedAt)
				return
			}
			record(e)
			identify(e, env)
			e.OfflineAt, e.OfflineReason = tx.Now().UTC(), "the agent reported that it goes offline"
		})
	case !old:
		err = markReachable(tx, s, env, record)
	}
	if err != nil {
		return err
	}
	if ev.Event == protocol.EventCommandOutput {
		return g.ledger.Output(tx, topic, env, ev)
	}
	if ev.RequestID != "" { // it concerns a command, as does the late end of a failed one
		if err := g.ledger.Remark(tx, topic.NodeID, ev.RequestID, name+": "+message); err != nil {
			return err
		}
	}
	return tx.Note(env.NodeID, store.JournalEntry{
		Level: knownLevel(ev.Level), Event: name, Message: message, RequestID: command.Word(ev.RequestID), SessionID: env.SessionID,
	})
}

// superseded reports whether an offline event from an external broker, perhaps a will, may belong
// to a session other than the connected one. Then it says nothing about the connected one. If it
// does belong to it, the end of the connection shows that.
func superseded(e *store.Evidence, s Session, env protocol.Envelope) bool {
	return s.ID == 0 && e.ConnectionOpen() && (plaintext.Line(env.SessionID, maxEventName) != e.SessionID || e.ReachableAt.Before(e.ConnectedAt))
}

func knownLevel(l string) string {
	switch l {
	case "debug", "info", "warning", "error":
		return l
	case "warn":
		return "warning"
	}
	return "info"
}

// Will records the last will. Only the will of the node's present session means offline, and only
// if the node's side closed the connection. If the link fell silent, the end of the connection
// counts, and the node has its grace.
func (g *Ingress) Will(s Session, message []byte, cause WillCause) {
	topic := protocol.Topic{ConfigID: s.ConfigID, NodeID: s.NodeID, Kind: protocol.KindEvent}
	env, _ := protocol.Decode(topic, message) // if the will cannot be read, only the session stays unknown
	session := plaintext.Line(env.SessionID, maxEventName)
	g.recordSeen(s, "last will", func(e *store.Evidence, now time.Time) *store.JournalEntry {
		e.WillAt = now
		said := "its connection was lost (last will)"
		switch {
		case cause == WillSuperseded || (e.ConnectionID != s.ID && e.ConnectionID != 0):
			said = "last will of a session that was replaced or ended on purpose; it says nothing about the node"
		case cause == WillSilent:
			said = "last will after silence for the keep-alive time: the link is broken, the node itself reported nothing"
		default:
			e.EventAt, e.LastEvent, e.LastEventMessage, e.SessionID = now, protocol.EventOffline, said, session
			e.OfflineAt, e.OfflineReason = now, said
		}
		return &store.JournalEntry{Event: "last_will", Message: said, SessionID: session}
	})
}

// Connected records that the broker has an open connection of the node. Its first message shows
// which agent's session it is.
func (g *Ingress) Connected(s Session) {
	mark := g.noteArrival(s)
	g.recordSeen(s, "connection", func(e *store.Evidence, now time.Time) *store.JournalEntry {
		if s.ID != e.LostConnectionID { // otherwise it was there all the time
			e.ConnectedAt = now
			e.BootID, e.SessionID, e.WillUndecided = "", "", false
		}
		e.ConnectionID, e.LostConnectionID = s.ID, 0
		return mark(e, now)
	})
}

// Subscribed sends the commands that wait for the node.
func (g *Ingress) Subscribed(s Session) { g.ledger.NodeReady(s.NodeID, s.Since) }

// Disconnected records that the node's connection has ended, unless a newer one is open. That also
// counts for a node that has lost its right meanwhile.
func (g *Ingress) Disconnected(s Session, reason string) {
	g.recordSeen(s, "end of connection", func(e *store.Evidence, now time.Time) *store.JournalEntry {
		if e.ConnectionID != s.ID {
			return nil
		}
		e.ConnectionID, e.DisconnectedAt, e.DisconnectReason = 0, now, reason
		// The will of a connection that replaced no other can only be its own.
		if e.WillUndecided && e.ReachableAt.Before(e.ConnectedAt) && s.Replaced == nil {
			e.OfflineAt, e.OfflineReason = now, "its connection was lost (last will)"
		}
		e.WillUndecided = false
		return &store.JournalEntry{Event: "disconnected", Message: "MQTT connection ended: " + reason}
	})
}
