package requester

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// worksFor holds the lease for so long, and then answers.
func worksFor(d time.Duration) func(*exchangeWithFake) {
	return func(x *exchangeWithFake) {
		x.lease()
		select {
		case <-time.After(d):
			x.finish(x.outcome(0, "hello\n"))
		case <-x.gone:
		}
	}
}

// A provider that beats, and whose guest does not come along, is as good as dead;
// and what waits behind others goes to whoever is idle, however short the wait was
// to be.
func TestReplicaThatDoesNotComeAlongGoesElsewhere(t *testing.T) {
	remote := func(peer.ID) *protocol.Terms { return &protocol.Terms{Where: protocol.WhereRemote} }
	on := func(p peer.ID) *protocol.Terms { return &protocol.Terms{On: p.String()} }
	for _, c := range []struct {
		name          string
		stuck, queues bool   // the first provider's replicas
		running       uint32 // at the other one
		terms         func(first peer.ID) *protocol.Terms
		want          string
		took          time.Duration
	}{
		{"it comes along", false, false, 0, remote, "done", time.Minute},
		{"it uses no gas", true, false, 0, remote, "cancelled done", 3 * time.Second},
		{"it uses no gas, and nobody else is wanted", true, false, 0, on, "done", time.Minute},
		{"it waits, and another is idle", false, true, 0, remote, "cancelled done", 3 * time.Second},
		{"it waits, and all are busy", false, true, 2, remote, "done", time.Minute},
		{"it waits, and nobody else is wanted", false, true, 0, on, "done", time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, other := newFakeProvider(t, worksFor(time.Minute)), newFakeProvider(t, honest)
			first.speed, first.tells, first.stuck, first.queues = 16, true, c.stuck, c.queues
			other.load = &protocol.Load{Slots: 2, Running: c.running, MeanRunUs: 1e9}
			inWorld(t, []*fakeProvider{first, other}, func(t *testing.T, w *world) {
				start := time.Now()
				task := w.do(c.terms(first.id))
				check(t, task, protocol.StateDone, 0, "")
				if took := time.Since(start); states(task) != c.want || took > c.took+time.Second {
					t.Errorf("the attempts ended %s after %s, want %s after %s", states(task), took, c.want, c.took)
				}
			})
		})
	}
}

