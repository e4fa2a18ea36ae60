package agent

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"wfm/internal/atomicfile"
	"wfm/protocol"
)

// ErrNoProfile is returned if no profile matches the given name.
var ErrNoProfile = errors.New("no such profile")

// ErrProfileInvalid is returned for an unusable profile, from a server or from disk.
var ErrProfileInvalid = errors.New("profile cannot be used")

// Profile is the result of one bind: the identity of this node and how it reaches its broker. It
// contains the MQTT password, so only its owner can read its file, and it is logged as its id only.
type Profile struct {
	// BoundAt is the time of the bind by this machine's clock, RFC 3339.
	BoundAt string `json:"bound_at"`
	// ServerURL is the address the node was bound at, as the user gave it.
	ServerURL string `json:"server_url"`
	// Restore is false if the agent must not start a wanted tunnel by itself, for instance after a
	// restart of the machine or a wg-quick down. If it is missing, the agent does.
	Restore *bool                `json:"restore,omitempty"`
	Node    protocol.BindProfile `json:"profile"`
	MQTT    protocol.BindMQTT    `json:"mqtt"`
}

// ID returns the name of the profile on this machine.
func (p Profile) ID() string { return p.Node.ProfileID }

func (p Profile) restores() bool { return p.Restore == nil || *p.Restore }

// LogValue keeps credentials out of the log when a whole profile is logged.
func (p Profile) LogValue() slog.Value { return slog.StringValue(p.ID()) }

// String keeps credentials out of formatted text.
func (p Profile) String() string { return p.ID() }

// GoString keeps credentials out of %#v.
func (p Profile) GoString() string { return "agent.Profile(" + p.ID() + ")" }

// Warning describes a problem that keeps the node's tunnel from ever running here, or returns "" if
// none is known. The server names the interface only in its answer to the bind, when the token is
// already spent. So the profile is kept: the node is online and reports why its commands fail.
func (p Profile) Warning() string {
	if err := usableInterface(p.Node.InterfaceName); err != nil {
		return err.Error()
	}
	return ""
}

// validate checks everything that other code relies on: ids that are safe in a topic and in a path,
// and an account that belongs to this node. The interface name is checked where it is used: see
// usableInterface.
func (p Profile) validate() error {
	n, m := p.Node, p.MQTT
	problem := ""
	switch {
	case !protocol.ValidID(n.ConfigID):
		problem = "config_id is invalid"
	case !protocol.ValidID(n.NodeID):
		problem = "node_id is invalid"
	case n.ProfileID != protocol.ProfileID(n.ConfigID, n.NodeID):
		problem = "profile_id does not match config_id and node_id"
	case m.Host == "" || strings.ContainsAny(m.Host, "/@ \t\r\n"):
		problem = "mqtt.host is invalid"
	case m.Port < 1 || m.Port > 65535:
		problem = "mqtt.port is not between 1 and 65535"
	case m.Username == "" || m.Password == "":
		problem = "mqtt.username or mqtt.password is missing"
	case m.ClientID != protocol.ClientID(n.NodeID):
		problem = "mqtt.client_id is not this node's"
	case m.TLS && m.CACert != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(m.CACert)):
		problem = "mqtt.ca_cert holds no certificate"
	case slices.ContainsFunc(m.Topics.Subscribe, func(f string) bool { return !protocol.MaySubscribe(n.ConfigID, n.NodeID, f) }),
		slices.ContainsFunc(m.Topics.Publish, func(f string) bool { return !protocol.MayPublish(n.ConfigID, n.NodeID, f) }):
		problem = "mqtt.topics are not this node's"
	}
	if problem != "" {
		return fmt.Errorf("%s: %w", problem, ErrProfileInvalid)
	}
	return nil
}

func profilesDir(dir string) string { return filepath.Join(dir, "profiles") }
func stateDir(dir string) string    { return filepath.Join(dir, "state") }
func tunnelsDir(dir string) string  { return filepath.Join(dir, "tunnels") }

// validProfileID reports whether id is safe as a file name. It cannot tell where the config id ends
// and the node id begins, since both may contain dashes; [Profile.validate] compares the parts.
func validProfileID(id string) bool {
	if len(id) > 2*protocol.MaxIDLength+1 {
		return false
	}
	for part := range strings.SplitSeq(id, "-") {
		if part != "" && !protocol.ValidID(part) {
			return false
		}
	}
	return strings.Trim(id, "-") != ""
}

func profilePath(dir, id string) string { return filepath.Join(profilesDir(dir), id+".json") }

// makeDirs creates the agent's folders, accessible by their owner only.
func makeDirs(dir string) error {
	for _, d := range []string{dir, profilesDir(dir), stateDir(dir), tunnelsDir(dir)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("create folder: %w", err)
		}
	}
	// An operator may have made the folders with secrets by hand, with a wider mode.
	for _, d := range []string{profilesDir(dir), stateDir(dir), tunnelsDir(dir)} {
		if err := os.Chmod(d, 0o700); err != nil { //nolint:gosec // a folder needs its x bit
			return fmt.Errorf("protect folder: %w", err)
		}
	}
	return nil
}

