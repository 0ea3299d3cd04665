package provider

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spare-network/spare/protocol"
)

// How long a replica outlives the connection to its requester, which may come
// back and claim it.
const (
	attachedFor = 10 * time.Second
	detachedFor = 10 * time.Minute
)

// Causes for which a replica is cancelled.
var (
	errWithdrawn = errors.New("the requester withdrew it")
	errGone      = errors.New("the requester is gone")
)

// phase is how far a replica has come.
type phase int

const (
	phaseLeasing  phase = iota // its lease is on the way out
	phaseFetching              // it waits for its blobs
	phaseWaiting               // it only wants a slot
	phaseRunning
	phaseEnded
)

// replica is one admitted Run. It belongs to the Provider and not to the
// connection that has brought it: it outlives that for a while, and its result
// for long.
type replica struct {
	nonce    protocol.Nonce
	account  *account
	detached bool
	warm     bool   // nothing was to be fetched or compiled
	task     string // the requester's word
	name     string // of its program, likewise
	module   protocol.Digest
	came     time.Time
	ctx      context.Context
	cancel   context.CancelCauseFunc // see Provider.cancel
	gas      atomic.Uint64
	stood    standstill

	// Of whoever takes it through its phases; nil once it has ended.
	spec  *protocol.Spec
	raw   []byte // spec as it came
	unpin []func()

	// Guarded by the Provider's mu.
	phase   phase
	state   protocol.State
	running time.Time         // when the guest started
	ended   time.Time         // when it ended; zero while it has not
	wall    time.Duration     // the guest's, once it has ended
	charged float64           // seconds that its requester's turn was charged
	to      *exchange         // who is told of it; nil: nobody now
	clock   *time.Timer       // cancels it while its requester is away
	output  *transcript       // nil: nothing, or what rides in the outcome
	outcome *protocol.Outcome // once it has ended, without a load
	cost    holding           // of its result, while that is held
	settled bool              // its requester wants it no more
	debt    *debt             // of its requester; nil while there is no result
}

// blobs are all that the replica needs: its module first.
func (r *replica) blobs() []*protocol.Blob {
	return append([]*protocol.Blob{r.spec.Module}, r.spec.Transfers()...)
}

// cancel ends a replica. One that only waits ends here and now, since no
// goroutine is its own.
func (p *Provider) cancel(r *replica, cause error) {
	r.cancel(cause)
	p.conclude(r, phaseWaiting, p.failure(r, cause))
}

// setState notes how far a replica is, and tells its requester, unless the
// outcome will likely be there as soon: beats tell it otherwise.
func (p *Provider) setState(r *replica, state protocol.State) {
	p.mu.Lock()
	r.state = state
	if state == protocol.StateRunning && r.running.IsZero() && r.phase == phaseRunning && r.ctx.Err() == nil {
		r.running = time.Now()
		r.stood.reset(r.running)
		p.guests++
		p.since += r.running.UnixMilli()
	}
	tell := state != protocol.StateRunning || !p.runsShort()
	p.mu.Unlock()
	if tell {
		p.tellState(r)
	}
}

// tellState tells a replica's requester how far it is, unless it knows.
func (p *Provider) tellState(r *replica) {
	p.mu.Lock()
	x, state := r.to, r.state
	if x == nil || x.told == state || r.phase == phaseEnded || r.ctx.Err() != nil {
		p.mu.Unlock()
		return
	}
	x.told = state
	p.mu.Unlock()
	_ = x.s.conn.SendSoon(&protocol.Reply{Id: x.id, Body: &protocol.Reply_Progress{Progress: state}}) // a dead stream ends the session's loop
}

// guestEnded stops the clock: how long its files take is not the guest's.
func (p *Provider) guestEnded(r *replica) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.end(time.Now())
}

// end stops it, unless it has stopped. It is called with mu held.
func (r *replica) end(now time.Time) {
	if r.ended.IsZero() {
		r.wall, r.ended = r.wallUntil(now), now
	}
}

