package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"wfm/store"
)

func checkHelp(w io.Writer) {
	fmt.Fprint(w, `Check the data file of a stopped appliance, or a backup: every page and every record. Nothing is changed.

Usage:
  wfm check [--data-dir DIR]   check wfm.db in DIR (variable WFM_DATA_DIR, default ./data)
  wfm check FILE               check a backup

The exit status is 0 if the file is sound, and 1 if it is damaged or cannot be read. A running appliance checks
its file itself: see GET /readyz.

Example:
  wfm check --data-dir /var/lib/wfm
`)
}

// check is the command wfm check.
func check(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("wfm check", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dir := flags.String("data-dir", cmp.Or(getenv("WFM_DATA_DIR"), "./data"), "")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp), flags.Arg(0) == "help":
		checkHelp(stdout)
		return exitOK
	case err == nil && flags.NArg() > 1:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(1))
	}
	if err != nil {
		fmt.Fprintf(stderr, "wfm check: %v, see `wfm check --help`\n", err)
		return exitUsage
	}
	path := cmp.Or(flags.Arg(0), filepath.Join(*dir, store.FileName))
	c, err := store.Check(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(stderr, "wfm check: there is no data file at %s; name its directory with --data-dir, or a backup\n", path)
		return exitFailure
	case errors.Is(err, store.ErrInUse):
		fmt.Fprintf(stderr, "wfm check: a running appliance uses %s, and checks it itself (see GET /readyz); stop it first, or check a backup\n", path)
		return exitFailure
	case err != nil:
		fmt.Fprintf(stderr, "wfm check: %s: %v\n", path, err)
		for _, fault := range c.Faults {
			fmt.Fprintln(stderr, "  "+fault)
		}
		if c.More {
			fmt.Fprintln(stderr, "  and more")
		}
		return exitFailure
	}
	fmt.Fprintf(stdout, "%s is sound: %d records on %d pages (%d bytes)\n", path, c.Records, c.Pages, c.Bytes)
	return exitOK
}
