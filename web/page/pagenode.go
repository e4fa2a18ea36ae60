package page

import (
	"errors"
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel/wgshow"
	"wfm/web/ui"
	"wfm/web/view"
	"wfm/web/wire"
)

// Bounds of a node's page.
const (
	commandsShown   = 25
	commandsScanned = 250 // the most rows read to find these among the detects
	eventsShown     = 25
)

type nodeBody struct {
	Config    store.Config
	Node      view.Node
	Stage     string
	API, Self string // the addresses of the node in the API and of its page
	Address   string // the address for a bind command
	Obstacle  string // a sentence on why the node cannot be bound or commanded, or ""
	Away      bool
	Unwanted  string // the state that the tunnel should have instead, for people
	Sync      string
	CanPush   bool // there is a version to push and an agent to push it to
	ToStage   bool // the desired version is not staged for the mesh's tools
	Conf      view.SyncRefs
	Signal    string // the newest
	SignalAt  time.Time
	Client    view.ClientState
	BoundAt   time.Time
	// StartFirst reports that starting the tunnel is the next thing to do: it is stopped, the node is
	// there, and has the tunnel config that the mesh makes, or one that somebody wrote.
	StartFirst bool
	Mesh       meshPart
	HandedOut  *view.HandedOut // of a static node
	OpenToken  string          // distinguishes the node's unspent bind token from its others; empty if it has none

	Day, Week           template.HTML
	Uptime24h, Uptime7d string
	Flaps               int
	Transitions         []view.Transition

	Show   *tunnelShow
	Log    []view.Log
	Probes bool   // the log includes detects
	Newest string // address of the log's beginning; empty if this is it
	Older  string // address of the rest of the log
	Events []store.JournalEntry
}

// tunnelShow is the newest output of wg show, parsed and raw.
type tunnelShow struct {
	At         time.Time
	Interfaces []wgshow.Interface
	Text       string
}

func (p *Pages) nodePage(c echo.Context) (show, error) {
	v := nodeBody{Probes: pageQuery(c, "detects") != ""}
	before, _ := strconv.ParseUint(pageQuery(c, "before"), 10, 64) // other text is the newest
	f, err := p.Reader.PathFacts(c, func(tx *store.Tx, f view.Facts) (err error) {
		v.Signal, v.SignalAt = f.NewestSignal()
		v.Self = "/configs/" + f.Config.ID + "/nodes/" + f.Node.ID
		if err := p.readHistory(tx, f, &v); err != nil {
			return err
		}
		if err := v.readCommands(tx, f, before); err != nil {
			return err
		}
		open, err := tx.OpenBindToken(f.Node.ID)
		if err != nil {
			return err
		}
		if v.Mesh, err = p.readMesh(c, tx, f); err != nil {
			return err
		}
		if !open.IsZero() {
			v.OpenToken = open.Format(time.RFC3339Nano) // as in the answer with the token
		}
		v.Events, err = tx.Journal(f.Node.ID, 0, eventsShown)
		return err
	})
	if err != nil {
		return show{}, err
	}
	if v.Mesh.Shown() {
		if err := p.readFindings(c, f, &v.Mesh); err != nil {
			return show{}, err
		}
	}
	v.Config, v.Node, v.Stage = f.Config, f.View(), f.Stage()
	v.API = "/api/v1" + v.Self
	v.Client, v.Away = f.ClientState(), f.Presence.State != presence.Online
	if f.Node.Client != nil {
		v.BoundAt = f.Node.Client.BoundAt
	}
	if way, err := p.Directory.WayForAgents(c.Request(), nil); err == nil {
		v.Address = way.Address
	}
	v.Obstacle, v.Unwanted = p.Reader.Obstacle(f), f.Unwanted()
	v.Conf, v.Sync = f.SyncRefs(), f.SyncShown()
	v.CanPush, v.ToStage, v.HandedOut = f.Pushable(), f.ToStage(), f.HandedOut()
	holds := f.Conf.MayHold() && (f.Conf.ReportedAt.IsZero() || f.Conf.Reported.SHA256 != "")
	v.StartFirst = holds && !v.Away && f.Presence.Tunnel != presence.TunnelRunning && (!v.Mesh.Made || !v.ToApply())
	return show{template: "node", Page: ui.Page{
		Title: f.Node.Name, Nav: "Overview", LiveConfig: f.Config.ID, LiveNode: f.Node.ID, Every: 30, Shape: v.Stage, Body: v,
	}}, nil
}

