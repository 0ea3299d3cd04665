package market_test

import (
	"math"
	"testing"
	"time"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// asked is a candidate that has answered a probe from 1.2 ms away.
func asked(change func(*market.Candidate)) market.Candidate {
	c := market.Candidate{
		Provider: "p", Offer: offerAt(0, nil), RTT: 1200 * time.Microsecond, RTTKnown: true,
		Speed: 1, Load: &protocol.Load{Slots: 2}, Warm: true, Feasible: true,
	}
	if change != nil {
		change(&c)
	}
	return c
}

func TestScore(t *testing.T) {
	const ms = time.Millisecond
	cases := []struct {
		name   string
		need   func(*market.Need)
		change func(*market.Candidate)
		want   time.Duration
		reason string
	}{
		{"idle and warm", nil, nil, 1200*time.Microsecond + time.Second, "idle, 1.2 ms away, speed 1, module warm"},
		{"faster", nil, func(c *market.Candidate) { c.Speed = 1.4 }, 1200*time.Microsecond + 1000*ms*10/14, "idle, 1.2 ms away, speed 1.4, module warm"},
		{"known size", func(n *market.Need) { n.Size = 5 }, nil, 1200*time.Microsecond + 5*time.Second, "idle, 1.2 ms away, speed 1, module warm"},
		{"one slot of two left", nil, func(c *market.Candidate) { c.Load.Running = 1 }, 1200*time.Microsecond + time.Second, "idle, 1.2 ms away, speed 1, module warm"},
		{"all slots busy, no run seen yet", nil, func(c *market.Candidate) { c.Load.Running = 2 }, 1200*time.Microsecond + 2500*ms, "busy for 500 ms, 1.2 ms away, speed 1, module warm"},
		{"three queued behind runs of 200 ms", nil, func(c *market.Candidate) {
			c.Load = &protocol.Load{Slots: 2, Running: 2, Queued: 3, MeanRunUs: 200_000}
		}, 1200*time.Microsecond + 2200*ms, "busy for 400 ms, 1.2 ms away, speed 1, module warm"},
		{"cold", nil, func(c *market.Candidate) { c.Warm = false }, 2400*time.Microsecond + 1010*ms, "idle, 1.2 ms away, speed 1, module cold"},
		{"cold and large", func(n *market.Need) { n.ModuleBytes = 29e6 }, func(c *market.Candidate) { c.Warm = false }, 2400*time.Microsecond + 1010*ms + 2320*ms + 2000*ms, "idle, 1.2 ms away, speed 1, module cold"},
		{"the own node", func(n *market.Need) { n.Self = "p" }, func(c *market.Candidate) { c.RTT = 0 }, time.Second, "idle, this node, speed 1, module warm"},
		{"the own node, cold and large: nothing to fetch", func(n *market.Need) { n.Self, n.ModuleBytes = "p", 29e6 }, func(c *market.Candidate) { c.RTT, c.Warm = 0, false }, 1010*ms + 2000*ms, "idle, this node, speed 1, module cold"},
		{"distance not measured", nil, func(c *market.Candidate) { c.RTTKnown = false }, 135*ms + time.Second, "idle, round trip not measured, speed 1, module warm"},
		{"full", nil, func(c *market.Candidate) { c.Load.Availability = protocol.Full }, 1200*time.Microsecond + time.Second, "is full, 1.2 ms away, speed 1, module warm"},
		{"a claim of no slots", nil, func(c *market.Candidate) { c.Load.Slots = 0 }, 1200*time.Microsecond + 4*time.Second, "busy for 1 s, 1.2 ms away, speed 1, module warm"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := need()
			n.ModuleBytes = 0
			if c.need != nil {
				c.need(&n)
			}
			got := market.Score(n, asked(c.change))
			if d := got.Score - c.want; d < -time.Microsecond || d > time.Microsecond {
				t.Errorf("score %v, want %v", got.Score, c.want)
			}
			if got.Reason != c.reason || !got.Scored {
				t.Errorf("reason %q, want %q", got.Reason, c.reason)
			}
		})
	}
}

