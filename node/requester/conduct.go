package requester

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

const (
	// maxFailures is how many attempts of one task may be lost or fail at
	// their provider before it is given up: by then the task is the likelier
	// cause. Refusals do not count, nor do peers that cannot be reached.
	maxFailures = 10
	// tellAfter is how long a task waits before its follower is told: longer
	// than a new node gives its peers, which may end the task with one line.
	tellAfter = settleNew + time.Second
	// spareFresh is how long the spares of a placement are worth asking.
	spareFresh = 5 * time.Second
)

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
	// Whatever ended the context is why the task ends: what failed because of
	// that tells nothing of its own.
	if cause := context.Cause(c.ctx); cause != nil && result == nil {
		err = cause
	}
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
	sparesAt time.Time
	excluded map[peer.ID]string // peers not to be asked again, and why
	failures int
	refusals int       // in a row, without a lease between them
	pauses   int       // likewise
	pausedAt time.Time // when the first of them began
	retry    <-chan time.Time
}

// run returns the task's result, or why there is none.
func (c *conductor) run() (*protocol.Result, error) {
	err := c.launch()
	for {
		if err != nil {
			if err = c.pause(err); err != nil {
				return nil, err
			}
		}
		select {
		case <-c.ctx.Done():
			return nil, context.Cause(c.ctx)
		case <-c.retry:
			c.retry = nil
			err = c.launch()
		case ev := <-c.events:
			var result *protocol.Result
			if result, err = c.handle(ev); result != nil {
				return result, nil
			}
		}
	}
}

// errFinal is wrapped by what no further attempt could mend.
var errFinal = errors.New("no further attempt would help")

// pause decides whether a failure to place an attempt ends the task. It does
// not while another attempt lives, nor when providers exist that may be free,
// or back, later.
func (c *conductor) pause(err error) error {
	code := protocol.CodeOf(err)
	mayChange := code == protocol.CodeBusy || time.Now().Before(c.settled) ||
		slices.ContainsFunc(slices.Collect(maps.Values(c.excluded)), func(why string) bool { return why != whyWrong })
	switch {
	case errors.Is(err, errFinal):
		return err
	case len(c.live) > 0 && code != protocol.CodeBusy:
		return nil
	case len(c.live) == 0 && !mayChange:
		return err // nobody there could ever run it
	}
	c.retry = time.After(market.Backoff(c.rng, market.Patience+c.pauses))
	if c.pauses++; c.pauses == 1 {
		c.pausedAt = time.Now()
	}
	maps.DeleteFunc(c.excluded, func(_ peer.ID, why string) bool { return why != whyWrong && why != whyRunning })
	if len(c.live) == 0 {
		c.update(func(record *protocol.Task) {
			record.State = protocol.StateQueued
			record.Reason = "asking again soon: " + failed(err).Message
			if time.Since(c.pausedAt) >= tellAfter {
				record.Reason = "waiting to ask again: " + failed(err).Message
				c.waiting = record.Reason
			}
		})
	}
	return nil
}

// launch starts as many attempts as replicas are wanted beyond those that
// live, on spares as long as there are some. Under suspicion an attempt does
// not count as living.
func (c *conductor) launch() error {
	for {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		trusted := 0
		for _, a := range c.live {
			if !a.suspected {
				trusted++
			}
		}
		missing := int(c.terms.Replicas) - trusted
		if missing <= 0 {
			return nil
		}
		candidate, ok := c.nextSpare()
		if !ok {
			placement, err := c.place(missing)
			if protocol.CodeOf(err) == protocol.CodeBusy && missing > 1 {
				placement, err = c.place(1) // those that are free need not wait for the others
			}
			if err != nil {
				return err
			}
			candidate = placement.Chosen[0]
			c.spares, c.sparesAt = slices.Concat(placement.Chosen[1:], placement.Spares), time.Now()
		}
		c.begin(candidate)
	}
}

