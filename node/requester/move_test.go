package requester

import (
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

// What waits in a queue goes to whoever has just ended something and has nothing
// else to do, at once, unless it would end later there.
func TestIdleProviderTakesWhatWaits(t *testing.T) {
	const long = 10 * time.Minute
	for _, c := range []struct {
		name   string
		queues bool
		behind *protocol.Load // the queue that it waits in
		speed  float64        // of the idle one
		moves  bool
	}{
		{"it waits for long", true, &protocol.Load{Slots: 1, Running: 1, Queued: 1, MeanRunUs: 60e6}, 1, true},
		{"it runs", false, &protocol.Load{Slots: 1, Running: 1, MeanRunUs: 60e6}, 1, false},
		{"its turn comes soon, and the other is slow", true, &protocol.Load{Slots: 8, Running: 8, Queued: 1, MeanRunUs: 10e3}, 0.1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, other := newFakeProvider(t, nil), newFakeProvider(t, honest)
			first.speed, first.tells, first.queues = 16, true, c.queues
			first.run = func(x *exchangeWithFake) {
				first.setLoad(c.behind)
				worksFor(long)(x)
			}
			other.speed = c.speed
			inWorld(t, []*fakeProvider{first, other}, func(t *testing.T, w *world) {
				ended := make(chan *protocol.Task, 1)
				go func() { ended <- w.do(&protocol.Terms{Where: protocol.WhereRemote}) }()
				time.Sleep(2 * protocol.BeatEvery)
				if first.runs() != 1 || other.runs() != 0 {
					t.Fatal("it did not go to the faster one")
				}
				w.do(&protocol.Terms{On: other.id.String()})
				time.Sleep(2 * saveEvery)
				moved := other.runs() == 2
				if moved != c.moves {
					t.Errorf("it has moved: %t, want %t", moved, c.moves)
				}
				if task := <-ended; moved && states(task) != "cancelled done" {
					t.Errorf("its attempts are %s", states(task))
				}
			})
		})
	}
}

// A task that may not move is no reason for others to stay.
func TestPinnedTaskDoesNotKeepOthersWaiting(t *testing.T) {
	first, other := newFakeProvider(t, nil), newFakeProvider(t, honest)
	first.speed, first.tells, first.queues = 16, true, true
	first.run = func(x *exchangeWithFake) {
		first.setLoad(&protocol.Load{Slots: 1, Running: 1, Queued: 1, MeanRunUs: 60e6})
		worksFor(10 * time.Minute)(x)
	}
	inWorld(t, []*fakeProvider{first, other}, func(t *testing.T, w *world) {
		ended := make(chan *protocol.Task, 2)
		go func() { ended <- w.do(&protocol.Terms{Where: protocol.WhereRemote}) }()
		time.Sleep(2 * protocol.BeatEvery)
		go func() { ended <- w.do(&protocol.Terms{On: first.id.String()}) }()
		time.Sleep(2 * protocol.BeatEvery)
		w.do(&protocol.Terms{On: other.id.String()})
		time.Sleep(2 * saveEvery)
		if n := other.runs(); n != 2 {
			t.Errorf("the idle provider was given %d tasks, want 2", n)
		}
		<-ended
		<-ended
	})
}

// What has ended, and whose output is on its way, is not run again elsewhere.
func TestResultOnItsWayIsNotGivenUp(t *testing.T) {
	first, other := newFakeProvider(t, nil), newFakeProvider(t, honest)
	first.speed, first.tells, first.queues = 16, true, true
	first.run = func(x *exchangeWithFake) {
		first.setLoad(&protocol.Load{Slots: 1, Running: 1, Queued: 1, MeanRunUs: 60e6})
		x.lease()
		time.Sleep(2 * protocol.BeatEvery)
		out := x.stream()
		o := x.outcome(0, "hello\n")
		o.Streamed, o.Stdout = true, nil
		x.finish(o)
		time.Sleep(4 * protocol.BeatEvery)
		write(out, 1, "hello\n")
		write(out, 0, "")
	}
	inWorld(t, []*fakeProvider{first, other}, func(t *testing.T, w *world) {
		ended := make(chan *protocol.Task, 1)
		go func() { ended <- w.do(&protocol.Terms{Where: protocol.WhereRemote}) }()
		time.Sleep(3 * protocol.BeatEvery)
		w.do(&protocol.Terms{On: other.id.String()})
		task := <-ended
		check(t, task, protocol.StateDone, 0, "")
		if states(task) != "done" {
			t.Errorf("its attempts are %s", states(task))
		}
	})
}
