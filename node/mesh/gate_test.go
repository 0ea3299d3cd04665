package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pproto "github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/multiformats/go-multiaddr"

	"github.com/spare-network/spare/protocol"
)

func TestWrongSecretIsRefusedWithACodeOnBothSides(t *testing.T) {
	for _, test := range []struct {
		name    string
		network string
		code    protocol.Code
		says    string
	}{
		{"same name, other secret", "test", protocol.CodeNetwork, "another secret"},
		{"other name", "work", protocol.CodeForeign, "is of the network"},
	} {
		t.Run(test.name, func(t *testing.T) {
			member := start(t)
			member.publish(t)
			stranger := start(t, via(member), func(c *Config) {
				c.Network, c.Secret = test.network, protocol.NetworkSecret{9}
			})
			for _, side := range []struct{ here, there *node }{{member, stranger}, {stranger, member}} {
				eventually(t, "a refusal on both sides", func() bool { return len(side.here.Refused()) > 0 })
				r := side.here.Refused()[0]
				if r.Peer != side.there.Self() || r.Code != test.code || !strings.Contains(r.Message, test.says) || r.When.IsZero() {
					t.Errorf("refusal %+v", r)
				}
				warnings := func() int { return strings.Count(side.here.log.String(), "level=WARN") }
				eventually(t, "a warning", func() bool { return warnings() > 0 })
				if warnings() != 1 || !strings.Contains(side.here.log.String(), side.there.Self().String()) {
					t.Errorf("not one clear warning in\n%s", side.here.log)
				}
				if peers := side.here.Peers(); len(peers) > 0 {
					t.Errorf("a stranger is among the peers: %v", peers)
				}
				_, err := side.here.Open(t.Context(), side.there.Self(), protocol.EchoStream)
				if err == nil {
					t.Error("a stream to a stranger was opened")
				}
			}
			if _, err := stranger.Open(t.Context(), member.Self(), protocol.EchoStream); protocol.CodeOf(err) != test.code {
				t.Errorf("Open: %v, want %s", err, test.code)
			}
		})
	}
}

func TestTwoNetworksSideBySide(t *testing.T) {
	other := func(c *Config) { c.Network, c.Secret = "work", protocol.NetworkSecret{9} }
	a1 := start(t)
	b1 := start(t, other, via(a1))
	a2 := start(t, via(a1, b1))
	b2 := start(t, other, via(a1, b1))
	a1.publish(t)
	a2.publish(t)
	eventually(t, "each network is whole", func() bool {
		return a2.knows(a1) && a1.knows(a2) && b2.connected(b1.Self())
	})
	eventually(t, "each has refused the other", func() bool { return len(b1.Refused()) > 1 && len(a1.Refused()) > 0 })
	for _, b := range []*node{b1, b2} {
		for _, a := range []*node{a1, a2} {
			if b.knows(a) || b.connected(a.Self()) || a.connected(b.Self()) {
				t.Errorf("%s and %s have met", a.Self(), b.Self())
			}
		}
	}
}

