package provider

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/spare-network/spare/protocol"
)

// execute runs a replica that has got a slot.
func (p *Provider) execute(r *replica) { p.conclude(r, phaseRunning, p.outcomeOf(r)) }

func (p *Provider) outcomeOf(r *replica) *protocol.Outcome {
	transfers := r.spec.Transfers()
	data := &feed{blobs: p.cfg.Blobs, rest: transfers}
	defer data.close()
	out := &output{p: p, r: r}
	defer out.close()
	x := Execution{
		Requester: r.account.peer,
		Spec:      r.spec,
		SpecBytes: r.raw,
		Module:    func() (io.ReadCloser, error) { return openBlob(p.cfg.Blobs, r.spec.Module) },
		Output:    out.write,
		File:      out.file,
		State:     func(s protocol.State) { p.setState(r, s) },
		Gas:       r.useGas,
		Still:     r.stood.note,
	}
	if len(transfers) > 0 {
		x.Data = data
	}
	end, err := p.cfg.Runner.Run(r.ctx, x)
	switch {
	case data.err != nil:
		err = data.err
	case err != nil && protocol.CodeOf(err) == protocol.CodeBlob:
		p.cfg.Blobs.Drop(r.spec.Module.Sum()) // damaged on disk: the next replica fetches it anew
	}
	if err == nil {
		err = out.finish(end)
	}
	if err != nil {
		return p.failure(r, err)
	}
	r.useGas(end.Gas)
	return p.receipted(r, out.outcome(end), out.files)
}

// receipted completes an outcome by the digest of its result, which covers its
// files, and a receipt.
func (p *Provider) receipted(r *replica, outcome *protocol.Outcome, files []*protocol.File) *protocol.Outcome {
	result := outcome.Result
	result.Files = files
	digest := protocol.ResultDigest(result, r.spec.Profile)
	result.Files = nil // the output stream tells of them
	result.Digest = digest[:]
	specDigest := protocol.DigestOf(r.raw)
	outcome.Receipt = &protocol.Receipt{
		Requester:    r.account.text,
		Provider:     p.self,
		Nonce:        bytes.Clone(r.nonce[:]), // the receipt is kept for longer than the replica
		SpecDigest:   specDigest[:],
		ResultDigest: result.Digest,
		Gas:          result.Gas,
		WallUs:       result.WallUs,
		EndedUnixMs:  time.Now().UnixMilli(),
	}
	r.debt = &debt{receipt: outcome.Receipt}
	return outcome
}

// failure is the outcome of a replica that this provider could not run.
// A stranger learns the text only of errors that are meant for people.
func (p *Provider) failure(r *replica, err error) *protocol.Outcome {
	var e *protocol.Error
	switch cause := context.Cause(r.ctx); {
	case errors.As(cause, &e):
	case cause != nil:
		e = protocol.Errorf(protocol.CodeCancelled, "%v", cause)
	case !errors.As(err, &e):
		p.cfg.Logger.Error("cannot run a replica", "requester", r.account.peer, "err", err)
		e = protocol.Errorf(protocol.CodeInternal, "the provider has a defect; its log tells more")
	}
	return &protocol.Outcome{Code: string(e.Code), Message: protocol.SafeText(e.Message)}
}
