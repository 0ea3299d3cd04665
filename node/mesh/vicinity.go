package mesh

import (
	"net/netip"

	"github.com/libp2p/go-libp2p/core/peer"
	manet "github.com/multiformats/go-multiaddr/net"
)

// Vicinity returns the part of p's address that machines near it share: the
// /16 of an IPv4 address, the /32 of an IPv6 one. It is empty when p is not
// connected.
func (m *Mesh) Vicinity(p peer.ID) string {
	for _, c := range m.host.Network().ConnsToPeer(p) {
		ip, err := manet.ToIP(c.RemoteMultiaddr())
		if err != nil {
			continue // an address without an IP, such as a relay's
		}
		if addr, ok := netip.AddrFromSlice(ip); ok {
			return vicinity(addr)
		}
	}
	return ""
}

func vicinity(addr netip.Addr) string {
	addr = addr.Unmap()
	bits := 32
	if addr.Is4() {
		bits = 16
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return ""
	}
	return prefix.String()
}
