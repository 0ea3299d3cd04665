package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/spare-network/spare/node/api"
)

func TestProgressText(t *testing.T) {
	var out bytes.Buffer
	p := progress{w: &out, how: "bar"}
	p.note(&api.Job{Tasks: 300})
	for _, c := range []struct {
		passed uint64
		after  time.Duration
		want   string
	}{
		{297, 30 * time.Second, "297 of 300 tasks, <1s to go"},
		{150, 30 * time.Second, "150 of 300 tasks, 30s to go"},
		{150, time.Millisecond, "150 of 300 tasks"},
	} {
		if got := p.text(&api.Job{Tasks: 300, Passed: c.passed}, p.began.Add(c.after)); got != c.want {
			t.Errorf("%d after %s: %q, want %q", c.passed, c.after, got, c.want)
		}
	}
	// A narrow terminal cuts it off, and only it.
	p.told = p.told.Add(-time.Hour)
	p.note(&api.Job{Tasks: 300, Passed: 3})
	if s := out.String(); !strings.HasPrefix(s, "\r\x1b[K\x1b[?7l[") || !strings.HasSuffix(s, "\x1b[?7h") {
		t.Errorf("the bar is %q", s)
	}
}
