package emqx

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// requestLimit bounds one request to the management API.
	requestLimit = 10 * time.Second
	// answerLimit bounds an answer in bytes.
	answerLimit = 32 << 20
	// pageSize is the number of users or clients per page.
	pageSize = 1000
	// pagesMost bounds the pages of a list, pagesSpare the pages beyond its own count, and
	// listLimit the time for all of them.
	pagesMost  = 1000
	pagesSpare = 8
	listLimit  = 2 * time.Minute
	// importSize and kickSize are the numbers sent in one request.
	importSize = 500
	kickSize   = 200

	authenticatorPath = "/authentication/password_based%3Abuilt_in_database"
)

// API is a client of EMQX's management API.
type API struct {
	base        string // ends in /api/v5
	key, secret string
	http        *http.Client
}

// NewAPI returns a client of the API at base, as in http://emqx:18083. roots may be nil: the
// system's certificate authorities.
func NewAPI(base, key, secret string, tlsConfig *tls.Config) (*API, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("want an address as in http://emqx:18083, without key and query")
	}
	base = strings.TrimRight(base, "/")
	if strings.Trim(u.Path, "/") == "" {
		base += "/api/v5"
	}
	// Not the default transport: a proxy in the environment is not meant for this.
	transport := &http.Transport{TLSClientConfig: tlsConfig, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute}
	return &API{base: base, key: key, secret: secret, http: &http.Client{Transport: transport, Timeout: requestLimit}}, nil
}

// APIError is an error answer of EMQX.
type APIError struct {
	Request string // method and path
	Status  int
	Code    string // EMQX's own, such as BAD_API_KEY_OR_SECRET
	// RetryAfter is how long EMQX asks to wait; zero if it does not say.
	RetryAfter time.Duration
}

func (e *APIError) Error() string {
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Sprintf("EMQX refuses the API key (%d %s): check WFM_EMQX_API_KEY and WFM_EMQX_API_SECRET, and that the key's role is administrator", e.Status,
			e.Code)
	case http.StatusTooManyRequests:
		return "EMQX has too many requests at the moment (429)"
	}
	return fmt.Sprintf("EMQX answers %s to %s", strings.TrimSpace(strconv.Itoa(e.Status)+" "+e.Code), e.Request)
}

func isStatus(err error, status ...int) bool {
	e, ok := errors.AsType[*APIError](err)
	return ok && slices.Contains(status, e.Status)
}

// call makes a request. It sends in as JSON unless nil, and decodes the answer into out unless nil.
func (a *API) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return fmt.Errorf("EMQX's API: %w", err)
	}
	req.SetBasicAuth(a.key, a.secret)
	req.Header.Set("Accept", "application/json") // otherwise its configuration comes as HOCON
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := a.http.Do(req)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err // the address can be long, and is already in the text
		}
		return fmt.Errorf("EMQX's API at %s cannot be reached: %w", a.base, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, answerLimit))
	if err != nil {
		return fmt.Errorf("EMQX's answer broke off: %w", err)
	}
	short, _, _ := strings.Cut(path, "?")
	if res.StatusCode < 200 || res.StatusCode > 299 {
		e := &APIError{Request: method + " " + short, Status: res.StatusCode}
		var told struct{ Code string }
		if json.Unmarshal(raw, &told) == nil && len(told.Code) < 64 {
			e.Code = told.Code
		}
		if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
			e.RetryAfter = time.Duration(s) * time.Second
		}
		return e
	}
	if out == nil || len(bytes.TrimSpace(raw)) == 0 { // import_users has no body up to 5.8.1
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("EMQX's answer to %s %s cannot be read: %w", method, short, err)
	}
	return nil
}

// errEndless is returned for a list that does not end.
var errEndless = errors.New("EMQX's list does not end; is WFM_EMQX_API_BASE_URL that of an EMQX 5?")

