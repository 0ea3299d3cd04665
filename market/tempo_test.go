package market_test

import (
	"math"
	"testing"
	"time"

	"github.com/spare-network/spare/market"
)

func TestTempo(t *testing.T) {
	var m market.Tempo
	if got := m.Expects(2); got != 2e8 {
		t.Errorf("of a module that never ran %g gas a second are expected at speed 2, want 2e8", got)
	}
	m.Learn(5e9, 5*time.Second, 2) // 5e8 at speed 1, 10 s of work
	if m.Work != 10 || m.Expects(1) != 5e8 || m.Expects(4) != 2e9 {
		t.Errorf("after one run: %+v", m)
	}
	m.Learn(1, time.Millisecond, 1) // tells nothing of its rate
	if m.Expects(1) != 5e8 || m.Work >= 10 {
		t.Errorf("after a short run: %+v", m)
	}
	for range 200 {
		m.Learn(1e9, time.Second, 1)
	}
	if r := m.Expects(1); math.Abs(r-1e9) > 1e6 || math.Abs(m.Work-1) > 0.01 {
		t.Errorf("after many other runs: %+v", m)
	}
	for range 200 {
		m.Learn(math.MaxUint64, time.Second, 1)
	}
	if r := m.Expects(1); r > 1e10 {
		t.Errorf("a claim of all gas is believed: %g", r)
	}
	before := m
	m.Learn(1e9, 0, 1)
	m.Learn(1e9, time.Second, 0)
	if m != before {
		t.Error("something is learned from a run without time or speed")
	}
}

func TestProgress(t *testing.T) {
	start := time.Unix(1e9, 0)
	type beat struct {
		at         time.Duration
		gas        uint64
		over, slow bool
	}
	const expected = 1e9
	for _, c := range []struct {
		name  string
		beats []beat
	}{
		{"as fast as it should be", []beat{{0, 0, false, false}, {time.Second, 1e9, false, false}, {2 * time.Second, 2e9, true, false}}},
		{"a quarter as fast", []beat{{0, 7, false, false}, {2 * time.Second, 5e8 + 7, true, false}}},
		{"less than that", []beat{{0, 7, false, false}, {2 * time.Second, 5e8 - 1, true, true}, {3 * time.Second, 5e8, false, false}, {4 * time.Second, 6e8, true, true}}},
		{"it stops", []beat{{0, 0, false, false}, {2 * time.Second, 2e9, true, false}, {4 * time.Second, 2e9, true, true}}},
		{"it goes back", []beat{{0, 5e9, false, false}, {2 * time.Second, 0, true, true}}},
		{"beats that come late", []beat{{0, 0, false, false}, {10 * time.Second, 2e9, true, true}}},
	} {
		var p market.Progress
		for _, b := range c.beats {
			if over, slow := p.Seen(start.Add(b.at), b.gas, expected); over != b.over || slow != b.slow {
				t.Errorf("%s: after %v over %v, slow %v; want %v, %v", c.name, b.at, over, slow, b.over, b.slow)
			}
		}
	}
	var p market.Progress
	p.Seen(start, 0, expected)
	p.Pause()
	if over, _ := p.Seen(start.Add(time.Minute), 0, expected); over {
		t.Error("the time of a pause counts")
	}
	p.Hasten(0.75)
	if over, _ := p.Seen(start.Add(time.Minute+500*time.Millisecond), 0, expected); !over {
		t.Error("a stride that was hastened by 1.5 s takes 2 s")
	}
}

// However many are slow, no more is done twice than the budget has.
func TestHedgeIsBounded(t *testing.T) {
	var h market.Hedge
	if !h.Spend(10*time.Second) || h.Spend(time.Second) {
		t.Error("the first spare is allowed, and not a second one")
	}
	var worked, spent time.Duration
	for range 100_000 {
		h.Earn(time.Second)
		worked += time.Second
		if h.Spend(2 * time.Second) {
			spent += 2 * time.Second
		}
	}
	if share := spent.Seconds() / worked.Seconds(); share > 0.05 || share < 0.045 {
		t.Errorf("%.3f of the work is done twice, want 0.05", share)
	}
	var rich market.Hedge
	rich.Earn(1000 * time.Hour)
	n := 0
	for rich.Spend(time.Second) {
		n++
	}
	if n != 61 {
		t.Errorf("%d spares of a second were saved up for, want 61", n)
	}
	var indebted market.Hedge
	indebted.Spend(1000 * time.Hour)
	n = 0
	for ; !indebted.Spend(0); n++ {
		indebted.Earn(time.Second)
	}
	if n != 20*60 {
		t.Errorf("after %d seconds of work the dearest spare is paid for, want 1200", n)
	}
}
