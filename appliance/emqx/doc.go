// Package emqx is the external MQTT broker: an EMQX 5 that others run, in the place of the embedded
// one.
//
// It owns the appliance's own connection to EMQX, what EMQX tells of the nodes' connections, the
// accounts EMQX knows, and the check of an EMQX's settings. It does not own what EMQX asks us
// (web), what messages mean (the ingress behind hooks.Ingress), nor who may do what (store).
//
// Enter at [New], then [Broker.Start] and [Broker.Stop]; [Diagnose] and [Config] for `wfm emqx`.
//
// Invariants:
//   - A message is stored before EMQX gets its PUBACK. What cannot be stored stays at EMQX.
//   - What EMQX holds of an account is compared with the store, never assumed: whatever failed, was
//     cut short or changed meanwhile is done again, and doing it twice changes nothing.
//   - An account is first made or deleted, then its session kicked, then EMQX's memory of its
//     rights cleared: nothing of the old right can come back in between.
//   - A node gets nothing before EMQX knows the account it is bound with now.
//   - Only users that have the form of a node's are ever deleted, and only clients that logged in
//     as such a user are kicked.
//   - An EMQX that is away blocks nobody: neither the start, nor a reset, nor a bind.
package emqx
