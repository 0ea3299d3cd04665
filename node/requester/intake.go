package requester

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"sync/atomic"
	"time"

	"github.com/spare-network/spare/protocol"
)

// intake is what has come of an attempt's output since it was last asked for:
// each Run and each Claim has one, and one stream.
type intake struct {
	*attempt
	answered atomic.Bool // an outcome
	closed   bool        // nothing is to come: results are compared first
	ctx      context.Context
	stop     context.CancelFunc

	written [2]int64                  // how much of stdout and stderr; read and set in turn
	out     output                    // the same, of one that votes: it is shown to nobody before the verdict; likewise
	filesBy atomic.Pointer[time.Time] // by when all files begun must have come; nil: none was begun

	// Of the goroutine that reads the stream, and of the conductor when that
	// has told the stream's end.
	streamed atomic.Bool // there is, or was, such a stream
	sums     [2]hash.Hash
	files    collection
}

// restart makes ready for the attempt's output from its beginning.
func (a *attempt) restart() {
	in := &intake{attempt: a, closed: a.votes && a.claimed != claimAll}
	in.ctx, in.stop = context.WithCancel(a.ctx)
	if old := a.in.Swap(in); old != nil {
		old.stop()
	}
}

// ServeOutput takes the output that a provider streams of one attempt.
func (r *Requester) ServeOutput(ctx context.Context, conn *protocol.Conn) {
	defer conn.Reset()
	defer context.AfterFunc(ctx, conn.Reset)()
	_ = conn.SetReadDeadline(time.Now().Add(dialTimeout))
	header := new(protocol.OutputHeader)
	if conn.Recv(header) != nil {
		return
	}
	a := r.attemptOf(conn.Peer(), header.Nonce)
	if a == nil {
		return
	}
	now := time.Now()
	a.named.CompareAndSwap(nil, &now) // its lease may still be on its way
	in := a.in.Load()
	_ = conn.SetReadDeadline(time.Time{}) // the intake's end bounds it now
	defer context.AfterFunc(in.ctx, conn.Reset)()
	if in.closed || in.streamed.Swap(true) {
		return // one stream each time it is asked for
	}
	in.sums = [2]hash.Hash{sha256.New(), sha256.New()}
	defer in.files.discard()
	defer in.discard()
	err := in.receive(conn)
	in.files.pace.stop()
	switch {
	case err == nil:
		conn.Reset()
		a.send(event{kind: evOutputEnd, in: in})
		if in.files.taken != nil || in.votes {
			<-in.ctx.Done() // until then the conductor may keep what came
		}
	case errors.Is(err, errBroken):
		a.send(event{kind: evCut, in: in, err: err})
	default:
		a.send(event{kind: evFailed, in: in, err: err})
	}
}

// receive reads chunks to the one that marks the end.
func (in *intake) receive(conn *protocol.Conn) error {
	chunk := new(protocol.OutputChunk)
	var deadline time.Time
	for {
		if err := conn.Recv(chunk); err != nil {
			in.t.r.cfg.Logger.Debug("an output stream broke off", "provider", in.provider, "err", err)
			if !deadline.IsZero() && !time.Now().Before(deadline) {
				return errStalled
			}
			return errBroken
		}
		var err error
		switch {
		case chunk.File != nil && chunk.Fd == 0 && len(chunk.Data) == 0:
			err = in.beginFile(chunk.File)
		case chunk.File != nil:
			err = fmt.Errorf("%w: a file is begun with bytes", protocol.ErrMalformed)
		case chunk.Fd == 0:
			return nil
		case chunk.Fd == 1 || chunk.Fd == 2:
			in.sums[chunk.Fd-1].Write(chunk.Data)
			err = in.t.write(in, int(chunk.Fd), chunk.Data)
		case chunk.Fd == 3:
			err = in.writeFile(chunk.Data)
		default:
			err = fmt.Errorf("%w: output to descriptor %d", protocol.ErrMalformed, chunk.Fd)
		}
		if err != nil {
			return err
		}
		if until := in.filesUntil(); !until.IsZero() {
			if soon := time.Now().Add(protocol.OutputsSilence); soon.Before(until) {
				until = soon
			}
			deadline = until
			_ = conn.SetReadDeadline(deadline) // a stream that cannot is dead, which Recv tells
		}
	}
}

// matches reports whether what has been streamed to stdout, whose end has
// come, is b.
func (in *intake) matches(b *protocol.Blob) bool {
	return protocol.Digest(in.sums[0].Sum(nil)) == b.Sum() && uint64(in.written[0]) == b.Size
}
