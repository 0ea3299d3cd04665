package requester

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// Timing of the liveness stream: the transport alone takes up to 45 s to
// notice a dead peer. A spare that is started in vain costs little, a lease
// that is given up in vain costs its work, hence two steps. Between them others
// are asked: if one of them reaches the provider, the way to it may heal.
const (
	suspectAfter = 750 * time.Millisecond
	lostAfter    = 1250 * time.Millisecond
	vouchedAfter = 5 * time.Second // lostAfter, of a provider that others reach
	watchEvery   = protocol.BeatEvery / 2
	// watchIdle is how long the stream outlives the last attempt.
	watchIdle = 10 * time.Second
)

var errSilent = errors.New("it fell silent")

// vouchers is how many others are asked about a silent provider.
const vouchers = 3

// askOthers asks others whether they reach the provider.
func (w *watch) askOthers() {
	ctx, cancel := context.WithTimeout(w.ctx, lostAfter-suspectAfter)
	defer cancel()
	var asked sync.WaitGroup
	for _, other := range w.r.others(w.peer) {
		asked.Go(func() {
			p, err := w.r.pairs.get(ctx, other)
			if err != nil {
				return
			}
			if reached, err := p.vouch(ctx, w.peer); err == nil && reached {
				w.vouched.Store(true)
			}
		})
	}
	asked.Wait()
}

// others returns those whom to ask about a peer: with whom there is a stream
// already, and then any that offer something.
func (r *Requester) others(about peer.ID) (list []peer.ID) {
	add := func(p peer.ID) {
		if len(list) < vouchers && p != about && p != r.cfg.Self && !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	for _, p := range r.pairs.all() {
		if p != nil {
			add(p.peer)
		}
	}
	for _, offer := range r.cfg.Book.All(time.Now()) {
		add(offer.Provider)
	}
	return list
}

// keepWatch beats to the provider and hears its beats while attempts are open
// there. Silence makes the attempts suspected, then lost.
func (p *pair) keepWatch() {
	var heard atomic.Pointer[time.Time]
	begun := time.Now()
	heard.Store(&begun)
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	streams := make(chan *protocol.Conn, 1)
	p.r.wg.Go(func() {
		defer close(streams)
		conn, err := p.r.cfg.Network.Open(ctx, p.peer, protocol.LivenessStream)
		if err != nil {
			return // silence tells
		}
		defer conn.Reset()
		defer context.AfterFunc(ctx, conn.Reset)()
		streams <- conn
		beat := new(protocol.Beat)
		var taken time.Time
		for conn.Recv(beat) == nil && len(beat.Progress) <= protocol.MaxProgress {
			now := time.Now()
			heard.Store(&now)
			if now.Sub(taken) >= watchEvery { // however fast it beats
				taken = now
				p.progress(now, beat)
			}
		}
	})
	w := &watch{pair: p, ctx: ctx, heard: &heard}
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case conn, ok := <-streams:
			if !ok {
				streams = nil
				continue
			}
			w.conn = conn
		case <-ticker.C:
			now := time.Now()
			late := now.Sub(last) - watchEvery
			w.health.note(late)
			if late > watchEvery {
				w.deafUntil = now // what was said meanwhile is still to be read
			}
			last = now
			if !w.tick(now) {
				return
			}
		}
	}
}

// health is how slow our own process is: the silence of others means little
// when we are late to listen. Being late by a tick counts, up to three times,
// and each second in time takes one back: Lifeguard's local health multiplier
// (Dadgar, Phillips, Currey: Lifeguard, DSN-W 2018).
type health struct {
	score  time.Duration
	inTime int // ticks in a row
}

const maxHealth = 3

// note takes by how much a tick came late.
func (h *health) note(late time.Duration) {
	switch {
	case late > watchEvery:
		h.score, h.inTime = min(h.score+1, maxHealth), 0
	case h.score > 0:
		if h.inTime++; h.inTime >= int(time.Second/watchEvery) {
			h.score, h.inTime = h.score-1, 0
		}
	}
}

// stretch is what a silence of d is when our own health is considered.
func (h *health) stretch(d time.Duration) time.Duration { return d * (1 + h.score) }

// watch is the state of one keepWatch.
type watch struct {
	*pair
	ctx       context.Context
	health    health
	vouched   atomic.Bool // another peer has reached the provider since it fell silent
	heard     *atomic.Pointer[time.Time]
	conn      *protocol.Conn
	beat      protocol.Beat
	sent      time.Time
	suspected bool
	deafUntil time.Time // our own process did not run before
}

// tick beats and judges. It returns false when the watch is over.
func (w *watch) tick(now time.Time) bool {
	if w.conn != nil && now.Sub(w.sent) >= protocol.BeatEvery-watchEvery/2 {
		w.sent = now
		w.beat.Sequence++
		if w.beat.Padding == nil {
			w.beat.Padding = make([]byte, protocol.MinBeat)
		}
		_ = w.conn.SendSoon(&w.beat) // silence tells; a write that blocks must not stop the watch
	}
	lost := w.health.stretch(lostAfter)
	if w.vouched.Load() {
		lost = max(lost, vouchedAfter)
	}
	since := *w.heard.Load()
	if since.Before(w.deafUntil) {
		since = w.deafUntil
	}
	switch silence := now.Sub(since); {
	case silence >= lost:
		w.fail(errSilent)
		w.r.cfg.Book.Away(w.peer)
		w.r.cfg.Network.Drop(w.peer)
		return false
	case silence < w.health.stretch(suspectAfter):
		if w.suspected {
			w.suspected = false
			w.tellAll(evHeard)
		}
	case !w.suspected:
		w.suspected = true
		w.vouched.Store(false)
		w.tellAll(evSuspected)
		w.r.wg.Go(w.askOthers)
	}
	w.loseForgotten(now)
	return !w.endIfIdle(now)
}

// progress takes what a beat says of the attempts there.
func (p *pair) progress(now time.Time, beat *protocol.Beat) {
	p.mu.Lock()
	for a := range p.ids {
		a.left.Add(1) // unless it is named
	}
	p.mu.Unlock()
	for _, one := range beat.Progress {
		if a := p.r.attemptOf(p.peer, one.Nonce); a != nil {
			a.heard(now, one)
		}
	}
}

// loseForgotten ends attempts that the provider has promised to run and that
// its beats do not name any more.
func (w *watch) loseForgotten(now time.Time) {
	var forgotten []*attempt
	w.mu.Lock()
	for a := range w.ids {
		if len(w.ids) <= protocol.MaxProgress && a.forgotten(now) {
			forgotten = append(forgotten, a)
		}
	}
	w.mu.Unlock()
	for _, a := range forgotten {
		a.send(event{kind: evFailed, err: errForgotten})
	}
}

// endIfIdle ends the watch when no attempt has been open for a while.
func (w *watch) endIfIdle(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ids) > 0 || now.Sub(w.used) < watchIdle {
		return false
	}
	w.watched = false
	return true
}
