package requester

import (
	"cmp"
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
