// Package emqx is the external MQTT broker: an EMQX 5 that others run, in the place of the embedded
// one.
//
// It owns the appliance's own connection to EMQX, what EMQX tells of the nodes' connections, the
// accounts EMQX knows, and the check of an EMQX's settings. It does not own what EMQX asks us
// (web), what messages mean (the ingress behind ingress.Port), nor who may do what (store).
//
// Enter at [New], then [Broker.Start] and [Broker.Stop]; [Diagnose] and [Config] for `wfm emqx`.
//
// Invariants:
//   - A message is stored before EMQX gets its PUBACK. What cannot be stored stays at EMQX.
//   - All of a node's messages come over one of the sessions that share them, in order. That changes only when
//     a session is made or lost; after a loss every connected node is asked, so that the last word is true.
//   - Events about connections come over another session than messages: a message may be ahead of its event.
//   - What EMQX holds of an account is compared with the store, never assumed: whatever failed, was
//     cut short or changed meanwhile is done again, and doing it twice changes nothing.
//   - Rights are taken away before any is given, and whatever becomes of that.
//   - An account is first made or deleted, then its session kicked, and only then it is on record that
//     EMQX was told. Until then a session may be the former agent's: the node gets nothing, what it
//     sends is not taken, and authorization denies it everything.
//   - A message keeps the generation of the right that it came with.
//   - Only users that have the form of a node's are ever deleted. Only clients are kicked that logged
//     in as such a user, or with a node's client id that does not fit their user.
//   - The list of who is connected wins over events that came before it.
//   - The appliance's own client id is a secret: the session goes to whoever logs in with it.
//   - An EMQX that is away blocks nobody: neither the start, nor a reset, nor a bind.
package emqx
