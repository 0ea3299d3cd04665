package donor

import (
	"math"
	"time"
)

// Unit is how many calibration rounds per second make a speed of 1. One thread
// of the server on which it was chosen, an AMD EPYC at 2.45 GHz, did 90,500,
// which was rounded so that a common machine is near 1.
const Unit = 100_000

const (
	tableSize      = 32 << 10 // words of 8 bytes: beyond the first level of cache
	roundsPerTrial = 100      // 1 ms at speed 1: on a busy machine some are not interrupted
	trials         = 50
)

// calibration is the work that speed is measured by: dependent integer steps,
// loads and stores all over a table of 256 KiB, and floating point, in about
// the mix of an interpreter.
type calibration struct {
	table [tableSize]uint64
	x     uint64
	f     float64
}

func (c *calibration) round() {
	x, f := c.x, c.f
	for range 1000 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		at := &c.table[x%tableSize]
		*at += x
		x += c.table[*at%tableSize]
		f = f*0.999 + float64(x>>32)
	}
	c.x, c.f = x, f
}

// speed is the work per second of one thread, in [Unit]. The best trial
// counts, since whatever disturbs one only slows it down.
func speed() float64 {
	c := &calibration{x: 88172645463325252} // Marsaglia's seed; any but 0 does
	best := time.Duration(math.MaxInt64)
	for range trials {
		start := time.Now()
		for range roundsPerTrial {
			c.round()
		}
		best = min(best, time.Since(start))
	}
	return roundsPerTrial / max(best, 1).Seconds() / Unit
}
