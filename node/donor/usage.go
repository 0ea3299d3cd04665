package donor

import (
	"fmt"
	"time"
)

const (
	// sampleEvery is how often the CPU times are read, and surelyEvery how often
	// when the last sample may be the first of an owner who is back: he has the
	// machine within 2 s, however the samples fall.
	sampleEvery = time.Second
	surelyEvery = 250 * time.Millisecond
	// busyShare is the share of all CPUs that others must use for the owner to
	// count as back: above what a desktop with nothing to do uses, below one
	// busy core of four.
	busyShare = 0.25
	// busySamples in a row must be over busyShare, so that opening a window
	// stops nobody's task.
	busySamples = 2
	// UsualIdle is how long others must stay below it before the machine
	// donates again, so that a pause in the owner's work does not count, when
	// its owner names no other time.
	UsualIdle = 30 * time.Second
)

// cpuTimes are CPU times since some start, all in one unit and summed over all
// CPUs: what has passed, what was used, and what this node and its descendants
// used of it.
type cpuTimes struct {
	passed, used, own uint64
	ownKnown          bool
}

// others is the share of all CPUs that processes other than ours used between
// a and b. It is not known when our own part is not, unless the whole machine
// used less than busyShare, which then is what is returned.
func others(a, b cpuTimes) (share float64, known bool) {
	if b.passed <= a.passed || b.used < a.used {
		return 0, false // nothing has passed, or a CPU was taken away
	}
	passed := float64(b.passed - a.passed)
	used := float64(b.used-a.used) / passed
	if used < busyShare {
		return used, true
	}
	if !a.ownKnown || !b.ownKnown {
		return 0, false
	}
	// Our own time may seem to shrink, when a child ends between two reads,
	// and may seem to exceed all, since the kernel counts both in its own ways.
	own := (float64(b.own) - float64(a.own)) / passed
	return min(max(0, used-max(0, own)), 1), true
}

// watch turns shares into a state with hysteresis.
type watch struct {
	idle  time.Duration // how long others must be quiet
	share float64       // last known
	known bool          // whether any was
	over  int           // known samples in a row at or over busyShare
	blank bool          // the last sample told nothing, since our own part was not read before
	quiet time.Time
	busy  bool
	since time.Time // when that began
	said  sight     // by the last sample
}

// unsure reports whether the next sample decides if an owner is back.
func (w *watch) unsure() bool { return !w.busy && (w.over > 0 || w.blank) }

// note takes the share of the time that ended now, if it is known.
func (w *watch) note(now time.Time, share float64, known bool) {
	if w.blank = !known; w.blank {
		return
	}
	w.share, w.known = share, true
	if share >= busyShare {
		w.over++
		w.quiet = time.Time{}
		if !w.busy && w.over >= busySamples {
			w.busy, w.since = true, now
		}
		return
	}
	w.over = 0
	if w.quiet.IsZero() {
		w.quiet = now
	}
	if w.busy && now.Sub(w.quiet) >= w.idle {
		w.busy = false
	}
}

// sight is what w amounts to, in words for people.
func (w *watch) sight() sight {
	use := fmt.Sprintf("other programs use %.0f %% of the CPUs", 100*w.share)
	limit := fmt.Sprintf("%.0f %%", 100*busyShare)
	switch {
	case !w.known:
		return sight{reason: "donating, the owner's activity is not measured yet"}
	case !w.busy:
		return sight{reason: "donating, " + use + "; pauses when that is " + limit + " or more for a while"}
	case w.quiet.IsZero():
		return sight{busy: true, active: true, wants: true, since: w.since, reason: "paused, " + use + ", the limit is " + limit}
	default:
		reason := fmt.Sprintf("paused until other programs use less than %s for %v; they use %.0f %% now", limit, w.idle, 100*w.share)
		return sight{busy: true, since: w.since, reason: reason}
	}
}
