package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wfm/internal/apptest"
)

// fieldCerts uses OpenSSL to make the files of a site with a CA of its own: a root, a CA below it,
// and a server certificate for 127.0.0.1.
const fieldCerts = `set -eu
ec() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }
ec root.key; ec ca.key; ec key.pem
openssl req -x509 -new -key root.key -out root.pem -days 3650 -subj "/CN=Field Root" \
	-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
openssl req -new -key ca.key -out ca.csr -subj "/CN=Field CA"
printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n' > ca.ext
openssl x509 -req -in ca.csr -CA root.pem -CAkey root.key -CAcreateserial -days 1000 -extfile ca.ext -out ca.pem
openssl req -new -key key.pem -out leaf.csr -subj "/CN=wfm.example.test"
printf 'subjectAltName=DNS:wfm.example.test,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' > leaf.ext
openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 90 -extfile leaf.ext -out leaf.pem
cat leaf.pem root.pem > leaf-root.pem
cat root.pem ca.pem leaf.pem | tr -d '\n' > glued.pem
`

func TestCertificateFilesOfASiteServeAgentsOrSayWhatIsMissing(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "openssl", "mosquitto_pub")
	dir := t.TempDir()
	script := exec.CommandContext(t.Context(), "bash", "-c", fieldCerts)
	script.Dir = dir
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	const missing = `the certificate of its issuer, "Field CA", is not in WFM_TLS_CERT_FILE: use the file with the whole chain (fullchain.pem)`
	a := withTLS(t, "WFM_TLS_ISSUER=files", "WFM_TLS_CERT_FILE="+file("leaf.pem"), "WFM_TLS_KEY_FILE="+file("key.pem"), "WFM_MQTT_PUBLIC_HOST=127.0.0.1")
	a.Expect(t, "no agent can be bound with TLS")
	cfg := a.AddConfig(t, "home")
	id := a.Must(t, "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{"name": "x"})["node_id"].(string)
	for _, chain := range []string{"leaf.pem", "leaf-root.pem"} {
		a.Stop(t)
		a.Restart(t, "WFM_TLS_CERT_FILE="+file(chain))
		if line := strings.ReplaceAll(a.Expect(t, "no agent can be bound with TLS"), `\"`, `"`); !strings.Contains(line, missing) || !strings.Contains(line, "WARN") {
			t.Errorf("%s: the log says %s", chain, line)
		}
		answer := a.Call(t, "POST", "/api/v1/configs/"+cfg+"/nodes/"+id+"/bind-command", nil)
		said := strings.ReplaceAll(answer.Body, `\"`, `"`)
		if !strings.Contains(said, "MQTT_TLS_CA_NOT_READY") || !strings.Contains(said, missing) || strings.Contains(said, "try again") {
			t.Errorf("%s: bind-command says %s", chain, said)
		}
		if said, _ := tlsStatus(t, a)["last_error"].(string); !strings.Contains(said, missing) {
			t.Errorf("%s: the status says %s", chain, said)
		}
	}
	a.Stop(t)
	a.Restart(t, "WFM_TLS_CERT_FILE="+file("glued.pem")) // root first, and no line feed at all
	n := a.AddNode(t, cfg, "a", "wg0")
	roots := n.Profile(t)["mqtt"].(map[string]any)["ca_cert"].(string)
	if root, err := os.ReadFile(file("root.pem")); err != nil || strings.TrimSpace(roots) != strings.TrimSpace(string(root)) {
		t.Errorf("an agent is told to trust\n%s%v", roots, err)
	}
	n.StartAgent(t).Kill()
	if out, code := publishTLS(t, n, "127.0.0.1", n.CAFile); code != 0 {
		t.Errorf("mosquitto_pub: exit code %d: %s", code, out)
	}
	if chain := served(t, "127.0.0.1:"+a.TLSPort, "localhost"); !slices.Equal([]string{chain[0].Subject.CommonName, chain[1].Subject.CommonName},
		[]string{"wfm.example.test", "Field CA"}) {
		t.Errorf("served first: %s, %s", chain[0].Subject, chain[1].Subject)
	}
}
