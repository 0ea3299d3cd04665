package provider

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spare-network/spare/protocol"
)

func TestReplicaRunsAndIsReceipted(t *testing.T) {
	inScene(t, &fakeRunner{run: echo, warm: true}, func(t *testing.T, s *scene) {
		run := s.ask(1, s.spec())
		if lease := s.next().GetLease(); lease == nil || !lease.Warm || lease.Load.Running != 1 {
			t.Fatalf("first reply: %v", lease)
		}
		o := s.outcome()
		stdout := protocol.DigestOf([]byte("prog"))
		if o.Code != "" || string(o.Stdout) != "prog" || o.Result.ExitCode != 3 || o.Result.Stdout.Sum() != stdout || o.Load.Running != 0 {
			t.Errorf("outcome: %v", o)
		}
		want := protocol.ResultDigest(&protocol.Result{ExitCode: 3, Stdout: &protocol.Blob{Digest: stdout[:], Size: 4}, Gas: 77}, protocol.Profile)
		if protocol.Digest(o.Result.Digest) != want || o.Receipt.Gas != 77 || string(o.Receipt.Nonce) != string(run.Nonce) {
			t.Error("the receipt is of something else")
		}
		batch := s.next().GetReceipts()
		if err := batch.Verify(testNetwork, s.self, []*protocol.Receipt{o.Receipt}); err != nil {
			t.Error(err)
		}
		o.Receipt.WallUs++
		if batch.Verify(testNetwork, s.self, []*protocol.Receipt{o.Receipt}) == nil {
			t.Error("the signature fits another receipt, too")
		}
	})
}

func TestManyReceiptsAreSignedInFewBatches(t *testing.T) {
	inScene(t, &fakeRunner{run: echo, warm: true}, func(t *testing.T, s *scene) {
		receipts := make(map[string]*protocol.Receipt)
		var batches []*protocol.ReceiptBatch
		signed := 0
		const n = 300
		for i := range uint64(n) {
			s.ask(i+1, s.spec())
			receipts[string(s.outcome().Receipt.Nonce)] = nil
		}
		for signed < n {
			if b := s.next().GetReceipts(); b != nil {
				batches = append(batches, b)
				signed += len(b.Nonces)
			}
		}
		if len(batches) > 2 || signed != n {
			t.Errorf("%d receipts were signed in %d batches", signed, len(batches))
		}
	})
}

func TestWhatIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *scene, spec *protocol.Spec, run *protocol.Run)
		code   protocol.Code
	}{
		"another profile":           {func(_ *scene, sp *protocol.Spec, _ *protocol.Run) { sp.Profile++ }, protocol.CodeRefused},
		"a spec without a module":   {func(_ *scene, sp *protocol.Spec, _ *protocol.Run) { sp.Module = nil }, protocol.CodeBadRequest},
		"a short nonce":             {func(_ *scene, _ *protocol.Spec, r *protocol.Run) { r.Nonce = r.Nonce[:8] }, protocol.CodeBadRequest},
		"escapes for a task ID":     {func(_ *scene, _ *protocol.Spec, r *protocol.Run) { r.Task = "\x1b[31m" }, protocol.CodeBadRequest},
		"while the owner is active": {func(s *scene, _ *protocol.Spec, _ *protocol.Run) { s.is(protocol.OwnerBusy) }, protocol.CodeRefused},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, &fakeRunner{run: echo}, func(t *testing.T, s *scene) {
				spec, nonce := s.spec(), protocol.NewNonce()
				run := &protocol.Run{Nonce: nonce[:]}
				c.change(s, spec, run)
				raw, err := spec.Marshal()
				if err != nil {
					t.Fatal(err)
				}
				run.Spec = raw
				s.send(1, run)
				if refusal := s.next().GetRefusal(); refusal == nil || refusal.Code != string(c.code) || refusal.Message == "" || refusal.Load == nil {
					t.Errorf("refusal: %v", refusal)
				}
				s.is(protocol.Open)
				s.ask(2, s.spec()) // the stream is as good as before
				s.outcome()
			})
		})
	}
}

