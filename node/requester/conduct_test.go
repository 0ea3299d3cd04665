package requester

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

// honest runs every program alike: it prints hello and ends with 0.
func honest(x *exchangeWithFake) {
	x.lease()
	x.finish(x.outcome(0, "hello\n"))
}

func refusing(code protocol.Code) func(*exchangeWithFake) {
	return func(x *exchangeWithFake) { x.refuse(code) }
}

// hangs takes the lease and never ends.
func hangs(x *exchangeWithFake) {
	x.lease()
	<-x.gone
}

// check compares what people would look at in a task.
func check(t *testing.T, task *protocol.Task, state protocol.State, exit int32, code protocol.Code) {
	t.Helper()
	if task.State != state || task.Result.GetExitCode() != exit || task.Result.GetCode() != string(code) {
		t.Errorf("the task is %s with exit %d %s (%s), want %s with exit %d %s",
			task.State.Word(), task.Result.GetExitCode(), task.Result.GetCode(), task.Reason, state.Word(), exit, code)
	}
}

func states(task *protocol.Task) string {
	var list []string
	for _, a := range task.Replicas {
		list = append(list, a.State.Word())
	}
	return strings.Join(list, " ")
}

func TestTaskRunsOnAPeer(t *testing.T) {
	p := newFakeProvider(t, func(x *exchangeWithFake) {
		x.lease()
		x.finish(x.outcome(7, "hello\n"))
	})
	inWorld(t, []*fakeProvider{p}, func(t *testing.T, w *world) {
		task := w.do(&protocol.Terms{})
		check(t, task, protocol.StateDone, 7, "")
		if got := w.text(task, 1); got != "hello\n" {
			t.Errorf("stdout is %q", got)
		}
		a := task.Replicas[0]
		if a.Provider != p.id.String() || a.Attempt != 1 || a.RttUs != 1000 || !strings.Contains(a.Reason, "the only choice, 1 ms away") || a.StartedUnixMs == 0 || a.EndedUnixMs == 0 {
			t.Errorf("the attempt is recorded as %v", a)
		}
	})
}

func TestRefusedTaskGoesToTheNext(t *testing.T) {
	for _, code := range []protocol.Code{protocol.CodeBusy, protocol.CodeRefused, "E-FROM-THE-FUTURE"} {
		t.Run(string(code), func(t *testing.T) {
			no, yes := newFakeProvider(t, refusing(code)), newFakeProvider(t, honest)
			no.speed = 4 // so that it is the first choice
			inWorld(t, []*fakeProvider{no, yes}, func(t *testing.T, w *world) {
				task := w.do(&protocol.Terms{})
				check(t, task, protocol.StateDone, 0, "")
				if got := states(task); got != "refused done" {
					t.Errorf("the attempts ended %s", got)
				}
			})
		})
	}
}

func TestBusyNetworkIsAskedAgainLater(t *testing.T) {
	opens := time.Now() // replaced in the bubble
	p := newFakeProvider(t, nil)
	p.run = func(x *exchangeWithFake) {
		if time.Now().Before(opens) {
			x.refuse(protocol.CodeBusy)
			return
		}
		honest(x)
	}
	inWorld(t, []*fakeProvider{p}, func(t *testing.T, w *world) {
		opens = time.Now().Add(20 * time.Second)
		task := w.do(&protocol.Terms{})
		check(t, task, protocol.StateDone, 0, "")
		if n := len(task.Replicas); n < 4 || n > 200 {
			t.Errorf("it was asked %d times in 20 s", n)
		}
	})
}