// storable reports whether p may be stored.
func (p Profile) storable(dir string) error {
	if err := p.validate(); err != nil {
		return err
	}
	// Ids may contain dashes, so two different nodes can share a profile id: never let one replace
	// the other.
	if old, err := LoadProfile(dir, p.ID()); err == nil &&
		(old.Node.ConfigID != p.Node.ConfigID || old.Node.NodeID != p.Node.NodeID) {
		return fmt.Errorf("profile %q belongs to another node, unbind that one first: %w", p.ID(), ErrProfileInvalid)
	}
	return nil
}

// saveProfile stores p. It replaces a former profile of the same node.
func saveProfile(dir string, p Profile) error {
	if err := p.storable(dir); err != nil {
		return err
	}
	if err := makeDirs(dir); err != nil {
		return err
	}
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("encode profile %q: %w", p.ID(), err)
	}
	return atomicfile.Write(profilePath(dir, p.ID()), append(data, '\n'), 0o600)
}

// LoadProfile reads the profile id below dir. Errors: [ErrNoProfile], [ErrProfileInvalid], or those
// of the file system.
func LoadProfile(dir, id string) (Profile, error) {
	var p Profile
	if !validProfileID(id) {
		return p, fmt.Errorf("profile %q: %w", id, ErrNoProfile)
	}
	data, err := os.ReadFile(profilePath(dir, id))
	if errors.Is(err, fs.ErrNotExist) {
		return p, fmt.Errorf("profile %q: %w", id, ErrNoProfile)
	}
	if err != nil {
		return p, fmt.Errorf("read profile: %w", err)
	}
	if err := json.Unmarshal(data, &p); err != nil {
		// The decoder's error may quote the file, which contains a password.
		return Profile{}, fmt.Errorf("profile %q is damaged, bind the node again: %w", id, ErrProfileInvalid)
	}
	if p.ID() != id {
		return Profile{}, fmt.Errorf("profile %q names another one inside: %w", id, ErrProfileInvalid)
	}
	if err := p.validate(); err != nil {
		return Profile{}, fmt.Errorf("profile %q: %w", id, err)
	}
	return p, nil
}

// profileIDs returns the ids of the profile files below dir, sorted. A missing folder has none.
func profileIDs(dir string) ([]string, error) {
	entries, err := os.ReadDir(profilesDir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list profiles: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok && validProfileID(id) && e.Type().IsRegular() {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// ListProfiles reads every profile below dir, sorted by id. An unreadable profile does not hide the
// others: it is part of the joined error.
func ListProfiles(dir string) ([]Profile, error) {
	ids, err := profileIDs(dir)
	if err != nil {
		return nil, err
	}
	var profiles []Profile
	var problems []error
	for _, id := range ids {
		p, err := LoadProfile(dir, id)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		profiles = append(profiles, p)
	}
	return profiles, errors.Join(problems...)
}

// RemoveProfile removes the profile with that profile id or node id, its journal and its keys. It leaves
// the tunnel and its stored config alone; only a change that still waits for its confirmation is taken
// back, by the running agent or the next one. It returns the id of the profile. If several profiles
// share the node id, it removes none.
func RemoveProfile(dir, name string) (string, error) {
	id, err := resolveProfile(dir, name)
	if err != nil {
		return "", err
	}
	// Without the journal, an answered change could not be distinguished from an open one.
	if j, err := openJournal(journalPath(dir, id)); err == nil {
		_, _ = openChange(dir, id, j)
	}
	if err := os.Remove(profilePath(dir, id)); err != nil {
		return "", fmt.Errorf("remove profile: %w", err)
	}
	for _, path := range []string{journalPath(dir, id), wantedPath(dir, id)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("remove what is kept of the profile: %w", err)
		}
	}
	if err := removeKeys(dir, id); err != nil {
		return "", err
	}
	return id, atomicfile.SyncDir(profilesDir(dir))
}

// SetRestore sets, for the profile with that profile id or node id, whether the agent starts a
// wanted tunnel that does not run. A running agent applies the change. SetRestore returns the id of
// the profile.
func SetRestore(dir, name string, restore bool) (string, error) {
	id, err := resolveProfile(dir, name)
	if err != nil {
		return "", err
	}
	p, err := LoadProfile(dir, id)
	if err != nil {
		return "", err
	}
	if p.Restore = nil; !restore {
		p.Restore = &restore
	}
	return id, saveProfile(dir, p)
}

// resolveProfile returns the profile id for a profile id or a node id. An unreadable file is still
// found by its profile id, so that it can be removed.
func resolveProfile(dir, name string) (string, error) {
	ids, err := profileIDs(dir)
	if err != nil {
		return "", err
	}
	if slices.Contains(ids, name) {
		return name, nil
	}
	found := ""
	for _, id := range ids {
		if p, err := LoadProfile(dir, id); err != nil || p.Node.NodeID != name {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("node %q has more than one profile, name one of them: %w", name, ErrNoProfile)
		}
		found = id
	}
	if found == "" {
		return "", fmt.Errorf("profile or node %q: %w", name, ErrNoProfile)
	}
	return found, nil
}
