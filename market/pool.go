package market

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

const (
	// poolFresh is how long what came with an answer is worth something.
	poolFresh = time.Second
	// maxPooled bounds the providers in a Pool, and poolUses how many tasks one
	// may be given without being asked.
	maxPooled = 16
	poolUses  = 64
	// poolSlack is how much worse than usual an answer may be to be used.
	poolSlack = 1.3
	// usualWeight is the weight of the newest placement in what is usual, and
	// usualBase what is added to a task's size, so that tiny ones compare.
	usualWeight = 0.1
	usualBase   = 50 * time.Millisecond
	// askLong is the work of tasks, in seconds at speed 1, that always ask: what
	// that costs they do not feel. Of shorter ones a part asks, at least
	// askShare, since only that finds who has become idle, or has come.
	askLong  = 0.1
	askShare = 0.05
)

// Pool is what providers have said of their load with their latest results.
// A task that goes to one of them need not ask anybody: who has just ended one
// task has room for another. Each result serves once. The zero Pool is empty.
//
// It is step 4 of the policy: the pool of Prequal (Wydra et al., Load is not
// what you should balance, NSDI'24) filled by receipts instead of probes.
//
// # Why some tasks ask all the same
//
// Where all are busy, each result pays for the next task, so that the pool is never
// empty. If all were taken from it, nobody would be asked, what is usual would stay
// what it was, and whoever comes, or was busy for a while, would get nothing.
type Pool struct {
	words []word
	usual float64 // moving average of what asking brings, see Asked
}

// word is the latest that one provider has said.
type word struct {
	provider peer.ID
	load     *protocol.Load
	at       time.Time
	uses     int
	sent     uint32 // tasks given to it since
}

// Told notes the load that came with a result.
func (p *Pool) Told(now time.Time, provider peer.ID, load *protocol.Load) {
	p.words = slices.DeleteFunc(p.words, func(w word) bool { return now.Sub(w.at) > poolFresh })
	w := p.find(provider)
	if w == nil {
		if len(p.words) == maxPooled {
			p.words = slices.Delete(p.words, 0, 1) // the one that has been here for longest
		}
		p.words = append(p.words, word{provider: provider})
		w = &p.words[len(p.words)-1]
	}
	w.load, w.at, w.uses, w.sent = load, now, min(w.uses+1, poolUses), 0
}

// Forget drops what a provider has said.
func (p *Pool) Forget(provider peer.ID) {
	p.words = slices.DeleteFunc(p.words, func(w word) bool { return w.provider == provider })
}

// Fresh returns the providers of whom something is known now.
func (p *Pool) Fresh(now time.Time) (providers []peer.ID) {
	for _, w := range p.words {
		if w.uses > 0 && now.Sub(w.at) <= poolFresh {
			providers = append(providers, w.provider)
		}
	}
	return providers
}

// Best returns the best of the candidates, which are among the fresh, by what its
// latest result has told.
func (p *Pool) Best(now time.Time, need Need, fresh []Candidate) (best Candidate, ok bool) {
	for _, c := range fresh {
		w := p.find(c.Provider)
		if w == nil || w.uses == 0 {
			continue // another task was faster
		}
		age := now.Sub(w.at)
		if c.LoadAge < age && need.unwilling(c) != "" {
			continue // it has said so since
		}
		c.Load, c.LoadAge = w.now(), age
		if need.judge(&c); need.unwilling(c) == "" && (!ok || c.Score < best.Score) {
			best, ok = c, true
		}
	}
	if ok {
		best = Score(need, best)
		best.Reason += "; it has just sent a result"
	}
	return best, ok
}

// Use notes that a provider is given a task for one of its results.
func (p *Pool) Use(provider peer.ID) {
	if w := p.find(provider); w != nil && w.uses > 0 {
		w.uses--
		w.sent++
	}
}

func (p *Pool) find(provider peer.ID) *word {
	i := slices.IndexFunc(p.words, func(w word) bool { return w.provider == provider })
	if i < 0 {
		return nil
	}
	return &p.words[i]
}

// Asks reports whether a task should ask, whatever the Pool has.
func (n Need) Asks(rng *rand.Rand) bool {
	return rng.Float64() < max(askShare, n.work()/askLong)
}

// Usual reports whether a candidate that was scored is hardly worse than what
// asking has brought lately.
func (p *Pool) Usual(need Need, c Candidate) bool {
	return c.Score.Seconds() <= poolSlack*p.usual*need.base()
}

// now is the load with what was sent since.
func (w *word) now() *protocol.Load {
	if w.sent == 0 {
		return w.load
	}
	return &protocol.Load{
		Slots: w.load.Slots, Running: w.load.Running, Queued: w.load.Queued + w.sent,
		MeanRunUs: w.load.MeanRunUs, Availability: w.load.Availability,
	}
}

// Asked notes that a task was placed at this cost after its providers were asked,
// which took so long: what is usual, since it is what one gets by asking.
func (p *Pool) Asked(need Need, score, spent time.Duration) {
	p.usual = blend(p.usual, (score+spent).Seconds()/need.base(), usualWeight)
}

// base is what the cost of a task is compared with, in seconds.
func (n Need) base() float64 { return n.work() + usualBase.Seconds() }
