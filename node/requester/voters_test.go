package requester

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

// These are about voters that come late, break off, or try to hold up a verdict:
// whatever one of them does, the others bring the task to its end soon.

// three honest voters, of which the first is asked first.
func three(t *testing.T) (x, a, b *fakeProvider) {
	x, a, b = calmVoter(t, "right\n"), calmVoter(t, "right\n"), calmVoter(t, "right\n")
	x.speed = 16
	return x, a, b
}

// calmVoter answers so, and its beats name what it was asked for.
func calmVoter(t *testing.T, says string) *fakeProvider {
	p := newVoter(t, says, says)
	p.beats = func(nonce []byte) *protocol.Progress {
		return &protocol.Progress{Nonce: nonce, State: protocol.StateCommitted, Gas: 500}
	}
	return p
}

func quorumOfTwo() *protocol.Terms {
	return &protocol.Terms{Where: protocol.WhereRemote, Quorum: 2, Replicas: 2}
}

func verified() *protocol.Terms {
	return &protocol.Terms{Where: protocol.WhereRemote, Verify: protocol.VerifyAuto}
}

// keepOffering renews the offers, as live nodes do.
func keepOffering(w *world, providers ...*fakeProvider) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	w.wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(30 * time.Second):
				for _, p := range providers {
					if !p.isFrozen() {
						w.offer(p)
					}
				}
			}
		}
	})
	return cancel
}

// endsWell runs a task, which must end with a result, of which it must not be long.
func endsWell(t *testing.T, w *world, terms *protocol.Terms, within time.Duration) *protocol.Task {
	t.Helper()
	defer keepOffering(w, slices.Collect(maps.Values(w.providers))...)()
	start := time.Now()
	task := w.do(terms)
	if took := time.Since(start); task.Result.Code != "" || took > within {
		t.Errorf("%s after %s: %s, %s", task.Result.Code, took, states(task), task.Result.Message)
		for _, r := range task.Replicas {
			t.Logf("%s: %s", r.State.Word(), r.Reason)
		}
	}
	return task
}

// stops freezes a voter while it runs first; it has ended when it can be reached again.
func (w *world) stops(p *fakeProvider, d time.Duration) {
	once := false
	run := p.run
	p.run = func(e *exchangeWithFake) {
		if once {
			run(e)
			return
		}
		once = true
		e.lease()
		time.Sleep(time.Second)
		e.freeze()
		w.setBroken(p, true) // as one that is stopped or cut off: no handshake
		time.Sleep(d)
		w.revive(p)
	}
}

func TestClaimThatIsRefusedHoldsUpNobody(t *testing.T) {
	for name, code := range map[string]protocol.Code{"busy": protocol.CodeBusy, "stopping": protocol.CodeShutdown} {
		for what, only := range map[string]bool{"receipt": true, "output": false} {
			t.Run(name+" "+what, func(t *testing.T) {
				x, a, b := three(t)
				reveal := x.claimed
				x.claimed = func(e *exchangeWithFake) {
					if e.claim.ReceiptOnly == only {
						e.refuse(code)
						return
					}
					reveal(e)
				}
				inWorld(t, []*fakeProvider{x, a, b}, func(t *testing.T, w *world) { endsWell(t, w, quorumOfTwo(), time.Minute) })
			})
		}
	}
}

func TestRefusalAfterCommitmentHoldsUpNobody(t *testing.T) {
	x, a, b := three(t)
	a.run = func(e *exchangeWithFake) { time.Sleep(time.Second); votes("right\n")(e) }
	b.run = a.run
	x.run = func(e *exchangeWithFake) { votes("right\n")(e); e.refuse(protocol.CodeBusy) }
	inWorld(t, []*fakeProvider{x, a, b}, func(t *testing.T, w *world) { endsWell(t, w, quorumOfTwo(), time.Minute) })
}

