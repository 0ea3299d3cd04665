package requester

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// maxTempos bounds the modules whose tempo is remembered.
const maxTempos = 4096

// tempos is what results have shown of how fast modules run, and the budget for
// spares of replicas that are slower.
type tempos struct {
	mu       sync.Mutex
	byModule *simplelru.LRU[protocol.Digest, market.Tempo]
	hedge    market.Hedge
}

func newTempos() (*tempos, error) {
	known, err := simplelru.NewLRU[protocol.Digest, market.Tempo](maxTempos, nil)
	return &tempos{byModule: known}, err
}

func (t *tempos) of(module protocol.Digest) market.Tempo {
	t.mu.Lock()
	defer t.mu.Unlock()
	m, _ := t.byModule.Get(module)
	return m
}

// learn notes a result of a provider of the given speed, 0 if that is unknown,
// which has had it for so long: no time that it claims beyond that is believed.
func (t *tempos) learn(module protocol.Digest, r *protocol.Result, had time.Duration, speed float64) {
	wall := min(had, time.Duration(min(r.WallUs, uint64(protocol.MaxWall.Microseconds())))*time.Microsecond)
	t.mu.Lock()
	defer t.mu.Unlock()
	m, _ := t.byModule.Get(module)
	m.Learn(r.Gas, wall, speed)
	t.byModule.Add(module, m)
	t.hedge.Earn(wall)
}

// spend reports whether the budget allows a spare for an attempt that has run
// for so long at a provider of the given speed.
func (t *tempos) spend(module protocol.Digest, ran time.Duration, speed float64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	m, _ := t.byModule.Get(module)
	return t.hedge.Spend(max(ran, time.Duration(m.Work/speed*float64(time.Second))))
}

// speedOf is how fast a provider says it is, or 0 when it says nothing.
func (r *Requester) speedOf(p peer.ID) float64 {
	if e, offers := r.cfg.Book.Get(time.Now(), p); offers {
		return market.Believable(e.Offer.Speed)
	}
	return 0
}

// usualSpeed is that of a provider that says nothing of its own.
const usualSpeed = 1

// comesAlong judges the progress that a beat tells of.
func (a *attempt) comesAlong(now time.Time, p *protocol.Progress) {
	ev := event{kind: evStride, state: p.State, gas: min(p.Gas, a.t.spec.Limits.Gas)}
	a.progressMu.Lock()
	if a.progressOf != p.State {
		a.progressOf = p.State
		a.progress.Pause()
	}
	over := false
	switch {
	case a.in.Load().answered.Load():
	case p.State == protocol.StateRunning:
		over, ev.slow = a.progress.Seen(now, p.Gas, a.t.r.tempos.of(a.t.spec.Module.Sum()).Expects(cmp.Or(a.speed, usualSpeed)))
	case p.State == protocol.StateQueued:
		over, _ = a.progress.Seen(now, 0, 0)
	}
	a.progressMu.Unlock()
	if over {
		a.send(ev)
	}
}

// stride takes how far an attempt has come in its last stride. For one that is
// slow a spare is started, within the budget; one that only waited goes to
// whoever is idle.
func (c *conductor) stride(a *attempt, ev event) (*protocol.Result, error) {
	if a.bound {
		return nil, nil // it has told what it used, or will
	}
	c.update(func(*protocol.Task) { a.record.Gas = ev.gas })
	switch {
	case a.adrift, a.arbiter, c.on != "", c.terms.Where == protocol.WhereLocal:
		return nil, nil
	case ev.state == protocol.StateQueued:
		return c.move(a)
	case !ev.slow, a.slow:
		return nil, nil
	case !c.r.tempos.spend(c.spec.Module.Sum(), time.Since(a.begun), cmp.Or(a.speed, usualSpeed)):
		return nil, nil // it is judged again after its next stride
	}
	a.slow = true
	a.setState(a.record.State, "slower than its provider should be")
	return c.step(a, market.Suspected)
}

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
