package access

import (
	"errors"
	"net/netip"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/web/wire"
)

// Attempt runs try under the limit of failed proofs of being the admin. It takes a token first, so
// that concurrent attempts cannot exceed the limit, and gives it back unless try found the proof
// wrong.
func (g *Guard) Attempt(c echo.Context, try func() error) error {
	from := RemoteKey(c.Request().RemoteAddr)
	end, err := g.underWay.start(c.Request().Context(), from, func() (func(), error) { return g.takeAttempt(from, time.Now()) })
	if err != nil {
		return err
	}
	wrong := false
	defer func() { end(!wrong) }()
	err = try()
	if wrong = errors.Is(err, wire.ErrAuthFailed) || errors.Is(err, wire.ErrWrongPassword) || errors.Is(err, wire.ErrSetupToken); wrong {
		g.log.Warn("admin not recognized", "route", c.Path(), "remote_addr", c.Request().RemoteAddr, "request_id", wire.RequestIDOf(c))
	}
	return err
}

// placeOf returns the place that the login comes from. A request with a session comes from a known
// place, from any address.
func (g *Guard) placeOf(c echo.Context) place {
	from := RemoteKey(c.Request().RemoteAddr)
	return place{known: LoginOf(c).ID != "" || g.knownAddrs.has(from), network: networkOf(from)}
}

// MakeKnown adds the address of the request to those that an admin has logged in from.
func (g *Guard) MakeKnown(c echo.Context) {
	g.knownAddrs.add(RemoteKey(c.Request().RemoteAddr), time.Now())
}

// NewHash waits for its turn and hashes a new password. Errors: [wire.ErrBusy], the context's.
func (g *Guard) NewHash(c echo.Context, password string) (string, error) {
	return g.hasher.hash(c.Request().Context(), g.placeOf(c), password)
}

// CheckHash waits for its turn and compares the password with hash. An empty hash takes as long and
// fails. Errors: [wire.ErrBusy], the context's.
func (g *Guard) CheckHash(c echo.Context, hash, password string) (bool, error) {
	return g.hasher.check(c.Request().Context(), g.placeOf(c), hash, password)
}

// takeAttempt spends a token for a proof of being the admin: of the address, and for a stranger
// also of the networks around it, since the owner of a /56 has 256 /64.
func (g *Guard) takeAttempt(from netip.Addr, now time.Time) (giveBack func(), err error) {
	networks := []netip.Prefix{}
	if !g.knownAddrs.has(from) && from.IsValid() {
		networks = append(networks, networkOf(from))
		if site, err := from.Prefix(56); err == nil && !from.Is4() {
			networks = append(networks, site)
		}
	}
	if wait, ok := g.logins.Take(from, now); !ok {
		return nil, &wire.RateError{Wait: wait}
	}
	for i, network := range networks {
		if wait, ok := g.networks.Take(network, now); !ok {
			g.logins.giveBack(from)
			for _, earlier := range networks[:i] {
				g.networks.giveBack(earlier)
			}
			return nil, &wire.RateError{
				Wait:    wait,
				Message: "Too many attempts from this network, without an earlier login from this address; try again later.",
			}
		}
	}
	return func() {
		g.logins.giveBack(from)
		for _, network := range networks {
			g.networks.giveBack(network)
		}
	}, nil
}
