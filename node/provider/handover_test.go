package provider

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spare-network/spare/protocol"
)

func TestReplicasAreHandedOver(t *testing.T) {
	inScene(t, &fakeRunner{run: until, warm: true}, func(t *testing.T, s *scene) {
		for i := range uint64(4) { // two run, two wait
			s.ask(i+1, s.spec())
			if s.next().GetLease() == nil {
				t.Fatal("no lease")
			}
		}
		synctest.Wait()
		s.is(protocol.Paused)
		s.provider.HandOver("the owner needs it")
		told := make(map[uint64]bool)
		for len(told) < 4 {
			reply := s.next()
			if reply.GetProgress() != 0 {
				continue
			}
			refusal := reply.GetRefusal()
			if refusal.GetCode() != string(protocol.CodeHandedOver) || refusal.GetMessage() != "the owner needs it" {
				t.Fatalf("the requester is told %v", reply)
			}
			if refusal.Load.GetAvailability() != protocol.Paused {
				t.Errorf("and that more is wanted: %v", refusal.Load)
			}
			told[reply.Id] = true
		}
		synctest.Wait()
		if l := s.provider.Load(); l.Running+l.Queued > 0 {
			t.Errorf("what was handed over is still here: %v", l)
		}
		s.ask(5, s.spec())
		if refusal := s.next().GetRefusal(); refusal.GetCode() != string(protocol.CodeRefused) {
			t.Errorf("a new one: %v", refusal)
		}
		s.is(protocol.Open)
		s.runner.run = echo
		s.ask(6, s.spec())
		s.outcome()
		asked := s.provider.Asked()
		if asked.Taken != 5 || asked.HandedOver != 4 || asked.Refused != 1 ||
			asked.Last.Code != protocol.CodeRefused || asked.Last.Message != "the owner said so" || asked.Last.Requester != s.requester || asked.Last.At.IsZero() {
			t.Errorf("%+v", asked)
		}
	})
}

// TestHandedOverReplicaIsNotForgotten has the requester claim it, as it does when
// the output breaks off before the refusal is read.
func TestHandedOverReplicaIsNotForgotten(t *testing.T) {
	inScene(t, &fakeRunner{run: until, warm: true}, func(t *testing.T, s *scene) {
		run := s.ask(1, s.spec())
		s.running()
		s.tasks.Reset()
		synctest.Wait()
		s.is(protocol.Paused)
		s.provider.HandOver("the owner needs it")
		synctest.Wait()
		s.connect()
		for id, c := range map[uint64]struct {
			nonce []byte
			want  protocol.Code
		}{1: {run.Nonce, protocol.CodeHandedOver}, 2: {make([]byte, len(run.Nonce)), protocol.CodeNotFound}} {
			if err := s.tasks.Send(&protocol.Ask{Id: id, Body: &protocol.Ask_Claim{Claim: &protocol.Claim{Nonce: c.nonce}}}); err != nil {
				t.Fatal(err)
			}
			if refusal := s.next().GetRefusal(); refusal.GetCode() != string(c.want) {
				t.Errorf("claimed, it is %v, want %s", refusal, c.want)
			}
		}
	})
}

func TestOwnTasksAndResultsAreNotHandedOver(t *testing.T) {
	end := make(chan struct{})
	runner := &fakeRunner{warm: true, run: func(ctx context.Context, x Execution) (Outcome, error) {
		x.State(protocol.StateRunning)
		select {
		case <-end:
			return echo(ctx, x)
		case <-ctx.Done():
			return Outcome{}, context.Cause(ctx)
		}
	}}
	inScene(t, runner, func(t *testing.T, s *scene) {
		// A result of another node's that it has not asked for yet.
		spec := s.spec()
		raw, err := spec.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		nonce := protocol.NewNonce()
		s.send(1, &protocol.Run{Nonce: nonce[:], Spec: raw, Commit: true})
		close(end)
		for s.next().GetCommitment() == nil { // leases come before
			continue
		}
		stranger := s.tasks
		defer stranger.Reset()

		end = make(chan struct{})
		s.requester = s.self
		s.connectAs(s.self)
		s.ask(1, s.spec())
		synctest.Wait()
		s.is(protocol.Paused)
		s.provider.HandOver("the owner needs it")
		synctest.Wait()
		close(end)
		if o := s.outcome(); o.Code != "" || o.Result.ExitCode != 3 {
			t.Errorf("the own task ended as %v", o)
		}
		s.provider.mu.Lock()
		defer s.provider.mu.Unlock()
		if s.provider.held.results < 1 {
			t.Error("the result of another node is gone")
		}
	})
}

// TestNothingSlipsInWhileItIsPaused has the availability change between a
// replica's admission and the sweep that it comes too late for.
func TestNothingSlipsInWhileItIsPaused(t *testing.T) {
	inScene(t, &fakeRunner{run: until, warm: true}, func(t *testing.T, s *scene) {
		synctest.Wait()
		s.mu.Lock()
		s.asked = func() {
			s.is(protocol.Paused)
			s.provider.HandOver("the owner needs it")
		}
		s.mu.Unlock()
		s.ask(1, s.spec())
		if refusal := s.next().GetRefusal(); refusal.GetCode() != string(protocol.CodeRefused) {
			t.Errorf("it is admitted all the same: %v", refusal)
		}
	})
}

func TestProviderIsResized(t *testing.T) {
	inScene(t, &fakeRunner{run: until, warm: true}, func(t *testing.T, s *scene) {
		for i := range uint64(4) {
			s.ask(i+1, s.spec())
			if s.next().GetLease() == nil {
				t.Fatal("no lease")
			}
		}
		is := func(what string, slots, running, queued uint32) {
			t.Helper()
			synctest.Wait()
			if l := s.provider.Load(); l.Slots != slots || l.Running != running || l.Queued != queued {
				t.Errorf("%s: %v, want %d slots, %d running, %d queued", what, l, slots, running, queued)
			}
		}
		is("at first", 2, 2, 2)
		s.provider.Resize(3, 3, 1<<30)
		is("larger", 3, 3, 1)
		s.provider.Resize(1, 1, 1<<19)
		is("smaller, and what runs goes on", 1, 1, 3)
		s.mu.Lock()
		advertised := s.advertised
		s.mu.Unlock()
		time.Sleep(2 * time.Second) // so often may an offer change
		synctest.Wait()
		s.mu.Lock()
		last := s.published[len(s.published)-1]
		again := s.advertised
		s.mu.Unlock()
		if last.MemoryBytes != 1<<19 || last.Load.GetSlots() != 1 || again == advertised {
			t.Errorf("others are told %v, and the capability %d times", last, again-advertised)
		}
		s.ask(5, s.spec()) // of 1 MiB
		if refusal := s.next().GetRefusal(); refusal.GetCode() != string(protocol.CodeRefused) {
			t.Errorf("beyond the new ceiling: %v", refusal)
		}
		if slots, memory := s.provider.Given(); slots != 1 || memory != 1<<19 {
			t.Errorf("%d slots of %d bytes are given", slots, memory)
		}
	})
}
