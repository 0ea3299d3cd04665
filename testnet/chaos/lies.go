//go:build unix

package main

import (
	"fmt"
	"io"
	"math"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/testnet/sim"
)

// simulated is the same run in the simulator.
func simulated(o options, r *report) sim.Trust {
	verify, err := protocol.ParseVerify(o.verify)
	if err != nil {
		verify = protocol.VerifyOff
	}
	habit := sim.Alone
	if o.lies == "together" {
		habit = sim.Together
	}
	return sim.Trust{
		Verify: verify, Peers: o.nodes - 1, Liars: float64(o.liars()) / float64(o.nodes-1), Habit: habit, Share: o.share,
		Tasks: o.tasks, PerSecond: float64(r.tasks) / r.took.Seconds(), InFlight: o.inFlight, Seed: o.seed,
	}
}

// mostWrong is how many lies may be accepted: what analysis promises, with room
// for five standard deviations of a count that small, and any number where it
// promises nothing.
func mostWrong(o options, r *report) int {
	bound, ok := simulated(o, r).Bound()
	if !ok {
		return r.tasks
	}
	most := bound * float64(r.tasks)
	return int(most + 5*math.Sqrt(most))
}

// printLies tells how many lies were accepted and what it took to find the
// others, beside what analysis promises and what the simulator makes of it in the
// mean of ten runs.
func (r *report) printLies(out io.Writer, o options) {
	trust := simulated(o, r)
	bound, promise := "none", "no bound"
	if b, ok := trust.Bound(); ok {
		bound, promise = fmt.Sprintf("%.1e", b), verdict(fmt.Sprintf("<= %d", mostWrong(o, r)), r.wrong <= mostWrong(o, r))
	}
	const runs = 10
	var wrong, none, work float64
	for range runs {
		s := trust.Run()
		wrong += s.WrongRate() / runs
		none += float64(s.WarmUp.Failed+s.Later.Failed) / float64(o.tasks) / runs
		work += float64(s.WarmUp.Replicas+s.Later.Replicas) / float64(o.tasks) / runs
		trust.Seed++
	}
	fmt.Fprintf(out, "%d of %d providers lie %s about %.0f %% of the tasks, --verify %s\n", o.liars(), o.nodes-1, o.lies, 100*o.share, o.verify)
	fmt.Fprintln(out, "\tmeasured\tsimulated\tbound\ttarget")
	fmt.Fprintf(out, "lies accepted\t%d\t\t\t%s\n", r.wrong, promise)
	fmt.Fprintf(out, "of all tasks\t%.1e\t%.1e\t%s\t\n", float64(r.wrong)/float64(r.tasks), wrong, bound)
	fmt.Fprintf(out, "without a verdict\t%.1e\t%.1e\t\t\n", float64(r.noVerdict)/float64(r.tasks), none)
	fmt.Fprintf(out, "replicas for each task\t%.2f\t%.2f\t\t\n", float64(r.attempts)/float64(r.tasks), work)
}
