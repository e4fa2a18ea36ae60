package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"wfm/internal/atomicfile"
	"wfm/protocol"
)

// wish is the wanted state of a profile's tunnel: the operator's last decision, which the server
// passed on with a start or stop. It is on disk, because it must survive the end of the agent or
// the machine.
type wish struct {
	State          protocol.WantedState `json:"wanted_state"`
	Interface      string               `json:"interface_name"`
	TunnelProtocol string               `json:"tunnel_protocol"`
	// RequestID identifies the start or stop that set the wish.
	RequestID string `json:"request_id"`
	// Open is set from before a stop begins until it has ended: the next agent finishes an open
	// stop.
	Open bool `json:"open,omitempty"`
	// BootID is the boot in which the tunnel was last started: no effect of its hooks outlives a
	// boot.
	BootID string `json:"boot_id,omitempty"`
	// BoundAt is that of the profile: a bind that names another interface ends the wish for the
	// former one.
	BoundAt string `json:"bound_at"`
}

// wanted keeps a profile's wish. Its zero value has no wish and writes nothing to disk.
type wanted struct {
	path string

	mu   sync.Mutex
	wish wish
}

const wantedSuffix = ".wanted.json" // a profile id has no dot

func wantedPath(dir, profileID string) string {
	return filepath.Join(stateDir(dir), profileID+wantedSuffix)
}

// openWanted reads the wish for p's tunnel. After an error there is no wish, and the value is
// usable.
func openWanted(dir string, p Profile) (*wanted, error) {
	w := &wanted{path: wantedPath(dir, p.ID())}
	data, err := os.ReadFile(w.path)
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil
	}
	if err != nil {
		return w, fmt.Errorf("read wanted state: %w", err)
	}
	var read wish
	if err := json.Unmarshal(data, &read); err != nil {
		return w, fmt.Errorf("read wanted state %s: %w", w.path, err)
	}
	if _, err := newTarget(p.ID(), read.TunnelProtocol, "", read.Interface); err != nil {
		return w, fmt.Errorf("read wanted state %s: %w", w.path, err)
	}
	if read.BoundAt != p.BoundAt && read.Interface != p.Node.InterfaceName {
		return w, nil
	}
	w.wish = read
	return w, nil
}

// Get returns the wish. Its State is empty if there is none.
func (w *wanted) Get() wish {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wish
}

// State returns the wanted state as the agent reports it to the server.
func (w *wanted) State() protocol.WantedState {
	if s := w.Get().State; s != "" {
		return s
	}
	return protocol.WantedNone
}

// Set stores a wish. If the disk refuses it, it counts until the agent ends.
func (w *wanted) Set(to wish) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wish == to {
		return nil
	}
	w.wish = to
	if w.path == "" {
		return nil
	}
	data, err := json.Marshal(to)
	if err != nil {
		return fmt.Errorf("encode wanted state: %w", err)
	}
	if err := atomicfile.Write(w.path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("keep wanted state: %w", err)
	}
	return nil
}

// wanting records a stop before it begins: if it is interrupted at any point, the next agent
// finishes it.
func (x *executor) wanting(env protocol.Envelope) {
	var c protocol.Control
	if env.Type != protocol.KindControl || env.DecodePayload(&c) != nil || c.Action.Leaves() != protocol.WantedStopped {
		return
	}
	if g, err := x.target(c.TunnelProtocol, c.PreviousTunnelProtocol, c.InterfaceName, c.AWGVersion); err == nil {
		x.keep(x.wishOf(g, c, env.RequestID, true))
	}
}

// concluded records the result of a start or stop, before its answer is in the journal. After a
// failed start the tunnel is not wanted any more: only the operator may again start a tunnel that
// cut the node off. But if the tunnel runs as it did before, the former wish stays, and the ACK
// says so.
func (x *executor) concluded(c protocol.Control, requestID string, ack *protocol.Ack) {
	g, err := x.target(c.TunnelProtocol, c.PreviousTunnelProtocol, c.InterfaceName, c.AWGVersion)
	if err != nil || c.Action.Leaves() == protocol.WantedNone {
		return // it was refused
	}
	to := x.wishOf(g, c, requestID, false)
	x.guard = guard{looked: true, up: c.Action.Starts()} // as the ACK reports
	if ack.Status != protocol.AckApplied {
		x.guard.up = x.tunnels.Up(g.profileID, g.iface)
	}
	if c.Action.Starts() && ack.Status != protocol.AckApplied {
		up := x.guard.up
		ack.WGOnline = &up
		if to = x.wanted.Get(); to.State != "" && !up {
			to.State = protocol.WantedNone
		}
	}
	x.keep(to)
}

func (x *executor) wishOf(g target, c protocol.Control, requestID string, open bool) wish {
	state := c.WantedState
	if state == "" { // the server does not know wanted states
		state = c.Action.Leaves()
	}
	return wish{
		State: state, Interface: g.iface, TunnelProtocol: g.protocol, RequestID: requestID,
		Open: open, BootID: kernelBootID(), BoundAt: x.profile.BoundAt,
	}
}

func (x *executor) keep(w wish) {
	if err := x.wanted.Set(w); err != nil {
		x.log.Error("the wanted state cannot be written, a restart of the agent forgets it", "err", err)
	}
}

// startsWith reports whether a push should start a tunnel that does not run, since the tunnel is
// wanted.
func (x *executor) startsWith(g target) bool {
	w := x.wanted.Get()
	return w.State == protocol.WantedRunning && w.Interface == g.iface && x.profile.restores()
}

// iface returns the interface of the node's tunnel: that of the last start or stop, since the
// server may have renamed it after the bind.
func (x *executor) iface() string {
	if name := x.wanted.Get().Interface; name != "" {
		return name
	}
	return x.profile.Node.InterfaceName
}