// pages reads every page of a list: as many as EMQX counts and some more, since the list may grow
// meanwhile.
func pages[T comparable](ctx context.Context, a *API, path string, query url.Values, each func(T)) error {
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	query.Set("limit", strconv.Itoa(pageSize))
	var before T // the last page's first row
	for page := 1; page <= pagesMost; page++ {
		query.Set("page", strconv.Itoa(page))
		var answer struct {
			Data []T
			Meta struct {
				HasNext bool `json:"hasnext"`
				Count   int  // of all pages; 0 if EMQX does not count
			}
		}
		if err := a.call(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &answer); err != nil {
			return err
		}
		if len(answer.Data) > 0 {
			if page > 1 && answer.Data[0] == before {
				return errEndless
			}
			before = answer.Data[0]
		}
		for _, row := range answer.Data {
			each(row)
		}
		if !answer.Meta.HasNext || len(answer.Data) == 0 {
			return nil
		}
		if count := answer.Meta.Count; count > 0 && page > count/pageSize+pagesSpare {
			return errEndless
		}
	}
	return errEndless
}

// users returns the users of the built-in database, and for each whether it is a superuser.
func (a *API) users(ctx context.Context) (map[string]bool, error) {
	out := make(map[string]bool)
	type user struct {
		ID        string `json:"user_id"`
		Superuser bool   `json:"is_superuser"`
	}
	err := pages(ctx, a, authenticatorPath+"/users", url.Values{}, func(u user) { out[u.ID] = u.Superuser })
	return out, err
}

// userRow is a user with the hash of its password.
type userRow struct {
	UserID       string `json:"user_id"`
	PasswordHash string `json:"password_hash"`
	Salt         string `json:"salt"`
	Superuser    bool   `json:"is_superuser"`
}

// importUsers creates or updates the users.
func (a *API) importUsers(ctx context.Context, rows []userRow) error {
	for len(rows) > 0 {
		n := min(importSize, len(rows))
		var counts struct{ Failed int }
		if err := a.call(ctx, http.MethodPost, authenticatorPath+"/import_users?type=hash", rows[:n], &counts); err != nil {
			return err
		}
		if counts.Failed > 0 {
			return fmt.Errorf("EMQX could not import %d of %d users; its log says why", counts.Failed, n)
		}
		rows = rows[n:]
	}
	return nil
}

// deleteUser removes the user, if there is one.
func (a *API) deleteUser(ctx context.Context, id string) error {
	err := a.call(ctx, http.MethodDelete, authenticatorPath+"/users/"+url.PathEscape(id), nil, nil)
	if isStatus(err, http.StatusNotFound) {
		return nil
	}
	return err
}

// clientRow is an open connection.
type clientRow struct {
	ClientID    string `json:"clientid"`
	Username    string `json:"username"`
	Connected   bool   `json:"connected"` // durable sessions without a connection are listed, too
	ConnectedAt moment `json:"connected_at"`
	IPAddress   string `json:"ip_address"`
}

// moment is a time in milliseconds. EMQX writes it as a number in events and as text in lists.
type moment uint64

func (m *moment) UnmarshalJSON(raw []byte) error {
	if n, err := strconv.ParseUint(string(raw), 10, 64); err == nil {
		*m = moment(n)
		return nil
	}
	var t time.Time
	if err := json.Unmarshal(raw, &t); err != nil {
		return fmt.Errorf("no time: %w", err)
	}
	*m = moment(max(0, t.UnixMilli()))
	return nil
}

func (a *API) clients(ctx context.Context) ([]clientRow, error) {
	var out []clientRow
	err := pages(ctx, a, "/clients", url.Values{"conn_state": {"connected"}}, func(c clientRow) {
		if c.Connected {
			out = append(out, c)
		}
	})
	return out, err
}

