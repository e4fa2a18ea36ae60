// Package emqx connects the appliance to an external MQTT broker, an EMQX 5 or 6 that others run.
// It replaces the embedded broker.
//
// It owns the appliance's own connection to EMQX, the knowledge of the nodes' connections, the
// accounts at EMQX, and the check of EMQX's settings. It does not own the answers to EMQX's
// questions (web), the meaning of messages (the ingress behind ingress.Port), or rights (store).
//
// Enter at [New], then [Broker.Start] and [Broker.Stop]; [Diagnose] and [Config] for `wfm emqx`.
//
// Invariants:
//   - A message is stored before EMQX gets its PUBACK. A message that cannot be stored stays at
//     EMQX.
//   - All messages of a node come in order, over one of the sessions that share them. The session
//     changes only when a session is added or lost. After a loss every connected node is asked for
//     its state, so that the latest state wins.
//   - Events about connections and messages come over different sessions: a message may overtake
//     its event.
//   - EMQX's accounts are compared with the store, never assumed. An operation that failed, was cut
//     short or is out of date is repeated; repeating one changes nothing.
//   - Rights are taken away before any is given, even if giving one fails.
//   - An account is first created or deleted, then its session is kicked, and only then is it
//     recorded that EMQX has the account. Until then a session may be the former agent's: the node
//     gets nothing, its messages are not taken, and authorization denies it everything.
//   - A message keeps the generation of the right that it came with.
//   - Only users whose name has the form of a node's are ever deleted. Only clients are kicked that
//     logged in as such a user, or with a node's client id that does not fit their user.
//   - The list of connected clients wins over events that came before it.
//   - The appliance's own client id is a secret: any client that logs in with it gets the session.
//   - An EMQX that is away blocks neither the start, nor a reset, nor a bind.
package emqx
