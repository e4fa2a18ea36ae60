package agent

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"time"

	"wfm/agent/keyring"
	"wfm/protocol"
	"wfm/tunnel/wgconf"
)

// linkState is the state of an interface as the kernel reports it.
type linkState int

const (
	linkAbsent linkState = iota
	linkDown             // exists but is not up, or is not a tunnel
	linkUp
)

// systemLink asks the kernel without a tool, so that it also works if no tool is installed.
func systemLink(name string) linkState {
	ifi, err := net.InterfaceByName(name)
	switch {
	case err != nil:
		return linkAbsent
	case ifi.Flags&net.FlagUp == 0 || otherKind(name):
		return linkDown
	}
	return linkUp
}

// tunnels runs the tools. One value serves all profiles of the machine, because they share its
// interfaces.
type tunnels struct {
	configs configs
	keys    *keyring.Ring
	// link returns the state of an interface. It is systemLink except in tests.
	link        func(name string) linkState
	changeLimit time.Duration // for wg-quick and awg-quick; see limit
	undoLimit   time.Duration // the same, for stopping a tunnel that is taken back
	forceLimit  time.Duration // for each tool of the last resort
	hookLimit   time.Duration // for each PostDown hook that the quick tools did not run
	showLimit   time.Duration // for wg and awg
	// confirmLimit is how long a change may stay unconfirmed. retryPause is the wait between two
	// attempts to confirm a change or to take it back. undoPatience is how long the answer waits
	// for the latter.
	confirmLimit, retryPause, undoPatience time.Duration
	// lookEvery is the time between two checks of a tunnel. settleLink is how long one that went
	// down is left alone first. watch signals changes of interfaces; it may be nil.
	lookEvery, settleLink time.Duration
	watch                 func(stop <-chan struct{}, changed chan<- struct{})

	// mu serialises all changes of an interface or its stored config.
	mu sync.Mutex
}

func newTunnels(dir string) *tunnels {
	return &tunnels{
		configs: configs{dir: dir}, keys: keysIn(dir), link: systemLink,
		changeLimit: 25 * time.Second, undoLimit: 10 * time.Second,
		forceLimit: 5 * time.Second, hookLimit: time.Second, showLimit: 10 * time.Second,
		confirmLimit: confirmLimit, retryPause: retryPause, undoPatience: undoPatience,
		lookEvery: lookEvery, settleLink: settleLink,
	}
}

// target is the tunnel that a command names, with all values validated.
type target struct {
	profileID string
	iface     string
	protocol  string // as the command spells it
	family    string // wg or awg
	previous  string // the protocol before, as the command spells it
	former    string // the family the interface may still run as; empty if the command names none
}

// outcome is the result of a command on the interface.
type outcome struct {
	message    string  // for the operator
	rolledBack bool    // with an error: the node is as it was before
	pending    *change // applied, must be confirmed; nil if there is nothing to confirm
}

// newTarget accepts only values that are safe on a command line and in a path.
func newTarget(profileID, tunnelProtocol, previous, iface string) (target, error) {
	t := target{
		profileID: profileID, iface: iface,
		protocol: tunnelProtocol, family: protocol.ToolFamily(tunnelProtocol), previous: previous,
	}
	if t.family == "" {
		return t, fmt.Errorf("tunnel protocol %q is not known to this agent", cut(tunnelProtocol))
	}
	if previous != "" {
		if t.former = protocol.ToolFamily(previous); t.former == "" {
			return t, fmt.Errorf("previous tunnel protocol %q is not known to this agent", cut(previous))
		}
	}
	return t, usableInterface(iface)
}

// maxInterfaceName is the longest interface name that Linux and wg-quick accept, in bytes.
const maxInterfaceName = 15

// interfaceError explains why no tunnel on this machine can have an interface name.
type interfaceError struct{ text string }

func (e *interfaceError) Error() string { return e.text }

// usableInterface returns an [interfaceError] for a name that no tunnel on this machine can have.
func usableInterface(iface string) error {
	switch {
	case protocol.ValidInterfaceName(iface):
		return nil
	case iface == "":
		return &interfaceError{"the server gave this node no interface name: push a config, which names one"}
	case len(iface) > maxInterfaceName && protocol.ValidInterfaceName(iface[:maxInterfaceName]):
		return &interfaceError{fmt.Sprintf("interface name %q has %d characters, and Linux takes at most %d: "+
			"shorten the names of the mesh and the node on the server, or give the node an interface name there", printable(iface), len(iface), maxInterfaceName)}
	}
	return &interfaceError{fmt.Sprintf("interface name %q cannot be used", cut(iface))}
}

