package donor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spare-network/spare/protocol"
)

// Schedule is when a machine donates, by the week and the clock on its wall. The
// zero value is always.
type Schedule struct{ windows []window }

// window is open on some days from a minute of the day to another, on the next
// day when that is not later.
type window struct {
	days     [7]bool // by time.Weekday
	from, to int     // minutes since midnight; the whole day: 0 to 1440
	text     string
}

const (
	dayMinutes = 24 * 60
	// maxWindows is more than anybody's week has.
	maxWindows = 64
)

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// scheduleWants says how a Schedule is written.
const scheduleWants = `windows such as "mon-fri 19:00-07:00, sat, sun", or "always"`

// ParseSchedule reads windows with commas between them, each of days, of times of
// the day, or of both: "sat", "mon-fri 19:00-07:00", "22:00-06:00". A window
// whose end is not after its beginning ends on the next day. "always" is none.
func ParseSchedule(text string) (Schedule, error) {
	text = strings.ToLower(strings.TrimSpace(text))
	if text == "always" {
		return Schedule{}, nil
	}
	var s Schedule
	for part := range strings.SplitSeq(text, ",") {
		w, ok := parseWindow(part)
		if !ok {
			return Schedule{}, fmt.Errorf("%q is no window", protocol.SafeText(strings.TrimSpace(part)))
		}
		if s.windows = append(s.windows, w); len(s.windows) > maxWindows {
			return Schedule{}, fmt.Errorf("there are more than %d windows", maxWindows)
		}
	}
	return s, nil
}

func parseWindow(text string) (w window, ok bool) {
	words := strings.Fields(text)
	if len(words) == 0 || len(words) > 2 {
		return w, false
	}
	w.text, w.to = strings.Join(words, " "), dayMinutes
	days, hours := words[0], ""
	switch {
	case len(words) == 2:
		hours = words[1]
	case strings.Contains(days, ":"):
		days, hours = "mon-sun", days
	}
	first, last, several := strings.Cut(days, "-")
	i, j := slices.Index(weekdays, first), slices.Index(weekdays, last)
	if !several {
		j = i
	}
	if i < 0 || j < 0 {
		return w, false
	}
	for d := i; ; d = (d + 1) % 7 {
		if w.days[d] = true; d == j {
			break
		}
	}
	if hours == "" {
		return w, true
	}
	from, to, both := strings.Cut(hours, "-")
	var begins, ends bool
	w.from, begins = parseMinute(from)
	w.to, ends = parseMinute(to)
	return w, both && begins && ends && w.from < dayMinutes && w.from+w.to > 0
}

// parseMinute reads HH:MM, up to 24:00.
func parseMinute(text string) (int, bool) {
	h, m, ok := strings.Cut(text, ":")
	hour, err1 := strconv.ParseUint(h, 10, 8)
	minute, err2 := strconv.ParseUint(m, 10, 8)
	n := int(hour)*60 + int(minute)
	return n, ok && err1 == nil && err2 == nil && len(m) == 2 && minute < 60 && n <= dayMinutes
}

// String writes the schedule as [ParseSchedule] reads it.
func (s Schedule) String() string {
	if len(s.windows) == 0 {
		return "always"
	}
	var texts []string
	for _, w := range s.windows {
		texts = append(texts, w.text)
	}
	return strings.Join(texts, ", ")
}

// Open reports whether the machine donates at t, by the clock of t's location.
func (s Schedule) Open(t time.Time) bool {
	today, minute := t.Weekday(), t.Hour()*60+t.Minute()
	yesterday := (today + 6) % 7
	for _, w := range s.windows {
		overnight := w.to <= w.from
		switch {
		case !overnight && w.days[today] && minute >= w.from && minute < w.to,
			overnight && w.days[today] && minute >= w.from,
			overnight && w.days[yesterday] && minute < w.to:
			return true
		}
	}
	return len(s.windows) == 0
}

// Next returns when, after t, Open changes, or the zero time when it never does.
func (s Schedule) Next(t time.Time) time.Time {
	var best time.Time
	open := s.Open(t)
	for day := range 9 { // a week, and whatever of it today has gone already
		for _, w := range s.windows {
			for _, minute := range []int{0, w.from, w.to} {
				at := time.Date(t.Year(), t.Month(), t.Day()+day, minute/60, minute%60, 0, 0, t.Location())
				if at.After(t) && s.Open(at) != open && (best.IsZero() || at.Before(best)) {
					best = at
				}
			}
		}
		if !best.IsZero() {
			return best
		}
	}
	return best
}
