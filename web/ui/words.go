package ui

import (
	"cmp"
	"fmt"
	"html/template"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"wfm/protocol"
)

// Ago returns the time from t to now in the largest fitting unit, as in "5 s ago". wfm.js uses the same
// words when it updates the times on the page.
func Ago(now, t time.Time) string {
	d := now.Sub(t)
	if d < 0 {
		return "in " + Duration(-d)
	}
	if d < 2*time.Second {
		return "just now"
	}
	return Duration(d) + " ago"
}

// Duration returns d in the largest fitting unit.
func Duration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// moment returns v, which is a time or a pointer to one, as a time. nil is the zero time.
func moment(v any) (time.Time, error) {
	switch v := v.(type) {
	case time.Time:
		return v, nil
	case *time.Time:
		if v == nil {
			return time.Time{}, nil
		}
		return *v, nil
	}
	return time.Time{}, fmt.Errorf("%T is not a time", v)
}

// day returns the date of v (see moment), or "never" for the zero time.
func day(v any) (string, error) {
	t, err := moment(v)
	if err != nil || t.IsZero() {
		return "never", err
	}
	return t.UTC().Format("2006-01-02"), nil
}

// whenHTML returns the age of v (see moment), with the exact time as its title, or "never" for the
// zero time.
func whenHTML(v any) (template.HTML, error) {
	t, err := moment(v)
	if err != nil || t.IsZero() {
		return "never", err
	}
	t = t.UTC()
	//nolint:gosec // contains only a time
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`,
		t.Format(time.RFC3339), t.Format("2006-01-02 15:04:05 UTC"), Ago(time.Now(), t))), nil
}

// Size returns n bytes in a readable unit.
func Size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v := float64(n)
	for _, name := range []string{"KiB", "MiB", "GiB"} {
		if v /= unit; v < unit {
			return fmt.Sprintf("%.1f %s", v, name)
		}
	}
	return fmt.Sprintf("%.1f TiB", v/unit)
}

// count returns n with its noun: "1 node", "2 nodes", "2 meshes".
func count(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "sh"):
		return strconv.Itoa(n) + " " + noun + "es"
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// Action names the action of a command in words. An unknown one is returned unchanged.
func Action(a protocol.Action) string { return cmp.Or(a.Spec().Name, string(a)) }

// StateWords returns the words for the state of a node.
func StateWords(state any) string {
	if s := fmt.Sprint(state); s != "unbound" {
		return s
	}
	return "no agent yet"
}

// SyncWords returns the words for the state of a node's tunnel config.
func SyncWords(state any) string {
	switch s := fmt.Sprint(state); s {
	case "latest":
		return "up to date"
	case "handed_out":
		return "handed out"
	case "to_hand_out":
		return "to hand out"
	default:
		return s
	}
}

// Capital returns s with its first letter in upper case.
func Capital(s string) string {
	if s == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(s)
	return strings.ToUpper(string(first)) + s[size:]
}

// short returns the beginning of a long key or hash.
func short(s string) string {
	const kept = 12
	if len(s) <= kept {
		return s
	}
	return s[:kept] + "…"
}

// list joins texts into the form in which a list is edited and forms.js reads it: separated by commas.
// A text with a comma or a quotation mark is quoted, and its quotation marks are doubled.
func list(texts []string) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		if quoted[i] = t; strings.ContainsAny(t, `,"`) {
			quoted[i] = `"` + strings.ReplaceAll(t, `"`, `""`) + `"`
		}
	}
	return strings.Join(quoted, ", ")
}

// tunnelName returns the name of a tunnel protocol.
func tunnelName(p string) string {
	if protocol.ToolFamily(p) == "awg" {
		return "AmneziaWG"
	}
	return "WireGuard"
}

// protocols returns the tunnel protocols to choose from. The one that is set keeps its spelling, since
// AmneziaWG has two.
func protocols(now string) []string {
	if protocol.ToolFamily(now) == "awg" {
		return []string{protocol.TunnelWireGuard, now}
	}
	return []string{protocol.TunnelWireGuard, protocol.TunnelAmneziaWG}
}

// awgVersion is a choice of the version of AmneziaWG.
type awgVersion struct {
	Version, Words string
	Default        bool
}

func awgVersions() []awgVersion {
	return []awgVersion{{"2.0", "2.0", true}, {"1.5", "1.5: for older apps", false}, {"3.1", "3.1: newest, few apps have it", false}}
}

// apiNames has the pages' words for the names of the API that sentences about a mesh contain.
var apiNames = map[string]string{
	"virtual_subnet": "the network", "virtual_subnet6": "the IPv6 network", "virtual_ip": "address in the tunnel", "virtual_ip6": "IPv6 address in the tunnel",
	"ipv4_address": "public IPv4 address", "ipv6_address": "public IPv6 address", "listen_port": "UDP port", "allowed_ips": "allowed IPs",
	"persistent_keepalive": "keepalive", "preshared_key": "preshared key", "public_key": "public key", "private_key": "private key",
	"gateway_node_ids": "the gateways", "hub_node_id": "the gateway", "free_mesh": "“several gateways”", "full_mesh": "“each with each”",
	"hub_spoke": "“one gateway”", "default_mtu": "MTU", "default_dns": "DNS", "default_listen_port": "UDP port",
}

// throughGateway is a remedy for scripts. The page has a button for it.
var throughGateway = regexp.MustCompile(`: use mode free_mesh with gateway_node_ids \[[^]]*\]`)

var apiName = regexp.MustCompile(`\b[a-z]+[0-9]?(?:_[a-z0-9]+)+\b`)

// plain returns the sentence with the pages' words for the API's names.
func plain(sentence string) string {
	sentence = throughGateway.ReplaceAllString(sentence, "")
	sentence = strings.ReplaceAll(sentence, " (config_source mesh)", "")
	sentence = strings.ReplaceAll(sentence, "an ipv4_address or ipv6_address", "a public address")
	said := apiName.ReplaceAllStringFunc(sentence, func(name string) string { return cmp.Or(apiNames[name], name) })
	if at := apiName.FindStringIndex(sentence); at != nil && at[0] == 0 {
		return Capital(said)
	}
	return said // it may begin with the name of a node
}
