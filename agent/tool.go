package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

const (
	// maxToolOutput bounds what is kept of each stream of a tool, in bytes. Of its complaints as much is
	// kept of the end: a quick tool echoes every route it adds, and says last why it fails.
	maxToolOutput = 64 << 10
	// toolGrace is how long a tool may clean up after it was told to end.
	toolGrace = 2 * time.Second
	// maxToolMessage bounds the part of a tool's complaint that goes into an ACK, in bytes.
	maxToolMessage = 300
)

// toolResult is what a tool left behind. err is nil when it ended with exit status 0.
type toolResult struct {
	stdout, stderr boundedBuffer
	err            error
	timedOut       bool
}

// runTool runs one command without a shell, at most for limit. Past the limit its whole process
// group is ended: wg-quick is a script, and killing the script alone would leave its children at
// work on the interface.
func runTool(ctx context.Context, limit time.Duration, name string, args ...string) *toolResult {
	return runToolWith(ctx, nil, limit, name, args...)
}

// runToolWith is runTool with more environment.
func runToolWith(ctx context.Context, env []string, limit time.Duration, name string, args ...string) *toolResult {
	res := &toolResult{stdout: boundedBuffer{limit: maxToolOutput}, stderr: boundedBuffer{limit: maxToolOutput, tailLimit: maxToolOutput}}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // name is one of six constants, args are validated or a hook for bash
	cmd.Stdout, cmd.Stderr, cmd.Env = &res.stdout, &res.stderr, append(toolEnv(), env...)
	ownGroup(cmd)
	// First politely: wg-quick removes a half-made interface when it is told to end.
	cmd.Cancel = func() error { return endGroup(cmd.Process, false) }
	cmd.WaitDelay = toolGrace
	// The kernel takes the end of the thread that started a process for the end of its parent.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		res.err = fmt.Errorf("%s is not installed on this node: install the package %s", name, toolPackage(name))
	case ctx.Err() != nil && err != nil:
		// Nothing of the group may outlive its time limit. Only here: after a success a
		// userspace tunnel daemon legitimately stays behind in the group.
		_ = endGroup(cmd.Process, true)
		res.err = fmt.Errorf("%s did not end within %s and was stopped%s", name, limit.Round(time.Second/10), stopped(name, res.stderr.String()))
		res.timedOut = true
		if errors.Is(ctx.Err(), context.Canceled) {
			res.timedOut = false
			res.err = fmt.Errorf("%s was stopped because the agent ends", name)
		}
	case errors.Is(err, exec.ErrWaitDelay):
		// It ended well; a daemon it left behind holds its output open.
	case errors.As(err, &exit):
		res.err = fmt.Errorf("%s ended with %s%s%s", name, exit.String(), complaint(res.stderr.String()), advice(res.stderr.String()))
	case err != nil:
		res.err = fmt.Errorf("run %s: %w", name, err)
	}
	return res
}

// toolEnv is the agent's environment with what makes output predictable and safe to send:
// no colour, no translation, never keys.
func toolEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		// LOG_LEVEL makes the userspace daemon keep our pipes and die when they close; the WFM
		// variables are no tool's business.
		if name, _, _ := strings.Cut(kv, "="); name != "LOG_LEVEL" && !strings.HasPrefix(name, "WFM_") {
			env = append(env, kv)
		}
	}
	return append(env, "LC_ALL=C", "WG_HIDE_KEYS=always", "WG_COLOR_MODE=never")
}

func toolExists(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

func toolPackage(name string) string {
	switch {
	case strings.HasPrefix(name, "awg"):
		return "amneziawg-tools"
	case name == "ip":
		return "iproute2"
	}
	return "wireguard-tools"
}

// boundedBuffer keeps the first limit bytes and the last tailLimit of the rest, so that a tool that
// talks too much is not blocked and not a danger to memory.
type boundedBuffer struct {
	limit     int
	tailLimit int
	buf       bytes.Buffer
	tail      []byte
	dropped   int
}

// Write keeps what fits; it never fails.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	keep := min(len(p), b.limit-b.buf.Len())
	b.buf.Write(p[:keep])
	b.tail = append(b.tail, p[keep:]...)
	if over := len(b.tail) - b.tailLimit; over > 0 {
		b.tail = append(b.tail[:0], b.tail[over:]...)
		b.dropped += over
	}
	return len(p), nil
}

// String is what is kept, as valid UTF-8. The place where something is missing looks like the echo of
// a hook: whose words follow there is not known.
func (b *boundedBuffer) String() string {
	if b.dropped == 0 {
		return strings.ToValidUTF8(b.buf.String()+string(b.tail), "\uFFFD")
	}
	if len(b.tail) == 0 {
		return strings.ToValidUTF8(b.buf.String(), "\uFFFD")
	}
	return strings.ToValidUTF8(b.buf.String()+"\n"+gapMark+"\n"+string(b.tail), "\uFFFD")
}

// Text is what is kept with a note of what is missing.
func (b *boundedBuffer) Text() string {
	if b.dropped == 0 {
		return b.String()
	}
	return fmt.Sprintf("%s\n[cut here: %d more bytes]\n", b.String(), b.dropped)
}
