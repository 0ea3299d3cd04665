package requester

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

var (
	errDiverged = errors.New("its output differs from what was shown before")
	errBroken   = errors.New("its output broke off")
	errStalled  = errors.New("its output files came too slowly")
	errTooMuch  = errors.New("it sent more output than the task allows")
	errKeep     = errors.New("output cannot be kept") // our own failure, not a provider's
)

// keepError says to people why output cannot be kept.
func keepError(err error) error {
	var known *protocol.Error
	if !errors.As(err, &known) {
		return protocol.Errorf(protocol.CodeFile, "this node cannot keep the output: %v", err)
	}
	return protocol.Errorf(known.Code, "this node cannot keep the output: %s", known.Message).WithHint("%s", known.Hint)
}

// write takes output of one attempt. Replicas are deterministic: what another
// one has written already is compared, what is new is kept and shown, so that
// streamed output survives the loss of a provider. stderr is not compared: it
// never votes.
func (t *task) write(in *intake, fd int, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	i := fd - 1
	select {
	case t.turn <- struct{}{}:
		defer t.pass()
	case <-in.ctx.Done():
		return errBroken
	}
	if t.sealed || in.ctx.Err() != nil {
		return errBroken
	}
	if uint64(in.written[0]+in.written[1])+uint64(len(p)) > t.spec.Limits.OutputBytes {
		return errTooMuch
	}
	if in.votes {
		in.written[i] += int64(len(p))
		return in.out.write(t, i, p)
	}
	spool, at := t.out[i].Load(), in.written[i]
	if spool == nil {
		spool = t.r.cfg.Blobs.NewSpool(int64(t.spec.Limits.OutputBytes))
		t.out[i].Store(spool)
	}
	in.written[i] += int64(len(p))
	if known := min(spool.Len()-at, int64(len(p))); known > 0 {
		if fd == 1 {
			same, err := equalAt(spool, at, p[:known])
			if err != nil {
				return err
			}
			if !same {
				return errDiverged
			}
		}
		p = p[known:]
	}
	if len(p) == 0 {
		return nil
	}
	if _, err := spool.Write(p); err != nil {
		return fmt.Errorf("%w: %w", errKeep, err)
	}
	t.wake()
	return nil
}

// output is the stdout and stderr of one attempt, apart from all others.
type output [2]*store.Spool

func (o *output) write(t *task, i int, p []byte) error {
	if o[i] == nil {
		o[i] = t.r.cfg.Blobs.NewSpool(int64(t.spec.Limits.OutputBytes))
	}
	if _, err := o[i].Write(p); err != nil {
		return fmt.Errorf("%w: %w", errKeep, err)
	}
	return nil
}

func (o *output) discard() {
	for i, spool := range o {
		if spool != nil {
			spool.Discard()
			o[i] = nil
		}
	}
}

// discard frees what nobody has taken.
func (in *intake) discard() {
	in.t.turn <- struct{}{}
	defer in.t.pass()
	in.out.discard()
}

// show makes the output of the attempt that was chosen the task's.
func (t *task) show(o *output) {
	t.turn <- struct{}{}
	defer t.pass()
	for i, spool := range o {
		t.out[i].Store(spool)
		o[i] = nil
	}
	t.sealed = true
}

// pass gives the turn to write to whoever waits for it.
func (t *task) pass() { <-t.turn }

func equalAt(s *store.Spool, at int64, p []byte) (bool, error) {
	buf := make([]byte, len(p))
	if _, err := s.ReadAt(buf, at); err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("%w: %w", errKeep, err)
	}
	return bytes.Equal(buf, p), nil
}

// seal ends the output with what the accepted result has of stdout. It reports
// whether that is all that is known from any attempt. How far a guest had come
// when its time was over may differ; everything else that ends it is the same
// everywhere.
func (t *task) seal(r *protocol.Result) bool {
	t.turn <- struct{}{}
	defer t.pass()
	known := t.out[0].Load()
	if r.Code != string(protocol.CodeTimeout) && known != nil && uint64(known.Len()) > r.Stdout.Size {
		return false
	}
	t.sealed = true
	return true
}

// stopWriting ends the output as it is.
func (t *task) stopWriting() {
	t.turn <- struct{}{}
	defer t.pass()
	t.sealed = true
}

