package protocol_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"wfm/protocol"
)

// The topics of one node as deployed agents know them, written out because they never change.
var (
	downstreamOfNodeB = []string{
		"wfm/cfg_a/node_b/config/push",
		"wfm/cfg_a/node_b/control",
		"wfm/cfg_a/node_b/detect",
		"wfm/cfg_a/node_b/info",
	}
	upstreamOfNodeB = []string{
		"wfm/cfg_a/node_b/config/push/ack",
		"wfm/cfg_a/node_b/control/ack",
		"wfm/cfg_a/node_b/detect/ack",
		"wfm/cfg_a/node_b/info/ack",
		"wfm/cfg_a/node_b/event",
		"wfm/cfg_a/node_b/heartbeat",
	}
)

// notTopics are names and filters that do not parse as a topic and that no credentials allow.
var notTopics = []struct {
	name  string
	topic string
}{
	{"empty", ""},
	{"prefix alone", "wfm"},
	{"prefix and slash", "wfm/"},
	{"config alone", "wfm/cfg_a"},
	{"no suffix", "wfm/cfg_a/node_b"},
	{"empty suffix", "wfm/cfg_a/node_b/"},
	{"unknown suffix", "wfm/cfg_a/node_b/status"},
	{"half of a suffix", "wfm/cfg_a/node_b/config"},
	{"ack of nothing", "wfm/cfg_a/node_b/ack"},
	{"ack of an event", "wfm/cfg_a/node_b/event/ack"},
	{"ack of an ack", "wfm/cfg_a/node_b/control/ack/ack"},
	{"trailing slash on a command", "wfm/cfg_a/node_b/control/"},
	{"trailing slash on an event", "wfm/cfg_a/node_b/event/"},
	{"leading slash", "/wfm/cfg_a/node_b/control"},
	{"empty config level", "wfm//node_b/control"},
	{"empty node level", "wfm/cfg_a//control"},
	{"empty level before the suffix", "wfm/cfg_a/node_b//control"},
	{"empty level inside the suffix", "wfm/cfg_a/node_b/config//push"},
	{"other prefix", "wfx/cfg_a/node_b/control"},
	{"longer prefix", "wfmx/cfg_a/node_b/control"},
	{"upper case prefix", "WFM/cfg_a/node_b/control"},
	{"upper case config", "wfm/CFG_A/node_b/control"},
	{"upper case node", "wfm/cfg_a/Node_b/control"},
	{"upper case suffix", "wfm/cfg_a/node_b/Control"},
	{"unicode in the node", "wfm/cfg_a/nod\u00e9_b/control"},
	{"unicode slash", "wfm/cfg_a/node_b\u2215control"},
	{"unicode in the suffix", "wfm/cfg_a/node_b/contr\u043el"}, // a Cyrillic o
	{"invalid UTF-8", "wfm/cfg_a/node_\xff/control"},
	{"nul byte", "wfm/cfg_a/node_b/control\x00"},
	{"trailing space", "wfm/cfg_a/node_b/control "},
	{"dot segments", "wfm/cfg_a/../node_b/control"},
	{"id too long", "wfm/cfg_a/" + strings.Repeat("n", protocol.MaxIDLength+1) + "/control"},

	{"everything", "#"},
	{"one level", "+"},
	{"everything of ours", "wfm/#"},
	{"everything of the config", "wfm/cfg_a/#"},
	{"everything of the node", "wfm/cfg_a/node_b/#"},
	{"parent match of a command", "wfm/cfg_a/node_b/control/#"},
	{"any suffix", "wfm/cfg_a/node_b/+"},
	{"any suffix of two levels", "wfm/cfg_a/node_b/+/push"},
	{"any end of the suffix", "wfm/cfg_a/node_b/config/+"},
	{"any node", "wfm/cfg_a/+/control"},
	{"any config", "wfm/+/node_b/control"},
	{"any prefix", "+/cfg_a/node_b/control"},
	{"shared", "$share/g/wfm/cfg_a/node_b/control"},
	{"shared with a wildcard", "$share/g/wfm/#"},
	{"shared without a topic", "$share/g/"},
	{"queue", "$queue/wfm/cfg_a/node_b/control"},
	{"broker statistics", "$SYS/#"},
	{"one broker statistic", "$SYS/broker/clients/connected"},
}

