package agent

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

var (
	// A WireGuard key in base64, possibly with its end cut off.
	keyLike = regexp.MustCompile(`[A-Za-z0-9+/]{40,}=*`)
	// A quote from a config line in a tool's message. Shorter quotes are interface names.
	longQuote = regexp.MustCompile("[`'\"][^`'\"]{16,}['\"]")
)

// complaint summarises the messages of a tool that failed: the first one, which usually is the
// cause, then the last ones.
func complaint(stderr string) string {
	said := complaints(stderr)
	if len(said) > maxComplaints {
		said = append(said[:1:1], said[len(said)-maxComplaints+1:]...)
	}
	if len(said) == 0 {
		return hookNote(stderr)
	}
	return ": " + joinComplaints(said)
}

// maxComplaints limits how many lines of a tool's messages go into an ACK.
const maxComplaints = 4

// stopped describes how far a tool came before it was stopped for taking too long. Its last
// messages are about the stop itself.
func stopped(name, stderr string) string {
	text := ""
	if said := complaints(stderr); len(said) > 0 {
		text = ": " + joinComplaints(said[:1])
	}
	if !strings.HasSuffix(name, "-quick") {
		return text
	}
	last, routes := "", 0
	for line := range strings.Lines(stderr) {
		if command, ok := strings.CutPrefix(strings.TrimSpace(line), echoed); ok {
			last = command
			if ownWords.MatchString(command) && strings.Contains(command, " route add ") {
				routes++
			}
		}
	}
	switch {
	case last == "":
		return text + "; it was still reading the config"
	case !ownWords.MatchString(last):
		return text + hookNote(stderr)
	case routes > 0:
		return fmt.Sprintf("%s; its last step was %s, after %d routes", text, printable(last), routes)
	}
	return fmt.Sprintf("%s; its last step was %s", text, printable(last))
}

func joinComplaints(said []string) string {
	text := strings.Join(said, "; ")
	if len(text) > maxToolMessage {
		text = strings.ToValidUTF8(text[:maxToolMessage], "") + "…"
	}
	return text
}

// complaints returns a tool's messages, line by line, fit for an ACK. They contain neither the
// commands that the tool echoes nor anything that could be a key or a config line. They also
// exclude the output of the config's hooks: it may contain any secret of the node, and only its
// position tells it from other output. The quick tools end at the first command that fails: if that
// command was a hook, no earlier message explains the failure.
func complaints(stderr string) []string {
	var said []string
	hook := false
	step := 0        // number of messages before the current command
	beforeHook := -1 // the same before the hook that ended the tool, as far as is known
	daemon := -1     // the same when the quick tool turned to the userspace daemon
	for line := range strings.Lines(stderr) {
		if command, ok := strings.CutPrefix(line, echoed); ok {
			command = strings.TrimSpace(command)
			hook = !ownWords.MatchString(command)
			if daemon >= 0 && !ofDaemon.MatchString(command) {
				// The tool continued, so the daemon made up for the earlier failures.
				said, daemon, step = said[daemon:], -1, max(step-daemon, 0)
			}
			switch {
			case hook && echoed+command != gapMark:
				beforeHook = len(said)
			case strings.HasPrefix(command, "ip link set mtu "):
				// To find the MTU, the tool asked for the routes to the endpoints. There may be
				// none yet.
				said = said[:step]
				beforeHook = -1
			case !cleansUp.MatchString(command):
				beforeHook = -1
			}
			step = len(said)
			continue
		}
		if hook {
			continue
		}
		line = printable(line)
		switch {
		case line == "" || boxed(line) || line == "Terminated":
		case strings.HasPrefix(line, "[!]"):
			daemon = len(said)
		default:
			said = append(said, harmless(line))
		}
	}
	if len(said) == beforeHook {
		return nil
	}
	serious := slices.DeleteFunc(slices.Clone(said), func(line string) bool { return strings.HasPrefix(line, "Warning:") })
	if len(serious) > 0 {
		return serious
	}
	return said
}

// ofDaemon matches the commands that a quick tool runs between turning to the userspace daemon and
// giving up on it.
var ofDaemon = regexp.MustCompile(`^(wireguard-go |amneziawg-go |ip link delete )`)