// withNote appends a note for the operator to a message.
func withNote(message, note string) string {
	if note == "" {
		return message
	}
	return message + "; " + note
}

// cut makes a value of a message fit for the answer.
func cut(s string) string { return printable(s[:min(len(s), 40)]) }

// Start takes the interface up from its stored config. It leaves an interface that already runs
// alone, unless the command asks for another protocol.
func (t *tunnels) Start(ctx context.Context, requestID string, g target) (outcome, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	stored, err := t.owned(g)
	if err != nil {
		return outcome{}, err
	}
	open := t.openOnLocked(g)
	if open != nil {
		stored = open.former()
	}
	if !stored.For(g.profileID) {
		return outcome{}, fmt.Errorf("no config is stored for %s: push the config first", g.iface)
	}
	// The command says whether the protocol changes or, if it does not, the last start does.
	switched := (g.former != "" && g.former != g.family) ||
		(g.former == "" && stored.runsAs() != "" && stored.runsAs() != g.family)
	state := t.link(g.iface)
	if open == nil && state == linkUp && (!switched || stored.runsAs() == g.family) {
		return outcome{message: g.iface + " is already running"}, nil
	}
	c := newChange(requestID, protocol.KindControl, protocol.ActionStart, g, stored)
	c.Ran = state == linkUp
	c.inherit(open)
	return t.commitLocked(ctx, g, c, func() error {
		if open != nil {
			if err := t.configs.Restore(g.iface, stored); err != nil {
				return err
			}
		}
		t.noteProtocol(g, stored)
		return nil
	})
}

// Stop takes the interface down. It succeeds if the interface does not run.
func (t *tunnels) Stop(ctx context.Context, _ string, g target) (outcome, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	stored, err := t.owned(g)
	if err != nil {
		return outcome{}, err
	}
	message := g.iface + " was not running"
	if t.link(g.iface) != linkAbsent {
		if !stored.Exists() {
			return outcome{}, errForeign(g.iface)
		}
		note, err := t.takeDown(ctx, t.changeLimit, g, stored)
		if err != nil {
			return outcome{}, err
		}
		message = withNote(g.iface+" is stopped", note)
	}
	if open := t.openOnLocked(g); open != nil {
		if err := t.configs.Restore(g.iface, open.former()); err != nil {
			return outcome{}, fmt.Errorf("%s; the config that is to be taken back is still stored: %w", message, err)
		}
	}
	if err := t.supersedeLocked(g.iface, ""); err != nil {
		return outcome{}, fmt.Errorf("%s, but a change of it is still to be taken back: %w", message, err)
	}
	return outcome{message: message}, nil
}

// Show runs the plain diagnosis, never its machine-readable form, which prints keys. It shows
// nothing of another node's tunnel.
func (t *tunnels) Show(ctx context.Context, g target) *toolResult {
	stored, err := t.owned(g)
	if err == nil && stored.Exists() && !stored.For(g.profileID) && t.link(g.iface) != linkAbsent {
		err = fmt.Errorf("%s still runs the config of a node that was unbound from this machine: stop it, or push this node's config", g.iface)
	}
	if err != nil {
		return &toolResult{err: err}
	}
	return runTool(ctx, t.showLimit, g.family, "show", g.iface)
}

// Up reports whether the interface is up and, as far as is known, belongs to the profile.
func (t *tunnels) Up(profileID, iface string) bool {
	if !protocol.ValidInterfaceName(iface) {
		return false // the profile's own interface may be one that cannot exist here
	}
	stored, err := t.configs.Read(iface)
	if err == nil && stored.Exists() && !stored.For(profileID) {
		return false
	}
	return t.link(iface) == linkUp
}

// errForeign returns the error for an interface without a config of this agent: the agent did not
// create it, and wg-quick could not undo its setup.
func errForeign(iface string) error {
	return fmt.Errorf("%s exists but was not started from a config of this agent: take it down on the node, then try again", iface)
}

// owned reads the config stored for the interface. It may have been left by an unbound profile: the
// agent knows how to stop and replace that, and brings it back if the push that replaces it fails.
func (t *tunnels) owned(g target) (storedConfig, error) {
	stored, err := t.configs.Read(g.iface)
	if err != nil {
		return stored, err
	}
	if owner := t.configs.Owner(stored, g.profileID); owner != "" {
		return stored, fmt.Errorf("%s is used by another node bound on this machine (profile %s): give one of them another interface name", g.iface, owner)
	}
	return stored, nil
}

