package requester

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/spare-network/spare/protocol"
)

// Timing of the liveness stream: the transport alone takes up to 45 s to
// notice a dead peer. A spare that is started in vain costs little, a lease
// that is given up in vain costs its work, hence two steps.
const (
	suspectAfter = 750 * time.Millisecond
	lostAfter    = 1250 * time.Millisecond
	watchEvery   = protocol.BeatEvery / 2
	// watchIdle is how long the stream outlives the last attempt.
	watchIdle = 10 * time.Second
)

var errSilent = errors.New("it fell silent: no beat for 1.25 s")

// keepWatch beats to the provider and hears its beats while attempts are open
// there. Silence makes the attempts suspected, then lost.
func (p *pair) keepWatch() {
	var heard atomic.Int64 // unix ns
	heard.Store(time.Now().UnixNano())
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
			heard.Store(now.UnixNano())
			if now.Sub(taken) >= watchEvery { // however fast it beats
				taken = now
				p.progress(now, beat)
			}
		}
	})
	w := &watch{pair: p, heard: &heard}
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
			// When our own process stood still, others' silence means nothing:
			// Lifeguard's local health (Dadgar et al., DSN 2018), in short.
			if stood := now.Sub(last) - watchEvery; stood > watchEvery {
				heard.Add(int64(stood))
			}
			last = now
			if !w.tick(now) {
				return
			}
		}
	}
}

// watch is the state of one keepWatch.
type watch struct {
	*pair
	heard     *atomic.Int64
	conn      *protocol.Conn
	beat      protocol.Beat
	sent      time.Time
	suspected bool
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
	switch silence := now.Sub(time.Unix(0, w.heard.Load())); {
	case silence >= lostAfter:
		w.fail(errSilent)
		w.r.cfg.Book.Remove(w.peer)
		w.r.cfg.Network.Drop(w.peer)
		return false
	case silence < suspectAfter:
		w.suspected = false
	case !w.suspected:
		w.suspected = true
		w.suspect()
	}
	w.loseForgotten(now)
	return !w.endIfIdle(now)
}

// progress takes what a beat says of the attempts there.
func (p *pair) progress(now time.Time, beat *protocol.Beat) {
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
		a.send(event{kind: evLost, err: errForgotten})
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
