package emqx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"wfm/internal/emqxcall"
)

// Level is the severity of a finding.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Problem Level = "problem" // it does not work, or is not safe
)

// Finding is the result of one check.
type Finding struct {
	Level  Level
	Text   string
	Advice string // what to change; empty if nothing
}

// DoctorOptions configures Diagnose.
type DoctorOptions struct {
	URL *url.URL
	TLS *tls.Config // for mqtts
	API *API
	// SharedKey is needed to log in as a temporary node, because the appliance recognizes such a
	// node by it. The appliance must be running. If empty, no login is tried.
	SharedKey string
	// Patience is how long to wait for an EMQX that failed to reach the appliance. EMQX tries again
	// every 15 s; until then every trial would fail. Zero: do not wait.
	Patience time.Duration
}

// aspect is the subject of a finding. A trial that confirms a finding is added to it, so that each
// fault gets one line.
type aspect int

const (
	other       aspect = iota // without a trial
	aboutLogin                // who may log in
	aboutID                   // which client id a login may use
	aboutTopics               // permissions that anyone has
	aboutAsking               // EMQX cannot ask the appliance, or gets no answer
	aboutDelayed
)

// doctor collects findings.
type doctor struct {
	DoctorOptions
	found []Finding
	about map[aspect]int // index in found
	kinds kinds
}

func (d *doctor) ok(text string, args ...any) {
	d.found = append(d.found, Finding{Level: OK, Text: fmt.Sprintf(text, args...)})
}

// problemAbout adds a problem that a trial may confirm.
func (d *doctor) problemAbout(a aspect, text, advice string) { d.foundAbout(a, Problem, text, advice) }

func (d *doctor) foundAbout(a aspect, level Level, text, advice string) {
	if _, ok := d.about[a]; !ok {
		d.about[a] = len(d.found)
	}
	d.found = append(d.found, Finding{level, text, advice})
}

// tried records that a trial showed a fault: as part of the first finding about one of the aspects,
// or as a problem of its own.
func (d *doctor) tried(text, advice string, about ...aspect) {
	for _, a := range about {
		if i, ok := d.about[a]; ok {
			d.found[i].Text += "; tried: " + text
			return
		}
	}
	d.problem(text, advice)
}

func (d *doctor) warn(text, advice string) {
	d.found = append(d.found, Finding{Warning, text, advice})
}

func (d *doctor) problem(text, advice string) {
	d.found = append(d.found, Finding{Problem, text, advice})
}

// Diagnose checks whether EMQX is set up as the appliance needs it. Then it logs in as a temporary
// node and tries operations that a node may and may not do.
func Diagnose(ctx context.Context, o DoctorOptions) []Finding {
	d := &doctor{DoctorOptions: o, about: make(map[aspect]int)}
	api := d.reachable(ctx)
	if api {
		d.version(ctx)
		d.authentication(ctx)
		d.settings(ctx)
		d.sources(ctx)
		d.broker(ctx)
		d.listeners(ctx)
	}
	if d.transport(ctx) {
		d.login(ctx, api)
	}
	return d.found
}

func (d *doctor) reachable(ctx context.Context) bool {
	if err := d.API.call(ctx, "GET", "/status?format=json", nil, nil); err != nil {
		var answered *APIError
		if !errors.As(err, &answered) {
			d.problem(err.Error(), d.apiAdvice(ctx))
			return false
		}
		if isStatus(err, 404, 405) {
			d.problem("no management API of an EMQX 5 answers at "+place(d.API.base), "check WFM_EMQX_API_BASE_URL: by default EMQX listens for it at port 18083")
			return false
		}
		d.warn(fmt.Sprintf("EMQX reports that it is unhealthy (%d)", answered.Status), "look at EMQX's log")
	}
	if _, err := d.API.authenticators(ctx); err != nil {
		d.problem(err.Error(), "create an API key with the role administrator, as `wfm emqx config` shows")
		return false
	}
	// Clearing the permissions of a client that does not exist changes nothing, but requires the
	// right to change things.
	err := d.API.call(ctx, "DELETE", "/clients/"+emqxcall.CheckConfigID+"/authorization/cache", nil, nil)
	if isStatus(err, 401, 403) {
		d.problem("the API key may only read: the appliance can neither create accounts nor end sessions",
			"give the key the role administrator, as `wfm emqx config` shows")
		return true
	}
	d.ok("the management API answers, and accepts the key")
	return true
}