func TestCommitmentInAnswerToAClaimHoldsUpNobody(t *testing.T) {
	for what, only := range map[string]bool{"receipt": true, "output": false} {
		t.Run(what, func(t *testing.T) {
			x, a, b := three(t)
			reveal := x.claimed
			x.claimed = func(e *exchangeWithFake) {
				if e.claim.ReceiptOnly == only {
					votes("right\n")(e)
					return
				}
				reveal(e)
			}
			inWorld(t, []*fakeProvider{x, a, b}, func(t *testing.T, w *world) { endsWell(t, w, quorumOfTwo(), time.Minute) })
		})
	}
}

// It breaks off each time it is claimed, after a beat of a little more gas.
func TestClaimsOfOneThatBreaksOffAreBounded(t *testing.T) {
	x, a, b := three(t)
	gas := uint64(0)
	x.beats = func(nonce []byte) *protocol.Progress {
		gas += 1e8 / 4
		return &protocol.Progress{Nonce: nonce, State: protocol.StateRunning, Gas: gas}
	}
	inWorld(t, []*fakeProvider{x, a, b}, func(t *testing.T, w *world) {
		x.claimed = func(e *exchangeWithFake) {
			time.Sleep(3 * time.Second)
			w.cut(x)
		}
		endsWell(t, w, quorumOfTwo(), 10*time.Minute)
		if x.claims > maxClaims+1 {
			t.Errorf("it was claimed %d times", x.claims)
		}
	})
}

func TestClaimThatIsNotAnsweredHoldsUpNobody(t *testing.T) {
	for what, only := range map[string]bool{"receipt": true, "output": false} {
		t.Run(what, func(t *testing.T) {
			x, a, b := three(t)
			reveal := x.claimed
			x.claimed = func(e *exchangeWithFake) {
				if e.claim.ReceiptOnly != only {
					reveal(e)
				}
			}
			inWorld(t, []*fakeProvider{x, a, b}, func(t *testing.T, w *world) { endsWell(t, w, quorumOfTwo(), time.Minute) })
		})
	}
}

// They have ended meanwhile, and so answer claims without having been bound.
func TestVotersAreTakenUpAfterARestart(t *testing.T) {
	a, b, c := three(t)
	list := []*fakeProvider{a, b, c}
	inWorld(t, list, func(t *testing.T, w *world) {
		spec, err := w.spec().Marshal()
		if err != nil {
			t.Fatal(err)
		}
		var replicas []*protocol.Replica
		for i, p := range list {
			nonce := protocol.NewNonce()
			p.asks = map[string]*protocol.Run{string(nonce[:]): {Spec: spec, Nonce: nonce[:], Attempt: uint32(i + 1)}}
			p.nonces = [][]byte{nonce[:]}
			replicas = append(replicas, &protocol.Replica{Attempt: uint32(i + 1), Nonce: nonce[:], Provider: p.id.String(), State: protocol.StateCommitted})
		}
		defer keepOffering(w, list...)()
		w.requester.resume(&protocol.Task{
			Id: "aaaaaaaaaa", Spec: spec, Terms: &protocol.Terms{Replicas: 1, Where: protocol.WhereRemote, Verify: protocol.VerifyAuto, Detached: true}, Replicas: replicas,
		})
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		task, err := w.requester.Follow(ctx, "aaaaaaaaaa", nil, nil)
		if err != nil {
			t.Fatalf("%v, claims %d %d %d", err, a.claims, b.claims, c.claims)
		}
		check(t, task, protocol.StateDone, 0, "")
	})
}

// It reveals one thing that it was not bound to, and who was silent has the other.
func TestAnswerAfterASilenceCounts(t *testing.T) {
	for name, c := range map[string]struct{ silence, third time.Duration }{
		"of a moment":                 {5 * time.Second, 0},
		"of a moment, the third late": {5 * time.Second, 100 * time.Second},
		"of more than a minute":       {70 * time.Second, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			late, a, liar := three(t)
			liar.claimed = reveals("wrong\n")
			liar.run = func(e *exchangeWithFake) { e.lease(); time.Sleep(8 * time.Second); votes("right\n")(e) }
			a.run = func(e *exchangeWithFake) { e.lease(); time.Sleep(c.third); votes("right\n")(e) }
			inWorld(t, []*fakeProvider{late, a, liar}, func(t *testing.T, w *world) {
				w.stops(late, c.silence)
				endsWell(t, w, verified(), 10*time.Minute)
				if why := w.requester.Barred(late.id); why != "" {
					t.Errorf("an honest provider is barred: %s", why)
				}
			})
		})
	}
}

