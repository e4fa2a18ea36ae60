package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestProfileIsStoredForItsOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc")
	p := testProfile()
	if err := saveProfile(dir, p); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{
		profilesDir(dir): 0o700, stateDir(dir): 0o700, tunnelsDir(dir): 0o700, profilePath(dir, p.ID()): 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, err %v; want %v", path, info.Mode().Perm(), err, want)
		}
	}
	got, err := ListProfiles(dir)
	if err != nil || len(got) != 1 || got[0].MQTT.Password != p.MQTT.Password || got[0].Node != p.Node {
		t.Fatalf("read back %d profiles, err %v", len(got), err)
	}
}

func TestProfileNeverFormatsItsPassword(t *testing.T) {
	p := testProfile()
	l, log := newTestLog()
	log.Info("x", "profile", p, "pointer", &p)
	text := fmt.Sprintf("%v %+v %#v %s", p, p, p, p) + l.String()
	if strings.Contains(text, p.MQTT.Password) {
		t.Fatal("password in formatted text")
	}
}

func TestProfileThatIsUnsafeIsNotStored(t *testing.T) {
	for name, spoil := range map[string]func(*Profile){
		"path in profile id":    func(p *Profile) { p.Node.ProfileID = "../../etc/cron.d/x" },
		"path in config id":     func(p *Profile) { p.Node.ConfigID = "../x"; p.Node.ProfileID = "../x-node_b" },
		"other node's profile":  func(p *Profile) { p.Node.ProfileID = "cfg_a-node_c" },
		"other client id":       func(p *Profile) { p.MQTT.ClientID = "wfm-node_c" },
		"foreign topic":         func(p *Profile) { p.MQTT.Topics.Subscribe = []string{"wfm/#"} },
		"CA that is none":       func(p *Profile) { p.MQTT.TLS, p.MQTT.CACert = true, "none" },
		"port out of range":     func(p *Profile) { p.MQTT.Port = 70000 },
		"host that is an URL":   func(p *Profile) { p.MQTT.Host = "mqtt://x" },
		"password that is gone": func(p *Profile) { p.MQTT.Password = "" },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := testProfile()
			spoil(&p)
			if err := saveProfile(dir, p); !errors.Is(err, ErrProfileInvalid) {
				t.Fatalf("err %v, want ErrProfileInvalid", err)
			}
			if ids, _ := profileIDs(dir); len(ids) != 0 {
				t.Fatalf("stored %v", ids)
			}
		})
	}
}

func TestProfileOfAnotherNodeWithTheSameIDIsKept(t *testing.T) {
	dir := t.TempDir()
	first := testProfile()
	first.Node.ConfigID, first.Node.NodeID, first.Node.ProfileID = "a-b", "c", "a-b-c"
	first.MQTT.ClientID, first.MQTT.Topics.Subscribe, first.MQTT.Topics.Publish = "wfm-c", nil, nil
	second := first
	second.Node.ConfigID, second.Node.NodeID = "a", "b-c"
	second.MQTT.ClientID = "wfm-b-c"
	if err := saveProfile(dir, first); err != nil {
		t.Fatal(err)
	}
	if err := saveProfile(dir, second); !errors.Is(err, ErrProfileInvalid) {
		t.Fatalf("err %v, want a refusal", err)
	}
}

func TestDamagedProfileDoesNotHideTheOthers(t *testing.T) {
	dir := t.TempDir()
	if err := saveProfile(dir, testProfile()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(profilePath(dir, "cfg_a-node_x"), []byte(`{"mqtt":{"password":"s3cret"`), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ListProfiles(dir)
	if len(got) != 1 || !errors.Is(err, ErrProfileInvalid) || strings.Contains(err.Error(), "s3cret") {
		t.Fatalf("%d profiles, err %v", len(got), err)
	}
	if id, err := RemoveProfile(dir, "cfg_a-node_x"); err != nil || id != "cfg_a-node_x" {
		t.Fatalf("a damaged profile cannot be removed: %v", err)
	}
}

func TestRemoveProfileByNodeTakesTheJournalAlong(t *testing.T) {
	dir := t.TempDir()
	if err := saveProfile(dir, testProfile()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(journalPath(dir, "cfg_a-node_b"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../profiles/cfg_a-node_b", "node_z", ""} {
		if _, err := RemoveProfile(dir, name); !errors.Is(err, ErrNoProfile) {
			t.Fatalf("%q: err %v", name, err)
		}
	}
	if id, err := RemoveProfile(dir, "node_b"); err != nil || id != "cfg_a-node_b" {
		t.Fatalf("id %q, err %v", id, err)
	}
	for _, path := range []string{profilePath(dir, "cfg_a-node_b"), journalPath(dir, "cfg_a-node_b")} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is still there", path)
		}
	}
}
