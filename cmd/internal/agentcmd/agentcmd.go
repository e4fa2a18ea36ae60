package agentcmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"wfm/cmd/internal/environ"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// errUsage marks a command line that was not understood.
var errUsage = errors.New("usage")

// invocation is one call of the command line.
type invocation struct {
	prog           string // as the user typed it: "wfm-agent" or "wfm agent"
	stdin          io.Reader
	stdout, stderr io.Writer
}

// subcommand is one row of the help.
type subcommand struct {
	name, args, summary string
	examples            []string // after the program's name
	run                 func(context.Context, *invocation, []string) error
}

func subcommands() []subcommand {
	return []subcommand{
		{
			name: "bind", args: "--server URL --token TOKEN", run: bind,
			summary: "make this machine a node, with a one-time token from the server",
			examples: []string{
				"bind --server https://wfm.example.org --token 4f1c…",
				"bind --server https://wfm.example.org --token - < token.txt",
			},
		},
		{
			name: "run", run: serve,
			summary:  "serve every profile of this machine until interrupted",
			examples: []string{"run", "run --profile node_b"},
		},
		{
			name: "list", run: list,
			summary:  "list the profiles of this machine",
			examples: []string{"list"},
		},
		{
			name: "unbind", args: "PROFILE|NODE", run: unbind,
			summary:  "forget a profile; the tunnel and its config stay",
			examples: []string{"unbind node_b", "unbind cfg_a-node_b"},
		},
		{
			name: "restore", args: "PROFILE|NODE on|off", run: restore,
			summary:  "choose whether the agent restarts a wanted tunnel that went down (default: on)",
			examples: []string{"restore node_b off", "restore node_b on"},
		},
		{
			name: "version", run: version,
			summary:  "print the version",
			examples: []string{"version"},
		},
	}
}

// Run executes one command line. prog is the program as the user typed it, args are its arguments.
// Run returns the exit code of the process: 0 done, 1 failed, 2 not understood.
func Run(ctx context.Context, prog string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	inv := &invocation{prog: prog, stdin: stdin, stdout: stdout, stderr: stderr}
	inv.warnOfVariables(os.Environ())
	if len(args) == 0 {
		inv.help(stderr)
		return exitUsage
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		if len(rest) == 0 {
			inv.help(stdout)
			return exitOK
		}
		name, rest = rest[0], []string{"--help"}
	case "--version", "-version":
		name = "version"
	}
	for _, c := range subcommands() {
		if c.name == name {
			return inv.exit(c, c.run(ctx, inv, rest))
		}
	}
	_, _ = fmt.Fprintf(stderr, "%s: unknown command %q, see `%s help`\n", prog, name, prog)
	return exitUsage
}

// warnOfVariables names each variable that looks like a variable of the agent but is unknown.
func (inv *invocation) warnOfVariables(environment []string) {
	// The agent sets the last one for its tools, whose hooks may call this program.
	known := []string{"WFM_AGENT_DIR", "WFM_AGENT_LOG_LEVEL", "WFM_AGENT_TOOL"}
	for _, v := range environ.Unknown(environ.Set(environment, "WFM_AGENT"), known) {
		advice := "see `" + inv.prog + " help`"
		if v.Nearest != "" {
			advice = "did you mean " + v.Nearest + "?"
		}
		_, _ = fmt.Fprintf(inv.stderr, "%s: warning: the variable %s is unknown and ignored; %s\n", inv.prog, v.Name, advice)
	}
}

// exit turns the result of a subcommand into text and exit code.
func (inv *invocation) exit(c subcommand, err error) int {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		text := strings.TrimSuffix(err.Error(), ": "+errUsage.Error())
		_, _ = fmt.Fprintf(inv.stderr, "%s %s: %s, see `%s %s --help`\n", inv.prog, c.name, text, inv.prog, c.name)
		return exitUsage
	}
	_, _ = fmt.Fprintf(inv.stderr, "%s %s: %s\n", inv.prog, c.name, strings.ReplaceAll(err.Error(), "\n", "; "))
	return exitFailure
}

func (inv *invocation) help(w io.Writer) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s connects this machine to a WFM server and runs its tunnel.\n\nUsage:\n", inv.prog)
	for _, c := range subcommands() {
		fmt.Fprintf(&b, "  %-50s %s\n", strings.TrimSpace(inv.prog+" "+c.name+" "+c.args), c.summary)
	}
	fmt.Fprintf(&b, "  %-50s %s\n", inv.prog+" help COMMAND", "show the help of one command")
	fmt.Fprintf(&b, "\nEnvironment:\n"+
		"  WFM_AGENT_DIR        folder of profiles, configs and state (default %s)\n"+
		"  WFM_AGENT_LOG_LEVEL  debug, info, warn or error (default info)\n", defaultDir())
	_, _ = io.WriteString(w, b.String())
}

// flags returns the flag set of a subcommand with the common flag.
func (inv *invocation) flags(name string) (fs *flag.FlagSet, dir *string) {
	fs = flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // exit words the errors, parse prints the help
	dir = fs.String("dir", agentDir(), "`folder` of profiles, configs and state; also WFM_AGENT_DIR")
	return fs, dir
}

// parse reads args, flags and operands in any order, and answers --help itself. It returns the
// operands.
func (inv *invocation) parse(fs *flag.FlagSet, args []string, operands int) ([]string, error) {
	var found []string
	for {
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			inv.helpFor(fs)
			return nil, err
		} else if err != nil {
			return nil, fmt.Errorf("%w: %w", err, errUsage)
		}
		if fs.NArg() == 0 {
			break
		}
		found, args = append(found, fs.Arg(0)), fs.Args()[1:]
	}
	if len(found) > operands {
		return nil, fmt.Errorf("unexpected argument %q: %w", found[operands], errUsage)
	}
	return found, nil
}

func (inv *invocation) helpFor(fs *flag.FlagSet) {
	for _, c := range subcommands() {
		if c.name != fs.Name() {
			continue
		}
		_, _ = fmt.Fprintf(inv.stdout, "Usage: %s\n\n%s.\n\nFlags:\n",
			strings.TrimSpace(inv.prog+" "+c.name+" "+c.args), strings.ToUpper(c.summary[:1])+c.summary[1:])
		fs.SetOutput(inv.stdout)
		fs.PrintDefaults()
		_, _ = fmt.Fprintf(inv.stdout, "\nExamples:\n")
		for _, e := range c.examples {
			_, _ = fmt.Fprintf(inv.stdout, "  %s %s\n", inv.prog, e)
		}
	}
}

func agentDir() string {
	if dir := os.Getenv("WFM_AGENT_DIR"); dir != "" {
		return dir
	}
	return defaultDir()
}
