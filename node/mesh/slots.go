package mesh

import (
	"net/netip"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	manet "github.com/multiformats/go-multiaddr/net"
)

const (
	// maxHandshakes bounds the inbound handshakes under way at a time; beyond
	// it a connection is closed at once.
	maxHandshakes = 128
	// maxHandshakesFrom bounds those from one origin, so that a stranger
	// leaves room for members elsewhere. Loopback is exempt: who is there
	// could do worse, and testnets have all their nodes on it.
	maxHandshakesFrom = maxHandshakes / 2
)

// originOf returns the addresses that the other end of c can have for the
// asking: its IPv4 address or the /56 of its IPv6 address. It is the zero
// Prefix when c has no IP address.
func originOf(c network.ConnMultiaddrs) netip.Prefix {
	ip, err := manet.ToIP(c.RemoteMultiaddr())
	if err != nil {
		return netip.Prefix{}
	}
	addr, _ := netip.AddrFromSlice(ip)
	addr = addr.Unmap()
	bits := 32
	if addr.Is6() {
		bits = 56
	}
	p, _ := addr.Prefix(bits) // the zero Prefix when ip was none
	return p
}

// slots are the inbound handshakes under way. Its zero value is ready.
type slots struct {
	mu   sync.Mutex
	all  int
	from map[netip.Prefix]int
}

// take lets a handshake begin if there is a slot for it, until free is called.
func (s *slots) take(from netip.Prefix) (free func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= maxHandshakes || (s.from[from] >= maxHandshakesFrom && !from.Addr().IsLoopback()) {
		return nil, false
	}
	if s.from == nil {
		s.from = make(map[netip.Prefix]int)
	}
	s.all++
	s.from[from]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.from[from]--; s.from[from] == 0 {
			delete(s.from, from)
		}
	}, true
}
