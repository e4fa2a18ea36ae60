package floodlog

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestFloodIsCutAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(New(slog.NewTextHandler(&out, nil)))
		for range 1000 {
			log.Warn("junk", "from", "somebody")
		}
		log.With("k", "v").Info("other")
		if n := strings.Count(out.String(), "msg=junk"); n != PerMinute || !strings.Contains(out.String(), "msg=other k=v") {
			t.Errorf("%d of 1000 were let through:\n%s", n, out.String())
		}
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
		out.Reset()
		log.Warn("junk")
		if want := "left_out=970"; !strings.Contains(out.String(), want) {
			t.Errorf("the next minute says %q, want %s", out.String(), want)
		}
	})
}
