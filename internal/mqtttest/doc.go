// Package mqtttest is a raw MQTT client for tests: it sends any packet, right or wrong, in any
// order, and never does anything by itself (no pings, no acknowledgements).
//
// It owns bytes on the wire only. Tests of what ordinary clients see use ordinary clients
// (mosquitto_pub, paho) instead.
package mqtttest
