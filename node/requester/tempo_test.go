package requester

import (
	"context"
	"fmt"
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
