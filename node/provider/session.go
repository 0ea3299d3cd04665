package provider

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/spare-network/spare/protocol"
)

// Causes for which a replica is cancelled.
var (
	errWithdrawn = errors.New("the requester withdrew it")
	errGone      = errors.New("the requester is gone")
)

// session is one requester's task stream.
type session struct {
	*Provider
	conn      *protocol.Conn
	requester string // the peer ID in text, which takes a while to make

	mu       sync.Mutex
	byID     map[uint64]*replica
	unsigned []*protocol.Receipt
	signer   *time.Timer

	wg sync.WaitGroup
}

// ServeTasks serves one task stream until it ends. Replicas that still run
// then are cancelled: nobody could be told of their results.
func (p *Provider) ServeTasks(ctx context.Context, conn *protocol.Conn) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &session{Provider: p, conn: conn, requester: conn.Peer().String(), byID: make(map[uint64]*replica)}
	stop := context.AfterFunc(ctx, conn.Reset)
	defer func() {
		stop()
		cancel(errGone)
		conn.Reset()
		s.wg.Wait()
	}()
	for {
		ask := new(protocol.Ask)
		if err := conn.Recv(ask); err != nil {
			if !errors.Is(err, io.EOF) && ctx.Err() == nil {
				p.cfg.Logger.Debug("task stream ended", "requester", conn.Peer(), "err", err)
			}
			return
		}
		if !s.handle(ctx, ask) {
			return
		}
	}
}

// handle serves one Ask. It returns false when the stream is of no more use.
func (s *session) handle(ctx context.Context, ask *protocol.Ask) bool {
	var reply *protocol.Reply
	switch body := ask.Body.(type) {
	case *protocol.Ask_Probe:
		reply = &protocol.Reply{Id: ask.Id, Body: &protocol.Reply_Load{Load: s.Load()}}
	case *protocol.Ask_Cancel:
		s.mu.Lock()
		r := s.byID[ask.Id]
		s.mu.Unlock()
		if r != nil {
			r.cancel(errWithdrawn)
		}
		return true
	case *protocol.Ask_Run:
		if refusal := s.run(ctx, ask.Id, body.Run); refusal != nil {
			reply = &protocol.Reply{Id: ask.Id, Body: &protocol.Reply_Refusal{Refusal: refusal}}
		}
	default:
		s.cfg.Logger.Debug("unknown request", "requester", s.conn.Peer())
		return false
	}
	return reply == nil || s.conn.Send(reply) == nil
}

// run admits a replica and starts it, or says why not.
func (s *session) run(ctx context.Context, id uint64, run *protocol.Run) *protocol.Refusal {
	spec, err := protocol.ParseSpec(run.Spec)
	if err == nil {
		err = run.Validate()
	}
	if err != nil {
		return &protocol.Refusal{Code: string(protocol.CodeBadRequest), Message: protocol.SafeText(err.Error()), Load: s.Load()}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	r := &replica{nonce: protocol.Nonce(run.Nonce), requester: s.conn.Peer(), detached: run.Detached, cancel: cancel}
	s.mu.Lock()
	_, taken := s.byID[id]
	s.mu.Unlock()
	if taken {
		cancel(nil)
		return &protocol.Refusal{Code: string(protocol.CodeBadRequest), Message: "this request ID is in use", Load: s.Load()}
	}
	load, refusal := s.admit(r, spec)
	if refusal != nil {
		cancel(nil)
		return refusal
	}
	s.mu.Lock()
	s.byID[id] = r
	s.mu.Unlock()
	s.noteChange()

	warm := s.cfg.Runner.Warm(r.requester, spec.Module.Sum())
	told := protocol.StateQueued
	if warm && load.Queued == 0 {
		told = protocol.StateRunning // as the requester understands such a lease
	}
	lease := &protocol.Reply{Id: id, Body: &protocol.Reply_Lease{Lease: &protocol.Lease{Load: load, Warm: warm}}}
	// A warm short task has its outcome before the linger is over: lease and
	// outcome then leave in one write.
	if warm {
		_ = s.conn.SendSoon(lease) // a dead stream ends the session's loop
	} else {
		_ = s.conn.Send(lease)
	}
	s.wg.Go(func() {
		defer cancel(nil)
		outcome := s.execute(ctx, id, r, spec, run, told)
		s.mu.Lock()
		delete(s.byID, id)
		s.mu.Unlock()
		outcome.Load = s.release(r)
		if err := s.conn.Send(&protocol.Reply{Id: id, Body: &protocol.Reply_Outcome{Outcome: outcome}}); err == nil && outcome.Receipt != nil {
			s.addReceipt(outcome.Receipt)
		}
	})
	return nil
}

// signDelay is how long receipts wait to be signed together: one signature
// costs as much as a whole short task.
const signDelay = 250 * time.Millisecond

// addReceipt has the receipt signed with others, off the hot path.
func (s *session) addReceipt(r *protocol.Receipt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsigned = append(s.unsigned, r)
	switch {
	case len(s.unsigned) == 1:
		s.wg.Add(1)
		s.signer = time.AfterFunc(signDelay, func() {
			defer s.wg.Done()
			s.sign()
		})
	case len(s.unsigned) == protocol.MaxReceipts && s.signer.Stop():
		go func() {
			defer s.wg.Done()
			s.sign()
		}()
	}
}

// sign signs what is unsigned in batches and sends the signatures.
func (s *session) sign() {
	s.mu.Lock()
	receipts := s.unsigned
	s.unsigned = nil
	s.mu.Unlock()
	for len(receipts) > 0 {
		n := min(len(receipts), protocol.MaxReceipts)
		batch, err := protocol.SignReceipts(s.cfg.NetworkID, s.cfg.Key, receipts[:n])
		if err != nil {
			s.cfg.Logger.Error("cannot sign receipts", "err", err)
			return
		}
		if s.conn.Send(&protocol.Reply{Body: &protocol.Reply_Receipts{Receipts: batch}}) != nil {
			return // nobody is there to be told
		}
		receipts = receipts[n:]
	}
}
