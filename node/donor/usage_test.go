package donor

import (
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

func TestOthers(t *testing.T) {
	base := cpuTimes{passed: 1000, used: 500, own: 100, ownKnown: true}
	after := func(passed, used, own int) cpuTimes {
		return cpuTimes{passed: base.passed + uint64(passed), used: base.used + uint64(used), own: uint64(int(base.own) + own), ownKnown: true}
	}
	blind := func(c cpuTimes) cpuTimes { c.ownKnown, c.own = false, 0; return c }
	cases := []struct {
		name  string
		a, b  cpuTimes
		share float64
		known bool
	}{
		{"an idle machine", base, after(100, 0, 0), 0, true},
		{"an idle machine, own part not read", blind(base), blind(after(100, 10, 0)), 0.1, true},
		{"only others", base, after(100, 80, 0), 0.8, true},
		{"only our own guests", base, after(100, 80, 80), 0, true},
		{"both", base, after(100, 100, 60), 0.4, true},
		{"a busy machine, own part not read", blind(base), blind(after(100, 80, 0)), 0, false},
		{"a busy machine, own part read for the first time", blind(base), after(100, 80, 80), 0, false},
		{"own time counted a little beyond all", base, after(100, 80, 83), 0, true},
		{"own time that shrank when a child ended", base, after(100, 80, -5), 0.8, true},
		{"nothing has passed", base, base, 0, false},
		{"a CPU was taken away", base, cpuTimes{passed: 900, used: 400, own: 100, ownKnown: true}, 0, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			share, known := others(c.a, c.b)
			if d := share - c.share; d < -1e-9 || d > 1e-9 || known != c.known {
				t.Errorf("got %v, %v, want %v, %v", share, known, c.share, c.known)
			}
		})
	}
}

func TestWatch(t *testing.T) {
	start := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	times := func(n int, share float64) (list []float64) {
		for range n {
			list = append(list, share)
		}
		return list
	}
	cases := []struct {
		name   string
		shares [][]float64 // one every two seconds
		want   protocol.Availability
		reason string
	}{
		{"nothing measured", nil, protocol.Open, "donating, the owner's activity is not measured yet"},
		{"quiet", [][]float64{times(5, 0.03)}, protocol.Open, "donating, other programs use 3 % of the CPUs; pauses when that is 25 % or more for a while"},
		{"one burst", [][]float64{{0.02, 0.9}}, protocol.Open, "donating, other programs use 90 % of the CPUs; pauses when that is 25 % or more for a while"},
		{"bursts between quiet times", [][]float64{{0.9, 0.02, 0.9, 0.02, 0.9}}, protocol.Open, "donating, other programs use 90 % of the CPUs; pauses when that is 25 % or more for a while"},
		{"two busy samples", [][]float64{{0.02, 0.25, 0.61}}, protocol.OwnerBusy, "paused, other programs use 61 % of the CPUs, the limit is 25 %"},
		{"quiet for 28 s since", [][]float64{{0.5, 0.5}, times(15, 0.01)}, protocol.OwnerBusy, "paused until other programs use less than 25 % for 30s; they use 1 % now"},
		{"quiet for 30 s since", [][]float64{{0.5, 0.5}, times(16, 0.01)}, protocol.Open, "donating, other programs use 1 % of the CPUs; pauses when that is 25 % or more for a while"},
		{"a burst begins the wait anew", [][]float64{{0.5, 0.5}, times(10, 0.01), {0.5}, times(15, 0.01)}, protocol.OwnerBusy, "paused until other programs use less than 25 % for 30s; they use 1 % now"},
		{"and then it ends", [][]float64{{0.5, 0.5}, times(10, 0.01), {0.5}, times(16, 0.01)}, protocol.Open, "donating, other programs use 1 % of the CPUs; pauses when that is 25 % or more for a while"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := watch{idle: UsualIdle}
			now := start
			for _, part := range c.shares {
				for _, share := range part {
					now = now.Add(2 * time.Second)
					w.note(now, share, true)
				}
			}
			got := decide(now, record{}, Allowance{Idle: UsualIdle}, w.sight())
			if got.Availability != c.want || got.Reason != c.reason {
				t.Errorf("got  %s: %s\nwant %s: %s", got.Availability.Word(), got.Reason, c.want.Word(), c.reason)
			}
		})
	}
}
