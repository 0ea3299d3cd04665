package provider

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spare-network/spare/protocol"
)

// session is one requester's task stream.
type session struct {
	*Provider
	conn    *protocol.Conn
	account *account
	byID    map[uint64]*replica // guarded by the Provider's mu
	checks  errgroup.Group      // of countersignatures

	receiptsMu sync.Mutex
	unsigned   []*debt
	signer     *time.Timer
	closed     bool

	wg sync.WaitGroup
}

// ServeTasks serves one task stream until it ends. Its replicas go on for a
// while then: their requester may come back and claim them.
func (p *Provider) ServeTasks(ctx context.Context, conn *protocol.Conn) {
	s := &session{Provider: p, conn: conn, byID: make(map[uint64]*replica)}
	s.checks.SetLimit(maxChecks)
	p.mu.Lock()
	s.account = p.accountOf(conn.Peer())
	s.account.sessions++
	p.mu.Unlock()
	defer s.close()
	defer context.AfterFunc(ctx, conn.Reset)()
	for {
		ask := new(protocol.Ask)
		if err := conn.Recv(ask); err != nil {
			if !errors.Is(err, io.EOF) && ctx.Err() == nil {
				p.cfg.Logger.Debug("task stream ended", "requester", conn.Peer(), "err", err)
			}
			return
		}
		if err := s.handle(ctx, ask); err != nil {
			p.cfg.Logger.Debug("task stream is of no more use", "requester", conn.Peer(), "err", err)
			return
		}
	}
}

func (s *session) close() {
	s.conn.Reset()
	s.receiptsMu.Lock()
	s.closed = true
	s.receiptsMu.Unlock()
	s.wg.Wait()
	_ = s.checks.Wait() // none returns an error
	s.mu.Lock()
	for _, r := range s.byID {
		s.abandon(r)
	}
	s.account.sessions--
	s.prune(s.account)
	s.mu.Unlock()
}

// handle serves one Ask. Its error ends the stream.
func (s *session) handle(ctx context.Context, ask *protocol.Ask) error {
	switch body := ask.Body.(type) {
	case *protocol.Ask_Run:
		return s.refuse(ask.Id, s.run(ask.Id, body.Run))
	case *protocol.Ask_Claim:
		return s.refuse(ask.Id, s.claim(ask.Id, body.Claim))
	case *protocol.Ask_Vouch:
		return s.refuse(ask.Id, s.vouch(ctx, ask.Id, body.Vouch))
	case *protocol.Ask_Probe:
		return s.conn.Send(&protocol.Reply{Id: ask.Id, Body: &protocol.Reply_Load{Load: s.Load()}})
	case *protocol.Ask_Cancel:
		s.mu.Lock()
		r := s.byID[ask.Id]
		s.mu.Unlock()
		if r != nil {
			s.cancel(r, errWithdrawn)
		}
		return nil
	case *protocol.Ask_Settle:
		if err := body.Settle.Validate(); err != nil {
			return err
		}
		s.settle(s.account, body.Settle.Nonces)
		return nil
	case *protocol.Ask_Countersigned:
		return s.countersigned(body.Countersigned)
	default:
		return errors.New("unknown request")
	}
}

func (s *session) refuse(id uint64, refusal *protocol.Refusal) error {
	if refusal == nil {
		return nil
	}
	return s.conn.Send(&protocol.Reply{Id: id, Body: &protocol.Reply_Refusal{Refusal: refusal}})
}

func (s *session) badRequest(err error) *protocol.Refusal {
	return &protocol.Refusal{Code: string(protocol.CodeBadRequest), Message: protocol.SafeText(err.Error()), Load: s.Load()}
}

// run admits a replica and starts it, or says why not.
func (s *session) run(id uint64, run *protocol.Run) *protocol.Refusal {
	spec, err := protocol.ParseSpec(run.Spec)
	if err == nil {
		err = run.Validate()
	}
	if err != nil {
		return s.badRequest(err)
	}
	s.askCredit(s.account, time.Now())
	r := &replica{
		nonce: protocol.Nonce(run.Nonce), account: s.account, detached: run.Detached,
		task: run.Task, name: programOf(spec), module: spec.Module.Sum(), came: time.Now(),
		spec: spec, raw: run.Spec, warm: s.cfg.Runner.Warm(s.account.peer, spec.Module.Sum()),
	}
	r.ctx, r.cancel = context.WithCancelCause(s.ctx)
	x := &exchange{s: s, id: id, commit: run.Commit}
	load, refusal := s.admit(r, x)
	if refusal != nil {
		r.cancel(nil)
		return refusal
	}
	s.noteChange()
	if r.warm && load.Queued == 0 {
		x.told = protocol.StateRunning // as the requester understands such a lease
	}
	s.lease(x, r.warm, load)
	s.begin(r)
	return nil
}

// lease tells that a replica will run, or does already.
func (s *session) lease(x *exchange, warm bool, load *protocol.Load) {
	reply := &protocol.Reply{Id: x.id, Body: &protocol.Reply_Lease{Lease: &protocol.Lease{Load: load, Warm: warm}}}
	// A warm short task has its outcome before the linger is over: lease and
	// outcome then leave in one write.
	if warm {
		_ = s.conn.SendSoon(reply) // a dead stream ends the session's loop
	} else {
		_ = s.conn.Send(reply)
	}
}

// claim goes on with a replica of an earlier Run under another ID, or says what
// has become of it.
func (s *session) claim(id uint64, claim *protocol.Claim) *protocol.Refusal {
	if err := claim.Validate(); err != nil {
		return s.badRequest(err)
	}
	x := &exchange{s: s, id: id, receiptOnly: claim.ReceiptOnly}
	load := s.Load()
	s.mu.Lock()
	r := s.account.find(protocol.Nonce(claim.Nonce))
	taken := s.byID[id] != nil
	runs := r != nil && r.phase != phaseEnded
	s.mu.Unlock()
	if taken {
		return s.badRequest(errors.New("this request ID is in use"))
	}
	if runs {
		x.commit = claim.Commit
		s.lease(x, r.warm, load)
	}
	s.mu.Lock()
	// It may have been settled, or given up, meanwhile.
	if s.stopping { // which says nothing of the replica
		s.mu.Unlock()
		return &protocol.Refusal{Code: string(errStopping.Code), Message: errStopping.Message, Load: load}
	}
	if r == nil || s.account.find(r.nonce) != r {
		s.mu.Unlock()
		if why, ok := s.handed.Get(protocol.Nonce(claim.Nonce)); ok {
			return &protocol.Refusal{Code: string(why.Code), Message: why.Message, Load: load}
		}
		return &protocol.Refusal{Code: string(protocol.CodeNotFound), Message: "no replica of this nonce is here", Load: load}
	}
	s.account.active[r.nonce] = r
	s.attach(r, x)
	told := s.take(r)
	s.mu.Unlock()
	if told != nil {
		s.tell(r, told, load)
	} else if runs {
		s.tellState(r)
	}
	return nil
}
