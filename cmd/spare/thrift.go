package main

import (
	"context"
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

// thrift has this process take little memory while its node has no work, until ctx
// ends: what starting and working has left is given back. Work counts what was begun
// so far, and tells whether any is under way.
func thrift(ctx context.Context, work func() (begun uint64, busy bool)) {
	usual := debug.SetGCPercent(restingGC)
	debug.SetGCPercent(usual) // GOGC's, or the default
	ticker := time.NewTicker(thriftLooks)
	defer ticker.Stop()
	worked, before, resting := time.Now(), uint64(0), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		begun, busy := work()
		switch now := time.Now(); {
		case busy || begun != before:
			worked, before = now, begun
			if resting {
				resting = false
				debug.SetGCPercent(usual)
			}
		case !resting && now.Sub(worked) >= thriftAfter:
			resting = true
			if usual > restingGC {
				debug.SetGCPercent(restingGC)
			}
			debug.FreeOSMemory()
			releaseProgram()
		}
	}
}
