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
	// maxToolOutput limits the kept output of each stream of a tool, in bytes. Of standard error,
	// as much is kept of the end: a quick tool echoes every route it adds, and gives the reason for
	// a failure last.
	maxToolOutput = 64 << 10
	// toolGrace is how long a tool may clean up after the request to end.
	toolGrace = 2 * time.Second
	// maxToolMessage limits the part of a tool's messages that goes into an ACK, in bytes.
	maxToolMessage = 300
)

// toolResult is the result of a tool. err is nil if the tool ended with exit status 0.
type toolResult struct {
	stdout, stderr boundedBuffer
	err            error
	timedOut       bool
}

// runTool runs one command without a shell, for limit at most. Then it ends the whole process
// group: wg-quick is a script, and killing only the script would leave its children working on the
// interface.
func runTool(ctx context.Context, limit time.Duration, name string, args ...string) *toolResult {
	return runToolWith(ctx, nil, limit, name, args...)
}

// runToolWith is like runTool, with additional environment variables.
func runToolWith(ctx context.Context, env []string, limit time.Duration, name string, args ...string) *toolResult {
	res := &toolResult{stdout: boundedBuffer{limit: maxToolOutput}, stderr: boundedBuffer{limit: maxToolOutput, tailLimit: maxToolOutput}}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // name is one of six constants, args are validated or a hook for bash
	cmd.Stdout, cmd.Stderr, cmd.Env = &res.stdout, &res.stderr, append(toolEnv(), env...)
	ownGroup(cmd)
	// First politely: wg-quick removes a half-made interface when it is asked to end.
	cmd.Cancel = func() error { return endGroup(cmd.Process, false) }
	cmd.WaitDelay = toolGrace
	// The kernel treats the end of the thread that started a process as the end of its parent.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		res.err = fmt.Errorf("%s is not installed on this node: install the package %s", name, toolPackage(name))
	case ctx.Err() != nil && err != nil:
		// No process of the group may outlive the time limit. Only in this case: after a success
		// the daemon of a userspace tunnel legitimately stays in the group.
		_ = endGroup(cmd.Process, true)
		res.err = fmt.Errorf("%s did not end within %s and was stopped%s", name, limit.Round(time.Second/10), stopped(name, res.stderr.String()))
		res.timedOut = true
		if errors.Is(ctx.Err(), context.Canceled) {
			res.timedOut = false
			res.err = fmt.Errorf("%s was stopped because the agent ends", name)
		}
	case errors.Is(err, exec.ErrWaitDelay):
		// The tool ended well; a daemon that it left running keeps its output open.
	case errors.As(err, &exit):
		res.err = fmt.Errorf("%s ended with %s%s%s", name, exit.String(), complaint(res.stderr.String()), advice(res.stderr.String()))
	case err != nil:
		res.err = fmt.Errorf("run %s: %w", name, err)
	}
	return res
}

// toolEnv returns the agent's environment with settings that make output predictable and safe to
// send: no colour, no translation, never keys.
func toolEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		// LOG_LEVEL makes the userspace daemon keep our pipes and die when they close. The WFM
		// variables do not concern any tool.
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
// prints too much neither blocks nor fills the memory.
type boundedBuffer struct {
	limit     int
	tailLimit int
	buf       bytes.Buffer
	tail      []byte
	dropped   int
}

// Write keeps as much of p as fits. It never fails.
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

// String returns the kept output as valid UTF-8. A gap is marked like the echo of a hook, because
// the output after it may come from one.
func (b *boundedBuffer) String() string {
	if b.dropped == 0 {
		return strings.ToValidUTF8(b.buf.String()+string(b.tail), "\uFFFD")
	}
	if len(b.tail) == 0 {
		return strings.ToValidUTF8(b.buf.String(), "\uFFFD")
	}
	return strings.ToValidUTF8(b.buf.String()+"\n"+gapMark+"\n"+string(b.tail), "\uFFFD")
}

// Text returns the kept output with a note about the missing part.
func (b *boundedBuffer) Text() string {
	if b.dropped == 0 {
		return b.String()
	}
	return fmt.Sprintf("%s\n[cut here: %d more bytes]\n", b.String(), b.dropped)
}
