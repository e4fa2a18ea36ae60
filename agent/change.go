package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"wfm/internal/atomicfile"
	"wfm/protocol"
)

// errCutShort is the cause of taking back what a former agent was in the middle of.
var errCutShort = errors.New("the agent was ended in the middle of this change")

// change is a change of a running interface that the node may have to take back, and all that is
// needed to do so. It is on disk from before its first step until its answer is in the journal, so
// whatever ends the agent, or the machine, in between, the next agent knows what to finish; one
// that could not be taken back stays there until it is. It holds a config text, and so is readable
// by its owner alone.
type change struct {
	ProfileID              string          `json:"profile_id"`
	Kind                   protocol.Kind   `json:"type"`
	Action                 protocol.Action `json:"action"`
	RequestID              string          `json:"request_id"`
	Interface              string          `json:"interface_name"`
	TunnelProtocol         string          `json:"tunnel_protocol"`
	PreviousTunnelProtocol string          `json:"previous_tunnel_protocol,omitempty"`

	// Ran tells that the interface ran before the change, and RanAs with which tools: wg or awg.
	Ran   bool   `json:"ran"`
	RanAs string `json:"ran_as,omitempty"`
	// Former is the config before the change. There always is one: what ran without was not
	// started by this agent, and what has none cannot be started.
	Former formerConfig `json:"former"`
	// BootID is the boot the change was made in; empty where the system has no such id.
	BootID string `json:"boot_id,omitempty"`
	// Deadline is the wall clock's time by which the change must be confirmed. It is zero while
	// the change is not whole: before it is applied, and again once it is being taken back.
	Deadline time.Time `json:"deadline,omitzero"`
	// Note is what the operator should know about how the change was made.
	Note string `json:"note,omitempty"`

	inherited bool // see inherit
	made      bool // by this agent, which so knows what was done about the hooks
}

// formerConfig is a storedConfig on disk.
type formerConfig struct {
	Text string     `json:"config_text"`
	Meta configMeta `json:"meta"`
}

// inherit makes c undo what open, which is still being taken back, was to undo: what ran before it
// is what has to run again should c fail as well.
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

// left is how long the change may still wait for its confirmation. After a restart the clock may
// have been set back, hence the limit: never longer than a new change.
func (c change) left(limit time.Duration) time.Duration {
	return min(time.Until(c.Deadline), limit)
}

const changeSuffix = ".change.json" // no profile id holds a dot

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

// loadChange reads the open change of a profile; nil when there is none.
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
		// The decoder's text may quote the file, which holds a config.
		return nil, fmt.Errorf("open change of %q is damaged", profileID)
	}
	if _, err := c.target(); err != nil || c.ProfileID != profileID || !changesNode(c.Kind) {
		return nil, fmt.Errorf("open change of %q is not one of this agent's", profileID)
	}
	return &c, nil
}

// openChange reads what is still to be settled for a profile or, when it is answered already, to be
// taken back. A record that an agent left between its answer and the removal is not open any more:
// it is removed.
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

// openChanges lists the profile ids that have an open change.
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

// commitLocked carries out c: it takes the interface down if it is there, calls store, and takes
// the interface up. It ends with an open change that waits to be confirmed or, with an error, with
// the node as it was before; what could not be brought back yet stays open, see [tunnels.Restore].
func (t *tunnels) commitLocked(ctx context.Context, g target, c *change, store func() error) (outcome, error) {
	c.made = true
	if err := c.save(t.configs.dir); err != nil {
		return outcome{}, fmt.Errorf("nothing was changed: %w", err)
	}
	if err := t.supersedeLocked(c.Interface, c.ProfileID); err != nil {
		return outcome{}, fmt.Errorf("nothing was changed: %w", err)
	}
	if t.link(g.iface) != linkAbsent {
		// With the former text still in place: it says how to undo what it set up.
		note, err := t.takeDown(ctx, t.changeLimit, g, c.former())
		if err != nil {
			// It runs as before, so there is nothing to undo but what c was to undo for another.
			if !c.inherited {
				err = errors.Join(err, removeChange(t.configs.dir, c.ProfileID))
			}
			return outcome{}, err
		}
		c.Note = note
	}
	err := store()
	if err == nil {
		err = t.takeUp(ctx, g.family, g.iface)
	}
	if err != nil {
		return t.takeBackLocked(ctx, *c, err)
	}
	c.Deadline = time.Now().Add(t.confirmLimit)
	// If this cannot be written, an agent that is restarted now finds a change that was cut short
	// and takes it back: the safe side.
	_ = c.save(t.configs.dir)
	return outcome{pending: c}, nil
}
