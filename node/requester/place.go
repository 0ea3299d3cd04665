package requester

import (
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// dialAllowance is added to the time that probes may take when a peer must be
// dialled first.
const dialAllowance = 300 * time.Millisecond

// discoverEvery is how often one task asks the DHT for more providers: where
// there are too few, that takes a second each time, and finds the same ones.
const discoverEvery = 10 * time.Second

// place chooses providers for n more replicas: the Book, and the DHT when the
// Book is thin; then rank, draw, probe, and place.
func (c *conductor) place(n int) (market.Placement, error) {
	need, began := c.need(n), time.Now()
	if c.course.Rule != nil {
		c.countNetworks()
	} else if n == 1 && len(c.attempts) == 0 && !need.Asks(c.rng) {
		usual := func(m market.Candidate) bool { return c.r.pool.Usual(need, m) }
		if chosen, ok := c.fromPool(need, c.r.pool.fresh(), usual); ok {
			return market.Placement{Chosen: []market.Candidate{chosen}}, nil
		}
	}
	feasible, rejected := c.rank(need)
	if len(feasible) < n && c.terms.Where != protocol.WhereLocal && need.On == "" && time.Since(c.discovered) > discoverEvery {
		c.discovered = time.Now()
		if err := c.r.cfg.Network.Discover(c.ctx, c.spec.Limits.MemoryBytes); err != nil {
			c.r.cfg.Logger.Debug("discovery failed", "err", err)
		}
		feasible, rejected = c.rank(need)
	}
	drawn := market.Draw(c.rng, need, feasible, market.Probes+n-1)
	placement, err := market.Place(need, slices.Concat(c.probe(need, drawn, without(feasible, drawn)), rejected))
	if err == nil {
		c.r.pool.asked(need, began, placement.Chosen[0])
	}
	return placement, err
}

// without returns the candidates of a list that are not among some.
func without(list, some []market.Candidate) []market.Candidate {
	return slices.DeleteFunc(slices.Clone(list), func(m market.Candidate) bool {
		return slices.ContainsFunc(some, func(s market.Candidate) bool { return s.Provider == m.Provider })
	})
}

func (c *conductor) need(n int) market.Need {
	return market.Need{
		Limits:      c.spec.Limits,
		Profile:     c.spec.Profile,
		Module:      c.spec.Module.Sum(),
		ModuleBytes: c.spec.Module.Size,
		Replicas:    n,
		Where:       c.terms.Where,
		Labels:      c.wishes,
		On:          c.on,
		Self:        c.r.cfg.Self,
		Exclude:     c.excluded,
		Size:        c.r.tempos.of(c.spec.Module.Sum()).Work,
	}
}

func (c *conductor) rank(need market.Need) (feasible, rejected []market.Candidate) {
	now := time.Now()
	return c.rankAmong(now, need, c.r.cfg.Book.All(now))
}

func (c *conductor) rankAmong(now time.Time, need market.Need, entries []market.Entry) (feasible, rejected []market.Candidate) {
	return market.Rank(now, need, entries, func(p peer.ID) market.Known { return c.known(need, p) })
}

// known is what this node itself knows of a peer.
func (c *conductor) known(need market.Need, p peer.ID) market.Known {
	rtt, known := c.r.cfg.Network.RTT(p)
	k := market.Known{
		RTT: rtt, RTTKnown: known, Warm: c.r.warm.Contains(warmKey{p, need.Module}), Barred: c.r.Barred(p), Blocked: c.r.Blocked(p),
	}
	if need.Replicas > 1 {
		k.Network = c.r.cfg.Network.Vicinity(p)
	}
	return k
}

// answer is what a probe brought.
type answer struct {
	from peer.ID
	load *protocol.Load
	took time.Duration
	err  error
}

// probe asks the drawn candidates for their load. When all of them are needed
// there is nothing to compare, and none is asked, unless gossip has it that one
// takes nothing.
func (c *conductor) probe(need market.Need, drawn, others []market.Candidate) []market.Candidate {
	if len(drawn) <= need.Replicas && !slices.ContainsFunc(drawn, closed) {
		return drawn
	}
	return c.ask(need, drawn, others)
}

// answerWait is how much longer an answer is waited for when too few came in
// time: to give a task to somebody who may be dead costs more.
const answerWait = protocol.BeatEvery

// ask asks the drawn candidates for their load, all at once, until no
// outstanding answer could be better than those that came. When none comes in
// time it asks some of the others as well: where one has died more may have. It
// returns the scored first.
func (c *conductor) ask(need market.Need, drawn, others []market.Candidate) []market.Candidate {
	timeout := market.ProbeTimeout(drawn)
	for _, candidate := range drawn {
		if c.r.pairs.ready(candidate.Provider) == nil {
			timeout += dialAllowance
			break
		}
	}
	ctx, cancel := context.WithTimeout(c.ctx, timeout+answerWait)
	defer cancel()
	inTime := time.NewTimer(timeout)
	defer inTime.Stop()
	late := false
	answers := make(chan answer, len(drawn)+len(others))
	begin := func(list []market.Candidate) {
		for _, candidate := range list {
			c.r.wg.Go(func() { answers <- c.r.ask(ctx, candidate.Provider) })
		}
	}
	begin(drawn)
	var scored []market.Candidate
	outstanding := slices.Clone(drawn)
	for len(outstanding) > 0 && (!late || len(scored) < need.Replicas) {
		var got answer
		select {
		case got = <-answers:
		case <-inTime.C:
			late = true
			if len(scored) == 0 {
				more := market.Draw(c.rng, need, others, market.Probes)
				begin(more)
				outstanding = append(outstanding, more...)
			}
			continue
		case <-ctx.Done():
			return append(scored, outstanding...)
		}
		i := slices.IndexFunc(outstanding, func(m market.Candidate) bool { return m.Provider == got.from })
		one := outstanding[i]
		if got.err != nil {
			c.excluded[got.from] = "it could not be asked"
		} else {
			one.Load, one.LoadAge = got.load, 0
			if !one.RTTKnown {
				one.RTT, one.RTTKnown = got.took, true
			}
			scored = append(scored, market.Score(need, one))
		}
		outstanding = slices.Delete(outstanding, i, i+1)
		if market.Enough(need, scored, outstanding) {
			break
		}
	}
	return append(scored, outstanding...)
}

func closed(m market.Candidate) bool { return m.Load.GetAvailability() != protocol.Open }

// ask probes one peer.
func (r *Requester) ask(ctx context.Context, to peer.ID) answer {
	p, err := r.pairs.get(ctx, to)
	if err != nil {
		return answer{from: to, err: err}
	}
	start := time.Now()
	load, err := p.probe(ctx)
	return answer{from: to, load: load, took: time.Since(start), err: err}
}
