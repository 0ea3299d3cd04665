package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"
	"golang.org/x/time/rate"

	libp2p "github.com/libp2p/go-libp2p/core/protocol"

	"github.com/spare-network/spare/protocol"
)

const (
	// handshakeTimeout bounds the proof of membership on one connection.
	handshakeTimeout = 5 * time.Second
	// helloTimeout bounds the part of it in which the dialer, who speaks first,
	// need not know anything.
	helloTimeout = 2 * time.Second
)

// gate lets members of the network in and nobody else. It wraps transports, so
// that libp2p is handed only connections whose two ends have proved their
// membership to each other on the connection's first stream.
type gate struct {
	handshake
	refusals refusals
	log      *slog.Logger
	warnings rate.Sometimes // of inbound refusals, which cost a stranger nothing
	slots    slots
}

func newGate(h handshake, log *slog.Logger) *gate {
	return &gate{
		handshake: h, log: log,
		warnings: rate.Sometimes{First: maxRefusals, Interval: time.Minute},
	}
}

// wrap returns t behind the gate.
func (g *gate) wrap(t transport.Transport) transport.Transport {
	return &gatedTransport{Transport: t, gate: g}
}

type gatedTransport struct {
	transport.Transport
	gate *gate
}

// Dial dials p and returns once both ends have been admitted.
func (t *gatedTransport) Dial(ctx context.Context, to multiaddr.Multiaddr, p peer.ID) (transport.CapableConn, error) {
	reaching, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	c, err := t.Transport.Dial(reaching, to, p)
	if err != nil {
		return nil, err
	}
	return t.gate.admit(ctx, c, network.DirOutbound)
}

// Listen listens for members.
func (t *gatedTransport) Listen(at multiaddr.Multiaddr) (transport.Listener, error) {
	inner, err := t.Transport.Listen(at)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &gatedListener{
		Listener: inner, gate: t.gate,
		admitted: make(chan transport.CapableConn), cancel: cancel, done: make(chan struct{}),
	}
	go l.accept(ctx)
	return l, nil
}

// Close ends the transport when it has an end.
func (t *gatedTransport) Close() error {
	if c, ok := t.Transport.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// gatedListener admits many connections at a time, so that a silent one keeps
// nobody waiting.
type gatedListener struct {
	transport.Listener
	gate     *gate
	admitted chan transport.CapableConn
	cancel   func()
	done     chan struct{} // closed when accept has returned; err is set by then
	err      error
}

func (l *gatedListener) accept(ctx context.Context) {
	var handshakes sync.WaitGroup
	defer close(l.done)
	defer handshakes.Wait()
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			l.err = err
			return
		}
		free, ok := l.gate.slots.take(originOf(c))
		if !ok {
			_ = c.CloseWithError(network.ConnRateLimited) // it is refused either way
			continue
		}
		handshakes.Go(func() {
			member, err := l.gate.admit(ctx, c, network.DirInbound)
			free()
			if err != nil {
				l.gate.log.Debug("inbound handshake failed", "peer", c.RemotePeer(), "addr", c.RemoteMultiaddr(), "error", err)
				return
			}
			select {
			case l.admitted <- member:
			case <-ctx.Done():
				_ = member.Close() // the node is stopping
			}
		})
	}
}

// Accept returns the next admitted connection.
func (l *gatedListener) Accept() (transport.CapableConn, error) {
	select {
	case c := <-l.admitted:
		return c, nil
	case <-l.done:
		return nil, l.err
	}
}

// Close ends the listener and every handshake on it.
func (l *gatedListener) Close() error {
	err := l.Listener.Close()
	l.cancel()
	<-l.done
	return err
}

// admit has both ends of c prove their membership and returns c as a member's
// connection, or closes it.
func (g *gate) admit(ctx context.Context, c transport.CapableConn, dir network.Direction) (transport.CapableConn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	// Accepting a stream takes no context, and every wait ends with the
	// connection.
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	theirs, err := g.prove(ctx, c, dir)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		g.refusals.forget(c.RemotePeer())
		return &memberConn{CapableConn: c, instance: theirs}, nil
	}
	_ = c.CloseWithError(network.ConnGated) // a failed connection fails to close at worst
	var refused *protocol.Error
	if errors.As(err, &refused) {
		g.refuse(c, dir, refused)
	}
	return nil, fmt.Errorf("handshake: %w", err)
}

