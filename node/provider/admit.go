package provider

import (
	"fmt"
	"slices"
	"time"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

const (
	// shortRun is the mean below which replicas are handed to the Runner ahead
	// of their turn, so many for each slot: it has a worker's next task at hand
	// then, which such tasks live by.
	shortRun = 2 * time.Millisecond
	runAhead = 16
)

// admit decides on one Run. It returns the load that includes it, or a refusal.
func (p *Provider) admit(r *replica, x *exchange) (_ *protocol.Load, refusal *protocol.Refusal) {
	sweeps := p.sweeps.Load()
	availability, why := p.cfg.Availability()
	refuse := func(code protocol.Code, message string) *protocol.Refusal {
		return &protocol.Refusal{Code: string(code), Message: message, Load: p.load(availability)}
	}
	p.mu.Lock()
	for p.sweeps.Load() != sweeps { // it would have come too late to be handed over
		p.mu.Unlock()
		sweeps = p.sweeps.Load()
		availability, why = p.cfg.Availability()
		p.mu.Lock()
	}
	defer p.mu.Unlock()
	defer func() { p.noteAsked(r.account, refusal) }()
	if why := p.denied(r.account); why != nil { // asked under mu, so that Expel misses none
		return nil, refuse(why.Code, why.Message)
	}
	if why := p.ceiling(r.spec); why != "" {
		return nil, refuse(protocol.CodeRefused, why)
	}
	// A pause protects the owner of the machine from strangers, not from the
	// owner's own tasks.
	if availability != protocol.Open && !r.account.self {
		return nil, refuse(protocol.CodeRefused, protocol.SafeText(why))
	}
	if p.stopping {
		return nil, refuse(errStopping.Code, errStopping.Message)
	}
	if x.s.byID[x.id] != nil {
		return nil, refuse(protocol.CodeBadRequest, "this request ID is in use")
	}
	// What is here is not forgotten, however many others came since.
	if p.seen.Contains(r.nonce) || r.account.find(r.nonce) != nil {
		return nil, refuse(protocol.CodeReplay, "this replica was asked for before")
	}
	if !p.makeRoom(r.account) {
		refusal = refuse(protocol.CodeBusy, fmt.Sprintf("%d run or wait here already", p.admitted))
		refusal.RetryMs = uint32(market.RetryAfter(refusal.Load).Milliseconds())
		return nil, refusal
	}
	p.seen.Add(r.nonce, struct{}{})
	a := r.account
	a.active[r.nonce] = r
	a.queue = append(a.queue, r)
	p.admitted++
	p.attach(r, x)
	return p.load(availability), nil
}

// denied says why the account's tasks may not run here, or nil.
func (p *Provider) denied(a *account) *protocol.Error {
	if a.self || p.cfg.Access == nil {
		return nil
	}
	return p.cfg.Access(a.peer)
}

// ceiling says what of the spec is beyond this provider, or "".
func (p *Provider) ceiling(s *protocol.Spec) string {
	if s.Profile != protocol.Profile {
		return fmt.Sprintf("the task needs sandbox profile %d, this node has %d", s.Profile, protocol.Profile)
	}
	return market.Need{Limits: s.Limits, ModuleBytes: s.Module.Size}.Beyond(p.capability())
}

// makeRoom reports whether one more replica of the account's may come, for
// which another may have to go. It is called with mu held.
func (p *Provider) makeRoom(a *account) bool {
	places := p.slots + p.queue - p.running
	if p.admitted-p.running < places {
		return true
	}
	others := make([]market.Line, 0, len(p.accounts))
	for _, b := range p.accounts {
		if b != a && len(b.queue) > 0 {
			others = append(others, b.line(len(b.queue)))
		}
	}
	ok, displaced := market.Admit(places, others, a.line(len(a.queue)))
	if !ok || displaced == "" {
		return ok
	}
	// A lease that is on its way out must not be overtaken by its refusal.
	queue := p.accounts[displaced].queue
	for _, r := range slices.Backward(queue) {
		if r.phase != phaseLeasing {
			p.displace(r)
			return true
		}
	}
	return false
}

// displace refuses a replica that waits. It is called with mu held.
func (p *Provider) displace(r *replica) {
	waits := r.phase == phaseWaiting
	p.leave(r, time.Now())
	x := p.detach(r)
	p.forgetActive(r)
	p.wg.Go(func() {
		r.cancel(errDisplaced)
		if waits { // else whoever fetches for it does this
			p.finish(r)
		}
		if x == nil {
			return
		}
		load := p.Load()
		_ = x.s.conn.Send(&protocol.Reply{Id: x.id, Body: &protocol.Reply_Refusal{Refusal: &protocol.Refusal{
			Code:    string(protocol.CodeBusy),
			Message: errDisplaced.Message,
			Load:    load,
			RetryMs: uint32(market.RetryAfter(load).Milliseconds()),
		}}}) // a dead stream ends the session's loop
	})
}

var errDisplaced = protocol.Errorf(protocol.CodeBusy, "its place in the queue has gone to another requester")

// begin takes a replica on whose lease is out.
func (p *Provider) begin(r *replica) {
	for _, b := range r.blobs() {
		r.unpin = append(r.unpin, p.cfg.Blobs.Pin(b.Sum()))
	}
	missing := p.missing(r)
	if len(missing) == 0 {
		if !p.enqueue(r, phaseLeasing) {
			p.conclude(r, phaseLeasing, p.failure(r, errStopping))
		}
		return
	}
	p.mu.Lock()
	r.phase = phaseFetching
	going := !p.stopping
	if going {
		p.wg.Go(func() { p.fetchFor(r, missing) })
	}
	p.mu.Unlock()
	if !going {
		p.conclude(r, phaseFetching, p.failure(r, errStopping))
	}
}

func (p *Provider) fetchFor(r *replica, blobs []*protocol.Blob) {
	err := p.fetchAll(r, blobs)
	if err == nil {
		if p.enqueue(r, phaseFetching) {
			return
		}
		err = errStopping
	}
	if !p.conclude(r, phaseFetching, p.failure(r, err)) {
		p.finish(r) // it was displaced
	}
}

// enqueue lets a replica in phase from wait for a slot. It returns false when
// the replica is in another phase, or cancelled.
func (p *Provider) enqueue(r *replica, from phase) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.phase != from || r.ctx.Err() != nil || p.stopping {
		return false
	}
	r.phase, r.state = phaseWaiting, protocol.StateQueued
	a := r.account
	if a.ready++; a.ready == 1 {
		p.waiting = append(p.waiting, a)
	}
	p.giveSlots()
	return true
}