// cleansUp matches the commands that a quick tool runs after a failure, before it ends.
var cleansUp = regexp.MustCompile(`^(ip link delete |ip -[46] rule delete |resolvconf -d |nft -f |ip6?tables-restore -n$)`)

// harmless returns a line without the parts that could be a secret.
func harmless(line string) string {
	if cut := strings.Index(line, "unrecognized:"); cut >= 0 { // a line of the config follows
		line = line[:cut] + "unrecognized (not shown)"
	}
	return keyLike.ReplaceAllString(longQuote.ReplaceAllString(line, "(not shown)"), "(hidden)")
}

// advices holds advice by words in a tool's message. More specific entries come first.
var advices = []struct{ words, advice string }{
	{"/dev/net/tun", "the node needs the WireGuard kernel module, or /dev/net/tun for the userspace daemon"},
	{"operation not permitted", "the agent needs root or CAP_NET_ADMIN"},
	{"resolvconf: command not found", "DNS in the config needs resolvconf on the node: install the package openresolv, or leave DNS out"},
	{"tables-restore: command not found", "a default route in AllowedIPs needs a firewall tool on the node: install the package nftables"},
	{"nft: command not found", "a default route in AllowedIPs needs a firewall tool on the node: install the package nftables"},
	{"name resolution", "the node cannot resolve the name of an Endpoint now: check its DNS, or give an address"},
	{"name or service not known", "the name of an Endpoint does not exist for the node: check the name and the node's DNS, or give an address"},
	{"no address associated with hostname", "the name of an Endpoint has no address: check the name, or give an address"},
	{"address already in use", "another tunnel or program on the node uses this ListenPort: give another one"},
	{"src_valid_mark", "/proc/sys is read-only, as in a container: set net.ipv4.conf.all.src_valid_mark=1 for it from outside"},
	{"ipv6 is disabled", "IPv6 is switched off on the node: switch it on, or leave IPv6 out of the config"},
	{"fib table does not exist", "the node has no such routing table: see /etc/iproute2/rt_tables there"},
	{"argument is wrong", "the node does not know the routing table: see /etc/iproute2/rt_tables there"},
	{"read-only file system", "a file system the tool writes to is read-only on the node"},
	{"no space left on device", "a file system of the node is full"},
	{"unknown device type", "the node needs the WireGuard kernel module, or a userspace daemon like wireguard-go"},
	{"operation not supported", "the node needs the WireGuard kernel module, or a userspace daemon like wireguard-go"},
}

// advice returns advice about a tool's messages, or "" if it knows none.
func advice(stderr string) string {
	text := strings.ToLower(strings.Join(complaints(stderr), "\n"))
	for _, a := range advices {
		if strings.Contains(text, a.words) {
			return "; " + a.advice
		}
	}
	return ""
}

// echoed is the prefix that a quick tool prints before each command it runs, be it its own or a
// hook.
const echoed = "[#] "

var (
	// ownWords matches the commands that a quick tool runs itself: these programs, without
	// characters that are special to a shell. A hook that looks like one prints nothing that the
	// tool would not print.
	ownWords = regexp.MustCompile(`^(ip|wg|awg|wireguard-go|amneziawg-go|resolvconf|nft|iptables-restore|ip6tables-restore|sysctl) [^;&|<>$()` + "`" + `"'\\]*$`)
	program  = regexp.MustCompile(`^[a-z0-9_./-]{1,40}$`)
)

// gapMark marks a gap in the kept output of a tool.
const gapMark = echoed + "(…)"

// hookNote names the last hook that a quick tool ran, for a failure without a message of the tool
// itself. It returns "" if no hook ran.
func hookNote(stderr string) string {
	name := ""
	for line := range strings.Lines(stderr) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), echoed)
		if !ok || ownWords.MatchString(command) || echoed+command == gapMark {
			continue
		}
		if name, _, _ = strings.Cut(command, " "); !program.MatchString(name) {
			name = "a shell command" // the first word may be a value
		}
	}
	if name == "" {
		return ""
	}
	return fmt.Sprintf(": it seems that a hook of the config failed or hung (%s); what hooks print is not shown", name)
}

// boxed reports whether a line belongs to the framed greeting that the userspace daemon always
// prints.
func boxed(line string) bool {
	first, _ := utf8.DecodeRuneInString(line)
	return first >= '\u2500' && first <= '\u257f'
}
