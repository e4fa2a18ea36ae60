package emqx

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"wfm/hooks"
	"wfm/internal/emqxcall"
	"wfm/protocol"
)

// version checks the releases of EMQX's nodes.
func (d *doctor) version(ctx context.Context) {
	var nodes []struct{ Version string }
	if err := d.API.call(ctx, http.MethodGet, "/nodes", nil, &nodes); err != nil {
		return // an old one may not say
	}
	for _, n := range nodes {
		parts := versionForm.FindStringSubmatch(n.Version)
		if parts == nil {
			continue
		}
		major, _ := strconv.Atoi(parts[1])
		minor, _ := strconv.Atoi(parts[2])
		v := Version{Major: major, Minor: minor}
		switch {
		case v.known():
			d.ok("EMQX is %s", n.Version)
		case !v.since5(5, 0):
			d.problem("EMQX is "+n.Version+", which does not accept an account by its hash", "use EMQX 5.5 or newer; known are "+Versions)
		default:
			d.warn("EMQX is "+n.Version+", which is untested; known are "+Versions, "rely on the other findings")
		}
		return
	}
}

// nodeCache reports whether EMQX caches permissions outside its clients.
func (d *doctor) nodeCache(ctx context.Context) bool {
	var cache struct{ Enable bool }
	return d.API.call(ctx, http.MethodGet, "/authorization/node_cache", nil, &cache) == nil && cache.Enable
}

// loginCache reports whether EMQX caches the answers to logins, which it can from 5.9 on. Older releases
// do not have the settings.
func (d *doctor) loginCache(ctx context.Context) bool {
	var settings struct {
		Cache struct{ Enable bool } `json:"node_cache"`
	}
	return d.API.call(ctx, http.MethodGet, "/authentication/settings", nil, &settings) == nil && settings.Cache.Enable
}

// answerLimitOfTrial bounds the appliance's answer to a trial question in bytes.
const answerLimitOfTrial = 1 << 10

// answers asks the appliance, as EMQX does, about a topic that is denied, and reports whether EMQX
// would understand the answer. An appliance that cannot be reached from here may be reachable from
// EMQX.
func (d *doctor) answers(ctx context.Context, address string) bool {
	if d.SharedKey == "" {
		return true
	}
	id, _ := emqxcall.NewKey(d.SharedKey).Check(time.Now())
	question := emqxcall.Question{Username: id, ClientID: protocol.ClientID(id), Topic: "wfm/#", Action: emqxcall.Subscribe}
	raw, _ := json.Marshal(question.Form(emqxcall.TopicFields()))
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(raw))
	if err != nil {
		return true
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(emqxcall.KeyHeader, d.SharedKey)
	res, err := d.API.http.Do(req)
	if err != nil {
		return true
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, answerLimitOfTrial))
	var told emqxcall.Answer
	_ = json.Unmarshal(body, &told)
	switch {
	case res.StatusCode == http.StatusOK && told.Result == emqxcall.Deny:
		return true
	case res.StatusCode == http.StatusUnauthorized:
		d.problemAbout(aboutAsking, "the appliance at "+place(address)+" does not accept WFM_EMQX_AUTHZ_SHARED_KEY",
			"start the appliance with the same key, or give this command the appliance's")
	case res.StatusCode == http.StatusNoContent || told.Result == emqxcall.Allow:
		d.problemAbout(aboutTopics, place(address)+" allows what the appliance denies", "make EMQX ask the appliance, and no other program")
	default:
		d.problemAbout(aboutAsking, fmt.Sprintf("%s answers %d to a question that must be denied, which EMQX takes for no answer", place(address), res.StatusCode),
			"have EMQX ask the appliance itself: it denies with 200 and \"deny\"")
	}
	return false
}

