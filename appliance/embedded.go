package appliance

import (
	"context"

	"wfm/appliance/broker"
	"wfm/appliance/ingress"
	"wfm/appliance/mqttcheck"
	"wfm/web/reach"
	"wfm/web/view"
)

// embedded adapts the embedded broker to the API.
type embedded struct{ *broker.Broker }

func (a *Appliance) newEmbedded(ctx context.Context, o Options, in *ingress.Ingress) (mqttBroker, error) {
	bo := broker.Options{Addr: o.MQTTAddr, Grants: a.db, Logger: o.Logger, Ingress: in, KeepAlive: o.MQTTKeepAlive}
	if o.mqttTLS() {
		bo.TLSAddr, bo.TLS = o.MQTTTLSAddr, a.certs.TLSConfig()
	}
	b, err := broker.New(ctx, bo)
	if err != nil {
		return nil, err
	}
	return &embedded{b}, nil
}

// Test checks the target as an agent would.
func (b *embedded) Test(ctx context.Context, t reach.MQTTTarget) error {
	return b.Broker.Test(ctx, mqttcheck.Target(t))
}

// Status is always running: the process ends if the embedded broker cannot start.
func (b *embedded) Status() view.BrokerStatus {
	s := view.BrokerStatus{
		Enabled: true, Connected: true, Status: view.BrokerConnected, LastConnectedAt: b.StartedAt(), Mode: "embedded",
		Sessions: b.Sessions(),
	}
	if u := b.Unserved(); !u.At.IsZero() {
		s.Unserved = &view.UnservedClient{At: u.At.UTC(), Address: u.Address, Reason: u.Reason}
	}
	s.MessagesIn, s.MessagesOut, s.MessagesRefused = b.Messages()
	return s
}
