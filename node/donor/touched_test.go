package donor

import (
	"testing"
	"time"
)

func TestIdleTime(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want time.Duration
		ok   bool
	}{
		"as macOS writes it": {"+-o IOHIDSystem  <class IOHIDSystem, id 0x100000478>\n    {\n      \"HIDScrollCountMap\" = {}\n      \"HIDIdleTime\" = 2500000000\n    }\n", 2500 * time.Millisecond, true},
		"nothing":            {"", 0, false},
		"another key":        {"\"HIDIdleTimeout\" = 5\n", 0, false},
		"no number":          {"\"HIDIdleTime\" = <00>\n", 0, false},
		"below zero":         {"\"HIDIdleTime\" = -5\n", -5, false},
	} {
		if got, ok := idleTime(c.text); got != c.want || ok != c.ok {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
}
