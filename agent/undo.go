package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wfm/protocol"
)

const (
	// undoPatience is how long the answer waits for a change to be taken back: no attempt begins
	// later. What is in the way may be gone in a moment, like a name that does not resolve yet.
	undoPatience = 15 * time.Second
	// restoreMost is the longest wait between two attempts after the answer.
	restoreMost = time.Minute
)

// TakeBack undoes c because of cause. The outcome says whether the node is as it was before; the
// error, never nil, says for the operator what happened. What does not work in time is left open,
// for Restore.
func (t *tunnels) TakeBack(ctx context.Context, c change, cause error) (outcome, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.takeBackLocked(ctx, c, cause)
}

func (t *tunnels) takeBackLocked(ctx context.Context, c change, cause error) (outcome, error) {
	// From here on a restarted agent must go on taking back, and not confirm what is half gone.
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

// Restore is one attempt to undo the open change of the profile, which TakeBack could not or nobody
// is left to confirm. It returns the change, nil when another command has changed the interface
// since, and what the node is like now. The record of a change that is undone is the caller's to
// remove, once it has noted who is to hear of it.
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
	// The text that started it is still in place, but for a former attempt that got further.
	stored, _ := t.configs.Read(c.Interface)
	switch {
	case present:
		note, down = t.takeDown(ctx, min(t.undoLimit, t.changeLimit), g, stored)
	case !c.made && c.BootID == kernelBootID():
		// A former agent may have been killed with the tool, in the middle of hooks.
		t.runPostDown(ctx, c.Interface, stored.Text)
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

// openOnLocked is the change that g's profile could not take back yet, nil without one: a command
// for its interface takes over from it. It has none that waits to be confirmed: the command waits
// for that. So whatever the record says, which a full disk may have kept from being written again.
func (t *tunnels) openOnLocked(g target) *change {
	if c, err := loadChange(t.configs.dir, g.profileID); err == nil && c != nil && c.Interface == g.iface {
		return c
	}
	return nil
}

// Leave ends c, which could not be taken back yet, because the node's interface has another name now:
// no command reaches the former one any more, so its tunnel does not stay. It may be called again
// after it was cut off anywhere.
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

// supersedeLocked drops the open changes of the interface, also those of profiles that were unbound
// since, but not the one of the profile keep.
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

// Forget removes the record of the change that ack answers, if it made one and nothing is left to
// undo: the former config runs again or never stopped, or the change stays.
func (t *tunnels) Forget(profileID string, key entryKey, ack protocol.Ack) error {
	c, err := loadChange(t.configs.dir, profileID)
	if err != nil || c == nil || c.key() != key || (ack.Status == protocol.AckFailed && !ack.RolledBack) {
		return err
	}
	return removeChange(t.configs.dir, profileID)
}