// refuse notes and logs why c was closed. Whoever can connect can be refused,
// again and again: only what is news is a warning, and not each of a flood.
func (g *gate) refuse(c transport.CapableConn, dir network.Direction, why *protocol.Error) {
	p := c.RemotePeer()
	r := noted{Refusal: Refusal{Peer: p, Code: why.Code, Message: why.Message, When: time.Now()}}
	if dir == network.DirInbound {
		r.from = originOf(c)
	}
	level, news := slog.LevelDebug, g.refusals.add(r)
	switch {
	case news && dir == network.DirInbound:
		g.warnings.Do(func() { level = slog.LevelWarn })
	case news:
		level = slog.LevelWarn
	}
	g.log.Log(context.Background(), level, "peer refused",
		"peer", p, "code", string(why.Code), "reason", why.Message, "hint", why.Hint)
}

// prove runs the handshake on the first stream of c.
func (g *gate) prove(ctx context.Context, c transport.CapableConn, dir network.Direction) (instance, error) {
	if dir == network.DirOutbound {
		s, err := c.OpenStream(ctx)
		if err != nil {
			return instance{}, fmt.Errorf("open stream: %w", err)
		}
		defer s.Close()
		if err := multistream.SelectProtoOrFail(protocol.HandshakeProtocol, s); err != nil {
			return instance{}, fmt.Errorf("not a node of spare: %w", err)
		}
		return g.dial(protocol.NewConn(s, c.RemotePeer(), protocol.MaxHandshake))
	}
	silent := time.AfterFunc(helloTimeout, func() { _ = c.Close() }) // ends every wait on it
	defer silent.Stop()
	s, err := c.AcceptStream()
	if err != nil {
		return instance{}, fmt.Errorf("accept stream: %w", err)
	}
	defer s.Close()
	only := multistream.NewMultistreamMuxer[libp2p.ID]()
	only.AddHandler(protocol.HandshakeProtocol, nil)
	if _, _, err := only.Negotiate(s); err != nil {
		return instance{}, fmt.Errorf("not a node of spare: %w", err)
	}
	return g.listen(protocol.NewConn(s, c.RemotePeer(), protocol.MaxHandshake), func() { silent.Stop() })
}

// memberConn is a connection whose other end is a member.
type memberConn struct {
	transport.CapableConn
	instance instance
}

// As finds the memberConn in a connection of libp2p's.
func (c *memberConn) As(target any) bool {
	if t, ok := target.(**memberConn); ok {
		*t = c
		return true
	}
	return c.CapableConn.As(target)
}

// Stat passes on what the transport knows of the connection.
func (c *memberConn) Stat() network.ConnStats {
	if s, ok := c.CapableConn.(network.ConnStat); ok {
		return s.Stat()
	}
	return network.ConnStats{}
}

// instanceOf returns which run of the peer is at the other end of c.
func instanceOf(c network.Conn) instance {
	var m *memberConn
	if !c.As(&m) {
		return instance{}
	}
	return m.instance
}

// membersOnly is a connection gater that lets only what came through a gate
// reach libp2p.
type membersOnly struct{}

func (membersOnly) InterceptPeerDial(peer.ID) bool                      { return true }
func (membersOnly) InterceptAddrDial(peer.ID, multiaddr.Multiaddr) bool { return true }
func (membersOnly) InterceptAccept(network.ConnMultiaddrs) bool         { return true }
func (membersOnly) InterceptSecured(network.Direction, peer.ID, network.ConnMultiaddrs) bool {
	return true
}

func (membersOnly) InterceptUpgraded(c network.Conn) (bool, control.DisconnectReason) {
	var m *memberConn
	return c.As(&m), 0
}
