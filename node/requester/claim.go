package requester

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// claimed is what has been asked of an attempt's provider beyond its Run.
type claimed int

const (
	claimNothing claimed = iota
	claimReceipt         // what result it has, so that it can be compared
	claimAll             // the result with all output
)

const (
	// seekFor is how long a provider is looked for that cannot be reached. It
	// keeps an attached replica for less, and a detached one for as long.
	seekFor = 10 * time.Minute
	// maxClaims bounds how often one attempt is claimed without coming further: a
	// provider that breaks off each time is of no use.
	maxClaims = 16
	// seekAtOnce is how long the first try may take before a spare is started:
	// most connections that end by themselves are made anew sooner.
	seekAtOnce = protocol.BeatEvery
	// tryFor bounds each try.
	tryFor = suspectAfter
)

// takeUp claims the attempts of an earlier run of the node that may still live.
func (c *conductor) takeUp() {
	var providers []peer.ID
	for _, record := range c.record.Replicas {
		provider, err := peer.Decode(record.Provider)
		nonce, bad := protocol.NonceFrom(record.Nonce)
		if err != nil || bad != nil || record.State.Ended() && record.State != protocol.StateUnreachable {
			continue
		}
		providers = append(providers, provider)
		a := c.adopt(provider, nonce, record)
		c.excluded[provider] = whyRunning
		now := time.Now()
		a.named.Store(&now)
		a.timer, a.patience = time.NewTimer(0), settleNew // the node does not know its peers yet
		a.claim(c.resumption(a))
	}
	if len(providers) > 0 {
		c.countNetworks()
		c.want(providers)
	}
}

// leave lets go of the attempts, which go on at their providers for a while.
func (c *conductor) leave() {
	for _, a := range c.attempts {
		if !a.over {
			a.close()
		}
	}
}

// resumption is what is to be claimed of an attempt whose stream has ended.
func (c *conductor) resumption(a *attempt) claimed {
	switch {
	case a.claimed != claimNothing:
		return a.claimed
	case c.course.Rule != nil:
		return claimReceipt
	default:
		return claimAll
	}
}

// claim asks for what an attempt has brought, or will, from the beginning: on
// the stream that is open to its provider, or on a new one.
func (a *attempt) claim(what claimed) {
	a.claimed = what
	if a.record.Gas > a.claimGas {
		a.claims, a.claimGas = 0, a.record.Gas
	}
	a.claims++
	a.outcome, a.outputEnded = nil, false
	a.late.stop()
	a.restart()
	a.expect(a.claimTimeout(), errNoLease)
	if a.bound {
		a.late = a.newPace() // it has its result, and needs but send it
	}
	a.seeking.Store(true)
	in := a.in.Load()
	a.t.r.wg.Go(func() { in.seek(what) })
}

// claimTimeout bounds the wait for the first answer to a claim: a provider that
// has the result sends its output before it says so.
func (a *attempt) claimTimeout() time.Duration {
	if a.bound && a.claimed == claimAll {
		l := a.t.spec.Limits
		return seekFor + protocol.AtSlowest(l.OutputBytes+l.FileBytes)
	}
	return seekFor + leaseTimeout
}

// seek looks for the provider until it is reached or the attempt is over.
func (a *intake) seek(what claimed) {
	ctx, cancel := context.WithTimeout(a.ctx, seekFor) // it ends when it is asked for anew
	defer cancel()
	rng := rand.New(dice{})
	start, tell := time.Now(), sync.OnceFunc(func() { a.send(event{kind: evCut, err: errUnreachable}) })
	late := time.AfterFunc(max(a.patience, seekAtOnce), tell)
	defer late.Stop()
	for try := 0; ; try++ {
		within, cancel := context.WithTimeout(ctx, tryFor)
		p, err := a.t.r.pairs.get(within, a.provider)
		cancel()
		if err == nil {
			a.seeking.Store(false)
			p.claim(a.attempt, what)
			return
		}
		if time.Since(start) >= a.patience {
			tell()
		}
		timer := time.NewTimer(market.Backoff(rng, market.Patience+try))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// claim asks for an attempt on this stream.
func (p *pair) claim(a *attempt, what claimed) {
	p.forget(a)
	now := time.Now()
	a.named.Store(&now) // what it was silent for says nothing of whether it knows the attempt
	a.left.Store(0)
	id, err := p.add(&exchange{attempt: a})
	if err == nil {
		err = p.conn.Send(&protocol.Ask{Id: id, Body: &protocol.Ask_Claim{Claim: &protocol.Claim{
			Nonce:       a.nonce[:],
			ReceiptOnly: what == claimReceipt,
			Commit:      a.votes,
		}}})
	}
	switch {
	case errors.Is(err, errClosed):
	case err == nil && a.ctx.Err() != nil:
		p.forget(a) // it has closed since
	case err != nil:
		p.remove(id)
		p.r.pairs.forget(p.peer, p.slot) // if its failure is not through with that yet
		a.send(event{kind: evCut, err: errEnded})
	}
}
