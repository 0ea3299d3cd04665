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
// ends: what starting and working has left is given back.
func thrift(ctx context.Context, busy func() bool) {
	usual := debug.SetGCPercent(restingGC)
	debug.SetGCPercent(usual) // GOGC's, or the default
	ticker := time.NewTicker(thriftLooks)
	defer ticker.Stop()
	worked, resting := time.Now(), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		switch now := time.Now(); {
		case busy():
			worked = now
			if resting {
				resting = false
				debug.SetGCPercent(usual)
			}
		case !resting && now.Sub(worked) >= thriftAfter:
			resting = true
			if usual < 0 || usual > restingGC {
				debug.SetGCPercent(restingGC)
			}
			debug.FreeOSMemory()
			releaseProgram()
		}
	}
}
