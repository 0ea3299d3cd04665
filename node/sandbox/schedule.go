package sandbox

import (
	"slices"
	"time"
)

// How requests are sent ahead of their turn, so that a worker with short tasks
// never waits for its node: only behind tasks that are short on average.
const (
	maxAhead      = 16       // calls in one worker
	maxAheadBytes = 32 << 10 // fits the pipe, so that writing does not block
	shortRun      = 2 * time.Millisecond
	minAheadWall  = time.Second // a reply may be held for longer than a shorter limit
	// enoughAhead is how many calls all workers of a group must have before a
	// free slot is spent on one more process.
	enoughAhead = 4
	// patience is how long calls wait behind one that is not short after all.
	patience = 25 * time.Millisecond
	// grace is how long a cancelled guest may still end by itself, which
	// keeps its worker warm.
	grace = 20 * time.Millisecond
)

// enter gives c its id and group and appends it to those who wait.
func (p *Pool) enter(c *call) error {
	p.lastID++
	c.id = p.lastID
	if err := c.encode(); err != nil {
		return err
	}
	key := groupKey{
		owner: c.x.Owner, module: c.x.Spec.Module.Sum(), memory: c.x.Spec.Limits.MemoryBytes,
		files: c.x.Spec.Limits.FileBytes,
	}
	g := p.groups[key]
	if g == nil {
		g = &group{key: key}
		p.groups[key] = g
	}
	g.calls++
	c.group = g
	p.waiting = append(p.waiting, c)
	return nil
}

// finish lets c's Run return.
func (p *Pool) finish(c *call, err error, a *actions) {
	c.err, c.done = err, true
	p.counts.tasks++
	c.next(stepDone, a)
	c.group.calls--
	p.prune(c.group)
}

// leave gives back the worker that c had to itself. What is still being written
// to it is little, since its guest has ended; one that does not take that is
// killed, so that it keeps neither the result nor its slot.
func (p *Pool) leave(c *call) {
	if !c.alone {
		return
	}
	if c.fed != nil {
		late := time.AfterFunc(takeTime, func() { p.expel(c) })
		err := <-c.fed
		if !late.Stop() || err != nil {
			return // it is being killed, and its reader gives back the slot
		}
	}
	var a actions
	p.mu.Lock()
	if w := c.worker; w != nil {
		p.pop(w, time.Now(), &a)
	}
	p.unlock(&a)
}

// expel kills the worker that c has to itself.
func (p *Pool) expel(c *call) {
	var a actions
	p.mu.Lock()
	if w := c.worker; w != nil {
		a.kill = append(a.kill, w.proc)
	}
	p.unlock(&a)
}

func (p *Pool) prune(g *group) {
	if g.calls == 0 && len(g.workers) == 0 {
		delete(p.groups, g.key)
	}
}

// abandon ends the wait for c. A guest that runs is killed if it does not end
// at once; others that wait in the same worker are moved.
func (p *Pool) abandon(c *call) {
	var a actions
	p.mu.Lock()
	now := time.Now()
	c.gone = now
	delivering := c.delivering
	w := c.worker
	switch {
	case w == nil:
		if i := slices.Index(p.waiting, c); i >= 0 {
			p.waiting = slices.Delete(p.waiting, i, i+1)
		}
	case !w.ready: // Run has not begun to start it
		p.remove(w)
	case c.alone:
		a.kill = append(a.kill, w.proc)
	default:
		w.arm(p, now, now.Add(grace))
	}
	if !c.done {
		c.group.calls--
		p.prune(c.group)
	}
	p.schedule(&a)
	p.unlock(&a)
	if delivering != nil {
		<-delivering
	}
	if c.fed != nil {
		<-c.fed //nolint:errcheck // however that went, nobody waits for the guest
	}
}

// schedule gives work to workers, oldest call first. A call that finds neither
// an idle worker, nor room behind short tasks, nor a free slot blocks those
// after it, so that nobody starves.
func (p *Pool) schedule(a *actions) {
	if p.closed {
		return
	}
	now := time.Now()
	for len(p.waiting) > 0 {
		c := p.waiting[0]
		w := p.choose(c, now)
		if w == nil {
			if p.busy >= p.slots {
				return
			}
			w = &worker{group: c.group}
			c.group.workers = append(c.group.workers, w)
			p.busy++
		}
		p.waiting[0] = nil
		p.waiting = p.waiting[1:]
		p.assign(c, w, now, a)
	}
}

// choose returns the worker for c, or nil when one should be started.
func (p *Pool) choose(c *call, now time.Time) *worker {
	if p.busy < p.slots {
		for i := len(p.idle) - 1; i >= 0; i-- { // the warmest
			if w := p.idle[i]; w.group == c.group {
				p.idle = slices.Delete(p.idle, i, i+1)
				p.busy++
				return w
			}
		}
	}
	var best *worker
	for _, w := range c.group.workers {
		if w.takesAhead(c, now) && (best == nil || len(w.calls) < len(best.calls)) {
			best = w
		}
	}
	if best != nil && len(best.calls) >= enoughAhead && p.busy < p.slots {
		return nil
	}
	return best
}

