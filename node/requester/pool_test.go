package requester

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

// newQueue returns a provider with slots and a queue, whose load is true.
func newQueue(t *testing.T, slots uint32, each time.Duration, speed float64) *fakeProvider {
	t.Helper()
	var mu sync.Mutex
	var running, queued uint32
	var free *sync.Cond // made where the provider runs
	p := newFakeProvider(t, nil)
	change := func(x, y int) { // with mu held
		running, queued = uint32(int(running)+x), uint32(int(queued)+y)
		p.setLoad(&protocol.Load{Slots: slots, Running: running, Queued: queued, MeanRunUs: uint64(each.Microseconds())})
	}
	p.speed = speed
	change(0, 0)
	p.run = func(x *exchangeWithFake) {
		mu.Lock()
		if free == nil {
			free = sync.NewCond(&mu)
		}
		change(0, 1)
		mu.Unlock()
		x.lease()
		mu.Lock()
		for running == slots {
			free.Wait()
		}
		change(1, -1)
		mu.Unlock()
		time.Sleep(each)
		mu.Lock()
		change(-1, 0)
		free.Signal()
		mu.Unlock()
		o := x.outcome(0, "hello\n")
		o.Result.WallUs = uint64(each.Microseconds())
		digested(o, nil)
		x.finish(o)
	}
	return p
}

// Tasks that follow each other go to whoever has just ended one; only some of them
// ask, but all that come after a while do, and all that are long.
func TestResultsSaveProbes(t *testing.T) {
	const tasks = 40
	for _, c := range []struct {
		name        string
		each, pause time.Duration
		least, most int // tasks that ask nobody
	}{
		{"short ones", time.Millisecond, 0, tasks / 2, tasks},
		{"with pauses", time.Millisecond, 2 * time.Second, 0, 0},
		{"long ones", 200 * time.Millisecond, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			providers := []*fakeProvider{newQueue(t, 2, c.each, 1), newQueue(t, 2, c.each, 1), newQueue(t, 2, c.each, 1)}
			inWorld(t, providers, func(t *testing.T, w *world) {
				w.do(&protocol.Terms{})
				pooled := 0
				for range tasks {
					time.Sleep(c.pause)
					task := w.do(&protocol.Terms{})
					check(t, task, protocol.StateDone, 0, "")
					if strings.Contains(task.Replicas[0].Reason, "it has just sent a result") {
						pooled++
					}
				}
				if pooled < c.least || pooled > c.most {
					t.Errorf("%d tasks of %d asked nobody, want %d to %d", pooled, tasks, c.least, c.most)
				}
			})
		})
	}
}

// Two replicas are for comparison, or safety: both ask.
func TestReplicasAreNotFromThePool(t *testing.T) {
	providers := []*fakeProvider{newQueue(t, 2, time.Millisecond, 1), newQueue(t, 2, time.Millisecond, 1), newQueue(t, 2, time.Millisecond, 1)}
	inWorld(t, providers, func(t *testing.T, w *world) {
		w.do(&protocol.Terms{})
		for range 20 {
			for _, a := range w.do(&protocol.Terms{Replicas: 2}).Replicas {
				if strings.Contains(a.Reason, "it has just sent a result") {
					t.Errorf("it went there since %s", a.Reason)
				}
			}
		}
	})
}

// load keeps workers busy with tasks, and counts these, until it is stopped.
func (w *world) load(workers int) (done *atomic.Int64, stop func()) {
	done = new(atomic.Int64)
	over := make(chan struct{})
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				w.do(&protocol.Terms{})
				done.Add(1)
			}
		})
	}
	return done, func() { close(over); wg.Wait() }
}

// Where all are busy, each result pays for the next task. One that comes then, and
// is much faster, must get its part all the same.
func TestNewcomerGetsItsPart(t *testing.T) {
	for _, each := range []time.Duration{4 * time.Millisecond, 200 * time.Millisecond} {
		t.Run(each.String(), func(t *testing.T) {
			a, b, newcomer := newQueue(t, 2, each, 1), newQueue(t, 2, each, 1), newQueue(t, 8, each/4, 4)
			inWorld(t, []*fakeProvider{a, b}, func(t *testing.T, w *world) {
				done, stop := w.load(24)
				defer stop()
				time.Sleep(30 * each)
				w.offer(newcomer)
				time.Sleep(80 * each) // one in twenty short tasks asks, and finds it
				all, its := done.Load(), newcomer.runs()
				time.Sleep(40 * each)
				all, its = done.Load()-all, newcomer.runs()-its
				if int64(its) < all*3/4 { // it could run 32 of 36
					t.Errorf("it has run %d of %d tasks", its, all)
				}
			})
		})
	}
}

// One that fails all it is given is idle all the time, which must not attract more.
func TestFailuresEarnNoTasks(t *testing.T) {
	var providers []*fakeProvider
	for range 9 {
		providers = append(providers, newQueue(t, 2, 4*time.Millisecond, 1))
	}
	broken := newFakeProvider(t, func(x *exchangeWithFake) {
		x.lease()
		x.finish(&protocol.Outcome{Code: string(protocol.CodeInternal), Message: "the disk is full", Load: x.loadNow()})
	})
	inWorld(t, append(providers, broken), func(t *testing.T, w *world) {
		done, stop := w.load(60)
		time.Sleep(300 * time.Millisecond)
		stop()
		// Of the tasks that ask, all find it idle that have drawn it.
		if all, its := done.Load(), broken.runs(); int64(its) > all/3 {
			t.Errorf("%d tasks of %d went to it", its, all)
		}
	})
}

// TestDeadProviderIsPooledNoMore has the only provider that was heard of end.
func TestDeadProviderIsPooledNoMore(t *testing.T) {
	a, b := newFakeProvider(t, honest), newFakeProvider(t, honest)
	inWorld(t, []*fakeProvider{a, b}, func(t *testing.T, w *world) {
		first := w.do(&protocol.Terms{})
		other := b
		if first.Replicas[0].Provider == a.id.String() {
			w.kill(a)
		} else {
			w.kill(b)
			other = a
		}
		time.Sleep(time.Millisecond) // until the end of its connection is known
		task := w.do(&protocol.Terms{})
		check(t, task, protocol.StateDone, 0, "")
		if n := len(task.Replicas); n != 1 || task.Replicas[0].Provider != other.id.String() {
			t.Errorf("%d replicas, want one of the provider that lives", n)
		}
	})
}