// rawHost is a libp2p host that knows everything about a network but how to
// prove its membership.
func rawHost(t *testing.T, served chan<- libp2pproto.ID) host.Host {
	t.Helper()
	h, err := libp2p.New(
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"),
		libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.ResourceManager(&network.NullResourceManager{}),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	for _, id := range spoken() {
		h.SetStreamHandler(id, func(s network.Stream) {
			served <- id
			_ = s.Reset()
		})
	}
	return h
}

// spoken are the protocols that a node speaks with members.
func spoken() []libp2pproto.ID {
	id := testSecret.ID()
	list := []libp2pproto.ID{"/meshsub/1.1.0", id.DHTPrefix() + "/kad/1.0.0", "/ipfs/ping/1.0.0"}
	for _, k := range []protocol.StreamKind{
		protocol.TaskStream, protocol.LivenessStream, protocol.OutputStream,
		protocol.BlobStream, protocol.BookStream, protocol.EchoStream,
	} {
		list = append(list, k.ID(id))
	}
	return list
}

func TestHostWithoutHandshakeIsServedNothing(t *testing.T) {
	n := start(t)
	n.publish(t)
	for _, k := range []protocol.StreamKind{protocol.TaskStream, protocol.LivenessStream, protocol.OutputStream, protocol.BlobStream} {
		n.Handle(k, func(_ context.Context, c *protocol.Conn) {
			t.Errorf("a %s stream was served", k)
			c.Reset()
		})
	}
	for _, to := range n.host.Addrs() {
		t.Run(to.String(), func(t *testing.T) {
			raw := rawHost(t, make(chan libp2pproto.ID, 16))
			raw.Peerstore().AddAddr(n.Self(), to, time.Hour)
			for _, id := range append(spoken(), "/ipfs/id/1.0.0") {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				s, err := raw.NewStream(ctx, n.Self(), id)
				if err == nil {
					_ = s.SetDeadline(time.Now().Add(time.Second))
					_, err = s.Write([]byte{0})
					if err == nil {
						_, err = s.Read(make([]byte, 1))
					}
					_ = s.Reset()
				}
				cancel()
				if err == nil {
					t.Errorf("a %s stream was answered", id)
				}
				_ = raw.Network().ClosePeer(n.Self())
			}
		})
	}
	if got := n.host.Network().Conns(); len(got) > 0 {
		t.Errorf("%d strangers are connected", len(got))
	}
	if n.book.All(time.Now()) == nil {
		t.Error("nothing to be served: the test tests nothing")
	}
}

func TestHostWithoutHandshakeIsAskedNothing(t *testing.T) {
	served := make(chan libp2pproto.ID, 16)
	raw := rawHost(t, served)
	addrs, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: raw.ID(), Addrs: raw.Addrs()})
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, func(c *Config) { c.Bootstrap = addrs })
	if err := n.host.Connect(t.Context(), peer.AddrInfo{ID: raw.ID(), Addrs: raw.Addrs()}); err == nil {
		t.Error("a host without the handshake was connected")
	}
	if _, err := n.Open(t.Context(), raw.ID(), protocol.TaskStream); err == nil {
		t.Error("a stream was opened to it")
	}
	select {
	case id := <-served:
		t.Errorf("it was asked for %s", id)
	default:
	}
}

// silentConn is a connection on which the other end never opens a stream.
type silentConn struct {
	transport.CapableConn
	from   multiaddr.Multiaddr
	once   sync.Once
	closed chan struct{}
}

func (c *silentConn) AcceptStream() (network.MuxedStream, error) {
	<-c.closed
	return nil, network.ErrReset
}

func (c *silentConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *silentConn) CloseWithError(network.ConnErrorCode) error { return c.Close() }

func TestSilentConnectionIsClosedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(handshake{secret: testSecret}, discard())
		c := &silentConn{closed: make(chan struct{})}
		began := time.Now()
		if _, err := g.admit(t.Context(), c, network.DirInbound); err == nil {
			t.Fatal("it was admitted")
		}
		if took := time.Since(began); took != helloTimeout {
			t.Errorf("it was closed after %v, want %v", took, helloTimeout)
		}
	})
}

// endlessListener has as many silent connections as are asked for, up to left.
type endlessListener struct {
	transport.Listener
	left   chan *silentConn
	closed chan struct{}
}

func (l *endlessListener) Accept() (transport.CapableConn, error) {
	select {
	case c := <-l.left:
		return c, nil
	case <-l.closed:
		return nil, transport.ErrListenerClosed
	}
}

func (l *endlessListener) Close() error {
	close(l.closed)
	return nil
}

func (c *silentConn) RemotePeer() peer.ID { return "stranger" }

func (c *silentConn) RemoteMultiaddr() multiaddr.Multiaddr { return c.from }

type endlessTransport struct {
	transport.Transport
	listener transport.Listener
}

func (t endlessTransport) Listen(multiaddr.Multiaddr) (transport.Listener, error) {
	return t.listener, nil
}

func TestHandshakesUnderWayAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(handshake{secret: testSecret}, discard())
		inner := &endlessListener{left: make(chan *silentConn), closed: make(chan struct{})}
		l, err := g.wrap(endlessTransport{listener: inner}).Listen(nil)
		if err != nil {
			t.Fatal(err)
		}
		closed := func(c *silentConn) bool {
			synctest.Wait()
			select {
			case <-c.closed:
				return true
			default:
				return false
			}
		}
		connect := func(from string) *silentConn {
			c := &silentConn{from: multiaddr.StringCast(from), closed: make(chan struct{})}
			inner.left <- c
			return c
		}
		// A stranger leaves room for others, whatever his port or subnet.
		for i := range maxHandshakesFrom {
			connect(fmt.Sprintf("/ip6/2001:db8:0:%x::1/tcp/%d", i, i+1))
		}
		if !closed(connect("/ip6/2001:db8::2/udp/1/quic-v1")) {
			t.Errorf("handshake %d from one origin was let begin", maxHandshakesFrom+1)
		}
		if closed(connect("/ip4/192.0.2.1/tcp/1")) {
			t.Error("a connection was refused though there was room")
		}
		time.Sleep(handshakeTimeout) // of the bubble's time

		const home = "/ip4/127.0.0.1/tcp/1"
		first := connect(home)
		for range maxHandshakes - 2 {
			connect(home)
		}
		if closed(first) || closed(connect(home)) {
			t.Error("a connection was closed before its time")
		}
		if !closed(connect(home)) {
			t.Errorf("handshake %d was let begin", maxHandshakes+1)
		}
		time.Sleep(handshakeTimeout)
		if !closed(first) {
			t.Error("a silent connection was not closed")
		}
		last := connect(home)
		if closed(last) {
			t.Error("a connection was refused though there was room")
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if !closed(last) {
			t.Error("a handshake outlived its listener")
		}
		if _, err := l.Accept(); !errors.Is(err, transport.ErrListenerClosed) {
			t.Errorf("Accept after Close: %v", err)
		}
	})
}

// TestFloodOfStrangersStaysSmall has one origin refused under ever new peer
// IDs, as fast as it can make them.
func TestFloodOfStrangersStaysSmall(t *testing.T) {
	log := new(lockedBuffer)
	g := newGate(handshake{secret: testSecret}, slog.New(slog.NewTextHandler(log, nil)))
	refuse := func(from string, dir network.Direction, code protocol.Code) peer.ID {
		p := newID(t)
		g.refuse(strangeConn{&silentConn{from: multiaddr.StringCast(from)}, p}, dir, protocol.Errorf(code, "refused"))
		return p
	}
	dialled := refuse("/ip4/192.0.2.1/tcp/1", network.DirOutbound, protocol.CodeNetwork)
	other := refuse("/ip4/192.0.2.2/tcp/1", network.DirInbound, protocol.CodeNetwork)
	for i := range 20 * maxRefusals {
		refuse(fmt.Sprintf("/ip4/192.0.2.3/tcp/%d", i+1), network.DirInbound, protocol.CodeNetwork)
	}
	last := refuse("/ip4/192.0.2.3/tcp/1", network.DirInbound, protocol.CodeForeign)
	for _, p := range []peer.ID{dialled, other, last} {
		if _, ok := g.refusals.about(p); !ok {
			t.Errorf("the refusal of %s is forgotten", p)
		}
	}
	if got := len(g.refusals.all()); got != 4 {
		t.Errorf("%d refusals are kept, want one for each origin and code", got)
	}
	if got := strings.Count(log.String(), "level=WARN"); got > 2*maxRefusals {
		t.Errorf("%d warnings", got)
	}

	// Not even from as many origins as there are refusals.
	for i := range 2 * maxRefusals {
		refuse(fmt.Sprintf("/ip4/198.51.100.%d/tcp/1", i), network.DirInbound, protocol.CodeNetwork)
	}
	if _, ok := g.refusals.about(dialled); !ok {
		t.Error("strangers flush the refusal of a peer that was dialled")
	}
	if got := strings.Count(log.String(), "level=WARN"); got > 2*maxRefusals {
		t.Errorf("%d warnings", got)
	}
}

// strangeConn is a connection of a peer of its own.
type strangeConn struct {
	*silentConn
	id peer.ID
}

func (c strangeConn) RemotePeer() peer.ID { return c.id }

// TestRestartReplacesOldConnections has a peer come back under its identity
// while the connection to its former run still seems to be there.
func TestRestartReplacesOldConnections(t *testing.T) {
	key := newKey(t)
	withKey := func(c *Config) { c.Key = key }
	former := start(t, withKey)
	n := start(t, via(former))
	eventually(t, "the former run is connected", func() bool { return n.connected(former.Self()) })
	latter := start(t, withKey, via(n))
	eventually(t, "only the latter run is connected", func() bool {
		conns := n.host.Network().ConnsToPeer(latter.Self())
		for _, c := range conns {
			if instanceOf(c) != latter.gate.instance {
				return false
			}
		}
		return len(conns) > 0
	})
}
