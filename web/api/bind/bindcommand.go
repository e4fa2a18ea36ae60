package bind

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/access"
	"wfm/web/reach"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) bindcommandRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodPost, Path: wire.PathNode + "/bind-command", Access: wire.Session, Handle: a.bindCommand, OneWrite: true,
			Summary: "A command that binds an agent to the node, once and within five minutes.",
			Body:    "? server_url", Data: bindCommandView{},
			Codes: "NODE_DISABLED CLIENT_BIND_STATIC_NODE MQTT_DISABLED MQTT_TLS_CA_NOT_READY",
		},
	}
}

// bindTokenTTL is the lifetime of a bind command.
const bindTokenTTL = 5 * time.Minute

// bindCommandView is a node's bind command, in its forms.
type bindCommandView struct {
	Command string `json:"command"` // of wfm-agent
	// WfmctlCommand is for nodes with the WG Free Mesh client: its own wfm-agent ignores arguments
	// and would start a second time.
	WfmctlCommand string     `json:"wfmctl_command"`
	Token         string     `json:"token"`
	ExpiresAt     *time.Time `json:"expires_at"`
	Warnings      []string   `json:"warnings"` // sentences about conditions under which the commands may fail
}

// bindCommand answers the commands that a person runs on the node to bind its agent.
func (a *API) bindCommand(c echo.Context) error {
	f, err := wire.ReadOptionalBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	given := f.Text("server_url", reach.ServerURL)
	if err := f.Err(); err != nil {
		return err
	}
	if err := a.Reader.MQTT(); err != nil {
		return err
	}
	way, err := a.Directory.WayForAgents(c.Request(), given)
	if err != nil {
		return err
	}
	if err := a.Directory.Cover(c, way.URL.Hostname()); err != nil {
		return err
	}
	var nodeID, token string
	var expires time.Time
	if err := a.Audit.Update(c, func(tx *store.Tx) error {
		_, n, err := view.NodeOf(tx, c)
		if err != nil {
			return err
		}
		nodeID = n.ID
		token, expires, err = tx.IssueBindToken(n.ID, bindTokenTTL)
		return err
	}); err != nil {
		return err
	}
	a.Log.Info("bind command issued", "node_id", nodeID, "by", access.LoginOf(c).Username)
	return wire.Respond(c, a.bindCommandView(c.Request(), way, token, expires))
}

// bindCommandView writes the commands for the token.
func (a *API) bindCommandView(r *http.Request, w reach.Way, token string, expires time.Time) bindCommandView {
	pin := a.Directory.Pin(r, w.URL)
	warnings := append([]string{}, w.Warnings...)
	if pin != "" {
		warnings = append(warnings, "wfmctl takes no fingerprint: on a node with the WG Free Mesh client, the appliance's CA (/api/v1/system/ca.pem) has to "+
			"be among those the system trusts.")
	}
	return bindCommandView{
		Command:       "wfm-agent bind --server " + quoted(w.Address) + pin + " --token " + token,
		WfmctlCommand: fmt.Sprintf(`wfmctl bind --server "%s" --token "%s"`, w.Address, token),
		Token:         token, ExpiresAt: wire.When(expires), Warnings: warnings,
	}
}

// quoted quotes an address with brackets, which a shell would read as a pattern.
func quoted(address string) string {
	if strings.Contains(address, "[") {
		return "'" + address + "'"
	}
	return address
}
