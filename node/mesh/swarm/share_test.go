package swarm

import (
	"slices"
	"testing"

	"github.com/ipfs/go-cid"

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
