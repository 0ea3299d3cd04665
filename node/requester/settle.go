package requester

import (
	"context"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// maxUnsettled bounds the results of one provider that it is still to be told
// it may forget. It forgets them by itself, only later.
const maxUnsettled = 16 * protocol.MaxSettle

// settlements are results that providers keep until they are told that they
// are safe here, or not wanted.
type settlements struct {
	mu     sync.Mutex
	byPeer map[peer.ID][][]byte // nonces
}

func (s *settlements) add(p peer.ID, nonce protocol.Nonce) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byPeer == nil {
		s.byPeer = make(map[peer.ID][][]byte)
	}
	if list := s.byPeer[p]; len(list) < maxUnsettled {
		s.byPeer[p] = append(list, nonce[:])
	}
}

// take returns all, and forgets them.
func (s *settlements) take() map[peer.ID][][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.byPeer
	s.byPeer = nil
	return all
}

// settle has the providers of a task that has ended forget its attempts.
func (c *conductor) settle() {
	for _, a := range c.attempts {
		if a.named.Load() != nil {
			c.r.unsettled.add(a.provider, a.nonce)
		}
	}
}

// settleAll tells providers what they may forget, once that outlasts a power
// cut here. Those that cannot be reached now are told later.
func (r *Requester) settleAll(ctx context.Context) error {
	all := r.unsettled.take()
	if len(all) == 0 {
		return nil
	}
	if err := r.cfg.Journal.Sync(ctx); err != nil {
		return err
	}
	for p, nonces := range all {
		pair := r.pairs.ready(p)
		for len(nonces) > 0 {
			n := min(len(nonces), protocol.MaxSettle)
			if pair == nil || pair.conn.SendSoon(&protocol.Ask{Body: &protocol.Ask_Settle{Settle: &protocol.Settle{Nonces: nonces[:n]}}}) != nil {
				break
			}
			nonces = nonces[n:]
		}
		for _, b := range nonces {
			r.unsettled.add(p, protocol.Nonce(b))
		}
	}
	return nil
}
