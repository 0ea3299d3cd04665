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
	// maxFailures is how many attempts of one task may fail at their provider
	// before it is given up, and maxLosses how many may be lost with theirs: by
	// then the task is the likelier cause. Refusals do not count, nor do peers
	// that cannot be reached.
	maxFailures = 10
	maxLosses   = 50
	// tellAfter is how long a task waits before its follower is told: longer
	// than a new node gives its peers, which may end the task with one line.
	tellAfter = settleNew + time.Second
	// spareFresh is how long the spares of a placement are worth asking: as long
	// as it takes the chosen one to refuse. When that one has died, others may
	// have too, and only who answers a probe then is worth the time.
	spareFresh = protocol.BeatEvery
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
		failed:   make(map[peer.ID]int),
	}
	defer c.discard()
	result, err := c.run()
	// Whatever ended the context is why the task ends: what failed because of
	// that tells nothing of its own.
	if cause := context.Cause(c.ctx); cause != nil && result == nil {
		err = cause
	}
	if errors.Is(err, errStopping) {
		c.leave()
		return // it stays in the journal, to be taken up again
	}
	for _, i := range c.course.GiveUp("").Withdraw {
		c.withdraw(c.attempts[i-1], false)
	}
	t.conclude(result, err)
	c.settle()
}

// discard frees the output of attempts that were not chosen.
func (c *conductor) discard() {
	for _, a := range c.attempts {
		a.out.discard()
		a.in.Load().discard()
	}
}

// dice is the random source of all conductors: the runtime's, which needs
// neither a seed nor a lock.
type dice struct{}

// Uint64 implements [rand.Source].
func (dice) Uint64() uint64 { return rand.Uint64() }

// conductor drives one task's course. Only its goroutine uses it.
type conductor struct {
	*task
	course   market.Course
	policy   market.Policy
	networks int        // that offers come from
	short    bool       // nobody else can be asked
	attempts []*attempt // number i of the course at i-1
	rng      *rand.Rand
	spares   []market.Candidate
	sparesAt time.Time

	discovered time.Time          // when more providers were looked for last
	excluded   map[peer.ID]string // peers not to be asked again, and why
	failures   int                // of different providers
	failed     map[peer.ID]int
	losses     int
	refusals   int       // in a row, without a lease between them
	pauses     int       // likewise
	pausedAt   time.Time // when the first of them began
	retry      <-chan time.Time
}

// run returns the task's result, or why there is none.
func (c *conductor) run() (*protocol.Result, error) {
	c.plan()
	c.takeUp()
	result, err := c.do(c.course.Next())
	for {
		if result != nil {
			return result, nil
		}
		if err != nil {
			result, err = c.pause(err)
			if err != nil {
				return nil, err
			}
			continue
		}
		select {
		case <-c.ctx.Done():
			return nil, context.Cause(c.ctx)
		case <-c.retry:
			c.retry = nil
			result, err = c.do(c.course.Next())
		case ev := <-c.events:
			result, err = c.handle(*ev)
		}
	}
}

// step tells the course what has happened to an attempt and does what follows.
func (c *conductor) step(a *attempt, what market.Happening) (*protocol.Result, error) {
	return c.do(c.course.Step(market.Event{Attempt: a.number, What: what, Digest: a.said}))
}

// do does what the course wants. It returns the task's result when there is
// one, and an error when there is none, or when an attempt could not be placed.
func (c *conductor) do(todo market.Todo) (*protocol.Result, error) {
	for _, i := range todo.Withdraw {
		c.withdraw(c.attempts[i-1], todo.End != nil && todo.End.Attempt > 0)
	}
	if todo.End != nil {
		return c.finish(todo.End)
	}
	for _, i := range todo.Reveal {
		c.attempts[i-1].claim(claimReceipt)
	}
	if todo.Fetch > 0 {
		c.attempts[todo.Fetch-1].claim(claimAll)
	}
	if todo.Own && todo.Start > 0 {
		return c.arbitrate(todo)
	}
	return nil, c.start(todo.Start)
}

// errFinal is wrapped by what no further attempt could mend.
var errFinal = errors.New("no further attempt would help")

