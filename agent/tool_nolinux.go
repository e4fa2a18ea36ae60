//go:build unix && !linux

package agent

import "syscall"

// dieWithAgent: only Linux can.
func dieWithAgent(*syscall.SysProcAttr) {}
