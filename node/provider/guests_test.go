package provider

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// deny has the provider run nothing of some requesters.
func (s *scene) deny(who ...peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied = who
}

func (s *scene) endings() []Stay {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Stay(nil), s.stays...)
}

func TestBlockedRequesterIsRefused(t *testing.T) {
	inScene(t, &fakeRunner{run: echo, warm: true}, func(t *testing.T, s *scene) {
		s.deny(s.requester)
		s.is(protocol.Paused) // which is not what it should hear
		s.ask(1, s.spec())
		refusal := s.next().GetRefusal()
		if refusal.GetCode() != string(protocol.CodeBlocked) || refusal.GetMessage() != "mines coins" || refusal.GetLoad() == nil {
			t.Errorf("it is told %v", refusal)
		}
		if asked := s.provider.Asked(); asked.Refused != 1 || asked.Taken != 0 || asked.Last.Code != protocol.CodeBlocked {
			t.Errorf("%+v", asked)
		}
		s.deny()
		s.is(protocol.Open)
		s.ask(2, s.spec())
		s.outcome()
	})
}

func TestOwnTasksAreNeverDenied(t *testing.T) {
	inScene(t, &fakeRunner{run: echo, warm: true}, func(t *testing.T, s *scene) {
		s.deny(s.self, s.requester)
		s.tasks.Reset()
		s.connectAs(s.self)
		s.ask(1, s.spec())
		s.outcome()
		s.provider.Expel()
		if list := s.provider.Guests(); len(list) > 0 || len(s.endings()) > 0 {
			t.Errorf("the own task is a guest: %v, %v", list, s.endings())
		}
	})
}

// TestExpelledReplicasGoElsewhere blocks one requester while it and another have
// replicas that run and wait.
func TestExpelledReplicasGoElsewhere(t *testing.T) {
	inScene(t, &fakeRunner{run: until, warm: true}, func(t *testing.T, s *scene) {
		_, other := newIdentity(t)
		s.also = other
		run := s.ask(1, s.spec())
		s.running()
		s.ask(2, s.spec())
		s.running()
		s.ask(3, s.spec()) // waits
		if s.next().GetLease() == nil {
			t.Fatal("no lease")
		}
		mine, replies := s.tasks, s.replies
		s.connectAs(other)
		theirs := s.tasks
		defer mine.Reset()
		s.ask(1, s.spec()) // waits as well
		if s.next().GetLease() == nil {
			t.Fatal("no lease")
		}
		s.deny(s.requester)
		s.provider.Expel()
		s.tasks, s.replies = mine, replies
		for range 3 {
			refusal := s.next().GetRefusal()
			if refusal.GetCode() != string(protocol.CodeBlocked) || refusal.GetMessage() != "mines coins" {
				t.Fatalf("the requester is told %v", refusal)
			}
		}
		synctest.Wait()
		list := s.provider.Guests()
		if len(list) != 1 || list[0].Requester != other || list[0].State != protocol.StateRunning {
			t.Errorf("what is left: %+v", list)
		}
		if err := mine.Send(&protocol.Ask{Id: 9, Body: &protocol.Ask_Claim{Claim: &protocol.Claim{Nonce: run.Nonce}}}); err != nil {
			t.Fatal(err)
		}
		if refusal := s.next().GetRefusal(); refusal.GetCode() != string(protocol.CodeBlocked) {
			t.Errorf("claimed, it is %v", refusal)
		}
		if stays := s.endings(); len(stays) != 2 || stays[0].Code != protocol.CodeBlocked || stays[0].Requester != s.requester {
			t.Errorf("what was started and has ended: %+v", stays)
		}
		s.tasks = theirs
	})
}

// TestAdmissionMissesNoExpulsion blocks the requester just when it is asked
// whether the owner allows tasks.
func TestAdmissionMissesNoExpulsion(t *testing.T) {
	inScene(t, &fakeRunner{run: until, warm: true}, func(t *testing.T, s *scene) {
		s.mu.Lock()
		s.asked = func() {
			s.deny(s.requester)
			s.provider.Expel()
		}
		s.mu.Unlock()
		s.ask(1, s.spec())
		if refusal := s.next().GetRefusal(); refusal.GetCode() != string(protocol.CodeBlocked) {
			t.Errorf("it is told %v", refusal)
		}
	})
}