func TestLostLeaseMovesOn(t *testing.T) {
	dies := func(w **world) func(x *exchangeWithFake) {
		return func(x *exchangeWithFake) {
			x.lease()
			time.Sleep(3 * time.Second)
			(*w).kill(x.fakeProvider)
		}
	}
	freezes := func(**world) func(x *exchangeWithFake) {
		return func(x *exchangeWithFake) {
			x.lease()
			time.Sleep(3 * time.Second)
			x.freeze()
			<-x.gone
		}
	}
	for name, c := range map[string]struct {
		how    func(**world) func(*exchangeWithFake)
		within time.Duration
	}{
		"connection cut": {dies, 100 * time.Millisecond},
		"silent peer":    {freezes, 1500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			var w *world
			bad, good := newFakeProvider(t, nil), newFakeProvider(t, honest)
			bad.run = c.how(&w)
			inWorld(t, []*fakeProvider{bad}, func(t *testing.T, world *world) {
				w = world
				id, err := w.requester.Submit(context.Background(), w.spec(), &protocol.Terms{Where: protocol.WhereRemote}, "prog")
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				w.offer(good)
				time.Sleep(2*time.Second + c.within)
				task, err := w.requester.Task(string(id))
				if err != nil {
					t.Fatal(err)
				}
				check(t, task, protocol.StateDone, 0, "")
				if got := states(task); got != "unreachable done" && got != "cancelled done" {
					t.Errorf("the attempts ended %s: %v", got, task.Replicas)
				}
			})
		})
	}
}

