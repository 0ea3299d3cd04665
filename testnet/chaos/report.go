//go:build unix

package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

const (
	// noticed is how long a fault may go unnoticed: a provider that is well again
	// sooner has not been given up.
	noticed = 1500 * time.Millisecond
	// vainTarget is how much work may be done in vain without faults.
	vainTarget = 0.05
)

// report is what a run came to.
type report struct {
	took                      time.Duration
	tasks, lost, wrong, twice int
	noVerdict                 int
	bad                       []*api.Task // lost, wrong or accepted twice
	died                      int         // nodes that ended by themselves
	panics                    []string    // logs that tell of one

	attempts     int           // that were begun
	useful, vain time.Duration // of attempts that were accepted, and of others
	faults       [kinds]int
	hits         [kinds][]hit
}

// hit is a task that a fault hit, and how long it took to go on.
type hit struct {
	task *api.Task
	at   time.Time
	took time.Duration
}

func judge(results []result, faults []*fault, took time.Duration) *report {
	r := &report{took: took, tasks: len(results)}
	past := newPast(faults)
	for _, f := range faults {
		r.faults[f.what]++
	}
	for i := range results {
		t := &results[i].task
		switch {
		case t.Error != nil && t.Error.Code == protocol.CodeQuorum:
			r.noVerdict++
		case t.State != "done" || t.Error != nil || t.ExitCode == nil:
			r.lost++
			r.bad = append(r.bad, t)
		case *t.ExitCode != 0 || !results[i].right:
			r.wrong++
			r.bad = append(r.bad, t)
		}
		r.count(t)
		for _, f := range faults {
			if took, yes := past.resumed(t, f); yes {
				r.hits[f.what] = append(r.hits[f.what], hit{t, f.at, took})
			}
		}
	}
	for _, list := range r.hits {
		slices.SortFunc(list, func(a, b hit) int { return int(a.took - b.took) })
	}
	return r
}

// count adds a task's attempts. More than one that is accepted is too many,
// unless they had to agree.
func (r *report) count(t *api.Task) {
	accepted := 0
	for _, a := range t.Attempts {
		if a.Started == nil {
			continue // refused, or never reached
		}
		r.attempts++
		start, end := span(t, a)
		took := end.Sub(start)
		if a.State == "done" {
			accepted++
			r.useful += took
		} else {
			r.vain += took
		}
	}
	if accepted > 1 && t.Terms.Verify == "off" {
		r.twice++
		r.bad = append(r.bad, t)
	}
}

// share is how much of the work was done in vain.
func (r *report) share() float64 {
	if r.useful+r.vain == 0 {
		return 0
	}
	return float64(r.vain) / float64(r.useful+r.vain)
}

// met reports whether all targets are.
func (r *report) met(o options) bool {
	met := r.lost == 0 && r.twice == 0 && r.died == 0 && len(r.panics) == 0
	if o.liars() > 0 {
		return met && r.wrong <= mostWrong(o, r)
	}
	met = met && r.wrong == 0 && r.noVerdict == 0
	if o.every == 0 {
		return met && r.share() <= vainTarget
	}
	for k, list := range r.hits {
		met = met && (kind(k) == parted || quantile(list, .99) <= o.resume)
	}
	return met
}

func (r *report) print(out io.Writer, o options) error {
	fmt.Fprintf(out, "%d nodes over %s, %d tasks in %s, %d in flight, seed %d", o.nodes, o.transport, r.tasks, r.took.Round(time.Second), o.inFlight, o.seed)
	happened := 0
	for _, n := range r.faults {
		happened += n
	}
	if happened > 0 {
		fmt.Fprintf(out, ", a fault each %.2f s", r.took.Seconds()/float64(happened))
	}
	fmt.Fprint(out, ".\n\n")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "tasks\tlost\twrong\taccepted twice\tnodes that died\tattempts\twork in vain")
	vain := fmt.Sprintf("%.1f %%", 100*r.share())
	if o.every == 0 && o.liars() == 0 {
		vain += verdict(fmt.Sprintf(" (<= %.0f %%", 100*vainTarget), r.share() <= vainTarget) + ")"
	}
	fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%s\n\n", r.tasks, r.lost, r.wrong, r.twice, r.died, r.attempts, vain)
	if happened > 0 {
		fmt.Fprintln(w, "fault\thappened\ttasks hit\tresumed p50\tp99\tmost\ttarget")
	}
	for k, list := range r.hits {
		if r.faults[k] == 0 {
			continue
		}
		judged := ""
		switch {
		case !kind(k).stalls():
			fmt.Fprintf(w, "%s\t%d\n", kind(k), r.faults[k])
			continue
		case len(list) > 0 && kind(k) != parted: // which takes the spares, too
			judged = verdict(fmt.Sprintf("p99 <= %s", o.resume), quantile(list, .99) <= o.resume)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\t%s\n", kind(k), r.faults[k], len(list), quantile(list, .5), quantile(list, .99), quantile(list, 1), judged)
	}
	if o.liars() > 0 {
		r.printLies(w, o)
	}
	for _, log := range r.panics {
		fmt.Fprintf(w, "a panic is told of in %s\n", log)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	r.details(out, o.resume)
	return nil
}

func verdict(text string, met bool) string {
	if met {
		return text + ", met"
	}
	return text + ", MISSED"
}

// details tells of the tasks that missed a target.
func (r *report) details(out io.Writer, resume time.Duration) {
	for _, t := range r.bad {
		why := t.State
		if t.Error != nil {
			why += ", " + t.Error.Message
		}
		fmt.Fprintf(out, "\ntask %s, %s:\n", t.ID, why)
		course(out, t)
	}
	for k, list := range r.hits {
		for _, h := range list {
			if h.took > resume {
				fmt.Fprintf(out, "\n%s at %s, task %s went on after %s:\n", kind(k), clock(h.at), h.task.ID, h.took.Round(time.Millisecond))
				course(out, h.task)
			}
		}
	}
}

// course tells of a task's attempts.
func course(out io.Writer, t *api.Task) {
	for _, a := range t.Attempts {
		ran := "never began"
		if a.Started != nil {
			ran = clock(time.Time(*a.Started)) + " to "
			if a.Ended != nil {
				ran += clock(time.Time(*a.Ended))
			}
		}
		fmt.Fprintf(out, "  %d  %s  %s, %s: %s\n", a.Attempt, a.Provider[max(0, len(a.Provider)-6):], ran, a.State, a.Reason)
	}
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }

// quantile returns the smallest of the times that a share q of them does not
// exceed. The list is sorted.
func quantile(list []hit, q float64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	i := int(math.Ceil(q*float64(len(list)))) - 1
	return list[max(0, min(len(list)-1, i))].took.Round(time.Millisecond)
}