// pause decides whether a failure to place an attempt ends the task. It does
// not while another attempt runs, nor when providers exist that may be free,
// or back, later.
func (c *conductor) pause(err error) (*protocol.Result, error) {
	code := protocol.CodeOf(err)
	mayChange := code == protocol.CodeBusy || time.Now().Before(c.settled) ||
		slices.ContainsFunc(slices.Collect(maps.Keys(c.excluded)), c.mayPass)
	runs := slices.ContainsFunc(c.attempts, (*attempt).runs)
	switch {
	case errors.Is(err, errFinal):
		return nil, err
	case runs && code != protocol.CodeBusy:
		return nil, nil
	case !runs && (!mayChange || c.waitedEnough()): // nobody there could ever run it, or will
		if c.settleForFewer() {
			result, err := c.do(c.course.Next())
			if err != nil {
				return c.pause(err)
			}
			return result, nil
		}
		if !mayChange {
			return nil, err
		}
	}
	c.retry = time.After(market.Backoff(c.rng, market.Patience+c.pauses))
	if c.pauses++; c.pauses == 1 {
		c.pausedAt = time.Now()
	}
	maps.DeleteFunc(c.excluded, func(p peer.ID, _ string) bool { return c.mayPass(p) })
	if !runs {
		c.update(func(record *protocol.Task) {
			record.State = protocol.StateQueued
			record.Reason = "asking again soon: " + failed(err).Message
			if time.Since(c.pausedAt) >= tellAfter {
				record.Reason = "waiting to ask again: " + failed(err).Message
				c.waiting = record.Reason
			}
		})
	}
	return nil, nil
}

// start makes n more attempts, on spares as long as there are some.
func (c *conductor) start(n int) error {
	for left := n; left > 0; left-- {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		candidate, ok := c.nextSpare()
		if !ok {
			placement, err := c.place(left)
			if left > 1 && (protocol.CodeOf(err) == protocol.CodeBusy || err != nil && c.course.Rule != nil && len(c.attempts) > 0) {
				placement, err = c.place(1) // those that are there need not wait for the others
			}
			if err != nil {
				return err
			}
			candidate = placement.Chosen[0]
			c.spares, c.sparesAt = slices.Concat(placement.Chosen[1:], placement.Spares), time.Now()
			if len(c.attempts) == 0 {
				before := c.course.Wanted
				c.want(providersOf(placement))
				left += c.course.Wanted - before
			}
		}
		c.begin(candidate)
	}
	return nil
}

func providersOf(p market.Placement) (list []peer.ID) {
	for _, c := range slices.Concat(p.Chosen, p.Spares) {
		list = append(list, c.Provider)
	}
	return list
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
		if _, no := c.excluded[spare.Provider]; offers && !no && c.r.Blocked(spare.Provider) == "" {
			return spare, true
		}
	}
	return market.Candidate{}, false
}

// Why a peer is excluded for longer than to the next pause.
const (
	whyWrong   = "its result was not what it claimed"
	whyRunning = "it has an attempt of this task"
	whyFails   = "it failed more than once"
	whyVoted   = "it has been asked for this result"
)

// mayPass reports whether the reason to exclude a peer may pass. That it runs
// nothing of this node does when its refusal is forgotten.
func (c *conductor) mayPass(p peer.ID) bool {
	switch why := c.excluded[p]; why {
	case whyWrong, whyRunning, whyVoted, whyFails:
		return false
	default:
		return !refuses(why) || c.r.Refuses(p) == ""
	}
}

// begin opens an attempt with a candidate. Another attempt of the same task is
// never given to the same peer while one lives, and where results are compared
// not even then.
func (c *conductor) begin(candidate market.Candidate) {
	c.excluded[candidate.Provider] = whyRunning
	a := c.newAttempt(candidate)
	a.begin()
	if c.r.Blocked(a.provider) != "" { // since it was ranked: Leave may not have seen the attempt
		c.r.wg.Go(func() { a.send(event{kind: evBlocked}) })
	}
}

// handle moves one attempt on. It returns what [conductor.do] does.
func (c *conductor) handle(ev event) (*protocol.Result, error) {
	a := ev.attempt
	if a.over || ev.in != nil && ev.in != a.in.Load() {
		return nil, nil // withdrawn, or asked for anew: it came too late
	}
	switch ev.kind {
	case evLeased:
		a.leased(ev.state)
		c.r.figures.lease()
		c.pauses, c.refusals = 0, 0
		c.r.refusers.forget(a.provider)
		return c.step(a, market.Leased)
	case evProgress:
		a.setState(ev.state, "")
	case evSuspected:
		return c.step(a, market.Suspected)
	case evHeard:
		return c.step(a, market.Heard)
	case evStride:
		if a.own != nil {
			if a.record.State != protocol.StateQueued {
				return nil, nil
			}
			a.own.Reset(market.Stride)
		}
		return c.stride(a, ev)
	case evCut:
		return c.cut(a, ev.err)
	case evRefused:
		return c.refused(a, ev)
	case evFailed:
		return c.lose(a, ev.err)
	case evBlocked:
		return c.blocked(a)
	case evJudge:
		return c.do(c.course.Next())
	case evCommitted:
		if a.bound {
			return c.wrong(a, errors.New("it was bound to a result already"))
		}
		a.commit(ev.commitment)
		return c.step(a, market.Committed)
	case evOutcome, evOutputEnd:
		if ev.kind == evOutcome {
			a.outcome = ev.outcome
		} else {
			a.outputEnded = true
		}
		return c.take(a)
	}
	return nil, nil
}

