package agent

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// dieWithAgent makes the kernel end the command when the agent is killed. A tool that outlived its
// agent would change the interface while the next agent works on it.
func dieWithAgent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }

// killMarked ends every process that has variable in its environment, and returns how many there
// were. It repeats until it finds no new one: they may have started others meanwhile.
func killMarked(variable string) int {
	const patience = 100 // looks at processes whose environment cannot be read just now
	mark := []byte("\x00" + variable + "\x00")
	killed, buffer := map[int]bool{}, make([]byte, 1+256<<10)
	for looks := 0; ; {
		before, unread := len(killed), false
		processes, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, path := range processes {
			n, err := readOnce(path, buffer[1:])
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			switch {
			case err != nil || pid <= 1:
			case n == 0:
				unread = unread || changesProgram(pid)
			case bytes.Contains(buffer[:1+n], mark) && syscall.Kill(pid, syscall.SIGKILL) == nil:
				killed[pid] = true
			}
		}
		if unread && looks < patience {
			looks++
			time.Sleep(time.Millisecond)
		} else if len(killed) == before {
			return len(killed)
		}
	}
}

// readOnce reads the beginning of the file in one call. A second call would read nothing if the process has
// begun to run another program in between.
func readOnce(path string, buffer []byte) (n int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if n, err = f.Read(buffer); errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// changesProgram reports whether the process, whose environment is empty, may just be running execve(2): until
// that is done, the kernel shows none. Processes that have ended and those of the kernel have none either.
func changesProgram(pid int) bool {
	const kernelThread = 0x00200000 // PF_KTHREAD of the kernel's sched.h
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, ok := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte{' '})
	fields := strings.Fields(string(rest)) // from the state on, see proc_pid_stat(5)
	if err != nil || !ok || len(fields) < 7 || strings.ContainsAny(fields[0], "ZX") {
		return false
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err == nil && flags&kernelThread == 0
}
