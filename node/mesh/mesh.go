package mesh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/multiformats/go-multiaddr"
	"golang.org/x/sync/errgroup"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/node/mesh/swarm"
	"github.com/spare-network/spare/protocol"
)

// Mesh is this node's membership of its network. All methods may be called
// from many goroutines, from [New] until [Mesh.Run] returns.
type Mesh struct {
	cfg       Config
	self      peer.ID
	net       protocol.NetworkID
	bootstrap []peer.AddrInfo
	book      *market.Book
	log       *slog.Logger

	gate      *gate
	host      host.Host
	gossip    *gossip
	directory *directory
	exchange  *swarm.Exchange
	sending   *swarm.Budget // of blobs and output
	receiving *swarm.Budget // of blobs
	rtts      *rtts
	places    *places
	taken     *lru.Cache[protocol.Digest, struct{}] // offers that pulls have brought
	calls     calls
	tags      atomic.Uint64 // of protected streams, see conn
	thin      chan struct{} // holds a token when a new peer may be worth a connection
}

// Peer is a member that is connected or that has an offer in the Book.
type Peer struct {
	ID        peer.ID
	Connected bool
	RTT       time.Duration // see [Mesh.RTT]
	RTTKnown  bool
	Place     market.Coordinate // see [Mesh.Place]
	Placed    bool
	Addrs     []multiaddr.Multiaddr
	Transport string // of its connection, by its protocol's name in multiaddrs; empty without one
	Inbound   bool   // it has connected to this node, not this node to it
}

// New opens the host and begins to listen. Members are admitted and served
// from then on; everything that this node does of its own accord begins with
// [Mesh.Run], which must be called, since it closes the host as well.
// An address that cannot be used is a [protocol.Error] with
// [protocol.CodeAddress].
func New(cfg Config) (*Mesh, error) {
	self, err := peer.IDFromPrivateKey(cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("mesh: identity: %w", err)
	}
	bootstrap, err := cfg.validate(self)
	if err != nil {
		return nil, err
	}
	h := handshake{network: cfg.Network, secret: cfg.Secret, self: self}
	rand.Read(h.instance[:])
	m := &Mesh{
		cfg: cfg, self: self, net: cfg.Secret.ID(), bootstrap: bootstrap,
		book: cfg.Book, log: cfg.Logger,
		gate: newGate(h, cfg.Logger), rtts: newRTTs(), places: newPlaces(), thin: make(chan struct{}, 1), sending: swarm.NewBudget(), receiving: swarm.NewBudget(),
	}
	if m.taken, err = lru.New[protocol.Digest, struct{}](protocol.MaxBookOffers); err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	if m.host, err = openHost(cfg, m.gate); err != nil {
		return nil, err
	}
	m.host.Network().Notify(&network.NotifyBundle{ConnectedF: closeStale})
	if m.directory, err = newDirectory(m.host, m.net); err != nil {
		return nil, errors.Join(err, m.host.Close())
	}
	if m.gossip, err = newGossip(m.host, m.net, m.book, m.connected, m.lookAround); err != nil {
		return nil, errors.Join(err, m.directory.close(), m.host.Close())
	}
	m.exchange = swarm.New(m.host, m.net, m.sending, m.receiving)
	for _, p := range slices.Concat(bootstrap, cfg.Remembered) {
		// Identify drops temporary addresses: it brings the present ones. Until
		// then keepBootstrap and dialSome renew them.
		m.host.Peerstore().AddAddrs(p.ID, p.Addrs, peerstore.TempAddrTTL)
	}
	m.Handle(protocol.BookStream, m.serveBook)
	m.Handle(protocol.EchoStream, m.serveEcho)
	return m, nil
}

// Run keeps this node connected to its network, its offers known and its round
// trips measured until ctx ends. Then it closes the host and waits for every
// handler. It returns nil after an orderly end.
func (m *Mesh) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.attendMembers(ctx) })
	g.Go(func() error { m.gossip.run(ctx); return nil })
	g.Go(func() error { m.directory.run(ctx, m.log); return nil })
	g.Go(func() error { m.keepNeighbours(ctx); return nil })
	for _, b := range m.bootstrap {
		g.Go(func() error { m.keepBootstrap(ctx, b); return nil })
	}
	err := g.Wait()
	return errors.Join(err, m.close())
}

