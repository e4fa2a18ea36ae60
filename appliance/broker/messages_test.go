package broker

import (
	"errors"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/protocol"
)

func TestMessagesAreCountedByWhatBecameOfThem(t *testing.T) {
	f := start(t, Limits{})
	c := f.connect(t, f.a, 5)
	for id := range uint16(3) {
		c.Publish(f.a.topic(protocol.KindHeartbeat), []byte("{}"), 1, 10+id)
		c.Expect(packets.Puback)
	}
	c.Publish(f.b.topic(protocol.KindHeartbeat), []byte("{}"), 1, 2) // another node's
	c.Expect(packets.Puback)
	f.answer(errors.New("no room"))
	c.Publish(f.a.topic(protocol.KindHeartbeat), []byte("{}"), 1, 3)
	c.Expect(packets.Puback)
	if err := f.Publish(f.a.t(protocol.KindControl), []byte("{}"), time.Minute); err != nil {
		t.Fatal(err)
	}
	_ = f.Publish(f.b.t(protocol.KindControl), []byte("{}"), time.Minute) // is not there
	if in, out, refused := f.Messages(); in != 3 || out != 1 || refused != 2 {
		t.Errorf("in %d, out %d, refused %d", in, out, refused)
	}
}
