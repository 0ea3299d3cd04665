package requester

import (
	"slices"
	"sync"
	"time"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// moveEvery is the least time between two replicas that leave their queues for
// others, longer than it takes the first of them to fill its slot there.
const moveEvery = 250 * time.Millisecond

// gate lets one at a time look for a provider that is idle: all who wait would
// find the same one at the same moment, and be in its queue then.
type gate struct {
	mu    sync.Mutex
	taken bool
	moved time.Time // when the last replica was
}

// enter reports whether the caller may look, and must leave then.
func (g *gate) enter(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.taken || now.Sub(g.moved) < moveEvery {
		return false
	}
	g.taken = true
	return true
}

func (g *gate) leave(moved bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taken = false
	if moved {
		g.moved = time.Now()
	}
}

// move gives a replica that waits in its provider's queue to another provider
// that has a slot for it now, if there is one: what was placed on a guess about
// those before it must not wait for as long as they please.
func (c *conductor) move(a *attempt) (*protocol.Result, error) {
	if !c.r.moves.enter(time.Now()) {
		a.progressMu.Lock()
		a.progress.Hasten(c.rng.Float64()) // not all of one provider at once again
		a.progressMu.Unlock()
		return nil, nil
	}
	need := c.need(1)
	feasible, _ := c.rank(need)
	asked := c.ask(need, market.Draw(c.rng, need, feasible, market.Probes), nil)
	i := slices.IndexFunc(asked, func(m market.Candidate) bool { return need.Idle(m) })
	if i < 0 || len(c.events) > 0 { // or something has happened meanwhile, to it perhaps
		c.r.moves.leave(false)
		return nil, nil
	}
	defer c.r.moves.leave(true)
	a.withdraw()
	c.end(a, protocol.StateCancelled, "it waited there while another was idle")
	c.spares, c.sparesAt = asked[i:i+1], time.Now()
	return c.step(a, market.Refused)
}
