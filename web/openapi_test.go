package web_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"wfm/web"
)

// contract checks every answer that a test gets, and every body that a handler reads, against the
// API's description, and records which parts of it were used.
var contract struct {
	mu        sync.Mutex
	doc       *openapi3.T
	described map[string]map[string]bool // the members that handlers read according to doc, by route
	answered  map[string]bool            // operations with a successful answer, by method and path
	asked     map[string]map[string]bool // by route
}

func TestMain(m *testing.M) {
	contract.answered, contract.asked = map[string]bool{}, map[string]map[string]bool{}
	web.RecordAsks(func(route, name, what string) {
		contract.mu.Lock()
		defer contract.mu.Unlock()
		if contract.asked[route] == nil {
			contract.asked[route] = map[string]bool{}
		}
		contract.asked[route][name+" "+what] = true
	})
	code := m.Run()
	if code == 0 && allTestsRan() {
		for _, problem := range unseen() {
			fmt.Println(problem)
			code = 1
		}
	}
	os.Exit(code)
}

func allTestsRan() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	return true
}

// unseen returns the differences between the description and the answers seen in all tests
// together.
func unseen() (problems []string) {
	contract.mu.Lock()
	defer contract.mu.Unlock()
	described := contract.described
	for route, asks := range contract.asked {
		for what := range asks {
			if strings.Contains(route, " /api/") && !described[route][what] { // pages are not part of it
				problems = append(problems, route+" reads what is not described: "+what)
			}
		}
	}
	for route, asks := range described {
		for what := range asks {
			if !contract.asked[route][what] {
				problems = append(problems, route+" does not read what is described: "+what)
			}
		}
	}
	for path, item := range contract.doc.Paths.Map() {
		for method, op := range item.Operations() {
			if success := op.Responses.Status(http.StatusOK).Value.Content.Get("application/json"); success == nil || success.Schema == nil {
				continue // not JSON; tests check it themselves
			}
			if !contract.answered[method+" "+path] {
				problems = append(problems, "no test has a success of "+method+" "+path)
			}
		}
	}
	slices.Sort(problems)
	return problems
}

// document returns the description that the server answers.
func (a *api) document() *openapi3.T {
	a.t.Helper()
	contract.mu.Lock()
	defer contract.mu.Unlock()
	if contract.doc != nil {
		return contract.doc
	}
	// Another server, for this one may be set up without any access.
	server := web.New(web.Options{Store: a.db, Version: "1.2.3"})
	contract.described = web.DescribedAsks(server)
	raw, err := web.Description(server)
	if err != nil {
		a.t.Fatal(err)
	}
	if contract.doc, err = openapi3.NewLoader().LoadFromData(raw); err != nil {
		a.t.Fatal(err)
	}
	if err := contract.doc.Validate(context.Background()); err != nil {
		a.t.Fatalf("the description is not valid OpenAPI: %v", err)
	}
	return contract.doc
}

// operation returns the operation of a request and its path template, or nil if no route matches.
func operation(doc *openapi3.T, method, path string) (*openapi3.Operation, string) {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	var found *openapi3.Operation
	var under string
	for template, item := range doc.Paths.Map() {
		want := strings.Split(template, "/")
		if len(want) != len(parts) {
			continue
		}
		fits := true
		for i := range want {
			fits = fits && (want[i] == parts[i] || (strings.HasPrefix(want[i], "{") && parts[i] != ""))
		}
		// A literal path wins over one with a parameter.
		if op := item.GetOperation(method); fits && op != nil && (found == nil || strings.Count(template, "{") < strings.Count(under, "{")) {
			found, under = op, template
		}
	}
	return found, under
}

// conforms checks the answer against the description.
func (a *api) conforms(r *reply, method, path string) {
	a.t.Helper()
	op, template := operation(a.document(), strings.Replace(method, http.MethodHead, http.MethodGet, 1), path)
	if op == nil {
		return
	}
	answer := op.Responses.Status(r.status)
	if answer == nil {
		a.t.Errorf("%s: the description has no answer %d of it: %s", r.what, r.status, r.body)
		return
	}
	schema := answer.Value.Content.Get("application/json")
	if method == http.MethodHead || schema == nil || schema.Schema == nil {
		return
	}
	var body any
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		a.t.Errorf("%s: %v in %s", r.what, err, r.body)
		return
	}
	if err := schema.Schema.Value.VisitJSON(body); err != nil {
		a.t.Errorf("%s: the answer is not as described: %v", r.what, err)
	}
	if codes, ok := schema.Schema.Value.Extensions["x-codes"].([]any); ok && !slices.Contains(codes, any(r.Error.Code)) {
		a.t.Errorf("%s: %d %s is not among the described errors %v", r.what, r.status, r.Error.Code, codes)
	}
	if r.status == http.StatusOK {
		contract.mu.Lock()
		defer contract.mu.Unlock()
		contract.answered[method+" "+template] = true
	}
}

func TestTheDescriptionHasEveryRouteOfTheAPI(t *testing.T) {
	s := web.New(web.Options{Store: openStore(t, 0)})
	for key, described := range web.Routes(s) {
		if !described {
			t.Errorf("%s is not described: say what it does beside its handler", key)
		}
	}
	if codes := web.UnknownCodes(s); codes != nil {
		t.Errorf("no error has these codes; name their status, as in CODE/409: %v", codes)
	}
	if codes := web.UndescribedCodes(s); codes != nil {
		t.Errorf("no route is described with these codes: %v", codes)
	}
}

func TestTheDescriptionIsServedToAnybodyAndValid(t *testing.T) {
	a := newAPI(t)
	r := a.call("GET", "/api/openapi.json", nil, as(""))
	if r.status != http.StatusOK || !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
		t.Fatalf("%d %v", r.status, r.header)
	}
	doc, err := openapi3.NewLoader().LoadFromData([]byte(r.body))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	if doc.Info.Version != "1.2.3" {
		t.Errorf("version %q", doc.Info.Version)
	}
	op, _ := operation(doc, "POST", "/api/v1/auth/tokens")
	body := op.RequestBody.Value.Content.Get("application/json").Schema.Value
	if names := slices.Sorted(maps.Keys(body.Properties)); fmt.Sprint(names, body.Required) != "[expires_in_days name scope] [name scope]" {
		t.Errorf("body of a token: %v, required %v", names, body.Required)
	}
}

func TestActivityIsAnsweredBeforeThereIsAny(t *testing.T) {
	a := newAPI(t)
	var v struct {
		IntervalSeconds int `json:"interval_seconds"`
		Samples         []struct{}
	}
	if a.get("/api/v1/system/activity").ok(&v); v.IntervalSeconds != 10 || v.Samples == nil {
		t.Errorf("%+v", v)
	}
}

// The description of access is true for every route, also for those added later.
func TestEveryRouteThatWantsALoginRefusesAStrangerAndAWriteAReadToken(t *testing.T) {
	a := newAPI(t)
	read := a.addToken("looker", "read").Token
	for path, item := range a.document().Paths.Map() {
		for method, op := range item.Operations() {
			if op.Security == nil || len(*op.Security) == 0 {
				continue
			}
			at := strings.NewReplacer("{", "", "}", "").Replace(path)
			a.call(method, at, nil, as("")).fails(401, "AUTH_REQUIRED")
			a.call(method, at, nil, as("made-up")).fails(401, "INVALID_TOKEN")
			if method != http.MethodGet {
				a.call(method, at, "{}", as(read)).fails(403, "FORBIDDEN")
			}
		}
	}
}
