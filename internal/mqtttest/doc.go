// Package mqtttest is a raw MQTT client for tests: it sends any packet, right or wrong, in any
// order, and never does anything by itself (no pings, no acknowledgements).
//
// It owns bytes on the wire only. Tests from the view of ordinary clients use ordinary clients
// (mosquitto_pub, paho) instead.
package mqtttest
