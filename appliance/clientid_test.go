package appliance

import (
	"strings"
	"testing"

	"wfm/appliance/emqx"
	"wfm/internal/mqtttest"
)

func TestAppliancesSessionCannotBeGuessedAndOutlivesARestart(t *testing.T) {
	s := newSite(t)
	s.connected()
	b := s.nodes(1)[0]
	s.settled()
	id := s.appliance.external.ClientID
	if len(id) < len(emqx.ClientIDPrefix)+40 || !s.emqx.Connected(id) {
		t.Fatal("the appliance has not connected with a client id that is a secret")
	}
	s.stop()
	c := mqtttest.Dial(t, s.emqx.NetAddr(), 5)
	ack := c.Connect(mqtttest.Login{ClientID: "wfm-backend", Username: b.Node.ID, Password: b.Password, Keepalive: 60, NotClean: true})
	if ack.SessionPresent {
		t.Error("the fixed client id has a session")
	}
	_ = c.Close()
	s.open()
	s.start()
	s.connected()
	if s.appliance.external.ClientID != id {
		t.Error("another client id after a restart")
	}
	if strings.Contains(s.log.String(), id) {
		t.Error("the client id is in the log")
	}
}
