package market

import (
	"cmp"
	"math"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// newcomersShare is the part of a full queue, and of the slots, that is kept
// for those who are not in credit, all together; of a queue at least one place.
const newcomersShare = 1.0 / 8

// Line is one requester's part of a provider's queue.
type Line struct {
	Requester peer.ID
	Self      bool // the provider's own node: its owner's tasks
	Running   int
	Queued    int
	Account   Account
}

// stranger reports whether the requester has no claim on us. Those in debt are
// not told from those who never came before, since a new name costs nothing.
func (l Line) stranger() bool { return !l.Self && !l.Account.InCredit() }

// held is how much of the queue the line holds, for its weight.
func (l Line) held() float64 { return float64(l.Queued) / l.Account.weight() }

// Admit decides on one more replica of from, when a queue has so many places
// and others are the lines of all other requesters. It is admitted when there
// is room, or when another has less right to a place than it: then the last
// replica that displaced has queued must go, and is refused.
//
// In a full queue the own node comes first. Those in credit have all other
// places but the newcomers' share of one eighth, which those who are not in
// credit hold together; what either side leaves, the other may use. On each
// side a place goes from whoever holds most, for its weight, to one that holds
// less, so that nobody who has many queued keeps out one who has none.
//
// # Why newcomers have one share together
//
// A flood may come under a thousand new names. If each had a place of its own,
// those who have served us would be left with the last.
func Admit(places int, others []Line, from Line) (admitted bool, displaced peer.ID) {
	queued, strangers := from.Queued, 0
	if from.stranger() {
		strangers = from.Queued
	}
	for _, l := range others {
		queued += l.Queued
		if l.stranger() {
			strangers += l.Queued
		}
	}
	if queued < places {
		return true, ""
	}
	share := max(1, int(newcomersShare*float64(places)))
	creditors := func(l Line) bool { return !l.Self && !l.stranger() }
	var victim Line
	switch {
	case !from.stranger() && strangers > share:
		victim = longest(others, Line.stranger)
	case from.Self || from.stranger() && strangers < share:
		victim = longest(others, creditors)
	}
	switch {
	case victim.Queued > 0:
	case from.Self:
		victim = longest(others, Line.stranger)
	case from.stranger():
		victim = fairer(others, Line.stranger, from)
	default:
		victim = fairer(others, creditors, from)
	}
	return victim.Queued > 0, victim.Requester
}

// longest returns the line that holds most, for its weight, or an empty one.
func longest(lines []Line, of func(Line) bool) (found Line) {
	for _, l := range lines {
		if l.Queued == 0 || !of(l) {
			continue
		}
		c := cmp.Compare(l.held(), found.held())
		if found.Queued == 0 || c > 0 || c == 0 && l.Requester < found.Requester {
			found = l
		}
	}
	return found
}

// fairer returns the line from which a place should go to from: one with two
// or more when from has none, or one that holds more than from would then.
func fairer(lines []Line, of func(Line) bool, from Line) Line {
	several := func(l Line) bool { return l.Queued > 1 && of(l) }
	victim := longest(lines, several)
	next := from
	next.Queued++
	if from.Queued == 0 || victim.held() > next.held() {
		return victim
	}
	return Line{}
}

// RetryAfter is when to ask again a provider that has refused for want of
// places: when about half of its queue has been run, and within 50 ms to 5 s.
func RetryAfter(l *protocol.Load) time.Duration {
	mean := float64(l.GetMeanRunUs()) / 1e6
	if mean == 0 {
		mean = assumedSize
	}
	half := float64(l.GetQueued()) / 2 * mean / float64(max(1, l.GetSlots()))
	return min(max(seconds(half), firstPause), longestPause)
}

// Turns says whose replica gets a free slot. It is start-time fair queueing
// (Goyal, Vin and Cheng, IEEE/ACM Transactions on Networking 5(5), 1997) on the
// seconds that slots are used: the own node goes before all others; each
// requester in credit has a weight of 1 to 4; all others together are one
// flow of weight 1, or of an eighth of all when that is more, and are fair
// among themselves. The order within one requester is that of its queue.
//
// The zero Turns is ready. It is not safe for concurrent use.
type Turns struct {
	creditors clock
	strangers clock
	weight    float64 // of all strangers
}

// groupFlow is the flow of all strangers among the creditors.
const groupFlow = peer.ID("")

// Next returns the requester whose first queued replica is to run now, or false
// when none is queued.
func (t *Turns) Next(lines []Line) (peer.ID, bool) {
	var creditor, stranger *Line
	credited := 0.0
	for i := range lines {
		l := &lines[i]
		switch {
		case l.Queued == 0:
		case l.Self:
			return l.Requester, true
		case l.stranger():
			if stranger == nil || t.strangers.before(l, stranger) {
				stranger = l
			}
		default:
			credited += l.Account.weight()
			if creditor == nil || t.creditors.before(l, creditor) {
				creditor = l
			}
		}
	}
	t.weight = max(1, credited*newcomersShare/(1-newcomersShare))
	switch {
	case creditor == nil && stranger == nil:
		return "", false
	case stranger == nil || creditor != nil && t.creditors.tag(creditor.Requester) <= t.creditors.tag(groupFlow):
		t.creditors.reach(creditor.Requester)
		return creditor.Requester, true
	default:
		t.creditors.reach(groupFlow)
		t.strangers.reach(stranger.Requester)
		return stranger.Requester, true
	}
}

// Charge notes that the requester of l uses a slot for so many seconds: what a
// replica is expected to take as it starts, and the difference, which may be
// negative, as it ends.
func (t *Turns) Charge(l Line, seconds float64) {
	switch {
	case l.Self:
	case l.stranger():
		t.strangers.charge(l.Requester, seconds)
		t.creditors.charge(groupFlow, seconds/max(1, t.weight))
	default:
		t.creditors.charge(l.Requester, seconds/l.Account.weight())
	}
}

// clock is the virtual time of one level, in seconds for a weight of 1.
type clock struct {
	now  float64             // start tag of what was served last
	tags map[peer.ID]float64 // start tags of what each flow has next, if after now
}

// manyTags is when flows that have been idle are forgotten.
const manyTags = 256

func (c *clock) tag(p peer.ID) float64 { return max(c.now, c.tags[p]) }

func (c *clock) before(a, b *Line) bool {
	x, y := c.tag(a.Requester), c.tag(b.Requester)
	return x < y || x == y && a.Requester < b.Requester
}

func (c *clock) reach(p peer.ID) { c.now = c.tag(p) }

func (c *clock) charge(p peer.ID, seconds float64) {
	if c.tags == nil {
		c.tags = make(map[peer.ID]float64)
	}
	if math.IsNaN(seconds) || math.IsInf(seconds, 0) {
		return
	}
	c.tags[p] = c.tag(p) + seconds
	if len(c.tags) > manyTags {
		for q, tag := range c.tags {
			if tag <= c.now {
				delete(c.tags, q)
			}
		}
	}
}