func TestScoreOfAbsurdClaimsIsFinite(t *testing.T) {
	worst := market.Score(need(), asked(func(c *market.Candidate) {
		c.Speed = math.SmallestNonzeroFloat64
		c.Load = &protocol.Load{Slots: 1, Running: math.MaxUint32, Queued: math.MaxUint32, MeanRunUs: math.MaxUint64}
		c.RTT = math.MaxInt64
	}))
	if worst.Score < 24*time.Hour {
		t.Errorf("the worst claims score %v", worst.Score)
	}
}

func TestEnough(t *testing.T) {
	scored := func(score time.Duration, a protocol.Availability) market.Candidate {
		return asked(func(c *market.Candidate) { c.Scored, c.Score, c.Load.Availability = true, score, a })
	}
	open, second := scored(1010*time.Millisecond, protocol.Open), scored(1500*time.Millisecond, protocol.Open)
	out := func(rtt time.Duration, speed float64, warm, measured bool) market.Candidate {
		return asked(func(c *market.Candidate) {
			c.RTT, c.Speed, c.Warm, c.RTTKnown, c.Load = rtt, speed, warm, measured, nil
		})
	}
	cases := []struct {
		name        string
		replicas    int
		scored      []market.Candidate
		outstanding []market.Candidate
		want        bool
	}{
		{"nobody is outstanding", 1, nil, nil, true},
		{"nobody has answered", 1, nil, []market.Candidate{out(time.Hour, 1, true, true)}, false},
		{"a nearer one is outstanding", 1, []market.Candidate{open}, []market.Candidate{out(5*time.Millisecond, 1, true, true)}, false},
		{"a faster one is outstanding", 1, []market.Candidate{open}, []market.Candidate{out(50*time.Millisecond, 2, true, true)}, false},
		{"only farther ones are", 1, []market.Candidate{open}, []market.Candidate{out(11*time.Millisecond, 1, true, true), out(time.Second, 1.5, true, true)}, true},
		{"a nearer one is, but cold", 1, []market.Candidate{open}, []market.Candidate{out(5*time.Millisecond, 1, false, true)}, true},
		{"one of unknown distance is", 1, []market.Candidate{open}, []market.Candidate{out(0, 1, true, false)}, true},
		{"the one that answered is full", 1, []market.Candidate{scored(time.Second, protocol.Full)}, []market.Candidate{out(time.Second, 1, true, true)}, false},
		{"one of two replicas is missing", 2, []market.Candidate{open}, []market.Candidate{out(time.Second, 1, true, true)}, false},
		{"one could be better than the second", 2, []market.Candidate{second, open}, []market.Candidate{out(400*time.Millisecond, 1, true, true)}, false},
		{"none could be better than the second", 2, []market.Candidate{second, open}, []market.Candidate{out(600*time.Millisecond, 1, true, true)}, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := need()
			n.Replicas = c.replicas
			if got := market.Enough(n, c.scored, c.outstanding); got != c.want {
				t.Errorf("Enough = %v, want %v", got, c.want)
			}
		})
	}
}

func TestProbeTimeout(t *testing.T) {
	at := func(rtt time.Duration, measured bool) market.Candidate {
		return market.Candidate{RTT: rtt, RTTKnown: measured}
	}
	for _, c := range []struct {
		name string
		list []market.Candidate
		want time.Duration
	}{
		{"nobody", nil, 20 * time.Millisecond},
		{"the farthest counts", []market.Candidate{at(10*time.Millisecond, true), at(100*time.Millisecond, true)}, 170 * time.Millisecond},
		{"one not measured has time enough", []market.Candidate{at(0, false)}, 222500 * time.Microsecond},
	} {
		if got := market.ProbeTimeout(c.list); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	rng := seeded(t)
	longest := map[int]time.Duration{}
	for refusals := range 100 {
		for range 2000 {
			d := market.Backoff(rng, refusals)
			if d < 0 || d >= 5*time.Second {
				t.Fatalf("waits %v after %d refusals", d, refusals)
			}
			longest[refusals] = max(longest[refusals], d)
		}
	}
	for refusals, bound := range map[int]time.Duration{0: 0, 2: 0, 3: 50e6, 4: 100e6, 6: 400e6, 9: 3200e6, 10: 5e9, 99: 5e9} {
		if got := longest[refusals]; got > bound || got < bound*9/10 {
			t.Errorf("after %d refusals the longest of 2000 waits is %v, want nearly %v", refusals, got, bound)
		}
	}
}
