//go:build unix

package agent

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup puts the command into a process group of its own, so that the whole group can be ended
// and an interrupt typed at the agent's terminal does not reach it.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithAgent(cmd.SysProcAttr)
}

// endGroup signals the whole process group of p: SIGTERM, or SIGKILL by force.
func endGroup(p *os.Process, force bool) error {
	if p == nil {
		return nil
	}
	sig := syscall.SIGTERM
	if force {
		sig = syscall.SIGKILL
	}
	return syscall.Kill(-p.Pid, sig)
}