func TestStreamedOutputSurvivesAFailover(t *testing.T) {
	var w *world
	first := newFakeProvider(t, func(x *exchangeWithFake) {
		x.lease()
		out := x.stream()
		write(out, 1, "one\ntwo\n")
		write(out, 2, "warning\n")
		time.Sleep(time.Second)
		w.kill(x.fakeProvider)
		out.Reset()
	})
	second := newFakeProvider(t, func(x *exchangeWithFake) {
		x.lease()
		out := x.stream()
		write(out, 1, "one\n")
		time.Sleep(time.Second)
		write(out, 1, "two\nthree\n")
		write(out, 2, "other!!\nlast\n")
		write(out, 0, "")
		o := x.outcome(0, "one\ntwo\nthree\n")
		o.Streamed, o.Stdout = true, nil
		x.finish(o)
	})
	inWorld(t, []*fakeProvider{first}, func(t *testing.T, world *world) {
		w = world
		id, err := w.requester.Submit(context.Background(), w.spec(), &protocol.Terms{Where: protocol.WhereRemote}, "prog")
		if err != nil {
			t.Fatal(err)
		}
		var shown [2]strings.Builder
		go func() {
			time.Sleep(500 * time.Millisecond)
			w.offer(second)
		}()
		task, err := w.requester.Follow(context.Background(), id, func(fd int, p []byte) error {
			shown[fd-1].Write(p)
			return nil
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		check(t, task, protocol.StateDone, 0, "")
		if shown[0].String() != "one\ntwo\nthree\n" || shown[1].String() != "warning\nlast\n" {
			t.Errorf("shown: %q and %q", shown[0].String(), shown[1].String())
		}
	})
}

func TestDivergingOutputStopsTheTask(t *testing.T) {
	var w *world
	first := newFakeProvider(t, func(x *exchangeWithFake) {
		x.lease()
		write(x.stream(), 1, "one\n")
		time.Sleep(time.Second)
		w.kill(x.fakeProvider)
	})
	second := newFakeProvider(t, func(x *exchangeWithFake) {
		x.lease()
		x.finish(x.outcome(0, "another\n"))
	})
	inWorld(t, []*fakeProvider{first}, func(t *testing.T, world *world) {
		w = world
		go func() {
			time.Sleep(500 * time.Millisecond)
			w.offer(second)
		}()
		check(t, w.do(&protocol.Terms{}), protocol.StateDone, protocol.ExitSystem, protocol.CodeDiverged)
	})
}

func TestLiesAreNotAccepted(t *testing.T) {
	for name, lie := range map[string]func(*protocol.Outcome){
		"other output than its digest": func(o *protocol.Outcome) { o.Stdout = []byte("hellO\n") },
		"other exit than its digest":   func(o *protocol.Outcome) { o.Result.ExitCode = 3 },
		"another's receipt":            func(o *protocol.Outcome) { o.Receipt.Nonce = make([]byte, 16) },
		"a receipt to somebody else":   func(o *protocol.Outcome) { o.Receipt.Requester = o.Receipt.Provider },
		"output announced, not sent":   func(o *protocol.Outcome) { o.Result.Stdout.Size = 1 << 20 },
	} {
		t.Run(name, func(t *testing.T) {
			liar := newFakeProvider(t, func(x *exchangeWithFake) {
				x.lease()
				o := x.outcome(0, "hello\n")
				lie(o)
				x.finish(o)
			})
			inWorld(t, []*fakeProvider{liar}, func(t *testing.T, w *world) {
				go func() {
					time.Sleep(20 * time.Millisecond)
					w.offer(newFakeProvider(t, honest))
				}()
				task := w.do(&protocol.Terms{})
				check(t, task, protocol.StateDone, 0, "")
				if liar.runs() != 1 || w.text(task, 1) != "hello\n" {
					t.Errorf("the liar was asked %d times; stdout is %q", liar.runs(), w.text(task, 1))
				}
			})
		})
	}
}

func TestMalformedRepliesEndTheStream(t *testing.T) {
	for name, reply := range map[string]*protocol.Reply{
		"a load beyond reason":    {Body: &protocol.Reply_Lease{Lease: &protocol.Lease{Load: &protocol.Load{Slots: 1 << 30}}}},
		"an outcome of nothing":   {Body: &protocol.Reply_Outcome{Outcome: &protocol.Outcome{}}},
		"a load to a lease":       {Body: &protocol.Reply_Load{Load: &protocol.Load{Slots: 2}}},
		"a refusal beyond reason": {Body: &protocol.Reply_Refusal{Refusal: &protocol.Refusal{Code: "E-BUSY", Load: &protocol.Load{Queued: 1 << 30}}}},
		"a code with an escape":   {Body: &protocol.Reply_Refusal{Refusal: &protocol.Refusal{Code: "E-\x1b[2J"}}},
		"a state from nowhere":    {Body: &protocol.Reply_Progress{Progress: -7}},
		"progress that is none":   {Body: &protocol.Reply_Progress{Progress: protocol.StateDone}},
		"nothing":                 {},
		"text without a measure":  {Body: &protocol.Reply_Outcome{Outcome: &protocol.Outcome{Code: "X", Message: strings.Repeat("x", protocol.MaxText+1)}}},
	} {
		t.Run(name, func(t *testing.T) {
			bad := newFakeProvider(t, func(x *exchangeWithFake) { x.reply(reply) })
			inWorld(t, []*fakeProvider{bad}, func(t *testing.T, w *world) {
				task := w.do(&protocol.Terms{})
				check(t, task, protocol.StateLost, protocol.ExitSystem, protocol.CodeLost)
			})
		})
	}
}

func TestTooMuchOutputIsCutOff(t *testing.T) {
	flood := newFakeProvider(t, func(x *exchangeWithFake) {
		x.lease()
		out := x.stream()
		for range 100 { // of 32 KiB; the task allows 1 MiB
			write(out, 1, strings.Repeat("y", protocol.MaxOutputChunk))
		}
	})
	inWorld(t, []*fakeProvider{flood}, func(t *testing.T, w *world) {
		task := w.do(&protocol.Terms{})
		check(t, task, protocol.StateLost, protocol.ExitSystem, protocol.CodeLost)
		if size := task.Result.Stdout.Size; size > 1<<20 {
			t.Errorf("%d bytes were kept", size)
		}
	})
}

func TestReplicasGoToDistinctPeersAndTheFirstWins(t *testing.T) {
	var withdrawn atomic.Int32
	slow := func(x *exchangeWithFake) {
		x.lease()
		<-x.gone
		withdrawn.Add(1)
	}
	providers := []*fakeProvider{newFakeProvider(t, slow), newFakeProvider(t, slow), newFakeProvider(t, func(x *exchangeWithFake) {
		x.lease()
		time.Sleep(2 * time.Second)
		x.finish(x.outcome(0, "hello\n"))
	})}
	inWorld(t, providers, func(t *testing.T, w *world) {
		task := w.do(&protocol.Terms{Replicas: 3})
		check(t, task, protocol.StateDone, 0, "")
		seen := make(map[string]bool)
		for _, a := range task.Replicas {
			seen[a.Provider] = true
		}
		if len(seen) != 3 || len(task.Replicas) != 3 {
			t.Errorf("3 replicas ran on %d peers in %d attempts", len(seen), len(task.Replicas))
		}
		time.Sleep(100 * time.Millisecond)
		if n := withdrawn.Load(); n != 2 {
			t.Errorf("%d of 2 losers were told", n)
		}
	})
}

func TestNobodyToRunItEndsAtOnce(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		check(t, w.do(&protocol.Terms{}), protocol.StateRefused, protocol.ExitSystem, protocol.CodeNoPeers)
	})
	small := newFakeProvider(t, honest)
	inWorld(t, []*fakeProvider{small}, func(t *testing.T, w *world) {
		spec := w.spec()
		spec.Limits.MemoryBytes = 3 << 30
		task, err := w.requester.Do(context.Background(), spec, &protocol.Terms{Where: protocol.WhereRemote}, "prog")
		if err != nil {
			t.Fatal(err)
		}
		check(t, task, protocol.StateRefused, protocol.ExitSystem, protocol.CodeNoOffers)
	})
}

