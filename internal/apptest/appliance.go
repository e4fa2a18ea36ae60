package apptest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Password is the admin's password in every test.
const Password = "a password for tests"

// Appliance is a running `wfm serve`.
type Appliance struct {
	*Process
	Dir, URL       string
	MQTTHost, Port string
	TLSPort        string // of MQTT with TLS, or empty
	Token          string // of the admin's login session
	Client         *http.Client
	env            []string
	machine        *Machine // on which it runs; nil: the test's own
}

// Start starts an appliance on free loopback ports and logs in. Its data is in dir, or in a new
// directory if dir is empty.
func Start(t *testing.T, dir string, env ...string) *Appliance {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	a := &Appliance{Dir: dir, Client: http.DefaultClient, env: append([]string{
		"WFM_DATA_DIR=" + dir, "WFM_HTTP_ADDR=127.0.0.1:" + FreePort(t), "WFM_MQTT_ADDR=127.0.0.1:" + FreePort(t),
		"WFM_ADMIN_PASSWORD=" + Password, "WFM_LOG_LEVEL=info",
	}, env...)}
	a.Restart(t)
	return a
}

// StartOn is like Start, on a machine of its own: it sees none of the test's interfaces. env has its
// addresses there.
func StartOn(t *testing.T, m *Machine, env ...string) *Appliance {
	t.Helper()
	dir := t.TempDir()
	a := &Appliance{Dir: dir, Client: http.DefaultClient, machine: m, env: append([]string{
		"WFM_DATA_DIR=" + dir, "WFM_ADMIN_PASSWORD=" + Password, "WFM_LOG_LEVEL=info",
	}, env...)}
	a.Restart(t)
	return a
}

// StartNew starts an appliance without an admin account, and returns the link that sets the account
// up. Token is empty.
func StartNew(t *testing.T, env ...string) (a *Appliance, setupLink string) {
	t.Helper()
	dir := t.TempDir()
	a = &Appliance{Dir: dir, Client: http.DefaultClient, env: append([]string{
		"WFM_DATA_DIR=" + dir, "WFM_HTTP_ADDR=127.0.0.1:" + FreePort(t), "WFM_MQTT_ADDR=127.0.0.1:" + FreePort(t),
	}, env...)}
	a.spawn(t)
	return a, strings.Fields(a.Expect(t, "setup link"))[2]
}

// Restart starts the appliance again, on the same ports and data, after it has ended. env is added
// to the environment of the first start.
func (a *Appliance) Restart(t *testing.T, env ...string) {
	t.Helper()
	a.spawn(t, env...)
	a.Token = a.Must(t, "POST", "/api/v1/auth/login", map[string]any{"username": "admin", "password": Password})["access_token"].(string)
}

// Respawn is like Restart, without a login: Token stays.
func (a *Appliance) Respawn(t *testing.T, env ...string) {
	t.Helper()
	a.spawn(t, env...)
}

func (a *Appliance) spawn(t *testing.T, env ...string) {
	t.Helper()
	env = append(a.env, env...)
	if a.machine == nil {
		a.Process = Spawn(t, env, Binary("wfm"), "serve")
	} else {
		a.Process = a.machine.Spawn(t, env, Binary("wfm"), "serve")
	}
	a.URL = strings.TrimSuffix(strings.Fields(a.Expect(t, "page and API"))[3], "/")
	if f := strings.Fields(a.Expect(t, "MQTT broker")); f[2] != "off" {
		var err error
		if a.MQTTHost, a.Port, err = net.SplitHostPort(f[2]); err != nil {
			t.Fatal(err)
		}
	}
	a.Expect(t, "data ")
	if strings.HasPrefix(a.URL, "https://") {
		a.Client = trusting(t, a.PlainURL()+"/api/v1/system/ca.pem")
	}
	if line := find(a.Output(), "MQTT with TLS"); line != "" {
		_, a.TLSPort, _ = net.SplitHostPort(strings.Fields(line)[3])
	}
}

// PlainURL returns the appliance's address without TLS.
func (a *Appliance) PlainURL() (address string) {
	for _, v := range a.env { // the last one counts
		if addr, ok := strings.CutPrefix(v, "WFM_HTTP_ADDR="); ok {
			address = "http://" + addr
		}
	}
	return address
}

// trusting returns a client that trusts only the CA certificate at the address.
func trusting(t *testing.T, address string) *http.Client {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(text) {
		t.Fatalf("%s: %v %s", address, err, text)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
}

// Stop ends the appliance like an operator does.
func (a *Appliance) Stop(t *testing.T) {
	t.Helper()
	a.Signal(t, syscall.SIGTERM)
	if code := a.Wait(t, Patience); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}
}

// lastPort is the port that FreePort returned last. It starts below those that the kernel gives to
// sockets that ask for none, so that no connection of another test takes a port before its listener.
var lastPort atomic.Int32

func init() { lastPort.Store(20000) }

// FreePort returns a loopback port on which no process listens. It returns no port twice.
func FreePort(t *testing.T) string {
	t.Helper()
	for {
		port := strconv.Itoa(int(lastPort.Add(1)))
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:"+port)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		return port
	}
}

// Answer is an answer of the API.
type Answer struct {
	Status int
	Code   string // error code, empty on success
	Data   any
	Body   string
}

