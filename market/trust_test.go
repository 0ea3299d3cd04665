package market_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/spare-network/spare/market"
)

// passed is a provider of so many checks passed.
func passed(k float64) market.Standing { return market.Standing{Passed: k} }

func TestCredibility(t *testing.T) {
	lied := market.Standing{Wrongs: 1, WrongAt: start}
	liedThen := lied
	liedThen.Passed = 100
	for _, c := range []struct {
		name        string
		standing    market.Standing
		credibility float64
		share       float64
	}{
		{"a newcomer", passed(0), 0.8, 1},
		{"one check says nothing more", passed(1), 0.8, 1},
		{"nearly proven", passed(9.99), 1 - 0.2/9.99, 1},
		{"proven", passed(10), 0.98, 0.1},
		{"well known", passed(100), 0.998, 0.05},
		{"found wrong", lied, 0.5, 1},
		{"found wrong, then 100 checks passed", liedThen, 0.995, 0.05},
	} {
		if got := c.standing.Credibility(); math.Abs(got-c.credibility) > 1e-12 {
			t.Errorf("%s: credibility %v, want %v", c.name, got, c.credibility)
		}
		if got := c.standing.CheckShare(); math.Abs(got-c.share) > 1e-12 {
			t.Errorf("%s: %v of its answers are checked, want %v", c.name, got, c.share)
		}
	}
}

func TestChecksAreForgottenByHalfIn200Answers(t *testing.T) {
	s := passed(64)
	for range 200 {
		s.Unchecked()
	}
	if math.Abs(s.Passed-32) > 1e-9 {
		t.Errorf("after 200 answers 64 checks are %v, want 32", s.Passed)
	}
	for range 10_000 {
		s.Agreed()
	}
	if want := 1 / (1 - math.Exp2(-1.0/200)); math.Abs(s.Passed-want) > 1e-6 {
		t.Errorf("checks of every answer add up to %v, want %v", s.Passed, want)
	}
}

func TestBarDoublesWithEachLie(t *testing.T) {
	s := passed(50)
	if _, barred := s.Barred(start); barred {
		t.Fatal("a provider is barred that was never found wrong")
	}
	now, bar := start, 10*time.Minute
	for i := range 40 {
		s.Wrong(now, "a lie")
		if s.Passed != 0 {
			t.Fatalf("a lie leaves %v checks passed", s.Passed)
		}
		until, barred := s.Barred(now)
		if want := now.Add(min(bar, 7*24*time.Hour)); !barred || !until.Equal(want) {
			t.Fatalf("lie %d: barred %v until %v, want %v", i+1, barred, until, want)
		}
		if _, barred := s.Barred(until.Add(-1)); !barred {
			t.Fatalf("lie %d: the bar ends early", i+1)
		}
		if _, barred := s.Barred(until); barred {
			t.Fatalf("lie %d: the bar does not end", i+1)
		}
		s.Agreed()
		now, bar = until, min(2*bar, 14*24*time.Hour)
	}
	s.Wrongs = math.MaxUint32
	s.Wrong(now, "a lie")
	if until, _ := s.Barred(now); s.Wrongs != math.MaxUint32 || until.Sub(now) != 7*24*time.Hour {
		t.Errorf("the count of lies comes round: %d, barred for %v", s.Wrongs, until.Sub(now))
	}
}

func TestLiesOfOneTimeCountOnce(t *testing.T) {
	var s market.Standing
	for i := range 20 { // answers that were under way at the same time
		s.Wrong(start.Add(time.Duration(i)*time.Second), "a lie")
	}
	if s.Wrongs != 1 {
		t.Errorf("found wrong %d times, want 1", s.Wrongs)
	}
	if until, _ := s.Barred(start.Add(time.Minute)); !until.Equal(start.Add(19*time.Second + 10*time.Minute)) {
		t.Errorf("barred until %v after start", until.Sub(start))
	}
}

func TestAClockSetBackDoesNotBarForever(t *testing.T) {
	s := market.Standing{Wrongs: 1, WrongAt: start}
	if _, barred := s.Barred(start.Add(-9 * time.Minute)); !barred {
		t.Error("a clock set back by less than the bar ends it")
	}
	if _, barred := s.Barred(start.Add(-365 * 24 * time.Hour)); barred {
		t.Error("a clock set back by a year bars for a year")
	}
}

func TestStandingInWords(t *testing.T) {
	lied := market.Standing{Wrongs: 2, WrongAt: start, WrongWhy: "answered otherwise than 3 others that agree"}
	later := lied
	later.Passed = 12
	for _, c := range []struct {
		standing market.Standing
		after    time.Duration
		want     string
	}{
		{passed(0), 0, "new: no check passed yet"},
		{passed(3), 0, "new: 3 of 10 checks passed"},
		{passed(9.9), 0, "new: 9 of 10 checks passed"},
		{passed(25.2), 0, "25 recent checks passed"},
		{lied, 2 * time.Minute, "not chosen for 18m, found wrong 2 times, last 2m ago: answered otherwise than 3 others that agree"},
		{later, 26 * time.Hour, "12 checks passed since it was found wrong 2 times, last 26h ago: answered otherwise than 3 others that agree"},
	} {
		got := c.standing.Words(start.Add(c.after))
		if got != c.want {
			t.Errorf("words %q, want %q", got, c.want)
		}
		if strings.Contains(got, "\n") {
			t.Errorf("more than one line: %q", got)
		}
	}
}
