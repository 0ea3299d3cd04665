package donor

import (
	"testing"
	"time"
)

func TestSchedule(t *testing.T) {
	// 2 March 2026 is a Monday.
	at := func(day, hour, minute int) time.Time {
		return time.Date(2026, time.March, day, hour, minute, 0, 0, time.UTC)
	}
	for _, c := range []struct {
		text string
		now  time.Time
		open bool
		next time.Time
	}{
		{"always", at(2, 12, 0), true, time.Time{}},
		{"mon-sun", at(2, 12, 0), true, time.Time{}},
		{"00:00-24:00", at(2, 12, 0), true, time.Time{}},
		{"mon-fri 19:00-07:00, sat, sun", at(2, 12, 0), false, at(2, 19, 0)},
		{"mon-fri 19:00-07:00, sat, sun", at(2, 19, 0), true, at(3, 7, 0)},
		{"mon-fri 19:00-07:00, sat, sun", at(2, 18, 59), false, at(2, 19, 0)},
		{"mon-fri 19:00-07:00, sat, sun", at(3, 6, 59), true, at(3, 7, 0)},
		{"mon-fri 19:00-07:00, sat, sun", at(3, 7, 0), false, at(3, 19, 0)},
		{"mon-fri 19:00-07:00, sat, sun", at(6, 20, 0), true, at(9, 0, 0)},  // Friday evening to Sunday midnight
		{"mon-fri 19:00-07:00, sat, sun", at(9, 6, 0), false, at(9, 19, 0)}, // Monday morning is of no window
		{"SAT", at(2, 0, 0), false, at(7, 0, 0)},
		{"sat", at(7, 23, 59), true, at(8, 0, 0)},
		{"fri-mon 10:00-11:00", at(8, 10, 30), true, at(8, 11, 0)},
		{"fri-mon 10:00-11:00", at(3, 10, 30), false, at(6, 10, 0)},
		{"22:00-06:00", at(4, 2, 0), true, at(4, 6, 0)},
		{" 22:00-06:00 ", at(4, 21, 59), false, at(4, 22, 0)},
		{"mon 10:00-10:00", at(2, 10, 0), true, at(3, 10, 0)}, // a whole day
		{"mon 08:00-12:00, mon 11:00-14:00", at(2, 9, 0), true, at(2, 14, 0)},
		{"mon 08:00-12:00, mon 12:00-14:00", at(2, 9, 0), true, at(2, 14, 0)},
		{"sun 23:00-24:00", at(2, 0, 0), false, at(8, 23, 0)},
		{"mon 19:00-20:00", at(2, 20, 0), false, at(9, 19, 0)}, // in a week
		{"mon 19:00-20:00", at(2, 19, 59), true, at(2, 20, 0)},
	} {
		s, err := ParseSchedule(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if open, next := s.Open(c.now), s.Next(c.now); open != c.open || !next.Equal(c.next) {
			t.Errorf("%q on %s: %v until %v, want %v until %v", c.text, c.now.Format("Mon 15:04"), open, next, c.open, c.next)
		}
	}
	for _, text := range []string{
		"", ",", "mon,", "someday", "mon-", "-mon", "mon 9-17", "mon 09:00", "mon 09:00-25:00", "mon 24:00-06:00", "mon 09:60-10:00",
		"mon tue 09:00-10:00", "mon -1:00-10:00", "mon 00:00-00:00", "09:00", "mon 9:0-10:00", "always, mon",
	} {
		if s, err := ParseSchedule(text); err == nil {
			t.Errorf("%q is read as %v", text, s)
		}
	}
}

func TestScheduleKeepsToTheClockOnTheWall(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones here")
	}
	s, err := ParseSchedule("22:00-06:00")
	if err != nil {
		t.Fatal(err)
	}
	// The clock goes from 2:00 to 3:00 on 29 March 2026, and back on 25 October.
	for _, c := range []struct {
		from  time.Time
		hours float64
	}{
		{time.Date(2026, time.March, 28, 22, 0, 0, 0, berlin), 7},
		{time.Date(2026, time.October, 24, 22, 0, 0, 0, berlin), 9},
		{time.Date(2026, time.June, 1, 22, 0, 0, 0, berlin), 8},
	} {
		if next := s.Next(c.from); next.Sub(c.from).Hours() != c.hours || next.Hour() != 6 || !s.Open(c.from) {
			t.Errorf("open from %v to %v, want %v h", c.from, next, c.hours)
		}
	}
}

func FuzzSchedule(f *testing.F) {
	for _, text := range []string{"always", "mon-fri 19:00-07:00, sat, sun", "22:00-06:00", "fri-mon 00:00-24:00", "tue 10:00-10:00"} {
		f.Add(text, int64(1772452800))
	}
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		s, err := ParseSchedule(text)
		if err != nil {
			return
		}
		again, err := ParseSchedule(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q is written as %q, which is read as %v, %v", text, s, again, err)
		}
		now := time.Unix(unix%(1<<33), 0).UTC()
		next := s.Next(now)
		if next.IsZero() {
			next = now.Add(8 * 24 * time.Hour)
		} else if s.Open(next) == s.Open(now) {
			t.Fatalf("%q does not change at %v", s, next)
		}
		for at := now; at.Before(next); at = at.Add(7 * time.Minute) { // within a minute or so of each change
			if s.Open(at) != s.Open(now) || s.Open(at) != again.Open(at) {
				t.Fatalf("%q changes by %v, before %v", s, at, next)
			}
		}
	})
}