// Call makes an API call with the admin's token.
func (a *Appliance) Call(t *testing.T, method, path string, body any) Answer {
	t.Helper()
	raw, ok := body.(string)
	if !ok && body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		raw = string(b)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 70*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, a.URL+path, bytes.NewReader([]byte(raw)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if a.Token != "" {
		req.Header.Set("Authorization", "Bearer "+a.Token)
	}
	res, err := a.Client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var env struct {
		Data  any
		Error struct{ Code string }
	}
	_ = json.Unmarshal(text, &env)
	return Answer{res.StatusCode, env.Error.Code, env.Data, string(text)}
}

// Must makes a call that must succeed, and returns the object in the answer.
func (a *Appliance) Must(t *testing.T, method, path string, body any) map[string]any {
	t.Helper()
	ans := a.Call(t, method, path, body)
	data, ok := ans.Data.(map[string]any)
	if ans.Status >= 300 || !ok {
		t.Fatalf("%s %s: %d %s", method, path, ans.Status, ans.Body)
	}
	return data
}

// Refused makes a call that must fail with the error code.
func (a *Appliance) Refused(t *testing.T, code, method, path string, body any) {
	t.Helper()
	if ans := a.Call(t, method, path, body); ans.Code != code {
		t.Errorf("%s %s: %d %s, want %s", method, path, ans.Status, ans.Body, code)
	}
}

// Node is a node of the test's one mesh.
type Node struct {
	*Appliance
	ConfigID, ID, Interface string
	AgentDir                string
	Password                string // MQTT
	CAFile                  string // CA certificates from bind, with TLS
	address                 string // to bind at
}

// AddConfig makes a mesh and returns its id.
func (a *Appliance) AddConfig(t *testing.T, name string) string {
	t.Helper()
	return a.Must(t, "POST", "/api/v1/configs", map[string]any{"name": name, "virtual_subnet": nil})["config_id"].(string)
}

// AddNode makes a dynamic node and binds an agent directory to it with the real agent.
func (a *Appliance) AddNode(t *testing.T, configID, name, iface string) *Node {
	t.Helper()
	return a.AddNodeOver(t, a.URL, configID, name, iface)
}

// AddNodeOver is like AddNode, with the address at which the agent binds.
func (a *Appliance) AddNodeOver(t *testing.T, address, configID, name, iface string) *Node {
	t.Helper()
	n := &Node{Appliance: a, ConfigID: configID, Interface: iface, AgentDir: t.TempDir(), address: address}
	n.ID = a.Must(t, "POST", "/api/v1/configs/"+configID+"/nodes", map[string]any{"name": name, "interface_name": iface})["node_id"].(string)
	n.Bind(t)
	return n
}

// Bind asks for a token and binds the agent with it.
func (n *Node) Bind(t *testing.T) {
	t.Helper()
	token := n.Must(t, "POST", n.Path("bind-command"), nil)["token"].(string)
	if out, code := Run(t, Binary("wfm-agent"), "bind", "--dir", n.AgentDir, "--server", n.address, "--token", token); code != 0 {
		t.Fatalf("bind: %s", out)
	}
	mqtt := n.Profile(t)["mqtt"].(map[string]any)
	n.Password, _ = mqtt["password"].(string)
	if ca, ok := mqtt["ca_cert"].(string); ok {
		n.CAFile = WriteFile(t, "ca.pem", ca)
	}
}

// ProfileFile returns the path of the agent's profile.
func (n *Node) ProfileFile() string {
	return filepath.Join(n.AgentDir, "profiles", n.ConfigID+"-"+n.ID+".json")
}

// Profile returns the agent's profile.
func (n *Node) Profile(t *testing.T) (profile map[string]any) {
	t.Helper()
	raw, err := os.ReadFile(n.ProfileFile())
	if err == nil {
		err = json.Unmarshal(raw, &profile)
	}
	if err != nil {
		t.Fatal(err)
	}
	return profile
}

// WriteFile writes a file in a directory of the test and returns its path.
func WriteFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// StartAgent runs the node's agent and waits until the appliance sees it online.
func (n *Node) StartAgent(t *testing.T, env ...string) *Process {
	t.Helper()
	p := Spawn(t, env, Binary("wfm-agent"), "run", "--dir", n.AgentDir)
	p.Expect(t, "msg=connected")
	n.Await(t, "online")
	return p
}

// Path returns an API path below the node's.
func (n *Node) Path(of string) string {
	return fmt.Sprintf("/api/v1/configs/%s/nodes/%s/%s", n.ConfigID, n.ID, of)
}

// Topic returns a topic of the node.
func (n *Node) Topic(suffix string) string {
	return fmt.Sprintf("wfm/%s/%s/%s", n.ConfigID, n.ID, suffix)
}

// Control gives a command and waits for its end.
func (n *Node) Control(t *testing.T, action string) map[string]any {
	t.Helper()
	return n.Must(t, "POST", n.Path("endpoint/control"), map[string]any{"action": action, "wait": 40})
}

// Await waits until the node's presence is state.
func (n *Node) Await(t *testing.T, state string) {
	t.Helper()
	var last Answer
	Eventually(t, func() bool {
		last = n.Call(t, "GET", n.Path("endpoint/status"), nil)
		data, _ := last.Data.(map[string]any)
		client, _ := data["client_state"].(map[string]any)
		return client["client_presence_state"] == state
	}, func() string { return "node never became " + state + ": " + last.Body })
}

// Eventually calls ok repeatedly until it returns true, for [Patience] at most.
func Eventually(t *testing.T, ok func() bool, complain func() string) {
	t.Helper()
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	timeout := time.After(Patience)
	for !ok() {
		select {
		case <-ticks.C:
		case <-timeout:
			t.Fatal(complain())
		}
	}
}
