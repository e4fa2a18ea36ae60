package web

import (
	"fmt"
	"strings"

	"wfm/web/wire"
)

// RecordAsks calls fn for everything that the handlers read from bodies; see wire.OnAsk.
func RecordAsks(fn func(route, name, what string)) { wire.OnAsk = fn }

// DescribedAsks returns the members that each route's description says its handler reads, in the
// words of wire.OnAsk.
func DescribedAsks(s *Server) map[string]map[string]bool {
	all := make(map[string]map[string]bool)
	for _, d := range s.table() {
		if d.Body == "" {
			continue
		}
		asks := make(map[string]bool)
		members, optional := wire.BodyMembers(d.Body)
		if !optional {
			asks[" "+wire.AskBody] = true
		}
		for _, m := range members {
			kind := map[string]string{
				"string": "a string", "bool": "true or false", "strings": "a list of strings", "objects": "a list of objects", "object": "an object",
				"value": "a string or a whole number",
			}[m.Kind]
			if kind == "" {
				var low, high int
				_, _ = fmt.Sscanf(m.Kind, "%d..%d", &low, &high)
				kind = fmt.Sprintf("a whole number from %d to %d", low, high)
			}
			asks[m.Name+" "+kind] = true
			if m.Required {
				asks[m.Name+" "+wire.AskRequired] = true
			}
		}
		all[d.Key()] = asks
	}
	return all
}

// Routes returns the methods and paths of the API's routes, and whether each is described.
func Routes(s *Server) map[string]bool {
	all := make(map[string]bool)
	for _, r := range s.table() {
		if !strings.HasPrefix(r.Path, "/.well-known/") {
			all[r.Key()] = r.Described()
		}
	}
	return all
}

// UnknownCodes returns the codes in the description that no error has.
func UnknownCodes(s *Server) (codes []string) {
	for _, r := range s.table() {
		for _, code := range r.ErrorCodes() {
			if wire.StatusOf(code) == 0 {
				codes = append(codes, code)
			}
		}
	}
	return codes
}

// UndescribedCodes returns the codes that no route's description has.
func UndescribedCodes(s *Server) (codes []string) {
	said := map[string]bool{"NOT_FOUND": true, "METHOD_NOT_ALLOWED": true} // belong to no route
	for _, r := range s.table() {
		for _, code := range r.ErrorCodes() {
			said[code] = true
		}
	}
	for _, code := range wire.Codes() {
		if !said[code] {
			codes = append(codes, code)
		}
	}
	return codes
}

// Description returns the API's description.
func Description(s *Server) ([]byte, error) { return s.document() }

// Streams returns the number of open event streams.
func (s *Server) Streams() int { return s.streams.Count() }

// SpendWrites spends n tokens of the budget of writes of the login with the id.
func SpendWrites(s *Server, id string, n int) { s.audit.Spend(id, n) }

// AuditedRoutes returns the methods and paths, as the router has them, of the audited routes that
// need a login.
func AuditedRoutes(s *Server) map[string]bool {
	all := make(map[string]bool)
	for _, r := range s.table() {
		all[r.Method+" "+r.Path] = r.Audited() && r.Access >= wire.Session
	}
	return all
}

// RoutesInOneWrite returns the routes whose handler's transaction writes the audit entry.
func RoutesInOneWrite(s *Server) (keys []string) {
	for _, r := range s.table() {
		if r.OneWrite {
			keys = append(keys, r.Key())
		}
	}
	return keys
}

// AuditedRequests returns the requests that the audit log records, as its entries name them.
func AuditedRequests(s *Server) (requests []string) {
	for _, r := range s.table() {
		if r.Audited() {
			requests = append(requests, r.Method+" "+wire.PathTemplate(r.Path))
		}
	}
	return requests
}
