package requester

import (
	"context"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

func TestPartIsJournaledWhileItIsOpen(t *testing.T) {
	p := newFakeProvider(t, func(x *exchangeWithFake) {
		x.lease()
		time.Sleep(2 * time.Second)
		honest(x)
	})
	inWorld(t, []*fakeProvider{p}, func(t *testing.T, w *world) {
		id := protocol.Part("aaaaaaaaaa", 7)
		time.AfterFunc(time.Second, func() {
			if open := w.journal.part(id); open == nil || len(open.Replicas) != 1 {
				t.Errorf("while it runs the journal has %v", open)
			}
			if task, err := w.requester.Task(string(id)); err != nil || len(task.Replicas) != 1 || task.Result != nil {
				t.Errorf("while it runs it is %v (%v)", task, err)
			}
		})
		task, err := w.requester.Part(context.Background(), id, w.spec(), &protocol.Terms{Where: protocol.WhereRemote}, "prog.wasm", nil)
		if err != nil {
			t.Fatal(err)
		}
		check(t, task, protocol.StateDone, 0, "")
		if list, err := w.requester.Tasks(10, ""); err != nil || len(list) > 0 {
			t.Errorf("among the tasks are %v (%v)", list, err)
		}
	})
}

func TestPartOfAnEarlierRunIsClaimed(t *testing.T) {
	p := newFakeProvider(t, honest)
	p.claimed = goesOn
	inWorld(t, []*fakeProvider{p}, func(t *testing.T, w *world) {
		id, terms := protocol.Part("aaaaaaaaaa", 7), &protocol.Terms{Replicas: 1, Where: protocol.WhereRemote}
		spec, err := w.spec().Marshal()
		if err != nil {
			t.Fatal(err)
		}
		left := func(spec []byte) *protocol.Task {
			nonce := protocol.NewNonce()
			p.asks = map[string]*protocol.Run{string(nonce[:]): {Spec: spec, Nonce: nonce[:], Attempt: 1}}
			return &protocol.Task{
				Id: string(id), Spec: spec, Terms: terms,
				Replicas: []*protocol.Replica{{Attempt: 1, Nonce: nonce[:], Provider: p.id.String(), State: protocol.StateRunning}},
			}
		}
		for name, c := range map[string]struct {
			spec         []byte
			claims, runs int
		}{
			"of the same program": {spec, 1, 0},
			"of another":          {append([]byte{0}, spec...), 0, 1},
		} {
			claims, runs := p.claims, p.runs()
			task, err := w.requester.Part(context.Background(), id, w.spec(), terms, "prog.wasm", left(c.spec))
			if err != nil {
				t.Fatal(err)
			}
			check(t, task, protocol.StateDone, 0, "")
			if p.claims-claims != c.claims || p.runs()-runs != c.runs {
				t.Errorf("%s: it was claimed %d times and run %d times", name, p.claims-claims, p.runs()-runs)
			}
		}
	})
}
