package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wfm/protocol"
)

// orphanMark is the environment variable that tells the processes of one run of a quick tool from
// all others. Unlike a process id it is never used again.
const orphanMark = "WFM_AGENT_TOOL"

func orphanPath(dir string) string { return filepath.Join(stateDir(dir), "tool") }

// runQuick runs a quick tool. An agent that is killed takes the tool along (dieWithAgent) but not
// what the tool has started, like a hook that waits and then changes a route. While the tool runs
// its mark is on disk, for endOrphans; afterwards whatever it left behind is meant to stay, above
// all the daemon of a userspace tunnel. t.mu must be held: there is one such tool at a time.
func (t *tunnels) runQuick(ctx context.Context, limit time.Duration, family, verb, path string) *toolResult {
	return t.runMarked(ctx, nil, limit, family+"-quick", verb, path)
}

// runMarked is runQuick for any tool. Nothing that a failed one has started goes on: what is done
// about the failure would be undone by it.
func (t *tunnels) runMarked(ctx context.Context, env []string, limit time.Duration, name string, args ...string) *toolResult {
	id := protocol.NewID("tool")
	mark := orphanMark + "=" + id
	// Without it a killed agent leaves an orphan, which is no reason to do nothing.
	_ = os.WriteFile(orphanPath(t.configs.dir), []byte(id), 0o600)
	defer func() { _ = os.Remove(orphanPath(t.configs.dir)) }()
	res := runToolWith(ctx, append(env, mark), limit, name, args...)
	if res.err != nil {
		killMarked(mark)
	}
	return res
}

// endOrphans kills what is left of the quick tool that ran when the former agent was killed, before
// it changes under the hands of this one what is about to be taken back. It returns how many
// processes that were. Only Linux can tell them.
func endOrphans(dir string) int {
	mark, err := os.ReadFile(orphanPath(dir))
	if err != nil || !strings.HasPrefix(string(mark), "tool_") {
		return 0
	}
	n := killMarked(orphanMark + "=" + string(mark))
	_ = os.Remove(orphanPath(dir))
	return n
}
