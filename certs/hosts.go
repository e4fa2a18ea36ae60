package certs

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"wfm/internal/tlsproblem"
	"wfm/store"
)

const (
	maxLearned   = 64 // hosts that agents connect to
	maxAddresses = 64 // of this machine
)

// told returns the hosts that people and agents use.
func (l *local) told() []string {
	l.learning.Lock()
	defer l.learning.Unlock()
	return onlyHosts(slices.Concat([]string{l.keeper.o.PublicHost}, l.keeper.o.Hosts, l.learned))
}

// hosts returns all hosts that the certificates are for: those of told, and the current names and
// addresses of this machine.
func (l *local) hosts() []string {
	hosts := []string{firstName, "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	addresses, _ := net.InterfaceAddrs() // a failure is no reason to have no certificate
	for _, a := range addresses[:min(len(addresses), maxAddresses)] {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
			hosts = append(hosts, n.IP.String())
		}
	}
	return onlyHosts(slices.Concat(hosts, l.told()))
}

// onlyHosts removes duplicates and names that cannot be in a certificate.
func onlyHosts(names []string) []string {
	var out []string
	for _, h := range names {
		if h = strings.ToLower(strings.TrimSuffix(h, ".")); isHost(h) && !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}

// isHost reports whether a certificate can be for h.
func isHost(h string) bool {
	if net.ParseIP(h) != nil {
		return true
	}
	if h == "" || len(h) > 253 {
		return false
	}
	for label := range strings.SplitSeq(h, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// learn adds a host permanently: agents connect to it, and a change of the settings must not cut
// them off.
func (l *local) learn(ctx context.Context, host string) error {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if err := l.note(host); err != nil {
		return err
	}
	return l.ensure(ctx, false)
}

func (l *local) note(host string) error {
	l.learning.Lock()
	defer l.learning.Unlock()
	if slices.Contains(l.learned, host) {
		return nil
	}
	if !isHost(host) {
		return tlsproblem.ErrHost
	}
	if len(l.learned) >= maxLearned {
		return tlsproblem.ErrTooManyHosts
	}
	learned := append(slices.Clone(l.learned), host)
	text, err := json.Marshal(learned)
	if err != nil {
		return fmt.Errorf("encode hosts: %w", err)
	}
	if err := l.keeper.o.Store.Update(func(tx *store.Tx) error { return tx.PutFile(keyLearned, text) }); err != nil {
		return fmt.Errorf("keep the host: %w", err)
	}
	l.learned = learned
	return nil
}
