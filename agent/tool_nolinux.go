//go:build unix && !linux

package agent

import "syscall"

// dieWithAgent does nothing: only Linux supports it.
func dieWithAgent(*syscall.SysProcAttr) {}

// killMarked does nothing: only Linux can identify such processes.
func killMarked(string) int { return 0 }
