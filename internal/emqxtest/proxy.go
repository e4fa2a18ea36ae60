package emqxtest

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy is a line to a server that can be cut.
type Proxy struct {
	tb     testing.TB
	target string
	addr   string

	mu    sync.Mutex
	l     net.Listener // nil while it is cut
	lose  bool         // data to the target
	lost  int          // bytes
	mute  bool         // data from the target is lost
	conns map[net.Conn]struct{}
}

// NewProxy forwards a free loopback port to target until the test ends.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	l := listen(tb, "127.0.0.1:0")
	p := &Proxy{tb: tb, target: target, addr: l.Addr().String(), conns: make(map[net.Conn]struct{})}
	p.serve(l)
	tb.Cleanup(p.Cut)
	return p
}

// Addr returns the address where it listens.
func (p *Proxy) Addr() string { return p.addr }

// Cut ends every connection, and refuses new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.l != nil {
		_ = p.l.Close()
		p.l = nil
	}
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
	p.lose, p.lost, p.mute = false, 0, false
}

// Lose drops all data to the target from now on, until the line is cut.
func (p *Proxy) Lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = true
}

// Lost returns the number of bytes dropped since then.
func (p *Proxy) Lost() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// toTarget writes to the target, or drops the data.
type toTarget struct {
	net.Conn
	p *Proxy
}

func (w toTarget) Write(b []byte) (int, error) {
	w.p.mu.Lock()
	lose := w.p.lose
	if lose {
		w.p.lost += len(b)
	}
	w.p.mu.Unlock()
	if lose {
		return len(b), nil
	}
	return w.Conn.Write(b)
}

// Mute drops all data from the target from now on, until the line is cut.
func (p *Proxy) Mute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = true
}

// toClient writes to the client, or drops the data.
type toClient struct {
	net.Conn
	p *Proxy
}

func (w toClient) Write(b []byte) (int, error) {
	w.p.mu.Lock()
	mute := w.p.mute
	w.p.mu.Unlock()
	if mute {
		return len(b), nil
	}
	return w.Conn.Write(b)
}

// Mend lets connections through again.
func (p *Proxy) Mend() { p.serve(listen(p.tb, p.addr)) }

func (p *Proxy) serve(l net.Listener) {
	p.mu.Lock()
	p.l = l
	p.mu.Unlock()
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go p.pass(l, in)
		}
	}()
}

func (p *Proxy) pass(l net.Listener, in net.Conn) {
	out, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		_ = in.Close()
		return
	}
	p.mu.Lock()
	cut := p.l != l
	if !cut {
		p.conns[in], p.conns[out] = struct{}{}, struct{}{}
	}
	p.mu.Unlock()
	if cut {
		_ = in.Close()
		_ = out.Close()
		return
	}
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{toClient{in, p}, out}, {toTarget{out, p}, in}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].Close()
			_ = pair[1].Close()
		})
	}
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, in)
	delete(p.conns, out)
}
