package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/spare-network/spare/protocol"
)

func TestWarmWorkerIsUsedAgain(t *testing.T) {
	p := newPool(t, 1)
	opened := 0
	x := execution(t, "a", copier(), stdin([]byte("hello")))
	module := x.Module
	x.Module = func() (io.ReadCloser, error) { opened++; return module() }
	var states []protocol.State
	x.State = func(s protocol.State) { states = append(states, s) }
	if p.Warm(x.Owner, x.Spec.Module.Sum()) {
		t.Error("warm before the first run")
	}
	for range 3 {
		if o := run(t, p, x); string(o.Stdout) != "hello" {
			t.Fatalf("outcome: %+v", o)
		}
	}
	if opened != 1 { // for the compile worker
		t.Errorf("the module was opened %d times", opened)
	}
	want := []protocol.State{protocol.StateCompiling, protocol.StateRunning, protocol.StateRunning, protocol.StateRunning}
	if !slices.Equal(states, want) {
		t.Errorf("states %v, want %v", states, want)
	}
	if !p.Warm(x.Owner, x.Spec.Module.Sum()) || !slices.Contains(p.WarmModules(8), x.Spec.Module.Sum()) {
		t.Error("not warm after it")
	}
	if running, queued := inUse(p); running != 0 || queued != 0 || p.MeanRun() == 0 {
		t.Errorf("load %d, %d, mean %v", running, queued, p.MeanRun())
	}
}

func TestOwnersShareNoWorker(t *testing.T) {
	p := newPool(t, 2)
	run(t, p, execution(t, "a", copier(), nil))
	first := pids(p)
	run(t, p, execution(t, "b", copier(), nil))
	run(t, p, execution(t, "a", copier(), func(s *protocol.Spec) { s.Limits.MemoryBytes /= 2 }))
	if all := pids(p); len(first) != 1 || len(all) != 3 {
		t.Errorf("workers %v, then %v", first, all)
	}
}

func TestColdModuleIsCompiledOnce(t *testing.T) {
	p := newPool(t, 4)
	var mu sync.Mutex
	opened := 0
	var all sync.WaitGroup
	for _, owner := range []string{"a", "b", "c", "d"} {
		all.Go(func() {
			x := execution(t, owner, copier(), nil)
			module := x.Module
			x.Module = func() (io.ReadCloser, error) {
				mu.Lock()
				defer mu.Unlock()
				opened++
				return module()
			}
			run(t, p, x)
		})
	}
	all.Wait()
	if opened != 1 {
		t.Errorf("the module was opened %d times for one compilation", opened)
	}
}

func TestManyAtOnce(t *testing.T) {
	p := newPool(t, 2)
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 0))
			for range 25 {
				text := make([]byte, r.IntN(8<<10))
				for i := range text {
					text[i] = byte(r.Uint32())
				}
				o := run(t, p, execution(t, string(rune('a'+i%3)), copier(), stdin(text)))
				if !bytes.Equal(o.Stdout, text) {
					t.Errorf("%d bytes came back as %d: %+v", len(text), len(o.Stdout), o.Code)
				}
			}
		})
	}
	all.Wait()
	// A call that was moved still runs where it was first, for nobody.
	eventually(t, "nothing runs or waits", func() bool {
		running, queued := inUse(p)
		return running == 0 && queued == 0
	})
}

func TestLateAnswerOfAWorkerThatIsKilledCountsForNothing(t *testing.T) {
	late, next := &call{id: 1, overdue: true}, &call{id: 2}
	w := &worker{ready: true, calls: []*call{late, next}}
	p := newPool(t, 1)
	if err := p.receive(w, &protocol.WorkerReply{Id: 1, End: true}, new(actions)); !errors.Is(err, errTooLate) {
		t.Errorf("it was taken: %v", err)
	}
	if len(w.calls) != 2 || w.calls[0] != late {
		t.Error("the next call counts as begun, and would be blamed for the worker's end")
	}
}

func TestStdinIsStreamed(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789abcdef"), 256<<10/16*5)
	for _, c := range []struct {
		name string
		wasm []byte
		want []byte
	}{
		{"read to its end", copier(), text},
		{"left unread", hello(1, "no thanks"), []byte("no thanks")},
		{"left unread by a trap", hello(1, "no", []byte{0x00}), []byte("no")},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPool(t, 1)
			x := execution(t, "a", c.wasm, func(s *protocol.Spec) {
				s.Stdin = protocol.NewBlob(text)
				s.Limits.OutputBytes = 16 << 20
			})
			for range 3 {
				x.Data = bytes.NewReader(text)
				if o := run(t, p, x); !bytes.Equal(o.Stdout, c.want) {
					t.Fatalf("%d bytes came back, want %d: %+v", len(o.Stdout), len(c.want), o.Code)
				}
			}
			if n := len(pids(p)); n != 1 {
				t.Errorf("%d workers", n)
			}
		})
	}
}

