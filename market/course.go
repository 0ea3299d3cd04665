package market

import (
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// Course is the way of one task from its submission to its one end: which
// attempts it has, what has become of each, and so what is to be done next. It
// is a pure step function, as etcd's raft node is one: whoever drives it tells
// what has happened by [Course.Step] and does what that returns. Events may
// come in any order, late, or twice; those that make no sense for their
// attempt change nothing.
//
// Without a Rule the first answer is the result, and output may be shown while
// it comes. With one, providers first commit to their results, then reveal the
// digests of them, and the output of one that agrees with the verdict is
// fetched: nothing is shown before.
type Course struct {
	// Wanted is how many attempts are to live at once.
	Wanted int
	// Quorum is how many commitments there must be before any is revealed.
	Quorum int
	// Rule judges the digests revealed so far; nil: the first answer is the
	// result.
	Rule func(revealed []Ballot) Ruling
	// Most bounds the attempts that hold, or may still give, an answer.
	Most int

	attempts []tried
	end      *End
}

// Ballot is the result that an attempt has revealed.
type Ballot struct {
	Attempt  int // counted from 1
	Provider peer.ID
	Digest   protocol.Digest
}

// Ruling is what is made of ballots.
type Ruling struct {
	Accepted bool            // Digest is right
	Digest   protocol.Digest // of what is right
	More     int             // how many more ballots are needed; 0 when accepted
	Own      bool            // the next is to be the requester's own node's
	Hopeless string          // why no further ballot can help, or empty
}

// End is how a task's attempts have ended.
type End struct {
	Attempt    int    // whose output is the result; 0: none is
	Dissenting []int  // attempts that revealed another result than the accepted one
	Hopeless   string // why there is no result, or empty
}

// Happening is what an [Event] tells of an attempt.
type Happening int

// What happens to attempts.
const (
	// Leased: its provider has promised to run it, or is found to run it still.
	Leased Happening = iota
	// Suspected: its provider is silent, or slower than it should be, so that
	// a spare is worth its cost.
	Suspected
	// Heard: the suspicion was wrong.
	Heard
	// Unreachable: its lease is lost. Its answer may come all the same.
	Unreachable
	// Refused, by its provider, with or without a lease.
	Refused
	// Failed: nothing right will ever come of it.
	Failed
	// Committed: it has ended, and its provider is bound to one result.
	Committed
	// Revealed: that result's digest is the event's.
	Revealed
	// Answered: its output is here, checked, and the event's digest is its.
	Answered
)

// Event is something that has happened to an attempt, counted from 1.
type Event struct {
	Attempt int
	What    Happening
	Digest  protocol.Digest // of Revealed and Answered
}

// Todo is what is to be done after a step.
type Todo struct {
	Start    int   // so many more attempts, by Begin
	Own      bool  // the first of them is the requester's own node's
	Reveal   []int // claim the receipts of these
	Fetch    int   // claim the output of this one; 0: of none
	Withdraw []int // tell the providers of these that they are not needed
	End      *End  // at the end, and then always
}

type phase int

const (
	asked phase = iota
	running
	adrift // unreachable
	committed
	revealing // its receipt is claimed
	revealed
	fetching // its output is claimed
	lapsed   // its output was claimed and did not come
	answered
	refused
	failed
	withdrawn
)

type tried struct {
	provider  peer.ID
	phase     phase
	suspected bool
	digest    protocol.Digest
}

// over reports whether nothing is expected of it any more.
func (t *tried) over() bool { return t.phase >= answered }

// hoped reports whether it counts towards what is wanted: it runs and is not
// under suspicion, or is bound to a result.
func (t *tried) hoped() bool {
	if t.phase <= running {
		return !t.suspected
	}
	if t.phase == revealing || t.phase == fetching {
		return !t.suspected
	}
	return t.phase == committed || t.phase == revealed
}

// Begin notes that an attempt is being made with a provider, and returns its
// number.
func (c *Course) Begin(p peer.ID) int {
	c.attempts = append(c.attempts, tried{provider: p})
	return len(c.attempts)
}

// Step takes an event and returns what is to be done.
func (c *Course) Step(ev Event) Todo {
	if c.end != nil {
		return Todo{End: c.end}
	}
	if ev.Attempt >= 1 && ev.Attempt <= len(c.attempts) {
		c.note(&c.attempts[ev.Attempt-1], ev)
	}
	return c.Next()
}

// note takes an event into an attempt's phase, if it makes sense there.
func (c *Course) note(t *tried, ev Event) {
	if t.over() {
		return
	}
	switch ev.What {
	case Leased:
		if t.phase <= adrift {
			t.phase, t.suspected = running, false
		}
	case Suspected:
		t.suspected = true
	case Heard:
		t.suspected = false
	case Unreachable:
		switch t.phase {
		case asked, running, committed, revealing:
			t.phase = adrift
		case revealed, fetching:
			t.phase = lapsed
		}
	case Refused:
		switch {
		case t.phase <= adrift:
			t.phase = refused
		case t.phase == revealed || t.phase == fetching:
			t.phase = lapsed // what it said stays said
		default:
			t.phase = failed
		}
	case Failed:
		t.phase = failed
	case Committed:
		if t.phase <= adrift {
			t.phase, t.suspected = committed, false
		}
	case Revealed:
		if (t.phase < revealed || t.phase == lapsed) && c.Rule != nil {
			t.phase, t.digest = revealed, ev.Digest
		}
	case Answered:
		if t.phase >= revealed && t.digest != ev.Digest {
			t.phase = failed // it reveals one thing and sends another
			return
		}
		t.phase, t.digest = answered, ev.Digest
	}
}

// Next returns what is to be done now.
func (c *Course) Next() Todo {
	switch {
	case c.end != nil:
		return Todo{End: c.end}
	case c.Rule == nil:
		return c.first()
	default:
		return c.judge()
	}
}

// first is Next where the first answer is the result.
func (c *Course) first() Todo {
	if i := slices.IndexFunc(c.attempts, func(t tried) bool { return t.phase == answered }); i >= 0 {
		return c.finish(&End{Attempt: i + 1})
	}
	return Todo{Start: c.missing()}
}

// judge is Next where ballots are counted.
func (c *Course) judge() Todo {
	ballots := c.Ballots()
	ruling := c.rule(ballots)
	if ruling.Accepted && !slices.ContainsFunc(ballots, func(b Ballot) bool { return b.Digest == ruling.Digest && c.has(b.Attempt) }) {
		// Nobody is left who could send what was agreed on. Another must run it
		// again; what was found wrong does not become right by that.
		if ruling = (Ruling{More: 1}); len(ballots) >= c.Most && !slices.ContainsFunc(c.attempts, func(t tried) bool { return t.phase == lapsed }) {
			ruling = Ruling{Hopeless: "those who agreed are gone, and it cannot be had any more what they agreed on"}
		}
	}
	switch {
	case ruling.Accepted:
		return c.fetch(ruling.Digest)
	case ruling.Hopeless != "":
		return c.finish(&End{Hopeless: ruling.Hopeless})
	}
	most := c.Most
	if ruling.Own {
		most++ // an arbiter is always worth its cost
	}
	c.Wanted = max(c.Wanted, min(most, len(ballots)+ruling.More))
	bound := len(ballots)
	for _, t := range c.attempts {
		if t.phase == committed || t.phase == revealing {
			bound++
		}
	}
	todo := Todo{Start: c.missing(), Own: ruling.Own}
	for i := range c.attempts {
		if t := &c.attempts[i]; t.phase == committed && bound >= c.Quorum {
			t.phase = revealing
			todo.Reveal = append(todo.Reveal, i+1)
		}
	}
	return todo
}

// Bound is how many attempts have given an answer, or are bound to one.
func (c *Course) Bound() int {
	n := len(c.Ballots())
	for _, t := range c.attempts {
		if t.phase == committed || t.phase == revealing {
			n++
		}
	}
	return n
}

func (c *Course) rule(ballots []Ballot) Ruling {
	if len(ballots) == 0 {
		return Ruling{}
	}
	return c.Rule(ballots)
}

// has reports whether an attempt's output is here or may be claimed.
func (c *Course) has(attempt int) bool {
	p := c.attempts[attempt-1].phase
	return p == revealed || p == fetching || p == answered
}

// fetch is Next once a digest is accepted: the output of one attempt that has
// it must come.
func (c *Course) fetch(accepted protocol.Digest) Todo {
	if i := slices.IndexFunc(c.attempts, func(t tried) bool { return t.phase == answered && t.digest == accepted }); i >= 0 {
		return c.finish(&End{Attempt: i + 1, Dissenting: c.dissenting(accepted)})
	}
	next, under := 0, false
	for i := range c.attempts {
		t := &c.attempts[i]
		switch {
		case t.phase == fetching && t.digest != accepted:
			t.phase = revealed // it was the one until then
		case t.digest != accepted || t.phase < revealed:
		case t.phase == fetching:
			under = under || !t.suspected
		case t.phase == revealed && next == 0:
			next = i + 1
		}
	}
	if under || next == 0 {
		return Todo{}
	}
	c.attempts[next-1].phase, c.attempts[next-1].suspected = fetching, false
	return Todo{Fetch: next, Withdraw: c.withdrawUnbound()}
}

// missing is how many attempts there are less than wanted.
func (c *Course) missing() int {
	n := 0
	for i := range c.attempts {
		if t := &c.attempts[i]; t.hoped() || t.phase == answered {
			n++
		}
	}
	return max(0, c.Wanted-n)
}

// withdrawUnbound gives up attempts that are not bound to a result yet.
func (c *Course) withdrawUnbound() (list []int) {
	for i := range c.attempts {
		if t := &c.attempts[i]; t.phase <= adrift {
			t.phase = withdrawn
			list = append(list, i+1)
		}
	}
	return list
}

func (c *Course) dissenting(accepted protocol.Digest) (list []int) {
	for _, b := range c.Ballots() {
		if b.Digest != accepted {
			list = append(list, b.Attempt)
		}
	}
	return list
}

// finish ends the course and everything that is still under way.
func (c *Course) finish(end *End) Todo {
	c.end = end
	todo := Todo{End: end}
	for i := range c.attempts {
		if t := &c.attempts[i]; !t.over() {
			if t.phase < revealed { // the ballots of the others are still to be told
				t.phase = withdrawn
			}
			todo.Withdraw = append(todo.Withdraw, i+1)
		}
	}
	return todo
}

// GiveUp ends the course without a result, for a reason that no attempt gave:
// the user cancelled, or nobody can run the task.
func (c *Course) GiveUp(why string) Todo {
	if c.end != nil {
		return Todo{End: c.end}
	}
	return c.finish(&End{Hopeless: why})
}

// Ballots returns the results that have been revealed: who said what.
func (c *Course) Ballots() (list []Ballot) {
	for i, t := range c.attempts {
		if t.phase >= revealed && t.phase <= answered {
			list = append(list, Ballot{Attempt: i + 1, Provider: t.provider, Digest: t.digest})
		}
	}
	return list
}
