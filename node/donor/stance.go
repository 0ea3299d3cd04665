package donor

import (
	"time"

	"github.com/spare-network/spare/protocol"
)

// Stance is whether the machine donates at a moment, and why.
type Stance struct {
	Availability protocol.Availability // Open, Paused or OwnerBusy
	Reason       string                // for people, with the figures
	Until        time.Time             // when that will change by itself; zero: nobody knows
	// HandOver says that what runs here for others is to go to another machine,
	// and not only that nothing new comes.
	HandOver bool
	// Hold says that it is to stand still meanwhile: programs of the owner's want
	// the CPUs at this moment.
	Hold bool
}

// Pause is the owner's word that nothing of others runs.
type Pause struct {
	Until  time.Time `json:"until,omitzero"` // zero: until it is taken back
	Finish bool      `json:"finish"`         // what runs already may end
}

// over reports whether the pause has ended by itself. Its deadline is by the
// clock on the wall, so that it holds through a restart and the machine's sleep.
func (p *Pause) over(now time.Time) bool { return !p.Until.IsZero() && !now.Before(p.Until) }

// sight is what was seen of the owner.
type sight struct {
	busy   bool
	reason string    // for people
	since  time.Time // when it began to be busy
	active bool      // still, not only a moment ago
	blind  bool      // what programs use is not known
	wants  bool      // programs want the CPUs at this moment
	place  place
}

// place is how the machine is.
type place struct {
	power power
	heat  heat
	hot   bool // since it was, and has not cooled down
}

// placeEvery is how often the machine is asked what it runs on, and how hot it is.
const placeEvery = 10 * time.Second

// handOverAfter is how long an owner must be at work before what runs here is
// handed over: until then it stands still while his programs want the CPUs, and
// has the lowest priority when they do not, since a short while costs less than
// doing it all again elsewhere.
const handOverAfter = 10 * time.Second

// decide says what follows from all of it. The owner's word comes first.
func decide(now time.Time, r record, a Allowance, seen sight) Stance {
	pause, next := r.Pause, a.When.Next(now)
	switch {
	case pause != nil && !pause.over(now):
		reason := "paused by hand until 'spare resume'"
		if !pause.Until.IsZero() {
			reason = "paused by hand until " + moment(now, pause.Until)
		}
		if pause.Finish {
			reason += "; what runs already may end"
		}
		return Stance{Availability: protocol.Paused, Reason: reason, Until: pause.Until, HandOver: !pause.Finish, Hold: pause.Finish && seen.busy && seen.wants}
	case !a.When.Open(now):
		reason := "closed by its schedule (" + a.When.String() + ")"
		if !next.IsZero() {
			reason += " until " + moment(now, next)
		}
		return Stance{Availability: protocol.Paused, Reason: reason, Until: next, HandOver: true}
	case !a.Battery && seen.place.power == onBattery:
		return Stance{Availability: protocol.Paused, Reason: "paused, " + seen.place.power.words(), HandOver: true}
	case !a.Hot && seen.place.hot:
		return Stance{Availability: protocol.Paused, Reason: "paused until it has cooled down, " + seen.place.heat.words(), HandOver: true}
	case seen.busy:
		return Stance{
			Availability: protocol.OwnerBusy, Reason: seen.reason,
			HandOver: seen.active && now.Sub(seen.since) >= handOverAfter, Hold: seen.wants,
		}
	default:
		reason := seen.reason
		if !next.IsZero() {
			reason += "; by its schedule until " + moment(now, next)
		}
		return Stance{Availability: protocol.Open, Reason: reason, Until: next}
	}
}

// moment writes a time for people who know what day it is now.
func moment(now, t time.Time) string {
	now, t = now.Local(), t.Local()
	layout := "15:04 MST"
	switch {
	case t.YearDay() == now.YearDay() && t.Year() == now.Year():
		if t.Second() != 0 {
			layout = "15:04:05 MST"
		}
	case t.Sub(now) < 7*24*time.Hour:
		layout = "Mon " + layout
	default:
		layout = "2 Jan 2006 " + layout
	}
	return t.Format(layout)
}
