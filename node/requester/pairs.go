package requester

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

const (
	// dialTimeout bounds dialling a provider and opening its task stream.
	dialTimeout = 5 * time.Second
	// pairIdle is how long an unused task stream is kept for the next task.
	pairIdle = 5 * time.Minute
)

// pairs holds one task stream for each provider in use.
type pairs struct {
	r *Requester

	mu     sync.Mutex
	byPeer map[peer.ID]*pairSlot
}

// pairSlot is a pair, or the promise of one while it is dialled.
type pairSlot struct {
	ready chan struct{} // closed when pair or err is set
	pair  *pair
	err   error
}

// ready returns the pair with a provider if its stream is open now.
func (ps *pairs) ready(to peer.ID) *pair {
	ps.mu.Lock()
	slot := ps.byPeer[to]
	ps.mu.Unlock()
	if slot == nil {
		return nil
	}
	select {
	case <-slot.ready:
		return slot.pair
	default:
		return nil
	}
}

// get returns the pair with a provider, dialling it at most once at a time.
func (ps *pairs) get(ctx context.Context, to peer.ID) (*pair, error) {
	ps.mu.Lock()
	slot := ps.byPeer[to]
	if slot == nil {
		slot = &pairSlot{ready: make(chan struct{})}
		ps.byPeer[to] = slot
		ps.r.wg.Go(func() { ps.dial(slot, to) })
	}
	ps.mu.Unlock()
	select {
	case <-slot.ready:
		return slot.pair, slot.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (ps *pairs) dial(slot *pairSlot, to peer.ID) {
	ctx, cancel := context.WithTimeout(ps.r.ctx, dialTimeout)
	defer cancel()
	conn, err := ps.r.cfg.Network.Open(ctx, to, protocol.TaskStream)
	if err != nil {
		slot.err = err
		ps.forget(to, slot)
	} else {
		ps.r.cfg.Book.Back(to)
		slot.pair = newPair(ps.r, slot, conn)
		ps.r.wg.Go(slot.pair.read)
		context.AfterFunc(slot.pair.ctx, func() { slot.pair.fail(errStopping) }) // unless it has failed by itself
	}
	close(slot.ready)
}

func (ps *pairs) forget(to peer.ID, slot *pairSlot) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.byPeer[to] == slot {
		delete(ps.byPeer, to)
	}
}

func (ps *pairs) all() []*pair {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	list := make([]*pair, 0, len(ps.byPeer))
	for _, slot := range ps.byPeer {
		select {
		case <-slot.ready:
			list = append(list, slot.pair)
		default:
		}
	}
	return list
}

func (ps *pairs) closeIdle(now time.Time) {
	for _, p := range ps.all() {
		p.failIf(errIdle, func() bool { return len(p.exchanges) == 0 && now.Sub(p.used) > pairIdle })
	}
}

var (
	errIdle  = errors.New("unused for a while")
	errEnded = errors.New("its connection ended")
	// errClosed is of attempts that are over before their provider is asked.
	errClosed = errors.New("it is not wanted any more")
)

// pair is the task stream with one provider: many exchanges, each an Ask and
// its Replies, told apart by their ID.
type pair struct {
	r    *Requester
	slot *pairSlot
	peer peer.ID
	conn *protocol.Conn
	ctx  context.Context // ends when the pair has failed
	stop context.CancelFunc

	mu         sync.Mutex
	last       uint64 // ID of the latest exchange
	exchanges  map[uint64]*exchange
	ids        map[*attempt]uint64
	used       time.Time // when the last exchange ended
	err        error     // why it failed
	watched    bool      // a liveness stream is open
	unverified map[protocol.Nonce]*protocol.Receipt
}

// exchange is what awaits replies: an attempt, or somebody who waits for one
// reply.
type exchange struct {
	attempt *attempt
	in      *intake              // of the attempt when it was asked for: what it brings later is of no use
	answer  chan *protocol.Reply // has room for one
	replies int                  // so far
}

func newPair(r *Requester, slot *pairSlot, conn *protocol.Conn) *pair {
	p := &pair{
		r:          r,
		slot:       slot,
		peer:       conn.Peer(),
		conn:       conn,
		exchanges:  make(map[uint64]*exchange),
		ids:        make(map[*attempt]uint64),
		used:       time.Now(),
		unverified: make(map[protocol.Nonce]*protocol.Receipt),
	}
	p.ctx, p.stop = context.WithCancel(r.ctx)
	return p
}

// add registers an exchange and returns its ID.
func (p *pair) add(x *exchange) (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return 0, p.err
	}
	if x.attempt != nil {
		if x.attempt.ctx.Err() != nil {
			return 0, errClosed
		}
		x.in = x.attempt.in.Load()
	}
	p.last++
	p.exchanges[p.last] = x
	if x.attempt != nil {
		p.ids[x.attempt] = p.last
		if !p.watched && p.peer != p.r.cfg.Self {
			p.watched = true
			p.r.wg.Go(p.keepWatch)
		}
	}
	return p.last, nil
}

// remove forgets an exchange, so that later replies to it are dropped.
func (p *pair) remove(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if x := p.exchanges[id]; x != nil {
		delete(p.exchanges, id)
		delete(p.ids, x.attempt)
	}
	p.used = time.Now()
}

