package emqxtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"wfm/internal/emqxcall"
)

// ask asks a question. A status other than 200 and 204, or an answer that comes too late, is no answer.
func (e *Server) ask(s Settings, url string, question map[string]string) (answer emqxcall.Answer) {
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(s.AskTimeout, 5*time.Second))
	defer cancel()
	if e.dead(url) {
		return answer
	}
	raw, _ := json.Marshal(question)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(raw))
	if err != nil {
		return answer
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(emqxcall.KeyHeader, s.SharedKey)
	res, err := e.http.Do(req)
	if err != nil {
		e.bury(url, s.DeadFor)
		return answer
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
	case res.StatusCode == http.StatusNoContent:
		answer.Result = emqxcall.Allow
	case res.StatusCode == http.StatusOK:
		_ = json.Unmarshal(got, &answer)
	}
	return answer
}

// dead reports whether the address must not be asked yet.
func (e *Server) dead(url string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Now().Before(e.deadTill[url])
}

func (e *Server) bury(url string, d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deadTill[url] = time.Now().Add(d)
}

// api is the management API.
func (e *Server) api() http.Handler {
	mux := http.NewServeMux()
	const v5, db = "/api/v5", "/api/v5/authentication/password_based:built_in_database"
	mux.HandleFunc("GET "+v5+"/status", func(w http.ResponseWriter, _ *http.Request) {
		if e.running() == nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	routes := map[string]http.HandlerFunc{
		"GET " + v5 + "/authentication":                      e.getAuthenticators,
		"GET " + db + "/users":                               e.needDatabase(e.getUsers),
		"DELETE " + db + "/users/{id}":                       e.needDatabase(e.deleteUser),
		"POST " + db + "/import_users":                       e.needDatabase(e.importUsers),
		"GET " + v5 + "/clients":                             e.getClients,
		"DELETE " + v5 + "/clients/{id}":                     e.deleteClient,
		"POST " + v5 + "/clients/kickout/bulk":               e.kickout,
		"DELETE " + v5 + "/clients/{id}/authorization/cache": e.deleteCache,
		"DELETE " + v5 + "/authorization/cache":              e.deleteCaches,
		"GET " + v5 + "/authorization/settings":              e.getAuthzSettings,
		"GET " + v5 + "/authorization/sources":               e.getAuthzSources,
		"GET " + v5 + "/authorization/sources/http/status":   e.getSourceStatus,
		"GET " + v5 + "/listeners":                           e.getListeners,
		"GET " + v5 + "/configs":                             e.getConfigs,
	}
	maps.Copy(routes, e.toldRoutes(v5))
	for pattern, h := range routes {
		mux.HandleFunc(pattern, e.guarded(h))
	}
	return mux
}

func (e *Server) guarded(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		e.calls = append(e.calls, r.Method+" "+r.URL.Path)
		fault := e.fault
		e.mu.Unlock()
		if fault != nil {
			if status := fault(r); status != 0 {
				refuse(w, status, "FAULT")
				return
			}
		}
		if key, secret, ok := r.BasicAuth(); !ok || key != APIKey || secret != APISecret {
			refuse(w, http.StatusUnauthorized, "BAD_API_KEY_OR_SECRET")
			return
		}
		if r.Method != http.MethodGet && e.config().Told.ReadOnly {
			refuse(w, http.StatusForbidden, "UNAUTHORIZED_ROLE")
			return
		}
		next(w, r)
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"code": code, "message": "the stand-in says so"})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (e *Server) needDatabase(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !e.config().Database {
			refuse(w, http.StatusNotFound, "NOT_FOUND")
			return
		}
		next(w, r)
	}
}

func (e *Server) getAuthenticators(w http.ResponseWriter, _ *http.Request) {
	s := e.config()
	out := []map[string]any{}
	if s.HTTPAuth {
		body := emqxcall.Body(emqxcall.LoginFields())
		body["clientid"] = cmp.Or(s.AuthClientID, body["clientid"])
		out = append(out, map[string]any{
			"id": "password_based:http", "mechanism": "password_based", "backend": "http", "enable": true, "method": "post", "url": s.AuthURL,
			"headers": map[string]string{"content-type": "application/json", emqxcall.KeyHeader: s.SharedKey},
			"body":    body,
		})
	}
	if s.Database {
		out = append(out, map[string]any{
			"id": "password_based:built_in_database", "mechanism": "password_based", "backend": "built_in_database", "enable": true,
			"user_id_type": "username", "password_hash_algorithm": map[string]any{"name": s.HashName, "salt_position": s.SaltPosition},
		})
	}
	if s.Told.DatabaseFirst {
		slices.Reverse(out)
	}
	answer(w, out)
}

