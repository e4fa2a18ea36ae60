package web

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/internal/wgconf"
	"wfm/protocol"
	"wfm/store"
)

const (
	// confBodyLimit has room for the longest text there may be, however a client escapes it.
	confBodyLimit = 1 << 20
	// resolveTimeout bounds how long saving a config waits to learn the appliance's own address.
	resolveTimeout = 2 * time.Second
)

// cutOffError is a config that would keep the node from reaching the appliance, and what was not done
// with it therefore.
type cutOffError struct {
	undone   string // saved, staged or pushed
	warnings []warningView
}

func (e *cutOffError) Error() string {
	var words []string
	for _, w := range e.warnings {
		if w.CutsOff {
			words = append(words, w.Message)
		}
	}
	return "Nothing was " + e.undone + ", since this config may cut the node off: " + strings.Join(words, " ") +
		" Change the config, or send force: true to do it all the same."
}

// conflictError is a change that was made from a version which is not the desired one any more.
type conflictError struct{ desired int }

func (e *conflictError) Error() string {
	return fmt.Sprintf("The config was changed meanwhile: version %d is the desired one now. Read it, then save again with base_version %d.", e.desired, e.desired)
}

type warningView struct {
	Code    string `json:"code"`
	Line    int    `json:"line"` // 0 when it is about the whole text
	Message string `json:"message"`
	CutsOff bool   `json:"cuts_off"`
}

type appliedConfView struct {
	Exists  bool   `json:"exists"`
	Content string `json:"content"`
	// ContentHidden: there is a text, and who asks may not see it.
	ContentHidden bool   `json:"content_hidden"`
	Source        string `json:"source"` // desired; empty when there is none
	syncRefs
	Status store.SyncStatus `json:"status"`
}

// appliedConf is the node's desired config.
func (s *Server) appliedConf(c echo.Context) error {
	var text string
	f, err := s.pathFacts(c, func(tx *store.Tx, f facts) (err error) {
		if f.conf.Desired.Version != 0 && mayWrite(loginOf(c)) {
			text, err = tx.ConfText(f.node.ID, f.conf.Desired.SHA256)
		}
		return err
	})
	if err != nil {
		return err
	}
	v := appliedConfView{Exists: f.conf.Desired.Version != 0, Content: text, syncRefs: f.syncRefs(), Status: f.sync()}
	if v.Exists {
		v.Source, v.ContentHidden = "desired", !mayWrite(loginOf(c))
		if !v.ContentHidden {
			s.noteKeyRead(c, f.node.ID, f.conf.Desired.Version, 0)
		}
	}
	return respond(c, v)
}

// wish is a text that somebody wants to be the node's desired config.
type wish struct {
	text   string
	source string
	note   string
	force  bool // also if it cuts the node off
	base   *int // the version it was made from; nil: whichever is desired
}

func readWish(f *fields) wish {
	return wish{
		source: store.ConfEdited,
		note:   or(f.text("note", line(0, 200)), ""),
		force:  or(f.flag("force"), false),
		base:   f.number("base_version", 0, math.MaxInt32),
	}
}

func (s *Server) putAppliedConf(c echo.Context) error {
	f, err := readBody(c, confBodyLimit)
	if err != nil {
		return err
	}
	w := readWish(f)
	w.text = f.need("content", confText)
	if err := f.err(); err != nil {
		return err
	}
	return s.saveDesired(c, w)
}

type savedView struct {
	syncView
	Warnings []warningView `json:"warnings"`
}

// saveDesired is the one way to a new version of a node's config. What is slow, reading the text and
// asking for the appliance's address, is done before the transaction. Should the tunnel protocol
// change in between, staging reads the text again.
func (s *Server) saveDesired(c echo.Context, w wish) error {
	before, err := s.pathFacts(c)
	if err != nil {
		return err
	}
	conf, err := parseConf(before.config, before.node.ID, w.text)
	if err != nil {
		return err
	}
	warnings := s.warnings(c.Request().Context(), conf, before.node, requestHost(c.Request().Host))
	if !w.force && cutsOff(warnings) {
		return &cutOffError{"saved", warnings}
	}
	var f facts
	if err := s.opts.Store.Update(func(tx *store.Tx) error {
		cfg, n, err := nodeOf(tx, c)
		if err != nil {
			return err
		}
		state, err := tx.ConfState(n.ID)
		if err != nil {
			return err
		}
		if w.base != nil && *w.base != state.Desired.Version {
			return &conflictError{state.Desired.Version}
		}
		v := store.ConfVersion{Author: loginOf(c).Username, Source: w.source, Note: w.note, Forced: w.force}
		if _, err := tx.SetDesired(n.ID, w.text, v); err != nil {
			return err
		}
		f, err = s.facts(tx, cfg, n)
		return err
	}); err != nil {
		return err
	}
	s.log.Info("desired config saved", "node_id", f.node.ID, "version", f.conf.Desired.Version, "source", w.source,
		"forced", w.force && cutsOff(warnings), "by", loginOf(c).Username)
	return respond(c, savedView{f.syncView(), warnings})
}

