package donor

import (
	"strconv"
	"strings"
	"time"

	"github.com/spare-network/spare/protocol"
)

// touched is what a system tells of how its keyboards, mice and terminals are
// used. The zero value is that nothing is known.
type touched struct {
	last  time.Time // when one was used last, of those of which that is told
	count uint64    // grows when one is used, of the others
	known bool
	// terminals says that only those are known, and no keyboard or mouse.
	terminals bool
}

func (t touched) words() string {
	switch {
	case !t.known:
		return "whether somebody is at the keyboard is unknown on this system"
	case t.terminals:
		return "nor is a terminal used; whether the keyboard and the mouse are, is unknown on this system"
	default:
		return "nor is the keyboard, the mouse or a terminal used"
	}
}

// hands turns what is told of input into whether somebody is at the machine.
type hands struct {
	begun time.Time     // what was used before is who started the node
	idle  time.Duration // how long nothing must be used
	known bool
	terms bool
	count uint64
	used  time.Time // last
	busy  bool
	since time.Time // when that began
}

// note takes what the system tells now.
func (h *hands) note(now time.Time, t touched) {
	used := h.used
	if h.known && t.known && t.count != h.count {
		used = now
	}
	if last := t.last; last.After(used) && last.Before(now.Add(time.Minute)) { // clocks are set
		if used = last; last.After(now) {
			used = now
		}
	}
	h.known, h.terms, h.count, h.used = t.known, t.terminals, t.count, used
	busy := t.known && used.After(h.begun) && now.Sub(used) < h.idle
	if busy && !h.busy {
		h.since = now
	}
	h.busy = busy
}

// with adds what h knows to what the programs do.
func (h *hands) with(now time.Time, programs sight) sight {
	typing := h.busy && now.Sub(h.used) < handOverAfter
	what := "the keyboard, the mouse or a terminal"
	if h.terms {
		what = "a terminal"
	}
	switch {
	case programs.busy:
		programs.active = programs.active || typing
		return programs
	case h.busy:
		return sight{busy: true, active: typing, since: h.since, reason: "paused until nobody has used " + what + " for " + protocol.TimeText(h.idle)}
	case programs.blind && h.known:
		programs.reason = "donating, nobody uses " + what + "; what other programs do is unknown"
	}
	return programs
}

// idleTime reads what macOS says in ioreg(8): the nanoseconds since the last
// input, as HIDIdleTime.
func idleTime(ioreg string) (time.Duration, bool) {
	for line := range strings.Lines(ioreg) {
		name, value, ok := strings.Cut(line, "=")
		if !ok || !strings.HasSuffix(strings.TrimSpace(name), `"HIDIdleTime"`) {
			continue
		}
		ns, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		return time.Duration(ns), err == nil && ns >= 0
	}
	return 0, false
}
