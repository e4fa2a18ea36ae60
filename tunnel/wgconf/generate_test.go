package wgconf_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"wfm/tunnel/wgconf"
)

// fakeResolvconf puts a resolvconf that does nothing into the PATH: these tests neither need a real
// one nor change its name servers.
func fakeResolvconf(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "resolvconf"), []byte("#!/bin/sh\ncat >/dev/null\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// upCount numbers the interfaces: each wg-quick up needs a new one, since a daemon takes a moment
// to end.
var upCount atomic.Int32

// askTools runs wg-quick up, or wg-quick strip and then wg setconf, on the text. For the latter,
// the caller must have started the interface.
func askTools(t *testing.T, s string, up bool) (string, error) {
	t.Helper()
	path := writeConfig(t, s)
	if !up {
		return try(t.Context(), "bash", "-c", `set -o pipefail; wg-quick strip "$0" | wg setconf "$1" /dev/stdin`, path, iface)
	}
	of := filepath.Join(filepath.Dir(path), fmt.Sprintf("wgu%d.conf", upCount.Add(1)))
	if err := os.Rename(path, of); err != nil {
		t.Fatal(err)
	}
	out, err := try(t.Context(), "wg-quick", "up", of)
	for range 10 { // the previous daemon takes a moment to release its port
		if err == nil || !strings.Contains(out, "Address already in use") {
			break
		}
		out, err = try(t.Context(), "wg-quick", "up", of)
	}
	if err == nil {
		if down, err := try(t.Context(), "wg-quick", "down", of); err != nil {
			t.Fatalf("wg-quick down: %v %s\n%s", err, down, s)
		}
	}
	return out, err
}

// Values for the generator, valid and invalid. localhost is the only name, since the text does not
// decide whether a name resolves.
var (
	wgValues = map[string][]string{
		"ListenPort": {"51820", "0", "65535", "65536", "051", "http", "-1", "5 1", "", "0x1f", "x"},
		"FwMark":     {"off", "0xca6c", "OFF", "0", "4294967295", "4294967296", "0X1", "0x", "07", "", "0x100000000", "1x"},
		"PrivateKey": {ourPrivate, zeros, "", "short", ourPrivate[:43], ourPrivate + "x", strings.Replace(ourPrivate, "=", " =", 1)},
	}
	quickValues = map[string][]string{
		"Address": {
			"10.7.0.2/24", "10.7.0.2/24", "10.7.0.2", "10.7.0.2/32", "fd07::2/64", "fd07:0::2/64", "fd07::2", "10.8.0.1/24, fd08::1/64", "", ",",
			"10.7.0.256", "10.7.0.2/33", "ff02::1/64", "::1", "::/0", "fe80::1/64", "::ffff:10.0.0.1/128", "10.0/8", "0.0.0.0/0", "224.0.0.1", "x",
			"10.7.0.2/24 10.9.0.1",
		},
		"MTU":        {"1420", "1279", "1280", "68", "67", "65535", "65536", "", "01420", "x", "0"},
		"Table":      {"off", "auto", "", "1234", "main", "254", "Off", "0", "local", "4294967295", "4294967296"},
		"DNS":        {"10.7.0.1", "", "corp.example", "10.7.0.1, corp", "9.9.9", "fd07::1", "fd07::1%x", "a_*", "~."},
		"PreUp":      {"true", "", "false", "echo 'a", "true # b", "true#b"},
		"PostUp":     {"true", "", "exit 1", `echo "a`, "echo 'a # b'", "wg set %i private-key <(wg genkey)"},
		"PostDown":   {"true", ""},
		"SaveConfig": {"false", "FALSE", "", "yes", "0"},
	}
	peerValues = map[string][]string{
		"PublicKey":    {eastPublic, westPublic, ourPublic, zeros, "", "x", eastPublic[:40], eastPublic + "="},
		"PresharedKey": {presharedKey, zeros, "", "x", presharedKey[1:]},
		"Endpoint": {
			"127.0.0.1:5", "[::1]:5", "localhost:5", "127.0.0.1 : 5", "::1:5", "127.0.0.1", "127.0.0.1:", ":5", "[::1]", "[::1]5", "[::1:5", "127.0.0.1:0",
			"127.0.0.1:65536", "127.0.0.1:http", "[127.0.0.1]:5", "127.1:5", "", "127.0.0.1:5:6", "300.1.1.1:5",
		},
		"AllowedIPs": {
			"10.7.0.0/24", "10.7.0.9/24", "0.0.0.0/0", "::/0", "fd07::/64", "10.0.0.0/8,10.0.0.0/8", "10.0.0.1 , ::1", "10.0.0.0/8,", "", ",", "10.0.0.0/33",
			"10.0.0.0/08",
			"10.0.0.1 10.0.0.2", "010.0.0.0/8", "::ffff:10.0.0.0/104", "fe80::1%x", "10.0.0.0/", "/8", "10.0.0", "1::2::3", "10.1.0.0/16", "10.0.0.0 / 8",
		},
		"PersistentKeepalive": {"25", "off", "OFF", "0", "65535", "65536", "025", "", "-1", "25-30", "25 # s", "2 5"},
	}
)

// generator makes configs of the values above, most of them nearly valid.
type generator struct{ *rand.Rand }

// line returns a line with the key and one of its values, most often the first.
func (g generator) line(values map[string][]string, key string) string {
	all := values[key]
	value := all[0]
	if g.IntN(4) == 0 {
		value = all[g.IntN(len(all))]
	}
	return key + g.pick(" = ", "=", " =", "\t=  ") + value + g.pick("", "", "", "", " ", " # c", "#c")
}

func (g generator) pick(from ...string) string { return from[g.IntN(len(from))] }

// config returns a config. With quick it has keys that only wg-quick up reads.
func (g generator) config(quick bool) string {
	lines := []string{"[Interface]", "PrivateKey = " + ourPrivate}
	add := func(values map[string][]string, chance int) {
		for _, key := range sortedKeys(values) {
			if key != "PrivateKey" && key != "PublicKey" && g.IntN(chance) == 0 {
				lines = append(lines, g.line(values, key))
			}
		}
	}
	add(wgValues, 3)
	if quick {
		add(quickValues, 3)
	}
	for i := range g.IntN(3) {
		lines = append(lines, "[Peer]", "PublicKey = "+[]string{eastPublic, westPublic}[i])
		add(peerValues, 2)
	}
	for range g.IntN(3) {
		lines = g.change(lines, quick)
	}
	return strings.Join(lines, g.pick("\n", "\n", "\n", "\r\n")) + g.pick("", "\n")
}

// change edits the lines as people and programs do.
func (g generator) change(lines []string, quick bool) []string {
	i, j := g.IntN(len(lines)), g.IntN(len(lines)+1)
	changed := slices.Clone(lines)
	switch g.IntN(9) {
	case 0:
		return slices.Delete(changed, i, i+1)
	case 1:
		return slices.Insert(changed, j, lines[i]) // a line twice, or in another section
	case 2:
		changed[i] = strings.ToUpper(lines[i][:len(lines[i])/3]) + lines[i][len(lines[i])/3:]
	case 3:
		changed[i] = g.pick(" ", "\t", "  \t") + lines[i] + g.pick(" ", "\t")
	case 4:
		k := g.IntN(len(lines[i]) + 1)
		changed[i] = lines[i][:k] + g.pick(" ", "#", "=", "[", ",", "x", "0", "/", ":", ";", "é") + lines[i][k:]
	case 5:
		k := g.IntN(len(lines[i]))
		changed[i] = lines[i][:k] + lines[i][k+1:]
	case 6:
		return slices.Insert(changed, j, g.pick("", "# comment", "[Peer]", "[Interface]", "garbage", "Color = red", "; comment", "[Peer", "\uFEFF", "Jc = 4"))
	case 7:
		changed[i] = strings.ReplaceAll(lines[i], " ", "")
	case 8:
		values := wgValues
		if quick {
			values = quickValues
		}
		keys := sortedKeys(values)
		return slices.Insert(changed, 1, g.line(values, keys[g.IntN(len(keys))]))
	}
	return changed
}

func sortedKeys(m map[string][]string) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// failedInHook reports whether the last step of wg-quick before its clean-up was a hook of the
// text.
func failedInHook(s, out string) bool {
	last := ""
	for line := range strings.Lines(out) {
		if step, ok := strings.CutPrefix(strings.TrimSpace(line), "[#] "); ok && !cleaning.MatchString(step) {
			last = step
		}
	}
	return last != "" && strings.Contains(s, last)
}

var cleaning = regexp.MustCompile(`^(ip link delete|ip -[46] rule delete|resolvconf -d|nft -f)`)

// judge compares Parse with the tools and fails the test on a difference that is not in the list.
func judge(t *testing.T, s string, up bool) (agree bool) {
	t.Helper()
	_, err := wgconf.Parse(s, "wg")
	out, toolErr := askTools(t, s, up)
	switch {
	case (err == nil) == (toolErr == nil):
		return true
	case err != nil && explained(err, "wg"):
		return false
	case err == nil && up && failedInHook(s, out):
		return false
	}
	t.Errorf("we say %v, the tools %v: %s\n%s", err, toolErr, out, s)
	return false
}

// parts is the number of namespaces in which the generated configs run at a time. It can exceed the
// number of processors, since the tools mostly wait.
const parts = 6

// Parse and the real tools agree on generated configs, except for the list of differences.
func TestParseAgreesWithTheRealTools(t *testing.T) {
	seed := uint64(12)
	if other, err := strconv.ParseUint(os.Getenv("WFM_WGCONF_SEED"), 10, 64); err == nil { // to try other configs
		seed = other
	}
	for part := range parts {
		t.Run(strconv.Itoa(part), func(t *testing.T) {
			if inNamespace(t) {
				fakeResolvconf(t)
				judgePart(t, seed, part)
			}
		})
	}
}

// judgePart judges every config of the part, first with setconf and then with wg-quick up.
func judgePart(t *testing.T, seed uint64, part int) {
	t.Helper()
	startInterface(t)
	for _, tt := range []struct {
		name  string
		quick bool
		n     int
	}{{"wg", false, 300}, {"wg-quick", true, 100}} {
		g := generator{rand.New(rand.NewPCG(seed, uint64(len(tt.name))))}
		if tt.quick {
			run(t, "ip", "link", "delete", iface) // wg-quick up may need its port
		}
		tried, agreed := 0, 0
		for i := range tt.n {
			s := g.config(tt.quick)
			if i%parts != part {
				continue
			}
			tried++
			if judge(t, s, tt.quick) {
				agreed++
			}
		}
		if agreed < tried/2 {
			t.Errorf("%s: of %d configs they agree on %d only: the generator finds little", tt.name, tried, agreed)
		}
		t.Logf("%s: %d configs, they agree on %d", tt.name, tried, agreed)
	}
}
