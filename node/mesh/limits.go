package mesh

import (
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	libp2pproto "github.com/libp2p/go-libp2p/core/protocol"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/x/rate"

	"github.com/spare-network/spare/node/mesh/swarm"
	"github.com/spare-network/spare/protocol"
)

const (
	// connsPerAddress is how many connections one IP address may hold: many
	// nodes live behind one, on a rack as behind a NAT. libp2p allows 8.
	connsPerAddress = 256
	// newConnsPerAddress is how many it may open in a second, and
	// connBurst at once. libp2p allows 0.2 and 16.
	newConnsPerAddress = 16
	connBurst          = 128
)

// streamLimits are the inbound streams that one peer may hold open, by kind.
// What is opened outbound is the caller's own business, up to outboundStreams.
var streamLimits = map[protocol.StreamKind]int{
	protocol.TaskStream:     4, // one is enough; a few while a new one replaces it
	protocol.LivenessStream: 4,
	protocol.OutputStream:   128,
	protocol.BlobStream:     128,
	protocol.TreeStream:     32,
	protocol.BookStream:     2,
	protocol.EchoStream:     4,
}

// swarmStreams are those of bitswap, which takes a stream for each fetch, and one
// for each leaf that is on its way.
const swarmStreams = 32

const outboundStreams = 256 // to one peer, of one kind

// resourceManager bounds connections, streams and memory. Its limits are
// libp2p's, widened where they are too narrow for many nodes on one address
// (of which loopback is exempt altogether) or for the streams of a busy pair,
// and narrowed for the kinds of stream of which a peer needs few.
func resourceManager(id protocol.NetworkID) (network.ResourceManager, error) {
	limits := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&limits)
	limit := func(id libp2pproto.ID, inbound int) {
		all := rcmgr.BaseLimit{
			StreamsInbound: 64 * inbound, StreamsOutbound: 16 * outboundStreams,
			Streams: 64*inbound + 16*outboundStreams, Memory: 256 << 20,
		}
		limits.AddProtocolLimit(id, all, rcmgr.BaseLimitIncrease{})
		each := rcmgr.BaseLimit{
			StreamsInbound: inbound, StreamsOutbound: outboundStreams,
			Streams: inbound + outboundStreams, Memory: 64 << 20,
		}
		limits.AddProtocolPeerLimit(id, each, rcmgr.BaseLimitIncrease{})
	}
	for kind, inbound := range streamLimits {
		limit(kind.ID(id), inbound)
	}
	limit(swarm.ProtocolID(id), swarmStreams)
	limits.PeerBaseLimit.Streams, limits.PeerBaseLimit.StreamsInbound, limits.PeerBaseLimit.StreamsOutbound = 1024, 512, 512
	limits.SystemBaseLimit.Streams, limits.SystemBaseLimit.StreamsInbound, limits.SystemBaseLimit.StreamsOutbound = 16384, 8192, 8192
	limits.SystemBaseLimit.Conns, limits.SystemBaseLimit.ConnsInbound, limits.SystemBaseLimit.ConnsOutbound = 512, 384, 256
	limits.TransientBaseLimit.Conns, limits.TransientBaseLimit.ConnsInbound = 256, 192

	loopback := []rate.PrefixLimit{
		{Prefix: netip.MustParsePrefix("127.0.0.0/8")}, // no limit
		{Prefix: netip.MustParsePrefix("::1/128")},
	}
	pace := rate.Limit{RPS: newConnsPerAddress, Burst: connBurst}
	return rcmgr.NewResourceManager(
		rcmgr.NewFixedLimiter(limits.AutoScale()),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: connsPerAddress}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: connsPerAddress}},
		),
		rcmgr.WithConnRateLimiters(&rate.Limiter{
			NetworkPrefixLimits: loopback,
			SubnetRateLimiter: rate.SubnetLimiter{
				IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: pace}},
				IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: pace}},
				GracePeriod:      time.Minute,
			},
		}),
	)
}
