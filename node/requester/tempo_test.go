package requester

import (
	"context"
	"fmt"
	"testing"
	"time"

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

// A provider that beats, and whose guest does not come along, is as good as
// dead.
func TestStuckReplicaGetsASpare(t *testing.T) {
	for _, c := range []struct {
		name  string
		stuck bool
		terms *protocol.Terms
		want  string
		took  time.Duration
	}{
		{"it uses no gas", true, &protocol.Terms{Where: protocol.WhereRemote}, "cancelled done", 3 * time.Second},
		{"it comes along", false, &protocol.Terms{Where: protocol.WhereRemote}, "done", time.Minute},
		{"nobody else is wanted", true, &protocol.Terms{On: "first"}, "done", time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, spare := newFakeProvider(t, worksFor(time.Minute)), newFakeProvider(t, honest)
			first.speed, first.tells, first.stuck = 4, true, c.stuck
			inWorld(t, nil, func(t *testing.T, w *world) {
				w.offer(first)
				w.offer(spare)
				if c.terms.On != "" {
					c.terms.On = first.id.String()
				}
				start := time.Now()
				task := w.do(c.terms)
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

// What waits behind others goes to a provider that is idle, however short the
// wait was to be.
func TestWaitingReplicaMovesToAnIdleProvider(t *testing.T) {
	for _, c := range []struct {
		name    string
		running uint32 // at the other provider
		terms   *protocol.Terms
		want    string
		took    time.Duration
	}{
		{"another is idle", 0, &protocol.Terms{Where: protocol.WhereRemote}, "cancelled done", 3 * time.Second},
		{"all are busy", 2, &protocol.Terms{Where: protocol.WhereRemote}, "done", time.Minute},
		{"no other is wanted", 0, &protocol.Terms{On: "first"}, "done", time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, other := newFakeProvider(t, worksFor(time.Minute)), newFakeProvider(t, honest)
			first.speed, first.tells, first.queues = 16, true, true
			other.load = &protocol.Load{Slots: 2, Running: c.running, MeanRunUs: 1e9}
			inWorld(t, nil, func(t *testing.T, w *world) {
				w.offer(first)
				w.offer(other)
				if c.terms.On != "" {
					c.terms.On = first.id.String()
				}
				start := time.Now()
				task := w.do(c.terms)
				check(t, task, protocol.StateDone, 0, "")
				if took := time.Since(start); states(task) != c.want || took > c.took+time.Second {
					t.Errorf("the attempts ended %s after %s, want %s after %s", states(task), took, c.want, c.took)
				}
			})
		})
	}
}
