package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"wfm/cmd/internal/agentcmd"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A clean stop lets a running command end. A second signal does not wait for it.
	context.AfterFunc(ctx, stop)
	return agentcmd.Run(ctx, "wfm-agent", os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}
