package swarm

import (
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A peer that does not read is sent nothing for a while, since each leaf on its
// way holds one of the senders: shortly at first, for it may only be busy, and twice
// as long each time that it does so again soon.
const (
	shunFirst = 3 * time.Second
	shunMost  = 30 * time.Second
)

// shunning is how long peers that did not read are sent nothing. Those who did
// so long ago are forgotten. The Exchange's mu guards it.
type shunning struct {
	peers *simplelru.LRU[peer.ID, shunned]
}

type shunned struct {
	span  time.Duration
	until time.Time
}

func newShunning() shunning {
	peers, err := simplelru.NewLRU[peer.ID, shunned](maxGuests, nil)
	if err != nil {
		panic("swarm: an LRU of a constant size: " + err.Error())
	}
	return shunning{peers}
}

// add notes that a peer has not read what was sent to it from began on. What was on
// its way to it already when it was last shunned says nothing new.
func (s shunning) add(p peer.ID, began, now time.Time) {
	last, _ := s.peers.Get(p)
	if began.Before(last.until) {
		return
	}
	span := shunFirst
	if now.Sub(last.until) < shunMost {
		span = min(2*last.span, shunMost)
	}
	s.peers.Add(p, shunned{span, now.Add(span)})
}

// has reports whether a peer is sent nothing now.
func (s shunning) has(p peer.ID, now time.Time) bool {
	last, _ := s.peers.Peek(p)
	return now.Before(last.until)
}
