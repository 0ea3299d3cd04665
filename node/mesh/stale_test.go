package mesh

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// agedConn is a connection to one run of a peer, made at some time.
type agedConn struct {
	network.Conn
	run    byte
	from   network.Direction
	opened time.Time
	closed bool
}

func (c *agedConn) RemotePeer() peer.ID { return "somebody" }

func (c *agedConn) Stat() network.ConnStats {
	return network.ConnStats{Stats: network.Stats{Direction: c.from, Opened: c.opened}}
}

func (c *agedConn) As(target any) bool {
	*target.(**memberConn) = &memberConn{instance: instance{c.run}}
	return true
}

func (c *agedConn) Close() error {
	c.closed = true
	return nil
}

// connected is a network with these connections to one peer.
type connected struct {
	network.Network
	conns []network.Conn
}

func (c connected) ConnsToPeer(peer.ID) []network.Conn { return c.conns }

func TestStaleConnectionsAreClosed(t *testing.T) {
	const in, out = network.DirInbound, network.DirOutbound
	for _, test := range []struct {
		name      string
		run       byte
		from      network.Direction // of the new connection
		age       time.Duration     // of the other one
		wantStale bool
	}{
		{"dialled from both sides at once", 1, in, time.Second, false},
		{"the same, and this side was later", 1, out, time.Second, false},
		{"the peer has given the other one up", 1, in, time.Minute, true},
		{"this side has reasons of its own to dial", 1, out, time.Minute, false},
		{"the peer has started again", 2, in, time.Second, true},
		{"the peer has started again and is dialled", 2, out, time.Minute, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := time.Now()
			other := &agedConn{run: 1, from: out, opened: now.Add(-test.age)}
			latest := &agedConn{run: test.run, from: test.from, opened: now}
			closeStale(connected{conns: []network.Conn{other, latest}}, latest)
			if other.closed != test.wantStale || latest.closed {
				t.Errorf("the other one is closed: %v, want %v; the new one: %v", other.closed, test.wantStale, latest.closed)
			}
		})
	}
}