func (m *Mesh) close() error {
	m.calls.end()
	m.gossip.close()
	m.exchange.Close()
	err := errors.Join(m.directory.close(), m.host.Close())
	m.calls.wait() // the host has reset their streams
	if err != nil {
		return fmt.Errorf("close mesh: %w", err)
	}
	return nil
}

// dialsOverlap is how much older than another a connection can be that was
// dialled at the same time from the other side.
const dialsOverlap = reachTimeout + handshakeTimeout

// closeStale closes the connections that c, which the peer has just made, shows
// to be dead: those to earlier runs of it, and those that it must have given up,
// as it does behind a link that was cut, since it dials nobody with whom it is
// connected. libp2p prefers the connection with the most streams, and what is
// opened on a dead one hangs for 45 s or is lost.
func closeStale(n network.Network, c network.Conn) {
	for _, other := range n.ConnsToPeer(c.RemotePeer()) {
		givenUp := c.Stat().Direction == network.DirInbound && c.Stat().Opened.Sub(other.Stat().Opened) > dialsOverlap
		if instanceOf(other) != instanceOf(c) || givenUp {
			_ = other.Close() // nobody is at its other end
		}
	}
}

// BoundTraffic bounds what this node sends of blobs and of tasks' output to all
// peers together, and as well what it takes of blobs from them, each in bytes a
// second, from now on; 0 is no bound.
func (m *Mesh) BoundTraffic(bytesPerSecond int64) {
	m.sending.Set(bytesPerSecond)
	m.receiving.Set(bytesPerSecond)
}

// Exchange returns what carries blobs among members. It ends with [Mesh.Run].
func (m *Mesh) Exchange() *swarm.Exchange { return m.exchange }

// Self returns this node's peer ID.
func (m *Mesh) Self() peer.ID { return m.self }

// Addrs returns the addresses that peers are told, each ending in /p2p/ID.
func (m *Mesh) Addrs() []multiaddr.Multiaddr {
	addrs, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: m.self, Addrs: m.host.Addrs()})
	if err != nil {
		panic("mesh: a peer ID is always a valid address component: " + err.Error())
	}
	return addrs
}

// Peers returns the members that are connected or have an offer in the Book,
// without this node, sorted by peer ID.
func (m *Mesh) Peers() []Peer {
	ids := m.host.Network().Peers()
	for _, e := range m.book.All(time.Now()) {
		ids = append(ids, e.Provider)
	}
	slices.SortFunc(ids, func(a, b peer.ID) int { return strings.Compare(string(a), string(b)) })
	var peers []Peer
	for _, id := range slices.Compact(ids) {
		if id == m.self {
			continue
		}
		rtt, known := m.RTT(id)
		p := Peer{ID: id, Connected: m.connected(id), RTT: rtt, RTTKnown: known, Addrs: m.host.Peerstore().Addrs(id)}
		p.Place, p.Placed = m.Place(id)
		if conns := m.host.Network().ConnsToPeer(id); len(conns) > 0 {
			p.Transport, p.Inbound = transportOf(conns[0].RemoteMultiaddr()), conns[0].Stat().Direction == network.DirInbound
		}
		peers = append(peers, p)
	}
	return peers
}

// transportOf names what a connection to an address speaks.
func transportOf(a multiaddr.Multiaddr) string {
	for _, code := range []int{multiaddr.P_QUIC_V1, multiaddr.P_TCP} {
		if _, err := a.ValueForProtocol(code); err == nil {
			return multiaddr.ProtocolWithCode(code).Name
		}
	}
	return ""
}

// Refused returns the latest peers that were refused, or that refused this
// node, newest first.
func (m *Mesh) Refused() []Refusal { return m.gate.refusals.all() }

func (m *Mesh) connected(p peer.ID) bool {
	return m.host.Network().Connectedness(p) == network.Connected
}
