package main

import (
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// memoryShare is the part of the cgroup's memory that the runtime tries to stay within. The rest is
// for memory that the runtime does not count: the program itself and the pages of the data file in
// use.
const memoryShare = 0.7

// limitMemory makes the garbage collector work harder near the memory limit of the process's
// cgroup, before the kernel kills the process: each login takes 19 MiB for a moment, and without
// this the garbage of several logins would add up. A GOMEMLIMIT in the environment stays in force.
func limitMemory(log *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return // the runtime has read it
	}
	limit, err := memlimit.FromCgroup()
	if err != nil {
		log.Debug("no memory limit of a cgroup is known", "reason", err)
		return
	}
	share := int64(float64(limit) * memoryShare)
	debug.SetMemoryLimit(share)
	log.Info("memory limit", "cgroup_bytes", limit, "runtime_bytes", share)
}
