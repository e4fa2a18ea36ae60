package agent

import "syscall"

// dieWithAgent has the kernel end the command when the agent is killed. A tool that outlived its
// agent would go on changing the interface under the hands of the next one, which has just taken
// back what it found.
func dieWithAgent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }
