package sandbox

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// step is what a call's Run is woken for.
type step int

const (
	stepNone  step = iota
	stepStart      // bring up the worker that was reserved for it
	stepFeed       // write its request, and its data, to its worker
	stepDone       // return
)

// call is one execution on its way. Fields from step on are guarded by the
// pool's mu, except where noted.
type call struct {
	id    uint64
	x     *Execution
	wall  time.Duration
	frame []byte // the request
	alone bool   // its Run feeds its worker, which serves nobody else meanwhile
	lone  bool   // a worker has crashed with it and others: no other is to be with it again
	group *group
	wake  chan struct{}
	fed   chan error  // how the feeding went; only Run uses it
	ended atomic.Bool // the guest reads no more

	step       step
	announce   bool // Run is to report the running state
	worker     *worker
	sent       time.Time
	started    time.Time     // zero until the guest runs, as far as the node can tell
	gone       time.Time     // when nobody waited for it any more
	overdue    bool          // its worker is killed because of it
	unfed      error         // its worker is killed because its data could not be read
	delivering chan struct{} // closed when Output has returned
	written    uint64        // bytes of output so far
	replies    uint64        // so far
	files      filesSeen     // output files so far
	done       bool
	outcome    Outcome
	err        error
}

func newCall(x *Execution) (*call, error) {
	if x.Spec.Profile != protocol.Profile {
		return nil, protocol.Errorf(protocol.CodeRefused, "the task wants sandbox profile %d, this node has %d",
			x.Spec.Profile, protocol.Profile)
	}
	if x.Data == nil && len(x.Spec.Transfers()) > 0 {
		return nil, protocol.Errorf(protocol.CodeInternal, "inputs or stdin are neither inline nor given")
	}
	if x.Output == nil {
		return nil, protocol.Errorf(protocol.CodeInternal, "there is nobody to take output")
	}
	return &call{x: x, wall: x.Spec.Limits.Wall(), wake: make(chan struct{}, 1)}, nil
}

// encode writes the request, which needs c's id.
func (c *call) encode() (err error) {
	c.frame, err = appendFrame(nil, &protocol.WorkerRequest{
		Id: c.id, Spec: c.x.SpecBytes, DataFollows: c.x.Data != nil,
	})
	c.alone = c.x.Data != nil || len(c.frame) > maxAheadBytes
	return err
}

func (c *call) next(s step, a *actions) {
	c.step = s
	c.nudge(a)
}

// nudge has c's Run look at it again.
func (c *call) nudge(a *actions) {
	a.wake = append(a.wake, c)
}

// end sets the outcome that a system's limit gives.
func (c *call) end(code protocol.Code, message string) {
	c.outcome.ExitCode, c.outcome.Source = int32(code.ExitStatus()), protocol.FromSystem
	c.outcome.Code, c.outcome.Message = code, message
}

// told reports whether anything of its guest's has been handed on.
func (c *call) told() bool { return c.written > 0 || c.files.count > 0 }

// feed writes c's request to the worker w, and then its data, if any, as the
// worker reads it, until there is no more or the guest has ended. Data that
// cannot be read must not look like its end: the worker is killed.
func (p *Pool) feed(c *call, w *worker) {
	_, err := w.proc.in.Write(c.frame)
	var buf, frame []byte
	if c.x.Data != nil {
		buf = make([]byte, protocol.MaxOutputChunk)
	}
	for follows := c.x.Data != nil; follows && err == nil; {
		n, readErr := 0, io.EOF
		if !c.ended.Load() {
			n, readErr = io.ReadFull(c.x.Data, buf)
		}
		follows = readErr == nil
		if !follows && !errors.Is(readErr, io.EOF) && !errors.Is(readErr, io.ErrUnexpectedEOF) {
			p.mu.Lock()
			c.unfed = unreadable(readErr)
			p.mu.Unlock()
			err = readErr
			break
		}
		m := &protocol.WorkerRequest{Id: c.id, Data: buf[:n], DataFollows: follows}
		if frame, err = appendFrame(frame[:0], m); err == nil {
			_, err = w.proc.in.Write(frame)
		}
	}
	if err != nil {
		w.proc.kill() // if it is not dead already, it would wait forever
	}
	c.fed <- err
}

// unreadable is why a run has failed whose data could not be read.
func unreadable(err error) error {
	var known *protocol.Error
	if errors.As(err, &known) {
		return known
	}
	return protocol.Errorf(protocol.CodeBlob, "the task's inputs cannot be read: %v", err)
}

// groupKey is what one worker is bound to.
type groupKey struct {
	owner  peer.ID
	module protocol.Digest
	memory uint64
	files  uint64 // bytes that its guests may have in files
}

// group is all workers and calls of one key. Its fields are guarded by the
// pool's mu.
type group struct {
	key     groupKey
	workers []*worker
	calls   int           // that know the group
	mean    time.Duration // moving average of guest times; 0 before the first
}

// ready counts its workers that have the module loaded.
func (g *group) ready() (n int) {
	for _, w := range g.workers {
		if w.ready {
			n++
		}
	}
	return n
}

// short reports whether its guests are over so soon that nothing about them is
// worth a handover between goroutines.
func (g *group) short() bool { return g.mean > 0 && g.mean < shortRun }

// average moves a moving average towards d.
func average(mean, d time.Duration) time.Duration {
	if mean == 0 {
		return max(d, 1)
	}
	return max(mean+(d-mean)/8, 1)
}

// actions are what is to be done once the pool's mu is released.
type actions struct {
	wake  []*call
	write []*worker
	kill  []*process
}

func (a *actions) clear() { a.wake, a.write, a.kill = a.wake[:0], a.write[:0], a.kill[:0] }
