package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wfm/agent/keyring"
	"wfm/protocol"
)

const (
	// undoPatience is how long the answer waits for a change to be taken back: no attempt begins
	// later. An obstacle may be gone in a moment, like a name that does not resolve yet.
	undoPatience = 15 * time.Second
	// restoreMost is the longest wait between two attempts after the answer.
	restoreMost = time.Minute
)

// TakeBack undoes c because of cause. The outcome says whether the node is as it was before. The
// error is never nil; it tells the operator the cause and the result. If undoing fails for too
// long, the change stays open, for Restore.
func (t *tunnels) TakeBack(ctx context.Context, c change, cause error) (outcome, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.takeBackLocked(ctx, c, cause)
}

func (t *tunnels) takeBackLocked(ctx context.Context, c change, cause error) (outcome, error) {
	// From now on a restarted agent must go on taking the change back, and not confirm a change
	// that is half gone.
	c.Deadline = time.Time{}
	_ = c.save(t.configs.dir)
	for begun := time.Now(); ; {
		state, err := t.undoLocked(ctx, c)
		if err == nil {
			return outcome{rolledBack: true}, fmt.Errorf("%w; %s", cause, state)
		}
		if time.Since(begun)+t.retryPause > t.undoPatience || ctx.Err() != nil {
			return outcome{}, fmt.Errorf("%w; %w; this is tried again until it works or another command changes %s", cause, err, c.Interface)
		}
		select {
		case <-ctx.Done():
		case <-time.After(t.retryPause):
		}
	}
}

// Restore makes one attempt to undo the open change of the profile, which TakeBack could not undo
// or no profile can confirm any more. It returns the change, or nil if another command has changed
// the interface since, and describes the state of the node. The caller must remove the record of an
// undone change, after recording the report that is due to the server.
func (t *tunnels) Restore(ctx context.Context, profileID string) (*change, string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, err := loadChange(t.configs.dir, profileID)
	if err != nil || c == nil {
		return nil, "", err
	}
	c.Deadline = time.Time{} // as in takeBackLocked
	_ = c.save(t.configs.dir)
	state, err := t.undoLocked(ctx, *c)
	return c, state, err
}

// undoLocked brings the interface and its config back to their state before c, from any state:
// it may be called again after an interruption at any point. It describes the resulting state of
// the node.
//
// A tunnel that ran is started again, but not after a reboot: the reboot ended every tunnel of the
// machine, the agent starts none by itself, and a tunnel with an open change is no exception. It is
// started even then if something else has started the interface since, with the text that is taken
// back.
func (t *tunnels) undoLocked(ctx context.Context, c change) (state string, err error) {
	g, err := c.target()
	if err != nil {
		return "", err
	}
	present := t.link(c.Interface) != linkAbsent
	var down error
	note := ""
	// The text that started the tunnel is still in place, unless a former attempt got further.
	stored, _ := t.configs.Read(c.Interface)
	switch {
	case present:
		note, down = t.takeDown(ctx, min(t.undoLimit, t.changeLimit), g, stored)
	case !c.made && c.BootID == kernelBootID():
		// A former agent may have been killed together with the tool, in the middle of hooks.
		t.runPostDown(ctx, c.Interface, stored.Text)
	}
	// Also if the tunnel could not be stopped: the next start must use the former config.
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
	err = t.takeUp(ctx, c.ProfileID, c.RanAs, c.Interface)
	if errors.Is(err, keyring.ErrNoKey) { // the profile of the former config was unbound
		return "the former config is back; its private key was removed since, so the tunnel was not started", nil
	}
	if err != nil {
		return "", fmt.Errorf("the former config is back on disk but did not start either: %w", err)
	}
	return withNote("the former config is back and running", note), nil
}

// openOnLocked returns the change of g's profile whose undo has not succeeded yet, or nil. The
// caller's command takes it over. It is never one that awaits confirmation: commands wait for those
// to finish. The record's deadline is ignored, since a full disk may have kept it stale.
func (t *tunnels) openOnLocked(g target) *change {
	if c, err := loadChange(t.configs.dir, g.profileID); err == nil && c != nil && c.Interface == g.iface {
		return c
	}
	return nil
}

// Leave ends c, which could not be taken back yet, because the node's interface has another name
// now: no command reaches the former interface any more, so its tunnel does not stay. Leave may be
// called again after an interruption at any point.
func (t *tunnels) Leave(ctx context.Context, c change) (note string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g, err := c.target()
	if err != nil {
		return "", err
	}
	stored, err := t.owned(g)
	if err != nil {
		return "", err
	}
	if t.link(c.Interface) != linkAbsent {
		if note, err = t.takeDown(ctx, min(t.undoLimit, t.changeLimit), g, stored); err != nil {
			return "", err
		}
	}
	if err := t.configs.Restore(c.Interface, c.former()); err != nil {
		return "", err
	}
	return note, removeChange(t.configs.dir, c.ProfileID)
}

// supersedeLocked removes the open changes of the interface, also those of unbound profiles, but
// not the one of the profile keep.
func (t *tunnels) supersedeLocked(iface, keep string) error {
	ids, err := openChanges(t.configs.dir)
	problems := []error{err}
	for _, id := range ids {
		if c, err := loadChange(t.configs.dir, id); err == nil && c != nil && c.Interface == iface && id != keep {
			problems = append(problems, removeChange(t.configs.dir, id))
		}
	}
	return errors.Join(problems...)
}

// Forget removes the record of the change that ack answers, if it made one and there is nothing
// left to undo: the former config runs again or never stopped, or the change stays.
func (t *tunnels) Forget(profileID string, key entryKey, ack protocol.Ack) error {
	c, err := loadChange(t.configs.dir, profileID)
	if err != nil || c == nil || c.key() != key || (ack.Status == protocol.AckFailed && !ack.RolledBack) {
		return err
	}
	return removeChange(t.configs.dir, profileID)
}
