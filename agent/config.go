package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"wfm/internal/atomicfile"
	"wfm/protocol"
)

// configMeta is stored beside a config. It is a note about the text, never a substitute for reading
// the text: it counts only while SHA256 is the hash of the text.
type configMeta struct {
	Version        int    `json:"config_version"`
	SHA256         string `json:"config_sha256"`
	TunnelProtocol string `json:"tunnel_protocol,omitempty"` // of the last push or start; empty after bind
	AWGVersion     string `json:"awg_version,omitempty"`
	ProfileID      string `json:"profile_id"`
	// PublicKey is the key of a text that leaves the private key to the node; "" for any other text, and
	// after a bind.
	PublicKey string `json:"public_key,omitempty"`
}

// storedConfig is the config on disk for one interface.
type storedConfig struct {
	Text   []byte // nil if nothing is stored
	SHA256 string // of Text, as read; empty if nothing is stored
	Meta   configMeta
}

// Exists reports whether a config is stored.
func (c storedConfig) Exists() bool { return c.Text != nil }

// For reports whether the stored config belongs to profileID. A config without a note (it was
// edited) counts as its own. A config left by an unbound profile belongs to no profile: its keys
// and peers are those of another node, perhaps of another mesh.
func (c storedConfig) For(profileID string) bool {
	id := c.Meta.ProfileID
	return c.Exists() && (id == "" || id == profileID || !validProfileID(id))
}

// Version returns the version of the text on disk. It returns 0 if the text is not the one that was
// stored with a version: an editor or the tool itself (SaveConfig) may have changed it.
func (c storedConfig) Version() int {
	if c.Exists() && c.Meta.SHA256 == c.SHA256 {
		return c.Meta.Version
	}
	return 0
}

// configs stores the tunnel configs below the agent's folder. Callers must pass valid interface
// names (protocol.ValidInterfaceName).
type configs struct {
	dir string // folder of the agent
}

// Path returns the file of the interface. wg-quick derives the name of the interface from the
// file's name.
func (c configs) Path(iface string) string { return filepath.Join(tunnelsDir(c.dir), iface+".conf") }

func (c configs) metaPath(iface string) string {
	return filepath.Join(tunnelsDir(c.dir), iface+".json")
}

// Read returns the config stored for the interface. It is not an error if nothing is stored.
func (c configs) Read(iface string) (storedConfig, error) {
	f, err := os.Open(c.Path(iface))
	if errors.Is(err, fs.ErrNotExist) {
		return storedConfig{}, nil
	}
	if err != nil {
		return storedConfig{}, fmt.Errorf("read stored config: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, protocol.MaxMessageSize+1))
	if err != nil {
		return storedConfig{}, fmt.Errorf("read stored config: %w", err)
	}
	if len(text) > protocol.MaxMessageSize {
		return storedConfig{}, fmt.Errorf("read stored config: %s is larger than %d bytes", c.Path(iface), protocol.MaxMessageSize)
	}
	stored := storedConfig{Text: text, SHA256: hashOf(text)}
	if meta, err := os.ReadFile(c.metaPath(iface)); err == nil {
		// A damaged note counts as no note: its hash will not match.
		_ = json.Unmarshal(meta, &stored.Meta)
	}
	return stored, nil
}

// Write stores text and its note. It writes the text first: if the note is lost in between, the
// version reads as unknown, not as a wrong one.
func (c configs) Write(iface string, text []byte, meta configMeta) error {
	if err := atomicfile.Write(c.Path(iface), text, 0o600); err != nil {
		return fmt.Errorf("store config: %w", err)
	}
	meta.SHA256 = hashOf(text)
	return c.writeMeta(iface, meta)
}

func (c configs) writeMeta(iface string, meta configMeta) error {
	note, err := json.Marshal(meta)
	if err != nil {
		return fmt.Errorf("encode note of stored config: %w", err)
	}
	if err := atomicfile.Write(c.metaPath(iface), append(note, '\n'), 0o600); err != nil {
		return fmt.Errorf("store config version: %w", err)
	}
	return nil
}

// Restore puts back a config that Read returned before. It does not rewrite a text that is already
// in place, and tolerates the loss of the note, so that a full disk does not keep a tunnel down
// whose config never changed.
func (c configs) Restore(iface string, former storedConfig) error {
	if former.Exists() {
		if !c.Holds(iface, former) {
			if err := atomicfile.Write(c.Path(iface), former.Text, 0o600); err != nil {
				return fmt.Errorf("store config: %w", err)
			}
		}
		meta := former.Meta
		meta.Version, meta.SHA256 = former.Version(), former.SHA256
		_ = c.writeMeta(iface, meta) // without it the version reads as unknown
		return nil
	}
	for _, path := range []string{c.metaPath(iface), c.Path(iface)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove config: %w", err)
		}
	}
	return atomicfile.SyncDir(tunnelsDir(c.dir))
}

// Holds reports whether text is the stored config.
func (c configs) Holds(iface string, text storedConfig) bool {
	stored, err := c.Read(iface)
	return err == nil && stored.Exists() && stored.SHA256 == text.SHA256
}

// Owner returns the id of the other profile of this machine that stored the interface's config, or
// "". Two meshes that both chose wg0 must not overwrite each other's tunnel.
func (c configs) Owner(stored storedConfig, profileID string) string {
	id := stored.Meta.ProfileID
	if !stored.Exists() || stored.For(profileID) {
		return ""
	}
	if _, err := os.Stat(profilePath(c.dir, id)); err != nil {
		return "" // unbound since: the interface is free
	}
	return id
}

// keepDesired stores the config of a bind answer, so that a start works before the first push. It
// never replaces a config that may be running, nor that of a node that is bound: only a push does.
// An answer without a config changes nothing. Not every backend sends a hash.
func keepDesired(dir string, p Profile, answer protocol.BindResponse) error {
	text := answer.DesiredConf
	if text == "" {
		return nil
	}
	if err := usableInterface(p.Node.InterfaceName); err != nil {
		return nil //nolint:nilerr // Profile.Warning tells, and the next push brings a config along with a name
	}
	if answer.DesiredConfSHA256 != "" && !strings.EqualFold(hashOf([]byte(text)), answer.DesiredConfSHA256) {
		return errors.New("its hash does not match its text")
	}
	store := configs{dir: dir}
	stored, err := store.Read(p.Node.InterfaceName)
	if err != nil {
		return err
	}
	leftover := !stored.For(p.ID()) && store.Owner(stored, p.ID()) == "" && systemLink(p.Node.InterfaceName) == linkAbsent
	if stored.Exists() && !leftover {
		return nil
	}
	return store.Write(p.Node.InterfaceName, []byte(text),
		configMeta{Version: answer.DesiredConfVersion, ProfileID: p.ID()})
}

func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
