package provider

import (
	"context"
	"time"

	"github.com/spare-network/spare/protocol"
)

// exchange is one Ask about a replica, and so where it is told of. Its fields
// are guarded by the Provider's mu, but for those that do not change.
type exchange struct {
	s           *session
	id          uint64
	commit      bool // the outcome waits for a claim
	receiptOnly bool // the outcome goes without output

	told protocol.State
	stop context.CancelFunc // of the output stream; nil: there is none
	sent bool               // all output is
}

// attach has x be told of r from now on, instead of whoever was before. It is
// called with mu held, as are the others here that do not say otherwise.
func (p *Provider) attach(r *replica, x *exchange) {
	p.detach(r)
	r.to = x
	x.s.byID[x.id] = r
	r.stopClock()
	p.stream(r)
}

// detach has nobody be told of r, and returns who was.
func (p *Provider) detach(r *replica) *exchange {
	x := r.to
	if x == nil {
		return nil
	}
	r.to = nil
	delete(x.s.byID, x.id)
	if x.stop != nil {
		x.stop()
	}
	return x
}

// abandon detaches a replica whose requester's connection has ended.
func (p *Provider) abandon(r *replica) {
	p.detach(r)
	if r.phase == phaseEnded {
		p.forgetActive(r)
	} else {
		p.startClock(r)
	}
}

// wantsOutput reports whether output on a stream of its own belongs to what x
// is told.
func (x *exchange) wantsOutput(r *replica) bool {
	return r.output != nil && !x.commit && !x.receiptOnly
}

// take returns the exchange that is to be told how r has ended, which is over
// by that; nil when there is none, or output is still on its way to it.
func (p *Provider) take(r *replica) *exchange {
	x := r.to
	if x == nil || r.outcome == nil || x.wantsOutput(r) && !x.sent {
		return nil
	}
	p.detach(r)
	if x.commit && r.outcome.Code == "" {
		r.state = protocol.StateCommitted
	} else {
		p.forgetActive(r)
	}
	return x
}

// tell says how r has ended to x, which was taken. It is called without mu.
func (p *Provider) tell(r *replica, x *exchange, load *protocol.Load) {
	o := r.outcome
	if x.commit && o.Code == "" {
		sum := protocol.CommitmentOf(protocol.Digest(o.Result.Digest), p.cfg.Self, r.nonce)
		_ = x.s.conn.Send(&protocol.Reply{Id: x.id, Body: &protocol.Reply_Commitment{
			Commitment: &protocol.Commitment{Digest: sum[:], Load: load},
		}}) // it is held, whatever becomes of the stream
		return
	}
	if o.Code == string(protocol.CodeHandedOver) || o.Code == string(protocol.CodeBlocked) { // which is no failure
		_ = x.s.conn.Send(&protocol.Reply{Id: x.id, Body: &protocol.Reply_Refusal{Refusal: &protocol.Refusal{
			Code: o.Code, Message: o.Message, Load: load,
		}}}) // a dead stream ends the session's loop
		return
	}
	told := &protocol.Outcome{Result: o.Result, Receipt: o.Receipt, Load: load, Code: o.Code, Message: o.Message}
	if !x.receiptOnly {
		told.Streamed, told.Stdout, told.Stderr = o.Streamed, o.Stdout, o.Stderr
	}
	send := x.s.conn.Send
	if load.GetQueued() > 0 && time.Duration(load.GetMeanRunUs())*time.Microsecond < shortRun {
		send = x.s.conn.SendSoon // with the outcomes of those behind it
	}
	err := send(&protocol.Reply{Id: x.id, Body: &protocol.Reply_Outcome{Outcome: told}})
	if err == nil && r.debt != nil {
		x.s.addReceipt(r.debt)
	}
}