// apiAdvice returns the advice for a management API that does not answer.
func (d *doctor) apiAdvice(ctx context.Context) string {
	advice := "check WFM_EMQX_API_BASE_URL, and that EMQX runs"
	if conn, err := d.dial(ctx); err == nil {
		_ = conn.Close()
		advice = "EMQX's MQTT listener answers, so check WFM_EMQX_API_BASE_URL, and set dashboard.listeners.http.bind = 18083: " +
			"from 6.0.3, 6.1.2 and 6.2.1 on it is off in a base.hocon without that"
	}
	return advice
}

func (d *doctor) authentication(ctx context.Context) {
	all, err := d.API.authenticators(ctx)
	if err == nil {
		d.kinds, err = kindsOf(all)
	}
	switch {
	case errors.Is(err, errHash):
		d.problem("the built-in database does not take users by name with sha256 hashes and the salt as prefix: no node can log in",
			"set password_hash_algorithm { name = sha256, salt_position = prefix } and user_id_type = username, as `wfm emqx config` prints")
	case err != nil:
		d.problemAbout(aboutLogin, "no authenticator checks logins, or none that knows the nodes",
			"set up the authenticator that `wfm emqx config` prints; without one anybody may log in")
	case d.kinds.database && d.kinds.http && databaseFirst(all):
		d.problemAbout(aboutID, "logins are checked against the built-in database, which ignores the client id, before the appliance is asked: a "+
			"node can take another's session",
			"remove the authenticator of the built-in database, as `wfm emqx config` prints")
	case d.kinds.database && d.kinds.http:
		d.problemAbout(aboutID, "after the question at logins comes the built-in database, which ignores the client id: while the appliance is "+
			"away, a node can take another's session",
			"remove the authenticator of the built-in database, as `wfm emqx config` prints")
	case d.kinds.database:
		d.foundAbout(aboutID, Warning, "logins are checked against the built-in database (sha256, salt as prefix), which ignores the client id", askAtLogins)
	}
	for _, a := range all {
		switch {
		case !a.enabled() || a.Backend != "http":
		case !strings.HasSuffix(a.URL, emqxcall.LoginPath):
			d.problemAbout(aboutLogin, "EMQX asks at "+place(a.URL)+" about logins, which is not the appliance", askAtLogins)
		case d.asks(a.request, emqxcall.LoginFields()) && d.reaches(ctx, "/authentication/password_based%3Ahttp/status", a.URL):
			d.ok("EMQX asks the appliance about logins at %s", place(a.URL))
		}
	}
	if d.loginCache(ctx) {
		d.warn("authentication_settings.node_cache is on: a node that was reset can log in again with its old password while EMQX caches the login, "+
			"and is then denied everything", "set authentication_settings.node_cache.enable = false")
	}
	for _, a := range all {
		if a.enabled() && (a.Mechanism != "password_based" || (a.Backend != "http" && a.Backend != "built_in_database")) {
			d.warn(fmt.Sprintf("EMQX also accepts logins by %s", strings.Trim(a.Mechanism+" "+a.Backend, " ")), "make sure that no node's name can log in by it")
		}
	}
}

func databaseFirst(all []authenticator) bool {
	backend := func(name string) int {
		return slices.IndexFunc(all, func(a authenticator) bool { return a.enabled() && a.Backend == name })
	}
	return backend("built_in_database") < backend("http")
}

// reachPause is the time between two checks whether EMQX reaches the appliance.
const reachPause = time.Second

// reaches reports whether EMQX reaches the appliance with its questions, and waits for that a
// while.
func (d *doctor) reaches(ctx context.Context, status, address string) bool {
	limit := time.Now().Add(d.Patience)
	for {
		var out struct{ Status string }
		if err := d.API.call(ctx, "GET", status, nil, &out); err != nil || out.Status == "" || out.Status == "connected" {
			return true // the trials below show it
		}
		if time.Now().After(limit) {
			break
		}
		select {
		case <-ctx.Done():
			return true
		case <-time.After(reachPause):
		}
	}
	if _, known := d.about[aboutAsking]; !known {
		d.problemAbout(aboutAsking, "EMQX does not reach the appliance at "+place(address)+", so it denies every login and message",
			"start the appliance, and check that EMQX's machine reaches this address; EMQX looks again every 15 s")
	}
	return false
}

const askAtLogins = "make EMQX ask only the appliance at logins, as `wfm emqx config` prints"

// place returns the URL without the parts that may be secret.
func place(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "an address that is none"
	}
	return u.Scheme + "://" + u.Host + u.Path
}

// cacheMost is how long EMQX may cache an answer without a warning.
const cacheMost = 5 * time.Minute

