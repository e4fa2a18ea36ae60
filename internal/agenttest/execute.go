package agenttest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
)

// execute runs one command and answers it.
func (c *Client) execute(ctx context.Context, cm *autopaho.ConnectionManager, p *paho.Publish) {
	kind := strings.TrimPrefix(p.Topic, c.topic(""))
	requestID, payload, err := c.read(kind, p.Payload)
	var about command
	if err == nil {
		err = about.read(kind, payload)
	}
	c.mu.Lock()
	if err != nil {
		c.violations = append(c.violations, fmt.Sprintf("%s %s: %v", kind, requestID, err))
	}
	c.mu.Unlock()
	ack := map[string]any{}
	switch kind {
	case "detect":
		c.event(ctx, cm, "detect", "Server detect command received.")
		maps.Copy(ack, map[string]any{
			"client_online": true, "client_version": Version, "platform": "linux", "wg_online": c.Running() != "",
			"message": "Detect completed.",
		})
	case "info":
		ack["action"], ack["message"] = about.action, about.tools+" completed."
		if err == nil {
			err = c.show(ctx, cm, requestID, about)
		}
	case "control":
		ack["action"], ack["message"] = about.action, "Command applied."
		if err == nil {
			err = c.control(about)
		}
		c.event(ctx, cm, "control", outcome("Control command", about.action, err))
	case "config/push":
		ack["message"] = "Config applied."
		if err == nil {
			err = c.push(about)
		}
		c.event(ctx, cm, "config_push", outcome("Config push", "", err))
	}
	ack["status"] = "applied"
	if err != nil {
		ack["status"], ack["message"] = "failed", err.Error()
	}
	c.publish(ctx, cm, kind+"/ack", requestID, ack)
}

func outcome(what, action string, err error) string {
	if err != nil {
		return fmt.Sprintf("%s failed: %s: %v", what, action, err)
	}
	return fmt.Sprintf("%s applied: %s", what, action)
}

// read reads the envelope of a command.
func (c *Client) read(kind string, data []byte) (requestID string, payload members, err error) {
	var env members
	if err := json.Unmarshal(data, &env); err != nil {
		return "", nil, err
	}
	var theType, configID, nodeID, ignored, sentAt string
	err = env.all(map[string]any{
		"type": &theType, "request_id": &requestID, "config_id": &configID, "node_id": &nodeID,
		"boot_id": &ignored, "session_id": &ignored, "sent_at": &sentAt, "payload": &payload,
	})
	if err == nil && (theType != kind || requestID == "" || configID != c.ConfigID || nodeID != c.NodeID) {
		err = fmt.Errorf("the envelope is of %q, %q, %q, %q", theType, requestID, configID, nodeID)
	}
	if err == nil {
		_, err = time.Parse(time.RFC3339, sentAt)
	}
	return requestID, payload, err
}

// command is a command with its parameters.
type command struct {
	action, tools, former, iface, text string
}

func (a *command) read(kind string, payload members) error {
	var tunnel, previous, sum string
	var version int
	want := map[string]any{"tunnel_protocol": &tunnel}
	switch kind {
	case "control":
		want["action"], want["previous_tunnel_protocol"] = &a.action, &previous
	case "info":
		want["action"] = &a.action
	case "config/push":
		maps.Copy(want, map[string]any{
			"action": &a.action, "previous_tunnel_protocol": &previous, "interface_name": &a.iface,
			"config_version": &version, "config_sha256": &sum, "config_text": &a.text,
		})
	}
	if err := payload.all(want); err != nil {
		return err
	}
	a.tools, a.former = tools(tunnel), tools(previous)
	hash := sha256.Sum256([]byte(a.text))
	if kind == "config/push" && (sum != hex.EncodeToString(hash[:]) || version < 1) {
		return errors.New("config_sha256 is not that of config_text")
	}
	if awg, ok := payload["awg_version"]; !ok {
		return errors.New("awg_version is missing")
	} else if s := string(awg); s != "null" && s != `"1.5"` && s != `"2.0"` && s != `"3.1"` {
		return fmt.Errorf("awg_version is %s", awg)
	}
	return nil
}

// tools returns the family of tools for a tunnel protocol. It treats every unknown one as
// WireGuard.
func tools(tunnel string) string {
	if tunnel == "amneziawg_2" {
		return "awg"
	}
	return "wg"
}

func (c *Client) control(a command) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch a.action {
	case "start":
		if runs := c.running[c.Interface]; runs != "" && runs == a.former && a.former != a.tools {
			delete(c.running, c.Interface)
		}
		return c.takeUp(a.tools, c.Interface)
	case "stop":
		return c.takeDown(a.tools, c.Interface)
	}
	return fmt.Errorf("unsupported control action: %s", a.action)
}

// push stops the tunnel if it runs, stores the text, and starts it again.
func (c *Client) push(a command) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ran := c.running[c.Interface] != ""
	delete(c.running, c.Interface)
	c.Interface = a.iface
	c.stored[a.iface] = a.text
	if !ran {
		return nil
	}
	if err := c.takeUp(a.tools, a.iface); err != nil {
		return fmt.Errorf("restart interface after config update failed: %w", err)
	}
	return nil
}

func (c *Client) show(ctx context.Context, cm *autopaho.ConnectionManager, requestID string, a command) error {
	output, err := "", error(nil)
	if c.Running() == a.tools {
		output = "interface: " + c.Interface + "\n  listening port: 51820\n"
	} else {
		err = fmt.Errorf("%s returned no interfaces", a.tools)
	}
	level, message := "info", a.tools+" completed."
	if err != nil {
		level, message = "error", err.Error()
	}
	c.publish(ctx, cm, "event", "", map[string]any{
		"action": a.action, "event": "command_output", "level": level, "message": message, "output": output, "request_id": requestID, "stream": "stdout",
	})
	return err
}

// takeUp does the work of wg-quick and awg-quick. c.mu must be held.
func (c *Client) takeUp(tools, iface string) error {
	fail := func(why string) error {
		return fmt.Errorf("%s-quick up /etc/wg-free-mesh/%s.conf failed: exit status 1\n%s", tools, iface, why)
	}
	if c.running[iface] != "" {
		return fail(fmt.Sprintf("%s-quick: `%s' already exists", tools, iface))
	}
	for line := range strings.Lines(c.stored[iface]) {
		key, value, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(line), " ", ""), "=")
		switch {
		case tools == "wg" && (key == "Jc" || key == "Jmin" || key == "Jmax" || key == "S1" || key == "H1"):
			return fail(fmt.Sprintf("[#] wg setconf %s /dev/fd/63\nLine unrecognized: `%s=%s'", iface, key, value))
		case key == "PostUp" && value == "false":
			return fail("[#] false")
		}
	}
	c.running[iface] = tools
	return nil
}

func (c *Client) takeDown(tools, iface string) error {
	if c.running[iface] != tools {
		return fmt.Errorf("%s-quick down /etc/wg-free-mesh/%s.conf failed: exit status 1\n%s-quick: `%s' is not a WireGuard interface", tools, iface, tools, iface)
	}
	delete(c.running, iface)
	return nil
}
