package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spare-network/spare/protocol"
)

// maxStreams bounds the output streams to one requester at once.
const maxStreams = 64

var errSlowReader = errors.New("the requester takes its output too slowly")

// stream begins to send the output of r to whom it is attached, when there is
// any and it is wanted. It is called with mu held.
func (p *Provider) stream(r *replica) {
	x := r.to
	if x == nil || x.stop != nil || !x.wantsOutput(r) || p.stopping {
		return
	}
	ctx, cancel := context.WithCancel(p.ctx)
	x.stop = cancel
	t := r.output
	p.wg.Go(func() {
		defer cancel()
		p.streamed(r, x, p.send(ctx, r, t))
	})
}

// streamed notes that output has been sent, or why not.
func (p *Provider) streamed(r *replica, x *exchange, err error) {
	availability, _ := p.cfg.Availability()
	p.mu.Lock()
	if r.to != x { // another has taken its place
		p.mu.Unlock()
		return
	}
	if err == nil {
		x.sent = true
		taken := p.take(r)
		load := p.load(availability)
		p.mu.Unlock()
		if taken != nil {
			p.tell(r, taken, load)
		}
		return
	}
	// The exchange is over. What there is can be claimed, for a while.
	p.abandon(r)
	load := p.load(availability)
	p.mu.Unlock()
	_ = x.s.conn.Send(&protocol.Reply{Id: x.id, Body: &protocol.Reply_Outcome{Outcome: &protocol.Outcome{
		Code:    string(protocol.CodeCancelled),
		Message: protocol.SafeText(fmt.Sprintf("its output cannot be sent: %v", err)),
		Load:    load,
	}}}) // a dead stream ends the session's loop
}

// send sends a transcript from its beginning, as it grows. The guest does not
// wait for it.
func (p *Provider) send(ctx context.Context, r *replica, t *transcript) error {
	select {
	case r.account.streams <- struct{}{}:
		defer func() { <-r.account.streams }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	source, done, err := t.open()
	if err != nil {
		return err
	}
	defer done()
	conn, err := p.cfg.Network.Open(ctx, r.account.peer, protocol.OutputStream)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, conn.Reset)
	defer stop()
	if err = conn.Send(&protocol.OutputHeader{Nonce: r.nonce[:]}); err == nil {
		err = t.copyTo(ctx, conn, source, cancel)
	}
	if err != nil {
		conn.Reset()
		return cmp.Or(context.Cause(ctx), err)
	}
	// A requester that has read it all may have reset the stream already, which
	// Close would report.
	_ = conn.Close()
	return nil
}

// copyTo writes a transcript, which is read from source, as it grows. Its
// reader must take each piece within the time that a Conn gives it, and what is
// left when the guest has ended at [protocol.SlowestTransfer], or is given up.
func (t *transcript) copyTo(ctx context.Context, conn *protocol.Conn, source io.ReaderAt, giveUp context.CancelCauseFunc) error {
	buf := make([]byte, protocol.MaxOutputChunk)
	var patience *time.Timer
	for off := int64(0); ; {
		size, whole, grown := t.now()
		if whole && patience == nil {
			left := protocol.OutputsSilence + protocol.AtSlowest(uint64(size-off))
			patience = time.AfterFunc(left, func() { giveUp(errSlowReader) })
			defer patience.Stop()
		}
		switch {
		case off < size:
			n, err := source.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
			if n == 0 {
				return fmt.Errorf("read output: %w", err)
			}
			if _, err := conn.Write(buf[:n]); err != nil {
				return err
			}
			off += int64(n)
		case whole:
			return nil
		default:
			select {
			case <-grown:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}
