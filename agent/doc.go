// Package agent is the node's side of the control channel: it binds the node to a server, keeps
// an MQTT session per profile, and runs the tunnel's tools when a command says so.
//
// It owns the profile files, the stored tunnel configs, the journal of executed commands and the
// processes of wg, wg-quick and their awg counterparts. It does not own what a message looks like
// (package protocol), the flags and texts of the command line, or the decision which config a node
// should have: that arrives by message and is never computed here.
//
// Enter at [Bind] to become a node, at [Run] to serve, at [ListProfiles] and [RemoveProfile] to
// look after profiles. Inside: a session receives, its executor decides and runs, its outbox
// delivers.
//
// On disk, below one folder:
//
//	profiles/<profile_id>.json      credentials, one file per node this machine is
//	tunnels/<interface>.conf        the stored config, with its version beside it in <interface>.json
//	state/<profile_id>.json         the journal
//	state/<profile_id>.change.json  the open change: what to undo, while it may have to be
//	state/<profile_id>.wanted.json  whether the tunnel is to run, by the last start or stop
//	state/tool                      the mark of the quick tool that runs, for the next agent
//	agent.lock                      held while an agent runs
//
// A push to a running interface and a start that brings one up can cut the node off from its
// server, so they are changes that must be confirmed ([change], executor.settle):
//
//   - The record of what to undo is on disk before the first step, and gone after the answer is in
//     the journal. While it says "not whole" (no deadline), whoever finds it takes the change back.
//   - Once applied, the agent has 60 seconds for one fresh round trip to the server: a new
//     connection, names and TLS included, and a PUBACK for an ACK "accepted" ("confirming"). Then
//     the change stays, and the ACK says applied. Otherwise the former text and tunnel are brought
//     back, and the ACK says failed with rolled_back, as soon as it gets through.
//   - What cannot be brought back within some seconds, for a name that does not resolve say, is answered as
//     failed and not rolled_back, and stays open: it is tried again with pauses of up to a minute, by
//     the next agent too, until it works (event "tunnel_restored") or the next push, start or stop of
//     the interface takes over. No command waits for an attempt. A takeover inherits the way back: its
//     former state is the one that could not be restored yet.
//   - The agent alone decides, before the final ACK goes out. A server that is down for the whole
//     time looks like one that was cut off: the change is taken back.
//   - Commands that change the node wait meanwhile; probes are answered. A clean stop does not wait:
//     it leaves the change open, like a crash.
//   - The next agent goes on with an open change: it takes back what was not whole, what is overdue by
//     the wall clock, and what no longer runs; else it confirms within what is left of the time,
//     never more than 60 seconds whatever the clock says. A tunnel that ran is started again; after a
//     reboot, which ended every tunnel of the machine, only if it is wanted.
//   - A profile that is unbound or cannot be used can confirm nothing: its change is taken back.
//   - A tunnel whose hooks fail or hang is taken down without them and, if even that fails, its link is
//     deleted: nothing in a config can keep the agent from stopping, replacing or taking it back. The
//     message of the ACK says so. Its PostDown hooks are run all the same, as after a start that
//     fails: what PostUp set up, a firewall rule say, must not outlive the tunnel (runPostDown).
//   - After a change is taken back the server is tried once more. If it is not reached, the event
//     "server_unreached" says so. The server hears of the tunnel's state at once: a heartbeat follows
//     every failure.
//   - A command for another interface name ends the open change of the former name: that tunnel goes
//     down, for no command reaches it any more (event "tunnel_left").
//
// The tunnel is looked after ([guard], executor.lookAfter), since it can end without a command: by a
// restart of the machine, a crash of the userspace daemon, a hand on the node.
//
//   - An applied start makes it wanted, a stop ends that before it begins. A start that fails ends it
//     too, except where the tunnel runs as it did before.
//   - The kernel tells of changes of interfaces, and every 30 seconds the agent looks by itself, which
//     runs no process. A change is told to the server at once, by a heartbeat.
//   - A wanted tunnel that does not run is told ("tunnel_down") and, two seconds later, started from its
//     stored config ("tunnel_restored"). What fails is tried again with pauses of 2 seconds to 10
//     minutes, and at once when the server is reached again; after five failures the server is told
//     ("tunnel_not_restored").
//   - A command ends an attempt. While a change is open, nothing is attempted.
//   - A push starts a wanted tunnel that does not run, and has that confirmed.
//   - With "restore": false in the profile (`wfm-agent restore NODE off`) the agent only tells.
//
// How long it takes at worst, with hooks and name resolution that hang wherever they can: a push is
// applied within 55 s (25 s for wg-quick down and for wg-quick up, some seconds to end them), is
// confirmed or not within 60 s, and is taken back or left open within another 55 s (10 s to stop,
// 25 s to start, no attempt begun after 15 s): 170 s in all. Of this a start takes 100 s, unless it
// changes the protocol of a tunnel that runs: that is like a push. A stop takes 28 s. The server's
// limits (180 s for a push, 120 s for a start, both once more after "accepted", and 30 s for a stop)
// leave little but cover it. Should the last resort's own tools hang as well, each time the
// interface is taken down costs up to 28 s more, and the answer comes late. PostDown hooks that are
// made up for cost up to 3 s more each time, 5 s where they do not end when told to.
//
// Each run of a quick tool may take longer for a text that gives it more to do, by wgconf.ExtraTime: a
// long line, many networks, addresses and hooks. The server reckons with the same function.
//
// Profiles of one machine may name the same interface. It belongs to the one whose config is stored:
// the others cannot change it, and see neither the tunnel nor its text. What a profile leaves behind
// when it is unbound is nobody's. Another never starts it, and counts it as nothing stored; it may stop
// it, and replace it by a push, which brings it back should it fail.
//
// A push to an interface that does not run is one write of the text, and a stop is meant to cut what
// it cuts: neither is a change in this sense.
//
// Invariants:
//   - A request_id that changes the node is executed at most once, also across a crash: it is
//     journaled before it starts. What was cut short is not repeated: an open change is settled
//     and answered as it ends, anything else is answered as failed, its outcome not known. Only a stop
//     is carried out again: twice is the same as once, and it must not be lost.
//   - The answer to such a command is given by every agent anew until the broker has acknowledged it:
//     the server may have stopped asking.
//   - Whatever is cut off when, a stored config is the former text or the new one.
//   - The message handler of the session never blocks: whatever runs a process or touches the disk
//     does so in a lane of the executor.
//   - No value of a message reaches a command line or a path before package protocol called it
//     valid, and no shell is involved but for the hooks of a config, which are made for one.
//   - The tunnel protocol is never taken from the profile: every command carries it.
//   - No payload, password, token, key or config text is logged, and no answer holds what hooks print.
package agent