// parseConf checks the text with the grammar of the config's tools, and that it fits a push. The
// error is a *wgconf.Error.
func parseConf(cfg store.Config, nodeID, text string) (wgconf.Config, error) {
	conf, err := wgconf.Parse(text, protocol.ToolFamily(cfg.TunnelProtocol))
	if err != nil {
		return conf, err
	}
	if over := pushSize(cfg.ID, nodeID, text) - protocol.MaxMessageSize; over > 0 {
		return conf, &wgconf.Error{Problem: fmt.Sprintf("the config is %d bytes too large for a message to the node; shorten it, comments first", over)}
	}
	return conf, nil
}

// pushSize is the size in bytes that a push of the text has at most.
func pushSize(configID, nodeID, text string) int {
	topic := protocol.Topic{ConfigID: configID, NodeID: nodeID, Kind: protocol.KindPush}
	longest := protocol.Push{
		Action: protocol.ActionPush, TunnelProtocol: protocol.TunnelAmneziaWG2, PreviousTunnelProtocol: protocol.TunnelAmneziaWG2,
		InterfaceName: strings.Repeat("x", 15), ConfigVersion: math.MaxInt, ConfigSHA256: strings.Repeat("x", 64), AWGVersion: "2.0",
		ConfigText: text,
	}
	env, err := protocol.NewEnvelope(topic, strings.Repeat("x", 128), longest, time.Now())
	if err != nil {
		return math.MaxInt
	}
	raw, err := json.Marshal(env)
	if err != nil {
		return math.MaxInt
	}
	return len(raw)
}

// warnings are what the operator should know before the config is pushed.
func (s *Server) warnings(ctx context.Context, conf wgconf.Config, n store.Node, host string) []warningView {
	out := []warningView{}
	for _, w := range conf.Warnings(s.reach(ctx, n, host)) {
		if w.CutsOff && n.Type == store.NodeStatic {
			continue // it has no agent to be cut off
		}
		out = append(out, warningView{w.Code, w.Line, w.Message, w.CutsOff})
	}
	return out
}

func cutsOff(warnings []warningView) bool {
	for _, w := range warnings {
		if w.CutsOff {
			return true
		}
	}
	return false
}

// reach is how the node's agent finds the broker: as it was told at bind, or would be told now by
// a request to host. A name may resolve to something else at the node; nothing rests on it but a
// warning.
func (s *Server) reach(ctx context.Context, n store.Node, host string) wgconf.Reach {
	r := wgconf.Reach{Host: s.mqttHost(host)}
	if n.Client != nil && n.Client.MQTTHost != "" {
		r.Host = n.Client.MQTTHost
	}
	if addr, err := netip.ParseAddr(r.Host); err == nil {
		r.Addresses = []netip.Addr{addr}
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	resolver := s.opts.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	addresses, err := resolver.LookupNetIP(ctx, "ip", r.Host)
	if err != nil {
		s.log.Debug("the broker's own name cannot be resolved here", "host", r.Host, "err", err)
	}
	for _, a := range addresses {
		r.Addresses = append(r.Addresses, a.Unmap())
	}
	return r
}

// stagedConf is what an agent is given at bind: what is staged, and nothing that is only desired,
// since nobody has released that yet. An agent stores it if it has nothing, and does not start it.
func stagedConf(tx *store.Tx, b store.Bound) (*protocol.DesiredConf, error) {
	state, err := tx.ConfState(b.Node.ID)
	if err != nil || state.Staged.Version == 0 || state.StagedFor != protocol.ToolFamily(b.Config.TunnelProtocol) {
		return nil, err
	}
	text, err := tx.ConfText(b.Node.ID, state.Staged.SHA256)
	return &protocol.DesiredConf{Version: state.Staged.Version, SHA256: state.Staged.SHA256, Content: text}, err
}
