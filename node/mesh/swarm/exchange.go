// Package swarm carries blobs among the members of a network in leaves, by
// bitswap (https://specs.ipfs.tech/bitswap-protocol/): each peer that fetches one
// serves what it has of it to the others.
//
// It does not know who may read what, who has what, or where a blob is kept: a
// blob is shared, and opened to one peer at a time, by who knows, and leaves are
// read and written by callbacks. Nothing is served to a peer to whom it is not
// open, and nobody is looked for.
//
// # Why not bitswap's own client
//
// The server, the messages and the network are boxo's. Its client asks all
// connected peers for what it wants, and then by preference whoever has answered
// first most often. Here that is the requester, which has all leaves at the
// start: with eight peers at once it would send at least 1 + 1/2 + … + 1/8 =
// 2.7 times the blob, the same chance for all given. It asks again elsewhere
// after a time-out that knows no slow lines, so that leaves come twice. A [Fetch]
// knows its sources, and asks the origin for nothing that another has.
package swarm

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/bitswap/server"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	libp2pnet "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2p "github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multihash"

	"github.com/spare-network/spare/protocol"
)

const (
	// maxWants bounds the leaves that one peer may want at once: those of the
	// largest blob.
	maxWants = protocol.MaxBlob / protocol.LeafSize
	// outstanding is how many bytes are on their way to one peer at most. Each
	// leaf takes one of the senders: a few peers that do not read must not have all.
	outstanding = 2 * protocol.LeafSize
	workers     = 4
	senders     = 16
	// lateness is how long leaves may come for a fetch that has ended, and maxEnded
	// how many of those are remembered.
	lateness = 30 * time.Second
	maxEnded = 64
)

// version is the version of bitswap that is spoken; the network's own prefix
// stands before it.
const version libp2p.ID = "/ipfs/bitswap/1.2.0"

// ProtocolID is the protocol ID of bitswap in one network.
func ProtocolID(net protocol.NetworkID) libp2p.ID { return net.DHTPrefix() + version }

// Exchange is one node's part in the exchange. Its methods may be called from
// many goroutines.
type Exchange struct {
	net                network.BitSwapNetwork
	engine             engine
	watch              func() // stops to watch connections
	sending, receiving *Budget
	sent               atomic.Uint64 // bytes of leaves

	mu      sync.Mutex
	index   map[cid.Cid][]leaf    // of all shares
	guests  map[peer.ID]time.Time // until when anything is open to them
	shunned shunning
	fetches map[*Fetch]struct{}
	ended   []ended
	closed  bool

	denied func(peer.ID) bool // see Deny; nil: nobody is
}

// New serves members of the network on the host, and takes from them, within the
// budgets, until Close.
func New(h host.Host, id protocol.NetworkID, sending, receiving *Budget) *Exchange {
	x := &Exchange{
		sending: sending, receiving: receiving,
		index: make(map[cid.Cid][]leaf), guests: make(map[peer.ID]time.Time), shunned: newShunning(),
		fetches: make(map[*Fetch]struct{}),
	}
	x.net = bsnet.NewFromIpfsHost(&lines{h, x}, bsnet.Prefix(id.DHTPrefix()), bsnet.SupportedProtocols([]libp2p.ID{version}))
	x.engine.x, x.engine.base = x, time.Now()
	watch := &libp2pnet.NotifyBundle{DisconnectedF: func(_ libp2pnet.Network, c libp2pnet.Conn) {
		x.each(func(f *Fetch) { f.cut(c.RemotePeer()) })
	}}
	h.Network().Notify(watch)
	x.watch = func() { h.Network().StopNotify(watch) }
	x.net.Start((*receiver)(x))
	return x
}

// each tells every fetch.
func (x *Exchange) each(tell func(*Fetch)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for f := range x.fetches {
		tell(f)
	}
}

// Close ends the exchange, and every Fetch.
func (x *Exchange) Close() {
	x.watch()
	x.net.Stop()
	x.mu.Lock()
	x.closed = true
	for f := range x.fetches {
		f.end(errClosed)
	}
	x.mu.Unlock()
	x.engine.close()
}

