package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"

	"wfm/internal/apptest"
)

// killWriter makes, changes and deletes nodes over the API.
type killWriter struct {
	name  string
	all   []*killObject
	begun int // length of all when the round began
}

// killObject is a node as the API has acknowledged it. A call in progress at the kill may or may
// not have been executed: maybe is the node's state if it was.
type killObject struct {
	id string // empty: its creation was not answered
	objectState
	maybe *objectState
}

type objectState struct {
	name, content string
	deleted       bool
}

// write works until the appliance is gone.
func (w *killWriter) write(r *killRun, api *apiCaller, fuse *countdown) {
	w.begun = len(w.all)
	for i := range 400 {
		o := &killObject{objectState: objectState{name: fmt.Sprintf("%s-%d", w.name, len(w.all))}}
		w.all = append(w.all, o)
		status, data := api.call("POST", "/api/v1/configs/"+r.config+"/nodes", map[string]any{"name": o.name})
		if status == 0 {
			return
		}
		if o.id, _ = data["node_id"].(string); o.id == "" || status >= 300 {
			r.Errorf("make %s: %d", o.name, status)
			return
		}
		fuse.tick()
		changed := o.objectState
		changed.content = "[Interface]\nPrivateKey = " + strings.Repeat("B", 42) + "A=\n# " + strings.Repeat(o.name+" ", 1+rand.IntN(100)) + "\n"
		if !w.change(r, api, o, fuse, changed, "PUT", o.path(r)+"/applied-conf", map[string]any{"content": changed.content}) {
			return
		}
		if i%2 == 0 {
			changed.name += "-renamed"
			if !w.change(r, api, o, fuse, changed, "PUT", "/api/v1/nodes/"+o.id, map[string]any{"name": changed.name}) {
				return
			}
		}
		if i%3 == 0 {
			old := w.all[rand.IntN(len(w.all))]
			if old.id == "" || old.deleted || old.maybe != nil {
				continue
			}
			gone := old.objectState
			gone.deleted = true
			if !w.change(r, api, old, fuse, gone, "DELETE", "/api/v1/nodes/"+old.id, nil) {
				return
			}
		}
	}
}

func (o *killObject) path(r *killRun) string { return "/api/v1/configs/" + r.config + "/nodes/" + o.id }

// change makes a call that leads to the state. It returns false if there was no answer.
func (w *killWriter) change(r *killRun, api *apiCaller, o *killObject, fuse *countdown, to objectState, method, path string, body map[string]any) bool {
	o.maybe = &to
	status, _ := api.call(method, path, body)
	if status == 0 {
		return false
	}
	if status >= 300 {
		r.Errorf("%s %s: %d", method, path, status)
		return false
	}
	o.objectState, o.maybe = to, nil
	fuse.tick()
	return true
}

// recent returns the objects of this round, those with an uncertain state, and some older ones.
func (w *killWriter) recent() []*killObject {
	some := w.all[w.begun:len(w.all):len(w.all)]
	for _, o := range w.all[:w.begun] {
		if o.maybe != nil || rand.IntN(1+w.begun/10) == 0 {
			some = append(some, o)
		}
	}
	return some
}

// check compares the objects with the API's answers.
func (w *killWriter) check(r *killRun, objects []*killObject) {
	r.Helper()
	for _, o := range objects {
		if o.id == "" {
			continue
		}
		got := o.read(r)
		switch {
		case o.maybe != nil && got == *o.maybe, got == o.objectState:
			o.objectState, o.maybe = got, nil
		default:
			r.Errorf("%s: the API acknowledged\n%+v (perhaps %+v)\nand has\n%+v", o.id, o.objectState, o.maybe, got)
		}
		r.tried.objects++
	}
}

// read returns the object as the API reports it. For a deleted object only that fact changes.
func (o *killObject) read(r *killRun) objectState {
	r.Helper()
	ans := r.a.Call(r.T, "GET", "/api/v1/nodes/"+o.id, nil)
	if ans.Status == http.StatusNotFound {
		gone := o.objectState
		gone.deleted = true
		return gone
	}
	node, _ := ans.Data.(map[string]any)
	var ans2 apptest.Answer
	if ans.Status == http.StatusOK {
		ans2 = r.a.Call(r.T, "GET", o.path(r)+"/applied-conf", nil)
	}
	conf, _ := ans2.Data.(map[string]any)
	if node == nil || conf == nil {
		r.Fatalf("read %s: %d %s, %d %s", o.id, ans.Status, ans.Body, ans2.Status, ans2.Body)
	}
	var got objectState
	got.name, _ = node["name"].(string)
	got.content, _ = conf["content"].(string)
	return got
}