// broker checks settings for all clients.
func (d *doctor) broker(ctx context.Context) {
	var zone struct {
		MQTT struct {
			Retained *bool `json:"retain_available"`
			Packet   any   `json:"max_packet_size"`
		}
	}
	if err := d.API.call(ctx, http.MethodGet, "/configs/global_zone", nil, &zone); err == nil {
		if zone.MQTT.Retained == nil || *zone.MQTT.Retained {
			d.warn("EMQX keeps retained messages, which are not needed and survive a reset", "set mqtt.retain_available = false")
		}
		if limit, ok := sizeOf(zone.MQTT.Packet); ok && limit < hooks.MaxPacketSize {
			d.problem(fmt.Sprintf("EMQX accepts packets of at most %d bytes: a long tunnel config does not reach its node", limit),
				fmt.Sprintf(`set mqtt.max_packet_size = "1MB"; %d bytes are needed`, hooks.MaxPacketSize))
		}
	}
	var topics struct {
		Events struct {
			Connected    *bool `json:"client_connected"`
			Disconnected *bool `json:"client_disconnected"`
		} `json:"sys_event_messages"`
	}
	off := func(b *bool) bool { return b != nil && !*b }
	if err := d.API.call(ctx, http.MethodGet, "/configs/sys_topics", nil, &topics); err == nil &&
		(off(topics.Events.Connected) || off(topics.Events.Disconnected)) {
		d.problem("EMQX publishes no events about connections, so the appliance does not see them",
			"set sys_topics.sys_event_messages { client_connected = true, client_disconnected = true }")
	}
	var shared struct {
		Groups map[string]struct{ Strategy string } `json:"shared_subscription_group"`
	}
	if err := d.API.call(ctx, http.MethodGet, "/configs/broker", nil, &shared); err == nil {
		if got := shared.Groups["wfm"].Strategy; got != "hash_clientid" && (got != "" || len(shared.Groups) > 0) {
			d.problem("the appliance's sessions share messages by "+orNone(got)+": those of one node go to several sessions, and out of order",
				"set broker.shared_subscription_group.wfm.strategy = hash_clientid")
		}
	}
}

// listeners checks settings of each listener. The trials use only the appliance's.
func (d *doctor) listeners(ctx context.Context) {
	var all []struct {
		ID     string
		Enable *bool
	}
	if err := d.API.call(ctx, http.MethodGet, "/listeners", nil, &all); err != nil {
		return // the trials below show most faults
	}
	for _, l := range all {
		var here struct {
			Authn      any `json:"enable_authn"` // a boolean or text
			Mountpoint string
		}
		if l.Enable != nil && !*l.Enable || d.API.call(ctx, http.MethodGet, "/listeners/"+url.PathEscape(l.ID), nil, &here) != nil {
			continue
		}
		where := "listeners." + strings.Replace(l.ID, ":", ".", 1)
		if here.Authn == false || here.Authn == "false" {
			d.problem("EMQX checks no logins at "+where+": anyone can use every node's name and topics there", "set "+where+".enable_authn = true")
		}
		if here.Mountpoint != "" {
			d.problem("EMQX puts a prefix before all topics at "+where+", so the appliance does not hear the nodes there", "remove "+where+".mountpoint")
		}
	}
}

func orNone(s string) string {
	if s == "" {
		return "no strategy of their own"
	}
	return s
}

// sizeOf parses a number of bytes, which EMQX writes as in 1MB.
func sizeOf(v any) (int, bool) {
	switch v := v.(type) {
	case float64:
		return int(min(v, math.MaxInt32)), true
	case string:
		text, unit := strings.ToUpper(strings.TrimSpace(v)), 1
		for suffix, n := range map[string]int{"KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30} {
			if rest, ok := strings.CutSuffix(text, suffix); ok {
				text, unit = rest, n
			}
		}
		n, err := strconv.Atoi(strings.TrimSpace(text))
		return n * unit, err == nil
	}
	return 0, false
}

