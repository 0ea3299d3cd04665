package requester

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// maxFailures is how many attempts of one task may be lost or fail at their
// provider before it is given up: by then the task is the likelier cause.
// Refusals do not count.
const maxFailures = 10

// conduct is the way of one task: place it, follow its attempts, start others
// for those that fail, conclude with exactly one result.
func (r *Requester) conduct(t *task) {
	defer r.wg.Done()
	defer t.close()
	c := &conductor{
		task:     t,
		rng:      rand.New(dice{}),
		excluded: make(map[peer.ID]string),
	}
	result, err := c.run()
	c.withdraw(result != nil)
	if errors.Is(err, errStopping) {
		return // it stays in the journal, to be taken up again
	}
	t.conclude(result, err)
}

// dice is the random source of all conductors: the runtime's, which needs
// neither a seed nor a lock.
type dice struct{}

// Uint64 implements [rand.Source].
func (dice) Uint64() uint64 { return rand.Uint64() }

// conductor is the state of one task's placement. Only its goroutine uses it.
type conductor struct {
	*task
	rng      *rand.Rand
	live     []*attempt
	spares   []market.Candidate
	excluded map[peer.ID]string // peers not to be asked again, and why
	failures int
	pauses   int // in a row, without a lease between them
	retry    <-chan time.Time
}

// run returns the task's result, or why there is none.
func (c *conductor) run() (*protocol.Result, error) {
	if err := c.launch(int(c.terms.Replicas)); err != nil {
		if err = c.retryLater(err); err != nil {
			return nil, err
		}
	}
	for {
		var err error
		select {
		case <-c.ctx.Done():
			return nil, context.Cause(c.ctx)
		case <-c.retry:
			c.retry = nil
			err = c.launch(1)
		case ev := <-c.events:
			var result *protocol.Result
			if result, err = c.handle(ev); result != nil {
				return result, nil
			}
		}
		if err != nil {
			if err = c.retryLater(err); err != nil {
				return nil, err
			}
		}
	}
}

// retryLater decides whether a failure to place an attempt ends the task. It
// does not while another attempt lives, nor when providers exist that may be
// free, or back, later.
func (c *conductor) retryLater(err error) error {
	switch code := protocol.CodeOf(err); {
	case code == protocol.CodeDiverged || c.failures >= maxFailures:
		return err
	case len(c.live) > 0:
		return nil
	case code != protocol.CodeBusy && len(c.excluded) == 0:
		return err // nobody there could ever run it
	}
	c.retry = time.After(market.Backoff(c.rng, market.Patience+c.pauses))
	c.pauses++
	for p, why := range c.excluded {
		if why != whyWrong {
			delete(c.excluded, p)
		}
	}
	c.update(func(record *protocol.Task) {
		record.State = protocol.StateQueued
		record.Reason = fmt.Sprintf("waiting to ask again: %s", failed(err).Message)
	})
	return nil
}

// launch starts n more attempts, on spares as long as there are some.
func (c *conductor) launch(n int) error {
	for ; n > 0; n-- {
		candidate, ok := c.nextSpare()
		if !ok {
			placement, err := c.place(n)
			if err != nil {
				return err
			}
			candidate, c.spares = placement.Chosen[0], slices.Concat(placement.Chosen[1:], placement.Spares)
		}
		c.begin(candidate)
	}
	return nil
}

func (c *conductor) nextSpare() (market.Candidate, bool) {
	for len(c.spares) > 0 {
		spare := c.spares[0]
		c.spares = c.spares[1:]
		if _, no := c.excluded[spare.Provider]; !no {
			return spare, true
		}
	}
	return market.Candidate{}, false
}

// begin opens an attempt with a candidate. Another attempt of the same task is
// never given to the same peer while one lives.
func (c *conductor) begin(candidate market.Candidate) {
	c.excluded[candidate.Provider] = "it runs an attempt of this task"
	a := c.newAttempt(candidate)
	c.live = append(c.live, a)
	a.begin()
}

// handle moves one attempt on. It returns the task's result when there is one,
// and an error when no further attempt could be placed.
func (c *conductor) handle(ev event) (*protocol.Result, error) {
	a := ev.attempt
	if a.over {
		return nil, nil // withdrawn, or lost: it came too late
	}
	switch ev.kind {
	case evLeased:
		a.setState(protocol.StateRunning, "")
		c.pauses = 0
	case evProgress:
		a.setState(ev.state, "")
	case evSuspected:
		if a.suspected {
			return nil, nil
		}
		a.suspected = true
		return nil, c.launch(1)
	case evRefused:
		c.end(a, protocol.StateRefused, ev.why())
		return nil, c.launch(1)
	case evLost:
		return nil, c.lose(a, ev.err)
	case evOutcome, evOutputEnd:
		if ev.kind == evOutcome {
			a.outcome = ev.outcome
		} else {
			a.outputEnded = true
		}
		if a.outcome == nil || a.outcome.Streamed && !a.outputEnded {
			return nil, nil
		}
		return c.judge(a)
	}
	return nil, nil
}

// lose ends an attempt whose lease is lost and starts another, unless one was
// started when it fell under suspicion.
func (c *conductor) lose(a *attempt, err error) error {
	if errors.Is(err, errDiverged) {
		c.end(a, protocol.StateLost, err.Error())
		return protocol.Errorf(protocol.CodeDiverged, "attempt %d wrote other output than was shown before", a.record.Attempt).
			WithHint("a provider lies or the program is not deterministic; try --replicas 3")
	}
	c.failures++
	c.end(a, protocol.StateLost, err.Error())
	if c.failures >= maxFailures {
		return protocol.Errorf(protocol.CodeLost, "%d attempts failed, the last one: %v", c.failures, err)
	}
	if a.suspected && len(c.live) > 0 {
		return nil
	}
	return c.launch(1)
}

// judge accepts an attempt's outcome as the task's result, or drops it.
func (c *conductor) judge(a *attempt) (*protocol.Result, error) {
	o := a.outcome
	if o.Code != "" {
		return nil, c.lose(a, protocol.Errorf(protocol.Code(o.Code), "the provider failed: %s", protocol.SafeText(o.Message)))
	}
	if err := a.verify(); err != nil {
		lost := c.lose(a, err)
		c.excluded[a.provider] = whyWrong
		return nil, lost
	}
	c.r.warm.Add(warmKey{a.provider, c.spec.Module.Sum()}, struct{}{})
	c.end(a, protocol.StateDone, "")
	result := o.Result
	result.Receipts = []*protocol.Receipt{o.Receipt}
	result.Message = protocol.SafeText(result.Message)
	return result, nil
}

// whyWrong excludes a peer for good: its result was not what it claimed.
const whyWrong = "its result was not what it claimed"

// end closes an attempt's books.
func (c *conductor) end(a *attempt, state protocol.State, why string) {
	a.close()
	c.live = slices.DeleteFunc(c.live, func(other *attempt) bool { return other == a })
	if why != "" {
		c.excluded[a.provider] = why
	}
	a.setState(state, why)
}

// withdraw ends the attempts that are still open.
func (c *conductor) withdraw(won bool) {
	why := "the task ended before it"
	if won {
		why = "another attempt answered first"
	}
	for len(c.live) > 0 {
		a := c.live[0]
		a.withdraw()
		c.end(a, protocol.StateCancelled, why)
	}
}
