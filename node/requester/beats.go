package requester

import (
	"time"

	"github.com/spare-network/spare/protocol"
)

// heard takes what a beat says of the attempt.
func (a *attempt) heard(now time.Time, p *protocol.Progress) {
	a.named.Store(&now)
	a.left.Store(0)
	wall := time.Duration(min(p.WallUs, uint64(protocol.MaxWall.Microseconds())*2)) * time.Microsecond
	late, over := a.overdue(now, p.State)
	switch limits := a.t.spec.Limits; {
	case over, wall > limits.Wall()+wallGrace, p.Gas > limits.Gas:
		a.send(event{kind: evFailed, err: errOverdue})
		return
	case late:
		a.send(event{kind: evSuspected})
	}
	a.comesAlong(now, p)
	if p.State > protocol.StateQueued && p.State <= protocol.StateRunning && a.beat.Swap(int32(p.State)) != int32(p.State) {
		a.send(event{kind: evProgress, state: p.State})
	}
}

// Allowances for what a provider does beside transfers and the guest: beats by
// which it tells of that may go on for ever.
const (
	// compileGrace is for preparing a module, which may compile for 5 minutes on
	// a busy machine.
	compileGrace = 6 * time.Minute
	// runGrace is added to wallGrace, since the guest's time is taken here from
	// the beats: they come late, and the way to the provider may be lost for a while.
	runGrace = time.Minute
)

// allowance is for how long beats may tell of a state, 0 for ever: a guest has
// its time, everything else twice what it should take at most. How long an
// attempt waits in a queue is not bounded.
func (a *attempt) allowance(state protocol.State) time.Duration {
	l := a.t.spec.Limits
	switch state {
	case protocol.StateFetching, protocol.StateCompiling:
		var bytes uint64
		for _, b := range a.t.blobs {
			bytes += b.Size
		}
		return 2 * (protocol.AtSlowest(bytes) + compileGrace)
	case protocol.StateRunning:
		return l.Wall() + wallGrace + runGrace
	case protocol.StateDone:
		return 2 * (protocol.AtSlowest(l.OutputBytes+l.FileBytes) + outputGrace)
	default:
		return 0
	}
}

// overdue judges the state that a beat tells of by when one told of it first,
// by our own clock. It reports, once, that a spare is worth its cost, since half
// of the allowance is over and nothing else judges how the attempt comes along;
// and that all of it is.
func (a *attempt) overdue(now time.Time, state protocol.State) (late, over bool) {
	most, in := a.allowance(state), a.in.Load()
	if most == 0 || in.answered.Load() || a.held.Load() {
		return false, false
	}
	a.progressMu.Lock()
	defer a.progressMu.Unlock()
	if a.sinceOf != in { // output that is asked for anew has its time anew
		a.sinceOf, a.since[protocol.StateDone] = in, time.Time{}
	}
	if a.since[state].IsZero() {
		a.since[state] = now
	}
	took := now.Sub(a.since[state])
	late = took > most/2 && state != protocol.StateRunning && !a.delayed
	a.delayed = a.delayed || late
	return late, took > most
}

// forgotten reports whether the provider beats without naming the attempt,
// although it has promised to run it and has not answered.
func (a *attempt) forgotten(now time.Time) bool {
	named := a.named.Load()
	return named != nil && !a.in.Load().answered.Load() && now.Sub(*named) > forgottenAfter && a.left.Load() >= forgottenBeats
}