// session checks the limits of a session on the appliance's listener.
func (d *doctor) session(ctx context.Context, clientID string) {
	var client struct {
		Listener string
		Inflight any `json:"inflight_max"`
		Queue    any `json:"mqueue_max"`
	}
	if err := d.API.call(ctx, http.MethodGet, "/clients/"+url.PathEscape(clientID), nil, &client); err != nil || client.Listener == "" {
		d.warn("EMQX does not show the limits of the appliance's sessions", "check the listener and zone against those that `wfm emqx config` prints")
		return
	}
	var listener struct{ Zone string }
	if err := d.API.call(ctx, http.MethodGet, "/listeners/"+url.PathEscape(client.Listener), nil, &listener); err != nil || listener.Zone == "" {
		listener.Zone = "default"
	}
	var faults []string
	queue, inflight := limitOf(client.Queue), limitOf(client.Inflight)
	shutdown, known := d.forceShutdown(ctx, listener.Zone)
	if known && shutdown {
		faults = append(faults, "force_shutdown ends a session that is behind, with every message that waits in it")
	}
	if queue < ownQueue {
		faults = append(faults, fmt.Sprintf("max_mqueue_len is %d: what comes beyond is dropped, though nodes believe it delivered", queue))
	}
	if inflight < ownInflight {
		faults = append(faults, fmt.Sprintf("max_inflight is %d, which makes the appliance slow", inflight))
	}
	where := "the appliance connects to EMQX's listener " + client.Listener + " in the zone " + listener.Zone
	switch {
	case len(faults) > 0 && listener.Zone == "default":
		d.problem(where+", which has a node's limits: "+strings.Join(faults, "; "),
			"give the appliance the listener and zone of its own that `wfm emqx config` prints, and have WFM_MQTT_URL lead there")
	case len(faults) > 0:
		d.problem(where+", where "+strings.Join(faults, "; "),
			fmt.Sprintf("set zones.%s { force_shutdown { enable = false }, mqtt { max_inflight = %d, max_mqueue_len = %d } }", listener.Zone, ownInflight, ownQueue))
	case listener.Zone == "default":
		d.warn(where+", so its limits apply to every node too: one can fill EMQX's memory",
			"give the appliance the listener and zone of its own that `wfm emqx config` prints")
	case !known:
		d.ok("%s; EMQX does not show whether force_shutdown is off there, so keep it as printed", where)
	default:
		d.ok("%s, where it may fall behind without a loss", where)
	}
}

// forceShutdown reports whether EMQX ends sessions of the zone that fall behind, if it says so.
func (d *doctor) forceShutdown(ctx context.Context, zone string) (on, known bool) {
	type settings struct {
		Shutdown struct{ Enable *bool } `json:"force_shutdown"`
	}
	var here settings
	if zone == "default" {
		if err := d.API.call(ctx, http.MethodGet, "/configs/global_zone", nil, &here); err != nil {
			return false, false
		}
		return here.Shutdown.Enable == nil || *here.Shutdown.Enable, true
	}
	var all struct{ Zones map[string]settings }
	if err := d.API.call(ctx, http.MethodGet, "/configs?key=zones", nil, &all); err != nil || all.Zones[zone].Shutdown.Enable == nil {
		return false, false
	}
	return *all.Zones[zone].Shutdown.Enable, true
}

// limitOf parses a limit, which may be "infinity", or 0 if that means the same.
func limitOf(v any) int {
	if n, ok := v.(float64); ok && n > 0 {
		return int(min(n, math.MaxInt32))
	}
	return math.MaxInt32
}

// trialDelay is the number of seconds by which a trial asks EMQX to delay a message.
const trialDelay = 60

// delayed tests whether EMQX delays messages.
func (d *doctor) delayed(ctx context.Context, client *paho.Client, id string) {
	const text, advice = "EMQX holds messages of $delayed back for up to 49 days, and delivers them whatever became of their sender's " +
		"right", "set delayed.enable = false"
	var module struct{ Enable bool }
	if err := d.API.call(ctx, http.MethodGet, "/mqtt/delayed", nil, &module); err == nil && module.Enable {
		d.problemAbout(aboutDelayed, text, advice)
	}
	topic := protocol.Topic{ConfigID: emqxcall.CheckConfigID, NodeID: id, Kind: protocol.KindHeartbeat}.String()
	mayPublish(ctx, client, fmt.Sprintf("$delayed/%d/%s", trialDelay, topic))
	type held struct {
		ID    string `json:"msgid"`
		Node  string
		Topic string
	}
	var found []held
	err := pages(ctx, d.API, "/mqtt/delayed/messages", url.Values{}, func(m held) {
		if m.Topic == topic || strings.HasSuffix(m.Topic, "/"+topic) {
			found = append(found, m)
		}
	})
	if err != nil || len(found) == 0 {
		return
	}
	d.tried("EMQX holds a temporary node's message of $delayed back", advice, aboutDelayed)
	for _, m := range found {
		_ = d.API.call(ctx, http.MethodDelete, "/mqtt/delayed/messages/"+url.PathEscape(m.Node)+"/"+url.PathEscape(m.ID), nil, nil)
	}
}