func (c *conductor) nextSpare() (market.Candidate, bool) {
	now := time.Now()
	if now.Sub(c.sparesAt) > spareFresh {
		c.spares = nil
	}
	for len(c.spares) > 0 {
		spare := c.spares[0]
		c.spares = c.spares[1:]
		_, offers := c.r.cfg.Book.Get(now, spare.Provider)
		if _, no := c.excluded[spare.Provider]; offers && !no {
			return spare, true
		}
	}
	return market.Candidate{}, false
}

// Why a peer is excluded for longer than to the next pause.
const (
	whyWrong   = "its result was not what it claimed"
	whyRunning = "it runs an attempt of this task"
)

// begin opens an attempt with a candidate. Another attempt of the same task is
// never given to the same peer while one lives.
func (c *conductor) begin(candidate market.Candidate) {
	c.excluded[candidate.Provider] = whyRunning
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
		a.leased(ev.state)
		c.pauses, c.refusals = 0, 0
	case evProgress:
		a.setState(ev.state, "")
	case evSuspected:
		a.suspected = true
		return nil, c.launch()
	case evRefused:
		c.end(a, protocol.StateRefused, ev.why())
		if c.refusals++; c.refusals%market.Patience == 0 {
			return nil, protocol.Errorf(protocol.CodeBusy, "%d providers in a row refused", c.refusals)
		}
		return nil, c.launch()
	case evLost:
		return nil, c.lose(a, ev.err)
	case evOutcome, evOutputEnd:
		if ev.kind == evOutcome {
			a.outcome = ev.outcome
		} else {
			a.outputEnded = true
		}
		if a.outcome == nil {
			return nil, nil
		}
		if a.outcome.Streamed && !a.outputEnded {
			a.expect(max(outputGrace, time.Until(a.filesUntil())), errNoOutput)
			a.late = a.newPace()
			return nil, nil
		}
		return c.judge(a)
	}
	return nil, nil
}

// lose ends an attempt whose lease is lost and starts another, unless one was
// started when it fell under suspicion.
func (c *conductor) lose(a *attempt, err error) error {
	c.end(a, protocol.StateLost, protocol.SafeText(err.Error()))
	if !errors.Is(err, errUnreachable) {
		c.failures++
	}
	c.settled = time.Now().Add(settleLost)
	if gone := c.missing(); gone != nil {
		return fmt.Errorf("%w: %w", errFinal, gone)
	}
	switch {
	case errors.Is(err, errDiverged):
		return final(protocol.CodeDiverged, "attempt %d wrote other output than was shown before", a.record.Attempt)
	case errors.Is(err, errKeep):
		return fmt.Errorf("%w: %w", errFinal, keepError(err))
	case c.failures >= maxFailures:
		return final(protocol.CodeLost, "%d attempts failed, the last one: %s", c.failures, protocol.SafeText(err.Error()))
	}
	return c.launch()
}

func final(code protocol.Code, format string, args ...any) error {
	return fmt.Errorf("%w: %w", errFinal, protocol.Errorf(code, format, args...))
}

// judge accepts an attempt's outcome as the task's result, or drops it.
func (c *conductor) judge(a *attempt) (*protocol.Result, error) {
	o := a.outcome
	if o.Code != "" {
		return nil, c.lose(a, fmt.Errorf("the provider failed: %s: %s", o.Code, o.Message))
	}
	if err := a.verify(); err != nil {
		lost := c.lose(a, err)
		c.excluded[a.provider] = whyWrong
		return nil, lost
	}
	pack, err := a.keepFiles()
	if err != nil {
		return nil, c.lose(a, err)
	}
	c.r.warm.Add(warmKey{a.provider, c.spec.Module.Sum()}, struct{}{})
	c.end(a, protocol.StateDone, "")
	result := o.Result
	result.Pack = pack
	result.Hint = mend(protocol.Code(result.Code))
	result.Receipts = []*protocol.Receipt{o.Receipt}
	result.Message = protocol.SafeText(result.Message)
	return result, nil
}

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