// Deny has nothing be open to peers for which denied reports true, whatever was
// opened to them. It is called once, before anything is shared, and asks denied
// for each leaf that one of them wants.
func (x *Exchange) Deny(denied func(peer.ID) bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.denied = denied
}

// Drop has no fetch that is under way take anything more from a peer.
func (x *Exchange) Drop(p peer.ID) { x.each(func(f *Fetch) { f.drop(p) }) }

// begin has a fetch told of what comes, until it is forgotten.
func (x *Exchange) begin(f *Fetch) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fetches[f] = struct{}{}
	if x.closed {
		f.end(errClosed)
	}
}

func (x *Exchange) forget(f *Fetch) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.fetches, f)
	now := time.Now()
	x.ended = slices.DeleteFunc(x.ended, func(e ended) bool { return now.After(e.until) })
	if len(x.ended) == maxEnded {
		x.ended = slices.Delete(x.ended, 0, 1)
	}
	x.ended = append(x.ended, ended{f.places, now.Add(lateness)})
}

// ended is what a fetch that has ended wanted. Some of it is still on its way.
type ended struct {
	places map[cid.Cid][]int
	until  time.Time
}

// Sent returns how many bytes of leaves this node has sent.
func (x *Exchange) Sent() uint64 { return x.sent.Load() }

// leafCID is what bitswap calls a leaf.
func leafCID(d protocol.Digest) cid.Cid {
	mh, err := multihash.Encode(d[:], multihash.SHA2_256)
	if err != nil {
		panic("swarm: a sha2-256 is always a valid multihash: " + err.Error())
	}
	return cid.NewCidV1(cid.Raw, mh)
}

// receiver is the Exchange as bitswap's network sees it.
type receiver Exchange

// ReceiveMessage takes what a member has sent: blocks, whose bytes are what
// their CIDs say, and what it has, for the fetches, and what it wants, for the
// server.
func (r *receiver) ReceiveMessage(ctx context.Context, from peer.ID, m message.BitSwapMessage) {
	x := (*Exchange)(r)
	x.mu.Lock()
	fetches := make([]*Fetch, 0, len(x.fetches))
	for f := range x.fetches {
		fetches = append(fetches, f)
	}
	past := slices.Clone(x.ended)
	now := time.Now()
	guest := now.Before(x.guests[from])
	x.mu.Unlock()
	for _, f := range fetches {
		f.receive(ctx, from, m)
	}
	for _, b := range m.Blocks() {
		late := func(e ended) bool { return now.Before(e.until) && len(e.places[b.Cid()]) > 0 }
		if !slices.ContainsFunc(fetches, func(f *Fetch) bool { return f.wanted(b.Cid()) }) && !slices.ContainsFunc(past, late) {
			for _, f := range fetches {
				f.wrong(from)
			}
		}
	}
	if wants := len(m.Wantlist()); guest && wants > 0 && wants <= maxWants {
		x.engine.use(func(s *server.Server) { s.ReceiveMessage(ctx, from, m) })
	}
}

// ReceiveError is told of a stream that broke.
func (r *receiver) ReceiveError(error) {}

// PeerConnected is of no interest: sources are known.
func (r *receiver) PeerConnected(peer.ID) {}

// PeerDisconnected forgets what a peer wanted and had.
func (r *receiver) PeerDisconnected(p peer.ID) {
	x := (*Exchange)(r)
	x.engine.tell(func(s *server.Server) { s.PeerDisconnected(p) })
	x.Drop(p)
}

// noScores keeps no account of peers: [market.Turns] judges them, by other means.
type noScores struct{}

func (noScores) GetReceipt(p peer.ID) *server.Receipt { return &server.Receipt{Peer: p.String()} }
func (noScores) AddToSentBytes(peer.ID, int)          {}
func (noScores) AddToReceivedBytes(peer.ID, int)      {}
func (noScores) PeerConnected(peer.ID)                {}
func (noScores) PeerDisconnected(peer.ID)             {}
func (noScores) Start(server.ScorePeerFunc)           {}
func (noScores) Stop()                                {}