func TestKindSaysDirectionAndAck(t *testing.T) {
	tests := []struct {
		kind         protocol.Kind
		command, ack bool
		upstream     bool
		ackKind      protocol.Kind
		commandKind  protocol.Kind
	}{
		{"config/push", true, false, false, "config/push/ack", ""},
		{"control", true, false, false, "control/ack", ""},
		{"detect", true, false, false, "detect/ack", ""},
		{"info", true, false, false, "info/ack", ""},
		{"config/push/ack", false, true, true, "", "config/push"},
		{"control/ack", false, true, true, "", "control"},
		{"detect/ack", false, true, true, "", "detect"},
		{"info/ack", false, true, true, "", "info"},
		{"event", false, false, true, "", ""},
		{"heartbeat", false, false, true, "", ""},
		{"", false, false, false, "", ""},
		{"/ack", false, false, false, "", ""},
		{"event/ack", false, false, false, "", ""},
		{"control/ack/ack", false, false, false, "", ""},
		{"Control", false, false, false, "", ""},
	}
	for _, tt := range tests {
		t.Run(string(tt.kind), func(t *testing.T) {
			if got := tt.kind.IsCommand(); got != tt.command {
				t.Errorf("IsCommand = %v, want %v", got, tt.command)
			}
			if got := tt.kind.IsAck(); got != tt.ack {
				t.Errorf("IsAck = %v, want %v", got, tt.ack)
			}
			if got := tt.kind.IsUpstream(); got != tt.upstream {
				t.Errorf("IsUpstream = %v, want %v", got, tt.upstream)
			}
			if got := tt.kind.Ack(); got != tt.ackKind {
				t.Errorf("Ack = %q, want %q", got, tt.ackKind)
			}
			if got := tt.kind.Command(); got != tt.commandKind {
				t.Errorf("Command = %q, want %q", got, tt.commandKind)
			}
		})
	}
}

func TestKindListsCannotBeChangedByACaller(t *testing.T) {
	protocol.CommandKinds()[0] = "x"
	protocol.UpstreamKinds()[0] = "x"
	if got := protocol.CommandKinds()[0]; got != protocol.KindPush {
		t.Errorf("CommandKinds()[0] = %q after a caller wrote to its copy", got)
	}
	if got := protocol.UpstreamKinds()[0]; got != protocol.KindPushAck {
		t.Errorf("UpstreamKinds()[0] = %q after a caller wrote to its copy", got)
	}
}

func TestTopicListsAreTheDeployedOnesInOrder(t *testing.T) {
	if got := protocol.SubscribeTopics("cfg_a", "node_b"); !slices.Equal(got, downstreamOfNodeB) {
		t.Errorf("SubscribeTopics = %q, want %q", got, downstreamOfNodeB)
	}
	if got := protocol.PublishTopics("cfg_a", "node_b"); !slices.Equal(got, upstreamOfNodeB) {
		t.Errorf("PublishTopics = %q, want %q", got, upstreamOfNodeB)
	}
}

func TestParseTopicReadsWhatStringWrites(t *testing.T) {
	longest := strings.Repeat("z", protocol.MaxIDLength)
	ids := [][2]string{{"cfg_a", "node_b"}, {"a", "b"}, {"control", "event"}, {"-", "_"}, {longest, longest}}
	for _, id := range ids {
		for _, kind := range slices.Concat(protocol.CommandKinds(), protocol.UpstreamKinds()) {
			want := protocol.Topic{ConfigID: id[0], NodeID: id[1], Kind: kind}
			t.Run(want.String(), func(t *testing.T) {
				got, err := protocol.ParseTopic(want.String())
				if err != nil {
					t.Fatal(err)
				}
				if got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			})
		}
	}
}

