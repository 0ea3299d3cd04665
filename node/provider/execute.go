package provider

import (
	"context"
	"errors"
	"io"
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
	transfers := spec.Transfers()
	blobs := append([]*protocol.Blob{spec.Module}, transfers...)
	for _, b := range blobs {
		defer s.cfg.Blobs.Pin(b.Sum())()
	}
	if err := s.fetchAll(ctx, r, blobs, setState); err != nil {
		return s.failure(ctx, err)
	}
	data := &feed{blobs: s.cfg.Blobs, rest: transfers}
	defer data.close()
	out := newOutput(ctx, s, r, spec)
	defer out.close()
	x := Execution{
		Requester: r.requester,
		Spec:      spec,
		SpecBytes: run.Spec,
		Module:    func() (io.ReadCloser, error) { return openBlob(s.cfg.Blobs, spec.Module) },
		Output:    out.write,
		File:      out.file,
		State:     setState,
	}
	if len(transfers) > 0 {
		x.Data = data
	}
	end, err := s.cfg.Runner.Run(ctx, x)
	switch {
	case data.err != nil:
		err = data.err
	case err != nil && protocol.CodeOf(err) == protocol.CodeBlob:
		s.cfg.Blobs.Drop(spec.Module.Sum()) // damaged on disk: the next replica fetches it anew
	}
	if err == nil {
		err = out.finish(end)
	}
	if err != nil {
		return s.failure(ctx, err)
	}
	return s.receipted(out.outcome(end), out.files, spec, run)
}

// receipted completes an outcome by the digest of its result, which covers its
// files, and a receipt.
func (s *session) receipted(outcome *protocol.Outcome, files []*protocol.File, spec *protocol.Spec, run *protocol.Run) *protocol.Outcome {
	result := outcome.Result
	result.Files = files
	digest := protocol.ResultDigest(result, spec.Profile)
	result.Files = nil // the output stream has told of them
	result.Digest = digest[:]
	specDigest := protocol.DigestOf(run.Spec)
	outcome.Receipt = &protocol.Receipt{
		Requester:    s.requester,
		Provider:     s.self,
		Nonce:        run.Nonce,
		SpecDigest:   specDigest[:],
		ResultDigest: result.Digest,
		Gas:          result.Gas,
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
	case errors.As(cause, &e):
	case cause != nil:
		e = protocol.Errorf(protocol.CodeCancelled, "%v", cause)
	case !errors.As(err, &e):
		s.cfg.Logger.Error("cannot run a replica", "requester", s.conn.Peer(), "err", err)
		e = protocol.Errorf(protocol.CodeInternal, "the provider has a defect; its log tells more")
	}
	return &protocol.Outcome{Code: string(e.Code), Message: protocol.SafeText(e.Message)}
}