// It was silent while it ran, and has revealed since: another's output is claimed.
func TestDeathWhileOutputIsFetchedIsNoticed(t *testing.T) {
	late, a, b := three(t)
	for _, p := range []*fakeProvider{a, b} {
		p.run = func(e *exchangeWithFake) { e.lease(); time.Sleep(8 * time.Second); votes("right\n")(e) }
	}
	inWorld(t, []*fakeProvider{late, a, b}, func(t *testing.T, w *world) {
		w.stops(late, 3*time.Second)
		reveal := late.claimed
		late.claimed = func(e *exchangeWithFake) {
			if !e.claim.ReceiptOnly {
				w.kill(late)
				return
			}
			reveal(e)
		}
		endsWell(t, w, &protocol.Terms{Where: protocol.WhereRemote, Quorum: 2, Replicas: 3}, time.Minute)
	})
}

func TestOneThatIsAlwaysBusyHoldsUpNobody(t *testing.T) {
	x, a, b := three(t)
	d := calmVoter(t, "right\n")
	x.run = refusing(protocol.CodeBusy)
	inWorld(t, []*fakeProvider{x, a, b, d}, func(t *testing.T, w *world) {
		endsWell(t, w, verified(), 5*time.Minute)
	})
}

// It fails while the output is claimed, so that all others seem to be dead.
func TestOwnLineThatFailsForAMoment(t *testing.T) {
	a, b, _ := three(t)
	inWorld(t, []*fakeProvider{a, b}, func(t *testing.T, w *world) {
		once := false
		for _, p := range []*fakeProvider{a, b} {
			reveal := p.claimed
			p.claimed = func(e *exchangeWithFake) {
				if !e.claim.ReceiptOnly && !once {
					once = true
					a.freeze()
					b.freeze()
					time.Sleep(5 * time.Second)
					a.thaw()
					b.thaw()
					return
				}
				reveal(e)
			}
		}
		endsWell(t, w, verified(), 5*time.Minute)
	})
}

// It waits at the own node, or is refused there at first: two liars who are
// believed do not win by that.
func TestArbiterIsWaitedFor(t *testing.T) {
	for _, how := range []string{"runs at once", "waits 10 s", "refused once"} {
		t.Run(how, func(t *testing.T) {
			liar, liar2, good, own := calmVoter(t, "wrong\n"), calmVoter(t, "wrong\n"), calmVoter(t, "right\n"), calmVoter(t, "right\n")
			liar.speed, good.speed, liar2.speed = 16, 16, 1
			refused := false
			own.run = func(e *exchangeWithFake) {
				if own.runs() == 1 {
					e.world.offer(liar2)
				}
				switch {
				case how == "refused once" && !refused:
					refused = true
					e.refuse(protocol.CodeBusy)
					return
				case how == "waits 10 s":
					e.lease()
					select {
					case <-e.gone:
						return
					case <-time.After(10 * time.Second):
					}
				}
				votes("right\n")(e)
			}
			inWorld(t, []*fakeProvider{liar, good}, func(t *testing.T, w *world) {
				own.id, own.key = w.self, w.key
				own.load = &protocol.Load{Slots: 2, Availability: protocol.Paused}
				w.offer(own)
				for range 1000 {
					for _, p := range []*fakeProvider{liar, liar2, good} {
						w.requester.trust.agreed(p.id)
					}
				}
				var task *protocol.Task
				for task == nil || !strings.Contains(fmt.Sprint(task.Replicas), "answers differ") { // until a check begins with one of each
					var err error
					if task, err = w.requester.Do(t.Context(), w.spec(), &protocol.Terms{Verify: protocol.VerifyAuto, Replicas: 2}, "prog"); err != nil {
						t.Fatal(err)
					}
				}
				if got := w.text(task, 1); got != "right\n" {
					t.Errorf("the result is %q", got)
				}
				if why := w.requester.Barred(good.id); why != "" {
					t.Errorf("an honest provider is barred: %s", why)
				}
			})
		})
	}
}

