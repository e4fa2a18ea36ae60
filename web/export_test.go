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

// Routes are the methods and paths of the table of the API, and whether each is described.
func Routes(s *Server) map[string]bool {
	all := make(map[string]bool)
	for _, r := range s.table() {
		if !strings.HasPrefix(r.Path, "/.well-known/") {
			all[r.Key()] = r.Described()
		}
	}
	return all
}

// UnknownCodes are the codes of the description that no error has.
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

// UndescribedCodes are the codes that no route says it answers.
func UndescribedCodes(s *Server) (codes []string) {
	said := map[string]bool{"NOT_FOUND": true, "METHOD_NOT_ALLOWED": true} // of no route
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

// Description is the API's description.
func Description(s *Server) ([]byte, error) { return s.document() }

// Streams is the number of open event streams.
func (s *Server) Streams() int { return s.streams.Count() }

// SpendWrites takes n from the budget of changes of the login with the id.
func SpendWrites(s *Server, id string, n int) { s.audit.Spend(id, n) }

// AuditedRoutes are the methods and paths, as the router has them, of audited routes for those who are logged in.
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

// AuditedRequests are the requests of the API that the audit log records, as its entries name them.
func AuditedRequests(s *Server) (requests []string) {
	for _, r := range s.table() {
		if r.Audited() {
			requests = append(requests, r.Method+" "+wire.PathTemplate(r.Path))
		}
	}
	return requests
}
