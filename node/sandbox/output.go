package sandbox

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spare-network/spare/protocol"
)

const (
	// flushTick is how often held output is looked at. Output that two ticks
	// have seen is sent, so it is at most two ticks late, and the output of a
	// task shorter than one tick always rides in its last reply.
	flushTick = 10 * time.Millisecond
	// restAfter is how many ticks without output send the flusher to sleep.
	restAfter = 100
	// tellEvery is how often the node is told how much gas the guest has used.
	tellEvery = protocol.BeatEvery
	// maxHeldReplies bounds the bytes of finished replies that wait for company.
	maxHeldReplies = 32 << 10
)

// output is a worker's way back to its node: what guests write, and how they
// end. Output is held for a moment to travel in the last reply, and replies are
// held while further requests wait.
//
// The flusher needs a processor of its own, since the Go scheduler cannot
// interrupt a guest's native code: a worker runs with two.
type output struct {
	w    io.Writer
	wake chan struct{}        // ends the flusher's rest
	left func() (int64, bool) // gas of the guest that runs; nil: nothing is told

	// mu is held while writing to the pipe too: its order is what mu is for.
	mu      sync.Mutex
	frames  []byte    // ready to be written
	id      uint64    // of the task that runs
	data    [2][]byte // what its guest wrote to stdout and stderr, not in a frame yet
	room    uint64    // bytes of output that it may still write
	gas     uint64    // that it may use; 0 when none runs
	told    time.Time // when the node was last told of its gas; zero: it is new
	aged    bool      // a tick has seen what is held
	quiet   int       // quick ticks since a task began or wrote
	resting bool
}

func newOutput(w io.Writer) *output {
	return &output{w: w, wake: make(chan struct{}, 1)}
}

// begin starts a task with its limits.
func (o *output) begin(id uint64, limits *protocol.Limits) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.id, o.room, o.gas, o.told = id, limits.GetOutputBytes(), limits.GetGas(), time.Time{}
	o.empty()
	o.aged = o.aged && len(o.frames) > 0
	o.rouse()
}

// rouse ends the flusher's rest.
func (o *output) rouse() {
	o.quiet = 0
	if o.resting {
		o.resting = false
		o.wake <- struct{}{}
	}
}

func (o *output) empty() { o.data = [2][]byte{o.data[0][:0], o.data[1][:0]} }

func (o *output) held() int { return len(o.data[0]) + len(o.data[1]) }

// write takes bytes from the guest for stdout (1) or stderr (2). What is held
// of each goes into one frame, so that a guest which writes to them by turns
// costs its node no more than another; what it wrote first to which is lost. It reports false when they are more than
// the guest may write; those that it may are kept.
func (o *output) write(fd uint32, p []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rouse()
	fits := uint64(len(p)) <= o.room
	if !fits {
		p = p[:o.room]
	}
	o.room -= uint64(len(p))
	for len(p) > 0 {
		room := protocol.MaxInline - o.held()
		if room == 0 {
			o.flush()
			continue
		}
		n := min(room, len(p))
		o.data[fd-1] = append(o.data[fd-1], p[:n]...)
		p = p[n:]
	}
	return fits
}

// end finishes the task with reply, which takes along the output held. With
// more to do at once it may wait for the next reply.
func (o *output) end(reply *protocol.WorkerReply, more bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	reply.Stdout, reply.Stderr = o.data[0], o.data[1]
	reply.Id, reply.End, o.gas = o.id, true, 0
	o.append(reply)
	o.empty()
	if !more || len(o.frames) > maxHeldReplies {
		o.send()
	}
}

// file sends an output file of the size given, after all that the guest has
// written.
func (o *output) file(path string, size uint64, data io.Reader) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.frame()
	o.append(&protocol.WorkerReply{Id: o.id, File: &protocol.FileHeader{Path: path, Size: size}})
	chunk := make([]byte, min(size, protocol.MaxOutputChunk))
	for left := size; left > 0; left -= uint64(len(chunk)) {
		chunk = chunk[:min(left, uint64(len(chunk)))]
		if _, err := io.ReadFull(data, chunk); err != nil {
			return fmt.Errorf("read output file: %w", err)
		}
		o.append(&protocol.WorkerReply{Id: o.id, FileData: chunk})
		if len(o.frames) > maxHeldReplies {
			o.send()
		}
	}
	return nil
}

// keepFlushing sends what is held for too long, and tells of gas, until stop is
// closed.
func (o *output) keepFlushing(stop <-chan struct{}) {
	next := time.NewTimer(flushTick)
	for {
		select {
		case now := <-next.C:
			next.Reset(o.tick(now))
		case <-o.wake:
			next.Reset(flushTick)
		case <-stop:
			return
		}
	}
}

// tick returns how long there is nothing to do, unless a task begins or writes.
func (o *output) tick(now time.Time) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tell(now)
	o.quiet++
	switch {
	case o.held() == 0 && len(o.frames) == 0:
		o.resting = o.quiet > restAfter
	case o.aged:
		o.flush()
	default:
		o.aged = true
	}
	switch {
	case !o.resting:
		return flushTick
	case o.gas > 0:
		return tellEvery
	default:
		return forever
	}
}

const forever = 365 * 24 * time.Hour

// tell tells the node from time to time how much gas the guest has used.
func (o *output) tell(now time.Time) {
	switch {
	case o.gas == 0 || o.left == nil:
	case o.told.IsZero():
		o.told = now
	case now.Sub(o.told) >= tellEvery:
		if left, known := o.left(); known && left >= 0 && uint64(left) < o.gas {
			o.told = now
			o.append(&protocol.WorkerReply{Id: o.id, Gas: o.gas - uint64(left)})
			o.send()
		}
	}
}

// flush frames the output held and sends everything.
func (o *output) flush() {
	o.frame()
	o.send()
}

// frame turns the output held into frames.
func (o *output) frame() {
	for i, left := range o.data {
		for len(left) > 0 {
			part := left[:min(len(left), protocol.MaxOutputChunk)]
			left = left[len(part):]
			m := &protocol.WorkerReply{Id: o.id}
			if i == 0 {
				m.Stdout = part
			} else {
				m.Stderr = part
			}
			o.append(m)
		}
	}
	o.empty()
}

func (o *output) append(m *protocol.WorkerReply) {
	var err error
	if o.frames, err = appendFrame(o.frames, m); err != nil {
		fatal(err)
	}
}

func (o *output) send() {
	o.aged = false
	if len(o.frames) == 0 {
		return
	}
	if _, err := o.w.Write(o.frames); err != nil {
		fatal(err) // the node is gone
	}
	o.frames = o.frames[:0]
}
