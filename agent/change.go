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
	"strings"
	"time"

	"wfm/internal/atomicfile"
	"wfm/protocol"
)

// undoTries is how often the agent tries to take a change back. What keeps it from doing so may
// pass (a name that does not resolve yet, a device that is busy); what does not must not hold up
// the commands behind it for ever.
const undoTries = 3

// errCutShort is the cause of taking back what a former agent was in the middle of.
var errCutShort = errors.New("the agent was ended in the middle of this change")

// change is a change of a running interface that the node may have to take back, and all that is
// needed to do so. It is on disk from before its first step until its answer is in the journal, so
// whatever ends the agent, or the machine, in between, the next agent knows what to finish. It
// holds a config text, and so is readable by its owner alone.
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
}

// formerConfig is a storedConfig on disk.
type formerConfig struct {
	Text string     `json:"config_text"`
	Meta configMeta `json:"meta"`
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

// openChange reads what is still to be settled for a profile. A record that an agent left between
// its answer and the removal is not open any more: it is removed.
func openChange(dir, profileID string, j *journal) (*change, error) {
	c, err := loadChange(dir, profileID)
	if err != nil || c == nil {
		return nil, err
	}
	if ack, done := j.Lookup(c.Kind, c.RequestID); done && (ack.Status == protocol.AckApplied || ack.RolledBack) {
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
	if err != nil {
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
// the node as it was before, as far as that could be done.
func (t *tunnels) commitLocked(ctx context.Context, g target, c *change, store func() error) (outcome, error) {
	if err := c.save(t.configs.dir); err != nil {
		return outcome{}, fmt.Errorf("nothing was changed: %w", err)
	}
	if t.link(g.iface) != linkAbsent {
		// With the former text still in place: it says how to undo what it set up.
		note, err := t.takeDown(ctx, t.changeLimit, g, c.former())
		if err != nil {
			return outcome{}, err // it runs as before
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

// TakeBack undoes c because of cause. The outcome says whether the node is as it was before; the
// error, never nil, says for the operator what happened.
func (t *tunnels) TakeBack(ctx context.Context, c change, cause error) (outcome, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.takeBackLocked(ctx, c, cause)
}

func (t *tunnels) takeBackLocked(ctx context.Context, c change, cause error) (outcome, error) {
	// From here on a restarted agent must go on taking back, and not confirm what is half gone.
	c.Deadline = time.Time{}
	_ = c.save(t.configs.dir)
	for try := 1; ; try++ {
		state, err := t.undoLocked(ctx, c)
		if err == nil {
			return outcome{rolledBack: true}, fmt.Errorf("%w; %s", cause, state)
		}
		if try == undoTries || ctx.Err() != nil {
			return outcome{}, fmt.Errorf("%w; %w", cause, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(t.retryPause):
		}
	}
}

// undoLocked makes the interface and its config what they were before c, from whatever state they
// are in: it may be called again after it was cut off anywhere. It says what the node is like now.
//
// A tunnel that ran is started again. Not so after a reboot: that ended every tunnel of the
// machine, the agent starts none by itself, and the one whose change was open is no exception. It
// is when something else has started the interface since, with the text that is taken back.
func (t *tunnels) undoLocked(ctx context.Context, c change) (state string, err error) {
	g, err := c.target()
	if err != nil {
		return "", err
	}
	present := t.link(c.Interface) != linkAbsent
	var down error
	note := ""
	if present {
		// The text that started it is still in place, but for a former attempt that got further.
		stored, _ := t.configs.Read(c.Interface)
		note, down = t.takeDown(ctx, min(t.undoLimit, t.changeLimit), g, stored)
	}
	// Also where it could not be stopped: the next start must use the former config.
	if err := t.configs.Restore(c.Interface, c.former()); err != nil {
		return "", errors.Join(down, fmt.Errorf("bringing back the former config did not work either: %w", err))
	}
	if down != nil {
		return "", down
	}
	switch {
	case !c.Ran:
		return withNote(c.Interface+" is stopped again", note), nil
	case !present && c.BootID != kernelBootID():
		return "the former config is back; the machine was restarted since, so the tunnel was not started", nil
	}
	if err := t.takeUp(ctx, c.RanAs, c.Interface); err != nil {
		return "", fmt.Errorf("the former config is back on disk but did not start either: %w", err)
	}
	return withNote("the former config is back and running", note), nil
}

// Forget removes the record of the change that ack answers, if it made one. One whose former text
// could not be brought back is kept: the next agent tries again.
func (t *tunnels) Forget(profileID string, key entryKey, ack protocol.Ack) error {
	c, err := loadChange(t.configs.dir, profileID)
	if err != nil || c == nil || c.key() != key {
		return err
	}
	if ack.Status == protocol.AckFailed && !ack.RolledBack && !t.configs.Holds(c.Interface, c.former()) {
		return nil
	}
	return removeChange(t.configs.dir, profileID)
}
