package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spare-network/spare/protocol"
)

// worker is an executor process and the calls it has been given, in the order
// in which it runs them. Its fields are guarded by the pool's mu, except proc,
// which is set before ready is.
type worker struct {
	group *group
	proc  *process

	ready     bool
	discarded bool
	calls     []*call
	bytes     int       // of their requests
	held      time.Time // since when its process stands still; zero: it does not
	idleSince time.Time

	pending []byte // requests to be written
	flight  []byte // requests that are being written, by whoever set writing
	writing bool

	timer *time.Timer // calls Pool.overdue
	due   time.Time   // when it fires next; zero: it does not
}

// takesAhead reports whether c may be sent to w behind other calls.
func (w *worker) takesAhead(c *call, now time.Time) bool {
	if !w.ready || len(w.calls) == 0 || len(w.calls) >= maxAhead || w.bytes+len(c.frame) > maxAheadBytes {
		return false
	}
	head := w.calls[0]
	return w.group.short() && now.Sub(head.started) < patience && head.gone.IsZero() &&
		!head.alone && !c.alone && !head.lone && !c.lone && min(head.wall, c.wall) >= minAheadWall
}

// begin notes that w's first call runs from now on.
func (w *worker) begin(p *Pool, now time.Time) {
	c := w.calls[0]
	c.started = now
	w.arm(p, now, w.deadline())
	w.hold(p, now)
}

// deadline is when to look at w again: when its first call must have ended,
// or when those behind it have waited long enough.
func (w *worker) deadline() time.Time {
	c := w.calls[0]
	if look := c.started.Add(patience); c.gone.IsZero() && look.Before(c.mustEnd()) {
		return look
	}
	return c.mustEnd()
}

// mustEnd is when the worker is killed if c has not ended. Output files are on
// their way in who takes them's own time, not the guest's.
func (c *call) mustEnd() time.Time {
	switch {
	case !c.gone.IsZero():
		return later(c.started, c.gone).Add(grace)
	case c.files.count > 0:
		return c.started.Add(c.wall + fileTime + time.Duration(c.files.bytes/slowestFiles)*time.Second)
	default:
		return c.started.Add(c.wall)
	}
}

const (
	// takeTime is how long a worker may leave a request in the pipe that has
	// room for all it was given.
	takeTime = time.Second
	// fileTime and slowestFiles, in bytes per second, bound how long output
	// files may take; whoever takes them has stricter bounds.
	fileTime     = 5 * time.Minute
	slowestFiles = 1 << 20
)

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// arm sees to it that overdue is called at the time given or before. Mostly
// the timer is running already, for a call that has ended meanwhile: that
// spares setting it for each.
func (w *worker) arm(p *Pool, now, at time.Time) {
	if !w.due.IsZero() && !w.due.After(at) {
		return
	}
	w.due = at
	if w.timer == nil {
		w.timer = time.AfterFunc(at.Sub(now), func() { p.overdue(w) })
	} else {
		w.timer.Reset(at.Sub(now))
	}
}

// overdue kills w when its first call has run for too long.
func (p *Pool) overdue(w *worker) {
	var a actions
	p.mu.Lock()
	defer p.unlock(&a)
	w.due = time.Time{}
	if len(w.calls) == 0 || p.closed { // Close has killed w
		return
	}
	now := time.Now()
	c := w.calls[0]
	if !w.held.IsZero() && c.gone.IsZero() {
		return // it is looked at again when it goes on
	}
	end := c.mustEnd()
	if c.announce && now.Sub(c.started) >= patience {
		c.nudge(&a)
	}
	switch {
	case !now.Before(end):
		c.overdue = true
		a.kill = append(a.kill, w.proc)
		return
	case now.Sub(c.started) < patience:
		end = w.deadline()
	case len(w.calls) > 1 && c.gone.IsZero():
		w.group.mean = max(w.group.mean, now.Sub(c.started))
		p.evacuate(w, now, &a)
	}
	w.arm(p, now, end)
}

// write writes the pending requests, and those that come meanwhile. Only who
// has set writing calls it: anybody, also the reader of another owner's worker.
// What waits in an honest worker fits its pipe. One that takes nothing is
// killed, so that it holds up nobody.
func (p *Pool) write(w *worker) {
	p.mu.Lock()
	for len(w.pending) > 0 {
		w.pending, w.flight = w.flight[:0], w.pending
		p.mu.Unlock()
		// Another error means that the process has died; its reader sees that too.
		if _, err := w.proc.in.WriteWithin(w.flight, takeTime); errors.Is(err, os.ErrDeadlineExceeded) {
			w.proc.kill()
		}
		p.mu.Lock()
	}
	w.writing = false
	p.mu.Unlock()
}

