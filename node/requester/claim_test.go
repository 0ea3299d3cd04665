package requester

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spare-network/spare/protocol"
)

// cut ends every stream to a provider, which can be reached again at once.
func (w *world) cut(p *fakeProvider) { w.Drop(p.id) }

// goesOn has a provider answer a claim of what it runs by a lease, and by the
// outcome later.
func goesOn(x *exchangeWithFake) {
	x.lease()
	time.Sleep(time.Second)
	honest(x)
}

func TestCutConnectionCostsNothing(t *testing.T) {
	p, other := newFakeProvider(t, nil), newFakeProvider(t, honest)
	p.speed, p.tells = 4, true
	inWorld(t, []*fakeProvider{p, other}, func(t *testing.T, w *world) {
		p.run = func(x *exchangeWithFake) {
			x.lease()
			time.Sleep(time.Second)
			w.cut(p)
		}
		p.claimed = goesOn
		task := w.do(&protocol.Terms{})
		check(t, task, protocol.StateDone, 0, "")
		if got := states(task); got != "done" || other.runs() > 0 {
			t.Errorf("the attempts ended %s", got)
		}
	})
}

// The output of an attempt that is claimed comes again from its beginning, and
// is shown once.
func TestOutputGoesOnAfterAClaim(t *testing.T) {
	var w *world
	p := newFakeProvider(t, func(x *exchangeWithFake) {
		x.lease()
		out := x.stream()
		write(out, 1, "one\n")
		time.Sleep(time.Second)
		w.cut(x.fakeProvider)
		out.Reset()
	})
	p.claimed = func(x *exchangeWithFake) {
		x.lease()
		out := x.stream()
		write(out, 1, "one\ntwo\n")
		write(out, 0, "")
		o := x.outcome(0, "one\ntwo\n")
		o.Streamed, o.Stdout = true, nil
		x.finish(o)
	}
	inWorld(t, []*fakeProvider{p}, func(t *testing.T, world *world) {
		w = world
		task := w.do(&protocol.Terms{})
		check(t, task, protocol.StateDone, 0, "")
		if got := w.text(task, 1); got != "one\ntwo\n" || states(task) != "done" {
			t.Errorf("%q from attempts that ended %s: %v", got, states(task), task.Replicas[0])
		}
	})
}

// A provider that was frozen comes back with its answer before the spare has
// one.
func TestLateAnswerCounts(t *testing.T) {
	slow := newFakeProvider(t, func(x *exchangeWithFake) { x.lease(); <-x.gone })
	slow.tells = true
	late := newFakeProvider(t, nil)
	late.speed = 4
	late.claimed = honest
	late.run = func(x *exchangeWithFake) {
		x.lease()
		time.Sleep(time.Second)
		x.freeze()
		time.Sleep(5 * time.Second)
		x.thaw()
	}
	inWorld(t, []*fakeProvider{late, slow}, func(t *testing.T, w *world) {
		task := w.do(&protocol.Terms{})
		check(t, task, protocol.StateDone, 0, "")
		if got := states(task); got != "done cancelled" {
			t.Errorf("the attempts ended %s", got)
		}
	})
}

