package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"wfm/protocol"
)

// queueSize bounds each lane, in commands.
const queueSize = 64

// errInterrupted answers a command that a former agent began and did not finish.
var errInterrupted = errors.New("the agent was restarted while running it; its outcome is not known")

// executor decides what a received command is and runs it. It has two lanes, each in order: one
// for what changes the node, one for probes, so that a long start does not hide the node.
type executor struct {
	profile Profile
	tunnels *tunnels
	journal *journal
	out     *outbox
	log     *slog.Logger

	changes chan command
	probes  chan command
	stop    chan struct{} // closed: begin nothing more
	workers sync.WaitGroup

	mu      sync.Mutex
	running map[entryKey]struct{} // queued or in execution
	stopped bool
}

// command is one that was accepted for execution.
type command struct {
	env protocol.Envelope
}

func newExecutor(p Profile, t *tunnels, j *journal, out *outbox, log *slog.Logger) *executor {
	return &executor{
		profile: p, tunnels: t, journal: j, out: out, log: log,
		changes: make(chan command, queueSize), probes: make(chan command, queueSize),
		stop: make(chan struct{}), running: map[entryKey]struct{}{},
	}
}

// Start closes what a former agent left open and begins to work. ctx is handed to every tool: it
// ends them at once, so it is not the one that asks for a clean stop.
func (x *executor) Start(ctx context.Context) {
	for _, e := range x.journal.Interrupted() {
		ack := failed(protocol.Ack{Action: actionOf(e.Kind)}, errInterrupted)
		if stored, err := x.tunnels.configs.Read(e.Interface); e.Kind == protocol.KindPush && err == nil {
			ack.ConfigVersion, ack.ConfigSHA256 = stored.Version(), stored.SHA256
		}
		x.log.Warn("a command was cut short by the end of the agent", "type", e.Kind, "request_id", e.RequestID)
		if err := x.journal.Finish(e.Kind, e.RequestID, ack); err != nil {
			x.log.Error("journal cannot be written", "request_id", e.RequestID, "err", err)
		}
	}
	for _, lane := range []chan command{x.changes, x.probes} {
		x.workers.Go(func() { x.work(ctx, lane) })
	}
}

// Stop lets the running commands end, begins no other, and waits. What was only queued is not
// journaled, so the server's repetition will be executed by the next agent.
func (x *executor) Stop() {
	x.mu.Lock()
	if !x.stopped {
		x.stopped = true
		close(x.stop)
	}
	x.mu.Unlock()
	x.workers.Wait()
}

// Receive takes one message off the session; it never blocks.
func (x *executor) Receive(topicName string, data []byte) {
	topic, err := protocol.ParseTopic(topicName)
	if err != nil || !topic.Kind.IsCommand() ||
		topic.ConfigID != x.profile.Node.ConfigID || topic.NodeID != x.profile.Node.NodeID {
		x.log.Warn("a message on a topic that is not this node's is ignored", "bytes", len(data))
		return
	}
	env, err := protocol.Decode(topic, data)
	if err != nil {
		x.log.Warn("a message cannot be read", "type", topic.Kind, "bytes", len(data), "err", err)
		// Half a message may still say who waits for an answer.
		if env.RequestID != "" && len(env.RequestID) <= 128 {
			x.answer(topic.Kind, env.RequestID, failed(protocol.Ack{}, err))
		}
		return
	}
	x.accept(env)
}

func (x *executor) accept(env protocol.Envelope) {
	key := entryKey{env.Type, env.RequestID}
	lane := x.probes
	if changesNode(env.Type) {
		lane = x.changes
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stopped {
		return
	}
	if _, busy := x.running[key]; busy {
		x.log.Debug("a command arrived again while it runs", "type", env.Type, "request_id", env.RequestID)
		return // its ACK will come
	}
	if ack, done := x.journal.Lookup(env.Type, env.RequestID); done {
		x.log.Info("a command arrived again, its ACK is repeated", "type", env.Type, "request_id", env.RequestID)
		x.answer(env.Type, env.RequestID, ack)
		return
	}
	select {
	case lane <- command{env}:
		x.running[key] = struct{}{}
	default:
		x.log.Warn("too many commands are waiting", "type", env.Type, "request_id", env.RequestID)
		x.answer(env.Type, env.RequestID, failed(protocol.Ack{}, errors.New("busy: too many commands are waiting on this node")))
	}
}

// changesNode: such a command must not run twice, so it is journaled on disk.
func changesNode(k protocol.Kind) bool { return k == protocol.KindControl || k == protocol.KindPush }

func (x *executor) work(ctx context.Context, lane <-chan command) {
	for {
		select { // when both are ready, stopping wins
		case <-x.stop:
			return
		default:
		}
		select {
		case <-x.stop:
			return
		case c := <-lane:
			x.execute(ctx, c.env)
		}
	}
}

func (x *executor) execute(ctx context.Context, env protocol.Envelope) {
	log := x.log.With("type", env.Type, "request_id", env.RequestID)
	durable := changesNode(env.Type)
	if durable {
		var about protocol.Control
		_ = env.DecodePayload(&about) // what is odd is found by the command itself
		iface := ""
		if protocol.ValidInterfaceName(about.InterfaceName) {
			iface = about.InterfaceName
		}
		if err := x.journal.Begin(env.Type, env.RequestID, iface); err != nil {
			log.Error("journal cannot be written, a crash now would forget this command", "err", err)
		}
	}
	ack := x.dispatch(ctx, env)
	log.Info("command executed", "status", ack.Status)
	if durable {
		if err := x.journal.Finish(env.Type, env.RequestID, ack); err != nil {
			log.Error("journal cannot be written, the answer is sent all the same", "err", err)
		}
	} else {
		x.journal.Remember(env.Type, env.RequestID, ack)
	}
	x.answer(env.Type, env.RequestID, ack)
	// Last: until here a repetition finds it running, from here on it finds the journal.
	x.mu.Lock()
	delete(x.running, entryKey{env.Type, env.RequestID})
	x.mu.Unlock()
}

func (x *executor) dispatch(ctx context.Context, env protocol.Envelope) protocol.Ack {
	switch env.Type {
	case protocol.KindControl:
		return x.control(ctx, env)
	case protocol.KindPush:
		var p protocol.Push
		if err := env.DecodePayload(&p); err != nil {
			return failed(protocol.Ack{Action: protocol.ActionPush}, err)
		}
		return x.tunnels.Push(ctx, x.profile.ID(), p)
	case protocol.KindDetect:
		return x.detect(env)
	default:
		return x.info(ctx, env)
	}
}

// answer queues an ACK.
func (x *executor) answer(command protocol.Kind, requestID string, ack protocol.Ack) {
	x.send(command.Ack(), requestID, ack)
}

func (x *executor) send(kind protocol.Kind, requestID string, payload any) {
	m := message(kind, payload)
	m.requestID = requestID
	x.out.Put(m)
}

// actionOf is the action an ACK names when the command's own is not known.
func actionOf(k protocol.Kind) protocol.Action {
	if k == protocol.KindPush {
		return protocol.ActionPush
	}
	return ""
}
