package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"wfm/protocol"
	"wfm/tunnel/wgconf"
)

// Push makes the pushed text, which must have passed checkPush, the stored config and, if the
// interface runs, the running one. In the latter case the change is open when Push returns, and
// must be confirmed. With start, Push starts a tunnel that does not run.
func (t *tunnels) Push(ctx context.Context, requestID string, g target, p protocol.Push, start bool) (outcome, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	former, err := t.owned(g)
	if err != nil {
		return outcome{}, err
	}
	meta := configMeta{Version: p.ConfigVersion, TunnelProtocol: p.TunnelProtocol, AWGVersion: string(p.AWGVersion), ProfileID: g.profileID}
	if kept, public := wgconf.Kept(p.ConfigText); kept {
		pair, err := t.keys.Find(g.profileID, public)
		if err != nil {
			return outcome{}, fmt.Errorf("nothing was changed: %w", err)
		}
		meta.PublicKey = pair.Public
	}
	store := func() error { return t.configs.Write(g.iface, []byte(p.ConfigText), meta) }
	open, present := t.openOnLocked(g), t.link(g.iface) != linkAbsent
	if present && !former.Exists() {
		return outcome{}, errForeign(g.iface)
	}
	if present || (open != nil && open.Ran) || (start && former.For(g.profileID)) {
		c := newChange(requestID, protocol.KindPush, protocol.ActionPush, g, former)
		c.Ran = present
		c.inherit(open)
		return t.commitLocked(ctx, g, c, store)
	}
	// Text alone can cut no node off, and one write cannot be cut short: there is nothing to undo
	// later.
	if err := store(); err != nil {
		if undo := t.configs.Restore(g.iface, former); undo != nil {
			return outcome{}, fmt.Errorf("%w; bringing back the former config did not work either: %w", err, undo)
		}
		return outcome{rolledBack: true}, fmt.Errorf("%w; the former config is back", err)
	}
	if err := t.supersedeLocked(g.iface, ""); err != nil {
		return outcome{}, err
	}
	return outcome{message: fmt.Sprintf("version %d is stored; %s was not running and was not started", p.ConfigVersion, g.iface)}, nil
}

// checkPush refuses a push that cannot be meant.
func checkPush(p protocol.Push) error {
	if p.ConfigVersion < 0 {
		return errors.New("config_version is negative")
	}
	switch {
	case p.Action != "" && p.Action != protocol.ActionPush:
		return fmt.Errorf("action %q is not known on config/push", cut(string(p.Action)))
	case p.ConfigText == "":
		return errors.New("the pushed config is empty")
	case strings.ContainsRune(p.ConfigText, 0):
		return errors.New("the pushed config is not text")
	case !strings.EqualFold(hashOf([]byte(p.ConfigText)), p.ConfigSHA256):
		return errors.New("the pushed config does not match its sha256: it was changed on the way")
	}
	return nil
}

// failed adds err to ack. Every error that reaches it is written for the operator.
func failed(ack protocol.Ack, err error) protocol.Ack {
	ack.Status = protocol.AckFailed
	ack.Message = oneLine(err)
	return ack
}

// oneLine returns the text of err without the line breaks of joined errors.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
