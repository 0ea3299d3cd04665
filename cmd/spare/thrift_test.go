package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestThrift looks at how far the heap may grow, and how many CPUs are used, while a
// node rests and works.
func TestThrift(t *testing.T) {
	const usual, procs = 150, 3
	before, cpus := debug.SetGCPercent(usual), runtime.GOMAXPROCS(procs)
	defer debug.SetGCPercent(before)
	defer runtime.GOMAXPROCS(cpus)
	t.Setenv("GOMAXPROCS", "3") // which the runtime has read long ago
	synctest.Test(t, func(t *testing.T) {
		var busy atomic.Bool
		var begun atomic.Uint64
		begin := make(chan struct{}, 1)
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			thrift(ctx, begin, func() (uint64, bool) { return begun.Load(), busy.Load() })
		}()
		for _, step := range []struct {
			busy bool
			last time.Duration
			want int
		}{
			{false, thriftAfter - time.Second, usual},
			{false, 2 * thriftLooks, restingGC},
			{false, time.Hour, restingGC},
			{true, thriftLooks, usual},
			{true, time.Hour, usual},
			{false, thriftAfter - 2*thriftLooks, usual},
			{false, 4 * thriftLooks, restingGC},
		} {
			busy.Store(step.busy)
			time.Sleep(step.last)
			synctest.Wait()
			now := debug.SetGCPercent(usual)
			debug.SetGCPercent(now)
			if cpus := runtime.GOMAXPROCS(0); now != step.want || (cpus == 1) != (now == restingGC) {
				t.Errorf("%+v: it may grow by %d %%, on %d CPUs", step, now, cpus)
			}
		}
		begun.Add(1)
		begin <- struct{}{}
		if synctest.Wait(); runtime.GOMAXPROCS(0) != procs {
			t.Error("it goes on resting when work begins")
		}
		// Short work that is never seen is work.
		for range 10 {
			begun.Add(1)
			time.Sleep(thriftAfter - thriftLooks)
		}
		synctest.Wait()
		now := debug.SetGCPercent(usual)
		if debug.SetGCPercent(now); now != usual {
			t.Errorf("at short work it may grow by %d %%", now)
		}
		end()
		<-ended
	})
}
