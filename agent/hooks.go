package agent

import (
	"context"
	"strings"
)

// runPostDown runs the PostDown hooks of text for an interface that went down without them: the
// quick tools run none when a start fails, nor after a hook that fails. Otherwise the effects of
// the PostUp hooks, such as a firewall rule, would outlive the tunnel and keep the node cut off.
// Each hook gets t.hookLimit, all of them together three times that, even if a command wants the
// attempt to end: there is no later chance to run them. Their results do not matter: some may have
// run before, or have nothing to undo.
func (t *tunnels) runPostDown(ctx context.Context, iface string, text []byte) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*t.hookLimit)
	defer cancel()
	for _, hook := range postDown(text) {
		if ctx.Err() != nil {
			return
		}
		// Run them like the quick tools do, which are bash scripts themselves.
		t.runMarked(ctx, []string{"INTERFACE=" + iface}, t.hookLimit,
			"bash", "-e", "-o", "pipefail", "-O", "extglob", "-c", strings.ReplaceAll(hook, "%i", iface))
	}
}

// postDown returns the PostDown hooks of a config, parsed as the quick tools parse it.
func postDown(text []byte) []string {
	var hooks []string
	inside := false
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		key, value, _ := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case strings.HasPrefix(key, "["):
			inside = strings.EqualFold(key, "[Interface]")
		case inside && strings.EqualFold(key, "PostDown") && value != "":
			hooks = append(hooks, value)
		}
	}
	return hooks
}
