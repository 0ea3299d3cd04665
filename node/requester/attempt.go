package requester

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// eventKind is what happened to an attempt.
type eventKind int

const (
	evLeased eventKind = iota
	evProgress
	evSuspected // its provider is silent
	evHeard     // and is so no more
	evStride    // it has run, or waited, for a while longer, and come so far
	evCut       // the way to its provider is lost
	evRefused
	evFailed
	evCommitted
	evOutcome
	evOutputEnd
	evJudge   // somebody who answered was found wrong elsewhere
	evBlocked // its provider was blocked by this node's owner
)

// eventsPerAttempt is at least the number of events that an honest attempt
// brings, so that its pair need not wait for a conductor that is busy placing.
const eventsPerAttempt = 8

// event tells a task's conductor what happened to one of its attempts.
type event struct {
	attempt *attempt
	kind    eventKind
	state   protocol.State    // of evLeased, evProgress and evStride
	refusal *protocol.Refusal // of evRefused
	outcome *protocol.Outcome // of evOutcome
	err     error             // of evCut and evFailed

	gas        uint64          // of evStride: used so far
	slow       bool            // of evStride: less than it should be
	commitment protocol.Digest // of evCommitted
	in         *intake         // of what a stream or a reply brings: of which asking
}

func (ev event) why() string {
	return fmt.Sprintf("refused: %s: %s", ev.refusal.Code, protocol.SafeText(ev.refusal.Message))
}

// attempt is one replica of a task, as its requester sees it.
type attempt struct {
	t        *task
	number   int // in the task's course
	provider peer.ID
	nonce    protocol.Nonce
	record   *protocol.Replica // guarded by t.mu once it is in the task's record

	// Of the conductor's goroutine.
	votes       bool // its provider commits to its result before it reveals it
	over        bool
	adrift      bool // its provider cannot be reached
	bound       bool // to commitment
	commitment  protocol.Digest
	said        protocol.Digest   // the digest of its result, or zero
	receipt     *protocol.Receipt // of that
	claimed     claimed
	claims      int    // since it has come further
	claimGas    uint64 // how far it had come by the last claim
	outcome     *protocol.Outcome
	out         output // all that it wrote, if it votes
	outputEnded bool
	timer       *time.Timer // ends the attempt when what it must do next does not come
	late        *pace       // of output whose end is awaited; nil: none is
	arbiter     bool        // it settles what others disagree on
	slow        bool        // a spare was started because of that

	seeking  atomic.Bool   // a goroutine looks for its provider, to claim it
	patience time.Duration // how long that may fail before a spare is started

	// What the pair has heard of it.
	held  atomic.Bool               // the provider is bound to its result; claims of that have their own time
	named atomic.Pointer[time.Time] // of its lease, then of the last beat that named it; nil before
	left  atomic.Int32              // beats since then that left it out
	beat  atomic.Int32              // state in that beat

	begun      time.Time // by our monotonic clock; of an earlier run of the node: by the clock on the wall
	speed      float64   // of its provider; 0: unknown
	progressMu sync.Mutex
	progress   market.Progress
	progressOf protocol.State                    // of which progress is
	since      [protocol.StateDone + 1]time.Time // when beats told first of a state, by our clock
	sinceOf    *intake                           // of which the last of these is
	delayed    bool                              // a spare was started because one took too long

	own *time.Timer // of an attempt at the own node

	in atomic.Pointer[intake] // set by the conductor

	asked  atomic.Int32 // how often its provider has asked for a blob
	giving atomic.Int32 // to how many of these it is being answered

	ctx    context.Context // ends with the attempt
	cancel context.CancelFunc
}

func (c *conductor) newAttempt(candidate market.Candidate) *attempt {
	a := c.adopt(candidate.Provider, protocol.NewNonce(), nil)
	rtt := int64(-1)
	if candidate.RTTKnown {
		rtt = candidate.RTT.Microseconds()
	}
	c.update(func(record *protocol.Task) {
		a.record = &protocol.Replica{
			Attempt:  nextAttempt(record),
			Nonce:    a.nonce[:],
			Provider: a.provider.String(),
			State:    protocol.StateQueued,
			Reason:   candidate.Reason,
			RttUs:    rtt,
		}
		record.Replicas = append(c.forgetOldest(record.Replicas), a.record)
		record.Reason = "asking a provider"
		c.waiting = ""
	})
	return a
}

// adopt makes an attempt part of the course, and has its provider's streams
// find it.
func (c *conductor) adopt(provider peer.ID, nonce protocol.Nonce, record *protocol.Replica) *attempt {
	a := &attempt{
		t: c.task, provider: provider, nonce: nonce, record: record, votes: c.course.Rule != nil,
		begun: time.Now(), speed: c.r.speedOf(provider),
	}
	if record != nil && record.StartedUnixMs > 0 {
		ran := time.Since(time.UnixMilli(record.StartedUnixMs))
		a.begun = a.begun.Add(-max(0, min(ran, protocol.MaxWall)))
	}
	a.number = c.course.Begin(provider)
	c.attempts = append(c.attempts, a)
	a.ctx, a.cancel = context.WithCancel(c.ctx)
	a.restart()
	c.r.mu.Lock()
	c.r.attempts[nonce] = a
	c.r.mu.Unlock()
	return a
}

