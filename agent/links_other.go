//go:build !linux

package agent

// watchLinks has nothing to watch here: the look at intervals finds what has changed.
func watchLinks(stop <-chan struct{}, _ chan<- struct{}) { <-stop }
