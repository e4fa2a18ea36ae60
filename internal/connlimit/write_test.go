package connlimit

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"wfm/internal/tlstest"
)

// A server's deadline for the header ends its reads, but not the writes that TLS makes within them.
func TestUnfinishedRequestOfAClientThatDoesNotReadIsClosed(t *testing.T) {
	pipes := tlstest.Listen(t)
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.StartTLS() // for its certificate
	t.Cleanup(s.Close)
	server := http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(tls.NewListener(New(pipes, 10, 10), s.TLS)) }()
	t.Cleanup(func() { _ = server.Close() }) // after the end of the client: it waits for hanging connections
	cfg := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	cfg.ServerName = "example.com"
	c := tlstest.Over(t, pipes.Dial(), cfg)
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\nX: ")); err != nil {
		t.Fatal(err)
	}
	if err := c.AskForNewKeys(); err != nil {
		t.Fatal(err)
	}
	_ = c.SetWriteDeadline(time.Now().Add(time.Minute))
	if _, err := c.Write([]byte("a")); !errors.Is(err, io.ErrClosedPipe) { // the other end does not read
		t.Errorf("the connection was not closed: %v", err)
	}
}

func TestWriteHasADeadlineAlsoWhenNoneIsSetOrItIsTakenAway(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	c := BoundWrites(near, 50*time.Millisecond)
	if err := errors.Join(c.SetDeadline(time.Now().Add(time.Hour)), c.SetWriteDeadline(time.Time{})); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("written to nobody")
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("it is still open: %v", err)
	}
}