// runs reports whether the attempt may still bring something by itself.
func (a *attempt) runs() bool {
	return !a.over && !a.adrift && (!a.bound || a.claimed != claimNothing)
}

// maxReplicasKept bounds the record of a task that waits for long: beyond it
// the oldest of those that came to nothing are forgotten.
const maxReplicasKept = 64

func (c *conductor) forgetOldest(list []*protocol.Replica) []*protocol.Replica {
	if len(list) < maxReplicasKept {
		return list
	}
	i := slices.IndexFunc(list, func(r *protocol.Replica) bool {
		return !slices.ContainsFunc(c.attempts, func(a *attempt) bool {
			return a.record == r && (!a.over || !a.said.IsZero())
		})
	})
	if i < 0 {
		return list
	}
	return slices.Delete(list, i, i+1)
}

func nextAttempt(record *protocol.Task) uint32 {
	if n := len(record.Replicas); n > 0 {
		return record.Replicas[n-1].Attempt + 1
	}
	return 1
}

const (
	// leaseTimeout bounds reaching a provider and its answer to a Run.
	leaseTimeout = dialTimeout + 5*time.Second
	// outputGrace bounds the wait for streamed output whose end a provider has
	// told already.
	outputGrace = 30 * time.Second
	// wallGrace is how far behind its deadline a provider may stop a guest.
	wallGrace = 10 * time.Second
	// forgottenAfter is how long beats may leave out a leased attempt, and
	// forgottenBeats how many of them at least: beats that do not come, or are not
	// read since our own process is late, leave out nothing.
	forgottenAfter = 5 * time.Second
	forgottenBeats = int32(forgottenAfter / protocol.BeatEvery / 2)
)

var (
	errUnreachable = errors.New("it cannot be reached")
	errNoLease     = errors.New("it gave no answer")
	errNoOutput    = errors.New("its output did not come")
	errOverdue     = errors.New("it keeps the task beyond its limits")
	errForgotten   = errors.New("it knows of this no more")
)

// expect ends the attempt with err unless something else happens within d.
func (a *attempt) expect(d time.Duration, err error) {
	if a.timer != nil {
		a.timer.Stop()
	}
	a.timer = time.AfterFunc(d, func() { a.send(event{kind: evFailed, err: err}) })
}

// leased notes that the provider has promised to run it.
func (a *attempt) leased(state protocol.State) {
	if !a.bound { // or it has ended, and a lease is not what is awaited
		a.timer.Stop()
	}
	a.adrift = false
	now := time.Now()
	a.named.CompareAndSwap(nil, &now)
	a.setState(state, "")
	if a.provider == a.t.r.cfg.Self && a.own == nil {
		a.own = time.AfterFunc(market.Stride, a.lookAtOwn)
	}
}

// lookAtOwn judges an attempt at the own node, which does not beat: whether it
// still waits is known.
func (a *attempt) lookAtOwn() {
	a.send(event{kind: evStride, state: protocol.StateQueued})
}

// begin asks the provider for a lease. With a stream at hand that is one
// write, and beats tell whether it is there; otherwise a goroutine dials, which
// may take longer than a spare should wait.
func (a *attempt) begin() {
	a.expect(leaseTimeout, errNoLease)
	if p := a.t.r.pairs.ready(a.provider); p != nil {
		p.run(a)
		return
	}
	a.t.r.wg.Go(func() {
		late := time.AfterFunc(a.dialWait(), func() { a.send(event{kind: evSuspected}) })
		defer late.Stop()
		p, err := a.t.r.pairs.get(a.ctx, a.provider)
		if a.ctx.Err() != nil {
			return // which says nothing of its provider
		}
		if err != nil {
			a.t.r.cfg.Logger.Debug("cannot reach a provider", "provider", a.provider, "err", err)
			// Until it is heard of again it is nobody to be asked, or shown.
			a.t.r.cfg.Book.Away(a.provider)
			a.send(event{kind: evCut, err: errUnreachable})
			return
		}
		p.run(a)
	})
}

// dialWait is how long dialling the provider may take before a spare is
// started: five round trips and then some.
func (a *attempt) dialWait() time.Duration {
	rtt, known := a.t.r.cfg.Network.RTT(a.provider)
	if !known {
		return suspectAfter
	}
	return min(suspectAfter, protocol.BeatEvery+5*rtt)
}

// send passes an event to the conductor.
func (a *attempt) send(ev event) {
	ev.attempt = a
	select {
	case a.t.events <- &ev:
	case <-a.ctx.Done():
	}
}

