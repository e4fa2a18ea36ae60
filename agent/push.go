package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"wfm/protocol"
)

// Push makes the pushed text the stored config and, where the interface runs, the running one. The
// ACK says applied only for the whole of that, and always what is really on disk now.
func (t *tunnels) Push(ctx context.Context, profileID string, p protocol.Push) protocol.Ack {
	t.mu.Lock()
	defer t.mu.Unlock()
	ack := protocol.Ack{Action: protocol.ActionPush}
	g, err := newTarget(profileID, p.TunnelProtocol, p.PreviousTunnelProtocol, p.InterfaceName)
	if err != nil {
		return failed(ack, err)
	}
	ack.Message, ack.RolledBack, err = t.pushLocked(ctx, g, p)
	// Whatever happened, report the disk as it is and not as it was meant to be.
	if stored, readErr := t.configs.Read(g.iface); readErr == nil {
		ack.ConfigVersion, ack.ConfigSHA256 = stored.Version(), stored.SHA256
	} else if err == nil {
		err = readErr
	}
	if err != nil {
		return failed(ack, err)
	}
	ack.Status = protocol.AckApplied
	return ack
}

func (t *tunnels) pushLocked(ctx context.Context, g target, p protocol.Push) (message string, rolledBack bool, err error) {
	if err := checkPush(p); err != nil {
		return "", false, err
	}
	former, err := t.owned(g)
	if err != nil {
		return "", false, err
	}
	ran := t.link(g.iface) != linkAbsent
	if ran {
		if !former.Exists() {
			return "", false, errForeign(g.iface)
		}
		// With the former text still in place: it says how to undo what it set up.
		if err := t.takeDown(ctx, g, former); err != nil {
			return "", false, err
		}
	}
	err = t.configs.Write(g.iface, []byte(p.ConfigText), configMeta{
		Version: p.ConfigVersion, TunnelProtocol: p.TunnelProtocol, AWGVersion: p.AWGVersion, ProfileID: g.profileID,
	})
	if err == nil && ran {
		err = t.takeUp(ctx, g.family, g.iface)
	}
	if err != nil {
		return t.rollBack(ctx, g, former, ran, err)
	}
	if ran {
		return fmt.Sprintf("version %d is stored and %s runs it", p.ConfigVersion, g.iface), false, nil
	}
	return fmt.Sprintf("version %d is stored; %s was not running and was not started", p.ConfigVersion, g.iface), false, nil
}

func checkPush(p protocol.Push) error {
	if p.ConfigVersion < 0 {
		return errors.New("config_version is negative")
	}
	switch {
	case p.Action != "" && p.Action != protocol.ActionPush:
		return fmt.Errorf("action %q is not known on config/push", cut(string(p.Action)))
	case p.AWGVersion != "" && !protocol.ValidAWGVersion(p.AWGVersion):
		return fmt.Errorf("awg version %q is not known to this agent", cut(p.AWGVersion))
	case p.ConfigText == "":
		return errors.New("the pushed config is empty")
	case strings.ContainsRune(p.ConfigText, 0):
		return errors.New("the pushed config is not text")
	case !strings.EqualFold(hashOf([]byte(p.ConfigText)), p.ConfigSHA256):
		return errors.New("the pushed config does not match its sha256: it was changed on the way")
	}
	return nil
}

// rollBack brings back the former config, and the tunnel if it ran, after cause. It reports true
// only when all of that worked.
func (t *tunnels) rollBack(ctx context.Context, g target, former storedConfig, ran bool, cause error) (string, bool, error) {
	// A start that was stopped half-way can leave the interface behind; the text that made it is
	// still in place.
	if ran && t.link(g.iface) != linkAbsent {
		if err := t.takeDown(ctx, g, former); err != nil {
			cause = fmt.Errorf("%w; %w", cause, err)
		}
	}
	if err := t.configs.Restore(g.iface, former); err != nil {
		return "", false, fmt.Errorf("%w; bringing back the former config did not work either: %w", cause, err)
	}
	if !ran {
		return "", true, fmt.Errorf("%w; the former config is back", cause)
	}
	family := former.runsAs()
	if family == "" {
		family = g.former
	}
	if family == "" {
		family = g.family
	}
	if err := t.takeUp(ctx, family, g.iface); err != nil {
		return "", false, fmt.Errorf("%w; the former config is back on disk but did not start either: %w", cause, err)
	}
	return "", true, fmt.Errorf("%w; the former config is back and running", cause)
}

// failed completes ack with err's text. Every error that gets here is written for the operator.
func failed(ack protocol.Ack, err error) protocol.Ack {
	ack.Status = protocol.AckFailed
	ack.Message = strings.ReplaceAll(err.Error(), "\n", "; ")
	return ack
}
