package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxToolOutput bounds what is kept of each stream of a tool, in bytes.
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
}

// runTool runs one command without a shell, at most for limit. Past the limit its whole process
// group is ended: wg-quick is a script, and killing the script alone would leave its children at
// work on the interface.
func runTool(ctx context.Context, limit time.Duration, name string, args ...string) *toolResult {
	return runToolWith(ctx, nil, limit, name, args...)
}

// runToolWith is runTool with more environment.
func runToolWith(ctx context.Context, env []string, limit time.Duration, name string, args ...string) *toolResult {
	res := &toolResult{stdout: boundedBuffer{limit: maxToolOutput}, stderr: boundedBuffer{limit: maxToolOutput}}
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
		res.err = fmt.Errorf("%s did not end within %s and was stopped%s", name, limit, firstComplaint(res.stderr.String()))
		if errors.Is(ctx.Err(), context.Canceled) {
			res.err = fmt.Errorf("%s was stopped because the agent ends", name)
		}
	case errors.Is(err, exec.ErrWaitDelay):
		// It ended well; a daemon it left behind holds its output open.
	case errors.As(err, &exit):
		res.err = fmt.Errorf("%s ended with %s%s", name, exit.String(), complaint(res.stderr.String()))
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

var (
	// A WireGuard key in base64, also one with its end cut off.
	keyLike = regexp.MustCompile(`[A-Za-z0-9+/]{40,}=*`)
	// What the tools quote back from a config line; short quotes are interface names.
	longQuote = regexp.MustCompile("[`'\"][^`'\"]{16,}['\"]")
)

// complaint is the last a tool said: the cause often stands a line above the summary.
func complaint(stderr string) string {
	said := complaints(stderr)
	return joinComplaints(said[max(0, len(said)-3):], stderr)
}

// firstComplaint is what a tool said first. It is for one that was stopped, whose last words are about
// that.
func firstComplaint(stderr string) string {
	said := complaints(stderr)
	return joinComplaints(said[:min(1, len(said))], stderr)
}

func joinComplaints(said []string, stderr string) string {
	if len(said) == 0 {
		return hookNote(stderr)
	}
	text := strings.Join(said, "; ")
	if len(text) > maxToolMessage {
		text = strings.ToValidUTF8(text[:maxToolMessage], "") + "…"
	}
	return ": " + text
}

// complaints is what a tool said, line by line, fit for an ACK: without the commands it echoes,
// without anything that could be a key or a config line, and without what hooks of the config print,
// which may be any secret of the node and cannot be told from the rest but by its place.
func complaints(stderr string) []string {
	var said []string
	for line := range strings.Lines(toolsOwn(stderr)) {
		line = printable(line)
		if line == "" || boxed(line) {
			continue
		}
		if strings.HasPrefix(line, "[!]") { // the userspace daemon makes up for what failed so far
			said = nil
			continue
		}
		if cut := strings.Index(line, "unrecognized:"); cut >= 0 { // what follows is a line of the config
			line = line[:cut] + "unrecognized (not shown)"
		}
		line = longQuote.ReplaceAllString(line, "(not shown)")
		said = append(said, keyLike.ReplaceAllString(line, "(hidden)"))
	}
	return said
}

// echoed is what a quick tool says before each command it runs: one of its own, or a hook.
const echoed = "[#] "

var (
	// A quick tool runs no others of its own, and none with what means something to a shell. A hook
	// that looks the same says what the tool might have said.
	ownWords = regexp.MustCompile(`^(ip|wg|awg|wireguard-go|amneziawg-go|resolvconf|nft|iptables-restore|ip6tables-restore|sysctl) [^;&|<>$()` + "`" + `"'\\]*$`)
	program  = regexp.MustCompile(`^[a-z0-9_./-]{1,40}$`)
)

// toolsOwn drops from what a quick tool printed its echoes, and what follows the echo of a hook.
func toolsOwn(stderr string) string {
	var own strings.Builder
	hook := false
	for line := range strings.Lines(stderr) {
		if command, ok := strings.CutPrefix(line, echoed); ok {
			hook = !ownWords.MatchString(strings.TrimSpace(command))
		} else if !hook {
			own.WriteString(line)
		}
	}
	return own.String()
}

// hookNote names the last hook a quick tool ran, for when the tool itself had nothing to complain
// about; empty when there was none.
func hookNote(stderr string) string {
	name := ""
	for line := range strings.Lines(stderr) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), echoed)
		if !ok || ownWords.MatchString(command) {
			continue
		}
		if name, _, _ = strings.Cut(command, " "); !program.MatchString(name) {
			name = "a shell command" // its first word may be a value
		}
	}
	if name == "" {
		return ""
	}
	return fmt.Sprintf(": it seems that a hook of the config failed or hung (%s); what hooks print is not shown", name)
}

// boxed tells a line of the frame in which the userspace daemon greets, whatever the outcome.
func boxed(line string) bool {
	first, _ := utf8.DecodeRuneInString(line)
	return first >= '\u2500' && first <= '\u257f'
}

// boundedBuffer keeps the first limit bytes and takes the rest without keeping it, so that a tool
// that talks too much is not blocked and not a danger to memory.
type boundedBuffer struct {
	limit   int
	buf     bytes.Buffer
	dropped int
}

// Write keeps what fits; it never fails.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	keep := min(len(p), b.limit-b.buf.Len())
	b.buf.Write(p[:keep])
	b.dropped += len(p) - keep
	return len(p), nil
}

// String is the kept part, as valid UTF-8.
func (b *boundedBuffer) String() string { return strings.ToValidUTF8(b.buf.String(), "\uFFFD") }

// Text is the kept part with a note of what is missing.
func (b *boundedBuffer) Text() string {
	if b.dropped == 0 {
		return b.String()
	}
	return fmt.Sprintf("%s\n[cut here: %d more bytes]\n", b.String(), b.dropped)
}