func TestGuestsAndStays(t *testing.T) {
	inScene(t, &fakeRunner{run: until, warm: true}, func(t *testing.T, s *scene) {
		spec := s.spec()
		spec.Args = []string{strings.Repeat("long\x1b", 100)}
		run := s.ask(1, spec)
		s.running()
		time.Sleep(2 * time.Second)
		list := s.provider.Guests()
		if len(list) != 1 {
			t.Fatalf("%d guests", len(list))
		}
		g := list[0]
		if g.Requester != s.requester || g.Task != run.Task || g.Module != protocol.DigestOf(s.module) ||
			g.State != protocol.StateRunning || g.Wall.Truncate(time.Second) != 3*time.Second || time.Since(g.Came).Truncate(time.Second) != 3*time.Second || !strings.HasPrefix(g.Name, "longlong") || len(g.Name) > maxProgram {
			t.Errorf("%+v", g)
		}
		if err := s.tasks.Send(&protocol.Ask{Id: 1, Body: &protocol.Ask_Cancel{Cancel: &protocol.Cancel{}}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.runner.run = func(ctx context.Context, x Execution) (Outcome, error) {
			x.State(protocol.StateRunning)
			time.Sleep(5 * time.Second)
			return echo(ctx, x)
		}
		s.ask(2, s.spec())
		for s.next().GetOutcome().GetResult() == nil { // the first answers as well
		}
		s.runner.run = func(context.Context, Execution) (Outcome, error) {
			return Outcome{ExitCode: protocol.ExitTrap, Source: protocol.FromSystem, Code: protocol.CodeTrap, Wall: time.Second, Gas: 9}, nil
		}
		s.ask(3, s.spec())
		s.outcome()
		synctest.Wait()
		stays := s.endings()
		if len(stays) != 3 || len(s.provider.Guests()) > 0 {
			t.Fatalf("%d stays, %d guests", len(stays), len(s.provider.Guests()))
		}
		for i, want := range []Stay{
			{Code: protocol.CodeCancelled, Wall: 3 * time.Second},
			{Exit: 3, Wall: time.Millisecond, Gas: 77}, // as the sandbox says
			{Exit: protocol.ExitTrap, Code: protocol.CodeTrap, Wall: time.Second, Gas: 9},
		} {
			got := stays[i]
			if got.Code != want.Code || got.Exit != want.Exit || (got.Wall-want.Wall).Abs() > 10*time.Millisecond || got.Gas != want.Gas || got.Requester != s.requester || got.Ended.Before(got.Began) || got.Began.IsZero() {
				t.Errorf("stay %d is %+v, want %+v", i+1, got, want)
			}
		}
		if stays[1].Name != "prog" || stays[1].Ended.Sub(stays[1].Began) != 5*time.Second {
			t.Errorf("%+v", stays[1])
		}
	})
}

func TestOffersCarryLabels(t *testing.T) {
	inScene(t, &fakeRunner{run: echo, warm: true}, func(t *testing.T, s *scene) {
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.published) == 0 || s.published[0].Labels["site"] != "berlin" {
			t.Errorf("published %v", s.published)
		}
	})
}

// TestStandingStillIsNotTheGuestsTime has a guest stand still from before its
// provider is told that it runs, for longer than its requester would wait, and
// until it ends.
func TestStandingStillIsNotTheGuestsTime(t *testing.T) {
	inScene(t, &fakeRunner{warm: true, run: func(ctx context.Context, x Execution) (Outcome, error) {
		x.Still(true)
		time.Sleep(time.Minute)
		x.State(protocol.StateRunning)
		time.Sleep(time.Minute)
		x.Still(false)
		time.Sleep(2 * time.Second)
		x.Still(true)
		<-ctx.Done()
		return Outcome{}, context.Cause(ctx)
	}}, func(t *testing.T, s *scene) {
		s.ask(1, s.spec())
		if s.next().GetLease() == nil {
			t.Fatal("no lease")
		}
		is := func(when string, after, want time.Duration) {
			t.Helper()
			time.Sleep(after)
			for _, p := range s.provider.progressOf(s.requester) {
				if got := time.Duration(p.WallUs) * time.Microsecond; (got - want).Abs() > 10*time.Millisecond {
					t.Errorf("%s: %s, want %s", when, got, want)
				}
			}
			if list := s.provider.Guests(); len(list) != 1 || (list[0].Wall-want).Abs() > 10*time.Millisecond {
				t.Errorf("%s: %+v", when, list)
			}
		}
		is("before it is told to run", 30*time.Second, 0)
		is("while it stands still", time.Minute, 0)
		is("while it runs", 31*time.Second, time.Second)
		is("while it stands still again", time.Minute, 2*time.Second)
		if err := s.tasks.Send(&protocol.Ask{Id: 1, Body: &protocol.Ask_Cancel{Cancel: &protocol.Cancel{}}}); err != nil {
			t.Fatal(err)
		}
		s.outcome()
		synctest.Wait()
		if stays := s.endings(); len(stays) != 1 || (stays[0].Wall-2*time.Second).Abs() > 10*time.Millisecond {
			t.Errorf("%+v", stays)
		}
	})
}
