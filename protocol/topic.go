package protocol

import (
	"errors"
	"fmt"
	"strings"
)

// TopicPrefix is the first level of all our topics.
const TopicPrefix = "wfm"

// Kind is the suffix of a topic and the `type` of the envelope on it.
type Kind string

// The ten kinds. The first four go from the appliance to a node, the rest from a node to the
// appliance.
const (
	KindPush    Kind = "config/push"
	KindControl Kind = "control"
	KindDetect  Kind = "detect"
	KindInfo    Kind = "info"

	KindPushAck    Kind = "config/push/ack"
	KindControlAck Kind = "control/ack"
	KindDetectAck  Kind = "detect/ack"
	KindInfoAck    Kind = "info/ack"
	KindEvent      Kind = "event"
	KindHeartbeat  Kind = "heartbeat"
)

// CommandKinds returns the kinds of topic a node subscribes to, in the order of the bind answer.
func CommandKinds() []Kind { return []Kind{KindPush, KindControl, KindDetect, KindInfo} }

// UpstreamKinds returns the kinds of topic a node publishes to, in the order of the bind answer.
func UpstreamKinds() []Kind {
	return []Kind{KindPushAck, KindControlAck, KindDetectAck, KindInfoAck, KindEvent, KindHeartbeat}
}

// ChangesNode reports whether a command of kind k may change the node, unlike one that only asks.
// Only such a command may start or stop the tunnel.
func (k Kind) ChangesNode() bool { return k == KindPush || k == KindControl }

// IsCommand reports whether k goes to a node and expects an ACK.
func (k Kind) IsCommand() bool {
	return k == KindPush || k == KindControl || k == KindDetect || k == KindInfo
}

// IsAck reports whether k closes a command.
func (k Kind) IsAck() bool {
	return k == KindPushAck || k == KindControlAck || k == KindDetectAck || k == KindInfoAck
}

// IsUpstream reports whether k goes from a node to the appliance.
func (k Kind) IsUpstream() bool { return k.IsAck() || k == KindEvent || k == KindHeartbeat }

// Ack returns the kind that answers the command kind k, or "" if k is not a command.
func (k Kind) Ack() Kind {
	if !k.IsCommand() {
		return ""
	}
	return k + "/ack"
}

// Command returns the command kind that the ACK kind k answers, or "" if k is not an ACK.
func (k Kind) Command() Kind {
	if !k.IsAck() {
		return ""
	}
	return Kind(strings.TrimSuffix(string(k), "/ack"))
}

// ErrTopic is returned for a topic name that does not belong to this protocol.
var ErrTopic = errors.New("not a topic of this protocol")

// Topic is a parsed topic name: wfm/{config_id}/{node_id}/{kind}.
type Topic struct {
	ConfigID string
	NodeID   string
	Kind     Kind
}

// String returns the topic name on the wire.
func (t Topic) String() string {
	return TopicPrefix + "/" + t.ConfigID + "/" + t.NodeID + "/" + string(t.Kind)
}

// ParseTopic reads a topic name. It accepts exactly the names that [Topic.String] writes for valid
// ids and a known kind, so a filter with a wildcard or a $share prefix is an [ErrTopic].
func ParseTopic(name string) (Topic, error) {
	rest, ok := strings.CutPrefix(name, TopicPrefix+"/")
	if !ok {
		return Topic{}, fmt.Errorf("topic does not start with %s/: %w", TopicPrefix, ErrTopic)
	}
	configID, rest, _ := strings.Cut(rest, "/")
	nodeID, suffix, _ := strings.Cut(rest, "/")
	if !ValidID(configID) || !ValidID(nodeID) {
		return Topic{}, fmt.Errorf("topic has no valid config and node id: %w", ErrTopic)
	}
	kind := Kind(suffix)
	if !kind.IsCommand() && !kind.IsUpstream() {
		return Topic{}, fmt.Errorf("topic suffix is unknown: %w", ErrTopic)
	}
	return Topic{ConfigID: configID, NodeID: nodeID, Kind: kind}, nil
}

// SubscribeTopics returns the four filters that the node may subscribe to. None has a wildcard.
func SubscribeTopics(configID, nodeID string) []string {
	return topics(configID, nodeID, CommandKinds())
}

// PublishTopics returns the six topics that the node may publish to.
func PublishTopics(configID, nodeID string) []string {
	return topics(configID, nodeID, UpstreamKinds())
}

func topics(configID, nodeID string, kinds []Kind) []string {
	out := make([]string, len(kinds))
	for i, k := range kinds {
		out[i] = Topic{configID, nodeID, k}.String()
	}
	return out
}

// MayPublish reports whether the node's credentials allow publishing to the topic name.
func MayPublish(configID, nodeID, name string) bool {
	t, err := ParseTopic(name)
	return err == nil && t.ConfigID == configID && t.NodeID == nodeID && t.Kind.IsUpstream()
}

// MaySubscribe reports whether the node's credentials allow the topic filter. They allow only the
// four filters of [SubscribeTopics]. A wildcard, $share or $SYS is refused, even if it would match
// only the node's own topics.
func MaySubscribe(configID, nodeID, filter string) bool {
	t, err := ParseTopic(filter)
	return err == nil && t.ConfigID == configID && t.NodeID == nodeID && t.Kind.IsCommand()
}
