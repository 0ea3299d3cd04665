package requester

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// TestProviderThatBlocksIsNotAskedAgain has one refuse for good.
func TestProviderThatBlocksIsNotAskedAgain(t *testing.T) {
	no, yes := newFakeProvider(t, refusing(protocol.CodeBlocked)), newFakeProvider(t, honest)
	no.speed = 4 // so that it is the first choice
	inWorld(t, []*fakeProvider{no, yes}, func(t *testing.T, w *world) {
		for range 5 {
			check(t, w.do(&protocol.Terms{}), protocol.StateDone, 0, "")
		}
		if n := no.runs(); n != 1 {
			t.Errorf("it was asked %d times", n)
		}
		if said := w.requester.Refuses(no.id); said != "no" {
			t.Errorf("it is remembered to have said %q", said)
		}
		if why := w.requester.Barred(no.id); why != "it runs nothing of this node: no" {
			t.Errorf("why it is not chosen: %q", why)
		}
		// Its owner may have changed their mind meanwhile.
		no.run = honest
		time.Sleep(refusesFor)
		w.offer(no)
		w.offer(yes)
		for range 100 { // it need not be the first
			if no.runs() == 2 {
				break
			}
			check(t, w.do(&protocol.Terms{}), protocol.StateDone, 0, "")
		}
		if said := w.requester.Refuses(no.id); said != "" || no.runs() != 2 {
			t.Errorf("it has taken a task and is still said to refuse: %q", said)
		}
	})
}

// TestNameOfOneThatBlocks asks it by name, which is always worth a try.
func TestNameOfOneThatBlocks(t *testing.T) {
	p := newFakeProvider(t, refusing(protocol.CodeBlocked))
	inWorld(t, []*fakeProvider{p}, func(t *testing.T, w *world) {
		time.Sleep(settleNew)
		for n := range 2 {
			task := w.do(&protocol.Terms{On: p.id.String()})
			check(t, task, protocol.StateRefused, protocol.ExitSystem, protocol.CodeBlocked)
			if r := task.Result; r.Message != "peer "+p.id.String()+" runs nothing of this node: no" || r.Hint != "leave --on away: others may run it" {
				t.Errorf("the user is told %q, and %q", r.Message, r.Hint)
			}
			if p.runs() != n+1 {
				t.Errorf("it was asked %d times by %d tasks", p.runs(), n+1)
			}
		}
	})
}

// TestManyThatBlockAreNoReasonToWait has more refuse than a task is patient with.
func TestManyThatBlockAreNoReasonToWait(t *testing.T) {
	var all []*fakeProvider
	for range 6 {
		all = append(all, newFakeProvider(t, refusing(protocol.CodeBlocked)))
	}
	inWorld(t, all, func(t *testing.T, w *world) {
		time.Sleep(settleNew)
		began := time.Now()
		check(t, w.do(&protocol.Terms{}), protocol.StateRefused, protocol.ExitSystem, protocol.CodeNoOffers)
		if took := time.Since(began); took > time.Second {
			t.Errorf("that nobody takes it is known after %v", took)
		}
		for _, p := range all {
			if p.runs() > 1 {
				t.Errorf("one was asked %d times", p.runs())
			}
		}
	})
}

// TestBlockedProviderIsLeft blocks one while it runs a task, and a second that has
// ended one but is bound to its result.
func TestBlockedProviderIsLeft(t *testing.T) {
	var withdrawn atomic.Bool
	slow := newFakeProvider(t, func(x *exchangeWithFake) {
		x.lease()
		<-x.gone
		withdrawn.Store(true)
	})
	slow.speed, slow.tells = 8, true
	other := newFakeProvider(t, honest)
	inWorld(t, []*fakeProvider{slow, other}, func(t *testing.T, w *world) {
		time.AfterFunc(5*time.Second, func() {
			w.block(slow.id)
			w.requester.Leave(slow.id)
		})
		began := time.Now()
		task := w.do(&protocol.Terms{})
		check(t, task, protocol.StateDone, 0, "")
		if got := w.text(task, 1); got != "hello\n" {
			t.Errorf("stdout is %q", got)
		}
		if took := time.Since(began); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("it took %v", took)
		}
		first := task.Replicas[0]
		if first.Provider != slow.id.String() || first.State != protocol.StateCancelled || !strings.HasSuffix(first.Reason, whyBlocked) {
			t.Errorf("the attempt there is %v", first)
		}
		time.Sleep(time.Second)
		if !withdrawn.Load() {
			t.Error("the blocked one goes on with it")
		}
		asked := slow.runs()
		for range 5 {
			check(t, w.do(&protocol.Terms{}), protocol.StateDone, 0, "")
		}
		if slow.runs() != asked {
			t.Error("it was asked again")
		}
		check(t, w.do(&protocol.Terms{On: slow.id.String()}), protocol.StateRefused, protocol.ExitSystem, protocol.CodeBlocked)
		w.block()
		if w.requester.Blocked(slow.id) != "" {
			t.Error("a block that was taken back holds")
		}
	})
}

func TestLabelsSteerTasks(t *testing.T) {
	berlin, paris := newFakeProvider(t, honest), newFakeProvider(t, honest)
	berlin.labels = map[string]string{"site": "berlin"}
	paris.labels = map[string]string{"site": "paris", "gpu": "no"}
	paris.speed = 8
	inWorld(t, []*fakeProvider{berlin, paris}, func(t *testing.T, w *world) {
		time.Sleep(settleNew)
		for range 10 { // the pool of those that have just answered included
			task := w.do(&protocol.Terms{Labels: []string{"site=berlin"}})
			check(t, task, protocol.StateDone, 0, "")
			check(t, w.do(&protocol.Terms{Labels: []string{"gpu", "site!=berlin"}}), protocol.StateDone, 0, "")
		}
		if berlin.runs() != 10 || paris.runs() != 10 {
			t.Errorf("berlin ran %d, paris %d", berlin.runs(), paris.runs())
		}
		task := w.do(&protocol.Terms{Labels: []string{"site=oslo"}})
		check(t, task, protocol.StateRefused, protocol.ExitSystem, protocol.CodeNoOffers)
		if want := "2 peers known, none has site=oslo: there are gpu=no (1), site=berlin (1), site=paris (1)"; task.Result.Message != want {
			t.Errorf("the user is told %q, want %q", task.Result.Message, want)
		}
		if _, err := w.requester.Submit(t.Context(), w.spec(), &protocol.Terms{Labels: []string{"Site=oslo"}}, "prog"); protocol.CodeOf(err) != protocol.CodeBadRequest {
			t.Errorf("a wish that is none: %v", err)
		}
	})
}

// block has the owner block these peers and no others.
func (w *world) block(who ...peer.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blocked = who
}

func (w *world) isBlocked(p peer.ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.blocked, p)
}