// runsAs returns the tool family that the interface was last started with, or "".
func (c storedConfig) runsAs() string { return protocol.ToolFamily(c.Meta.TunnelProtocol) }

// Stored returns the config stored for the profile on the interface. It returns nothing for another
// profile's config, which only that profile's server may know about.
func (t *tunnels) Stored(profileID, iface string) (storedConfig, error) {
	stored, err := t.configs.Read(iface)
	if err != nil || !stored.For(profileID) {
		return storedConfig{}, err
	}
	return stored, nil
}

// report fills ack with the config that is really on disk, even if another was expected.
func (t *tunnels) report(ack *protocol.Ack, profileID, iface string) error {
	stored, err := t.Stored(profileID, iface)
	if err == nil {
		ack.ConfigVersion, ack.ConfigSHA256 = stored.Version(), stored.SHA256
	}
	return err
}

// noteProtocol records the protocol that the interface is started with, and for which profile. It
// is a hint: losing it costs nothing as long as commands carry previous_tunnel_protocol.
func (t *tunnels) noteProtocol(g target, stored storedConfig) {
	if stored.Meta.TunnelProtocol == g.protocol && stored.Meta.ProfileID == g.profileID {
		return
	}
	meta := stored.Meta
	meta.Version, meta.TunnelProtocol, meta.ProfileID = stored.Version(), g.protocol, g.profileID
	meta.SHA256 = stored.SHA256
	_ = t.configs.writeMeta(g.iface, meta)
}

// takeUp starts the interface for the profile. A failed start leaves no effects of its hooks behind, if
// the hooks undo each other. Error, among others: keyring.ErrNoKey.
func (t *tunnels) takeUp(ctx context.Context, profileID, family, iface string) error {
	stored, unread := t.configs.Read(iface)
	path, remove, err := t.ready(profileID, iface, stored)
	if err != nil {
		return fmt.Errorf("start %s: %w", iface, err)
	}
	defer remove()
	res := t.runQuick(ctx, limit(t.changeLimit, stored.Text), family, "up", path)
	if res.err != nil {
		if unread == nil && t.link(iface) == linkAbsent {
			t.runPostDown(ctx, iface, stored.Text)
		}
		return fmt.Errorf("start %s: %w", iface, because(res, stored.Text, family))
	}
	if t.link(iface) != linkUp {
		return fmt.Errorf("start %s: %s-quick reported success but the interface is not up", iface, family)
	}
	return nil
}

// limit returns how long a quick tool may work on text. usual is the limit for an ordinary text.
// The appliance waits accordingly.
func limit(usual time.Duration, text []byte) time.Duration {
	return usual + wgconf.ExtraTime(string(text))
}

// because returns the error of a quick tool. If the text explains why the tool took too long, the
// error says so.
func because(res *toolResult, text []byte, family string) error {
	if !res.timedOut {
		return res.err
	}
	if why := wgconf.WhySlow(string(text), family); why != "" {
		return fmt.Errorf("%w. %s", res.err, strings.TrimSuffix(why, "."))
	}
	return res.err
}

// toolchain returns the version of each installed tool. The quick tools are scripts without a
// version.
func (t *tunnels) toolchain(ctx context.Context) map[string]string {
	found := map[string]string{}
	for _, family := range []string{"wg", "awg"} {
		if toolExists(family) {
			found[family] = "present"
			if res := runTool(ctx, t.showLimit, family, "--version"); res.err == nil {
				found[family] = toolVersion(res.stdout.String())
			}
		}
		if quick := family + "-quick"; toolExists(quick) {
			found[quick] = "present"
		}
	}
	return found
}

// toolVersion reads "wireguard-tools v1.0.20210914 - https://…".
func toolVersion(output string) string {
	line, _, _ := strings.Cut(output, "\n")
	for word := range strings.FieldsSeq(line) {
		if len(word) > 1 && word[0] == 'v' && word[1] >= '0' && word[1] <= '9' {
			return cut(word)
		}
	}
	if v := cut(line); v != "" {
		return v
	}
	return "present"
}

// platform returns the name of this node's operating system on the wire.
func platform() string { return runtime.GOOS }
