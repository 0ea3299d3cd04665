package mesh

import (
	"math/rand/v2"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// places are where this node and others are on the map of round trips. That of
// another is what it has said last.
type places struct {
	mu     sync.Mutex
	own    market.Coordinate
	others *simplelru.LRU[peer.ID, market.Coordinate]
}

func newPlaces() *places {
	others, err := simplelru.NewLRU[peer.ID, market.Coordinate](rttPeers, nil)
	if err != nil {
		panic("mesh: a positive size is always valid: " + err.Error())
	}
	return &places{own: market.Origin(), others: others}
}

// Place returns where this node, or another, is on the map of round trips, and
// false when nothing is known of that.
func (m *Mesh) Place(p peer.ID) (market.Coordinate, bool) {
	m.places.mu.Lock()
	defer m.places.mu.Unlock()
	if p == m.self {
		return m.places.own, m.places.own != market.Origin()
	}
	return m.places.others.Peek(p)
}

// locate notes where p says that it is, and moves this node by the round trip to
// it that was measured. A node that says nothing, or nonsense, moves nobody.
func (m *Mesh) locate(p peer.ID, said *protocol.Coordinate) {
	at := market.Coordinate{X: said.GetXMs(), Y: said.GetYMs(), Height: said.GetHeightMs(), Error: said.GetError()}
	rtt, known := m.RTT(p)
	if !known || !at.Valid() {
		return
	}
	m.places.mu.Lock()
	defer m.places.mu.Unlock()
	m.places.others.Add(p, at)
	m.places.own = m.places.own.Moved(at, rtt, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
}

// place is where this node says that it is.
func (m *Mesh) place() *protocol.Coordinate {
	own, _ := m.Place(m.self)
	return &protocol.Coordinate{XMs: own.X, YMs: own.Y, HeightMs: own.Height, Error: own.Error}
}
