package swarm

import (
	"slices"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

func TestEqualLeavesAreIndexedOnce(t *testing.T) {
	zero, one := protocol.DigestOf([]byte{0}), protocol.DigestOf([]byte{1})
	x := &Exchange{index: make(map[cid.Cid][]leaf)}
	leaves := append(slices.Repeat([]protocol.Digest{zero}, 4000), one, zero, one)
	a := x.Share("a", &protocol.Tree{Leaves: leaves}, nil)
	b := x.Share("b", &protocol.Tree{Leaves: leaves[4000:]}, nil)
	for digest, want := range map[protocol.Digest][]leaf{zero: {{a, 0}, {b, 1}}, one: {{a, 4000}, {b, 0}}} {
		if got := x.index[leafCID(digest)]; !slices.Equal(got, want) {
			t.Errorf("%d places, want %d", len(got), len(want))
		}
	}
	a.Close()
	if got := x.index[leafCID(zero)]; !slices.Equal(got, []leaf{{b, 1}}) {
		t.Errorf("after the end of one: %v", got)
	}
	b.Close()
	if len(x.index) > 0 {
		t.Errorf("after the end of both there are %d", len(x.index))
	}
}

// TestDeniedPeersReadNothing has what was opened to a peer before be closed to it.
func TestDeniedPeersReadNothing(t *testing.T) {
	x := &Exchange{index: make(map[cid.Cid][]leaf), guests: make(map[peer.ID]time.Time)}
	denied := make(map[peer.ID]bool)
	x.Deny(func(p peer.ID) bool { return denied[p] })
	d := protocol.DigestOf([]byte{0})
	s := x.Share("a", &protocol.Tree{Leaves: []protocol.Digest{d}}, everything{})
	for _, p := range []peer.ID{"ann", "bob"} {
		s.Open(p, time.Now().Add(time.Hour))
	}
	for range 2 {
		for _, p := range []peer.ID{"ann", "bob"} {
			if may := x.maySend(p, leafCID(d)) && x.mayRead(p, leafCID(d)); may == denied[p] {
				t.Errorf("%s may read: %v", string(p), may)
			}
		}
		denied["bob"] = true
	}
	denied["bob"] = false
	if !x.maySend("bob", leafCID(d)) {
		t.Error("what is open is closed for ever")
	}
}

// everything has every leaf.
type everything struct{}

func (everything) HasLeaf(int) bool             { return true }
func (everything) ReadLeaf(int) ([]byte, error) { return nil, nil }
