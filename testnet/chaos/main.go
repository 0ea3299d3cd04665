//go:build unix

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the program's flags.
type options struct {
	program, module        string
	nodes, tasks, inFlight int
	every                  time.Duration // mean time between faults; 0: none happen
	only                   []kind        // none: all
	seed                   uint64
	transport              string
	length                 time.Duration // of short tasks, in the mean about
	longShare              float64       // fraction of the tasks
	verify                 string
	liarShare              float64 // of the providers
	lies                   string
	share                  float64 // of a liar's answers
	logLevel               string
	resume                 time.Duration // target of each fault of one node
}

// liars is how many of the providers lie: the first ones.
func (o *options) liars() int { return int(math.Round(o.liarShare * float64(o.nodes-1))) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	met, err := run(ctx, parse())
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	if err != nil || !met {
		os.Exit(1) //nolint:gocritic // nothing is left to be stopped
	}
}

func parse() (o options) {
	flag.StringVar(&o.program, "spare", "bin/spare-chaos", "`PROGRAM` that the nodes run")
	flag.StringVar(&o.module, "module", "bin/examples/guest.wasm", "`FILE` of the example that hashes")
	flag.IntVar(&o.nodes, "nodes", 10, "nodes, `N`, the requester included")
	flag.IntVar(&o.tasks, "tasks", 2000, "tasks, `N`")
	flag.IntVar(&o.inFlight, "in-flight", 4, "tasks, `N`, under way at once")
	flag.DurationVar(&o.every, "every", time.Second, "mean time between faults; 0: none happen")
	flag.Uint64Var(&o.seed, "seed", 1, "of the faults and of the tasks' lengths")
	flag.StringVar(&o.transport, "transport", "both", "quic, tcp or both")
	flag.DurationVar(&o.length, "length", 100*time.Millisecond, "short tasks last half of it to twice as long, on an idle machine")
	flag.Float64Var(&o.longShare, "long", 0.05, "fraction of the tasks that last 1 to 5 s")
	flag.StringVar(&o.verify, "verify", "off", "how results are verified: off, auto or strict")
	flag.Float64Var(&o.liarShare, "liars", 0, "fraction of the providers that lie")
	flag.StringVar(&o.lies, "lies", "together", "how they do: alone or together")
	flag.Float64Var(&o.share, "share", 1, "fraction of the tasks about which they lie")
	flag.DurationVar(&o.resume, "resume", 1500*time.Millisecond, "work that a fault of one node hit goes on within it, in 99 of 100 cases")
	flag.StringVar(&o.logLevel, "log-level", "warn", "of the nodes")
	flag.Func("faults", "`LIST` of those that happen, of "+strings.Join(kindWords(), ",")+" (default all)", func(s string) error {
		for word := range strings.SplitSeq(s, ",") {
			i := slices.Index(kindWords(), word)
			if i < 0 {
				return fmt.Errorf("%q is none of them", word)
			}
			o.only = append(o.only, kind(i))
		}
		return nil
	})
	flag.Parse()
	if o.nodes < 3 || o.nodes > 99 || o.tasks < 1 || o.inFlight < 1 || o.every < 0 || o.length <= 0 ||
		transports[o.transport] == nil || o.lies != "alone" && o.lies != "together" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	return o
}

func run(ctx context.Context, o options) (met bool, err error) {
	if o.liars() > 0 && !testable(o.program) {
		return false, fmt.Errorf("%s cannot lie; 'make bin/spare-chaos' builds one that can", o.program)
	}
	f, err := startFleet(ctx, o, os.Stdout)
	if err != nil {
		return false, err
	}
	defer func() {
		err = errors.Join(err, f.close(!met))
		if !met {
			fmt.Println("logs are in", f.dir)
		}
	}()
	w, err := newWorkload(ctx, o, f.nodes)
	if err != nil {
		return false, fmt.Errorf("measure a task: %w", err)
	}
	faulty, calm := context.WithCancel(ctx)
	defer calm()
	well := make(chan struct{})
	go func() {
		defer close(well)
		f.trouble(faulty, newSchedule(o.seed, o.nodes, o.every, f.possible))
	}()
	began := time.Now()
	results, err := w.run(ctx)
	took := time.Since(began)
	calm()
	<-well
	if err != nil {
		return false, err
	}
	r := judge(results, f.faults, took)
	r.died, r.panics = f.died, f.panics()
	return r.met(o), r.print(os.Stdout, o)
}