func TestCancelEndsATaskAndTellsItsProvider(t *testing.T) {
	var told atomic.Bool
	p := newFakeProvider(t, func(x *exchangeWithFake) {
		hangs(x)
		told.Store(true)
	})
	inWorld(t, []*fakeProvider{p}, func(t *testing.T, w *world) {
		id, err := w.requester.Submit(context.Background(), w.spec(), &protocol.Terms{Where: protocol.WhereRemote}, "prog")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := w.requester.Cancel(id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		task, err := w.requester.Task(string(id))
		if err != nil {
			t.Fatal(err)
		}
		check(t, task, protocol.StateCancelled, protocol.ExitSystem, protocol.CodeCancelled)
		if !told.Load() {
			t.Error("the provider still runs it")
		}
	})
}

func TestUnfinishedTasksAreTakenUpAfterARestart(t *testing.T) {
	p := newFakeProvider(t, hangs)
	inWorld(t, []*fakeProvider{p}, func(t *testing.T, w *world) {
		earlier := w.requester
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- earlier.Run(ctx) }()
		id, err := earlier.Submit(context.Background(), w.spec(), &protocol.Terms{Where: protocol.WhereRemote, Detached: true}, "prog")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		p.run = honest
		w.start()
		ctx, stop = context.WithCancel(context.Background())
		go func() { done <- w.requester.Run(ctx) }()
		time.Sleep(time.Second)
		task, err := w.requester.Task(string(id))
		if err != nil {
			t.Fatal(err)
		}
		check(t, task, protocol.StateDone, 0, "")
		if got := states(task); got != "lost done" {
			t.Errorf("the attempts ended %s", got)
		}
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestSystemEndsMustAddUp(t *testing.T) {
	for name, change := range map[string]func(*protocol.Result){
		"a system failure without a code": func(r *protocol.Result) { r.ExitSource = protocol.FromSystem },
		"a guest's end with a code":       func(r *protocol.Result) { r.Code = string(protocol.CodeTrap) },
		"a cancellation nobody asked for": func(r *protocol.Result) {
			r.ExitSource, r.Code, r.ExitCode = protocol.FromSystem, string(protocol.CodeCancelled), protocol.ExitSystem
		},
		"a timeout that exits with 0": func(r *protocol.Result) {
			r.ExitSource, r.Code = protocol.FromSystem, string(protocol.CodeTimeout)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bad := newFakeProvider(t, func(x *exchangeWithFake) {
				x.lease()
				o := x.outcome(0, "hello\n")
				change(o.Result)
				x.finish(o)
			})
			inWorld(t, []*fakeProvider{bad}, func(t *testing.T, w *world) {
				check(t, w.do(&protocol.Terms{}), protocol.StateLost, protocol.ExitSystem, protocol.CodeLost)
			})
		})
	}
}

func TestRestartedNodeWaitsForItsPeers(t *testing.T) {
	late := newFakeProvider(t, honest)
	inWorld(t, nil, func(t *testing.T, w *world) {
		time.Sleep(settleNew) // the node is not new any more
		spec, err := w.spec().Marshal()
		if err != nil {
			t.Fatal(err)
		}
		w.requester.resume(&protocol.Task{
			Id: "aaaaaaaaaa", Spec: spec, Terms: &protocol.Terms{Replicas: 1, Where: protocol.WhereRemote, Detached: true},
		})
		time.Sleep(10 * time.Second)
		w.offer(late)
		time.Sleep(10 * time.Second)
		task, err := w.requester.Task("aaaaaaaaaa")
		if err != nil {
			t.Fatal(err)
		}
		check(t, task, protocol.StateDone, 0, "")
	})
}

func TestProviderThatNeverAnswersIsGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		run  func(*exchangeWithFake)
		want string
	}{
		"it gives no lease":         {func(x *exchangeWithFake) { <-x.gone }, "unreachable done"},
		"it forgets what it leases": {func(x *exchangeWithFake) { x.lease(); <-x.gone }, "lost done"}, // its beats name nothing
		"its output never comes": {func(x *exchangeWithFake) {
			x.lease()
			o := x.outcome(0, "hello\n")
			o.Streamed, o.Stdout = true, nil
			x.finish(o)
		}, "failed done"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := newFakeProvider(t, c.run)
			bad.speed = 4 // so that it is the first choice
			// One that is under suspicion only is given up before this answers.
			good := newFakeProvider(t, func(x *exchangeWithFake) {
				x.lease()
				time.Sleep(time.Minute)
				x.finish(x.outcome(0, "hello\n"))
			})
			good.tells = true
			inWorld(t, []*fakeProvider{bad, good}, func(t *testing.T, w *world) {
				task := w.do(&protocol.Terms{})
				check(t, task, protocol.StateDone, 0, "")
				if got := states(task); got != c.want {
					t.Errorf("the attempts ended %s", got)
				}
			})
		})
	}
}

