// Package agentcmd is the command line of the agent, shared by `wfm-agent` and `wfm agent`.
//
// It owns flags, environment variables, exit codes and the texts people read. It does not own what
// the commands do: that is package agent.
//
// Enter at [Run].
//
// Invariants:
//   - Exit code 0 is success, 1 a failure, 2 a call that was not understood.
//   - An error is one sentence on stderr; stdout holds what was asked for and nothing else.
//   - No token, password or key is printed.
package agentcmd