// refused ends an attempt that its provider does not take, or does not know.
func (c *conductor) refused(a *attempt, ev event) (*protocol.Result, error) {
	if a.claims > 0 && ev.refusal.Code == string(protocol.CodeNotFound) {
		return c.lose(a, errForgotten)
	}
	c.r.figures.refuse(protocol.Code(ev.refusal.Code))
	c.r.pool.forget(a.provider)
	if ev.refusal.Code == string(protocol.CodeBlocked) {
		return c.refusedEver(a, ev)
	}
	c.end(a, protocol.StateRefused, ev.why())
	if c.refusals++; c.refusals%market.Patience == 0 {
		c.course.Step(market.Event{Attempt: a.number, What: market.Refused}) // what follows can wait for the pause
		return nil, protocol.Errorf(protocol.CodeBusy, "%d providers in a row refused", c.refusals)
	}
	return c.step(a, market.Refused)
}

// cut is what follows when the way to an attempt's provider is lost: what it
// has done meanwhile is claimed when it can be reached again, and a spare is
// started unless that is at once. An attempt without a lease is given up, and
// one that is bound to its result need not be reached before that is wanted.
func (c *conductor) cut(a *attempt, err error) (*protocol.Result, error) {
	switch {
	case a.bound && a.claimed == claimNothing:
		return nil, nil
	case a.named.Load() == nil, a.claims >= maxClaims && a.record.Gas <= a.claimGas && !errors.Is(err, errSilent):
		return c.lose(a, err)
	case errors.Is(err, errUnreachable) && !a.seeking.Load():
		return nil, nil // it was reached meanwhile
	}
	a.timer.Stop()
	switch {
	case !a.seeking.Load():
		a.claim(c.resumption(a))
		if !errors.Is(err, errSilent) {
			return nil, nil // it may be but the connection
		}
	case !errors.Is(err, errUnreachable):
		return nil, nil // the provider is looked for already
	}
	if a.adrift {
		return nil, nil
	}
	a.adrift = true
	a.setState(protocol.StateUnreachable, err.Error())
	c.settled = time.Now().Add(settleLost)
	return c.step(a, market.Unreachable)
}

// lose ends an attempt of which nothing is to be hoped any more.
func (c *conductor) lose(a *attempt, err error) (*protocol.Result, error) {
	c.r.pool.forget(a.provider)
	state, what := protocol.StateFailed, market.Failed
	switch {
	case errors.Is(err, errForgotten):
		state = protocol.StateLost
	case errors.Is(err, errUnreachable), errors.Is(err, errNoLease), errors.Is(err, errEnded), errors.Is(err, errSilent):
		state, what = protocol.StateUnreachable, market.Unreachable
	}
	if !a.said.IsZero() {
		what = market.Unreachable // what it said stays said
	}
	c.end(a, state, protocol.SafeText(err.Error()))
	switch {
	case state == protocol.StateFailed:
		c.failures++
		c.failed[a.provider]++
		if c.failures == c.failed[a.provider] && c.failures >= maxFailures { // one alone, which may be to blame
			c.excluded[a.provider] = whyFails
			if others, _ := c.rank(c.need(1)); len(others) > 0 || c.course.Bound() > 0 {
				c.failures = 0
			}
		}
	case !errors.Is(err, errUnreachable):
		c.losses++
	}
	c.settled = time.Now().Add(settleLost)
	if gone := c.missing(); gone != nil {
		return nil, fmt.Errorf("%w: %w", errFinal, gone)
	}
	switch {
	case errors.Is(err, errDiverged):
		return nil, final(protocol.CodeDiverged, "attempt %d wrote other output than was shown before", a.record.Attempt)
	case errors.Is(err, errKeep):
		return nil, fmt.Errorf("%w: %w", errFinal, keepError(err))
	case c.failures >= maxFailures, c.losses >= maxLosses:
		return nil, final(protocol.CodeLost, "%d attempts failed, the last one: %s", c.failures+c.losses, protocol.SafeText(err.Error()))
	}
	c.r.figures.failover()
	return c.step(a, what)
}

func final(code protocol.Code, format string, args ...any) error {
	return fmt.Errorf("%w: %w", errFinal, protocol.Errorf(code, format, args...))
}

// end closes an attempt's books.
func (c *conductor) end(a *attempt, state protocol.State, why string) {
	a.close()
	if why != "" {
		c.excluded[a.provider] = why
		if a.bound || !a.said.IsZero() {
			c.excluded[a.provider] = whyVoted
		}
	}
	a.setState(state, why)
}

// withdraw ends an attempt that is not needed.
func (c *conductor) withdraw(a *attempt, won bool) {
	why := "the task ended before it"
	if won {
		why = "another attempt answered first"
	}
	a.withdraw()
	switch {
	case a.over:
	case a.adrift:
		c.end(a, protocol.StateUnreachable, "")
	case !a.said.IsZero():
		c.end(a, protocol.StateDone, "")
	default:
		c.end(a, protocol.StateCancelled, why)
	}
}
