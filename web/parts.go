package web

import (
	"net/netip"

	"wfm/apply"
	"wfm/web/access"
	"wfm/web/api/account"
	"wfm/web/api/bind"
	"wfm/web/api/download"
	"wfm/web/api/draft"
	"wfm/web/api/importconf"
	"wfm/web/api/link"
	"wfm/web/api/mesh"
	"wfm/web/api/node"
	"wfm/web/api/rollout"
	"wfm/web/api/status"
	"wfm/web/api/system"
	"wfm/web/reach"
	"wfm/web/view"
)

// apis holds the parts of the API.
type apis struct {
	system   *system.API
	account  *account.API
	mesh     *mesh.API
	link     *link.API
	draft    *draft.API
	importer *importconf.API
	download *download.API
	bind     *bind.API
	node     *node.API
	status   *status.API
	rollout  *rollout.API
}

func (s *Server) newGuard() *access.Guard {
	o := access.Options{
		Store: s.opts.Store, Logger: s.log, Audit: s.audit, PublicOrigin: s.opts.PublicOrigin, ExtraAllowedOrigins: s.opts.ExtraAllowedOrigins,
		HTTPSPort: s.opts.HTTPSPort, Certified: func() bool { return true },
	}
	if certs := s.opts.Certificates; certs != nil {
		o.Fingerprint = certs.Fingerprint
		o.Certified = func() bool { return !certs.Status().NotAfter.IsZero() }
	}
	return access.NewGuard(o)
}

func (s *Server) newReader() *view.Reader {
	o := s.opts
	r := &view.Reader{
		DB: o.Store, Audit: s.audit, Evidence: o.Evidence, Times: o.Presence, MQTTEnabled: o.MQTTEnabled, Commanded: o.Commands != nil,
		Broker: o.Broker, Certs: o.Certificates, HTTPSPort: o.HTTPSPort, Questions: s.callbacks.Status,
		Streams: func() int { return s.streams.Count() },
	}
	if o.External != nil {
		r.Account = o.External.Account
	}
	return r
}

func (s *Server) newApplier(d *reach.Directory) *apply.Applier {
	o := s.opts
	a := apply.Options{
		Store: o.Store, Evidence: o.Evidence, Presence: o.Presence, Host: func() string { return d.HostFor("") }, Resolver: o.Resolver,
		Networks: o.Networks, Logger: o.Logger,
	}
	if o.Rollouts != nil {
		a.Rollouts = o.Rollouts
	}
	return apply.New(a)
}

func (s *Server) newDirectory() *reach.Directory {
	o := s.opts
	d := &reach.Directory{
		DB: o.Store, Audit: s.audit, Host: o.MQTTHost, Port: o.MQTTPort, TLS: o.MQTTTLS, Certs: o.Certificates, Public: s.guard.Public(),
	}
	if o.External != nil {
		d.External, d.CACert = true, o.External.CACert
	}
	return d
}

func (s *Server) newAPIs(d *reach.Directory) apis {
	o := s.opts
	all := apis{
		system: &system.API{
			Applier: s.applier, DB: o.Store, Log: o.Logger, Audit: s.audit, Reader: s.reader, Directory: d, Certificates: o.Certificates,
			Version: o.Version, MQTTEnabled: o.MQTTEnabled, TestMQTT: o.TestMQTT, Document: s.document, Counts: s.counts, Recent: s.recent,
			Stopping: s.stopping,
		},
		account: &account.API{
			DB: o.Store, Log: o.Logger, Guard: s.guard, Audit: s.audit, Recheck: s.streams.Recheck, SessionTTL: o.SessionTTL, SetupToken: o.SetupToken,
			Stopping: s.stopping,
		},
		mesh: &mesh.API{Applier: s.applier, DB: o.Store, Log: o.Logger, Audit: s.audit, Reader: s.reader, Networks: o.Networks},
		link: &link.API{
			DB: o.Store, Log: o.Logger, Audit: s.audit, Reader: s.reader, Directory: d, Resolver: o.Resolver, Networks: o.Networks,
		},
		draft:    &draft.API{DB: o.Store},
		importer: &importconf.API{DB: o.Store, Log: o.Logger, Audit: s.audit},
		download: &download.API{
			DB: o.Store, Log: o.Logger, Guard: s.guard, Audit: s.audit, Reader: s.reader, Directory: d, Stopping: s.stopping,
		},
		bind: &bind.API{
			DB: o.Store, Log: o.Logger, Audit: s.audit, Reader: s.reader, Directory: d, Resolver: o.Resolver, Binds: access.NewLimiter[netip.Addr](20, 10),
		},
		node: &node.API{
			DB: o.Store, Log: o.Logger, Audit: s.audit, Reader: s.reader, Directory: d, Resolver: o.Resolver,
			Commands: o.Commands, Stopping: s.stopping, Applier: s.applier,
		},
		status:  &status.API{DB: o.Store, Reader: s.reader},
		rollout: &rollout.API{DB: o.Store, Reader: s.reader, Directory: d, Rollouts: o.Rollouts, Applier: s.applier},
	}
	if o.External != nil {
		all.system.Reconcile = o.External.Reconcile
	}
	return all
}
