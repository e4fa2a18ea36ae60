package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// takeDown removes the interface with the tools of each protocol it may run as, most likely first:
// the quick tools refuse an interface of the other family without touching it. Each tool may take
// the usual time and the extra time that the text needs.
//
// If the tools fail, usually because a hook of the config fails or hangs, takeDown works without
// them: a tunnel that cannot be stopped can neither be replaced nor taken back, and the sender of a
// stop wants it down. The PostDown hooks still run, once the interface is gone. The note reports
// this to the operator; it is empty if all went well.
func (t *tunnels) takeDown(ctx context.Context, usual time.Duration, g target, stored storedConfig) (note string, err error) {
	var families []string
	for _, f := range []string{g.former, stored.runsAs(), g.family} {
		if f != "" && !slices.Contains(families, f) {
			families = append(families, f)
		}
	}
	var problems []error
	for _, family := range families {
		res := t.runQuick(ctx, limit(usual, stored.Text), family, "down", t.configs.Path(g.iface))
		if t.link(g.iface) == linkAbsent {
			if res.err != nil { // a PostDown hook that failed or hung, with others after it
				t.runPostDown(ctx, g.iface, stored.Text)
			}
			return "", nil
		}
		if res.err == nil {
			res.err = fmt.Errorf("%s-quick reported success but the interface is still there", family)
		}
		problems = append(problems, because(res, stored.Text, family))
	}
	cause := fmt.Errorf("stop %s: %w", g.iface, errors.Join(problems...))
	if ctx.Err() != nil {
		return "", cause
	}
	how, err := t.force(ctx, g.iface, stored)
	if err != nil {
		return "", fmt.Errorf("%w; %w", cause, err)
	}
	t.runPostDown(ctx, g.iface, stored.Text)
	return fmt.Sprintf("%s (%s)", how, oneLine(cause)), nil
}

// force is the last resort: it takes a tunnel down without the hooks of its config and, if the tool
// still fails, only deletes the link. how describes which of the two it did. It touches nothing but
// a tunnel: a config may have been stored under the name of a bridge.
func (t *tunnels) force(ctx context.Context, iface string, stored storedConfig) (how string, err error) {
	family := ""
	for _, f := range []string{"wg", "awg"} {
		res := runTool(ctx, t.forceLimit, f, "show", "interfaces")
		if slices.Contains(strings.Fields(res.stdout.String()), iface) {
			family = f
		}
	}
	if family == "" {
		return "", fmt.Errorf("%s is not a tunnel, so it was not deleted either", iface)
	}
	// First with the tool: it knows the routing rules, firewall rules and name servers it has set
	// up.
	if err := t.downWithoutHooks(ctx, family, iface, stored); err == nil {
		return fmt.Sprintf("%s was taken down without the hooks of its config", iface), nil
	}
	// The routes go with the link, and so does a daemon that serves it.
	res := runTool(ctx, t.forceLimit, "ip", "link", "delete", "dev", iface)
	if t.link(iface) == linkAbsent {
		return fmt.Sprintf("the interface %s was deleted; routing rules, firewall rules and name servers of its config may be left", iface), nil
	}
	if res.err == nil {
		res.err = errors.New("ip reported success but the interface is still there")
	}
	return "", fmt.Errorf("deleting the interface did not work either: %w", res.err)
}

// downPrefix begins the names of the folders of downWithoutHooks.
const downPrefix = ".down-"

// downWithoutHooks runs the quick tool with the part of the config that it needs to undo its own
// work.
func (t *tunnels) downWithoutHooks(ctx context.Context, family, iface string, stored storedConfig) error {
	dir, err := os.MkdirTemp(stateDir(t.configs.dir), downPrefix+"*")
	if err != nil {
		return fmt.Errorf("copy config: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, iface+".conf") // the tool takes the interface's name from the file's
	if err := os.WriteFile(path, withoutHooks(stored.Text), 0o600); err != nil {
		return fmt.Errorf("copy config: %w", err)
	}
	res := t.runQuick(ctx, t.forceLimit, family, "down", path)
	if t.link(iface) != linkAbsent {
		return errors.Join(res.err, errors.New("the interface is still there"))
	}
	return nil
}

// withoutHooks returns only the settings that the quick tools read when they take an interface
// down, and so neither hooks nor keys.
func withoutHooks(text []byte) []byte {
	kept := []byte("[Interface]\n")
	for line := range strings.Lines(string(text)) {
		key, _, _ := strings.Cut(line, "=")
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "table", "dns":
			kept = append(kept, strings.TrimRight(line, "\r\n")+"\n"...)
		}
	}
	return kept
}
