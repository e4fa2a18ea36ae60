// Package agent is the node's side of the control channel: it binds the node to a server, keeps an
// MQTT session per profile, and runs the tunnel's tools when a command asks for it.
//
// It owns the profile files, the stored tunnel configs, the journal of executed commands and the
// processes of wg, wg-quick and their awg counterparts. It does not own the form of messages
// (package protocol), the flags and texts of the command line, or the decision which config a node
// should have: the config arrives by message and is never computed here.
//
// Enter at [Bind] to become a node, at [Run] to serve, at [ListProfiles] and [RemoveProfile] to
// manage profiles. Inside: a session receives, its executor decides and runs, its outbox delivers.
//
// On disk, below one folder:
//
//	profiles/<profile_id>.json      credentials, one file per node of this machine
//	profiles/<profile_id>.key       the key pairs of the node's tunnel
//	tunnels/<interface>.conf        the stored config, with its version beside it in <interface>.json
//	state/<profile_id>.json         the journal
//	state/<profile_id>.change.json  the open change: how to undo it, for as long as that may be needed
//	state/<profile_id>.wanted.json  the wanted state of the tunnel, set by the last start or stop
//	state/.up-*/<interface>.conf    a config with its private key, while a quick tool reads it
//	state/tool                      the mark of the running quick tool, for the next agent
//	agent.lock                      held while an agent runs
//
// A push to a running interface and a start that brings one up can cut the node off from its
// server. They are changes that must be confirmed ([change], executor.settle):
//
//   - The record of how to undo the change is on disk before the first step, and is removed after
//     the answer is in the journal. While it says "not whole" (no deadline), any agent that finds
//     it takes the change back.
//   - Once the change is applied, the agent has 60 seconds for one fresh round trip to the server:
//     a new connection, names and TLS included, and a PUBACK for an ACK "accepted" ("confirming").
//     Then the change stays, and the ACK says applied. Otherwise the agent brings back the former
//     text and tunnel, and the ACK says failed with rolled_back as soon as it gets through.
//   - A change that cannot be taken back within some seconds, for instance because a name does not
//     resolve, is answered as failed without rolled_back, and stays open. Agents, also later ones,
//     try again with pauses of up to a minute until it works (event "tunnel_restored") or the next
//     push, start or stop of the interface takes over. No command waits for an attempt. A takeover
//     inherits the way back: its former state is the one that could not be restored yet.
//   - The agent alone decides, before the final ACK goes out. A server that is down for the whole
//     time looks like one that was cut off: the change is taken back.
//   - Commands that change the node wait meanwhile; probes are answered. A clean stop does not
//     wait: it leaves the change open, like a crash.
//   - The next agent continues with an open change. It takes the change back if the change was not
//     whole, if it is overdue by the wall clock, or if its tunnel no longer runs. Otherwise it
//     confirms the change within the remaining time, never more than 60 seconds even if the clock
//     was set back. A tunnel that ran is started again; after a reboot, which ended every tunnel of
//     the machine, only if it is wanted.
//   - A profile that is unbound or cannot be used can confirm nothing: its change is taken back.
//   - If hooks of a tunnel fail or hang, the agent takes the tunnel down without them and, if even
//     that fails, deletes its link: nothing in a config can keep the agent from stopping, replacing
//     or taking it back. The message of the ACK says so. The PostDown hooks still run afterwards,
//     as they do after a failed start: the effects of PostUp, such as a firewall rule, must not
//     outlive the tunnel (runPostDown).
//   - After taking a change back, the agent tries the server once more. If it does not reach the
//     server, it reports that with the event "server_unreached". A heartbeat follows every failure,
//     so that the server learns the state of the tunnel at once.
//   - A command for another interface name ends the open change of the former name: that tunnel
//     goes down, because no command reaches it any more (event "tunnel_left").
//
// The agent looks after the tunnel ([guard], executor.lookAfter), since a tunnel can end without a
// command: by a restart of the machine, a crash of the userspace daemon, or a manual action on the
// node.
//
//   - An applied start makes the tunnel wanted. A stop ends that before it begins. A failed start
//     ends it too, unless the tunnel still runs as before.
//   - The kernel reports changes of interfaces; in addition the agent checks every 30 seconds,
//     without running a process. It reports a change to the server at once, by a heartbeat.
//   - If a wanted tunnel does not run, the agent reports that ("tunnel_down") and, two seconds
//     later, starts the tunnel from its stored config ("tunnel_restored"). After a failure it tries
//     again with pauses of 2 seconds to 10 minutes, and at once when the server is reached again.
//     After five failures it reports "tunnel_not_restored".
//   - A command ends an attempt. While a change is open, the agent makes no attempt.
//   - A push starts a wanted tunnel that does not run. That start must be confirmed.
//   - With "restore": false in the profile (`wfm-agent restore NODE off`) the agent only reports.
//
// Each profile has a key pair of its own (package keyring), made at the bind, and tells the server the public
// key. A config may leave the private key to the node (wgconf.KeptOnNode):
//
//   - The stored text, its version and its hash are those that were pushed. Only a copy has the private
//     key, for as long as a quick tool reads it. So whatever stores, compares or brings back a text needs
//     no key.
//   - The text names the public key that it is for. On request the agent makes a new pair and tells the
//     server. The tunnel goes on with the former pair, also after a restart, until a text is pushed that
//     names the new key; if that is taken back, so is the key. A text that names none is for the pair that
//     was the newest when the text was stored.
//   - After an applied push, the agent removes the pairs that are older than every one that a stored text
//     or an open change needs. It removes all with the profile.
//
// The longest times, with hooks and name resolution that hang wherever they can: a push is applied
// within 55 s (25 s for wg-quick down and for wg-quick up, some seconds to end them), is confirmed
// or not within 60 s, and is taken back or left open within another 55 s (10 s to stop, 25 s to
// start, no attempt begins after 15 s): 170 s in all. A start takes 100 s of this, unless it
// changes the protocol of a running tunnel: then it takes as long as a push. A stop takes 28 s. The
// server's limits (180 s for a push, 120 s for a start, both once more after "accepted", and 30 s
// for a stop) cover these times with little to spare. Should the last resort's own tools hang as
// well, each time the interface is taken down costs up to 28 s more, and the answer comes late.
// PostDown hooks that run afterwards cost up to 3 s more each time, 5 s if they ignore the request
// to end.
//
// Each run of a quick tool may take longer for a text that gives it more work, by wgconf.ExtraTime:
// a long line, many networks, addresses and hooks. The server calculates with the same function.
//
// Profiles of one machine may name the same interface. It belongs to the profile whose config is
// stored: the others cannot change it, and see neither the tunnel nor its text. A config left by an
// unbound profile belongs to no profile. Another profile never starts it, and treats it as nothing
// stored. It may stop the tunnel, and replace the config by a push, which brings the config back if
// it fails.
//
// A push to an interface that does not run is one write of the text, and a stop is meant to cut
// connections: neither is a change in this sense.
//
// Invariants:
//   - A request_id that changes the node is executed at most once, also across a crash: it is
//     journaled before it starts. An interrupted command is not repeated: an open change is settled
//     and answered with its result; any other command is answered as failed, with an unknown
//     outcome. Only a stop is carried out again: a second stop does no harm, and a stop must not be
//     lost.
//   - Every agent repeats the answer to such a command until the broker has acknowledged it: the
//     server may have stopped asking.
//   - Wherever the agent is interrupted, a stored config is the former text or the new one.
//   - The message handler of the session never blocks: work that runs a process or touches the disk
//     happens in a lane of the executor.
//   - No value of a message reaches a command line or a path before package protocol has declared
//     it valid. No shell is involved, except for the hooks of a config, which are made for one.
//   - The tunnel protocol is never taken from the profile: every command carries it.
//   - No payload, password, token, key or config text is logged, and no answer contains the output
//     of hooks.
package agent
