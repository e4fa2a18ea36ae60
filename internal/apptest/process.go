package apptest

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Patience is the limit of every wait for an event that must happen. Reaching it fails the test: it
// only ends one that hangs.
const Patience = time.Minute

var binaries string // directory of the built programs

// Main builds the programs and runs the tests, on Linux as root in a network and mount namespace
// of their own, which has nothing but a loopback. The tests mostly wait for other processes, so more
// of those that are parallel run at once than there are processors. For use as
// `os.Exit(apptest.Main(m))`.
func Main(m *testing.M) int {
	const inside = "WFM_TEST_NAMESPACE"
	if _, err := exec.LookPath("unshare"); err == nil && os.Geteuid() == 0 && os.Getenv(inside) == "" {
		args := append([]string{"--net", "--mount", "sh", "-c", `ip link set lo up && exec "$0" "$@"`, os.Args[0]}, os.Args[1:]...)
		cmd := exec.CommandContext(context.Background(), "unshare", args...) //nolint:gosec // the test binary and its own arguments
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "tests in their own namespace:", err)
			return 1
		}
		return 0
	}
	dir, err := os.MkdirTemp("", "wfm-test-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	build := exec.CommandContext(context.Background(), "go", "build", "-o", dir, "wfm/cmd/wfm", "wfm/cmd/wfm-agent")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	binaries = dir
	if err := runAtOnce(atOnce); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// atOnce is how many parallel tests run at the same time, unless -parallel says otherwise.
const atOnce = 6

// runAtOnce makes n the default of -parallel.
func runAtOnce(n int) error {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(n))
}

// Binary is the path of a built program: wfm or wfm-agent.
func Binary(name string) string { return filepath.Join(binaries, name) }

// Need skips the test if a tool is missing, with a line that names it. In CI it fails the test
// instead.
func Need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if os.Getenv("WFM_CI") != "" {
			t.Fatalf("%s is not installed", tool)
		}
		t.Skipf("%s is not installed", tool)
	}
}

// NeedRoot skips the test unless it runs as root in its own namespaces. In CI it fails the test
// instead.
func NeedRoot(t *testing.T) {
	t.Helper()
	switch {
	case os.Getenv("WFM_TEST_NAMESPACE") != "":
	case os.Getenv("WFM_CI") != "":
		t.Fatal("needs root")
	default:
		t.Skip("needs root, for network namespaces and mounts")
	}
}

// hosts is held by the test whose names /etc/hosts has.
var hosts sync.Mutex

// Hosts lets all processes of the tests resolve the names to the loopback address until the test
// ends. Other tests that call it wait until then. It needs root.
func Hosts(t *testing.T, names ...string) {
	t.Helper()
	NeedRoot(t)
	hosts.Lock()
	t.Cleanup(hosts.Unlock)
	file := WriteFile(t, "hosts", "127.0.0.1 localhost "+strings.Join(names, " ")+"\n::1 localhost\n")
	if err := syscall.Mount(file, "/etc/hosts", "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount("/etc/hosts", syscall.MNT_DETACH) })
}

// interfaces counts the names that Interface has returned.
var interfaces atomic.Int32

// Interface returns a name for a tunnel interface that no other test has. The tools keep the sockets
// of all interfaces of the machine in one place.
func Interface() string { return fmt.Sprintf("wf%dx%d", os.Getpid(), interfaces.Add(1)) }

// Process is a running program.
type Process struct {
	Cmd    *exec.Cmd
	out    *lines
	exited chan struct{}
	err    error
}

// Spawn starts a program that is killed when the test ends. Its output is shown if the test fails.
func Spawn(t *testing.T, env []string, name string, args ...string) *Process {
	t.Helper()
	p := &Process{
		Cmd: exec.CommandContext(context.WithoutCancel(t.Context()), name, args...),
		out: newLines(), exited: make(chan struct{}),
	}
	// The programs warn of unknown variables, like those of the tests.
	ours := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WFM_TEST_") || strings.HasPrefix(v, "WFM_CI=") })
	p.Cmd.Env = append(ours, env...)
	p.Cmd.Stdout, p.Cmd.Stderr = p.out, p.out
	p.Cmd.WaitDelay = time.Second
	if err := p.Cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		defer close(p.exited)
		p.err = p.Cmd.Wait()
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() && p.Output() != "" {
			t.Logf("output of %s %s:\n%s", filepath.Base(name), strings.Join(masked(args), " "), p.Output())
		}
	})
	return p
}

// masked returns the arguments with passwords and tokens replaced.
func masked(args []string) []string {
	out := slices.Clone(args)
	for i := 1; i < len(out); i++ {
		if out[i-1] == "-P" || out[i-1] == "--token" {
			out[i] = "…"
		}
	}
	return out
}

// Output returns the program's output so far.
func (p *Process) Output() string { return p.out.String() }

// Kill ends the program like a power cut would.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill()
	<-p.exited
}

// Signal sends a signal.
func (p *Process) Signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// Wait returns the exit code. It fails the test if the program does not end within d.
func (p *Process) Wait(t *testing.T, d time.Duration) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.Cmd.ProcessState.ExitCode()
	case <-time.After(d):
		t.Fatalf("%s did not end within %s; output:\n%s", filepath.Base(p.Cmd.Path), d, p.Output())
		return -1
	}
}

// Expect waits until the output contains text, and returns the line it is in.
func (p *Process) Expect(t *testing.T, text string) string {
	t.Helper()
	timeout := time.After(Patience)
	for {
		changed := p.out.changed()
		if line := find(p.Output(), text); line != "" {
			return line
		}
		select {
		case <-changed:
		case <-p.exited:
			if line := find(p.Output(), text); line != "" {
				return line
			}
			t.Fatalf("%s ended without printing %q:\n%s", filepath.Base(p.Cmd.Path), text, p.Output())
		case <-timeout:
			t.Fatalf("%s never printed %q:\n%s", filepath.Base(p.Cmd.Path), text, p.Output())
		}
	}
}

func find(output, text string) string {
	for line := range strings.Lines(output) {
		if strings.Contains(line, text) {
			return strings.TrimSuffix(line, "\n")
		}
	}
	return ""
}

// lines collects output and signals when there is more.
type lines struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{}
}

func newLines() *lines { return &lines{more: make(chan struct{})} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.more)
	l.more = make(chan struct{})
	return l.b.Write(p)
}

func (l *lines) changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.more
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Run runs a program to its end and returns its output and exit code.
func Run(t *testing.T, name string, args ...string) (string, int) {
	t.Helper()
	return RunEnv(t, nil, name, args...)
}

// RunEnv is like Run, with environment variables.
func RunEnv(t *testing.T, env []string, name string, args ...string) (string, int) {
	t.Helper()
	p := Spawn(t, env, name, args...)
	code := p.Wait(t, Patience)
	return p.Output(), code
}
