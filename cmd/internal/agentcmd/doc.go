// Package agentcmd is the command line of the agent, shared by `wfm-agent` and `wfm agent`.
//
// It owns flags, environment variables, exit codes and texts for people. It does not own the work
// of the commands: that is package agent.
//
// Enter at [Run].
//
// Invariants:
//   - Exit code 0 is success, 1 a failure, 2 a command line that was not understood.
//   - An error is one sentence on stderr; stdout contains only the requested output.
//   - No token, password or key is printed.
package agentcmd
