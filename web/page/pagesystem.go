package page

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/protocol"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/reach"
	"wfm/web/ui"
	"wfm/web/view"
	"wfm/web/wire"
)

// auditShown is the number of entries of the audit log on a page.
const auditShown = 100

// storedTexts are the overrides of the MQTT settings in a form; an empty text overrides nothing.
type storedTexts struct{ Host, Port, TLS string }

func (p *Pages) settingsPage(c echo.Context) (show, error) {
	if access.LoginOf(c).Scope != "" {
		return show{}, wire.ErrSessionOnly // the page has tokens and sessions
	}
	type body struct {
		MQTT         reach.MQTTSettings
		Stored       storedTexts
		TLS          view.TLSService
		Certificates []view.Certificate
		Tokens       []view.TokenView
		Sessions     []view.SessionView
		MinPassword  int
		StoreSize    int64
		Unserved     *view.UnservedClient
		Questions    *view.QuestionsStatus
	}
	v := body{
		Questions: p.Reader.Questions(), Unserved: p.Reader.BrokerStatus().Unserved, MinPassword: access.MinPassword, StoreSize: p.DB.Size(),
		TLS: p.Reader.TLSService(), Certificates: p.Reader.Certificates(),
	}
	var stored store.MQTTSettings
	if err := p.DB.View(func(tx *store.Tx) (err error) {
		if stored, err = tx.MQTTSettings(); err != nil {
			return err
		}
		if v.Tokens, err = view.ReadTokens(tx); err != nil {
			return err
		}
		v.Sessions, err = view.ReadSessions(tx, access.LoginOf(c).ID)
		return err
	}); err != nil {
		return show{}, err
	}
	v.MQTT = p.Directory.InForce(stored, wire.RequestHost(c.Request().Host))
	v.Stored.Host = wire.Or(stored.Host, "")
	if stored.Port != nil {
		v.Stored.Port = strconv.Itoa(*stored.Port)
	}
	if stored.TLS != nil {
		v.Stored.TLS = strconv.FormatBool(*stored.TLS)
	}
	return show{template: "settings", Page: ui.Page{Title: "Settings", Nav: "Settings", LiveAll: true, Body: v}}, nil
}

func (p *Pages) auditPage(c echo.Context) (show, error) {
	type body struct {
		Actor, NodeID string
		LeftOut       string // why the filter has less than the address; else empty
		Entries       []store.AuditEntry
		Actions       map[uint64]protocol.Action // of entries about a command or rollout, by Seq
		Newest, Older string                     // addresses
	}
	v := body{Actions: make(map[uint64]protocol.Action), Actor: pageQuery(c, "actor"), NodeID: pageQuery(c, "node_id"), LeftOut: leftOut(c, "actor", "node_id")}
	before, _ := strconv.ParseUint(pageQuery(c, "before"), 10, 64) // other text is the newest
	p.Audit.Settle()
	if err := p.DB.View(func(tx *store.Tx) (err error) {
		v.Entries, err = tx.Audit(before, auditShown+1, func(e store.AuditEntry) bool {
			return strings.HasPrefix(e.Actor, v.Actor) && (v.NodeID == "" || e.Concerns("node_id", v.NodeID))
		})
		for _, e := range v.Entries {
			if err == nil {
				v.Actions[e.Seq], err = actionOf(tx, e)
			}
		}
		return err
	}); err != nil {
		return show{}, err
	}
	q := url.Values{}
	if v.Actor != "" {
		q.Set("actor", v.Actor)
	}
	if v.NodeID != "" {
		q.Set("node_id", v.NodeID)
	}
	if before != 0 {
		v.Newest = "/audit?" + q.Encode()
	}
	if len(v.Entries) > auditShown {
		v.Entries = v.Entries[:auditShown]
		q.Set("before", fmt.Sprint(v.Entries[auditShown-1].Seq))
		v.Older = "/audit?" + q.Encode()
	}
	return show{template: "audit", Page: ui.Page{Title: "Audit", Nav: "Audit", LiveAll: true, Every: 10, Body: v}}, nil
}

// actionOf returns the action of the rollout or the command that the entry concerns. It is empty if
// there is none, or none any more.
func actionOf(tx *store.Tx, e store.AuditEntry) (protocol.Action, error) {
	if id := e.IDs["rollout_id"]; id != "" {
		r, err := tx.Rollout(id)
		if errors.Is(err, store.ErrRolloutNotFound) {
			return "", nil
		}
		return r.Action, err
	}
	if id := e.IDs["request_id"]; id != "" {
		cmd, err := tx.Command(id)
		if errors.Is(err, store.ErrCommandNotFound) {
			return "", nil
		}
		return cmd.Action, err
	}
	return "", nil
}

// traffic draws the last hour.
type traffic struct {
	Messages, Connections ui.Graph
}

func (p *Pages) traffic() traffic {
	samples := p.Recent.Recent()
	in, out, open := make([]float64, 0, len(samples)), make([]float64, 0, len(samples)), make([]float64, 0, len(samples))
	for _, one := range samples {
		in = append(in, float64(one.MessagesIn))
		out = append(out, float64(one.MessagesOut))
		open = append(open, float64(one.Connections))
	}
	seconds := int(view.ActivityInterval / time.Second)
	return traffic{
		Messages: ui.Chart(view.ActivityKept, []ui.Series{{Class: "line-a", Values: in}, {Class: "line-b", Values: out}},
			fmt.Sprintf("Messages from and to nodes over the last hour, in each %d seconds", seconds)),
		Connections: ui.Chart(view.ActivityKept, []ui.Series{{Class: "line-a", Values: open}}, "Open MQTT connections over the last hour"),
	}
}
