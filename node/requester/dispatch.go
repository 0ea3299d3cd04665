package requester

import (
	"fmt"
	"time"

	"github.com/spare-network/spare/protocol"
)

// maxReplies is above the number of replies that one exchange can need.
const maxReplies = 8

// dispatch passes one reply to whoever awaits it. Its error means that the
// provider does not keep to the protocol.
func (p *pair) dispatch(reply *protocol.Reply) error {
	if batch := reply.GetReceipts(); batch != nil {
		return p.signed(batch)
	}
	// What a reply says of the load is news even when nobody awaits the reply.
	load := loadIn(reply)
	if err := load.Validate(); err != nil {
		return err
	}
	if load != nil {
		p.r.cfg.Book.SetLoad(time.Now(), p.peer, load)
	}
	p.mu.Lock()
	x := p.exchanges[reply.Id]
	p.mu.Unlock()
	if x == nil {
		return nil // it was withdrawn meanwhile
	}
	if x.replies++; x.replies > maxReplies {
		return fmt.Errorf("%w: too many replies to one request", protocol.ErrMalformed)
	}
	if x.attempt == nil {
		select {
		case x.answer <- reply:
		default: // a second answer to one question
		}
		return nil
	}
	ev, err := p.eventOf(reply, x.in)
	if err != nil {
		return err
	}
	ev.in = x.in
	x.attempt.send(ev)
	return nil
}

func loadIn(reply *protocol.Reply) *protocol.Load {
	switch body := reply.Body.(type) {
	case *protocol.Reply_Lease:
		return body.Lease.Load
	case *protocol.Reply_Refusal:
		return body.Refusal.Load
	case *protocol.Reply_Outcome:
		return body.Outcome.Load
	case *protocol.Reply_Commitment:
		return body.Commitment.Load
	default:
		return reply.GetLoad()
	}
}

// eventOf is what a reply means for its attempt.
func (p *pair) eventOf(reply *protocol.Reply, a *intake) (event, error) {
	if a.answered.Load() {
		return event{}, fmt.Errorf("%w: %T after the outcome", protocol.ErrMalformed, reply.Body)
	}
	switch body := reply.Body.(type) {
	case *protocol.Reply_Lease:
		state := protocol.StateQueued
		if body.Lease.Warm && body.Lease.Load.GetQueued() == 0 {
			state = protocol.StateRunning // there is nothing to wait for
		}
		return event{kind: evLeased, state: state}, nil
	case *protocol.Reply_Progress:
		if body.Progress < protocol.StateQueued || body.Progress > protocol.StateRunning {
			return event{}, fmt.Errorf("%w: progress %s", protocol.ErrMalformed, body.Progress)
		}
		return event{kind: evProgress, state: body.Progress}, nil
	case *protocol.Reply_Refusal:
		if err := body.Refusal.Validate(); err != nil {
			return event{}, err
		}
		a.answered.Store(true)
		return event{kind: evRefused, refusal: body.Refusal}, nil
	case *protocol.Reply_Commitment:
		if err := body.Commitment.Validate(); err != nil {
			return event{}, err
		}
		if !a.votes {
			return event{}, fmt.Errorf("%w: a commitment that nobody wants", protocol.ErrMalformed)
		}
		return event{kind: evCommitted, commitment: protocol.Digest(body.Commitment.Digest)}, nil
	case *protocol.Reply_Outcome:
		if err := body.Outcome.Validate(); err != nil {
			return event{}, err
		}
		a.answered.Store(true)
		if body.Outcome.Receipt != nil {
			p.expectSignature(body.Outcome.Receipt)
		}
		return event{kind: evOutcome, outcome: body.Outcome}, nil
	default:
		return event{}, fmt.Errorf("%w: reply %T", protocol.ErrMalformed, reply.Body)
	}
}
