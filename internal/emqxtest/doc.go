// Package emqxtest is a stand-in for EMQX 5, for tests: an MQTT broker on a real port that checks
// users against a built-in database or by asking over HTTP, asks over HTTP what clients may do and
// remembers the answers, tells of connections under $SYS, and has the management API that the
// appliance uses.
//
// It owns how EMQX behaves where the appliance can tell the difference. It does not own what
// follows for the appliance. Clustering, gateways, rules and the dashboard are not there.
//
// Enter at [Start]; [NewProxy] puts a line in between that can be cut.
package emqxtest