func (d *doctor) settings(ctx context.Context) {
	s, err := d.API.authzSettings(ctx)
	if err != nil {
		d.problem("the authorization settings cannot be read: "+err.Error(), "")
		return
	}
	if s.NoMatch == "deny" {
		d.ok("requests that no source decides are denied")
	} else {
		d.problemAbout(aboutTopics, "no_match is "+s.NoMatch+": whenever the appliance does not answer, every node may do everything",
			"set authorization.no_match = deny")
	}
	ttl := s.remembers()
	if ttl == 0 {
		d.found = append(d.found, Finding{
			OK, "the cache is off, so EMQX asks the appliance about every message",
			`authorization.cache { enable = true, ttl = "1m" } would spare both that`,
		})
	}
	if ttl > cacheMost {
		d.warn(fmt.Sprintf("EMQX caches a node's permissions for %s; a cache that cannot be cleared keeps a lost right as long", ttl),
			`set authorization.cache.ttl = "1m"`)
	}
	if d.nodeCache(ctx) {
		d.problem("authorization.node_cache is on: a kick does not clear it, so a lost right stays valid in it", "set authorization.node_cache.enable = false")
	}
	if s.DenyAction == "disconnect" {
		d.warn("deny_action is disconnect: a moment without the appliance disconnects every node that EMQX asks about", "set authorization.deny_action = ignore")
	}
}

// allowsAll finds a rule in a file source that allows everything to everyone.
var allowsAll = regexp.MustCompile(`(?m)^\s*\{\s*allow\s*,\s*all\s*(,\s*(all|publish|subscribe)\s*,\s*\[\s*"#"\s*\]\s*)?\}`)

func (d *doctor) sources(ctx context.Context) {
	all, err := d.API.authzSources(ctx)
	if err != nil {
		d.problem("the authorization sources cannot be read: "+err.Error(), "")
		return
	}
	asks := false
	for _, s := range all {
		switch {
		case !s.enabled():
		case s.Type == "http" && strings.Contains(s.URL, emqxcall.TopicPath):
			asks = true
			if d.asks(s.request, emqxcall.TopicFields()) && d.reaches(ctx, "/authorization/sources/http/status", s.URL) && d.answers(ctx, s.URL) {
				d.ok("EMQX asks the appliance about permissions at %s", place(s.URL))
			}
			if _, ok := s.Body[emqxcall.RetainField]; !ok {
				d.warn("the question does not say whether a message is to be retained, so that a node could make EMQX keep one", setField(emqxcall.RetainField))
			}
		case s.Type == "file" && allowsAll.MatchString(s.Rules):
			d.problemAbout(aboutTopics, "a file source ends with {allow, all}: whenever the appliance does not answer, every node may do everything",
				"remove the rule, or the file source from authorization.sources")
		default:
			d.warn("EMQX also asks a source of type "+s.Type, "make sure that it allows nothing under wfm/")
		}
	}
	if !asks {
		d.problemAbout(aboutTopics, "EMQX does not ask the appliance about permissions", "add the source of type http that `wfm emqx config` prints")
	}
}

// setField is the advice for a field that is missing from the question.
func setField(field string) string {
	return fmt.Sprintf("set body.%s = %q", field, emqxcall.Placeholder(field))
}

// asks reports whether EMQX asks as the appliance expects, with these fields.
func (d *doctor) asks(s request, fields []string) bool {
	faults := 0
	fault := func(text, advice string) {
		faults++
		for _, f := range d.found {
			if f.Text == text { // about the question at logins, too
				return
			}
		}
		d.problemAbout(aboutAsking, text, advice)
	}
	if !strings.EqualFold(s.Method, "post") {
		fault("EMQX asks the appliance with "+s.Method, "set method = post")
	}
	for _, field := range fields {
		if v, ok := s.Body[field].(string); v != emqxcall.Placeholder(field) && (ok || field != emqxcall.RetainField) {
			fault("the question does not hold the "+field, setField(field))
		}
	}
	key, hidden := "", false
	for name, value := range s.Headers {
		if strings.EqualFold(name, emqxcall.KeyHeader) {
			key, hidden = value, strings.Trim(value, "*") == ""
		}
	}
	switch {
	case key == "" && !hidden:
		fault("EMQX does not show a key when it asks", "set headers."+emqxcall.KeyHeader+" to WFM_EMQX_AUTHZ_SHARED_KEY")
	case d.SharedKey != "" && !hidden && !emqxcall.NewKey(d.SharedKey).Fits(key):
		fault("EMQX shows another key than WFM_EMQX_AUTHZ_SHARED_KEY when it asks", "set headers."+emqxcall.KeyHeader+" to it")
	}
	return faults == 0
}
