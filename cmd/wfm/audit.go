package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"wfm/store"
)

func auditUsage(w io.Writer) {
	fmt.Fprint(w, `Check an exported audit log: that it is whole, and no line was changed, left out or put in.

Usage:
  wfm audit verify [FILE]    FILE is what GET /api/v1/audit/export answers; default, or -: standard input

It prints the number and the hash of the newest entry. Keep them: a later export that does not have
that entry with that hash was cut off or replaced.

Example:
  curl -fsS -H "Authorization: Bearer $TOKEN" http://localhost:8000/api/v1/audit/export | wfm audit verify
`)
}

func audit(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	asksForHelp := slices.ContainsFunc(args, func(a string) bool { return a == "--help" || a == "-help" || a == "-h" })
	switch {
	case asksForHelp, len(args) == 1 && args[0] == "help":
		auditUsage(stdout)
		return exitOK
	case len(args) == 0, args[0] != "verify", len(args) > 2, len(args) == 2 && strings.HasPrefix(args[1], "-") && args[1] != "-":
		auditUsage(stderr)
		return exitUsage
	}
	if len(args) == 2 && args[1] != "-" {
		f, err := os.Open(args[1])
		if err != nil {
			fmt.Fprintln(stderr, "wfm audit verify:", err)
			return exitFailure
		}
		defer f.Close()
		stdin = f
	}
	p, err := store.VerifyAudit(stdin)
	switch {
	case errors.Is(err, store.ErrAuditCutOff) && p.Entries == 0:
		fmt.Fprintln(stderr, "wfm audit verify: nothing came in. Was the export refused? Look at what GET /api/v1/audit/export answers.")
		return exitFailure
	case errors.Is(err, store.ErrAuditCutOff):
		fmt.Fprintf(stderr, "wfm audit verify: %v. Export it again. What came, %d to %d, was not changed.\n", err, p.First, p.Last)
		return exitFailure
	case errors.Is(err, store.ErrNoAudit):
		fmt.Fprintf(stderr, "wfm audit verify: %v. Was the export refused? Look at what GET /api/v1/audit/export answers.\n", store.ErrNoAudit)
		return exitFailure
	case errors.Is(err, store.ErrAuditBroken):
		fmt.Fprintln(stderr, "wfm audit verify:", err)
		return exitFailure
	case err != nil:
		fmt.Fprintln(stderr, "wfm audit verify: this is not an exported audit log:", err)
		return exitFailure
	case p.Entries == 0:
		fmt.Fprintln(stdout, "intact: no entries")
		return exitOK
	}
	fmt.Fprintf(stdout, "intact: %d entries, %d to %d\nnewest: %d %s\n", p.Entries, p.First, p.Last, p.Last, p.Head)
	if p.Sums > 0 {
		fmt.Fprintf(stdout, "%d of the entries sum up %d requests of floods\n", p.Sums, p.Summed)
	}
	if p.Previous != "" {
		fmt.Fprintf(stdout, "older entries made room; the last of them was %d %s\n", p.First-1, p.Previous)
	}
	return exitOK
}
