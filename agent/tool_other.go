//go:build !unix

package agent

import (
	"os"
	"os/exec"
)

func ownGroup(*exec.Cmd) {}

func endGroup(p *os.Process, _ bool) error {
	if p == nil {
		return nil
	}
	return p.Kill()
}

// killMarked does nothing: only Linux can identify such processes.
func killMarked(string) int { return 0 }
