package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"wfm/agent/keyring"
	"wfm/tunnel/wgconf"
)

// keysIn returns the key pairs of the profiles below the agent's folder, each in a file beside its
// profile: only *.json are profiles.
func keysIn(dir string) *keyring.Ring { return keyring.New(profilesDir(dir)) }

// removeKeys removes the keys of an unbound profile, unless a change of it has to be taken back, which
// may need one.
func removeKeys(dir, profileID string) error {
	if c, err := loadChange(dir, profileID); err == nil && c != nil {
		return nil
	}
	left, err := filepath.Glob(filepath.Join(stateDir(dir), readyPrefix+profileID+".*"))
	problems := []error{err}
	for _, path := range left {
		problems = append(problems, os.RemoveAll(path))
	}
	return errors.Join(append(problems, keysIn(dir).Remove(profileID))...)
}

// keptKey returns the public key of the pair that the config needs, and whether it leaves the private
// key to this node. A text that names no key needs the one that was the newest when it was stored.
func (c storedConfig) keptKey() (public string, kept bool) {
	kept, public = wgconf.Kept(string(c.Text))
	if kept && public == "" {
		public = c.Meta.PublicKey
	}
	return public, kept
}

// readyPrefix begins the names of folders that hold a config with its private key while a quick tool
// reads it.
const readyPrefix = ".up-"

// ready returns the file for a quick tool that starts the interface: the stored one, or a copy with the
// private key if the config leaves it to the node. The stored file and its hash stay those of the pushed
// text. remove removes the copy. profileID is the profile whose command this is.
func (t *tunnels) ready(profileID, iface string, stored storedConfig) (path string, remove func(), err error) {
	public, kept := stored.keptKey()
	if !kept {
		return t.configs.Path(iface), func() {}, nil
	}
	if id := stored.Meta.ProfileID; id != "" && validProfileID(id) {
		profileID = id
	}
	pair, err := t.keys.Find(profileID, public)
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp(stateDir(t.configs.dir), readyPrefix+profileID+".*")
	if err != nil {
		return "", nil, fmt.Errorf("put in the private key: %w", err)
	}
	remove = func() { _ = os.RemoveAll(dir) }
	path = filepath.Join(dir, iface+".conf") // the tool takes the interface's name from the file's
	if err := os.WriteFile(path, []byte(wgconf.PutKey(string(stored.Text), pair.Private)), 0o600); err != nil {
		remove()
		return "", nil, fmt.Errorf("put in the private key: %w", err)
	}
	return path, remove, nil
}

// removeCopies removes the copies of configs that a killed agent left.
func removeCopies(dir string) error {
	var problems []error
	for _, prefix := range []string{readyPrefix, downPrefix} {
		left, err := filepath.Glob(filepath.Join(stateDir(dir), prefix+"*"))
		problems = append(problems, err)
		for _, path := range left {
			problems = append(problems, os.RemoveAll(path))
		}
	}
	return errors.Join(problems...)
}

// pruneKeys removes the pairs of the profile that nothing on this node needs any more.
func (t *tunnels) pruneKeys(profileID string) error {
	used := map[string]struct{}{}
	use := func(c storedConfig) {
		if public, kept := c.keptKey(); kept {
			used[public] = struct{}{}
		}
	}
	stored, err := filepath.Glob(filepath.Join(tunnelsDir(t.configs.dir), "*.conf"))
	if err != nil {
		return err
	}
	for _, path := range stored {
		name := filepath.Base(path)
		c, err := t.configs.Read(name[:len(name)-len(".conf")])
		if err != nil {
			return err
		}
		use(c)
	}
	open, err := openChanges(t.configs.dir)
	if err != nil {
		return err
	}
	for _, id := range open {
		c, err := loadChange(t.configs.dir, id)
		if err != nil {
			return err
		}
		if c != nil {
			use(c.former())
		}
	}
	return t.keys.Prune(profileID, used)
}
