//go:build unix && !linux

package agent

import "syscall"

// dieWithAgent: only Linux can.
func dieWithAgent(*syscall.SysProcAttr) {}

// killMarked: only Linux can tell such processes.
func killMarked(string) int { return 0 }
