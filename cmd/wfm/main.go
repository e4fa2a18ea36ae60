package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"wfm/cmd/internal/agentcmd"
	"wfm/internal/buildinfo"
)

const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	// A log without a reader (wfm serve | head) is no reason to end.
	signal.Ignore(syscall.SIGPIPE)
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // it is under nohup
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		usage(stderr)
		return exitUsage
	}
	switch args[0] {
	case "serve":
		return serve(ctx, args[1:], os.Environ(), stdout, stderr)
	case "certs":
		return certsCommand(ctx, args[1:], os.Getenv, stdout, stderr)
	case "emqx":
		return emqxCommand(ctx, args[1:], os.Getenv, stdout, stderr)
	case "agent":
		return agentcmd.Run(ctx, "wfm agent", args[1:], stdin, stdout, stderr)
	case "check":
		return check(args[1:], os.Getenv, stdout, stderr)
	case "audit":
		return audit(args[1:], stdin, stdout, stderr)
	case "version", "--version", "-version":
		fmt.Fprintln(stdout, "wfm", buildinfo.Version())
		return exitOK
	case "help", "-h", "-help", "--help":
		usage(stdout)
		return exitOK
	}
	fmt.Fprintf(stderr, "wfm: unknown command %q, see `wfm help`\n", args[0])
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprint(w, `The control plane of a WireGuard mesh, in one program.

Usage:
  wfm serve [flags]   run the appliance: MQTT broker, API and admin page
  wfm certs …         list, renew and export TLS certificates, see `+"`wfm certs help`"+`
  wfm emqx …          set up and check an EMQX instead of the embedded broker, see `+"`wfm emqx help`"+`
  wfm agent …         the agent that runs on a node, see `+"`wfm agent help`"+`
  wfm check           check every page of the data file, see `+"`wfm check --help`"+`
  wfm audit verify    check an exported audit log, see `+"`wfm audit help`"+`
  wfm version         print the version
  wfm help            show this

Examples:
  wfm serve                              no configuration: MQTT on :1883, HTTP on :8000, data in ./data
  wfm serve --data-dir /var/lib/wfm --http-addr 127.0.0.1:8000
  wfm serve --help                       every flag and environment variable
`)
}