// wallUntil is the guest's time, of which what it stood still is no part. It is
// called with mu held.
func (r *replica) wallUntil(now time.Time) time.Duration {
	if r.running.IsZero() {
		return 0
	}
	return max(0, now.Sub(r.running)-r.stood.until(now))
}

// standstill is for how long a guest has stood still. It has a lock of its own,
// since the Runner that tells of it may not wait for the Provider, who waits for
// the Runner.
type standstill struct {
	mu    sync.Mutex
	since time.Time     // zero: it does not stand still now
	past  time.Duration // until it went on last
}

// note takes the Runner's word.
func (s *standstill) note(still bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.since.IsZero() {
		s.past += now.Sub(s.since)
	}
	s.since = time.Time{}
	if still {
		s.since = now
	}
}

// reset has it count from now on.
func (s *standstill) reset(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.past = 0
	if !s.since.IsZero() {
		s.since = now
	}
}

// until is for how long it was, with what goes on.
func (s *standstill) until(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		return s.past
	}
	return s.past + max(0, now.Sub(s.since))
}

// useGas notes what a guest has used, as far as is known.
func (r *replica) useGas(used uint64) {
	if used > r.gas.Load() { // one goroutine tells
		r.gas.Store(used)
	}
}

// progress is what a Beat says of the replica. It is called with mu held.
func (r *replica) progress(now time.Time) *protocol.Progress {
	pr := &protocol.Progress{Nonce: r.nonce[:], State: r.state, Gas: r.gas.Load()}
	wall := r.wall
	if r.ended.IsZero() {
		wall = r.wallUntil(now)
	} else { // what it left may still be on its way
		pr.State = protocol.StateDone
	}
	pr.WallUs = uint64(wall.Microseconds())
	return pr
}

// startClock gives a replica whose requester is away its time. It is called
// with mu held, as is stopClock.
func (p *Provider) startClock(r *replica) {
	if r.clock != nil || r.phase == phaseEnded {
		return
	}
	d := attachedFor
	if r.detached {
		d = detachedFor
	}
	r.clock = time.AfterFunc(d, func() { p.cancel(r, errGone) })
}

func (r *replica) stopClock() {
	if r.clock != nil {
		r.clock.Stop()
		r.clock = nil
	}
}

// conclude ends a replica that is in phase from: its place is free, its result
// is held, and its requester is told. It returns false, and does nothing, when
// the replica is in another phase.
func (p *Provider) conclude(r *replica, from phase, o *protocol.Outcome) bool {
	availability, _ := p.cfg.Availability()
	p.mu.Lock()
	if r.phase != from {
		p.mu.Unlock()
		return false
	}
	p.leave(r, time.Now())
	load := p.load(availability)
	r.outcome = o
	x := p.dispose(r)
	o = r.outcome
	p.unlock()
	if from == phaseRunning {
		p.noteStay(r, o)
	}
	p.finish(r)
	if x != nil {
		p.tell(r, x, load)
	}
	return true
}

// dispose decides what becomes of an outcome, and returns who is to be told
// of it now. It is called with mu held.
func (p *Provider) dispose(r *replica) *exchange {
	if r.settled { // though it may have ended well just now
		r.outcome = &protocol.Outcome{Code: string(protocol.CodeCancelled), Message: errWithdrawn.Error()}
	}
	failed := r.outcome.Code != ""
	if failed && r.output != nil {
		p.discarded = append(p.discarded, r.output)
		r.output = nil
	}
	// A failure is kept for a requester that is away, unless it is what ended
	// the replica.
	if !failed || r.to == nil && r.ctx.Err() == nil && !r.settled {
		p.hold(r)
	}
	if r.to == nil {
		p.forgetActive(r)
		return nil
	}
	return p.take(r)
}

// finish frees what a replica needed to run.
func (p *Provider) finish(r *replica) {
	for _, unpin := range r.unpin {
		unpin()
	}
	r.unpin, r.spec, r.raw = nil, nil, nil
	r.cancel(nil)
	p.noteChange()
}
