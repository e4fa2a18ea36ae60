// Package emqxtest is a stand-in for EMQX 5, for tests. It is an MQTT broker on a real port that
// checks users against a built-in database or by asking over HTTP, asks over HTTP for permissions
// and caches the answers, publishes events about connections under $SYS, and has the management API
// that the appliance uses.
//
// It owns EMQX's behaviour as far as the appliance can observe it. It does not own the consequences
// for the appliance. It has no clustering, gateways, rules or dashboard.
//
// Enter at [Start]; [NewProxy] adds a line that can be cut.
package emqxtest
