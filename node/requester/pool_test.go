package requester

import (
	"strings"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

func (f *fakeProvider) probes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.probed
}

// TestResultsSaveProbes has tasks follow each other: whoever has just ended one
// is not asked before the next, and asked again when that was a while ago.
func TestResultsSaveProbes(t *testing.T) {
	providers := []*fakeProvider{newFakeProvider(t, honest), newFakeProvider(t, honest), newFakeProvider(t, honest)}
	inWorld(t, providers, func(t *testing.T, w *world) {
		probes := func() (n int) {
			for _, p := range providers {
				n += p.probes()
			}
			return n
		}
		w.do(&protocol.Terms{})
		time.Sleep(time.Millisecond) // until all who were asked know
		asked := probes()
		if asked == 0 {
			t.Fatal("the first task asked nobody")
		}
		for range 10 {
			task := w.do(&protocol.Terms{})
			check(t, task, protocol.StateDone, 0, "")
			if why := task.Replicas[0].Reason; !strings.Contains(why, "it has just sent a result") {
				t.Errorf("it went there since %s", why)
			}
		}
		if n := probes(); n != asked {
			t.Errorf("%d were asked for tasks that follow a result", n-asked)
		}
		w.do(&protocol.Terms{Replicas: 2})
		if n := probes(); n == asked {
			t.Error("nobody was asked for two replicas")
		}
		asked = probes()
		time.Sleep(2 * time.Second)
		w.do(&protocol.Terms{})
		if n := probes(); n == asked {
			t.Error("nobody was asked though all results are old")
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
