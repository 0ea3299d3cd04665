package provider

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

const (
	// heldFor is how long a result waits to be settled.
	heldFor = 24 * time.Hour
	// keepAfter is how long it does so in memory only: nearly all are settled
	// sooner.
	keepAfter = time.Second
	keepEvery = keepAfter / 4 // how often that is looked at, when there is something
	// expireEvery is how often it is looked at what has been held for too long.
	expireEvery = time.Minute
	// heldOverhead is what a held result takes beside its outcome, about.
	heldOverhead = 1 << 10
)

// holding is what held results take: their number, bytes in memory, and bytes
// on disk. It is also a bound of each.
type holding struct {
	results      int
	memory, disk int64
}

// Bounds of what is held for one requester, and for all. The oldest is given up
// for the newest.
var (
	heldEach = holding{results: 4096, memory: 16 << 20, disk: 2 << 30}
	heldAll  = holding{results: 16384, memory: 64 << 20, disk: 4 << 30}
)

func (h *holding) add(o holding, sign int) {
	h.results += sign * o.results
	h.memory += int64(sign) * o.memory
	h.disk += int64(sign) * o.disk
}

// exceeds reports whether it is beyond a bound. One result never is.
func (h *holding) exceeds(bound holding) bool {
	return h.results > 1 && (h.results > bound.results || h.memory > bound.memory || h.disk > bound.disk)
}

// part returns which part of the bound it comes nearest to is taken.
func (h *holding) part(bound holding) float64 {
	return max(float64(h.results)/float64(bound.results), float64(h.memory)/float64(bound.memory), float64(h.disk)/float64(bound.disk))
}

// Results is the store's part that keeps results until they are settled.
type Results interface {
	// HoldResult keeps a record, and the blobs that it names.
	HoldResult(requester peer.ID, nonce protocol.Nonce, record []byte, blobs []protocol.Digest, expires time.Time) error
	HeldResults() ([]store.Held, error)
	ReleaseResults(nonces []protocol.Nonce) error
}

// hold keeps the outcome of a replica until it is settled. It is called with mu
// held.
func (p *Provider) hold(r *replica) {
	r.cost = holding{results: 1, memory: heldOverhead + int64(proto.Size(r.outcome))}
	if r.output != nil {
		size, _, _ := r.output.now()
		r.cost.memory += min(size, protocol.MaxInline)
		if size > protocol.MaxInline {
			r.cost.disk = size
		}
	}
	a := r.account
	a.fresh.Add(r.nonce, r)
	p.noteKept()
	a.held.add(r.cost, 1)
	p.held.add(r.cost, 1)
	for a.held.exceeds(heldEach) {
		p.giveUp(a.oldest())
	}
	for p.held.exceeds(heldAll) {
		p.giveUp(p.greediest().oldest())
	}
}

// oldest returns the result that has been held for longest, or nil.
func (a *account) oldest() *replica {
	if _, r, ok := a.kept.GetOldest(); ok {
		return r
	}
	_, r, _ := a.fresh.GetOldest()
	return r
}

// greediest returns the account that holds the largest part of a bound: who
// fills the disk must not cost others what they have in memory.
func (p *Provider) greediest() (most *account) {
	for _, a := range p.accounts {
		if most == nil || a.held.part(heldAll) > most.held.part(heldAll) {
			most = a
		}
	}
	return most
}

// giveUp holds a result no longer. It is called with mu held.
func (p *Provider) giveUp(r *replica) {
	a := r.account
	switch {
	case a.kept.Remove(r.nonce):
		p.released = append(p.released, r.nonce)
		p.noteKept()
	case !a.fresh.Remove(r.nonce):
		return
	}
	a.held.add(r.cost, -1)
	p.held.add(r.cost, -1)
	if r.output != nil {
		p.discarded = append(p.discarded, r.output)
	}
	if r.to == nil {
		p.forgetActive(r)
	}
}

// settle gives up what the requester names: what runs is cancelled, and what is
// held is freed.
func (p *Provider) settle(a *account, nonces [][]byte) {
	var open []*replica
	p.mu.Lock()
	for _, b := range nonces {
		r := a.find(protocol.Nonce(b))
		switch {
		case r == nil:
		case r.phase != phaseEnded:
			r.settled = true
			open = append(open, r)
		default:
			p.detach(r)
			p.giveUp(r)
			p.forgetActive(r)
		}
	}
	p.unlock()
	for _, r := range open {
		p.cancel(r, errWithdrawn)
	}
}

// keepResults puts results that were not settled at once on disk, until ctx
// ends.
func (p *Provider) keepResults(ctx context.Context) {
	timer := time.NewTimer(keepEvery)
	defer timer.Stop()
	soon := true // the timer is set for what there is to keep
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.toKeep:
			if !soon {
				soon = true
				timer.Reset(keepEvery)
			}
			continue
		case <-timer.C:
		}
		now, wait := time.Now(), expireEvery
		p.expire(now)
		if soon = p.keepSince(now.Add(-keepAfter)); soon {
			wait = keepEvery
		}
		timer.Reset(wait)
	}
}