func TestOutputAppearsWhileTheGuestComputes(t *testing.T) {
	p := newPool(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	x := execution(t, "a", hello(2, "so far", spin()), nil)
	var got []byte
	x.Output = func(fd uint32, data []byte) {
		if fd != 2 {
			t.Errorf("fd %d", fd)
		}
		got = append(got, data...)
		cancel()
	}
	if _, err := p.Run(ctx, x); !errors.Is(err, context.Canceled) || string(got) != "so far" {
		t.Errorf("%q, then %v", got, err)
	}
}

func TestOutputHoldsBackTheGuest(t *testing.T) {
	p := newPool(t, 1)
	const limit = 3<<20 + 17
	x := execution(t, "a", flood(), func(s *protocol.Spec) { s.Limits.OutputBytes = limit })
	release := make(chan struct{})
	x.Output = func(_ uint32, data []byte) {
		if len(data) > protocol.MaxOutputChunk {
			t.Errorf("%d bytes at once", len(data))
		}
		<-release
	}
	ended := make(chan Outcome, 1)
	go func() { ended <- run(t, p, x) }()
	for range 3 { // however long nobody takes any output, the guest does not end
		release <- struct{}{}
		if running, _ := inUse(p); running != 1 {
			t.Error("it ended before its output was taken")
		}
	}
	close(release)
	o := <-ended
	if o.Code != protocol.CodeOutputLimit || len(o.Stdout) != limit {
		t.Errorf("%d bytes, then %+v", len(o.Stdout), o.Code)
	}
}

func TestQueueIsServedInOrder(t *testing.T) {
	p := newPool(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	started := make(chan struct{})
	x := execution(t, "first", hello(1, "", spin()), nil)
	x.State = func(s protocol.State) {
		if s == protocol.StateRunning {
			close(started)
		}
	}
	all.Go(func() {
		if _, err := p.Run(ctx, x); !errors.Is(err, context.Canceled) {
			t.Errorf("first: %v", err)
		}
	})
	<-started
	var order []int // needs no lock, since only one runs at a time
	for i := range 6 {
		x := execution(t, string(rune('a'+i%3)), flood(), nil)
		x.Output = func(uint32, []byte) { order = append(order, i) }
		all.Go(func() { run(t, p, x) })
		eventually(t, "it waits", func() bool { _, queued := inUse(p); return queued == i+1 })
	}
	cancel()
	all.Wait()
	order = slices.Compact(order)
	if want := []int{0, 1, 2, 3, 4, 5}; !slices.Equal(order, want) {
		t.Errorf("order %v", order)
	}
}

func TestShortTasksDoNotWaitBehindALongOne(t *testing.T) {
	p := newPool(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	short := execution(t, "a", spinIfAsked(), stdin([]byte{0}))
	long := execution(t, "a", spinIfAsked(), stdin([]byte{1}))
	for range 20 {
		run(t, p, short) // the pool learns that these tasks are short
	}
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := p.Run(ctx, long); !errors.Is(err, context.Canceled) {
			t.Errorf("long: %v", err)
		}
	})
	var shorts sync.WaitGroup
	for range 30 {
		shorts.Go(func() { run(t, p, short) })
	}
	shorts.Wait()
	cancel()
	all.Wait()
}

func TestCancelEndsTheGuest(t *testing.T) {
	p := newPool(t, 1)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		x := execution(t, "a", spinIfAsked(), stdin([]byte{1}))
		x.State = func(s protocol.State) {
			if s == protocol.StateRunning {
				cancel()
			}
		}
		if _, err := p.Run(ctx, x); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Run(cancelled, execution(t, "b", copier(), nil)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	eventually(t, "all workers are gone", func() bool { running, _ := inUse(p); return running == 0 && len(pids(p)) == 0 })
	run(t, p, execution(t, "a", spinIfAsked(), stdin([]byte{0})))
}

func TestCancelledInTheQueue(t *testing.T) {
	p := newPool(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range 8 {
		x := execution(t, string(rune('a'+i%2)), spinIfAsked(), stdin([]byte{1}))
		all.Go(func() {
			if _, err := p.Run(ctx, x); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	eventually(t, "seven wait", func() bool { _, queued := inUse(p); return queued == 7 })
	cancel()
	all.Wait()
	run(t, p, execution(t, "a", spinIfAsked(), stdin([]byte{0})))
	if n := len(p.groups); n > 2 {
		t.Errorf("%d groups are left", n)
	}
}

func TestIdleWorkersAreGivenUp(t *testing.T) {
	p := newPool(t, 1)
	p.idleTime = 1
	run(t, p, execution(t, "a", copier(), nil))
	eventually(t, "the worker is gone", func() bool { return len(pids(p)) == 0 })
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.groups) != 0 || len(p.idle) != 0 {
		t.Errorf("%d groups and %d idle workers are left", len(p.groups), len(p.idle))
	}
}

func TestWarmWorkersAreBounded(t *testing.T) {
	p := newPool(t, 1)
	for i := range 9 {
		run(t, p, execution(t, string(rune('a'+i)), copier(), nil))
	}
	eventually(t, "few workers are left", func() bool { return len(pids(p)) == 4 })
	warm := pids(p)
	run(t, p, execution(t, "i", copier(), nil)) // the last one used is still there
	if now := pids(p); !slices.Equal(now, warm) {
		t.Errorf("workers %v became %v", warm, now)
	}
}

func TestModuleThatIsNotWhatItsDigestSays(t *testing.T) {
	p := newPool(t, 1)
	for name, wasm := range map[string][]byte{
		"other bytes": hello(1, "x"), "fewer bytes": copier()[:40], "none": nil,
	} {
		x := execution(t, "a", copier(), nil)
		x.Module = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(wasm)), nil }
		if _, err := p.Run(t.Context(), x); protocol.CodeOf(err) != protocol.CodeBlob {
			t.Errorf("%s: %v", name, err)
		}
	}
	x := execution(t, "a", copier(), nil)
	x.Module = func() (io.ReadCloser, error) { return nil, io.ErrUnexpectedEOF }
	if _, err := p.Run(t.Context(), x); protocol.CodeOf(err) != protocol.CodeBlob {
		t.Errorf("no bytes: %v", err)
	}
	run(t, p, execution(t, "a", copier(), nil))
}

func TestOutputNeedsATaker(t *testing.T) {
	x := execution(t, "a", copier(), nil)
	x.Output = nil
	if _, err := newPool(t, 1).Run(t.Context(), x); err == nil || protocol.CodeOf(err) != protocol.CodeInternal {
		t.Errorf("%v", err)
	}
}