// run asks for a lease on an attempt. What becomes of it, the attempt's
// conductor learns as events.
func (p *pair) run(a *attempt) {
	id, err := p.add(&exchange{attempt: a})
	name, _ := a.t.id.Split()
	if err == nil {
		send := p.conn.Send
		if a.t.part {
			send = p.conn.SendSoon // with those of other tasks of its job
		}
		err = send(&protocol.Ask{Id: id, Body: &protocol.Ask_Run{Run: &protocol.Run{
			Spec:     a.t.raw,
			Nonce:    a.nonce[:],
			Task:     string(name),
			Attempt:  a.record.Attempt,
			Detached: a.t.terms.Detached,
			Commit:   a.votes,
		}}})
	}
	if err == nil && a.ctx.Err() != nil { // since, and nobody has withdrawn it
		p.withdraw(a)
		return
	}
	if err != nil {
		p.remove(id)
		// The conductor may be who calls, and it is who takes events.
		p.r.wg.Go(func() { a.send(event{kind: evCut, err: errUnreachable}) })
	}
}

// forget drops what still comes for an attempt.
func (p *pair) forget(a *attempt) {
	p.mu.Lock()
	id, open := p.ids[a]
	p.mu.Unlock()
	if open {
		p.remove(id)
	}
}

// withdraw cancels an attempt at its provider.
func (p *pair) withdraw(a *attempt) {
	p.mu.Lock()
	id, open := p.ids[a]
	p.mu.Unlock()
	if open {
		p.remove(id)
		_ = p.conn.SendSoon(&protocol.Ask{Id: id, Body: &protocol.Ask_Cancel{Cancel: &protocol.Cancel{}}}) // a dead stream cancels it too
	}
}

// probe asks for the load now.
func (p *pair) probe(ctx context.Context) (*protocol.Load, error) {
	reply, err := p.ask(ctx, &protocol.Ask{Body: &protocol.Ask_Probe{Probe: &protocol.Probe{}}})
	if err != nil {
		return nil, err
	}
	if reply.GetLoad() == nil {
		err = fmt.Errorf("%w: %T answers a probe", protocol.ErrMalformed, reply.Body)
		p.fail(err)
	}
	return reply.GetLoad(), err
}

// vouch asks whether the provider can reach another one now.
func (p *pair) vouch(ctx context.Context, about peer.ID) (bool, error) {
	reply, err := p.ask(ctx, &protocol.Ask{Body: &protocol.Ask_Vouch{Vouch: &protocol.Vouch{Peer: about.String()}}})
	return reply.GetVouched().GetReached(), err
}

// ask sends what has one reply, and waits for that.
func (p *pair) ask(ctx context.Context, ask *protocol.Ask) (*protocol.Reply, error) {
	x := &exchange{answer: make(chan *protocol.Reply, 1)}
	id, err := p.add(x)
	if err != nil {
		return nil, err
	}
	defer p.remove(id)
	ask.Id = id
	if err := p.conn.Send(ask); err != nil {
		return nil, err
	}
	select {
	case reply := <-x.answer:
		return reply, nil
	case <-p.ctx.Done():
		return nil, cmp.Or(p.failure(), context.Cause(p.ctx)) // the node may stop before the pair fails of that
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (p *pair) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// read passes replies on until the stream ends.
func (p *pair) read() {
	for {
		reply := new(protocol.Reply)
		if err := p.conn.Recv(reply); err != nil {
			p.r.cfg.Logger.Debug("a task stream ended", "provider", p.peer, "err", err)
			p.fail(errEnded)
			return
		}
		if err := p.dispatch(reply); err != nil {
			p.fail(err)
			return
		}
	}
}

// fail ends the pair: its attempts are cut off, and lost when the provider does
// not keep to the protocol. The next task dials anew.
func (p *pair) fail(err error) { p.failIf(err, func() bool { return true }) }

// failIf is fail if condition, which is called with mu held.
func (p *pair) failIf(err error, condition func() bool) {
	p.mu.Lock()
	if p.err != nil || !condition() {
		p.mu.Unlock()
		return
	}
	p.err = err
	exchanges := p.exchanges
	p.exchanges, p.ids = nil, nil
	p.mu.Unlock()
	p.r.pairs.forget(p.peer, p.slot)
	p.r.pool.forget(p.peer)
	p.stop()
	p.conn.Reset()
	kind := evFailed
	if errors.Is(err, errEnded) || errors.Is(err, errSilent) {
		kind = evCut
	}
	for _, x := range exchanges {
		if x.attempt != nil {
			x.attempt.send(event{kind: kind, err: err})
		}
	}
}

// tellAll tells the conductors of all attempts here that the provider is
// silent, or that it is not any more.
func (p *pair) tellAll(kind eventKind) {
	if kind == evSuspected {
		p.r.pool.forget(p.peer)
	}
	p.mu.Lock()
	var open []*attempt
	for a := range p.ids {
		open = append(open, a)
	}
	p.mu.Unlock()
	for _, a := range open {
		a.send(event{kind: kind})
	}
}