// noteKept has keepResults look soon.
func (p *Provider) noteKept() {
	select {
	case p.toKeep <- struct{}{}:
	default:
	}
}

// closeResults keeps all that is held, and frees it.
func (p *Provider) closeResults() {
	p.keepSince(time.Now().Add(time.Hour))
	p.mu.Lock()
	for _, a := range p.accounts {
		for _, r := range append(a.fresh.Values(), a.kept.Values()...) {
			if r.output != nil {
				p.discarded = append(p.discarded, r.output)
			}
		}
	}
	p.unlock()
}

func (p *Provider) expire(now time.Time) {
	p.mu.Lock()
	for _, a := range p.accounts {
		for r := a.oldest(); r != nil && now.Sub(r.ended) > heldFor; r = a.oldest() {
			p.giveUp(r)
		}
	}
	p.unlock()
}

// keepSince puts results of replicas that ended before then on disk, and reports
// whether there are later ones. A failure is not worth it.
func (p *Provider) keepSince(then time.Time) (more bool) {
	if p.cfg.Results == nil {
		return false
	}
	p.mu.Lock()
	released := p.released
	p.released = nil
	var due []*replica
	for _, a := range p.accounts {
		for nonce, r, ok := a.fresh.GetOldest(); ok && r.ended.Before(then); nonce, r, ok = a.fresh.GetOldest() {
			a.fresh.Remove(nonce)
			a.kept.Add(nonce, r)
			if r.outcome.Code == "" {
				due = append(due, r)
			}
		}
		more = more || a.fresh.Len() > 0
	}
	p.mu.Unlock()
	if len(released) > 0 {
		if err := p.cfg.Results.ReleaseResults(released); err != nil {
			p.cfg.Logger.Error("cannot release results", "err", err)
		}
	}
	for _, r := range due {
		if err := p.keep(r); err != nil {
			p.cfg.Logger.Error("cannot keep a result", "requester", r.account.peer, "err", err)
		}
	}
	return more
}

// keep puts one result on disk: its outcome and then, if output was streamed,
// the blob that is the transcript, each behind its length.
func (p *Provider) keep(r *replica) error {
	var record bytes.Buffer
	var blobs []protocol.Digest
	if _, err := protodelim.MarshalTo(&record, r.outcome); err != nil {
		return err
	}
	if r.output != nil {
		blob, err := r.output.keep()
		if blob == nil || err != nil { // nil: it has been settled
			return err
		}
		if !blob.IsInline() {
			blobs = append(blobs, blob.Sum())
		}
		if _, err := protodelim.MarshalTo(&record, blob); err != nil {
			return err
		}
	}
	return p.cfg.Results.HoldResult(r.account.peer, r.nonce, record.Bytes(), blobs, r.ended.Add(heldFor))
}

// restore takes up the results that an earlier run of the node held.
func (p *Provider) restore(now time.Time) error {
	if p.cfg.Results == nil {
		return nil
	}
	list, err := p.cfg.Results.HeldResults()
	if err != nil {
		return fmt.Errorf("read held results: %w", err)
	}
	p.mu.Lock()
	defer p.unlock()
	for _, h := range list {
		r, err := p.heldReplica(h)
		if err != nil || !h.Expires.After(now) {
			if err != nil {
				p.cfg.Logger.Error("a held result is damaged", "requester", h.Requester, "err", err)
			}
			p.released = append(p.released, h.Nonce)
			continue
		}
		p.seen.Add(r.nonce, struct{}{})
		p.hold(r)
		if r.account.fresh.Remove(r.nonce) {
			r.account.kept.Add(r.nonce, r)
		} else { // it was too much
			p.released = append(p.released, r.nonce)
		}
	}
	return nil
}

// heldReplica reads a record. It is called with mu held.
func (p *Provider) heldReplica(h store.Held) (*replica, error) {
	in := bufio.NewReader(bytes.NewReader(h.Record))
	r := &replica{
		nonce: h.Nonce, phase: phaseEnded, ended: h.Expires.Add(-heldFor), outcome: new(protocol.Outcome),
	}
	r.ctx, r.cancel = context.WithCancelCause(p.ctx)
	r.cancel(nil)
	limits := protodelim.UnmarshalOptions{MaxSize: protocol.MaxTaskMessage}
	if err := limits.UnmarshalFrom(in, r.outcome); err != nil {
		return nil, err
	}
	if err := r.outcome.Validate(); err != nil {
		return nil, err
	}
	if r.outcome.Receipt != nil {
		r.debt = &debt{receipt: r.outcome.Receipt}
	}
	if r.outcome.Streamed {
		blob := new(protocol.Blob)
		if err := limits.UnmarshalFrom(in, blob); err != nil {
			return nil, err
		}
		if !blob.IsInline() && !p.cfg.Blobs.Has(blob.Sum()) {
			return nil, errors.New("its output is not here any more")
		}
		r.output = keptTranscript(p.cfg.Blobs, blob)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, errors.New("its record goes on")
	}
	r.account = p.accountOf(h.Requester)
	return r, nil
}