func TestRefusalNamesTheCeiling(t *testing.T) {
	for want, change := range map[string]func(*protocol.Spec){
		"the task may use 2 GiB of memory, this node gives at most 1 GiB":      func(s *protocol.Spec) { s.Limits.MemoryBytes = 2 << 30 },
		"the task may use 2m of run time, this node gives at most 1m":          func(s *protocol.Spec) { s.Limits.WallMs = 120_000 },
		"the task may use 2 T of gas, this node gives at most 1 T":             func(s *protocol.Spec) { s.Limits.Gas = 2e12 },
		"the task may use 101 files, this node gives at most 100":              func(s *protocol.Spec) { s.Limits.Files = 101 },
		"the task may use 2 MiB for its module, this node gives at most 1 MiB": func(s *protocol.Spec) { s.Module.Size = 2 << 20 },
		"the task needs sandbox profile 1000, this node has " + profile:        func(s *protocol.Spec) { s.Profile = 1000 },
	} {
		t.Run(want, func(t *testing.T) {
			inScene(t, &fakeRunner{run: echo}, func(t *testing.T, s *scene) {
				spec := s.spec()
				change(spec)
				s.ask(1, spec)
				if refusal := s.next().GetRefusal(); refusal.GetCode() != string(protocol.CodeRefused) || refusal.GetMessage() != want {
					t.Errorf("refusal: %v", refusal)
				}
			})
		})
	}
}

var profile = strconv.Itoa(protocol.Profile)

func TestReplicaRunsOnlyOnce(t *testing.T) {
	inScene(t, &fakeRunner{run: echo}, func(t *testing.T, s *scene) {
		run := s.ask(1, s.spec())
		s.outcome()
		s.send(2, run)
		if refusal := s.next().GetRefusal(); refusal.GetCode() != string(protocol.CodeReplay) {
			t.Errorf("the second time: %v", refusal)
		}
	})
}

func TestFullProviderRefusesWithItsLoad(t *testing.T) {
	inScene(t, &fakeRunner{run: until}, func(t *testing.T, s *scene) {
		for i := range uint64(4) { // two slots, two in the queue
			s.ask(i+1, s.spec())
			if s.next().GetLease() == nil {
				t.Fatal("no lease")
			}
		}
		s.ask(5, s.spec())
		refusal := s.next().GetRefusal()
		if refusal.GetCode() != string(protocol.CodeBusy) || refusal.Load.Running != 2 || refusal.Load.Queued != 2 || refusal.Load.Availability != protocol.Full {
			t.Errorf("the fifth: %v", refusal)
		}
	})
}

func TestMissingModuleComesFromItsRequester(t *testing.T) {
	var got string
	runner := &fakeRunner{run: func(ctx context.Context, x Execution) (Outcome, error) {
		rc, err := x.Module()
		if err != nil {
			return Outcome{}, err
		}
		defer rc.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(rc); err != nil {
			return Outcome{}, err
		}
		got = b.String()
		return echo(ctx, x)
	}}
	inScene(t, runner, func(t *testing.T, s *scene) {
		s.ask(1, s.spec())
		if o := s.outcome(); o.Code != "" || got != string(s.module) {
			t.Errorf("outcome %v, module %q", o, got)
		}
	})
	for name, b := range map[string][]byte{"other bytes": []byte("\x00asm MODULE"), "fewer bytes": []byte("\x00asm"), "nothing": nil} {
		t.Run(name, func(t *testing.T) {
			inScene(t, runner, func(t *testing.T, s *scene) {
				s.gives(protocol.DigestOf(s.module), b)
				s.ask(1, s.spec())
				if o := s.outcome(); o.Code != string(protocol.CodeBlob) {
					t.Errorf("outcome: %v", o)
				}
			})
		})
	}
}

func TestDamagedModuleIsFetchedAnew(t *testing.T) {
	runner := &fakeRunner{}
	inScene(t, runner, func(t *testing.T, s *scene) {
		damaged := true
		runner.run = func(ctx context.Context, x Execution) (Outcome, error) {
			if damaged {
				return Outcome{}, protocol.Errorf(protocol.CodeBlob, "the module's bytes are not what its digest says")
			}
			return echo(ctx, x)
		}
		s.ask(1, s.spec())
		if o := s.outcome(); o.Code != string(protocol.CodeBlob) {
			t.Errorf("outcome: %v", o)
		}
		if s.store.Blobs().Has(protocol.DigestOf(s.module)) {
			t.Error("the damaged module is kept")
		}
		damaged = false
		s.ask(2, s.spec())
		if o := s.outcome(); o.Code != "" {
			t.Errorf("outcome of the next: %v", o)
		}
	})
}