// start brings up the worker w that was reserved for c.
func (p *Pool) start(ctx context.Context, c *call, w *worker) {
	proc, err := p.bringUp(ctx, c.x)
	var a actions
	p.mu.Lock()
	defer p.unlock(&a)
	now := time.Now()
	if err == nil {
		p.counts.started++
		w.proc, w.ready = proc, true
		p.readers.Go(func() { p.read(w) })
		p.hand(c, w, now, &a)
		p.schedule(&a)
		return
	}
	p.remove(w)
	c.worker = nil
	var known *protocol.Error
	switch {
	case p.closed:
		p.finish(c, errShutdown(), &a)
	case errors.As(err, &known) && guestsFault(known.Code):
		c.end(known.Code, known.Message)
		p.finish(c, nil, &a)
	default:
		p.finish(c, err, &a)
	}
	p.schedule(&a)
}

// guestsFault reports whether a preparation that failed so would fail anywhere.
func guestsFault(code protocol.Code) bool {
	return code == protocol.CodeBadModule || code == protocol.CodeImport || code == protocol.CodeMemoryLimit
}

// read takes what the worker says until it ends.
func (p *Pool) read(w *worker) {
	var a actions
	var err error
	for err == nil {
		reply := new(protocol.WorkerReply)
		if err = w.proc.frames.next(reply); err != nil {
			break
		}
		err = p.receive(w, reply, &a)
		if err != nil || !w.proc.frames.more() {
			p.perform(&a)
		}
	}
	p.perform(&a) // of replies that came whole before one that did not
	how := w.proc.reap()
	if errors.Is(err, errImpossible) {
		how = err.Error()
	}
	p.bury(w, how)
}

var (
	errImpossible = errors.New("the worker's answer is impossible")
	errTooLate    = errors.New("the worker is being killed")
)

// receive handles one reply. What it decides is done with the next unlock of
// a, so that replies that came together are answered together.
func (p *Pool) receive(w *worker, r *protocol.WorkerReply, a *actions) error {
	p.mu.Lock()
	if len(w.calls) == 0 || w.calls[0].id != r.Id || w.calls[0].ended.Load() {
		p.mu.Unlock()
		return fmt.Errorf("%w: it is about no task of its own", errImpossible)
	}
	c := w.calls[0]
	if c.overdue { // else the next call would be blamed for the end of w
		p.mu.Unlock()
		return errTooLate
	}
	if c.gone.IsZero() {
		if err := c.bound(r, time.Now()); err != nil {
			p.mu.Unlock()
			return err
		}
	}
	if r.End {
		defer p.mu.Unlock()
		return p.conclude(w, r, a)
	}
	if !c.gone.IsZero() {
		p.mu.Unlock()
		return nil
	}
	c.delivering = make(chan struct{})
	x := c.x
	p.unlock(a)
	if r.Gas > 0 && x.Gas != nil {
		x.Gas(r.Gas)
	}
	deliver(x.Output, 1, r.Stdout)
	deliver(x.Output, 2, r.Stderr)
	if r.File != nil {
		x.File(r.File.Path, r.File.Size)
	}
	deliver(x.Output, 3, r.FileData)
	p.mu.Lock()
	close(c.delivering)
	c.delivering = nil
	p.mu.Unlock()
	return nil
}

// filesSeen bounds what a worker says of output files.
type filesSeen struct {
	count, bytes uint64
	left         uint64 // bytes of the last one that are yet to come
}

// bound checks a reply against the limits of the task, and against what output
// frames: a worker may not keep its node busy with little.
func (c *call) bound(r *protocol.WorkerReply, now time.Time) error {
	limits := c.x.Spec.Limits
	n := len(r.Stdout) + len(r.Stderr)
	c.written += uint64(n)
	if n == 0 && !r.End && r.Gas == 0 && r.File == nil && len(r.FileData) == 0 {
		return fmt.Errorf("%w: it says nothing", errImpossible)
	}
	if n > protocol.MaxInline || c.written > limits.OutputBytes {
		return fmt.Errorf("%w: more output than its limit", errImpossible)
	}
	if r.Gas > limits.Gas {
		return fmt.Errorf("%w: more gas than its limit", errImpossible)
	}
	if (r.File != nil || r.End) && c.files.left > 0 {
		return fmt.Errorf("%w: an output file that is cut short", errImpossible)
	}
	if r.File != nil {
		c.files.count++
		c.files.left = r.File.Size
		c.files.bytes += r.File.Size
		if c.files.count > uint64(limits.Files) || r.File.Size > limits.FileBytes || c.files.bytes > limits.FileBytes || c.x.File == nil {
			return fmt.Errorf("%w: more output files than its limit", errImpossible)
		}
	}
	if uint64(len(r.FileData)) > c.files.left {
		return fmt.Errorf("%w: an output file that is too long", errImpossible)
	}
	c.files.left -= uint64(len(r.FileData))
	if c.replies++; c.replies > c.mostReplies(now) {
		return fmt.Errorf("%w: too many replies for what they say", errImpossible)
	}
	return nil
}

