//go:build !unix

package agent

// lockDir does nothing on systems without flock: tunnels are served on Unix only.
func lockDir(string) (release func(), err error) { return func() {}, nil }
