package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"unicode/utf8"

	"wfm/agent/keyring"
	"wfm/internal/buildinfo"
	"wfm/protocol"
)

// maxOutput is the limit for command output in one event, in bytes of encoded JSON: the message
// limit minus room for the envelope.
const maxOutput = protocol.MaxMessageSize - 8<<10

// capabilities returns this agent's capabilities beyond those of the deployed agents.
func capabilities() []string {
	return []string{
		protocol.CapabilityDedupe, protocol.CapabilityDescribe, protocol.CapabilityCommitConfirm, protocol.CapabilityWantedState,
		protocol.CapabilityNodeKey,
	}
}

// target returns the target of a command. Not every backend fills in all fields: a missing
// interface means the profile's own, a missing protocol means WireGuard.
func (x *executor) target(tunnelProtocol, previous, iface string, awg protocol.AWGVersion) (target, error) {
	if previous != "" {
		previous = protocol.WireTunnel(previous)
	}
	g, err := newTarget(x.profile.ID(), protocol.WireTunnel(tunnelProtocol), previous, cmp.Or(iface, x.profile.Node.InterfaceName))
	if err == nil && awg != "" && !protocol.ValidAWGVersion(string(awg)) {
		err = fmt.Errorf("awg version %q is not known to this agent", cut(string(awg)))
	}
	return g, err
}

func (x *executor) control(ctx context.Context, env protocol.Envelope) (protocol.Ack, *change) {
	var c protocol.Control
	if err := env.DecodePayload(&c); err != nil {
		return failed(protocol.Ack{}, err), nil
	}
	ack := protocol.Ack{Action: c.Action}
	var run func(context.Context, string, target) (outcome, error)
	switch c.Action {
	case protocol.ActionStart:
		run = x.tunnels.Start
	case protocol.ActionStop:
		run = x.tunnels.Stop
	default:
		ack.Action = protocol.Action(cut(string(c.Action)))
		return failed(ack, fmt.Errorf("action %q is not known on control", cut(string(c.Action)))), nil
	}
	g, err := x.target(c.TunnelProtocol, c.PreviousTunnelProtocol, c.InterfaceName, c.AWGVersion)
	if err != nil {
		return failed(ack, err), nil
	}
	if err := x.leave(ctx, g); err != nil {
		return failed(ack, err), nil
	}
	out, err := run(ctx, env.RequestID, g)
	ack.Status, ack.Message, ack.RolledBack = protocol.AckApplied, out.message, out.rolledBack
	if err != nil {
		ack = failed(ack, err)
	}
	return ack, out.pending
}

// push answers applied only if the whole push succeeded. Its ACK always describes the config that
// is really on disk.
func (x *executor) push(ctx context.Context, env protocol.Envelope) (protocol.Ack, *change) {
	var p protocol.Push
	ack := protocol.Ack{Action: protocol.ActionPush}
	if err := env.DecodePayload(&p); err != nil {
		return failed(ack, err), nil
	}
	g, err := x.target(p.TunnelProtocol, p.PreviousTunnelProtocol, p.InterfaceName, p.AWGVersion)
	if err != nil {
		return failed(ack, err), nil
	}
	if err = checkPush(p); err == nil {
		err = x.leave(ctx, g)
	}
	var out outcome
	if err == nil {
		out, err = x.tunnels.Push(ctx, env.RequestID, g, p, x.startsWith(g))
	}
	ack.Status, ack.Message, ack.RolledBack = protocol.AckApplied, out.message, out.rolledBack
	if readErr := x.tunnels.report(&ack, g.profileID, g.iface); err == nil {
		err = readErr
	}
	if err != nil {
		ack = failed(ack, err)
	}
	return ack, out.pending
}

// detect inspects the node without running a tool, so it answers at once.
func (x *executor) detect(env protocol.Envelope) protocol.Ack {
	online := true
	ack := protocol.Ack{
		ClientOnline: &online, Platform: platform(), ClientVersion: buildinfo.Version(),
	}
	var d protocol.Detect
	if err := env.DecodePayload(&d); err != nil {
		return failed(ack, err)
	}
	g, err := x.target(d.TunnelProtocol, "", d.InterfaceName, d.AWGVersion)
	if _, ok := errors.AsType[*interfaceError](err); ok && g.iface == x.profile.Node.InterfaceName {
		// The node is there but can have no tunnel of its own: that is a valid answer.
		ack.Status, ack.WGOnline, ack.Message = protocol.AckApplied, new(bool), err.Error()
		return ack
	}
	if err != nil {
		return failed(ack, err)
	}
	up := x.tunnels.Up(g.profileID, g.iface)
	ack.WGOnline, ack.WantedState = &up, x.wanted.State()
	if err := x.tunnels.report(&ack, g.profileID, g.iface); err != nil {
		return failed(ack, err)
	}
	ack.Status = protocol.AckApplied
	return ack
}