func TestOutputTakesTheRightWay(t *testing.T) {
	big := strings.Repeat("x", protocol.MaxInline+1)
	for name, c := range map[string]struct {
		written, left string
		streamed      bool
	}{
		"small and at the end":     {"", "hello", false},
		"written while it runs":    {"hello", "", true},
		"begun early, ended later": {"hello", " world", true},
		"too large to ride along":  {"", big, true},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, &fakeRunner{run: func(_ context.Context, x Execution) (Outcome, error) {
				if c.written != "" {
					x.Output(1, []byte(c.written))
				}
				return Outcome{Stdout: []byte(c.left)}, nil
			}}, func(t *testing.T, s *scene) {
				s.ask(1, s.spec())
				o := s.outcome()
				synctest.Wait()
				all := s.outputs[0].String() + string(o.Stdout)
				if o.Streamed != c.streamed || all != c.written+c.left || o.Result.Stdout.Sum() != protocol.DigestOf([]byte(all)) {
					t.Errorf("streamed %v, %d bytes", o.Streamed, len(all))
				}
				if want := map[bool]int{true: 1}[c.streamed]; s.streams != want {
					t.Errorf("%d output streams", s.streams)
				}
			})
		})
	}
}

func TestWithdrawnReplicaIsStopped(t *testing.T) {
	inScene(t, &fakeRunner{run: until}, func(t *testing.T, s *scene) {
		s.ask(1, s.spec())
		s.running()
		if err := s.tasks.Send(&protocol.Ask{Id: 1, Body: &protocol.Ask_Cancel{}}); err != nil {
			t.Fatal(err)
		}
		if o := s.outcome(); o.Code != string(protocol.CodeCancelled) {
			t.Errorf("outcome: %v", o)
		}
	})
}

func TestReplicaOutlivesItsConnectionForAWhile(t *testing.T) {
	for _, c := range []struct {
		name     string
		detached bool
		lives    time.Duration
	}{
		{"attached", false, attachedFor},
		{"detached", true, detachedFor},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stopped error
			inScene(t, &fakeRunner{run: func(ctx context.Context, x Execution) (Outcome, error) {
				_, err := until(ctx, x)
				stopped = context.Cause(ctx)
				return Outcome{}, err
			}}, func(t *testing.T, s *scene) {
				raw, err := s.spec().Marshal()
				if err != nil {
					t.Fatal(err)
				}
				nonce := protocol.NewNonce()
				s.send(1, &protocol.Run{Spec: raw, Nonce: nonce[:], Detached: c.detached})
				s.running()
				s.tasks.Reset()
				time.Sleep(c.lives - time.Second)
				if load := s.provider.Load(); load.Running != 1 {
					t.Errorf("load before its time is over: %v", load)
				}
				time.Sleep(2 * time.Second)
				if load := s.provider.Load(); load.Running != 0 || !errors.Is(stopped, errGone) {
					t.Errorf("load afterwards: %v, stopped because %v", load, stopped)
				}
			})
		})
	}
}

func TestProbeTellsTheLoad(t *testing.T) {
	inScene(t, &fakeRunner{run: until}, func(t *testing.T, s *scene) {
		s.ask(1, s.spec())
		s.next()
		if err := s.tasks.Send(&protocol.Ask{Id: 2, Body: &protocol.Ask_Probe{Probe: &protocol.Probe{}}}); err != nil {
			t.Fatal(err)
		}
		if reply := s.next(); reply.Id != 2 || reply.GetLoad().GetRunning() != 1 || reply.GetLoad().GetSlots() != 2 {
			t.Errorf("reply: %v", reply)
		}
	})
}

