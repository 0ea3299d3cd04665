package mesh

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/spare-network/spare/protocol"
)

func port(t *testing.T, a multiaddr.Multiaddr) string {
	t.Helper()
	for _, code := range []int{multiaddr.P_TCP, multiaddr.P_UDP} {
		if p, err := a.ValueForProtocol(code); err == nil {
			return p
		}
	}
	t.Fatalf("%s has no port", a)
	return ""
}

func TestOnePortForTCPAndQUIC(t *testing.T) {
	n := start(t)
	addrs := n.Addrs()
	if len(addrs) != 2 || port(t, addrs[0]) != port(t, addrs[1]) || port(t, addrs[0]) == "0" {
		t.Errorf("listening at %v", addrs)
	}
	for _, a := range addrs {
		if _, id := peer.SplitAddr(a); id != n.Self() {
			t.Errorf("%s does not end in this node's ID", a)
		}
	}
}

func TestBothTransportsAdmitMembers(t *testing.T) {
	n := start(t)
	for _, a := range n.Addrs() {
		other := start(t, func(c *Config) { c.Bootstrap = []multiaddr.Multiaddr{a} })
		if rtt, err := other.Ping(t.Context(), n.Self()); err != nil || rtt <= 0 {
			t.Errorf("by %s: %v, %v", a, rtt, err)
		}
	}
}

