package requester

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

const (
	// maxUnsettled bounds the results of one provider that it is still to be told
	// it may forget. It forgets them by itself, only later.
	maxUnsettled = 16 * protocol.MaxSettle
	// maxUnsettledPeers bounds these providers. Many never come back.
	maxUnsettledPeers = 4096
	// unsettledFor is how long a provider keeps a result of which it is told
	// nothing.
	unsettledFor = 24 * time.Hour
)

// settlement is a result that its provider keeps until it is told that it is
// safe here, or not wanted.
type settlement struct {
	nonce protocol.Nonce
	since time.Time
}

// settlements are those of all providers.
type settlements struct {
	mu     sync.Mutex
	byPeer *simplelru.LRU[peer.ID, []settlement] // about the oldest first
}

func newSettlements() (*settlements, error) {
	byPeer, err := simplelru.NewLRU[peer.ID, []settlement](maxUnsettledPeers, nil)
	return &settlements{byPeer: byPeer}, err
}

func (s *settlements) add(p peer.ID, more ...settlement) {
	if len(more) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list, _ := s.byPeer.Peek(p)
	more = more[:min(len(more), maxUnsettled-len(list))]
	s.byPeer.Add(p, append(list, more...))
}

// peers returns whom there is something to tell, without what they have
// forgotten by now themselves.
func (s *settlements) peers(now time.Time) []peer.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	peers := s.byPeer.Keys()
	return slices.DeleteFunc(peers, func(p peer.ID) bool {
		list, _ := s.byPeer.Peek(p)
		if now.Sub(list[0].since) < unsettledFor {
			return false
		}
		s.byPeer.Remove(p)
		list = slices.DeleteFunc(list, func(one settlement) bool { return now.Sub(one.since) >= unsettledFor })
		if len(list) > 0 {
			s.byPeer.Add(p, list)
		}
		return len(list) == 0
	})
}

// take returns what a provider is to be told, and forgets it.
func (s *settlements) take(p peer.ID) []settlement {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, _ := s.byPeer.Peek(p)
	s.byPeer.Remove(p)
	return list
}

// settle has the providers of a task that has ended forget its attempts.
func (c *conductor) settle() {
	for _, a := range c.attempts {
		if a.named.Load() != nil {
			c.r.unsettled.add(a.provider, settlement{a.nonce, time.Now()})
		}
	}
}

// settleAll tells the providers that can be reached what they may forget, once
// that outlasts a power cut here. The others are told later.
func (r *Requester) settleAll(ctx context.Context) error {
	taken := make(map[*pair][]settlement)
	for _, p := range r.unsettled.peers(time.Now()) {
		if pair := r.pairs.ready(p); pair != nil {
			taken[pair] = r.unsettled.take(p)
		}
	}
	if len(taken) == 0 {
		return nil
	}
	if err := r.cfg.Journal.Sync(ctx); err != nil {
		return err
	}
	for pair, list := range taken {
		for len(list) > 0 {
			n := min(len(list), protocol.MaxSettle)
			settle := new(protocol.Settle)
			for _, one := range list[:n] {
				settle.Nonces = append(settle.Nonces, one.nonce[:])
			}
			if pair.conn.SendSoon(&protocol.Ask{Body: &protocol.Ask_Settle{Settle: settle}}) != nil {
				break
			}
			list = list[n:]
		}
		r.unsettled.add(pair.peer, list...)
	}
	return nil
}
