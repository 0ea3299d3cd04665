package sandbox

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/node/sandbox/jail"
)

// Hold has the guests of all but one owner stand still from now on, or go on. The
// lowest priority alone leaves them more than they should have: a kernel that
// groups processes by session, or by service, weighs the groups first, and one
// guest alone in its group then has the same weight on its CPU as a group that
// wants all CPUs has on each of them, divided by their number. What they stand
// still for is no part of their time. A system that cannot do it leaves them at
// their priority, and modules are compiled meanwhile.
func (p *Pool) Hold(still bool, but peer.ID) {
	var a actions
	p.mu.Lock()
	defer p.unlock(&a)
	p.still, p.but = still, but
	now := time.Now()
	for _, g := range p.groups {
		for _, w := range g.workers {
			if still {
				w.hold(p, now)
			} else {
				w.goOn(p, now)
			}
		}
	}
}

// hold stops w's process if it has a guest that is to stand still. It goes on at
// the latest when that guest's end is read, who may have ended before the stop:
// an idle worker never stands still, and a call that begins is held for itself.
// Its methods are called with mu held.
func (w *worker) hold(p *Pool, now time.Time) {
	if !p.still || w.group.key.owner == p.but || len(w.calls) == 0 || w.calls[0].ended.Load() || !w.ready || !w.held.IsZero() {
		return
	}
	if jail.Hold(w.proc.cmd.Process) == nil {
		w.held = now
		w.calls[0].tellStill(true)
	}
}

// goOn has it run again, and its guest, who is the one it had when it was
// stopped, has as much time as it had.
func (w *worker) goOn(p *Pool, now time.Time) {
	if w.held.IsZero() {
		return
	}
	stood := now.Sub(w.held)
	w.held = time.Time{}
	_ = jail.GoOn(w.proc.cmd.Process) // or it has ended, which its reader tells
	c := w.calls[0]
	c.started, c.sent = c.started.Add(stood), c.sent.Add(stood)
	c.tellStill(false)
	w.arm(p, now, w.deadline())
}

func (c *call) tellStill(still bool) {
	if c.x.Still != nil && c.gone.IsZero() {
		c.x.Still(still)
	}
}