func TestShorterOutputAfterAFailoverIsNotAccepted(t *testing.T) {
	var w *world
	first := newFakeProvider(t, func(x *exchangeWithFake) {
		x.lease()
		write(x.stream(), 1, "one\ntwo\n")
		time.Sleep(time.Second)
		w.kill(x.fakeProvider)
	})
	inWorld(t, []*fakeProvider{first}, func(t *testing.T, world *world) {
		w = world
		go func() {
			time.Sleep(500 * time.Millisecond)
			w.offer(newFakeProvider(t, func(x *exchangeWithFake) {
				x.lease()
				x.finish(x.outcome(0, "one\n"))
			}))
		}()
		check(t, w.do(&protocol.Terms{}), protocol.StateDone, protocol.ExitSystem, protocol.CodeDiverged)
	})
}

func TestOnlyLiarsEndTheTask(t *testing.T) {
	liar := newFakeProvider(t, func(x *exchangeWithFake) {
		x.lease()
		o := x.outcome(0, "hello\n")
		o.Stdout = []byte("hellO\n")
		x.finish(o)
	})
	inWorld(t, []*fakeProvider{liar}, func(t *testing.T, w *world) {
		start := time.Now()
		check(t, w.do(&protocol.Terms{}), protocol.StateRefused, protocol.ExitSystem, protocol.CodeNoOffers)
		if took := time.Since(start); took > 2*settleLost {
			t.Errorf("it took %s to give up", took)
		}
		if liar.runs() != 1 {
			t.Errorf("it was asked %d times", liar.runs())
		}
	})
}

func TestReplicasAreKeptWhenPeersAreBusyAtFirst(t *testing.T) {
	busy := newFakeProvider(t, honest)
	busy.load = &protocol.Load{Slots: 2, Availability: protocol.Full}
	slow := func(x *exchangeWithFake) {
		x.lease()
		time.Sleep(20 * time.Second)
		x.finish(x.outcome(0, "hello\n"))
	}
	busy.run = slow
	other := newFakeProvider(t, slow)
	busy.tells, other.tells = true, true
	inWorld(t, []*fakeProvider{busy, other}, func(t *testing.T, w *world) {
		go func() {
			time.Sleep(time.Second)
			busy.mu.Lock()
			busy.load = &protocol.Load{Slots: 2}
			busy.mu.Unlock()
		}()
		task := w.do(&protocol.Terms{Replicas: 2})
		check(t, task, protocol.StateDone, 0, "")
		if len(task.Replicas) < 2 {
			t.Errorf("2 replicas became %d", len(task.Replicas))
		}
	})
}