// kick ends those of the clients' sessions that exist.
func (a *API) kick(ctx context.Context, ids []string) error {
	for len(ids) > 0 {
		n := min(kickSize, len(ids))
		err := a.call(ctx, http.MethodPost, "/clients/kickout/bulk", ids[:n], nil)
		if isStatus(err, http.StatusNotFound, http.StatusMethodNotAllowed) { // before 5.1
			err = a.kickEach(ctx, ids[:n])
		}
		if err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

func (a *API) kickEach(ctx context.Context, ids []string) error {
	for _, id := range ids {
		err := a.call(ctx, http.MethodDelete, "/clients/"+url.PathEscape(id), nil, nil)
		if err != nil && !isStatus(err, http.StatusNotFound) {
			return err
		}
	}
	return nil
}

// clearCaches makes EMQX forget the clients' cached permissions: client by client if they are few,
// otherwise for all clients.
func (a *API) clearCaches(ctx context.Context, ids []string) error {
	const few = 20
	if len(ids) > few {
		return a.clearAllCaches(ctx)
	}
	for _, id := range ids {
		err := a.call(ctx, http.MethodDelete, "/clients/"+url.PathEscape(id)+"/authorization/cache", nil, nil)
		if err != nil && !isStatus(err, http.StatusNotFound) {
			return err
		}
	}
	return nil
}

func (a *API) clearAllCaches(ctx context.Context) error {
	return a.call(ctx, http.MethodDelete, "/authorization/cache", nil, nil)
}

// canAsk reports whether EMQX reaches the appliance with its questions about authorization. An EMQX
// that failed to tries again every 15 s, and does not ask in between.
func (a *API) canAsk(ctx context.Context) (bool, error) {
	var out struct{ Status string }
	err := a.call(ctx, http.MethodGet, "/authorization/sources/http/status", nil, &out)
	return out.Status == "connected" || out.Status == "", err
}

// authenticator is one of EMQX's checks of logins.
type authenticator struct {
	Mechanism string
	Backend   string
	Enable    *bool
	UserID    string `json:"user_id_type"`
	Hash      struct {
		Name         string
		SaltPosition string `json:"salt_position"`
	} `json:"password_hash_algorithm"`
	request
}

// request describes how EMQX asks over HTTP.
type request struct {
	Method  string
	URL     string
	Headers map[string]string
	Body    map[string]any
}

func (a authenticator) enabled() bool { return a.Enable == nil || *a.Enable }

func (a *API) authenticators(ctx context.Context) ([]authenticator, error) {
	var out []authenticator
	err := a.call(ctx, http.MethodGet, "/authentication", nil, &out)
	return out, err
}

// authzSettings says how EMQX treats the answers of its authorization sources.
type authzSettings struct {
	NoMatch    string `json:"no_match"`
	DenyAction string `json:"deny_action"`
	Cache      struct {
		Enable *bool
		TTL    any // a duration as text, or milliseconds
	}
}

// remembers returns how long EMQX caches an answer. A setting that cannot be read counts as for
// ever.
func (s authzSettings) remembers() time.Duration {
	const forever = math.MaxInt64
	if s.Cache.Enable != nil && !*s.Cache.Enable {
		return 0
	}
	switch ttl := s.Cache.TTL.(type) {
	case nil:
		return time.Minute // EMQX's default
	case float64:
		return time.Duration(min(ttl, 1e12)) * time.Millisecond
	case string:
		if days, ok := strings.CutSuffix(ttl, "d"); ok {
			if n, err := strconv.Atoi(days); err == nil {
				return time.Duration(min(n, 10_000)) * 24 * time.Hour
			}
		}
		if d, err := time.ParseDuration(ttl); err == nil {
			return d
		}
	}
	return forever
}

func (a *API) authzSettings(ctx context.Context) (s authzSettings, err error) {
	return s, a.call(ctx, http.MethodGet, "/authorization/settings", nil, &s)
}

// authzSource is one of the sources of authorization. EMQX asks them in order.
type authzSource struct {
	Type   string
	Enable *bool
	request
	Rules string // of a file source
}

func (s authzSource) enabled() bool { return s.Enable == nil || *s.Enable }

func (a *API) authzSources(ctx context.Context) ([]authzSource, error) {
	var out struct{ Sources []authzSource }
	err := a.call(ctx, http.MethodGet, "/authorization/sources", nil, &out)
	return out.Sources, err
}