// page cuts the rows to the requested page.
func page[T any](w http.ResponseWriter, r *http.Request, rows []T) {
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	number, _ := strconv.Atoi(r.URL.Query().Get("page"))
	limit, number = cmp.Or(limit, 100), max(1, number)
	if limit > 10_000 {
		refuse(w, http.StatusBadRequest, "BAD_REQUEST")
		return
	}
	from := min(len(rows), (number-1)*limit)
	to := min(len(rows), from+limit)
	answer(w, map[string]any{
		"data": rows[from:to],
		"meta": map[string]any{"page": number, "limit": limit, "count": len(rows), "hasnext": to < len(rows)},
	})
}

func (e *Server) getUsers(w http.ResponseWriter, r *http.Request) {
	type row struct {
		ID        string `json:"user_id"`
		Superuser bool   `json:"is_superuser"`
	}
	rows := []row{}
	for id, u := range e.Users() {
		rows = append(rows, row{id, u.Superuser})
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.ID, b.ID) })
	page(w, r, rows)
}

func (e *Server) deleteUser(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	e.mu.Lock()
	_, ok := e.users[id]
	delete(e.users, id)
	e.mu.Unlock()
	if !ok {
		refuse(w, http.StatusNotFound, "NOT_FOUND")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (e *Server) importUsers(w http.ResponseWriter, r *http.Request) {
	var rows []struct {
		ID        string `json:"user_id"`
		Hash      string `json:"password_hash"`
		Salt      string `json:"salt"`
		Superuser bool   `json:"is_superuser"`
	}
	if json.NewDecoder(r.Body).Decode(&rows) != nil || r.URL.Query().Get("type") != "hash" || len(rows) == 0 {
		refuse(w, http.StatusBadRequest, "BAD_REQUEST")
		return
	}
	for _, u := range rows {
		e.PutUser(u.ID, User{u.Hash, u.Salt, u.Superuser})
	}
	if e.config().before(5, 8, 2) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answer(w, map[string]int{"total": len(rows), "success": len(rows), "override": 0, "skipped": 0, "failed": 0})
}

func (e *Server) getClients(w http.ResponseWriter, r *http.Request) {
	type row struct {
		ClientID    string `json:"clientid"`
		Username    string `json:"username"`
		Connected   bool   `json:"connected"`
		ConnectedAt string `json:"connected_at"`
	}
	rows := []row{}
	if b := e.running(); b != nil {
		b.mu.Lock()
		for cl, s := range b.sessions {
			if s.established {
				rows = append(rows, row{cl.ID, s.username, true, time.UnixMilli(s.connectedAt).UTC().Format("2006-01-02T15:04:05.000-07:00")})
			}
		}
		b.mu.Unlock()
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.ClientID, b.ClientID) })
	page(w, r, rows)
}

func (e *Server) deleteClient(w http.ResponseWriter, r *http.Request) {
	if b := e.running(); b == nil || !b.kick(r.PathValue("id")) {
		refuse(w, http.StatusNotFound, "CLIENT_NOT_FOUND")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (e *Server) kickout(w http.ResponseWriter, r *http.Request) {
	var ids []string
	if json.NewDecoder(r.Body).Decode(&ids) != nil {
		refuse(w, http.StatusBadRequest, "BAD_REQUEST")
		return
	}
	if b := e.running(); b != nil {
		for _, id := range ids {
			b.kick(id)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func (e *Server) deleteCache(w http.ResponseWriter, r *http.Request) {
	if b := e.running(); b == nil || !b.clearCache(r.PathValue("id")) {
		refuse(w, http.StatusNotFound, "CLIENT_NOT_FOUND")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (e *Server) deleteCaches(w http.ResponseWriter, _ *http.Request) {
	if b := e.running(); b != nil {
		b.clearCaches()
	}
	w.WriteHeader(http.StatusNoContent)
}

func (e *Server) getAuthzSettings(w http.ResponseWriter, _ *http.Request) {
	s := e.config()
	answer(w, map[string]any{
		"no_match": s.NoMatch, "deny_action": s.DenyAction,
		"cache": map[string]any{"enable": s.CacheTTL > 0, "max_size": 32, "ttl": s.CacheTTL.String()},
	})
}

func (e *Server) getAuthzSources(w http.ResponseWriter, _ *http.Request) {
	s := e.config()
	sources := []map[string]any{}
	if s.AuthzURL != "" {
		sources = append(sources, map[string]any{
			"type": "http", "enable": true, "method": "post", "url": s.AuthzURL,
			"headers": map[string]string{"content-type": "application/json", emqxcall.KeyHeader: s.SharedKey},
			"body":    emqxcall.Body(emqxcall.TopicFields()),
		})
	}
	if s.AllowAll {
		sources = append(sources, map[string]any{"type": "file", "enable": true, "rules": "{deny, all, subscribe, [\"$SYS/#\"]}.\n{allow, all}.\n"})
	}
	answer(w, map[string]any{"sources": sources})
}