func TestShutdownWhilePlacingLeavesTheTaskOpen(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.discovering = func(ctx context.Context) { <-ctx.Done() }
		id, err := w.requester.Submit(context.Background(), w.spec(), &protocol.Terms{Where: protocol.WhereRemote, Detached: true}, "prog")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		w.requester.stop(errStopping)
		time.Sleep(time.Second)
		task, err := w.journal.Task(string(id))
		if err != nil || task.Result != nil {
			t.Errorf("the shutdown concluded it as %v, %v", task.GetResult(), err)
		}
	})
}

func TestRefusalsArePacedAndTheirRecordBounded(t *testing.T) {
	var providers []*fakeProvider
	for range 6 {
		providers = append(providers, newFakeProvider(t, refusing(protocol.CodeBusy)))
	}
	inWorld(t, providers, func(t *testing.T, w *world) {
		id, err := w.requester.Submit(context.Background(), w.spec(), &protocol.Terms{Where: protocol.WhereRemote}, "prog")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		asked := 0
		for _, p := range providers {
			asked += p.runs()
		}
		task, err := w.requester.Task(string(id))
		if err != nil {
			t.Fatal(err)
		}
		if asked > 10*60*3 || asked < 100 || len(task.Replicas) > maxReplicasKept {
			t.Errorf("asked %d times in 10 minutes, %d attempts kept", asked, len(task.Replicas))
		}
		if err := w.requester.Cancel(id); err != nil {
			t.Fatal(err)
		}
	})
}

func TestFollowerIsToldOfALongWaitOnly(t *testing.T) {
	p := newFakeProvider(t, refusing(protocol.CodeBusy))
	inWorld(t, []*fakeProvider{p}, func(t *testing.T, w *world) {
		id, err := w.requester.Submit(context.Background(), w.spec(), &protocol.Terms{Where: protocol.WhereRemote}, "prog")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var told []time.Duration
		_, err = w.requester.Follow(ctx, id, nil, func(task *protocol.Task) {
			if strings.HasPrefix(task.Reason, "waiting") {
				told = append(told, time.Since(start))
			}
		})
		if err == nil || len(told) == 0 || told[0] < tellAfter {
			t.Errorf("told after %v; %v", told, err)
		}
		if err := w.requester.Cancel(id); err != nil {
			t.Fatal(err)
		}
	})
}

func TestLastPeerMayComeBack(t *testing.T) {
	p := newFakeProvider(t, nil)
	inWorld(t, []*fakeProvider{p}, func(t *testing.T, w *world) {
		p.run = func(x *exchangeWithFake) {
			if x.ask.Attempt > 1 {
				honest(x)
				return
			}
			x.lease()
			time.Sleep(time.Second)
			w.kill(p)
			time.Sleep(30 * time.Second)
			w.revive(p)
		}
		task := w.do(&protocol.Terms{})
		check(t, task, protocol.StateDone, 0, "")
		if a := task.Replicas[0]; a.State != protocol.StateLost || !strings.Contains(a.Reason, errUnreachable.Error()) || !strings.Contains(a.Reason, errForgotten.Error()) {
			t.Errorf("the first attempt: %v", a)
		}
	})
}

// All whom it asks for a spare may be dead with the first: others are asked then.
func TestSpareIsNotGivenToTheSilent(t *testing.T) {
	for range 20 {
		first, alive := newFakeProvider(t, nil), newFakeProvider(t, honest)
		first.speed = 1000
		list := []*fakeProvider{first, alive}
		for range 4 {
			p := newFakeProvider(t, honest)
			p.speed = 4
			list = append(list, p)
		}
		first.run = func(x *exchangeWithFake) {
			x.lease()
			time.Sleep(time.Second)
			for _, p := range list {
				if p != alive {
					p.freeze()
				}
			}
		}
		inWorld(t, list, func(t *testing.T, w *world) {
			for _, p := range list { // streams are open to all
				if _, err := w.requester.pairs.get(t.Context(), p.id); err != nil {
					t.Fatal(err)
				}
			}
			task := w.do(&protocol.Terms{})
			check(t, task, protocol.StateDone, 0, "")
			for _, a := range task.Replicas[1:] {
				if a.Provider != alive.id.String() {
					t.Errorf("a spare was given to a silent one: %s", a.Reason)
				}
			}
		})
	}
}