// setState notes the state in the task's record.
func (a *attempt) setState(state protocol.State, why string) {
	a.t.update(func(record *protocol.Task) {
		now := time.Now().UnixMilli()
		if a.record.StartedUnixMs == 0 && !state.Ended() {
			a.record.StartedUnixMs = now
		}
		a.record.State = state
		if why != "" {
			a.record.Reason += "; " + why
		}
		switch {
		case state.Ended():
			// What was lost ended then, and not when its task did.
			if a.record.EndedUnixMs == 0 || state == protocol.StateDone {
				a.record.EndedUnixMs = now
			}
		case state == protocol.StateCommitted:
			a.record.EndedUnixMs = 0
		default:
			a.record.EndedUnixMs = 0 // it may have come back
			record.State, record.Reason = furthest(record.Replicas), ""
		}
	})
}

// furthest is the state of the replica that has come furthest of those that go on.
func furthest(replicas []*protocol.Replica) (state protocol.State) {
	for _, r := range replicas {
		if r.State <= protocol.StateRunning {
			state = max(state, r.State)
		}
	}
	return state
}

// verify checks that the outcome is of this attempt and of what was received,
// and completes it by the output files that came.
func (a *attempt) verify() error {
	o, r, in := a.outcome, a.outcome.Result, a.in.Load()
	if in.closed {
		return errors.New("it sent its output before that was asked for")
	}
	if !o.Streamed {
		if protocol.DigestOf(o.Stdout) != r.Stdout.Sum() || uint64(len(o.Stdout)) != r.Stdout.Size || in.streamed.Swap(true) {
			return errOutput
		}
		for i, p := range [][]byte{o.Stdout, o.Stderr} {
			if err := a.t.write(in, i+1, p); err != nil {
				return err
			}
		}
	} else if !in.matches(r.Stdout) {
		return errOutput
	}
	var err error
	if r.Files, err = in.fileList(); err != nil {
		return err
	}
	r.FileCount = uint32(len(r.Files))
	if r.Code != "" && len(r.Files) > 0 {
		return errors.New("it sent files of a guest that did not end by itself")
	}
	switch {
	case protocol.Digest(r.Digest) != protocol.ResultDigest(r, a.t.spec.Profile):
		return errors.New("its result digest is wrong")
	case !a.said.IsZero() && protocol.Digest(r.Digest) != a.said:
		return errors.New("it reveals one result and sends another")
	}
	if err := a.verifyReceipt(); err != nil {
		return err
	}
	if a.votes {
		a.t.turn <- struct{}{}
		a.out, in.out = in.out, output{}
		a.t.pass()
	} else if !a.t.seal(r) {
		return errDiverged // it ended before what was shown before
	}
	return nil
}

// verifyReceipt checks that the outcome is of this attempt, and what its
// provider was bound to.
func (a *attempt) verifyReceipt() error {
	r, rc := a.outcome.Result, a.outcome.Receipt
	switch {
	case r.Gas > a.t.spec.Limits.Gas:
		return errors.New("it claims more gas than the task may use")
	case rc.Requester != a.t.r.self, rc.Provider != a.record.Provider,
		string(rc.Nonce) != string(a.nonce[:]), string(rc.SpecDigest) != string(a.t.digest[:]),
		string(rc.ResultDigest) != string(r.Digest):
		return errors.New("its receipt is of something else")
	case a.bound && protocol.CommitmentOf(protocol.Digest(r.Digest), a.provider, a.nonce) != a.commitment:
		return errors.New("it reveals another result than it was bound to")
	}
	return nil
}

// commit notes that the provider is bound to one result.
func (a *attempt) commit(to protocol.Digest) {
	a.timer.Stop()
	a.held.Store(a.votes)
	a.bound, a.commitment, a.claimed, a.adrift = true, to, claimNothing, false
	a.setState(protocol.StateCommitted, "")
}

// tell notes what result the attempt has, for the verdict and for people, and
// what that tells of its module.
func (a *attempt) tell(r *protocol.Result) {
	if a.said.IsZero() {
		speed := cmp.Or(a.speed, a.t.r.speedOf(a.provider)) // which may have come to be known
		a.t.r.tempos.learn(a.t.spec.Module.Sum(), r, time.Since(a.begun), speed)
	}
	digest := protocol.Digest(r.Digest)
	a.said = digest
	a.t.update(func(*protocol.Task) { a.record.ResultDigest, a.record.Gas = digest[:], r.Gas })
}

var errOutput = errors.New("its output is not what its result says")

// close ends what the provider may still do for the attempt.
func (a *attempt) close() {
	a.over = true
	a.timer.Stop()
	a.late.stop()
	if a.own != nil {
		a.own.Stop()
	}
	a.cancel()
	if p := a.t.r.pairs.ready(a.provider); p != nil {
		p.forget(a)
	}
	a.t.r.mu.Lock()
	delete(a.t.r.attempts, a.nonce)
	a.t.r.mu.Unlock()
}

// withdraw tells the provider that its work is not wanted any more.
func (a *attempt) withdraw() {
	if p := a.t.r.pairs.ready(a.provider); p != nil {
		p.withdraw(a)
	}
}

// attemptOf returns the open attempt that provider may speak for.
func (r *Requester) attemptOf(provider peer.ID, nonce []byte) *attempt {
	n, err := protocol.NonceFrom(nonce)
	if err != nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.attempts[n]; a != nil && a.provider == provider {
		return a
	}
	return nil
}
