package market

import (
	"fmt"
	"math"
	"time"
)

const (
	// faulty is the fraction of providers taken to be dishonest when nothing
	// is known of one: f in Sarmenta's formulas. More liars than this, and the
	// odds stated for a verdict do not hold.
	faulty = 0.2
	// relapse takes its place for a provider that was found wrong before.
	relapse = 0.5
	// proven is the number of checks after which a provider's answer may stand
	// alone. Until then each of its answers is compared with others.
	proven = 10
	// rarest is the smallest share of a provider's answers that are checked,
	// however many it has passed: 19 lies at most, in the mean, go unseen for
	// each one found.
	rarest = 0.05
	// halfLife is the number of answers after which a check counts half.
	halfLife = 200
	// firstBar and longestBar bound the time for which a provider is not
	// chosen once it is found wrong. It doubles with each time.
	firstBar   = 10 * time.Minute
	longestBar = 7 * 24 * time.Hour
)

// Standing is what the requester's own comparisons tell of one provider.
// Nothing in it comes from hearsay. The zero Standing is that of a newcomer.
//
// A new identity costs nothing, so whatever a newcomer may do, a liar may do
// again and again.
type Standing struct {
	// Passed is the number of checks passed since the provider was last found
	// wrong, each forgotten with a half-life of 200 answers.
	Passed float64
	// Wrongs is how often it was found wrong, ever.
	Wrongs uint32
	// WrongAt and WrongWhy tell of the last time.
	WrongAt  time.Time
	WrongWhy string
}

// Agreed notes an answer that was compared with others and found right.
func (s *Standing) Agreed() {
	s.Unchecked()
	s.Passed++
}

// Unchecked notes an answer that was taken without comparison.
func (s *Standing) Unchecked() { s.Passed *= keep }

// keep is what one more answer leaves of what earlier ones have shown.
var keep = math.Exp2(-1.0 / halfLife)

// Wrong notes that the provider was found wrong, and why, in words for people.
// While it is barred for an earlier time this counts as the same time: what is
// found then was told before.
func (s *Standing) Wrong(now time.Time, why string) {
	s.Passed = 0
	if _, barred := s.Barred(now); !barred && s.Wrongs < math.MaxUint32 {
		s.Wrongs++
	}
	s.WrongAt, s.WrongWhy = now, why
}

// Barred returns until when the provider is not to be chosen, if that is still
// to come. A clock that was set back makes it no longer than the bar itself.
func (s Standing) Barred(now time.Time) (until time.Time, barred bool) {
	if s.Wrongs == 0 {
		return time.Time{}, false
	}
	bar := longestBar
	if doublings := s.Wrongs - 1; doublings < 16 { // which is long beyond
		bar = min(bar, firstBar<<doublings)
	}
	until = s.WrongAt.Add(bar)
	return until, now.Before(until) && now.Add(bar).After(s.WrongAt)
}

// Credibility is the probability that the provider's next answer is right:
// 1 - f/k after k checks passed, and never less than 1 - f, where f is 0.2, or
// 0.5 for one that was found wrong before.
//
// It is Sarmenta's estimate for spot-checking without blacklisting
// (Sabotage-tolerance mechanisms for volunteer computing systems, FGCS 18,
// 2002), which supposes that those found out come back under new names. It
// bounds the lies of one that errs at a steady rate, and says nothing of one
// that was honest for as long as it paid.
func (s Standing) Credibility() float64 {
	f := faulty
	if s.Wrongs > 0 {
		f = relapse
	}
	return 1 - f/max(1, s.Passed)
}

// CheckShare is the share of the provider's answers to be compared with
// others: all until it has passed 10 checks, then 1/k, and never under 0.05.
// It is BOINC's adaptive replication with a floor.
func (s Standing) CheckShare() float64 {
	if s.Passed < proven {
		return 1
	}
	return max(rarest, 1/s.Passed)
}

// Words says what the standing is and why, for people.
func (s Standing) Words(now time.Time) string {
	past := ""
	if s.Wrongs > 0 {
		past = fmt.Sprintf("found wrong %s, last %s ago: %s", count(int(s.Wrongs), "time"), span(max(0, now.Sub(s.WrongAt)).Truncate(time.Second)), s.WrongWhy)
	}
	passed := int(s.Passed)
	until, barred := s.Barred(now)
	switch {
	case barred:
		return fmt.Sprintf("not chosen for %s, %s", span(until.Sub(now).Truncate(time.Second)), past)
	case past != "":
		return count(passed, "check") + " passed since it was " + past
	case passed == 0:
		return "new: no check passed yet"
	case s.Passed < proven:
		return fmt.Sprintf("new: %d of %d checks passed", passed, proven)
	default:
		return count(passed, "recent check") + " passed"
	}
}
