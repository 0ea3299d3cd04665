package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

const (
	// thriftLooks is how often it is seen whether a node has work, and thriftAfter
	// for how long it must have had none to be thrifty.
	thriftLooks = 5 * time.Second
	thriftAfter = 20 * time.Second
	// restingGC is by how much the heap may grow before it is collected while the
	// node rests, in percent of what lives: it need not be fast then, and there is
	// little to collect.
	restingGC = 40
)

// thrift has this process take little while its node has no work, until ctx ends.
// What starting and working has left of memory is given back, and one thread does what
// little there is: with several, Go wakes others at each event to look for more of it.
// Work grows with what is done, and tells whether any is under way; begun is told when
// some begins.
func thrift(ctx context.Context, begun <-chan struct{}, work func() (done uint64, busy bool)) {
	procs := runtime.GOMAXPROCS(0)
	usual := debug.SetGCPercent(restingGC)
	debug.SetGCPercent(usual) // GOGC's, or the default
	ticker := time.NewTicker(thriftLooks)
	defer ticker.Stop()
	worked, before := time.Now(), uint64(0)
	var called <-chan struct{} // begun while the node rests; else it is of no interest
	for {
		select {
		case <-ctx.Done():
			return
		case <-called:
		case <-ticker.C:
		}
		done, busy := work()
		switch now := time.Now(); {
		case busy || done != before:
			worked, before = now, done
			if called != nil {
				called = nil
				debug.SetGCPercent(usual)
				useCPUs(procs)
			}
		case called == nil && now.Sub(worked) >= thriftAfter:
			called = begun
			if usual > restingGC {
				debug.SetGCPercent(restingGC)
			}
			debug.FreeOSMemory()
			releaseProgram()
			runtime.GOMAXPROCS(1)
		}
	}
}

// useCPUs has this process use as many CPUs as it did at first: those that there are
// now, unless its user has said how many.
func useCPUs(procs int) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.SetDefaultGOMAXPROCS()
	} else {
		runtime.GOMAXPROCS(procs)
	}
}
