package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wfm/internal/apptest"
)

// secure returns the arguments with which the mosquitto clients log in as the node with TLS.
func secure(n *apptest.Node, host, caFile string, more ...string) []string {
	return append([]string{
		"-h", host, "-p", n.TLSPort, "--cafile", caFile, "-V", "5", "-i", "wfm-" + n.ID, "-u", n.ID, "-P", n.Password,
	}, more...)
}

// publishTLS publishes an event. It returns the output of the client and its exit code.
func publishTLS(t *testing.T, n *apptest.Node, host, caFile string) (string, int) {
	t.Helper()
	return apptest.Run(t, "mosquitto_pub", secure(n, host, caFile, "-q", "1", "-t", n.Topic("event"), "-m", envelope(n, "event", "", `{"event":"x"}`))...)
}

// hold holds an MQTT session of the node over TLS that receives commands and never answers.
func hold(t *testing.T, n *apptest.Node, host string) *apptest.Process {
	t.Helper()
	sub := apptest.Spawn(t, nil, "stdbuf", append([]string{"-oL", "mosquitto_sub"},
		secure(n, host, n.CAFile, "-d", "-q", "1", "-t", n.Topic("control"), "-F", "%p")...)...)
	sub.Expect(t, "Subscribed")
	return sub
}

// stillHeld checks that the connection made by hold is still open: a command arrives on it.
func stillHeld(t *testing.T, n *apptest.Node, sub *apptest.Process) {
	t.Helper()
	n.Must(t, "POST", n.Path("endpoint/control"), map[string]any{"action": "start"})
	sub.Expect(t, `"action":"start"`)
	if out := sub.Output(); strings.Count(out, "CONNACK") != 1 {
		t.Errorf("the connection did not last:\n%s", out)
	}
}

// wfmCerts runs wfm certs against the running appliance.
func wfmCerts(t *testing.T, a *apptest.Appliance, args ...string) string {
	t.Helper()
	out, code := apptest.RunEnv(t, []string{"WFM_TOKEN=" + a.Token}, apptest.Binary("wfm"), append([]string{"certs"}, append(args, "--server", a.URL)...)...)
	if code != 0 {
		t.Fatalf("wfm certs %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// served returns the chain that the address serves for the host, without verification.
func served(t *testing.T, addr, host string) []*x509.Certificate {
	t.Helper()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: host}}
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates
}

// trust returns a configuration for clients that trust only the CA.
func trust(t *testing.T, ca string) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ca)) {
		t.Fatal("no CA certificate")
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// tlsStatus returns services.tls of the system status.
func tlsStatus(t *testing.T, a *apptest.Appliance) map[string]any {
	t.Helper()
	return a.Must(t, "GET", "/api/v1/system/status", nil)["services"].(map[string]any)["tls"].(map[string]any)
}

// withTLS starts an appliance that serves MQTT with TLS on a free port of all addresses.
func withTLS(t *testing.T, env ...string) *apptest.Appliance {
	t.Helper()
	return apptest.Start(t, "", append([]string{"WFM_MQTT_TLS_ENABLED=true", "WFM_MQTT_TLS_ADDR=:" + apptest.FreePort(t)}, env...)...)
}

// testCA is a CA unknown to the system, which signs with sign.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newTestCA(t *testing.T, name string) testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := testCA{key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err == nil {
		ca.cert, err = x509.ParseCertificate(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	ca.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
	return ca
}

// sign makes a server certificate for the names and 127.0.0.1.
func (ca testCA) sign(t *testing.T, names ...string) (certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(20 * time.Hour),
		DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	rawKey, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rawKey}))
}

// agentRefuses checks that the agent does not connect with the changed profile.
func agentRefuses(t *testing.T, n *apptest.Node, why string, change func(mqtt map[string]any)) {
	t.Helper()
	profile := n.Profile(t)
	change(profile["mqtt"].(map[string]any))
	raw, err := json.Marshal(profile)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "profiles"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "profiles", filepath.Base(n.ProfileFile())), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	p := apptest.Spawn(t, nil, apptest.Binary("wfm-agent"), "run", "--dir", dir)
	p.Expect(t, why)
	if strings.Contains(p.Output(), "msg=connected") {
		t.Errorf("the agent connected:\n%s", p.Output())
	}
	p.Kill()
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