// follow is [Requester.Follow] of an open task.
func (t *task) follow(ctx context.Context, out func(fd int, p []byte) error, changed func(*protocol.Task)) (*protocol.Task, error) {
	var sent [2]int64
	last := stage{state: -1}
	for {
		next := t.nextChange()
		now := t.stageNow()
		if now.ended {
			record := t.snapshot()
			return record, t.r.replay(record.Result, sent, out)
		}
		if changed != nil && now != last {
			last = now
			changed(t.snapshot())
		}
		for i := range t.out {
			if out == nil {
				break
			}
			if err := t.showSince(i, &sent[i], out); err != nil {
				return nil, err
			}
		}
		select {
		case <-next:
		case <-t.done:
			if !t.stageNow().ended {
				return nil, errStopping
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// showSince passes on what has been written since the offset *sent.
func (t *task) showSince(i int, sent *int64, out func(fd int, p []byte) error) error {
	spool := t.out[i].Load()
	if spool == nil {
		return nil
	}
	buf := make([]byte, protocol.MaxOutputChunk)
	for {
		n, err := spool.ReadAt(buf, *sent)
		if n > 0 {
			if err := out(i+1, buf[:n]); err != nil {
				return err
			}
			*sent += int64(n)
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, os.ErrClosed):
			return nil // if the task has ended, its result has the rest
		case err != nil:
			return fmt.Errorf("read output: %w", err)
		}
	}
}

// outputReader reads what an open task had written when it was opened. Should
// the task end meanwhile, the rest comes from its result.
type outputReader struct {
	t       *task
	i       int // 0 stdout, 1 stderr
	at, end int64
	result  io.ReadCloser
}

// openOutput opens what has been written so far, or returns nil when the task
// has ended and its record is to be asked.
func (t *task) openOutput(fd int) io.ReadCloser {
	if t.stageNow().ended {
		return nil
	}
	r := &outputReader{t: t, i: fd - 1}
	if spool := t.out[r.i].Load(); spool != nil {
		r.end = spool.Len()
	}
	return r
}

// Read implements [io.Reader].
func (r *outputReader) Read(p []byte) (int, error) {
	if r.at >= r.end {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), r.end-r.at)]
	if r.result == nil {
		if n, _ := r.t.out[r.i].Load().ReadAt(p, r.at); n > 0 {
			r.at += int64(n)
			return n, nil
		}
		if err := r.turnToResult(); err != nil {
			return 0, err
		}
	}
	n, err := r.result.Read(p)
	r.at += int64(n)
	return n, err
}

func (r *outputReader) turnToResult() error {
	result := r.t.snapshot().Result
	if result == nil {
		return errStopping
	}
	blob := result.Stdout
	if r.i == 1 {
		blob = result.Stderr
	}
	rc, err := r.t.r.openBlob(blob)
	if err != nil {
		return err
	}
	r.result = rc
	_, err = io.CopyN(io.Discard, rc, r.at)
	return err
}

// Close implements [io.Closer].
func (r *outputReader) Close() error {
	if r.result != nil {
		return r.result.Close()
	}
	return nil
}

// openBlob opens output that a result names.
func (r *Requester) openBlob(b *protocol.Blob) (io.ReadCloser, error) {
	if b == nil || b.IsInline() {
		return io.NopCloser(bytes.NewReader(b.GetInline())), nil
	}
	f, _, err := r.cfg.Blobs.Open(b.Sum())
	if err != nil {
		return nil, err
	}
	return f, nil
}

// replay passes on what a result holds of stdout and stderr beyond what was
// sent of each.
func (r *Requester) replay(result *protocol.Result, sent [2]int64, out func(fd int, p []byte) error) error {
	if out == nil {
		return nil
	}
	for i, b := range []*protocol.Blob{result.GetStdout(), result.GetStderr()} {
		rc, err := r.openBlob(b)
		if err != nil {
			return err
		}
		_, err = io.CopyN(io.Discard, rc, sent[i])
		if err == nil {
			_, err = io.Copy(writerFunc(func(p []byte) error { return out(i+1, p) }), rc)
		}
		if err = errors.Join(err, rc.Close()); err != nil {
			return err
		}
	}
	return nil
}

type writerFunc func(p []byte) error

func (f writerFunc) Write(p []byte) (int, error) {
	if err := f(p); err != nil {
		return 0, err
	}
	return len(p), nil
}