// The stream begins while the output of the outcome is being kept.
func TestStreamBesideAnOutcomeAddsNothing(t *testing.T) {
	a, b, _ := three(t)
	inWorld(t, []*fakeProvider{a, b}, func(t *testing.T, w *world) {
		for _, p := range []*fakeProvider{a, b} {
			p.claimed = func(e *exchangeWithFake) {
				o := e.outcome(0, "right\n")
				if e.claim.ReceiptOnly {
					o.Stdout = nil
					e.finish(o)
					return
				}
				// somebody holds the turn, as another replica's writer does
				var one *task
				w.requester.mu.Lock()
				for _, x := range w.requester.tasks {
					one = x
				}
				w.requester.mu.Unlock()
				one.turn <- struct{}{}
				e.finish(o)
				time.Sleep(10 * time.Millisecond) // verify waits for the turn now
				ours, theirs := net.Pipe()
				conn := protocol.NewConn(theirs, e.fakeProvider.id, protocol.MaxOutputMessage)
				w.wg.Go(func() { w.requester.ServeOutput(context.Background(), conn) })
				out := protocol.NewConn(ours, w.self, protocol.MaxOutputMessage)
				_ = out.Send(&protocol.OutputHeader{Nonce: e.ask.Nonce})
				write(out, 1, "and a lie\n")
				time.Sleep(10 * time.Millisecond) // it waits, too
				<-one.turn
			}
		}
		task := w.do(quorumOfTwo())
		if got := w.text(task, 1); got != "right\n" {
			t.Errorf("the result is %q", got)
		}
	})
}

// The search for a provider's receipt is over when its output is looked for.
func TestOneSearchAtATime(t *testing.T) {
	for i := range 10 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			late, a, b := three(t)
			inWorld(t, []*fakeProvider{late, a, b}, func(t *testing.T, w *world) {
				w.stops(late, 3*time.Second)
				reveal := late.claimed
				n := 0
				late.claimed = func(e *exchangeWithFake) {
					if n++; n == 1 {
						reveal(e) // its result, which it was not bound to yet
						time.Sleep(200 * time.Millisecond)
						w.setBroken(late, true)
						w.cut(late)
						time.Sleep(4 * time.Second) // both look for it then
						w.setBroken(late, false)
						return
					}
					if !e.claim.ReceiptOnly {
						time.Sleep(time.Second) // it is large
						select {
						case <-e.gone:
							return
						default:
						}
					}
					reveal(e)
				}
				for _, p := range []*fakeProvider{a, b} {
					p.run = func(e *exchangeWithFake) { e.lease(); time.Sleep(6 * time.Second); votes("right\n")(e) }
				}
				task := w.do(&protocol.Terms{Where: protocol.WhereRemote, Quorum: 2, Replicas: 3})
				check(t, task, protocol.StateDone, 0, "")
				if why := w.requester.Barred(late.id); why != "" {
					t.Errorf("an honest provider is barred: %s", why)
				}
			})
		})
	}
}

// The output stream has broken, and the task stream has not.
func TestOutcomeThatCrossesAClaim(t *testing.T) {
	for range 100 {
		p := calmVoter(t, "")
		other := newFakeProvider(t, func(e *exchangeWithFake) { e.lease(); <-e.gone })
		p.speed, other.beats = 16, p.beats
		streams := func(e *exchangeWithFake, text string) *protocol.Outcome {
			out := e.stream()
			defer out.Reset()
			write(out, 1, text)
			o := e.outcome(0, "hello\n")
			if o.Streamed, o.Stdout = true, nil; text == "hello\n" {
				write(out, 0, "")
			}
			return o
		}
		p.run = func(e *exchangeWithFake) { e.lease(); e.finish(streams(e, "hel")) }
		p.claimed = func(e *exchangeWithFake) { e.finish(streams(e, "hello\n")) }
		inWorld(t, []*fakeProvider{p, other}, func(t *testing.T, w *world) {
			task := w.do(&protocol.Terms{Where: protocol.WhereRemote})
			if states(task) != "done" {
				t.Errorf("%s %s", task.Result.Code, task.Replicas[0].Reason)
			}
		})
	}
}

