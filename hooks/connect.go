package hooks

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/protocol"
)

// Protocol levels of CONNECT (MQTT 5, 3.1.2.2).
const (
	level31  = 3
	level311 = 4
	level5   = 5
)

// CONNACK return codes of MQTT 3.1 and 3.1.1 (table 3.1).
const (
	returnBadLevel      = 1
	returnBadClientID   = 2
	returnUnavailable   = 3
	returnNotAuthorized = 5
)

// longestClientID31 is the longest client id of MQTT 3.1, in bytes.
const longestClientID31 = 23

// Flags of CONNECT (MQTT 5, 3.1.2.3).
const (
	flagReserved   = 1 << 0
	flagWill       = 1 << 2
	flagWillQos    = 3 << 3
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUsername   = 1 << 7
)

// Refusal is the reason for refusing a CONNECT. It implements error.
type Refusal struct {
	Reason string // in words
	Answer []byte // a CONNACK, or nil if the standard wants the connection closed without one
}

func (r *Refusal) Error() string { return r.Reason }

// CheckConnect checks a CONNECT, without its fixed header, against its standard and our limits. The
// broker's own checks answer MQTT 3.1.1 clients as if a fault were temporary, and do not answer
// other clients at all. CheckConnect returns the protocol level, and nil if the broker may have the
// packet. In a packet of MQTT 3.1 it clears the flags that this version ignores.
func CheckConnect(body []byte) (level byte, refusal *Refusal) {
	name, rest, ok := cutString(body)
	if !ok || len(rest) < 2 || (string(name) != "MQTT" && string(name) != "MQIsdp") {
		return 0, &Refusal{Reason: "the first packet is not an MQTT CONNECT"} // [MQTT-3.1.2-1]
	}
	level = rest[0]
	if known := (string(name) == "MQIsdp" && level == level31) || (string(name) == "MQTT" && (level == level311 || level == level5)); !known {
		return level, refuse(level311, returnBadLevel, "this version of MQTT is not served: use 5, 3.1.1 or 3.1") // [MQTT-3.1.2-2]
	}
	if level == level31 {
		rest[1] &^= flagReserved
		if rest[1]&flagWill == 0 {
			rest[1] &^= flagWillQos | flagWillRetain
		}
	}
	if fault := flagFault(level, rest[1]); fault != "" {
		return level, malformed(level, fault)
	}
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect, Remaining: len(body)}}
	if err := pk.ConnectDecode(bytes.Clone(body)); err != nil {
		return level, malformed(level, "CONNECT is malformed")
	}
	return level, checkDecoded(level, &pk)
}

// flagFault describes a fault in the flags of CONNECT. It returns "" if there is none.
func flagFault(level, flags byte) string {
	switch {
	case flags&flagReserved != 0:
		return "the reserved flag of CONNECT is set" // [MQTT-3.1.2-3]
	case flags&flagWill == 0 && flags&(flagWillQos|flagWillRetain) != 0:
		return "CONNECT has flags of a last will, and no last will" // [MQTT-3.1.2-11]
	case flags&flagWillQos == flagWillQos:
		return "the last will has QoS 3" // [MQTT-3.1.2-12]
	case flags&flagPassword != 0 && flags&flagUsername == 0 && level < level5:
		return "CONNECT has a password and no user name" // [MQTT-3.1.2-22]
	}
	return ""
}

func checkDecoded(level byte, pk *packets.Packet) *Refusal {
	c := &pk.Connect
	id := c.ClientIdentifier
	forbidden := func(v5 packets.Code, reason string) *Refusal {
		if level == level5 {
			return refuse(level, v5.Code, reason)
		}
		return refuse(level, returnNotAuthorized, reason)
	}
	switch {
	case pk.Properties.AuthenticationMethod != "":
		return refuse(level, packets.ErrBadAuthenticationMethod.Code, "the authentication method is not supported: log in with user name and password")
	case len(pk.Properties.AuthenticationData) > 0:
		return refuse(level, packets.ErrProtocolViolation.Code, "authentication data without an authentication method") // 3.1.2.11.10
	case level == level31 && id == "", level == level311 && id == "" && !c.Clean: // [MQTT-3.1.3-8]
		return refuse(level, returnBadClientID, "the client id is empty")
	case level == level31 && len(id) > longestClientID31 && id != protocol.ClientID(string(c.Username)):
		// Our own client ids may be longer: a node must be able to use the one it was given.
		return refuse(level, returnBadClientID, "the client id is longer than MQTT 3.1 allows")
	case c.PasswordFlag && len(c.Password) == 0:
		return forbidden(packets.ErrBadUsernameOrPassword, "the password is empty")
	case c.WillFlag && (c.WillTopic == "" || strings.ContainsAny(c.WillTopic, "+#")):
		return forbidden(packets.ErrTopicNameInvalid, "the last will has no valid topic name")
	case c.WillFlag && c.WillRetain:
		return forbidden(packets.ErrRetainNotSupported, "the last will is retained, which is not supported") // [MQTT-3.2.2-13]
	case c.WillFlag && c.WillQos > 1:
		return forbidden(packets.ErrQosNotSupported, "the last will has QoS 2, which is not supported: use 0 or 1") // [MQTT-3.2.2-12]
	}
	return nil
}

// malformed refuses a packet of a wrong form. MQTT 3.1.1 has no return code for that.
func malformed(level byte, reason string) *Refusal {
	if level == level5 {
		return refuse(level, packets.ErrMalformedPacket.Code, reason)
	}
	return &Refusal{Reason: reason}
}

// TooLarge refuses a CONNECT that was only read in part.
func TooLarge(beginning []byte) *Refusal {
	const reason = "CONNECT is too large"
	name, rest, ok := cutString(beginning)
	if ok && string(name) == "MQTT" && len(rest) > 0 && rest[0] == level5 {
		return refuse(level5, packets.ErrPacketTooLarge.Code, reason)
	}
	return &Refusal{Reason: reason}
}

// refuse composes the CONNACK.
func refuse(level, code byte, reason string) *Refusal {
	if level < level5 {
		return &Refusal{Reason: reason, Answer: []byte{packets.Connack << 4, 2, 0, code}}
	}
	return &Refusal{Reason: reason, Answer: withReason(packets.Connack, []byte{0, code}, reason)}
}

// withReason returns a packet of MQTT 5: its variable header, and a Reason String of at most 100
// bytes.
func withReason(kind byte, header []byte, reason string) []byte {
	const reasonString = 0x1F
	n := byte(len(reason))                                               //nolint:gosec // our own short words
	p := append([]byte{kind << 4, byte(len(header)) + 4 + n}, header...) //nolint:gosec // one or two bytes
	p = append(p, 3+n, reasonString, 0, n)
	return append(p, reason...)
}

// cutString cuts a string with its two bytes of length off b.
func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return nil, nil, false
	}
	return b[2 : 2+n], b[2+n:], true
}
