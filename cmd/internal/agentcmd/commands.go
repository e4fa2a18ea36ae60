package agentcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"

	"wfm/agent"
	"wfm/internal/buildinfo"
)

// defaultDir returns the default folder of the agent's files.
func defaultDir() string {
	if runtime.GOOS != "linux" {
		if base, err := os.UserConfigDir(); err == nil {
			return filepath.Join(base, "wfm-agent")
		}
	}
	return "/etc/wfm-agent"
}

func bind(ctx context.Context, inv *invocation, args []string) error {
	fs, dir := inv.flags("bind")
	server := fs.String("server", "", "`URL` of the server, as in https://wfm.example.org")
	token := fs.String("token", "", "one-time `token` from the server's bind command; - reads it from stdin")
	hostname := fs.String("hostname", "", "`name` to report instead of this machine's")
	pin := fs.String("cert-sha256", "", "`fingerprint` of the server's CA, of a server that has its own")
	if _, err := inv.parse(fs, args, 0); err != nil {
		return err
	}
	if *server == "" || *token == "" {
		return fmt.Errorf("--server and --token are needed: %w", errUsage)
	}
	if *token == "-" {
		text, err := io.ReadAll(io.LimitReader(inv.stdin, 4096))
		if err != nil {
			return fmt.Errorf("read the token from stdin: %w", err)
		}
		*token = strings.TrimSpace(string(text))
	}
	p, err := agent.Bind(ctx, agent.BindOptions{Dir: *dir, ServerURL: *server, Token: *token, Hostname: *hostname, CertSHA256: *pin})
	if p.ID() == "" {
		return err
	}
	_, _ = fmt.Fprintf(inv.stdout, "Bound as node %s (%s) of mesh %s (%s), interface %s.\n",
		named(p.Node.NodeName), p.Node.NodeID, named(p.Node.ConfigName), p.Node.ConfigID, shownInterface(p))
	if warning := p.Warning(); warning != "" {
		_, _ = fmt.Fprintf(inv.stderr, "%s bind: warning: no tunnel can run here yet: %s\n", inv.prog, warning)
	}
	_, _ = fmt.Fprintf(inv.stdout, "A running agent picks it up by itself; otherwise start one with `%s run`.\n", inv.prog)
	return err // the bind is valid even if something else failed
}

// named makes a name from the server fit for a terminal.
func named(s string) string { return fmt.Sprintf("%q", s) }

// shownInterface returns the interface's name, in quotes if no interface can have that name.
func shownInterface(p agent.Profile) string {
	if p.Warning() != "" {
		return named(p.Node.InterfaceName)
	}
	return p.Node.InterfaceName
}

func serve(ctx context.Context, inv *invocation, args []string) error {
	fs, dir := inv.flags("run")
	only := fs.String("profile", "", "serve only this `profile or node`")
	if _, err := inv.parse(fs, args, 0); err != nil {
		return err
	}
	var level slog.Level
	if text := os.Getenv("WFM_AGENT_LOG_LEVEL"); text != "" {
		if err := level.UnmarshalText([]byte(text)); err != nil {
			return fmt.Errorf("WFM_AGENT_LOG_LEVEL is none of debug, info, warn, error: %w", errUsage)
		}
	}
	log := slog.New(slog.NewTextHandler(inv.stderr, &slog.HandlerOptions{Level: level}))
	log.Info("agent starts", "version", buildinfo.Version(), "dir", *dir)
	err := agent.Run(ctx, agent.Options{Dir: *dir, Log: log, Only: *only})
	if errors.Is(err, agent.ErrRunning) {
		return fmt.Errorf("another agent already serves %s, stop it first or use another --dir", *dir)
	}
	return err
}

func list(_ context.Context, inv *invocation, args []string) error {
	fs, dir := inv.flags("list")
	if _, err := inv.parse(fs, args, 0); err != nil {
		return err
	}
	profiles, err := agent.ListProfiles(*dir)
	if len(profiles) == 0 && err == nil {
		_, _ = fmt.Fprintf(inv.stderr, "No profile in %s: bind this machine with `%s bind`.\n", *dir, inv.prog)
		return nil
	}
	w := tabwriter.NewWriter(inv.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "PROFILE\tNODE\tNAME\tINTERFACE\tSERVER\tBOUND")
	for _, p := range profiles {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", p.ID(), p.Node.NodeID, named(p.Node.NodeName), shownInterface(p), p.ServerURL, p.BoundAt)
	}
	return errors.Join(w.Flush(), err)
}

func unbind(_ context.Context, inv *invocation, args []string) error {
	fs, dir := inv.flags("unbind")
	names, err := inv.parse(fs, args, 1)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("a profile or node is needed: %w", errUsage)
	}
	id, err := agent.RemoveProfile(*dir, names[0])
	if errors.Is(err, agent.ErrNoProfile) {
		return fmt.Errorf("%w, see `%s list`", err, inv.prog)
	}
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(inv.stdout, "Profile %s is removed. A tunnel that runs keeps running.\n", id)
	return nil
}

func restore(_ context.Context, inv *invocation, args []string) error {
	fs, dir := inv.flags("restore")
	words, err := inv.parse(fs, args, 2)
	if err != nil {
		return err
	}
	if len(words) != 2 || (words[1] != "on" && words[1] != "off") {
		return fmt.Errorf("a profile or node is needed, and on or off: %w", errUsage)
	}
	id, err := agent.SetRestore(*dir, words[0], words[1] == "on")
	if errors.Is(err, agent.ErrNoProfile) {
		return fmt.Errorf("%w, see `%s list`", err, inv.prog)
	}
	if err != nil {
		return err
	}
	text := "The agent restarts the tunnel of %s if it should run and went down.\n"
	if words[1] == "off" {
		text = "The agent only reports to the server if the tunnel of %s should run and went down.\n"
	}
	_, _ = fmt.Fprintf(inv.stdout, text, id)
	return nil
}

func version(_ context.Context, inv *invocation, args []string) error {
	fs, _ := inv.flags("version")
	if _, err := inv.parse(fs, args, 0); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(inv.stdout, "wfm-agent %s %s/%s\n", buildinfo.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
