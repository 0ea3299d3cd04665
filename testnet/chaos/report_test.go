//go:build unix

package main

import (
	"slices"
	"testing"
	"time"

	"github.com/spare-network/spare/node/api"
)

var start = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

// attempt is one from a time to another, in ms; -1: never.
func attempt(provider, state string, from, to int) api.Attempt {
	a := api.Attempt{Provider: provider, State: state}
	for _, x := range []struct {
		ms  int
		set **api.Time
	}{{from, &a.Started}, {to, &a.Ended}} {
		if x.ms >= 0 {
			t := api.Time(at(x.ms))
			*x.set = &t
		}
	}
	return a
}

func ended(ms int, attempts ...api.Attempt) *api.Task {
	t, code := api.Time(at(ms)), int32(0)
	return &api.Task{State: "done", ExitCode: &code, Ended: &t, Attempts: attempts, Terms: api.Terms{Verify: "off"}}
}

func happened(what kind, from, to int, peers ...string) *fault {
	return &fault{what: what, peers: peers, at: at(from), until: at(to)}
}

func TestResumed(t *testing.T) {
	for _, test := range []struct {
		name   string
		task   *api.Task
		fault  *fault
		others []*fault
		took   int // ms; -1: it was not hit
	}{
		{"a spare begins", ended(3000, attempt("a", "unreachable", 0, 1750), attempt("b", "done", 1600, 3000)), happened(killed, 1000, 2500, "a"), nil, 600},
		{"the second spare begins", ended(4000, attempt("a", "unreachable", 0, 2000), attempt("b", "unreachable", -1, 2500), attempt("c", "done", 2800, 4000)), happened(killed, 1000, 9000, "a"), nil, 1800},
		{"nothing begins", ended(3000, attempt("a", "unreachable", 0, 2000)), happened(killed, 1000, 9000, "a"), nil, 2000},
		{"it was over before", ended(900, attempt("a", "done", 0, 900)), happened(killed, 1000, 2000, "a"), nil, -1},
		{"it began later", ended(1500, attempt("a", "done", 1100, 1500)), happened(killed, 1000, 2000, "a"), nil, -1},
		{"it ran elsewhere", ended(1500, attempt("b", "done", 0, 1500)), happened(killed, 1000, 2000, "a"), nil, -1},
		{"it ran there and elsewhere", ended(1500, attempt("a", "unreachable", 0, 1400), attempt("b", "done", 500, 1500)), happened(killed, 1000, 2000, "a"), nil, -1},
		{"what ran elsewhere was dead", ended(3000, attempt("a", "unreachable", 0, 2000), attempt("b", "unreachable", 500, 2000), attempt("c", "done", 1700, 3000)), happened(killed, 1000, 2000, "a"), []*fault{happened(renamed, 800, 2000, "b")}, 700},
		{"what ran elsewhere was stopped, and is back", ended(3000, attempt("a", "unreachable", 0, 2000), attempt("b", "done", 500, 3000)), happened(killed, 1000, 9000, "a"), []*fault{happened(stopped, 800, 1200, "b")}, -1},
		{"the same, too late", ended(3000, attempt("a", "unreachable", 0, 2000), attempt("b", "done", 500, 3000)), happened(killed, 1000, 9000, "a"), []*fault{happened(stopped, 800, 2600, "b")}, 1600},
		{"the answer was on its way", ended(1010, attempt("a", "done", 0, 1010)), happened(killed, 1000, 2000, "a"), nil, -1},
		{"stopped for a moment", ended(2000, attempt("a", "done", 0, 2000)), happened(stopped, 1000, 1300, "a"), nil, -1},
		{"stopped for long, and nobody minds", ended(5000, attempt("a", "done", 0, 5000)), happened(stopped, 1000, 4000, "a"), nil, 3000},
		{"stopped for long, and a spare begins", ended(5000, attempt("a", "unreachable", 0, 5000), attempt("b", "done", 1750, 5000)), happened(stopped, 1000, 4000, "a"), nil, 750},
		{"cut off for a moment, and killed later", ended(9000, attempt("a", "unreachable", 0, 8000), attempt("b", "done", 7700, 9000)), happened(cut, 1000, 1500, "a"), []*fault{happened(killed, 7000, 9000, "a")}, -1},
		{"a partition", ended(5000, attempt("b", "unreachable", 0, 5000), attempt("c", "done", 1750, 5000)), happened(parted, 1000, 4000, "a", "b"), nil, 750},
		{"a clock that jumps stalls nothing", ended(3000, attempt("a", "failed", 0, 1000), attempt("b", "done", 2900, 3000)), happened(jumped, 900, 4000, "a"), nil, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			took, hit := newPast(append(test.others, test.fault)).resumed(test.task, test.fault)
			want := max(0, time.Duration(test.took)*time.Millisecond)
			if hit != (test.took >= 0) || hit && took != want {
				t.Errorf("hit: %v, resumed after %v, want %d ms", hit, took, test.took)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	lost, failed := ended(1000, attempt("a", "unreachable", 0, 1000)), int32(1)
	lost.State = "lost"
	lied := ended(1000, attempt("a", "done", 0, 1000))
	lied.ExitCode = &failed
	undecided := ended(1000)
	undecided.State, undecided.Error = "lost", &api.TaskError{Code: "E-NO-QUORUM"}
	var results []result
	for _, r := range []struct {
		task  *api.Task
		right bool
	}{
		{ended(1000, attempt("a", "done", 0, 1000)), true},
		{ended(1000, attempt("a", "done", 0, 1000)), false},
		{ended(1000, attempt("a", "done", 0, 1000), attempt("b", "done", 0, 1000), attempt("c", "refused", -1, 10)), true},
		{lied, true},
		{lost, false},
		{undecided, false},
	} {
		results = append(results, result{*r.task, r.right})
	}
	r := judge(results, []*fault{happened(killed, 500, 900, "z")}, time.Second)
	if r.tasks != 6 || r.wrong != 2 || r.twice != 1 || r.lost != 1 || r.noVerdict != 1 || r.attempts != 6 || r.faults[killed] != 1 {
		t.Errorf("%+v", r)
	}
	if got, want := r.share(), 1.0/6; got != want {
		t.Errorf("%.2f of the work is in vain, want %.2f", got, want)
	}
	if r.met(options{}) {
		t.Error("that meets the targets")
	}
}

func TestQuantile(t *testing.T) {
	var list []hit
	for i := range 200 {
		list = append(list, hit{took: time.Duration(i+1) * time.Millisecond})
	}
	for _, test := range []struct {
		list []hit
		q    float64
		want time.Duration
	}{
		{nil, .5, 0},
		{list[:1], .99, time.Millisecond},
		{list[:2], .5, time.Millisecond},
		{list, .5, 100 * time.Millisecond},
		{list, .99, 198 * time.Millisecond},
		{list, 1, 200 * time.Millisecond},
	} {
		if got := quantile(test.list, test.q); got != test.want {
			t.Errorf("quantile %g of %d is %v, want %v", test.q, len(test.list), got, test.want)
		}
	}
}

func TestScheduleFollowsFromItsSeed(t *testing.T) {
	possible := []kind{killed, stopped, parted}
	a, b := newSchedule(7, 10, time.Second, possible), newSchedule(7, 10, time.Second, possible)
	var total time.Duration
	const plans = 10_000
	for range plans {
		p := a.next()
		if q := b.next(); p != q {
			t.Fatalf("%+v and %+v", p, q)
		}
		if !slices.Contains(possible, p.what) || p.node < 1 || p.node > 9 || p.lasts <= 0 {
			t.Fatalf("%+v", p)
		}
		total += p.after
	}
	if mean := total / plans; mean < 950*time.Millisecond || mean > 1050*time.Millisecond {
		t.Errorf("a fault each %v, want 1s", mean)
	}
}

func TestHalfOfTheProvidersAreAlwaysWell(t *testing.T) {
	f := &fleet{ill: make(map[int]bool), far: make(map[int]bool)}
	for i := range 10 {
		f.nodes = append(f.nodes, &node{number: i})
	}
	s := newSchedule(3, 10, time.Second, []kind{killed, cut, parted})
	suffering := make(map[int]struct {
		nodes []*node
		plan  plan
	})
	for i := range 10_000 {
		p := s.next()
		if nodes := f.victims(p); nodes != nil {
			suffering[i] = struct {
				nodes []*node
				plan  plan
			}{nodes, p}
		}
		suffer := make(map[int]bool)
		for _, x := range suffering {
			for _, n := range x.nodes {
				suffer[n.number] = true
			}
		}
		if suffer[0] || len(suffer) > 4 {
			t.Fatalf("%v suffer", suffer)
		}
		for k, x := range suffering {
			if s.rng.IntN(4) == 0 {
				f.recover(x.nodes, x.plan)
				delete(suffering, k)
			}
		}
	}
}
