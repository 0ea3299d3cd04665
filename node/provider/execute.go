package provider

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/spare-network/spare/protocol"
)

// execute takes one admitted replica from its spec to its outcome.
func (s *session) execute(ctx context.Context, id uint64, r *replica, spec *protocol.Spec, run *protocol.Run, told protocol.State) *protocol.Outcome {
	setState := func(state protocol.State) {
		r.setState(state)
		if state != told && ctx.Err() == nil {
			told = state
			_ = s.conn.SendSoon(&protocol.Reply{Id: id, Body: &protocol.Reply_Progress{Progress: state}}) // a dead stream ends the session's loop
		}
	}
	x := Execution{Requester: r.requester, Spec: spec, SpecBytes: run.Spec, State: setState}

	module := spec.Module.Sum()
	defer s.cfg.Blobs.Pin(module)()
	if err := s.fetch(ctx, r, spec.Module, setState); err != nil {
		return s.failure(ctx, err)
	}
	x.Module = func() (io.ReadCloser, error) {
		f, _, err := s.cfg.Blobs.Open(module)
		return f, err
	}
	if !spec.Stdin.IsInline() {
		stdin := spec.Stdin.Sum()
		defer s.cfg.Blobs.Pin(stdin)()
		if err := s.fetch(ctx, r, spec.Stdin, setState); err != nil {
			return s.failure(ctx, err)
		}
		f, _, err := s.cfg.Blobs.Open(stdin)
		if err != nil {
			return s.failure(ctx, err)
		}
		defer f.Close() //nolint:errcheck // opened for reading
		x.Stdin = f
	}

	out := newOutput(ctx, s, r)
	defer out.abort()
	x.Output = out.write
	end, err := s.cfg.Runner.Run(ctx, x)
	if err != nil && protocol.CodeOf(err) == protocol.CodeBlob {
		s.cfg.Blobs.Drop(module) // damaged on disk: the next replica fetches it anew
	}
	if err == nil {
		err = out.finish(end.Stdout, end.Stderr)
	}
	if err != nil {
		return s.failure(ctx, err)
	}
	outcome := out.outcome(end)
	result := outcome.Result
	digest := protocol.ResultDigest(end.ExitCode, end.Code, result.Stdout.Sum(), result.Stdout.Size, 0, spec.Profile)
	result.Digest = digest[:]
	specDigest := protocol.DigestOf(run.Spec)
	outcome.Receipt = &protocol.Receipt{
		Requester:    s.requester,
		Provider:     s.self,
		Nonce:        run.Nonce,
		SpecDigest:   specDigest[:],
		ResultDigest: result.Digest,
		WallUs:       result.WallUs,
		EndedUnixMs:  time.Now().UnixMilli(),
	}
	return outcome
}

// failure is the outcome of a replica that this provider could not run.
// A stranger learns the text only of errors that are meant for people.
func (s *session) failure(ctx context.Context, err error) *protocol.Outcome {
	var e *protocol.Error
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, context.Canceled):
		e = protocol.Errorf(protocol.CodeShutdown, "the provider is stopping")
	case cause != nil:
		e = protocol.Errorf(protocol.CodeCancelled, "%v", cause)
	case !errors.As(err, &e):
		s.cfg.Logger.Error("cannot run a replica", "requester", s.conn.Peer(), "err", err)
		e = protocol.Errorf(protocol.CodeInternal, "the provider has a defect; its log tells more")
	}
	return &protocol.Outcome{Code: string(e.Code), Message: protocol.SafeText(e.Message)}
}

// output sends what a guest writes to its requester and sums it up. Output
// that is small and early enough to be whole when the guest ends rides in the
// Outcome; everything else goes over a stream of its own.
type output struct {
	ctx    context.Context // of the replica
	s      *session
	r      *replica
	mu     sync.Mutex // of whole, and of conn while others may abort it
	conn   *protocol.Conn
	err    error
	whole  bool         // nothing more is to come, and the stream is closed
	hashes [2]hash.Hash // of what was streamed
	sizes  [2]uint64
	inline [2][]byte
}

func newOutput(ctx context.Context, s *session, r *replica) *output {
	return &output{ctx: ctx, s: s, r: r}
}

// write streams data. The first failure cancels the replica: its requester
// cannot be reached.
func (o *output) write(fd uint32, data []byte) {
	if o.err != nil || fd < 1 || fd > 2 {
		return
	}
	if o.conn == nil {
		if o.err = o.dial(); o.err != nil {
			o.r.cancel(errGone)
			return
		}
	}
	o.hashes[fd-1].Write(data)
	o.sizes[fd-1] += uint64(len(data))
	for len(data) > 0 && o.err == nil {
		n := min(len(data), protocol.MaxOutputChunk)
		o.err = o.conn.Send(&protocol.OutputChunk{Fd: fd, Data: data[:n]})
		data = data[n:]
	}
	if o.err != nil {
		o.r.cancel(errGone)
	}
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

// finish disposes of the output that was left at the guest's end.
func (o *output) finish(stdout, stderr []byte) error {
	if o.conn == nil && o.err == nil && len(stdout)+len(stderr) <= protocol.MaxInline {
		o.inline = [2][]byte{stdout, stderr}
		return nil
	}
	o.write(1, stdout)
	o.write(2, stderr)
	if o.err == nil {
		o.err = o.conn.Send(&protocol.OutputChunk{})
	}
	if o.err == nil {
		o.err = o.conn.Close()
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
		},
	}
}

// abort resets a stream that was not brought to its end.
func (o *output) abort() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conn != nil && !o.whole {
		o.conn.Reset()
	}
}