func (p *Pool) assign(c *call, w *worker, now time.Time, a *actions) {
	c.worker = w
	w.calls = append(w.calls, c)
	w.bytes += len(c.frame)
	if !w.ready {
		c.next(stepStart, a)
		return
	}
	p.hand(c, w, now, a)
}

// hand gives c, which is in w's list, to the worker's process.
func (p *Pool) hand(c *call, w *worker, now time.Time, a *actions) {
	c.sent, c.replies = now, 0
	if w.calls[0] == c {
		w.begin(p, now)
	}
	if c.x.State != nil {
		c.announce = true
		if !c.group.short() { // else its Run is told when it ends, or by overdue
			c.nudge(a)
		}
	}
	if c.alone {
		c.next(stepFeed, a)
		return
	}
	w.pending = append(w.pending, c.frame...)
	if !w.writing {
		w.writing = true
		a.write = append(a.write, w)
	}
}

// pop removes the call that has ended, w's first, and gives w more to do.
func (p *Pool) pop(w *worker, now time.Time, a *actions) {
	c := w.calls[0]
	c.worker = nil
	w.bytes -= len(c.frame)
	w.calls = slices.Delete(w.calls, 0, 1)
	if len(w.calls) > 0 {
		w.begin(p, now)
	} else {
		p.busy--
		p.rest(w, now, a)
	}
	p.schedule(a)
}

// rest keeps w warm for the next call, in the place of whoever rests longest
// if there are many.
func (p *Pool) rest(w *worker, now time.Time, a *actions) {
	w.idleSince = now
	p.idle = append(p.idle, w)
	if most := max(4, 2*p.slots); len(p.idle) > most {
		p.discard(p.idle[0], a)
	}
	if p.sweeper == nil {
		p.sweeper = time.AfterFunc(min(sweepEvery, p.idleTime), p.sweep)
	}
}

// discard kills an idle worker.
func (p *Pool) discard(w *worker, a *actions) {
	p.idle = slices.Delete(p.idle, slices.Index(p.idle, w), slices.Index(p.idle, w)+1)
	w.discarded = true
	w.group.workers = without(w.group.workers, w)
	p.prune(w.group)
	a.kill = append(a.kill, w.proc)
}

// sweepEvery is how often idle workers are looked at.
const sweepEvery = 5 * time.Second

// sweep gives up workers that were idle for long, or hold too much memory.
func (p *Pool) sweep() {
	var a actions
	p.fit(&a)
	p.mu.Lock()
	defer p.unlock(&a)
	now := time.Now()
	for len(p.idle) > 0 && now.Sub(p.idle[0].idleSince) >= p.idleTime {
		p.discard(p.idle[0], &a)
	}
	p.sweeper = nil
	if len(p.idle) > 0 && !p.closed {
		p.sweeper = time.AfterFunc(min(sweepEvery, p.idleTime-now.Sub(p.idle[0].idleSince)), p.sweep)
	}
}

// remove forgets a busy worker.
func (p *Pool) remove(w *worker) {
	p.busy--
	w.group.workers = without(w.group.workers, w)
	p.prune(w.group)
}

// requeue puts a call that was not started back in its place among those who
// wait.
func (p *Pool) requeue(c *call) {
	c.worker = nil
	i, _ := slices.BinarySearchFunc(p.waiting, c.id, func(w *call, id uint64) int {
		return int(int64(w.id) - int64(id))
	})
	p.waiting = slices.Insert(p.waiting, i, c)
}

// evacuate moves the calls that wait behind w's first, which turned out to be
// long. The worker will run them all the same when it gets there; by then
// nobody waits for that. If it crashes, each of them may be why, so that they
// are not to hurt others.
func (p *Pool) evacuate(w *worker, now time.Time, a *actions) {
	for i, c := range w.calls[1:] {
		if !c.gone.IsZero() {
			continue
		}
		w.calls[i+1] = &call{id: c.id, frame: c.frame, sent: c.sent, gone: now}
		c.lone = true
		p.requeue(c)
	}
	p.schedule(a)
}

func without(list []*worker, w *worker) []*worker {
	if i := slices.Index(list, w); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// unlock releases mu and does what has been decided under it.
func (p *Pool) unlock(a *actions) {
	p.mu.Unlock()
	p.perform(a)
}

// perform does what has been decided. It wakes before it writes, so that nobody
// waits for a worker that is not theirs.
func (p *Pool) perform(a *actions) {
	for _, proc := range a.kill {
		proc.kill()
	}
	for _, c := range a.wake {
		select {
		case c.wake <- struct{}{}:
		default: // it will see the newest step
		}
	}
	for _, w := range a.write {
		p.write(w)
	}
	a.clear()
}