// A long run counts before it ends: else those who ask take its provider for
// one that is free in a moment.
func TestLoadTellsOfLongRunsBeforeTheyEnd(t *testing.T) {
	inScene(t, &fakeRunner{run: until}, func(t *testing.T, s *scene) {
		mean := func() time.Duration { return time.Duration(s.provider.Load().MeanRunUs) * time.Microsecond }
		s.ask(1, s.spec())
		s.next()
		synctest.Wait()
		if got := mean(); got != time.Millisecond {
			t.Errorf("at first a run takes %v", got)
		}
		time.Sleep(30 * time.Second)
		if got := mean(); got < 29*time.Second || got > 31*time.Second {
			t.Errorf("after 30 s of the only run, one takes %v", got)
		}
		s.ask(2, s.spec())
		s.next()
		synctest.Wait()
		if got := mean(); got < 14*time.Second || got > 16*time.Second {
			t.Errorf("30 s and none are %v in the mean", got)
		}
		for id := range uint64(2) {
			if err := s.tasks.Send(&protocol.Ask{Id: id + 1, Body: &protocol.Ask_Cancel{Cancel: &protocol.Cancel{}}}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := mean(); got != time.Millisecond {
			t.Errorf("after their end a run takes %v", got)
		}
	})
}

func TestSilentRequesterLosesItsAttachedReplicas(t *testing.T) {
	inScene(t, &fakeRunner{run: until}, func(t *testing.T, s *scene) {
		attached := s.ask(1, s.spec())
		s.next()
		detached := &protocol.Run{Spec: attached.Spec, Detached: true}
		nonce := protocol.NewNonce()
		detached.Nonce = nonce[:]
		s.send(2, detached)
		s.running()

		ours, theirs := net.Pipe()
		liveness := protocol.NewConn(ours, s.self, protocol.MaxBeat)
		s.wg.Go(func() {
			s.provider.ServeLiveness(context.Background(), protocol.NewConn(theirs, s.requester, protocol.MaxBeat))
		})
		beat := new(protocol.Beat)
		if err := liveness.Recv(beat); err != nil || len(beat.Progress) != 2 || beat.Progress[0].State != protocol.StateRunning || len(beat.Padding) < protocol.MinBeat {
			t.Errorf("first beat: %v, %v", beat, err)
		}
		s.wg.Go(func() {
			for liveness.Recv(new(protocol.Beat)) == nil {
			}
		})
		for range 60 { // 15 s of beats keep both
			if err := liveness.Send(&protocol.Beat{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(protocol.BeatEvery)
		}
		if load := s.provider.Load(); load.Running != 2 {
			t.Errorf("while the requester lives: %v", load)
		}
		if o := s.outcome(); o.Code != string(protocol.CodeCancelled) || !strings.Contains(o.Message, errGone.Error()) {
			t.Errorf("outcome: %v", o)
		}
		if load := s.provider.Load(); load.Running != 1 {
			t.Errorf("after its silence: %v", load)
		}
		liveness.Reset()
	})
}

func TestOffersArePublishedEagerlyThenOnChangeThenRarely(t *testing.T) {
	inScene(t, &fakeRunner{run: until}, func(t *testing.T, s *scene) {
		count := func() int {
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.published)
		}
		time.Sleep(eagerFor)
		if n := count(); n < 4 || n > 7 {
			t.Errorf("%d offers in the first %s", n, eagerFor)
		}
		before := count()
		time.Sleep(10 * time.Minute)
		if n := count() - before; n < 20 || n > 40 {
			t.Errorf("%d keepalives in 10 minutes", n)
		}
		if s.advertised < 2 {
			t.Errorf("the capability record was renewed %d times", s.advertised)
		}
		before = count()
		s.ask(1, s.spec())
		s.next()
		time.Sleep(2 * minGap)
		if count() == before {
			t.Error("a changed load was not published within two gaps")
		}
		if last := s.published[len(s.published)-1]; last.Load.Running != 1 || last.TTL() != keepalives*keepaliveMin || last.Gas != 1e12 || last.FileBytes != 1<<30 || last.Files != 100 || last.ModuleBytes != 1<<20 {
			t.Errorf("the last offer: %v", last)
		}
	})
}

func TestKeepalivesOfAllMembersTogetherAreFew(t *testing.T) {
	for _, c := range []struct {
		members int
		gap     time.Duration
	}{{0, 20 * time.Second}, {1, 20 * time.Second}, {10, 30 * time.Second}, {30, 90 * time.Second}, {51, 100 * time.Second}, {10_000, 100 * time.Second}} {
		if gap := keepaliveGap(c.members); gap != c.gap || keepalives*gap > protocol.MaxOfferTTL {
			t.Errorf("%d members: each after %s, want %s", c.members, gap, c.gap)
		}
	}
}

func TestWhatIsCountersignedIsNotSignedAgain(t *testing.T) {
	inScene(t, &fakeRunner{run: echo, warm: true}, func(t *testing.T, s *scene) {
		run := s.ask(1, s.spec())
		receipts := []*protocol.Receipt{s.outcome().Receipt}
		if s.next().GetReceipts() == nil {
			t.Fatal("nothing is signed")
		}
		batch, err := protocol.CountersignReceipts(testNetwork, s.requesterKey, receipts)
		if err != nil {
			t.Fatal(err)
		}
		for _, ask := range []*protocol.Ask{
			{Body: &protocol.Ask_Countersigned{Countersigned: batch}},
			{Id: 2, Body: &protocol.Ask_Claim{Claim: &protocol.Claim{Nonce: run.Nonce}}},
		} {
			if err := s.tasks.Send(ask); err != nil {
				t.Fatal(err)
			}
		}
		s.outcome()
		time.Sleep(2 * signDelay)
		if err := s.tasks.Send(&protocol.Ask{Id: 3, Body: &protocol.Ask_Probe{Probe: &protocol.Probe{}}}); err != nil {
			t.Fatal(err)
		}
		if reply := s.next(); reply.GetLoad() == nil {
			t.Errorf("after the outcome: %v", reply)
		}
		synctest.Wait()
		s.ledger.mu.Lock()
		defer s.ledger.mu.Unlock()
		if got := s.ledger.served[s.requester]; got != 77 {
			t.Errorf("%d gas are noted, of 77", got)
		}
	})
}
