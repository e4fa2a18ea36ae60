package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"wfm/internal/connlimit"
)

// Sockets are the sockets that a [Server] listens on.
type Sockets struct {
	http, https net.Listener // https is nil without HTTPS
	tls         *tls.Config
}

// SocketOptions configures Listen.
type SocketOptions struct {
	Addr string // of HTTP
	// TLSAddr is that of HTTPS. If empty, there is no HTTPS.
	TLSAddr string
	TLS     *tls.Config
	// TrustedProxies carry many clients, so the limit of connections from one address does not
	// apply to them.
	TrustedProxies []netip.Prefix
}

// Listen binds the addresses. If one is taken or malformed, it returns the system's error with the
// address.
func Listen(ctx context.Context, o SocketOptions) (*Sockets, error) {
	share := 4
	if o.TLSAddr != "" {
		share = 8 // both together as many connections as HTTP alone
	}
	listen := func(what, addr string) (net.Listener, error) {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("listen for %s on %s: %w", what, addr, err)
		}
		// One address gets an eighth, so that a few addresses cannot shut out the others.
		limited := connlimit.New(l, connlimit.Share(share, 4096), connlimit.Share(8*share, 512))
		limited.Exempt = func(from net.Addr) bool { return isProxy(o.TrustedProxies, from) }
		return limited, nil
	}
	s := &Sockets{tls: o.TLS}
	var err error
	if s.http, err = listen("HTTP", o.Addr); err == nil && o.TLSAddr != "" {
		s.https, err = listen("HTTPS", o.TLSAddr)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// isProxy reports whether the address belongs to a trusted proxy.
func isProxy(proxies []netip.Prefix, from net.Addr) bool {
	return slices.ContainsFunc(proxies, func(network netip.Prefix) bool {
		addr, err := netip.ParseAddrPort(from.String())
		return err == nil && network.Contains(addr.Addr().Unmap().WithZone(""))
	})
}

// HTTPAddr returns the address of HTTP.
func (s *Sockets) HTTPAddr() net.Addr { return s.http.Addr() }

// HTTPSAddr returns the address of HTTPS, or nil.
func (s *Sockets) HTTPSAddr() net.Addr {
	if s.https == nil {
		return nil
	}
	return s.https.Addr()
}

// Close closes the sockets of a server that was not started. It may be called more than once.
func (s *Sockets) Close() error {
	var errs []error
	for _, l := range []net.Listener{s.http, s.https} {
		if l == nil {
			continue
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Start serves on [Options].Sockets and [Options].Callbacks until Stop.
func (s *Server) Start() error {
	type served struct {
		serve func(net.Listener) error
		on    net.Listener
	}
	var all []served
	if sockets := s.opts.Sockets; sockets != nil {
		all = append(all, served{s.Serve, sockets.http})
		if sockets.https != nil {
			if s.opts.Certificates == nil || s.opts.Certificates.Status().NotAfter.IsZero() {
				s.log.Warn("there is no certificate for HTTPS yet; until there is, everything is served over HTTP without TLS, logins too")
			}
			all = append(all, served{s.Serve, tls.NewListener(sockets.https, sockets.tls)})
		}
	}
	if s.opts.Callbacks != nil {
		all = append(all, served{s.ServeCallbacks, s.opts.Callbacks})
	}
	for _, l := range all {
		s.listening.Go(func() {
			if err := l.serve(l.on); err != nil {
				select {
				case s.failed <- err:
				default: // the first error is enough
				}
			}
		})
	}
	return nil
}

// Failed delivers the error that ended serving.
func (s *Server) Failed() <-chan error { return s.failed }