// What is done twice because somebody is slow is bounded, however many are.
func TestSparesOfTheSlowAreBounded(t *testing.T) {
	slow, spare := newFakeProvider(t, worksFor(20*time.Second)), newFakeProvider(t, worksFor(20*time.Second))
	slow.tells, slow.stuck, spare.tells, spare.stuck = true, true, true, true
	slow.load.Slots, spare.load.Slots = 100, 100
	inWorld(t, []*fakeProvider{slow, spare}, func(t *testing.T, w *world) {
		const tasks = 50
		ended := make(chan error, tasks)
		for range tasks {
			go func() {
				task, err := w.requester.Do(context.Background(), w.spec(), &protocol.Terms{Where: protocol.WhereRemote}, "prog")
				if err == nil && task.State != protocol.StateDone {
					err = fmt.Errorf("a task is %s: %s", task.State.Word(), task.Reason)
				}
				ended <- err
			}()
		}
		for range tasks {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		// One in advance; the results come too late to pay for more.
		if n := slow.runs() + spare.runs() - tasks; n != 1 {
			t.Errorf("%d spares were started, want 1", n)
		}
	})
}

// The own node does not beat; what waits there moves all the same.
func TestReplicaThatWaitsAtTheOwnNodeMoves(t *testing.T) {
	for name, runs := range map[string]bool{"it waits": false, "it runs": true} {
		t.Run(name, func(t *testing.T) {
			own, other := newFakeProvider(t, nil), newFakeProvider(t, honest)
			own.run = func(x *exchangeWithFake) {
				x.lease()
				if runs {
					x.reply(&protocol.Reply{Body: &protocol.Reply_Progress{Progress: protocol.StateRunning}})
				}
				select {
				case <-time.After(time.Minute):
					x.finish(x.outcome(0, "hello\n"))
				case <-x.gone:
				}
			}
			own.speed = 16
			inWorld(t, []*fakeProvider{other}, func(t *testing.T, w *world) {
				own.id, own.key = w.self, w.key
				w.offer(own)
				start := time.Now()
				task, err := w.requester.Do(t.Context(), w.spec(), &protocol.Terms{}, "prog")
				if err != nil {
					t.Fatal(err)
				}
				check(t, task, protocol.StateDone, 0, "")
				want := "cancelled done"
				if runs {
					want = "done"
				}
				if took := time.Since(start); states(task) != want || !runs && took > 3*time.Second {
					t.Errorf("the attempts ended %s after %s, want %s", states(task), took, want)
				}
			})
		})
	}
}

// What a provider says of how long it took is believed as far as it had the task
// for so long.
func TestOneLieAboutTimeDoesNotEndHedging(t *testing.T) {
	liar := newFakeProvider(t, func(x *exchangeWithFake) {
		x.lease()
		o := x.outcome(0, "hello\n")
		o.Result.WallUs = uint64(protocol.MaxWall.Microseconds())
		time.Sleep(time.Second)
		x.finish(o)
	})
	inWorld(t, []*fakeProvider{liar}, func(t *testing.T, w *world) {
		check(t, w.do(&protocol.Terms{Where: protocol.WhereRemote}), protocol.StateDone, 0, "")
		if m := w.requester.tempos.of(w.module.Sum()); m.Work < 1 || m.Work > 2 {
			t.Errorf("a run of a second is taken for %.0f s", m.Work)
		}
	})
}

// Nothing is learned of the speed of programs from who does not tell its own.
func TestSpeedThatIsNotKnownTeachesNothing(t *testing.T) {
	known, err := newTempos()
	if err != nil {
		t.Fatal(err)
	}
	known.learn(protocol.Digest{}, &protocol.Result{Gas: 1e9, WallUs: 1e6}, time.Minute, 0)
	if m := known.of(protocol.Digest{}); m.Work != 0 || m.Rate != 0 {
		t.Errorf("it teaches %+v", m)
	}
}

// A provider that only beats does not hold a task for ever, whatever it says.
func TestBeatsDoNotHoldATask(t *testing.T) {
	for _, c := range []struct {
		state  protocol.State
		gas    float64       // a second
		spare  time.Duration // when another is asked
		failed time.Duration // when nobody else is there
	}{
		{protocol.StateFetching, 0, 6 * time.Minute, 12 * time.Minute},
		{protocol.StateCompiling, 0, 6 * time.Minute, 12 * time.Minute},
		{protocol.StateRunning, 1e9, 130 * time.Second, 130 * time.Second},
		{protocol.StateRunning, 1e11, 10 * time.Second, 10 * time.Second},
		{protocol.StateDone, 0, 32 * time.Second, 64 * time.Second},
	} {
		t.Run(fmt.Sprintf("%s, %g gas a second", c.state.Word(), c.gas), func(t *testing.T) {
			liar, other := newFakeProvider(t, hangs), newFakeProvider(t, honest)
			liar.speed = 16
			liar.beats = func(nonce []byte) *protocol.Progress {
				return &protocol.Progress{Nonce: nonce, State: c.state, Gas: uint64(c.gas * time.Since(liar.first[string(nonce)]).Seconds())}
			}
			about := func(what string, got, want time.Duration) {
				if got < want-time.Second || got > want+3*time.Second {
					t.Errorf("%s after %v, want %v", what, got, want)
				}
			}
			inWorld(t, []*fakeProvider{liar, other}, func(t *testing.T, w *world) {
				start := time.Now()
				check(t, w.do(&protocol.Terms{Where: protocol.WhereRemote}), protocol.StateDone, 0, "")
				about("another has answered", time.Since(start), c.spare)
			})
			liar.nonces = nil
			inWorld(t, []*fakeProvider{liar}, func(t *testing.T, w *world) {
				first := w.do(&protocol.Terms{Where: protocol.WhereRemote}).Replicas[0]
				if first.State != protocol.StateFailed {
					t.Errorf("the first attempt is %s: %s", first.State.Word(), first.Reason)
				}
				about("it was given up", time.Duration(first.EndedUnixMs-first.StartedUnixMs)*time.Millisecond, c.failed)
			})
		})
	}
}

// Who is bound to its result may beat for as long as the other votes take.
func TestBoundVoterMayWait(t *testing.T) {
	fast, slow := newVoter(t, "right\n", "right\n"), newVoter(t, "right\n", "right\n")
	fast.beats = func(nonce []byte) *protocol.Progress {
		return &protocol.Progress{Nonce: nonce, State: protocol.StateDone}
	}
	slow.run = func(x *exchangeWithFake) {
		x.lease()
		time.Sleep(100 * time.Second) // of the 60 s of its guest, and more
		votes("right\n")(x)
	}
	inWorld(t, []*fakeProvider{fast, slow}, func(t *testing.T, w *world) {
		task := w.do(&protocol.Terms{Where: protocol.WhereRemote, Quorum: 2, Replicas: 2})
		check(t, task, protocol.StateDone, 0, "")
		if fast.runs() != 1 || slow.runs() != 1 {
			t.Errorf("%s", states(task))
		}
	})
}

// Of all that wait, few go to the one slot that comes free.
func TestThoseWhoWaitDoNotAllMoveAtOnce(t *testing.T) {
	busy := &protocol.Load{Slots: 1, Running: 1, Queued: 5, MeanRunUs: 600e6}
	first, other := newFakeProvider(t, worksFor(10*time.Minute)), newFakeProvider(t, nil)
	first.speed, first.tells, first.queues = 16, true, true
	other.load, other.tells = busy, true
	other.run = func(x *exchangeWithFake) {
		if other.runs() == 1 {
			time.Sleep(50 * time.Millisecond) // until its one slot is filled
			other.setLoad(busy)
		}
		hangs(x)
	}
	inWorld(t, []*fakeProvider{first, other}, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		var tasks sync.WaitGroup
		defer tasks.Wait()
		defer cancel()
		for range 20 {
			tasks.Go(func() {
				_, _ = w.requester.Do(ctx, w.spec(), &protocol.Terms{Where: protocol.WhereRemote}, "prog")
			})
		}
		time.Sleep(time.Second)
		if first.runs() != 20 {
			t.Fatalf("%d tasks wait at first", first.runs())
		}
		other.setLoad(&protocol.Load{Slots: 1})
		time.Sleep(10 * time.Second)
		if n := other.runs(); n != 1 {
			t.Errorf("one slot came free, and %d moved there", n)
		}
		other.setLoad(&protocol.Load{Slots: 30, Running: 1})
		time.Sleep(20 * time.Second)
		if n := other.runs(); n != 20 {
			t.Errorf("enough slots came free, and %d have moved there in 20 s", n)
		}
	})
}