// A second one changes nothing but what is thought of who makes it.
func TestCommitmentIsForGood(t *testing.T) {
	x, a, _ := three(t)
	a.run = func(e *exchangeWithFake) { e.lease(); time.Sleep(5 * time.Second); votes("right\n")(e) }
	x.run = func(e *exchangeWithFake) {
		votes("wrong\n")(e)
		time.Sleep(time.Second)
		o := e.outcome(0, "right\n")
		c := protocol.CommitmentOf(protocol.Digest(o.Result.Digest), e.fakeProvider.id, protocol.Nonce(e.ask.Nonce))
		e.reply(&protocol.Reply{Body: &protocol.Reply_Commitment{Commitment: &protocol.Commitment{Digest: c[:]}}})
	}
	inWorld(t, []*fakeProvider{x, a}, func(t *testing.T, w *world) {
		task := w.do(quorumOfTwo())
		if task.Result.Code == "" || w.requester.Barred(x.id) == "" {
			t.Errorf("what it was bound to has changed, and counts: %s %q", states(task), task.Result.Code)
		}
	})
}

// It breaks the protocol once it has revealed.
func TestLiarCannotTakeBackItsBallot(t *testing.T) {
	x := calmVoter(t, "wrong\n")
	list := []*fakeProvider{x}
	for range 5 {
		list = append(list, calmVoter(t, "right\n"))
	}
	x.speed = 16
	slow := func(e *exchangeWithFake) { e.lease(); time.Sleep(3 * time.Second); votes("right\n")(e) }
	for _, p := range list[1:] {
		p.run = slow
		reveal := p.claimed
		p.claimed = func(e *exchangeWithFake) { time.Sleep(time.Second); reveal(e) }
	}
	for name, erases := range map[string]bool{"it stays": false, "it breaks off": true} {
		t.Run(name, func(t *testing.T) {
			x.claimed = func(e *exchangeWithFake) {
				o := e.outcome(0, "wrong\n")
				o.Stdout = nil
				e.finish(o)
				if erases {
					e.reply(&protocol.Reply{Body: &protocol.Reply_Lease{Lease: &protocol.Lease{Load: e.loadNow()}}}) // after the outcome
				}
			}
			inWorld(t, list, func(t *testing.T, w *world) {
				for range 1000 {
					for _, p := range list {
						w.requester.trust.agreed(p.id)
					}
				}
				task := w.do(&protocol.Terms{Where: protocol.WhereRemote, Verify: protocol.VerifyStrict, Replicas: 6})
				check(t, task, protocol.StateDone, 0, "")
				if w.requester.Barred(x.id) == "" {
					t.Error("the liar is not barred")
				}
			})
		})
	}
}

// The four others are bound when it takes the lease and fails, each time.
func TestOneThatAlwaysFailsEndsNoTask(t *testing.T) {
	x, a, b := three(t)
	d := calmVoter(t, "right\n")
	x.run = func(e *exchangeWithFake) {
		e.lease()
		o := e.outcome(0, "")
		e.finish(&protocol.Outcome{Code: string(protocol.CodeInternal), Message: "no", Receipt: nil, Result: nil, Load: o.Load})
	}
	inWorld(t, []*fakeProvider{x, a, b, d}, func(t *testing.T, w *world) {
		endsWell(t, w, verified(), 5*time.Minute)
	})
}

func TestOneThatFailsWhileOthersAreFull(t *testing.T) {
	x, good := newFakeProvider(t, nil), newFakeProvider(t, honest)
	x.run = func(e *exchangeWithFake) {
		e.lease()
		e.finish(&protocol.Outcome{Code: string(protocol.CodeInternal), Message: "no"})
	}
	good.load = &protocol.Load{Slots: 2, Running: 2, Availability: protocol.Full}
	inWorld(t, []*fakeProvider{x, good}, func(t *testing.T, w *world) {
		time.AfterFunc(20*time.Second, func() { good.setLoad(&protocol.Load{Slots: 2}) })
		endsWell(t, w, &protocol.Terms{Where: protocol.WhereRemote}, 5*time.Minute)
	})
}
