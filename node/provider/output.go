package provider

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"sync"
	"time"

	"github.com/spare-network/spare/protocol"
)

// output sends what a guest writes, and then the files that it leaves, to its
// requester and sums it up. Output that is small and early enough to be whole
// when the guest ends rides in the Outcome; everything else, and every file,
// goes over a stream of its own.
type output struct {
	ctx    context.Context // of the replica
	s      *session
	r      *replica
	spec   *protocol.Spec
	mu     sync.Mutex // of whole, and of conn while others may abort it
	conn   *protocol.Conn
	err    error
	whole  bool         // nothing more is to come, and the stream is closed
	hashes [2]hash.Hash // of what was streamed
	sizes  [2]uint64
	inline [2][]byte
	taken  *protocol.Outputs // checks the worker's words on files; nil: it has told of none
	files  []*protocol.File  // what it took, in the end
	begun  time.Time         // when the first file was
	timer  *time.Timer       // cancels the replica when they take too long
}

// errSlowFiles is the cause for which a replica is cancelled whose requester,
// or worker, delays its files.
var errSlowFiles = errors.New("its output files took too long to be sent")

func newOutput(ctx context.Context, s *session, r *replica, spec *protocol.Spec) *output {
	return &output{ctx: ctx, s: s, r: r, spec: spec}
}

// write streams data of stdout, stderr or the file last begun.
func (o *output) write(fd uint32, data []byte) {
	if !o.open() {
		return
	}
	switch {
	case fd == 1 || fd == 2:
		o.hashes[fd-1].Write(data)
		o.sizes[fd-1] += uint64(len(data))
	case fd == 3 && o.taken != nil:
		if _, err := o.taken.Write(data); err != nil {
			o.blameWorker(err)
		}
	default:
		o.blameWorker(fmt.Errorf("bytes for descriptor %d", fd))
	}
	for len(data) > 0 && o.err == nil {
		n := min(len(data), protocol.MaxOutputChunk)
		o.send(&protocol.OutputChunk{Fd: fd, Data: data[:n]})
		data = data[n:]
	}
}

// file begins an output file, of which the bytes follow.
func (o *output) file(path string, size uint64) {
	o.r.guestEnded()
	if !o.open() {
		return
	}
	if o.taken == nil {
		o.taken, o.begun = o.spec.NewOutputs(), time.Now()
		o.timer = time.AfterFunc(protocol.OutputsSilence, func() { o.r.cancel(errSlowFiles) })
	}
	header := &protocol.FileHeader{Path: path, Size: size}
	if err := o.taken.Begin(header); err != nil {
		o.blameWorker(err)
		return
	}
	o.send(&protocol.OutputChunk{File: header})
}

// send sends a chunk. The first failure cancels the replica: its requester
// cannot be reached.
func (o *output) send(chunk *protocol.OutputChunk) {
	if o.err = o.conn.Send(chunk); o.err != nil {
		o.r.cancel(errGone)
		return
	}
	if o.timer != nil { // files may neither pause for long nor take too long in all
		o.timer.Reset(min(protocol.OutputsSilence, time.Until(o.begun.Add(o.taken.Allowance()))))
	}
}

// blameWorker cancels a replica whose worker does not keep to its word: it may
// be in the guest's hands.
func (o *output) blameWorker(err error) {
	o.err = protocol.Errorf(protocol.CodeWorker, "the sandbox process cannot be believed: %v", err)
	o.r.cancel(o.err)
}

// open reports whether there is a stream to be written to, and opens it when
// it is the first time.
func (o *output) open() bool {
	if o.conn == nil && o.err == nil {
		if o.err = o.dial(); o.err != nil {
			o.r.cancel(errGone)
		}
	}
	return o.err == nil
}

func (o *output) dial() error {
	conn, err := o.s.cfg.Network.Open(o.ctx, o.r.requester, protocol.OutputStream)
	if err != nil {
		return fmt.Errorf("open output stream: %w", err)
	}
	o.conn = conn
	// A requester that does not read must not hold up a cancelled guest.
	context.AfterFunc(o.ctx, o.abort)
	o.hashes = [2]hash.Hash{sha256.New(), sha256.New()}
	return conn.Send(&protocol.OutputHeader{Nonce: o.r.nonce[:]})
}

// finish disposes of the output that was left at the guest's end, and closes
// the books.
func (o *output) finish(end Outcome) error {
	if o.conn == nil && o.err == nil && len(end.Stdout)+len(end.Stderr) <= protocol.MaxInline {
		o.inline = [2][]byte{end.Stdout, end.Stderr}
		return nil
	}
	if o.err == nil && o.taken != nil {
		var err error
		if o.files, err = o.taken.Finish(); err == nil && end.Code != "" {
			err = fmt.Errorf("files of a guest that ended by %s", end.Code)
		}
		if err != nil {
			o.blameWorker(err)
		}
	}
	for i, left := range [][]byte{end.Stdout, end.Stderr} {
		if len(left) > 0 {
			o.write(uint32(i)+1, left)
		}
	}
	if o.err == nil {
		o.send(&protocol.OutputChunk{})
	}
	if o.err == nil {
		// The end has been sent; a requester that has read it may have reset the
		// stream already, which Close would report.
		_ = o.conn.Close()
	}
	o.mu.Lock()
	o.whole = o.err == nil
	o.mu.Unlock()
	return o.err
}

func (o *output) outcome(end Outcome) *protocol.Outcome {
	blob := func(i int) *protocol.Blob {
		if o.conn == nil {
			sum := protocol.DigestOf(o.inline[i])
			return &protocol.Blob{Digest: sum[:], Size: uint64(len(o.inline[i]))}
		}
		return &protocol.Blob{Digest: o.hashes[i].Sum(nil), Size: o.sizes[i]}
	}
	return &protocol.Outcome{
		Streamed: o.conn != nil,
		Stdout:   o.inline[0],
		Stderr:   o.inline[1],
		Result: &protocol.Result{
			ExitCode:   end.ExitCode,
			ExitSource: end.Source,
			Code:       string(end.Code),
			Message:    protocol.SafeText(end.Message),
			Stdout:     blob(0),
			Stderr:     blob(1),
			WallUs:     uint64(end.Wall.Microseconds()),
			Gas:        end.Gas,
		},
	}
}

// close ends what the output still does.
func (o *output) close() {
	if o.timer != nil {
		o.timer.Stop()
	}
	o.abort()
}

// abort resets a stream that was not brought to its end.
func (o *output) abort() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conn != nil && !o.whole {
		o.conn.Reset()
	}
}