func (x *executor) info(ctx context.Context, env protocol.Envelope) protocol.Ack {
	var i protocol.Info
	if err := env.DecodePayload(&i); err != nil {
		return failed(protocol.Ack{}, err)
	}
	switch i.Action { //nolint:exhaustive // the rest is unknown here
	case "", protocol.ActionWGShow:
		return x.show(ctx, env.RequestID, i)
	case protocol.ActionDescribe:
		return x.describe(ctx, i)
	case protocol.ActionRotateKey:
		return x.rotateKey()
	}
	return failed(protocol.Ack{Action: protocol.Action(cut(string(i.Action)))},
		fmt.Errorf("action %q is not known on info", cut(string(i.Action))))
}

func (x *executor) describe(ctx context.Context, i protocol.Info) protocol.Ack {
	ack := protocol.Ack{
		Action: protocol.ActionDescribe, ClientVersion: buildinfo.Version(), Platform: platform(), Arch: runtime.GOARCH,
		Toolchain: x.tunnels.toolchain(ctx), Capabilities: capabilities(),
		PublicKey: x.tunnels.keys.Public(x.profile.ID()),
	}
	iface := cmp.Or(i.InterfaceName, x.profile.Node.InterfaceName)
	if err := usableInterface(iface); err != nil {
		if iface != x.profile.Node.InterfaceName {
			return failed(ack, err)
		}
		ack.Status, ack.Message = protocol.AckApplied, err.Error() // nothing can be stored for such a name
		return ack
	}
	if err := x.tunnels.report(&ack, x.profile.ID(), iface); err != nil {
		return failed(ack, err)
	}
	ack.Status = protocol.AckApplied
	return ack
}

// rotateKey makes a new key pair. The tunnel goes on with the former one until a config is pushed that
// names the new key: by then the server has told it to the peers.
func (x *executor) rotateKey() protocol.Ack {
	ack := protocol.Ack{Action: protocol.ActionRotateKey}
	pair, err := keyring.NewPair()
	if err == nil {
		err = x.tunnels.keys.Add(x.profile.ID(), pair)
	}
	if err != nil {
		return failed(ack, fmt.Errorf("no new key was made: %w", err))
	}
	ack.Status, ack.PublicKey = protocol.AckApplied, pair.Public
	ack.Message = "a new key pair is made; the tunnel uses it once a tunnel config for it comes"
	return ack
}

// show queues the output before execute queues the ACK; the outbox keeps that order.
func (x *executor) show(ctx context.Context, requestID string, i protocol.Info) protocol.Ack {
	ack := protocol.Ack{Action: protocol.ActionWGShow}
	g, err := x.target(i.TunnelProtocol, "", i.InterfaceName, i.AWGVersion)
	if err != nil {
		return failed(ack, err)
	}
	res := x.tunnels.Show(ctx, g)
	for _, s := range []struct{ name, text string }{
		{"stdout", res.stdout.Text()}, {"stderr", res.stderr.Text()},
	} {
		if s.text == "" {
			continue
		}
		x.send(protocol.Event{
			Level: "info", Event: protocol.EventCommandOutput, RequestID: requestID,
			Action: protocol.ActionWGShow, Stream: s.name,
			Message: fmt.Sprintf("%s of %s show %s", s.name, g.family, g.iface),
			Output:  fitOutput(s.text),
		})
	}
	if res.err != nil {
		return failed(ack, res.err)
	}
	ack.Status = protocol.AckApplied
	ack.Message = fmt.Sprintf("%s show %s ran", g.family, g.iface)
	return ack
}

// fitOutput cuts s so that its JSON form fits one message. It marks the cut.
func fitOutput(s string) string {
	const note = "\n[cut here: the output does not fit one message]\n"
	size := 0
	for i, r := range s {
		width := utf8.RuneLen(r)
		switch {
		case r == '"' || r == '\\' || r == '\n' || r == '\r' || r == '\t':
			width = 2
		case r < 0x20 || r == 0x7f || r == '<' || r == '>' || r == '&' || r == '\u2028' || r == '\u2029' || r == utf8.RuneError:
			width = 6 // encoding/json escapes these as \uXXXX
		}
		if size += width; size > maxOutput-len(note) {
			return s[:i] + note
		}
	}
	return s
}
