package requester

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spare-network/spare/protocol"
)

func TestNewcomersAreComparedAndLearnedOf(t *testing.T) {
	providers := []*fakeProvider{newVoter(t, "right\n", "right\n"), newVoter(t, "right\n", "right\n"), newVoter(t, "right\n", "right\n")}
	inWorld(t, providers, func(t *testing.T, w *world) {
		task := w.do(&protocol.Terms{Where: protocol.WhereRemote, Verify: protocol.VerifyAuto})
		check(t, task, protocol.StateDone, 0, "")
		for _, p := range providers {
			if s := w.requester.Standing(p.id); s.Passed != 1 || p.runs() != 1 {
				t.Errorf("a newcomer was asked %d times and has passed %v checks", p.runs(), s.Passed)
			}
		}
	})
}

func TestProvenProviderMostlyStandsAlone(t *testing.T) {
	const tasks = 40
	good, other := newVoter(t, "right\n", "right\n"), newVoter(t, "right\n", "right\n")
	good.speed = 4
	inWorld(t, []*fakeProvider{good, other}, func(t *testing.T, w *world) {
		for range 100 {
			w.requester.trust.agreed(good.id)
			w.requester.trust.agreed(other.id)
		}
		for range tasks {
			check(t, w.do(&protocol.Terms{Where: protocol.WhereRemote, Verify: protocol.VerifyAuto}), protocol.StateDone, 0, "")
		}
		// 5 % are checks: that more than a quarter are has odds of 1 to 10^5.
		if n := good.runs() + other.runs(); n > tasks+tasks/4 {
			t.Errorf("%d tasks took %d replicas", tasks, n)
		}
	})
}

// Where one says this and another that, the own node settles it, unless the task
// must not run there.
func TestOwnNodeSettlesWhatOthersDisagreeOn(t *testing.T) {
	for _, c := range []struct {
		name  string
		where protocol.Where
		here  bool // the own node offers to run it
		want  string
	}{
		{"it may run here", protocol.WhereAny, true, "right\n"},
		{"it must run elsewhere", protocol.WhereRemote, true, ""},
		{"nothing runs here", protocol.WhereAny, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			liar, good, own := newVoter(t, "wrong\n", "wrong\n"), newVoter(t, "right\n", "right\n"), newVoter(t, "right\n", "right\n")
			inWorld(t, []*fakeProvider{liar, good}, func(t *testing.T, w *world) {
				own.id, own.key = w.self, w.key
				own.load = &protocol.Load{Slots: 2, Availability: protocol.Paused} // others come first
				if c.here {
					w.offer(own)
				}
				for range 1000 { // so that two are enough
					w.requester.trust.agreed(liar.id)
					w.requester.trust.agreed(good.id)
				}
				task, err := w.requester.Do(t.Context(), w.spec(), &protocol.Terms{Where: c.where, Verify: protocol.VerifyStrict}, "prog")
				if err != nil {
					t.Fatal(err)
				}
				if c.want == "" {
					if task.Result.GetCode() != string(protocol.CodeQuorum) || w.requester.Barred(liar.id) != "" {
						t.Errorf("one was believed against another: %s %s", task.Result.GetCode(), task.Result.GetMessage())
					}
					return
				}
				check(t, task, protocol.StateDone, 0, "")
				if got := w.text(task, 1); got != c.want {
					t.Errorf("the result is %q, from attempts that ended %s", got, states(task))
				}
				if w.requester.Barred(liar.id) == "" {
					t.Error("the liar is not barred")
				}
				if w.requester.Barred(good.id) != "" {
					t.Error("an honest provider is barred")
				}
			})
		})
	}
}

func TestWhatNobodyCanConfirmIsNoResult(t *testing.T) {
	p := newVoter(t, "right\n", "right\n")
	inWorld(t, []*fakeProvider{p}, func(t *testing.T, w *world) {
		task := w.do(&protocol.Terms{Where: protocol.WhereRemote, Verify: protocol.VerifyStrict})
		if task.Result.Code != string(protocol.CodeQuorum) || !strings.Contains(task.Result.Message, "attempt 1 says") {
			t.Errorf("it ended by %s: %s", task.Result.Code, task.Result.Message)
		}
		if s := w.requester.Standing(p.id); s.Passed != 0 || s.Wrongs != 0 {
			t.Errorf("one answer alone has taught %+v", s)
		}
	})
}

