package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"wfm/internal/atomicfile"
	"wfm/protocol"
)

// errCutShort is the cause for taking back a change that a former agent did not complete.
var errCutShort = errors.New("the agent was ended in the middle of this change")

// change is a change of a running interface, with everything needed to take it back. Its record is
// on disk from before the first step until the answer is in the journal. So the next agent knows
// how to finish the change, even if the agent or the machine stopped in between. The record of a
// change that could not be taken back stays until that succeeds. It contains a config text, so only
// its owner may read it.
type change struct {
	ProfileID              string          `json:"profile_id"`
	Kind                   protocol.Kind   `json:"type"`
	Action                 protocol.Action `json:"action"`
	RequestID              string          `json:"request_id"`
	Interface              string          `json:"interface_name"`
	TunnelProtocol         string          `json:"tunnel_protocol"`
	PreviousTunnelProtocol string          `json:"previous_tunnel_protocol,omitempty"`

	// Ran reports whether the interface ran before the change. RanAs names the tools it ran with:
	// wg or awg.
	Ran   bool   `json:"ran"`
	RanAs string `json:"ran_as,omitempty"`
	// Former is the config before the change. There always is one: an interface that ran without a
	// config was not started by this agent, and one without a config cannot be started.
	Former formerConfig `json:"former"`
	// BootID identifies the boot in which the change was made. It is empty if the system has no
	// such id.
	BootID string `json:"boot_id,omitempty"`
	// Deadline is the wall clock time by which the change must be confirmed. It is zero while the
	// change is not whole: before it is applied, and again while it is being taken back.
	Deadline time.Time `json:"deadline,omitzero"`
	// Note tells the operator about anything unusual in how the change was made.
	Note string `json:"note,omitempty"`

	inherited bool // see inherit
	made      bool // made by this agent, which therefore knows whether the hooks have run
}

// formerConfig is the form of a storedConfig on disk.
type formerConfig struct {
	Text string     `json:"config_text"`
	Meta configMeta `json:"meta"`
}

// inherit makes c restore the state that open, a change still being taken back, had to restore: if
// c fails as well, the tunnel that ran before open has to run again.
func (c *change) inherit(open *change) {
	if open == nil {
		return
	}
	c.Ran, c.RanAs, c.Former, c.BootID, c.inherited = open.Ran, open.RanAs, open.Former, open.BootID, true
}

func newChange(requestID string, kind protocol.Kind, action protocol.Action, g target, former storedConfig) *change {
	return &change{
		ProfileID: g.profileID, Kind: kind, Action: action, RequestID: requestID, Interface: g.iface,
		TunnelProtocol: g.protocol, PreviousTunnelProtocol: g.previous,
		RanAs:  cmp.Or(former.runsAs(), g.former, g.family),
		Former: formerConfig{string(former.Text), former.Meta}, BootID: kernelBootID(),
	}
}

func (c change) former() storedConfig {
	text := []byte(c.Former.Text)
	return storedConfig{Text: text, SHA256: hashOf(text), Meta: c.Former.Meta}
}

func (c change) target() (target, error) {
	return newTarget(c.ProfileID, c.TunnelProtocol, c.PreviousTunnelProtocol, c.Interface)
}

func (c change) key() entryKey { return entryKey{c.Kind, c.RequestID} }

// left returns how long the change may still wait for its confirmation. It is at most limit, the
// time of a new change, because the clock may have been set back across a restart.
func (c change) left(limit time.Duration) time.Duration {
	return min(time.Until(c.Deadline), limit)
}

const changeSuffix = ".change.json" // a profile id has no dot

func changePath(dir, profileID string) string {
	return filepath.Join(stateDir(dir), profileID+changeSuffix)
}

func (c change) save(dir string) error {
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode change: %w", err)
	}
	if err := atomicfile.Write(changePath(dir, c.ProfileID), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("note how to undo it: %w", err)
	}
	return nil
}

// loadChange reads the open change of a profile. It returns nil if there is none.
func loadChange(dir, profileID string) (*change, error) {
	data, err := os.ReadFile(changePath(dir, profileID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // none is no error
	}
	if err != nil {
		return nil, fmt.Errorf("read open change: %w", err)
	}
	var c change
	if err := json.Unmarshal(data, &c); err != nil {
		// The decoder's error may quote the file, which contains a config.
		return nil, fmt.Errorf("open change of %q is damaged", profileID)
	}
	if _, err := c.target(); err != nil || c.ProfileID != profileID || !c.Kind.ChangesNode() {
		return nil, fmt.Errorf("open change of %q is not one of this agent's", profileID)
	}
	return &c, nil
}

// openChange reads the change that a profile still has to settle or, if it is already answered, to
// take back. An agent may have stopped between its answer and the removal of the record: such a
// change is not open any more, and openChange removes the record.
func openChange(dir, profileID string, j *journal) (*change, error) {
	c, err := loadChange(dir, profileID)
	if err != nil || c == nil {
		return nil, err
	}
	if ack, done := j.Lookup(c.Kind, c.RequestID); done && (ack.Status == protocol.AckApplied || ack.RolledBack) {
		return nil, removeChange(dir, profileID)
	}
	if slices.ContainsFunc(j.Untold(), func(e entry) bool { return c.key() == entryKey{e.Kind, e.RequestID} }) {
		return nil, removeChange(dir, profileID)
	}
	return c, nil
}

func removeChange(dir, profileID string) error {
	if err := os.Remove(changePath(dir, profileID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove finished change: %w", err)
	}
	return atomicfile.SyncDir(stateDir(dir))
}

// openChanges returns the ids of the profiles that have an open change.
func openChanges(dir string) ([]string, error) {
	entries, err := os.ReadDir(stateDir(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list open changes: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), changeSuffix); ok && validProfileID(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// commitLocked carries out c: it takes the interface down if it exists, calls store, and takes the
// interface up. On success the change is open and waits for its confirmation. After an error the
// node is as it was before; if that could not be restored yet, the change stays open, see
// [tunnels.Restore].
func (t *tunnels) commitLocked(ctx context.Context, g target, c *change, store func() error) (outcome, error) {
	c.made = true
	if err := c.save(t.configs.dir); err != nil {
		return outcome{}, fmt.Errorf("nothing was changed: %w", err)
	}
	if err := t.supersedeLocked(c.Interface, c.ProfileID); err != nil {
		return outcome{}, fmt.Errorf("nothing was changed: %w", err)
	}
	var seen map[string]netip.AddrPort
	if t.link(g.iface) != linkAbsent {
		seen = t.endpoints(ctx, c.former().runsAs(), g.iface)
		// Do this with the former text still in place, because it says how to undo its own setup.
		note, err := t.takeDown(ctx, t.changeLimit, g, c.former())
		if err != nil {
			// The tunnel runs as before, so there is nothing to undo, except for an inherited
			// change.
			if !c.inherited {
				err = errors.Join(err, removeChange(t.configs.dir, c.ProfileID))
			}
			return outcome{}, err
		}
		c.Note = note
	}
	err := store()
	if err == nil {
		err = t.takeUp(ctx, g.profileID, g.family, g.iface)
	}
	if err != nil {
		return t.takeBackLocked(ctx, *c, err)
	}
	t.setEndpoints(ctx, g.family, g.iface, seen)
	c.Deadline = time.Now().Add(t.confirmLimit)
	// If this write fails, a restarted agent finds a change that is not whole and takes it back,
	// which is the safe side.
	_ = c.save(t.configs.dir)
	return outcome{pending: c}, nil
}
