package requester

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// pool is the [market.Pool] of all tasks.
type pool struct {
	mu sync.Mutex
	market.Pool
}

// told notes the load that came with a result.
func (p *pool) told(provider peer.ID, load *protocol.Load) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Told(time.Now(), provider, load)
}

// forget drops what was known of a provider that may be dead.
func (p *pool) forget(provider peer.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Forget(provider)
}

// asked notes what a placement costs for which providers were asked since a
// time.
func (p *pool) asked(need market.Need, began time.Time, chosen market.Candidate) {
	if !chosen.Scored {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Asked(need, chosen.Score, time.Since(began))
}

// fresh returns the providers of whom something is known now.
func (p *pool) fresh() []peer.ID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Fresh(time.Now())
}

// fromPool returns the best of these providers by what their latest results have
// told, if it fits.
func (c *conductor) fromPool(need market.Need, providers []peer.ID, fits func(market.Candidate) bool) (market.Candidate, bool) {
	now := time.Now()
	entries := make([]market.Entry, 0, len(providers))
	for _, p := range providers {
		if e, offers := c.r.cfg.Book.Get(now, p); offers {
			entries = append(entries, e)
		}
	}
	feasible, _ := c.rankAmong(now, need, entries)
	c.r.pool.mu.Lock()
	defer c.r.pool.mu.Unlock()
	best, ok := c.r.pool.Best(now, need, feasible)
	if !ok || !fits(best) {
		return market.Candidate{}, false
	}
	c.r.pool.Use(best.Provider)
	return best, true
}
