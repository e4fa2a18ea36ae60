// Package mqtttest is a raw MQTT client for tests: it sends any packet, right or wrong, in any
// order, and never does anything by itself (no pings, no acknowledgements). It also has a listener
// for the brokers of tests.
//
// It owns bytes on the wire and connections only. Tests from the view of ordinary clients use
// ordinary clients (mosquitto_pub, paho) instead. Enter at [Dial] and [NewListener].
package mqtttest
