package agenttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Version is the version that the client reports.
const Version = "1.0.0-rc.1"

// members is a JSON object that is read member by member.
type members map[string]json.RawMessage

// get reads the member name into v, which must be of its type and not null.
func (m members) get(name string, v any) error {
	raw, ok := m[name]
	switch {
	case !ok:
		return fmt.Errorf("%s is missing", name)
	case string(bytes.TrimSpace(raw)) == "null":
		return fmt.Errorf("%s is null", name)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// all reads several members. Its error names every problem.
func (m members) all(into map[string]any) error {
	var wrong []error
	for name, v := range into {
		wrong = append(wrong, m.get(name, v))
	}
	return errors.Join(wrong...)
}

// Bind spends the token at the server, like `wfmctl bind`. For an error of the server it returns
// only the server's message.
func Bind(tb testing.TB, server, token string) (*Client, error) {
	tb.Helper()
	body, err := json.Marshal(map[string]string{"token": token, "hostname": "vm", "platform": "linux", "client_version": Version})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, strings.TrimRight(server, "/")+"/api/client/v1/bind", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Success bool    `json:"success"`
		Data    members `json:"data"`
		Error   struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("bind failed: %w", err)
	}
	if !answer.Success {
		return nil, errors.New(answer.Error.Message)
	}
	c := newClient(tb)
	if err := c.take(answer.Data); err != nil {
		return nil, fmt.Errorf("bind failed: %w", err)
	}
	return c, nil
}

// take reads the data of a bind.
func (c *Client) take(data members) error {
	var profile, mqtt, topics members
	desired := ""
	if err := data.all(map[string]any{"profile": &profile, "mqtt": &mqtt, "desired_conf": &desired}); err != nil {
		return err
	}
	var profileID, ignored string
	if err := profile.all(map[string]any{
		"profile_id": &profileID, "server_url": &ignored, "config_id": &c.ConfigID, "config_name": &ignored, "node_id": &c.NodeID,
		"node_name": &ignored, "interface_name": &c.Interface, "hostname": &ignored, "platform": &ignored, "client_version": &ignored,
	}); err != nil {
		return err
	}
	if profileID != c.ConfigID+"-"+c.NodeID {
		return fmt.Errorf("profile_id is %q", profileID)
	}
	if err := mqtt.all(map[string]any{
		"host": &c.host, "port": &c.port, "tls": &c.tls, "username": &c.username, "password": &c.Password, "client_id": &c.clientID,
		"ca_cert": &c.caCert, "topics": &topics,
	}); err != nil {
		return err
	}
	var publish []string
	if err := topics.all(map[string]any{"subscribe": &c.subscribe, "publish": &publish}); err != nil {
		return err
	}
	if len(c.subscribe) != 4 || len(publish) != 6 {
		return fmt.Errorf("%d topics to subscribe and %d to publish", len(c.subscribe), len(publish))
	}
	c.stored = map[string]string{c.Interface: desired}
	return nil
}
