package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"wfm/appliance"
	"wfm/internal/buildinfo"
)

// stopTime is the longest duration of a clean stop, even with unresponsive clients.
const stopTime = 4500 * time.Millisecond

func serve(ctx context.Context, args, environment []string, stdout, stderr io.Writer) int {
	s, err := parse(args, os.Getenv, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintln(stderr, "wfm serve:", err)
		return exitUsage
	}
	s.Logger = logger(s, stderr)
	limitMemory(s.Logger)
	s.warn(environment)
	a, err := appliance.New(ctx, s.Options)
	if err != nil {
		fmt.Fprintln(stderr, "wfm serve:", advise(err))
		return exitFailure
	}
	code := exitOK
	if err := a.Start(); err != nil {
		fmt.Fprintln(stderr, "wfm serve:", advise(err))
		code = exitFailure
	} else {
		greet(stdout, s, a)
		select {
		case <-ctx.Done():
			s.Logger.Info("stopping")
		case err := <-a.Failed():
			fmt.Fprintln(stderr, "wfm serve:", err)
			code = exitFailure
		}
	}
	// The signal has ended ctx; stopping has its own time limit.
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if err := a.Stop(stopping); err != nil {
		fmt.Fprintln(stderr, "wfm serve: not everything stopped in time; what was acknowledged is on disk")
		return exitFailure
	}
	return code
}

func logger(s settings, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: s.logLevel}
	if s.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// advise adds advice to the most common errors of a start.
func advise(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return err.Error() + "; stop what uses the port, or choose another with --http-addr, --mqtt-addr, --https-addr, --mqtt-tls-addr or --emqx-authz-addr"
	case errors.Is(err, syscall.EACCES):
		what := "port"
		if _, isFile := errors.AsType[*fs.PathError](err); isFile {
			what = "directory with --data-dir"
		}
		return err.Error() + "; choose another " + what + ", or run with the rights it needs"
	}
	return err.Error()
}

// greet prints all addresses, and how to set the admin password.
func greet(w io.Writer, s settings, a *appliance.Appliance) {
	dir, err := filepath.Abs(s.DataDir)
	if err != nil {
		dir = s.DataDir
	}
	url, plain, trust := s.PublicOrigin, "http://"+reachable(a.HTTPAddr()), ""
	switch secure := a.HTTPSAddr(); {
	case secure != nil && s.TLSIssuer == "local":
		trust = " --cacert wfm-ca.pem" // curl does not know our CA
		fallthrough
	case secure != nil:
		url = cmp.Or(url, "https://"+reachable(secure))
	default:
		url = cmp.Or(url, plain)
	}
	broker := reachable(a.MQTTAddr())
	if s.EMQX != nil && s.MQTTEnabled {
		broker = s.EMQX.URL.Host + " (EMQX)"
	}
	fmt.Fprintf(w, "WFM Appliance %s\n  page and API  %s/\n  MQTT broker   %s\n", buildinfo.Version(), url, broker)
	if addr := a.MQTTTLSAddr(); addr != nil {
		fmt.Fprintf(w, "  MQTT with TLS %s\n", reachable(addr))
	}
	if addr := a.EMQXCallbackAddr(); addr != nil {
		fmt.Fprintf(w, "  EMQX asks at  http://%s/\n", reachable(addr))
	}
	fmt.Fprintf(w, "  data          %s\n", dir)
	if key := a.NewEMQXKey(); key != "" {
		fmt.Fprintf(w, `
EMQX has to show a key when it asks what nodes may do. This one was made just now, and is not shown again:
  WFM_EMQX_AUTHZ_SHARED_KEY=%s
Set that variable to it, and wfm emqx config prints an EMQX configuration with it, and wfm emqx doctor can try a login.
`, key)
	}
	if token := a.SetupToken(); token != "" {
		// The token is in the link's fragment, which never reaches a log on the way.
		fmt.Fprintf(w, `
There is no admin password yet. Set it with this link, which works until the appliance stops:
  setup link    %s/setup#%s
`, url, token)
		if trust != "" {
			fmt.Fprintf(w, "  its CA        %s/api/v1/system/ca.pem (browsers do not know it and will ask)\n", plain)
		}
	}
}

// reachable returns the address at which this machine reaches addr.
func reachable(addr net.Addr) string {
	if addr == nil {
		return "off"
	}
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	return net.JoinHostPort("localhost", strconv.Itoa(tcp.Port))
}
