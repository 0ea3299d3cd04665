package requester

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
)

// Standings is the store's part for what was learned of providers.
type Standings interface {
	SaveStanding(p peer.ID, record []byte) error
	Standings() (map[peer.ID][]byte, error)
}

const (
	// maxStandings bounds the providers that are remembered; more than a store
	// keeps would be lost anyhow.
	maxStandings = 100_000
	// maxWhy bounds the words of a standing, so that it fits a store's record.
	maxWhy = 500
)

// trust is what this node has learned of providers from their answers, and
// from nobody's word.
type trust struct {
	store Standings

	// wrongs is how many have ever been found wrong: mostly none, and then
	// nobody need be looked up.
	wrongs atomic.Int64

	mu     sync.Mutex
	byPeer *simplelru.LRU[peer.ID, market.Standing]
}

func openTrust(store Standings, log *slog.Logger) (*trust, error) {
	known, err := simplelru.NewLRU[peer.ID, market.Standing](maxStandings, nil)
	if err != nil {
		return nil, fmt.Errorf("remember standings: %w", err)
	}
	t := &trust{store: store, byPeer: known}
	records, err := store.Standings()
	if err != nil {
		return nil, fmt.Errorf("read standings: %w", err)
	}
	for p, record := range records {
		var s market.Standing
		if err := json.Unmarshal(record, &s); err != nil {
			log.Warn("a standing cannot be read and begins anew", "peer", p, "err", err)
			continue
		}
		t.put(p, s)
	}
	return t, nil
}

// put is called with mu held, or before anybody else knows t.
func (t *trust) put(p peer.ID, s market.Standing) {
	if old, _ := t.byPeer.Peek(p); old.Wrongs == 0 && s.Wrongs > 0 {
		t.wrongs.Add(1)
	}
	t.byPeer.Add(p, s)
}

func (t *trust) standing(p peer.ID) market.Standing {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, _ := t.byPeer.Get(p)
	return s
}

func (t *trust) agreed(p peer.ID)    { t.change(p, (*market.Standing).Agreed) }
func (t *trust) unchecked(p peer.ID) { t.change(p, (*market.Standing).Unchecked) }

func (t *trust) wrong(p peer.ID, why string) {
	t.change(p, func(s *market.Standing) { s.Wrong(time.Now(), why[:min(len(why), maxWhy)]) })
}

// change is called by conductors; that it is saved only soon, and may fail to
// be, costs what was learned of one task.
func (t *trust) change(p peer.ID, by func(*market.Standing)) {
	t.mu.Lock()
	defer t.mu.Unlock() // records are saved, which takes no time, in the order of the changes
	s, _ := t.byPeer.Get(p)
	by(&s)
	t.put(p, s)
	if record, err := json.Marshal(s); err == nil {
		_ = t.store.SaveStanding(p, record)
	}
}

// barred returns why a provider is not to be chosen, or "".
func (t *trust) barred(p peer.ID, now time.Time) string {
	if t.wrongs.Load() == 0 {
		return ""
	}
	s := t.standing(p)
	if _, barred := s.Barred(now); !barred {
		return ""
	}
	return s.Words(now)
}

// foundWrong notes that a provider has not told the truth. What it has said of
// tasks that are still open is judged again.
func (r *Requester) foundWrong(p peer.ID, why string) {
	if p == r.cfg.Self {
		r.cfg.Logger.Error("this node's own provider is found wrong", "why", why)
		return
	}
	r.cfg.Logger.Warn("a provider is found wrong", "provider", p, "why", why)
	r.trust.wrong(p, why)
	var open []*attempt
	r.mu.Lock()
	for _, a := range r.attempts {
		if a.provider == p && a.votes {
			open = append(open, a)
		}
	}
	r.mu.Unlock()
	if len(open) > 0 {
		r.wg.Go(func() {
			for _, a := range open {
				a.send(event{kind: evJudge})
			}
		})
	}
}

// Standing returns what this node has learned of a provider.
func (r *Requester) Standing(p peer.ID) market.Standing { return r.trust.standing(p) }
