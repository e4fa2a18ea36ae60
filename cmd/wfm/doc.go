// Command wfm is the appliance: `wfm serve`. `wfm certs …` shows and renews its certificates. `wfm
// emqx …` helps to set up an EMQX for it. `wfm agent …` is the node's agent, the same code as the
// separate wfm-agent.
//
// It owns flags, environment variables, exit codes and text for people. It does not own anything
// that happens after New; see package appliance.
//
// Enter at main. Exit codes: 0 done, 1 failed, 2 not understood.
package main
