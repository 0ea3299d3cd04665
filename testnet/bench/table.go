package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// target is what a figure should come to, for people, and whether it does.
type target struct {
	text string
	met  func(summary) bool
}

// targets of one comparison; those without a text are none.
type targets struct{ p50, rate target }

func atMost(name string, ratio float64) target {
	return target{fmt.Sprintf("%s <= %gx", name, ratio), func(s summary) bool { return s.ratio <= ratio }}
}

func atLeast(name string, ratio float64) target {
	return target{fmt.Sprintf("%s >= %.3gx", name, ratio), func(s summary) bool { return s.ratio >= ratio }}
}

// within is a target for spare's own time, whatever the reference takes.
func within(name string, d time.Duration) target {
	return target{fmt.Sprintf("%s <= %s", name, d), func(s summary) bool { return s.spare <= d.Seconds() }}
}

func (t target) judge(s summary) string {
	switch {
	case t.text == "":
		return ""
	case t.met(s):
		return t.text + ", met"
	default:
		return t.text + ", MISSED"
	}
}

// print writes the table.
func (b *bench) print(out io.Writer) error {
	fmt.Fprintf(out, "Remote warm tasks, 1 KiB in and out, one provider: medians over %d rounds of %s.\n", b.rounds, b.lasts)
	fmt.Fprintln(out, "The reference is a new QUIC stream and an in-process wazero; beside 'spare run' it is the process of 'true'.")
	fmt.Fprintf(out, "%d CPUs, load average %s; ratios are of the reference in the same round.\n\n", runtime.NumCPU(), loadAverage())
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "task\tin flight\tfigure\treference\tspare\tratio\tleast\tmost\ttarget")
	for _, c := range b.cases {
		for _, row := range []struct {
			name   string
			figure func(figures) float64
			format func(float64) string
			target target
		}{
			{"p50", func(f figures) float64 { return f.quantile(.5) }, milliseconds, c.targets.p50},
			{"p99", func(f figures) float64 { return f.quantile(.99) }, milliseconds, target{}},
			{"rate", figures.rate, perSecond, c.targets.rate},
		} {
			s := summarise(c.rounds, row.figure)
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%.2fx\t%.2fx\t%.2fx\t%s\n", c.name, c.inFlight, row.name,
				row.format(s.reference), row.format(s.spare), s.ratio, s.least, s.most, row.target.judge(s))
		}
	}
	return w.Flush()
}

func milliseconds(s float64) string { return fmt.Sprintf("%.3g ms", 1e3*s) }

func perSecond(r float64) string { return fmt.Sprintf("%.0f/s", r) }

// loadAverage says how busy the machine was in the last minute, the benchmark
// included, where that can be read.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	minute, _, _ := strings.Cut(string(b), " ")
	return minute
}