func TestTaskOfAnEarlierRunIsClaimed(t *testing.T) {
	p, other := newFakeProvider(t, nil), newFakeProvider(t, honest)
	p.claimed = goesOn
	inWorld(t, []*fakeProvider{p, other}, func(t *testing.T, w *world) {
		spec, err := w.spec().Marshal()
		if err != nil {
			t.Fatal(err)
		}
		nonce := protocol.NewNonce()
		p.asks = map[string]*protocol.Run{string(nonce[:]): {Spec: spec, Nonce: nonce[:], Attempt: 1}}
		w.requester.resume(&protocol.Task{
			Id: "aaaaaaaaaa", Spec: spec, Terms: &protocol.Terms{Replicas: 1, Where: protocol.WhereRemote, Detached: true},
			Replicas: []*protocol.Replica{{Attempt: 1, Nonce: nonce[:], Provider: p.id.String(), State: protocol.StateRunning}},
		})
		task, err := w.requester.Follow(context.Background(), "aaaaaaaaaa", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		check(t, task, protocol.StateDone, 0, "")
		if got := states(task); got != "done" || p.runs()+other.runs() > 0 {
			t.Errorf("the attempts ended %s, and it was run %d times more", got, p.runs()+other.runs())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !slices.ContainsFunc(p.settled, func(n []byte) bool { return string(n) == string(nonce[:]) }) {
			t.Error("the provider was not told that it may forget the result")
		}
	})
}

// votes is a provider whose results are as stdout, and that commits first.
func votes(stdout string) func(x *exchangeWithFake) {
	return func(x *exchangeWithFake) {
		x.lease()
		o := x.outcome(0, stdout)
		c := protocol.CommitmentOf(protocol.Digest(o.Result.Digest), x.fakeProvider.id, protocol.Nonce(x.ask.Nonce))
		x.reply(&protocol.Reply{Body: &protocol.Reply_Commitment{Commitment: &protocol.Commitment{Digest: c[:]}}})
	}
}

// reveals answers claims accordingly.
func reveals(stdout string) func(x *exchangeWithFake) {
	return func(x *exchangeWithFake) {
		o := x.outcome(0, stdout)
		if x.claim.ReceiptOnly {
			o.Stdout = nil
		}
		x.finish(o)
	}
}

func newVoter(t *testing.T, says, sends string) *fakeProvider {
	t.Helper()
	p := newFakeProvider(t, votes(says))
	p.claimed = reveals(sends)
	p.tells = true
	return p
}

func TestQuorum(t *testing.T) {
	const right, wrong = "right\n", "wrong\n"
	for name, c := range map[string]struct {
		providers []*fakeProvider
		quorum    uint32
		replicas  uint32
		code      protocol.Code
		stdout    string
	}{
		"all agree":                          {[]*fakeProvider{newVoter(t, right, right), newVoter(t, right, right)}, 2, 2, "", right},
		"one of three lies":                  {[]*fakeProvider{newVoter(t, right, right), newVoter(t, wrong, wrong), newVoter(t, right, right)}, 2, 3, "", right},
		"dissent brings in a third":          {[]*fakeProvider{newVoter(t, right, right), newVoter(t, wrong, wrong), newVoter(t, right, right)}, 2, 2, "", right},
		"one reveals not what it committed":  {[]*fakeProvider{newVoter(t, wrong, right), newVoter(t, right, right), newVoter(t, right, right)}, 2, 2, "", right},
		"nobody agrees":                      {[]*fakeProvider{newVoter(t, "a", "a"), newVoter(t, "b", "b"), newVoter(t, "c", "c")}, 2, 2, protocol.CodeQuorum, ""},
		"fewer providers than the quorum is": {[]*fakeProvider{newVoter(t, right, right)}, 2, 2, protocol.CodeNoOffers, ""},
		"a provider that does not commit":    {[]*fakeProvider{newFakeProvider(t, honest), newVoter(t, right, right), newVoter(t, right, right)}, 2, 2, "", right},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, c.providers, func(t *testing.T, w *world) {
				task := w.do(&protocol.Terms{Quorum: c.quorum, Replicas: c.replicas})
				if task.Result.Code != string(c.code) {
					t.Fatalf("ended by %q: %s (%s)", task.Result.Code, task.Result.Message, states(task))
				}
				if c.code != "" {
					return
				}
				if got := w.text(task, 1); got != c.stdout {
					t.Errorf("the result is %q from attempts that ended %s", got, states(task))
				}
				if len(task.Result.Receipts) < int(c.quorum) {
					t.Errorf("%d receipts justify it", len(task.Result.Receipts))
				}
			})
		})
	}
}

// Nothing is shown of a result that others have yet to confirm.
func TestOutputWaitsForTheVerdict(t *testing.T) {
	eager := newFakeProvider(t, func(x *exchangeWithFake) {
		x.lease()
		out := x.stream()
		write(out, 1, "a lie\n")
		<-x.gone
	})
	eager.speed, eager.tells = 4, true
	slow := func(x *exchangeWithFake) {
		time.Sleep(2 * time.Second)
		votes("right\n")(x)
	}
	a, b := newFakeProvider(t, slow), newFakeProvider(t, slow)
	a.claimed, b.claimed = reveals("right\n"), reveals("right\n")
	inWorld(t, []*fakeProvider{eager, a, b}, func(t *testing.T, w *world) {
		id, err := w.requester.Submit(context.Background(), w.spec(), &protocol.Terms{Where: protocol.WhereRemote, Replicas: 3, Quorum: 2}, "prog")
		if err != nil {
			t.Fatal(err)
		}
		var shown strings.Builder
		task, err := w.requester.Follow(context.Background(), id, func(_ int, p []byte) error {
			shown.Write(p)
			return nil
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		check(t, task, protocol.StateDone, 0, "")
		if shown.String() != "right\n" {
			t.Errorf("shown: %q", shown.String())
		}
	})
}