// runsShort reports whether replicas have been short lately, and those that run
// are. It is called with mu held.
func (p *Provider) runsShort() bool {
	mean := p.meanRun()
	return mean > 0 && mean < shortRun
}

// giveSlots starts those whose turn it is. It is called with mu held.
func (p *Provider) giveSlots() {
	for !p.stopping && len(p.waiting) > 0 {
		most := p.slots
		if p.runsShort() {
			most *= runAhead
		}
		if p.running >= most {
			return
		}
		r := p.next()
		p.unqueue(r)
		r.phase = phaseRunning
		p.running++
		r.account.running++
		r.charged = p.cfg.Runner.MeanRun().Seconds()
		p.turns.Charge(r.account.line(0), r.charged)
		p.wg.Go(func() { p.execute(r) })
	}
}

// next returns the replica whose turn it is. Some are waiting.
func (p *Provider) next() *replica {
	lines := make([]market.Line, 0, 8) // usually on the stack
	for _, a := range p.waiting {
		lines = append(lines, a.line(a.ready))
	}
	of, _ := p.turns.Next(lines) // none of the lines is empty
	queue := p.accounts[of].queue
	return queue[slices.IndexFunc(queue, func(r *replica) bool { return r.phase == phaseWaiting })]
}

// unqueue takes a replica out of its account's queue.
func (p *Provider) unqueue(r *replica) {
	a := r.account
	i := slices.Index(a.queue, r)
	a.queue = slices.Delete(a.queue, i, i+1)
	if r.phase != phaseWaiting {
		return
	}
	if a.ready--; a.ready == 0 {
		i := slices.Index(p.waiting, a)
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
}

// leave ends a replica's part in the queue, or gives its slot to another. It is
// called with mu held.
func (p *Provider) leave(r *replica, now time.Time) {
	slot := r.phase == phaseRunning
	if !slot {
		p.unqueue(r)
	}
	r.phase = phaseEnded
	r.stopClock()
	p.admitted--
	r.end(now)
	if !slot {
		return
	}
	p.running--
	r.account.running--
	if !r.running.IsZero() {
		p.guests--
		p.since -= r.running.UnixMilli()
		p.turns.Charge(r.account.line(0), r.ended.Sub(r.running).Seconds()-r.charged)
	}
	p.giveSlots()
}
