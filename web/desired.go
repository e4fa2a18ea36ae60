package web

import (
	"math"
	"net/http"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
)

// What the bodies and errors of the calls have in common.
const (
	wishMembers = "note, force bool, base_version 0..2147483647"
	wishing     = "CLIENT_BIND_STATIC_NODE INVALID_TUNNEL_CONFIG/422 CONFIG_WOULD_CUT_OFF/409 CONFIG_CONFLICT"
)

func (s *Server) desiredRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: pathNode + "/applied-conf", access: accessSession, handle: s.appliedConf,
			summary: "The config that is desired, whose text only those see who may write.",
			data:    appliedConfView{},
		},
		{
			method: http.MethodPut, path: pathNode + "/applied-conf", access: accessSession, handle: s.putAppliedConf, oneWrite: true,
			summary: "Saves another config as desired, and stages it unless stage is false; with push, pushes it too, or does nothing at all. " +
				"base_version is the one it was made from; force saves and pushes one that may cut the node off.",
			body: "content!, stage bool, push bool, " + wishMembers, data: savedView{},
			codes: wishing + " " + controlling + " TOO_MANY_COMMANDS",
		},
	}
}

// confBodyLimit has room for the longest text there may be, however a client escapes it.
const confBodyLimit = 1 << 20

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

// readWish reads how a text is to be saved: whose it is, and for what the order to save it stands.
func readWish(c echo.Context, f *fields, source string) tunnel.Order {
	return tunnel.Order{
		Wish: &tunnel.Wish{
			Author: loginOf(c).Username, Source: source,
			Note: or(f.text("note", line(0, 200)), ""),
			Base: f.number("base_version", 0, math.MaxInt32),
		},
		Force: or(f.flag("force"), false),
	}
}

// putAppliedConf saves a text as the desired one; unless told otherwise it stages it too, so that a
// script may push right after.
func (s *Server) putAppliedConf(c echo.Context) error {
	f, err := readBody(c, confBodyLimit)
	if err != nil {
		return err
	}
	o := readWish(c, f, store.ConfEdited)
	o.Wish.Text = f.need("content", confText)
	stage, push := or(f.flag("stage"), true), or(f.flag("push"), false)
	if push && !stage {
		f.reject("stage", "must not be false together with push: what is pushed is staged")
	}
	if err := f.err(); err != nil {
		return err
	}
	if push {
		return s.savePushed(c, o)
	}
	return s.saveDesired(c, o, stage)
}

type savedView struct {
	syncView
	Warnings []warningView `json:"warnings"`
	// Push is the push of it, if that was asked for.
	Push *controlView `json:"push,omitempty"`
}

// saveDesired saves the order's wish for the node of the path.
func (s *Server) saveDesired(c echo.Context, o tunnel.Order, stage bool) error {
	node, err := s.orderFor(c, &o)
	if err != nil {
		return err
	}
	t, err := s.door().Save(c.Request().Context(), node, o, stage)
	if err != nil {
		return err
	}
	return s.respondSaved(c, t, o, nil)
}

// savePushed saves the order's wish and pushes it, or does neither.
func (s *Server) savePushed(c echo.Context, o tunnel.Order) error {
	if err := s.mqtt(); err != nil {
		return err
	}
	node, err := s.orderFor(c, &o)
	if err != nil {
		return err
	}
	v, t, err := s.push(c, node, o)
	if err != nil {
		return err
	}
	return s.respondSaved(c, t, o, &v)
}

func (s *Server) respondSaved(c echo.Context, t tunnel.Taken, o tunnel.Order, push *controlView) error {
	s.log.Info("desired config saved", "node_id", t.Node.ID, "version", t.Ref.Version, "source", o.Wish.Source,
		"forced", o.Force && tunnel.CutsOff(t.Warnings), "by", loginOf(c).Username)
	f := facts{config: t.Config, node: t.Node, conf: t.State}
	return respond(c, savedView{f.syncView(), viewWarnings(t.Warnings), push})
}

// door is the way to save and stage configs.
func (s *Server) door() tunnel.Door {
	return tunnel.Door{Store: s.opts.Store, Resolver: s.opts.Resolver}
}

// orderFor is the id of the node that the path names, and fills in where an agent would be sent that
// is bound by this request.
func (s *Server) orderFor(c echo.Context, o *tunnel.Order) (nodeID string, err error) {
	o.Host = s.mqttHost(requestHost(c.Request().Host))
	f, err := s.pathFacts(c)
	return f.node.ID, err
}

// viewWarnings are what the operator should know before the config is pushed.
func viewWarnings(all []wgconf.Warning) []warningView {
	out := make([]warningView, len(all))
	for i, w := range all {
		out[i] = warningView{w.Code, w.Line, w.Message, w.CutsOff}
	}
	return out
}