func TestProviderFoundWrongIsNotChosenForAWhile(t *testing.T) {
	liar := newVoter(t, "wrong\n", "right\n") // commits to one thing and reveals another
	liar.speed = 8
	a, b := newVoter(t, "right\n", "right\n"), newVoter(t, "right\n", "right\n")
	terms := func(replicas uint32) *protocol.Terms {
		return &protocol.Terms{Where: protocol.WhereRemote, Quorum: 2, Replicas: replicas}
	}
	inWorld(t, []*fakeProvider{liar, a, b}, func(t *testing.T, w *world) {
		check(t, w.do(terms(2)), protocol.StateDone, 0, "")
		if why := w.requester.Barred(liar.id); !strings.Contains(why, "not chosen") || !strings.Contains(why, "reveals another result") {
			t.Fatalf("it is barred because %q", why)
		}
		check(t, w.do(terms(2)), protocol.StateDone, 0, "")
		if liar.runs() != 1 {
			t.Errorf("it was asked %d times", liar.runs())
		}
		short := w.do(terms(3))
		if short.Result.Code != string(protocol.CodeNoOffers) || !strings.Contains(short.Result.Message, "only 2 can run it") {
			t.Errorf("without it there are too few: %s: %s", short.Result.Code, short.Result.Message)
		}

		if err := w.store.SaveStanding(a.id, []byte("of another version")); err != nil {
			t.Fatal(err)
		}
		known, err := openTrust(w.store, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if known.barred(liar.id, time.Now()) == "" {
			t.Error("a restart forgets it")
		}
		time.Sleep(11 * time.Minute)
		w.offer(liar)
		if why := w.requester.Barred(liar.id); why != "" {
			t.Errorf("it is barred for ever: %s", why)
		}
	})
}

func TestWorkIsCountersignedOnce(t *testing.T) {
	p := newFakeProvider(t, func(x *exchangeWithFake) {
		x.lease()
		o := x.outcome(0, "hi\n")
		x.finish(o)
		batch, err := protocol.SignReceipts(testNetwork, x.key, []*protocol.Receipt{o.Receipt})
		if err != nil {
			x.world.t.Error(err)
			return
		}
		for range 2 {
			x.reply(&protocol.Reply{Body: &protocol.Reply_Receipts{Receipts: batch}})
		}
	})
	inWorld(t, []*fakeProvider{p}, func(t *testing.T, w *world) {
		check(t, w.do(&protocol.Terms{Where: protocol.WhereRemote}), protocol.StateDone, 0, "")
		time.Sleep(time.Second)
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.received[p.id] != 500 || p.countersigned != 1 {
			t.Errorf("%d gas are noted, %d batches countersigned", w.received[p.id], p.countersigned)
		}
	})
}

// A provider that reveals what is right and then sends something else spoils
// neither the result nor what is shown of it.
func TestOutputOfOneVoterDoesNotSpoilAnothers(t *testing.T) {
	for name, streamed := range map[string]bool{"in its outcome": false, "as a stream": true} {
		t.Run(name, func(t *testing.T) {
			liar, a, b := newVoter(t, "right\n", "right\n"), newVoter(t, "right\n", "right\n"), newVoter(t, "right\n", "right\n")
			liar.speed = 16
			reveal := liar.claimed
			liar.claimed = func(x *exchangeWithFake) {
				if x.claim.ReceiptOnly {
					reveal(x)
					return
				}
				o := x.outcome(0, "right\n")
				if !streamed {
					o.Stdout = []byte("wrong\n")
					x.finish(o)
					return
				}
				o.Streamed, o.Stdout = true, nil
				conn := x.stream()
				write(conn, 1, "wrong\n")
				x.finish(o)
				write(conn, 0, "")
			}
			inWorld(t, []*fakeProvider{liar, a, b}, func(t *testing.T, w *world) {
				for range 10 {
					task := w.do(&protocol.Terms{Where: protocol.WhereRemote, Quorum: 2, Replicas: 2})
					check(t, task, protocol.StateDone, 0, "")
					if got := w.text(task, 1); got != "right\n" {
						t.Fatalf("the result is %q, from attempts that ended %s", got, states(task))
					}
					time.Sleep(11 * time.Minute) // it is barred for ten
					for _, p := range []*fakeProvider{liar, a, b} {
						w.offer(p)
					}
				}
				if n := w.temporaries(); n != 0 {
					t.Errorf("%d temporary files are left", n)
				}
			})
		})
	}
}

// Who refused a task whose results are compared may be asked again.
func TestVotersThatAreBusyAreAskedAgain(t *testing.T) {
	var providers []*fakeProvider
	for range 3 {
		p, refused := newVoter(t, "right\n", "right\n"), false
		run := p.run
		p.run = func(x *exchangeWithFake) {
			if !refused {
				refused = true
				x.refuse(protocol.CodeBusy)
				return
			}
			run(x)
		}
		providers = append(providers, p)
	}
	inWorld(t, providers, func(t *testing.T, w *world) {
		time.Sleep(time.Minute) // longer than a new node waits for its peers
		for _, p := range providers {
			w.offer(p)
		}
		check(t, w.do(&protocol.Terms{Where: protocol.WhereRemote, Quorum: 3, Replicas: 3}), protocol.StateDone, 0, "")
	})
}

// A vote and the output are two outcomes of one attempt, and both may be signed.
func TestWorkIsCreditedOnce(t *testing.T) {
	signs := func() *fakeProvider {
		p := newVoter(t, "right\n", "right\n")
		p.claimed = func(x *exchangeWithFake) {
			if !x.claim.ReceiptOnly {
				time.Sleep(time.Second) // so that its vote is signed and paid
			}
			reveals("right\n")(x)
			batch, err := protocol.SignReceipts(testNetwork, x.key, []*protocol.Receipt{x.outcome(0, "right\n").Receipt})
			if err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Millisecond)
			x.reply(&protocol.Reply{Body: &protocol.Reply_Receipts{Receipts: batch}})
		}
		return p
	}
	a, b := signs(), signs()
	inWorld(t, []*fakeProvider{a, b}, func(t *testing.T, w *world) {
		check(t, w.do(&protocol.Terms{Where: protocol.WhereRemote, Quorum: 2, Replicas: 2}), protocol.StateDone, 0, "")
		time.Sleep(time.Second)
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if a.claims+b.claims != 3 || a.countersigned+b.countersigned != 3 {
			t.Errorf("%d claims, %d batches countersigned", a.claims+b.claims, a.countersigned+b.countersigned)
		}
		if w.received[a.id] != 500 || w.received[b.id] != 500 {
			t.Errorf("%d and %d gas are noted, of 500 each", w.received[a.id], w.received[b.id])
		}
	})
}