func TestParseTopicSplitsTheLevels(t *testing.T) {
	got, err := protocol.ParseTopic("wfm/cfg_a/node_b/config/push/ack")
	if err != nil {
		t.Fatal(err)
	}
	want := protocol.Topic{ConfigID: "cfg_a", NodeID: "node_b", Kind: protocol.KindPushAck}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseTopicRefusesEverythingElse(t *testing.T) {
	for _, tt := range notTopics {
		t.Run(tt.name, func(t *testing.T) {
			got, err := protocol.ParseTopic(tt.topic)
			if !errors.Is(err, protocol.ErrTopic) {
				t.Errorf("err = %v, want ErrTopic", err)
			}
			if got != (protocol.Topic{}) {
				t.Errorf("got %+v with an error, want the zero Topic", got)
			}
		})
	}
}

func TestANodeMayPublishToItsSixUpstreamTopicsOnly(t *testing.T) {
	checkRights(t, protocol.MayPublish, upstreamOfNodeB, downstreamOfNodeB)
}

func TestANodeMaySubscribeToItsFourDownstreamTopicsOnly(t *testing.T) {
	checkRights(t, protocol.MaySubscribe, downstreamOfNodeB, upstreamOfNodeB)
}

// checkRights checks the rights that may gives to the node node_b of cfg_a.
func checkRights(t *testing.T, may func(configID, nodeID, name string) bool, allowed, otherDirection []string) {
	t.Helper()
	for _, name := range allowed {
		t.Run("own "+name, func(t *testing.T) {
			if !may("cfg_a", "node_b", name) {
				t.Error("refused")
			}
		})
		foreign := []struct{ name, configID, nodeID string }{
			{"another node", "cfg_a", "node_c"},
			{"the same node id in another config", "cfg_c", "node_b"},
			{"a node whose id is a prefix", "cfg_a", "node_"},
			{"a node whose id is longer", "cfg_a", "node_b2"},
			{"a config whose id is a prefix", "cfg_", "node_b"},
			{"a config whose id is longer", "cfg_a2", "node_b"},
			{"config and node swapped", "node_b", "cfg_a"},
			{"upper case", "CFG_A", "NODE_B"},
			{"no ids", "", ""},
			{"wildcards as ids", "+", "+"},
			{"hash as id", "cfg_a", "#"},
			{"ids that hold levels", "cfg_a/node_b", "config"},
		}
		for _, f := range foreign {
			t.Run(f.name+" "+name, func(t *testing.T) {
				if may(f.configID, f.nodeID, name) {
					t.Errorf("node %q of %q was allowed", f.nodeID, f.configID)
				}
			})
		}
	}
	for _, name := range otherDirection {
		t.Run("other direction "+name, func(t *testing.T) {
			if may("cfg_a", "node_b", name) {
				t.Error("allowed")
			}
		})
	}
	for _, tt := range notTopics {
		t.Run(tt.name, func(t *testing.T) {
			if may("cfg_a", "node_b", tt.topic) {
				t.Error("allowed")
			}
		})
	}
}

func TestIdsThatAreNotValidHaveNoRights(t *testing.T) {
	// Even if the ids of an account are corrupt, the resulting names allow nothing.
	for _, id := range [][2]string{{"+", "+"}, {"cfg_a", "#"}, {"", ""}, {"CFG", "NODE"}, {"cfg_a/x", "node_b"}} {
		for _, name := range protocol.SubscribeTopics(id[0], id[1]) {
			if protocol.MaySubscribe(id[0], id[1], name) {
				t.Errorf("ids %q: may subscribe to %q", id, name)
			}
		}
		for _, name := range protocol.PublishTopics(id[0], id[1]) {
			if protocol.MayPublish(id[0], id[1], name) {
				t.Errorf("ids %q: may publish to %q", id, name)
			}
		}
	}
}

func FuzzParseTopic(f *testing.F) {
	for _, name := range slices.Concat(downstreamOfNodeB, upstreamOfNodeB) {
		f.Add(name)
	}
	for _, tt := range notTopics {
		f.Add(tt.topic)
	}
	f.Fuzz(func(t *testing.T, name string) {
		topic, err := protocol.ParseTopic(name)
		if err != nil {
			if !errors.Is(err, protocol.ErrTopic) {
				t.Errorf("err = %v, want ErrTopic", err)
			}
			return
		}
		if got := topic.String(); got != name {
			t.Errorf("%q parsed to a topic that writes %q", name, got)
		}
		if !protocol.ValidID(topic.ConfigID) || !protocol.ValidID(topic.NodeID) {
			t.Errorf("%q parsed to invalid ids: %+v", name, topic)
		}
		if topic.Kind.IsCommand() == topic.Kind.IsUpstream() {
			t.Errorf("%q has both directions or none", name)
		}
	})
}

func FuzzMaySubscribe(f *testing.F) {
	for _, name := range slices.Concat(downstreamOfNodeB, upstreamOfNodeB) {
		f.Add("cfg_a", "node_b", name)
		f.Add("cfg_a", "node_", name)
	}
	for _, tt := range notTopics {
		f.Add("cfg_a", "node_b", tt.topic)
	}
	f.Add("+", "#", "wfm/+/#/control")
	f.Fuzz(func(t *testing.T, configID, nodeID, filter string) {
		own := protocol.SubscribeTopics(configID, nodeID)
		if protocol.MaySubscribe(configID, nodeID, filter) && !slices.Contains(own, filter) {
			t.Errorf("node %q of %q may subscribe to %q, which is none of its own", nodeID, configID, filter)
		}
		valid := protocol.ValidID(configID) && protocol.ValidID(nodeID)
		for _, name := range own {
			if got := protocol.MaySubscribe(configID, nodeID, name); got != valid {
				t.Errorf("node %q of %q: own topic %q: %v, want %v", nodeID, configID, name, got, valid)
			}
		}
	})
}
