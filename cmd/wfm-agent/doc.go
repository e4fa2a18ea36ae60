// Command wfm-agent is the node's side of a WFM mesh: it binds the node to a server and carries out
// the server's commands on the node's tunnel.
//
// It owns the process: signals and the exit code. Everything else is in package agentcmd.
package main
