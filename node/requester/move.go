package requester

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

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
	return c.goTo(a, asked[i])
}

// waits reports whether the last beat has told that the attempt is in a queue, and
// nothing has come of it since.
func (a *attempt) waits() bool {
	if in := a.in.Load(); in.answered.Load() || in.streamed.Load() {
		return false
	}
	a.progressMu.Lock()
	defer a.progressMu.Unlock()
	return a.progressOf == protocol.StateQueued && a.progress.Begun()
}

// yieldMargin is how much sooner a replica must be expected to end elsewhere than
// where it waits: where that is less its turn may have come since the last beat.
const yieldMargin = 2 * protocol.BeatEvery

// fillIdle offers what waits in queues to providers whose latest result has left
// them with nothing to do, the last in a queue first: where all tasks of a job are
// placed, the last ones must not wait for one slow provider. Only Run calls it.
func (r *Requester) fillIdle(now time.Time) {
	r.pool.mu.Lock()
	idle := r.pool.Idle(now)
	r.pool.mu.Unlock()
	if len(idle) == 0 {
		return
	}
	r.mu.Lock()
	var waiting []*attempt
	for _, a := range r.attempts {
		if a.t.on == "" && a.t.terms.Where != protocol.WhereLocal && a.waits() {
			waiting = append(waiting, a)
		}
	}
	r.mu.Unlock()
	// One that had a reason to stay is offered another only after the others.
	slices.SortFunc(waiting, func(a, b *attempt) int {
		return cmp.Or(a.offered.Compare(b.offered), b.begun.Compare(a.begun))
	})
	for i, to := range idle[:min(len(idle), len(waiting))] {
		a := waiting[i]
		a.offered = now
		select {
		case a.t.events <- &event{attempt: a, kind: evIdle, idle: to}:
		default: // something happens to it already
		}
	}
}

// yield gives a replica that waits in a queue to a provider that is idle, if it
// ends sooner there.
func (c *conductor) yield(a *attempt, to peer.ID) (*protocol.Result, error) {
	if a.bound || a.adrift || a.arbiter || !a.waits() || len(c.events) > 0 {
		return nil, nil
	}
	need, now := c.need(1), time.Now()
	present, offers := c.r.cfg.Book.Get(now, a.provider)
	if !offers {
		return nil, nil // it is silent, and looked after as such
	}
	_, here := c.rankAmong(now, need, []market.Entry{present})
	sooner := func(m market.Candidate) bool { return len(here) == 1 && need.Sooner(m, here[0], yieldMargin) }
	chosen, ok := c.fromPool(need, []peer.ID{to}, sooner)
	if !ok {
		return nil, nil
	}
	return c.goTo(a, chosen)
}

// goTo withdraws a replica that waits and gives it to a provider that is idle.
func (c *conductor) goTo(a *attempt, idle market.Candidate) (*protocol.Result, error) {
	a.withdraw()
	c.end(a, protocol.StateCancelled, "it waited there while another was idle")
	c.spares, c.sparesAt = []market.Candidate{idle}, time.Now()
	return c.step(a, market.Refused)
}
