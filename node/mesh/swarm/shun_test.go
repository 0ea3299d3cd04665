package swarm

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestShunningGrowsAndIsForgotten(t *testing.T) {
	s := newShunning()
	now := time.Unix(1, 0)
	for i, want := range []time.Duration{3, 6, 12, 24, 30, 30} {
		want *= time.Second
		s.add("deaf", now.Add(-chunkTimeout), now)
		s.add("deaf", now.Add(-1), now.Add(chunkTimeout-1)) // another leaf that was on its way
		if !s.has("deaf", now.Add(want-1)) || s.has("deaf", now.Add(want)) {
			t.Errorf("the %d. time it is not %s", i+1, want)
		}
		now = now.Add(want + shunMost - 1) // it begins to be sent the next well after
	}
	if now = now.Add(shunMost); s.has("deaf", now) {
		t.Error("it is shunned without end")
	}
	if s.add("deaf", now.Add(-chunkTimeout), now); s.has("deaf", now.Add(shunFirst)) {
		t.Error("what was long ago still counts")
	}
}

func TestManyWhoDoNotReadTakeNoRoom(t *testing.T) {
	s := newShunning()
	now := time.Unix(1, 0)
	for i := range 3 * maxGuests {
		s.add(peer.ID(rune('a'+i)), now, now)
	}
	if n := s.peers.Len(); n > maxGuests {
		t.Errorf("%d are remembered", n)
	}
}
