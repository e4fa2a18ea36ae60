package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// dieWithAgent makes the kernel end the command when the agent is killed. A tool that outlived its
// agent would change the interface while the next agent works on it.
func dieWithAgent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }

// killMarked ends every process that has variable in its environment, and returns how many there
// were. It repeats until it finds no new one: they may have started others meanwhile.
func killMarked(variable string) int {
	mark := []byte("\x00" + variable + "\x00")
	killed := map[int]bool{}
	for before := -1; len(killed) > before; {
		before = len(killed)
		processes, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, path := range processes {
			env, err := os.ReadFile(path) // empty for a process that has ended
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err == nil && pid > 1 && bytes.Contains(append([]byte{0}, env...), mark) && syscall.Kill(pid, syscall.SIGKILL) == nil {
				killed[pid] = true
			}
		}
	}
	return len(killed)
}
