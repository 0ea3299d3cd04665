package requester

import (
	"context"
	"errors"
	"fmt"
	"hash"
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
	evSuspected
	evRefused
	evLost
	evOutcome
	evOutputEnd
)

// eventsPerAttempt is at least the number of events that an honest attempt
// brings, so that its pair need not wait for a conductor that is busy placing.
const eventsPerAttempt = 8

// event tells a task's conductor what happened to one of its attempts.
type event struct {
	attempt *attempt
	kind    eventKind
	state   protocol.State    // of evProgress
	refusal *protocol.Refusal // of evRefused
	outcome *protocol.Outcome // of evOutcome
	err     error             // of evLost
}

func (ev event) why() string {
	return fmt.Sprintf("refused: %s %s", protocol.SafeText(ev.refusal.Code), protocol.SafeText(ev.refusal.Message))
}

// attempt is one replica of a task, as its requester sees it.
type attempt struct {
	t        *task
	provider peer.ID
	nonce    protocol.Nonce
	record   *protocol.Replica // guarded by t.mu once it is in the task's record

	// Of the conductor's goroutine.
	suspected   bool
	over        bool
	outcome     *protocol.Outcome
	outputEnded bool

	// Guarded by t.outMu: how much of stdout and stderr it has written, and
	// their sums when they came over a stream.
	written [2]int64
	sums    [2]hash.Hash

	ctx    context.Context // ends with the attempt
	cancel context.CancelFunc
}

func (c *conductor) newAttempt(candidate market.Candidate) *attempt {
	a := &attempt{t: c.task, provider: candidate.Provider, nonce: protocol.NewNonce()}
	a.ctx, a.cancel = context.WithCancel(c.ctx)
	rtt := int64(-1)
	if candidate.RTTKnown {
		rtt = candidate.RTT.Microseconds()
	}
	c.update(func(record *protocol.Task) {
		a.record = &protocol.Replica{
			Attempt:  uint32(len(record.Replicas) + 1),
			Nonce:    a.nonce[:],
			Provider: a.provider.String(),
			State:    protocol.StateQueued,
			Reason:   candidate.Reason,
			RttUs:    rtt,
		}
		record.Replicas = append(record.Replicas, a.record)
		record.Reason = "asking a provider"
	})
	c.r.mu.Lock()
	c.r.attempts[a.nonce] = a
	c.r.mu.Unlock()
	return a
}

// begin asks the provider for a lease. With a stream at hand that is one
// write; otherwise a goroutine dials.
func (a *attempt) begin() {
	if p := a.t.r.pairs.ready(a.provider); p != nil {
		p.run(a)
		return
	}
	a.t.r.wg.Go(func() {
		p, err := a.t.r.pairs.get(a.ctx, a.provider)
		if err != nil {
			a.send(event{kind: evLost, err: fmt.Errorf("cannot reach it: %w", err)})
			return
		}
		p.run(a)
	})
}

// send passes an event to the conductor.
func (a *attempt) send(ev event) {
	ev.attempt = a
	select {
	case a.t.events <- ev:
	case <-a.ctx.Done():
	}
}

// setState notes the state in the task's record.
func (a *attempt) setState(state protocol.State, why string) {
	a.t.update(func(record *protocol.Task) {
		now := time.Now().UnixMilli()
		if a.record.StartedUnixMs == 0 && state < protocol.StateRefused {
			a.record.StartedUnixMs = now
		}
		a.record.State = state
		if why != "" {
			a.record.Reason += "; " + why
		}
		if state.Ended() {
			a.record.EndedUnixMs = now
		} else {
			record.State, record.Reason = state, ""
		}
	})
}

// verify checks that the outcome is of this attempt and of what was received.
func (a *attempt) verify() error {
	o, r := a.outcome, a.outcome.Result
	if !o.Streamed {
		if protocol.DigestOf(o.Stdout) != r.Stdout.Sum() || uint64(len(o.Stdout)) != r.Stdout.Size {
			return errOutput
		}
		if err := a.t.write(a, 1, o.Stdout); err != nil {
			return err
		}
		if err := a.t.write(a, 2, o.Stderr); err != nil {
			return err
		}
	} else if !a.t.matches(a, r.Stdout) {
		return errOutput
	}
	want := protocol.ResultDigest(r.ExitCode, protocol.Code(r.Code), r.Stdout.Sum(), r.Stdout.Size, o.Receipt.Gas, a.t.spec.Profile)
	rc := o.Receipt
	switch {
	case protocol.Digest(r.Digest) != want:
		return errors.New("its result digest is wrong")
	case rc.Requester != a.t.r.self, rc.Provider != a.record.Provider,
		string(rc.Nonce) != string(a.nonce[:]), string(rc.SpecDigest) != string(a.t.digest[:]),
		string(rc.ResultDigest) != string(r.Digest):
		return errors.New("its receipt is of something else")
	case r.ExitSource == protocol.FromSystem && r.Code == "", r.ExitSource == protocol.FromGuest && r.Code != "":
		return errors.New("its result contradicts itself")
	}
	return nil
}

var errOutput = errors.New("its output is not what its result says")

// close ends what the provider may still do for the attempt.
func (a *attempt) close() {
	a.over = true
	a.cancel()
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
