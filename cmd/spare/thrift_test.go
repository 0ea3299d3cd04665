package main

import (
	"context"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestThrift looks at how far the heap may grow while a node rests and works.
func TestThrift(t *testing.T) {
	const usual = 150
	before := debug.SetGCPercent(usual)
	defer debug.SetGCPercent(before)
	synctest.Test(t, func(t *testing.T) {
		var busy atomic.Bool
		var begun atomic.Uint64
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			thrift(ctx, func() (uint64, bool) { return begun.Load(), busy.Load() })
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
			if now != step.want {
				t.Errorf("%+v: it may grow by %d %%", step, now)
			}
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
