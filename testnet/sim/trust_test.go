package sim_test

import (
	"flag"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/testnet/sim"
)

var (
	tasks = flag.Int("tasks", 10_000, "tasks of each trust scenario")
	peers = flag.Int("peers", 20, "peers of each trust scenario")
	seed  = flag.Uint64("seed", 1, "seed of the trust scenarios")
)

// habits are the liars of the table, for all ways of verifying or for one.
var habits = []struct {
	name string
	only protocol.Verify
	sim.Trust
}{
	{"alone, always", 0, sim.Trust{Habit: sim.Alone, Share: 1}},
	{"alone, 1 in 10", 0, sim.Trust{Habit: sim.Alone, Share: 0.1}},
	{"alone, 1 in 100", 0, sim.Trust{Habit: sim.Alone, Share: 0.01}},
	{"together, always", 0, sim.Trust{Habit: sim.Together, Share: 1}},
	{"together, 1 in 10", 0, sim.Trust{Habit: sim.Together, Share: 0.1}},
	{"together, 1 in 100", 0, sim.Trust{Habit: sim.Together, Share: 0.01}},
	{"asleep to 10", 0, sim.Trust{Habit: sim.Asleep, Wake: 10}},
	{"same, no arbiter", 0, sim.Trust{Habit: sim.Asleep, Wake: 10, Remote: true}},
	{"asleep to 25", protocol.VerifyAuto, sim.Trust{Habit: sim.Asleep, Wake: 25}},
	{"asleep to 200", protocol.VerifyStrict, sim.Trust{Habit: sim.Asleep, Wake: 200}},
	{"asleep to 10, renamed", 0, sim.Trust{Habit: sim.Asleep, Wake: 10, Renamed: true}},
	{"same, no arbiter", 0, sim.Trust{Habit: sim.Asleep, Wake: 10, Renamed: true, Remote: true}},
	{"asleep to 200, renamed", protocol.VerifyStrict, sim.Trust{Habit: sim.Asleep, Wake: 200, Renamed: true}},
	{"knowing", protocol.VerifyAuto, sim.Trust{Habit: sim.Knowing}},
}

// TestTrust prints what each way of verifying is worth against liars, beside
// what analysis promises, and holds it to that.
func TestTrust(t *testing.T) {
	for _, verify := range []protocol.Verify{protocol.VerifyAuto, protocol.VerifyStrict} {
		t.Run(verify.Word(), func(t *testing.T) {
			began := time.Now()
			var table strings.Builder
			fmt.Fprintf(&table, "%s, %d peers, %d tasks each, seed %d; 'new' is the warm-up of 100 tasks for each peer\n", verify.Word(), *peers, *tasks, *seed)
			fmt.Fprintf(&table, "%5s  %-23s %10s %9s %9s %9s %9s %9s %5s %11s %13s\n",
				"liars", "habit", "wrong rate", "bound", "wrong new", "later", "work new", "later", "most", "no verdict", "liars/honest")
			for _, liars := range []float64{0, 0.2, 0.3} {
				for _, h := range habits {
					if h.only != 0 && h.only != verify {
						continue
					}
					s := h.Trust
					s.Verify, s.Peers, s.Liars, s.Tasks, s.PerSecond, s.InFlight, s.Seed = verify, *peers, liars, *tasks, 100, 64, *seed
					name := h.name
					if liars == 0 {
						name = "none"
					}
					r := s.Run()
					check(t, fmt.Sprintf("%.0f %% %s", 100*liars, name), s, r)
					bound := "none"
					if b, ok := s.Bound(); ok {
						bound = fmt.Sprintf("%.1e", b)
					}
					fmt.Fprintf(&table, "%3.0f %%  %-23s %10.1e %9s %9d %9d %9.2f %9.3f %5d %6d %4d %8d/%d\n",
						100*liars, name, r.WrongRate(), bound, r.WarmUp.Wrong, r.Later.Wrong,
						r.WarmUp.Work(), r.Later.Work(), r.Most, r.WarmUp.Failed, r.Later.Failed, r.LiarsFound, r.HonestFound)
					if liars == 0 {
						break
					}
				}
			}
			t.Logf("in %v\n%s", time.Since(began).Round(time.Second/10), table.String())
		})
	}
}

// check holds a report to its bound, with room for five standard deviations of
// a count that small, and to the targets where they apply.
func check(t *testing.T, name string, s sim.Trust, r sim.TrustReport) {
	t.Helper()
	wrong := float64(r.WarmUp.Wrong + r.Later.Wrong)
	if bound, ok := s.Bound(); ok {
		if most := bound * float64(s.Tasks); wrong > most+5*math.Sqrt(most) {
			t.Errorf("%s: %.0f lies are accepted, the bound is %.1f", name, wrong, most)
		}
	}
	if !s.Remote && r.HonestFound > 0 {
		t.Errorf("%s: honest providers are found wrong %d times", name, r.HonestFound)
	}
	if s.Liars > 0.2 || s.Renamed {
		return // more than is promised for
	}
	if s.Habit == sim.Alone && s.Verify == protocol.VerifyStrict && wrong > 0 {
		t.Errorf("%s: %.0f lies are accepted", name, wrong)
	}
	work := 1.1
	if s.Verify == protocol.VerifyStrict {
		work = 2.5
	}
	if r.Later.Work() > work {
		t.Errorf("%s: %.2f replicas for each task after the warm-up, want at most %.2f", name, r.Later.Work(), work)
	}
	if float64(r.Later.Failed) > 1e-5*float64(r.Later.Tasks) {
		t.Errorf("%s: %d tasks have no verdict after the warm-up", name, r.Later.Failed)
	}
	if s.Liars > 0 && s.Share == 1 && r.LiarsFound == 0 {
		t.Errorf("%s: no liar is found", name)
	}
}

func TestTheSameSeedTellsTheSame(t *testing.T) {
	s := sim.Trust{Verify: protocol.VerifyAuto, Peers: 20, Liars: 0.2, Habit: sim.Together, Share: 0.1, Tasks: 2000, PerSecond: 100, InFlight: 8, Seed: 7}
	if a, b := s.Run(), s.Run(); a != b {
		t.Errorf("two runs differ: %+v and %+v", a, b)
	}
}

// TestLyingPaysWhereNothingIsVerified shows that the simulator sees lies at all: where nothing is
// verified, a liar's share of the tasks is wrong.
func TestLyingPaysWhereNothingIsVerified(t *testing.T) {
	s := sim.Trust{Verify: protocol.VerifyOff, Peers: 50, Liars: 0.2, Habit: sim.Alone, Share: 1, Tasks: 5000, PerSecond: 100, Seed: 7}
	if r := s.Run(); r.WrongRate() < 0.05 || r.WrongRate() > 0.4 || r.LiarsFound > 0 {
		t.Errorf("wrong rate %.3f with %d found, want about 0.2 and none", r.WrongRate(), r.LiarsFound)
	}
}
