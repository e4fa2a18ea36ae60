//go:build !linux

package agent

// otherKind returns false: this system offers no way to know.
func otherKind(string) bool { return false }

// watchLinks watches nothing on this system: the periodic check finds changes.
func watchLinks(stop <-chan struct{}, _ chan<- struct{}) { <-stop }
