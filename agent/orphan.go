package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wfm/protocol"
)

// orphanMark is the environment variable that identifies the processes of one run of a quick tool.
// Unlike a process id, its value is never used again.
const orphanMark = "WFM_AGENT_TOOL"

func orphanPath(dir string) string { return filepath.Join(stateDir(dir), "tool") }

// runQuick runs a quick tool. If the agent is killed, the tool dies too (dieWithAgent), but not the
// processes that the tool has started, such as a hook that waits and then changes a route. While
// the tool runs, its mark is on disk for endOrphans. Processes that remain after it has ended are
// meant to stay, above all the daemon of a userspace tunnel. t.mu must be held: only one such tool
// runs at a time.
func (t *tunnels) runQuick(ctx context.Context, limit time.Duration, family, verb, path string) *toolResult {
	return t.runMarked(ctx, nil, limit, family+"-quick", verb, path)
}

// runMarked is like runQuick, for any tool. It ends everything that a failed tool has started:
// those processes would undo the handling of the failure.
func (t *tunnels) runMarked(ctx context.Context, env []string, limit time.Duration, name string, args ...string) *toolResult {
	id := protocol.NewID("tool")
	mark := orphanMark + "=" + id
	// If this write fails, a killed agent leaves an orphan, which is no reason to do nothing.
	_ = os.WriteFile(orphanPath(t.configs.dir), []byte(id), 0o600)
	defer func() { _ = os.Remove(orphanPath(t.configs.dir)) }()
	res := runToolWith(ctx, append(env, mark), limit, name, args...)
	if res.err != nil {
		killMarked(mark)
	}
	return res
}

// endOrphans kills the remaining processes of the quick tool that ran when the former agent was
// killed, before they change the node while this agent takes a change back. It returns how many
// there were. Only Linux can identify them.
func endOrphans(dir string) int {
	mark, err := os.ReadFile(orphanPath(dir))
	if err != nil || !strings.HasPrefix(string(mark), "tool_") {
		return 0
	}
	n := killMarked(orphanMark + "=" + string(mark))
	_ = os.Remove(orphanPath(dir))
	return n
}
