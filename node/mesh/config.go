package mesh

import (
	"fmt"
	"log/slog"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// Config is what [New] needs to know.
type Config struct {
	Key     crypto.PrivKey         // identity, Ed25519
	Network string                 // name of the network, for people
	Secret  protocol.NetworkSecret // what makes a peer a member

	Listen     []multiaddr.Multiaddr // see [Default]; UDP with port 0 takes the TCP port of the same IP
	Announce   []multiaddr.Multiaddr // when set, the only addresses that peers are told
	Bootstrap  []multiaddr.Multiaddr // each ends in /p2p/ID; connections to them are always restored
	Remembered []peer.AddrInfo       // members of earlier runs
	Remember   func(peer.AddrInfo)   // told of each member that has connected; may be nil

	Book   *market.Book
	Logger *slog.Logger
	// Metrics takes libp2p's own collectors; nil: they are not made.
	Metrics prometheus.Registerer
}

// Default returns a Config that listens on loopback only, with TCP and QUIC on
// one port that the kernel chooses. Key, Network, Secret, Book and Logger are
// left to be set.
func Default() Config {
	return Config{Listen: []multiaddr.Multiaddr{
		multiaddr.StringCast("/ip4/127.0.0.1/tcp/0"),
		multiaddr.StringCast("/ip4/127.0.0.1/udp/0/quic-v1"),
	}}
}

// validate returns the peers to bootstrap from, without self.
func (c *Config) validate(self peer.ID) ([]peer.AddrInfo, error) {
	if c.Book == nil || c.Logger == nil {
		return nil, fmt.Errorf("mesh: a book and a logger are needed")
	}
	if len(c.Listen) == 0 {
		return nil, protocol.Errorf(protocol.CodeAddress, "no address to listen on")
	}
	bootstrap, err := peer.AddrInfosFromP2pAddrs(c.Bootstrap...)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeAddress, "bootstrap address: %v", err).
			WithHint("a bootstrap address looks like /ip4/192.0.2.1/tcp/4001/p2p/PEER, as `spare status` shows it")
	}
	others := bootstrap[:0]
	for _, b := range bootstrap {
		if b.ID != self {
			others = append(others, b)
		}
	}
	return others, nil
}
