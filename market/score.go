package market

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// waitFactor prices the delay that a task imposes on those behind it.
	// Three instead of one took 10 to 25 % off everybody's mean.
	waitFactor = 3
	// fetchRate is in bytes per second: a 100 Mbit/s line, since no transfer
	// from this peer has been measured when it matters.
	fetchRate = 12.5e6
	// compileRate is in bytes of module per second at speed 1: a 26 MB CPython
	// takes wazero 1.8 s.
	compileRate = 14.5e6
	// compileStart is what a module of any size costs: a process is started.
	compileStart = 10 * time.Millisecond
	// Patience is the number of refusals before the requester waits, and
	// firstPause and longestPause are the bounds of that wait.
	Patience     = 3
	firstPause   = 50 * time.Millisecond
	longestPause = 5 * time.Second
)

// Score judges c by its Load, which must be an answer to a probe or the own
// node's present state, and says why: rtt + 3 wait + S/s, and the time to
// fetch and compile the module when it is not warm there. With a slot idle the
// wait is 0; otherwise it is the work queued and the rest of a running piece,
// over all slots.
func Score(need Need, c Candidate) Candidate {
	wait := need.judge(&c)

	c.Reason = need.unwilling(c)
	if c.Reason == "" && wait == 0 {
		c.Reason = "idle"
	} else if c.Reason == "" {
		c.Reason = "busy for " + span(wait)
	}
	c.Reason += ", " + need.place(c) + fmt.Sprintf(", speed %s, module ", number(c.Speed))
	if c.Warm {
		c.Reason += "warm"
	} else {
		c.Reason += "cold"
	}
	return c
}

// judge scores c without saying why, and returns how long a task would wait.
func (n Need) judge(c *Candidate) time.Duration {
	wait := seconds(c.wait(n.work() / c.Speed))
	c.Scored, c.Score = true, n.cost(*c, wait)
	return wait
}

// Idle reports whether c has answered that it would run the task at once.
func (n Need) Idle(c Candidate) bool {
	return c.Scored && n.unwilling(c) == "" && c.wait(n.work()/c.Speed) == 0
}

// cost is what a run on c costs everybody, when it waits there so long.
func (n Need) cost(c Candidate, wait time.Duration) time.Duration {
	t := c.rtt().Seconds() + waitFactor*wait.Seconds() + n.work()/c.Speed
	if !c.Warm {
		bytes := float64(n.ModuleBytes)
		t += compileStart.Seconds() + bytes/(compileRate*c.Speed)
		if c.Provider != n.Self {
			t += c.rtt().Seconds() + bytes/fetchRate
		}
	}
	return seconds(t)
}

// wait is the time in seconds until a slot is free, when a run of unknown size
// takes as long as recent ones did, or run if there were none. A running piece
// is taken to need as long again, as if sizes were exponential.
func (c Candidate) wait(run float64) float64 {
	running, queued, slots := float64(c.Load.GetRunning()), float64(c.Load.GetQueued()), float64(c.Load.GetSlots())
	if running+queued < slots {
		return 0
	}
	if mean := c.Load.GetMeanRunUs(); mean > 0 {
		run = float64(mean) / 1e6
	}
	return (queued + 1) * run / max(1, slots)
}

// place says where c is, for people.
func (n Need) place(c Candidate) string {
	switch {
	case c.Provider == n.Self:
		return "this node"
	case c.RTTKnown:
		return span(c.RTT) + " away"
	default:
		return "round trip not measured"
	}
}

// Enough reports whether probing can stop: the replicas wanted have been found
// among those scored, and no outstanding answer could be better than the worst
// of them, even if it said idle.
func Enough(need Need, scored, outstanding []Candidate) bool {
	if len(outstanding) == 0 {
		return true
	}
	var scores []time.Duration
	for _, c := range scored {
		if need.unwilling(c) == "" {
			scores = append(scores, c.Score)
		}
	}
	if len(scores) < need.replicas() {
		return false
	}
	slices.Sort(scores)
	worst := scores[need.replicas()-1]
	return !slices.ContainsFunc(outstanding, func(c Candidate) bool {
		return need.cost(c, 0) < worst
	})
}

// ProbeTimeout is how long the answers to probes are waited for, from when
// they are sent: 1.5 times the largest round trip, and 20 ms.
func ProbeTimeout(outstanding []Candidate) time.Duration {
	var rtt time.Duration
	for _, c := range outstanding {
		rtt = max(rtt, c.rtt())
	}
	return rtt*3/2 + 20*time.Millisecond
}

// Backoff is how long to wait before the next draw when a task has been
// refused so many times: not at all for the first three, then a random time up
// to a bound that doubles from 50 ms to 5 s (full jitter, as in Exponential
// Backoff And Jitter, AWS Architecture Blog, 2015).
func Backoff(rng *rand.Rand, refusals int) time.Duration {
	if refusals < Patience {
		return 0
	}
	bound := longestPause
	if doublings := refusals - Patience; doublings < 7 {
		bound = min(bound, firstPause<<doublings)
	}
	return time.Duration(rng.Int64N(int64(bound)))
}
