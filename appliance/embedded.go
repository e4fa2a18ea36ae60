package appliance

import (
	"context"
	"log/slog"
	"net"

	"wfm/appliance/broker"
	"wfm/appliance/ingress"
	"wfm/web"
)

// embedded is the embedded broker.
type embedded struct {
	*broker.Broker
	guests *guests
}

func (a *Appliance) newEmbedded(ctx context.Context, o Options, in *ingress.Ingress, log *slog.Logger) (mqttBroker, error) {
	g := &guests{DB: a.db}
	bo := broker.Options{Addr: o.MQTTAddr, Grants: g, Logger: log, Ingress: in, KeepAlive: o.MQTTKeepAlive}
	if o.mqttTLS() {
		bo.TLSAddr, bo.TLS = o.MQTTTLSAddr, a.certs.TLSConfig()
	}
	b, err := broker.New(ctx, bo)
	if err != nil {
		return nil, err
	}
	return &embedded{b, g}, nil
}

// Status is always running: the process ends when the embedded broker cannot start.
func (b *embedded) Status() web.BrokerStatus {
	s := web.BrokerStatus{
		Enabled: true, Connected: true, Status: web.BrokerConnected, LastConnectedAt: b.StartedAt(), Mode: "embedded",
		Sessions: b.Sessions(),
	}
	if u := b.Unserved(); !u.At.IsZero() {
		s.Unserved = &web.UnservedClient{At: u.At.UTC(), Address: u.Address, Reason: u.Reason}
	}
	s.MessagesIn, s.MessagesOut, s.MessagesRefused = b.Messages()
	return s
}

func (b *embedded) port(tls bool) int {
	addr := b.Addr()
	if tls {
		addr = b.TLSAddr()
	}
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}
