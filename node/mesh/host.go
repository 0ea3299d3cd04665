package mesh

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"

	"github.com/spare-network/spare/protocol"
)

const (
	// lowConns and highConns clamp the connections: beyond the high mark those
	// that serve nothing are closed down to the low one. Without a clamp the
	// DHT's refresh makes a full mesh of a small network.
	lowConns  = 48
	highConns = 96
	// reachTimeout bounds the dial of one address up to the handshake of the
	// gate. With libp2p's 15 s every DHT query that meets a dead peer waits.
	reachTimeout = 2 * time.Second
	// tcpDelay is the lead that QUIC has over TCP. libp2p's 30 ms make a busy
	// node do the work of both.
	tcpDelay = 500 * time.Millisecond
	// portAttempts is how many ports are tried to find one that is free for
	// both TCP and UDP.
	portAttempts = 16
)

// openHost opens a libp2p host behind the gate that listens at the addresses
// of cfg.
func openHost(cfg Config, g *gate) (host.Host, error) {
	limits, err := resourceManager(cfg.Secret.ID())
	if err != nil {
		return nil, fmt.Errorf("limit resources: %w", err)
	}
	trimmer, err := connmgr.NewConnManager(lowConns, highConns, connmgr.WithGracePeriod(30*time.Second))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("limit connections: %w", err), limits.Close())
	}
	options := []libp2p.Option{
		libp2p.Identity(cfg.Key),
		libp2p.UserAgent("spare"),
		libp2p.NoListenAddrs,
		libp2p.Transport(func(key crypto.PrivKey, cm *quicreuse.ConnManager, rm network.ResourceManager) (transport.Transport, error) {
			t, err := libp2pquic.NewTransport(key, cm, nil, membersOnly{}, rm)
			if err != nil {
				return nil, err
			}
			return g.wrap(t), nil
		}),
		libp2p.Transport(func(u transport.Upgrader, rm network.ResourceManager) (transport.Transport, error) {
			// Shared ports would let two nodes listen on one TCP port unseen.
			t, err := tcp.NewTCPTransport(u, rm, nil, tcp.DisableReuseport())
			if err != nil {
				return nil, err
			}
			return g.wrap(t), nil
		}),
		libp2p.ConnectionGater(membersOnly{}),
		libp2p.ResourceManager(limits),
		libp2p.ConnectionManager(trimmer),
		libp2p.WithDialTimeout(reachTimeout + handshakeTimeout),
		libp2p.SwarmOpts(swarm.WithDialTimeoutLocal(reachTimeout+handshakeTimeout), swarm.WithDialRanker(quicFirst)),
		libp2p.Ping(false), // round trips are measured on an EchoStream
		libp2p.DisableRelay(),
		libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.DisableMetrics(),
	}
	if cfg.Metrics != nil {
		options[len(options)-1] = libp2p.PrometheusRegisterer(cfg.Metrics)
	}
	if len(cfg.Announce) > 0 {
		options = append(options, libp2p.AddrsFactory(func([]multiaddr.Multiaddr) []multiaddr.Multiaddr { return cfg.Announce }))
	}
	h, err := libp2p.New(options...)
	if err != nil {
		return nil, fmt.Errorf("open host: %w", err)
	}
	if err := listen(h.Network().(*swarm.Swarm), cfg.Listen); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// quicFirst ranks the addresses of a peer. TCP is tried when QUIC has not
// connected in time, or at once when all of QUIC has failed.
func quicFirst(addrs []multiaddr.Multiaddr) []network.AddrDelay {
	var first, later []network.AddrDelay
	for _, a := range addrs {
		if _, err := a.ValueForProtocol(multiaddr.P_QUIC_V1); err == nil {
			first = append(first, network.AddrDelay{Addr: a})
		} else {
			later = append(later, network.AddrDelay{Addr: a, Delay: tcpDelay})
		}
	}
	if len(first) == 0 {
		for i := range later {
			later[i].Delay = 0
		}
	}
	return append(first, later...)
}

// listen listens at all of the addresses. Those with port 0, TCP and UDP alike,
// get one port that is free for both, so that a node has one port.
func listen(s *swarm.Swarm, addrs []multiaddr.Multiaddr) error {
	var err error
	for range portAttempts {
		var port int
		if port, err = freePort(); err != nil {
			break
		}
		fixed, chosen := withPort(addrs, port)
		if err = listenAt(s, fixed); err == nil {
			return nil
		}
		s.ListenClose(s.ListenAddresses()...)
		if !chosen {
			break // it would fail in the same way
		}
	}
	return protocol.Errorf(protocol.CodeAddress, "cannot listen: %v", err).
		WithHint("choose another --listen address, or port 0 for any free port")
}

// listenAt is swarm.Listen, except that each address must succeed.
func listenAt(s *swarm.Swarm, addrs []multiaddr.Multiaddr) error {
	for _, a := range addrs {
		if err := s.AddListenAddr(a); err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
	}
	return nil
}

// freePort returns a TCP port that was free a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// withPort puts port in the place of port 0 and reports whether there was one.
func withPort(addrs []multiaddr.Multiaddr, port int) ([]multiaddr.Multiaddr, bool) {
	fixed, found := make([]multiaddr.Multiaddr, len(addrs)), false
	for i, a := range addrs {
		a = slices.Clone(a)
		for j, c := range a {
			p := c.Protocol()
			if (p.Code != multiaddr.P_TCP && p.Code != multiaddr.P_UDP) || c.Value() != "0" {
				continue
			}
			if n, err := multiaddr.NewComponent(p.Name, strconv.Itoa(port)); err == nil {
				a[j], found = *n, true
			}
		}
		fixed[i] = a
	}
	return fixed, found
}