// readHistory reads the node's history of presence and draws it.
func (p *Pages) readHistory(tx *store.Tx, f view.Facts, v *nodeBody) error {
	all, err := store.Collect(tx.EachTransition(f.Node.ID))
	if err != nil {
		return err
	}
	gaps, err := tx.Gaps()
	if err != nil {
		return err
	}
	now := tx.Now()
	const day = 24 * time.Hour
	spans := spansOf(all, gaps, now)
	v.Day = ui.Timeline(spans, now.Add(-day), now, "Presence over the last 24 hours; the table below has every change")
	v.Week = ui.Timeline(spans, now.Add(-7*day), now, "Presence over the last 7 days; the table below has every change")
	sum := presence.Summarize(all, gaps, now)
	v.Uptime24h, v.Uptime7d, v.Flaps = percent(sum.Uptime24h), percent(sum.Uptime7d), sum.Flaps24h
	for _, t := range all[:min(len(all), 100)] {
		v.Transitions = append(v.Transitions, view.Transition{ID: t.ID, At: wire.When(t.At), From: t.From, To: t.To, Reason: t.Reason})
	}
	return nil
}

// spansOf turns changes, newest first, into the spans between them. Gaps come last, and hide the
// spans beneath them: the state in a gap is unknown.
func spansOf(transitions []store.Transition, gaps []store.Gap, now time.Time) []ui.Span {
	spans := make([]ui.Span, 0, len(transitions)+len(gaps))
	end := now
	for _, t := range transitions {
		spans = append(spans, ui.Span{From: t.At, To: end, State: t.To, Reason: t.Reason})
		end = t.At
	}
	for _, g := range gaps {
		spans = append(spans, ui.Span{From: g.From, To: g.To, State: ui.SpanGap, Reason: "the appliance did not run"})
	}
	return spans
}

func percent(fraction *float64) string {
	if fraction == nil {
		return ""
	}
	// Rounded down: 100 % means all of the time.
	return strings.TrimSuffix(fmt.Sprintf("%.1f", math.Floor(*fraction*1000)/10), ".0") + " %"
}

// readCommands reads a page of the log, and the newest output of wg show.
func (v *nodeBody) readCommands(tx *store.Tx, f view.Facts, before uint64) error {
	commands, err := tx.Commands(f.Node.ID, before, commandsScanned)
	if err != nil {
		return err
	}
	detects := ""
	if v.Probes {
		detects = "detects=1"
	}
	if before != 0 {
		v.Newest = v.Self + "?" + detects
	}
	for _, cmd := range commands {
		if v.Show == nil && cmd.Action == protocol.ActionWGShow && cmd.State == store.CommandApplied {
			if v.Show, err = showOf(tx, cmd); err != nil {
				return err
			}
		}
		if cmd.Action == protocol.ActionDetect && !v.Probes {
			continue
		}
		if len(v.Log) == commandsShown {
			v.Older = fmt.Sprintf("%s?before=%d&%s", v.Self, cmd.Seq+1, detects)
			break
		}
		v.Log = append(v.Log, view.LogOf(cmd))
	}
	return nil
}

func showOf(tx *store.Tx, cmd store.Command) (*tunnelShow, error) {
	output, err := tx.Output(cmd.RequestID)
	if err != nil || len(output) == 0 {
		return nil, err
	}
	var text strings.Builder
	for _, o := range output {
		text.WriteString(o.Output)
	}
	return &tunnelShow{cmd.AckAt, wgshow.Parse(text.String()), text.String()}, nil
}

func (p *Pages) commandPage(c echo.Context) (show, error) {
	type body struct {
		Config  store.Config
		Node    store.Node
		Command view.Command
		Payload string
	}
	var v body
	if err := p.DB.View(func(tx *store.Tx) error {
		cmd, err := tx.Command(c.Param("request_id"))
		if err != nil {
			return err
		}
		if v.Node, err = tx.Node(cmd.NodeID); err != nil {
			return err
		}
		if v.Config, err = tx.Config(cmd.ConfigID); err != nil {
			return err
		}
		output, err := tx.Output(cmd.RequestID)
		v.Command, v.Payload = view.CommandOf(cmd, output), string(view.ShownPayload(cmd))
		return err
	}); err != nil {
		if errors.Is(err, store.ErrNodeNotFound) || errors.Is(err, store.ErrConfigNotFound) {
			err = store.ErrCommandNotFound
		}
		return show{}, err
	}
	return show{template: "command", Page: ui.Page{
		Title: ui.Capital(ui.Action(v.Command.Action)) + " on " + v.Node.Name, Nav: "Overview",
		LiveConfig: v.Config.ID, LiveNode: v.Node.ID, Body: v,
	}}, nil
}
