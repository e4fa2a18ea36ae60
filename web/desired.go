package web

import (
	"fmt"
	"math"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/internal/wgconf"
	"wfm/store"
	"wfm/tunnel"
)

const (
	// confBodyLimit has room for the longest text there may be, however a client escapes it.
	confBodyLimit = 1 << 20
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
	conf, err := tunnel.Read(before.config, before.node.ID, w.text)
	if err != nil {
		return err
	}
	warnings := tunnel.Warnings(conf, before.node, s.reach(c, before.node))
	if !w.force && tunnel.CutsOff(warnings) {
		return &cutOffError{"saved", viewWarnings(warnings)}
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
		"forced", w.force && tunnel.CutsOff(warnings), "by", loginOf(c).Username)
	return respond(c, savedView{f.syncView(), viewWarnings(warnings)})
}

// viewWarnings are what the operator should know before the config is pushed.
func viewWarnings(all []wgconf.Warning) []warningView {
	out := make([]warningView, len(all))
	for i, w := range all {
		out[i] = warningView{w.Code, w.Line, w.Message, w.CutsOff}
	}
	return out
}

// reach is how the node's agent finds the broker: as it was told at bind, or would be told now by
// this request.
func (s *Server) reach(c echo.Context, n store.Node) wgconf.Reach {
	host := tunnel.BrokerHost(n, s.mqttHost(requestHost(c.Request().Host)))
	return tunnel.Reach(c.Request().Context(), s.opts.Resolver, host)
}