// mostReplies is how many replies a worker can have sent of c by now, and then
// some: up to three for each [protocol.MaxInline] bytes of output or when some
// was held for two ticks, one now and then that tells of gas, and for each file
// one that begins it and those that fill it, of which the last may be short.
func (c *call) mostReplies(now time.Time) uint64 {
	const some = 8
	inTime := 2 * uint64(now.Sub(c.sent)/flushTick)
	ofBytes := (c.written + c.files.bytes) / (protocol.MaxInline / 4)
	return some + inTime + ofBytes + 2*c.files.count
}

func deliver(output func(uint32, []byte), fd uint32, data []byte) {
	for len(data) > 0 {
		n := min(len(data), protocol.MaxOutputChunk)
		output(fd, data[:n])
		data = data[n:]
	}
}

// conclude ends w's first call with its last reply. It is called with mu held.
func (p *Pool) conclude(w *worker, r *protocol.WorkerReply, a *actions) error {
	c, now := w.calls[0], time.Now()
	w.goOn(p, now)
	wall := min(time.Duration(r.WallUs)*time.Microsecond, now.Sub(c.sent))
	if r.WallUs > uint64(protocol.MaxWall.Microseconds()) {
		wall = now.Sub(c.sent)
	}
	if c.gone.IsZero() {
		c.outcome.ExitCode, c.outcome.Wall, c.outcome.Gas = r.ExitCode, wall, r.Gas
		switch code := protocol.Code(r.Code); code {
		case "":
			c.outcome.Source = protocol.FromGuest
		case protocol.CodeTrap, protocol.CodeOutputLimit, protocol.CodeFileLimit, protocol.CodeGasLimit, protocol.CodeDepthLimit:
			c.end(code, protocol.SafeText(r.Message))
		default:
			return fmt.Errorf("%w: code %.40q", errImpossible, r.Code)
		}
		c.outcome.Stdout, c.outcome.Stderr = r.Stdout, r.Stderr
		w.group.mean, p.mean = average(w.group.mean, wall), average(p.mean, wall)
		p.finish(c, nil, a)
	}
	if c.alone {
		c.ended.Store(true) // it keeps its worker until its Run has stopped feeding it
	} else {
		p.pop(w, now, a)
	}
	return nil
}

// bury ends what a dead worker was doing and moves what it had not begun.
func (p *Pool) bury(w *worker, how string) {
	var a actions
	p.mu.Lock()
	defer p.unlock(&a)
	delete(p.live, w.proc)
	w.goOn(p, time.Now()) // its guest may yet run elsewhere
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.discarded {
		return
	}
	if len(w.calls) == 0 { // nobody killed it, so why did it end
		p.discard(w, &a)
		if !p.closed {
			p.counts.crashed++
			p.logger.Warn("an idle worker ended", "how", how)
		}
		return
	}
	p.remove(w)
	head, rest := w.calls[0], w.calls[1:]
	w.calls, w.discarded = nil, true
	head.worker = nil
	switch {
	case !head.gone.IsZero() || head.ended.Load():
		p.counts.killed++
	case p.closed:
		p.finish(head, errShutdown(), &a)
	case head.overdue:
		p.counts.killed++
		head.end(protocol.CodeTimeout, fmt.Sprintf("the program ran longer than %s", head.wall))
		head.outcome.Wall = time.Since(head.started)
		p.finish(head, nil, &a)
	case head.unfed != nil:
		p.finish(head, head.unfed, &a)
	default:
		// Replies may be lost that were held for company, so that it was perhaps
		// the guest of another, however long ago the first one began. Each is
		// tried again alone, unless something of it has been handed on.
		p.counts.crashed++
		head.lone = true
		for _, c := range rest {
			c.lone = true
		}
		if len(rest) > 0 && !head.told() {
			p.requeue(head)
		} else {
			p.finish(head, protocol.Errorf(protocol.CodeWorker, "the sandbox process failed: %s", how), &a)
		}
	}
	for _, c := range rest {
		switch {
		case !c.gone.IsZero():
		case p.closed:
			c.worker = nil
			p.finish(c, errShutdown(), &a)
		default:
			p.requeue(c)
		}
	}
	p.schedule(&a)
}