func TestAddressesThatCannotBe(t *testing.T) {
	taken := start(t)
	bare, _ := peer.SplitAddr(taken.Addrs()[0])
	for name, edit := range map[string]func(*Config){
		"no listen address":      func(c *Config) { c.Listen = nil },
		"a port that is taken":   func(c *Config) { c.Listen = []multiaddr.Multiaddr{bare} },
		"no transport for it":    func(c *Config) { c.Listen = []multiaddr.Multiaddr{addr(t, "/ip4/127.0.0.1/udp/0")} },
		"bootstrap without peer": func(c *Config) { c.Bootstrap = []multiaddr.Multiaddr{bare} },
	} {
		cfg := Default()
		cfg.Key, cfg.Book, cfg.Logger = newKey(t), taken.book, discard()
		edit(&cfg)
		if _, err := New(cfg); protocol.CodeOf(err) != protocol.CodeAddress {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOnlyAnnouncedAddressesAreTold(t *testing.T) {
	proxy := addr(t, "/ip4/127.0.0.1/tcp/9")
	hidden := start(t, func(c *Config) { c.Announce = []multiaddr.Multiaddr{proxy} })
	n := start(t)
	if err := hidden.host.Connect(t.Context(), peer.AddrInfo{ID: n.Self(), Addrs: n.host.Addrs()}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the announced address is known", func() bool { return len(n.host.Peerstore().Addrs(hidden.Self())) > 0 })
	if got := n.host.Peerstore().Addrs(hidden.Self()); len(got) != 1 || !got[0].Equal(proxy) {
		t.Errorf("told %v", got)
	}
	if got := hidden.Addrs(); len(got) != 1 || !strings.HasPrefix(got[0].String(), proxy.String()+"/p2p/") {
		t.Errorf("announces %v", got)
	}
}

func TestOpenAndHandle(t *testing.T) {
	a := start(t)
	b := start(t, via(a))
	b.Handle(protocol.TaskStream, func(_ context.Context, c *protocol.Conn) {
		defer c.Close()
		if c.Peer() != a.Self() {
			t.Errorf("the stream is said to be of %s", c.Peer())
		}
		ask := new(protocol.Ask)
		if err := c.Recv(ask); err != nil {
			t.Error(err)
			return
		}
		if err := c.Send(&protocol.Reply{Id: ask.Id}); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "connected", func() bool { return a.connected(b.Self()) })
	c, err := a.Open(t.Context(), b.Self(), protocol.TaskStream)
	if err != nil {
		t.Fatal(err)
	}
	if !a.host.ConnManager().IsProtected(b.Self(), "stream-1") {
		t.Error("the connection of an open task stream may be trimmed")
	}
	reply := new(protocol.Reply)
	say(t, c, &protocol.Ask{Id: 7})
	hear(t, c, reply)
	if reply.Id != 7 {
		t.Errorf("reply %v", reply)
	}
	_ = c.Close() // QUIC complains when the other end has closed first
	if a.host.ConnManager().IsProtected(b.Self(), "stream-1") {
		t.Error("the connection is protected after the end of its stream")
	}
}

func TestManyStreamsOfOnePair(t *testing.T) {
	const streams = 100
	a := start(t)
	b := start(t, via(a))
	var open sync.WaitGroup
	open.Add(streams)
	b.Handle(protocol.OutputStream, func(ctx context.Context, c *protocol.Conn) {
		defer c.Close()
		if err := c.Recv(new(protocol.OutputHeader)); err != nil {
			t.Error(err)
		}
		open.Done()
		<-ctx.Done()
	})
	eventually(t, "connected", func() bool { return a.connected(b.Self()) })
	for range streams {
		c, err := a.Open(t.Context(), b.Self(), protocol.OutputStream)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Reset()
		say(t, c, &protocol.OutputHeader{})
	}
	open.Wait() // all are served at the same time
}

func TestOpenFindsAPeerThroughOthers(t *testing.T) {
	middle := start(t)
	a, b := start(t, via(middle)), start(t, via(middle))
	// Neither has an offer, so that nothing but Open connects them.
	eventually(t, "both are connected to the middle", func() bool {
		return middle.connected(a.Self()) && middle.connected(b.Self()) &&
			len(middle.host.Peerstore().Addrs(b.Self())) > 0 && a.directory.dht.RoutingTable().Size() > 0
	})
	if rtt, err := a.Ping(t.Context(), b.Self()); err != nil || rtt <= 0 {
		t.Errorf("ping: %v, %v", rtt, err)
	}
	if rtt, known := a.RTT(b.Self()); !known || rtt <= 0 {
		t.Errorf("the ping is not remembered: %v, %v", rtt, known)
	}
}

func TestOpenToNobody(t *testing.T) {
	n := start(t)
	dead := start(t)
	n.host.Peerstore().AddAddrs(dead.Self(), dead.host.Addrs(), time.Hour)
	dead.stop()
	for name, p := range map[string]peer.ID{"unknown": newID(t), "dead": dead.Self(), "itself": n.Self()} {
		if _, err := n.Open(t.Context(), p, protocol.TaskStream); protocol.CodeOf(err) != protocol.CodeNotFound {
			t.Errorf("%s: %v", name, err)
		}
		if rtt, known := n.RTT(p); known || rtt != 0 {
			t.Errorf("%s: a round trip of %v is known", name, rtt)
		}
	}
}

func TestShutdownEndsHandlers(t *testing.T) {
	a := start(t)
	b := start(t, via(a))
	reading, waiting := make(chan struct{}), make(chan struct{})
	ended := make(chan string, 2)
	b.Handle(protocol.TaskStream, func(_ context.Context, c *protocol.Conn) {
		defer c.Reset()
		close(reading)
		if err := c.Recv(new(protocol.Ask)); err != nil {
			ended <- "reading"
		}
	})
	b.Handle(protocol.BlobStream, func(ctx context.Context, c *protocol.Conn) {
		defer c.Reset()
		close(waiting)
		<-ctx.Done()
		ended <- "waiting"
	})
	eventually(t, "connected", func() bool { return a.connected(b.Self()) })
	for _, k := range []protocol.StreamKind{protocol.TaskStream, protocol.BlobStream} {
		c, err := a.Open(t.Context(), b.Self(), k)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Reset()
		// A header negotiates the stream, which is opened lazily; this is
		// not a whole message, so that the handler goes on reading.
		if _, err := c.Write([]byte{0x80}); err != nil {
			t.Fatal(err)
		}
	}
	<-reading
	<-waiting
	b.stop()
	if len(ended) != 2 {
		t.Errorf("%d of 2 handlers had ended when Run returned", len(ended))
	}
}

func TestDropClosesAndAllowsToDialAgain(t *testing.T) {
	a := start(t)
	b := start(t)
	info := peer.AddrInfo{ID: b.Self(), Addrs: b.host.Addrs()}
	if err := a.host.Connect(t.Context(), info); err != nil {
		t.Fatal(err)
	}
	a.Drop(b.Self())
	if a.connected(b.Self()) {
		t.Error("still connected")
	}
	if _, err := a.Ping(t.Context(), b.Self()); err != nil {
		t.Errorf("dialling again: %v", err)
	}
}

func TestOfferOfWhoIsBackCountsAgain(t *testing.T) {
	a := start(t)
	b := start(t, via(a))
	b.publish(t)
	eventually(t, "the offer is known", func() bool { return a.knows(b) })
	a.book.Away(b.Self())
	if a.knows(b) {
		t.Fatal("the offer of who is away counts")
	}
	a.Drop(b.Self())
	eventually(t, "it is reached again", func() bool { return a.knows(b) })
}

func TestRTTIsTheLeastOfAWindow(t *testing.T) {
	r, p := newRTTs(), newID(t)
	if rtt, known := r.min(p); known || rtt != 0 {
		t.Errorf("unknown is %v, %v", rtt, known)
	}
	r.add(p, 5*time.Millisecond)
	r.add(p, time.Millisecond)
	r.add(p, 9*time.Millisecond)
	if rtt, _ := r.min(p); rtt != time.Millisecond {
		t.Errorf("least is %v", rtt)
	}
	for range rttWindow - 1 {
		r.add(p, 7*time.Millisecond)
	}
	if rtt, _ := r.min(p); rtt != 7*time.Millisecond {
		t.Errorf("least is %v after the window has moved on", rtt)
	}
	r.add(p, 8*time.Millisecond)
	r.keep(p, 1)
	if rtt, _ := r.min(p); rtt != 8*time.Millisecond {
		t.Errorf("least is %v of the last alone", rtt)
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	var l refusals
	refusal := func(p peer.ID, code protocol.Code) noted { return noted{Refusal: Refusal{Peer: p, Code: code}} }
	same := newID(t)
	if !l.add(refusal(same, protocol.CodeNetwork)) || l.add(refusal(same, protocol.CodeNetwork)) {
		t.Error("the same refusal must be news once")
	}
	for range 2 * maxRefusals {
		l.add(refusal(newID(t), protocol.CodeForeign))
	}
	if got := len(l.all()); got != maxRefusals {
		t.Errorf("%d are kept", got)
	}
	last := l.all()[0]
	if r, ok := l.about(last.Peer); !ok || r != last {
		t.Error("the newest is not first")
	}
	l.forget(last.Peer)
	if _, ok := l.about(last.Peer); ok {
		t.Error("it is not forgotten")
	}
}
