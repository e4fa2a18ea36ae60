package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary stand in for an agent that can be killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("WFM_TEST_AGENT_DIR"); dir != "" {
		childAgent(dir)
		return
	}
	if dir := os.Getenv("WFM_TEST_WHOLE_AGENT_DIR"); dir != "" {
		_ = Run(context.Background(), Options{Dir: dir})
		return
	}
	flag.Parse()
	atOnce := true
	flag.Visit(func(f *flag.Flag) { atOnce = atOnce && f.Name != "test.parallel" })
	if atOnce { // the parallel tests wait for other processes most of the time
		if err := flag.Set("test.parallel", "6"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// childMessage is a message for the child's executor, one line of its standard input.
type childMessage struct {
	Topic string          `json:"topic"`
	Data  json.RawMessage `json:"data"`
}

// childAgent is an executor on the fake tools whose server is out of reach. It kills itself at the
// query of the interface whose number is WFM_TEST_KILL_AT.
func childAgent(dir string) {
	killAt, _ := strconv.Atoi(os.Getenv("WFM_TEST_KILL_AT"))
	f := &fakeTools{dir: os.Getenv("FAKE")}
	tun := newTunnels(dir)
	tun.confirmLimit, tun.retryPause = 50*time.Millisecond, 5*time.Millisecond
	looks := 0
	tun.link = func(name string) linkState {
		if looks++; looks == killAt {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until the signal arrives
		}
		return f.link(name)
	}
	_, log := newTestLog()
	j, _ := openJournal(journalPath(dir, "cfg_a-node_b"))
	x := newExecutor(testProfile(), tun, j, newOutbox(log, time.Second), log)
	x.server = &fakeUplink{reach: func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	x.Start(context.Background())
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var m childMessage
		if json.Unmarshal(in.Bytes(), &m) == nil {
			x.Receive(m.Topic, m.Data)
		}
	}
}

// child is a running childAgent.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

func spawnAgent(t *testing.T, dir string, env ...string) *child {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(append(os.Environ(), "WFM_TEST_AGENT_DIR="+dir), env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &child{cmd, in}
}

func (c *child) receive(t *testing.T, topic string, data []byte) {
	t.Helper()
	line, err := json.Marshal(childMessage{topic, data})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
}

func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait()
}
