package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

const (
	// mapNodes is how many nodes there are, the requester's included.
	mapNodes = 5
	// mapTasks is how many tasks a job has, and killTasks one during which a
	// provider is killed each killEvery: it must last for several of these.
	mapTasks  = 10_000
	killTasks = 100_000
	killEvery = 5 * time.Second
	// mostNumber is the largest that the program is given, which must take no
	// time to speak of.
	mostNumber = 1000
	// othersTasks is how many the others are given, who take longer for each.
	othersTasks = 500
)

// compositeInFlight is how many requests the composite has under way: as many as
// give it its best rate.
const compositeInFlight = 64

// wantedOfComposite is P7's 5,000 tasks a second as a part of what the composite did
// on the machine, and in the hour, in which that figure was set: 7,600 a second.
var wantedOfComposite = atLeast("P7", 5000./7600)

// contender is one way to run many tasks.
type contender struct {
	name  string
	tasks int
	turn  func(context.Context) (float64, error) // returns how many there were a second
	rates []float64
}

// many runs the program once for each of many numbers, by a command that writes
// what it came to in any order.
type many struct {
	tasks int
	mixes bool // what its processes write at the same time
	run   func(ctx context.Context, numbers []byte) ([]byte, error)
}

// benchMap measures jobs of short tasks on five nodes beside GNU parallel and
// xargs, which start a WebAssembly runner for each, and prints it.
func benchMap(ctx context.Context, o options, p *fleet, out io.Writer) (err error) {
	if err := p.grow(ctx, mapNodes-1); err != nil {
		return err
	}
	program := filepath.Join(o.examples, "primes-c.wasm")
	cache := filepath.Join(p.dir, "runner-cache")
	jobs := strconv.Itoa(runtime.NumCPU())
	command := func(name string, args ...string) func(context.Context, []byte) ([]byte, error) {
		return func(ctx context.Context, numbers []byte) ([]byte, error) {
			cmd := exec.CommandContext(ctx, name, args...)
			cmd.Stdin, cmd.Stderr = bytes.NewReader(numbers), os.Stderr
			return cmd.Output()
		}
	}
	r, err := startReference(ctx, filepath.Join(o.examples, "echo-c.wasm"))
	if err != nil {
		return fmt.Errorf("start the composite: %w", err)
	}
	defer func() { err = errors.Join(err, r.close()) }()
	var m messages
	run := command(p.program, "--home", p.home, "map", program)
	spare := &contender{name: "spare map, 5 nodes", tasks: mapTasks, turn: many{tasks: mapTasks, run: run}.turn}
	composite := &contender{name: "the composite", turn: func(ctx context.Context) (float64, error) {
		f, err := m.load(ctx, compositeInFlight, o.lasts, r.echo)
		return f.rate(), err
	}}
	contenders := []*contender{spare, composite, // beside each other
		{name: "a short job of spare", tasks: othersTasks, turn: many{tasks: othersTasks, run: run}.turn}} // as the others have it
	if _, err := os.Stat(o.runner); err == nil {
		contenders = append(contenders, &contender{
			name: "xargs -P " + jobs, tasks: othersTasks,
			turn: many{tasks: othersTasks, mixes: true, run: command("xargs", "-P", jobs, "-n", "1", o.runner, "run", "-cachedir", cache, program)}.turn,
		})
		if _, err := exec.LookPath("parallel"); err == nil {
			contenders = append(contenders, &contender{
				name: "GNU parallel -j " + jobs, tasks: othersTasks,
				turn: many{tasks: othersTasks, run: command("parallel", "-j", jobs, o.runner, "run", "-cachedir", cache, program, "{}")}.turn,
			})
		}
	}
	for n := range o.rounds + 1 {
		for _, c := range contenders {
			rate, err := c.turn(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if n > 0 { // the first warms up
				c.rates = append(c.rates, rate)
			}
		}
	}
	fmt.Fprintf(out, "\nOne short program (primes-c.wasm) for each of many numbers: medians over %d rounds.\n", o.rounds)
	fmt.Fprintf(out, "spare has %d nodes on this machine; xargs and GNU parallel start 'wazero run' for each, with its code cached.\n", mapNodes)
	fmt.Fprintf(out, "The composite is that of tasks, %d in flight. Load average %s; ratios are within a round.\n\n", compositeInFlight, loadAverage())
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "by\ttasks\trate\tleast\tmost\tspare's is\tleast\tmost\ttarget")
	for _, c := range contenders {
		tasks, t := strconv.Itoa(c.tasks), target{}
		switch c {
		case composite:
			tasks, t = "-", wantedOfComposite
		case spare:
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", c.name, tasks, perSecond(median(c.rates)), perSecond(slices.Min(c.rates)), perSecond(slices.Max(c.rates)))
			continue
		}
		s := compare(c.rates, spare.rates)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%.2fx\t%.2fx\t%.2fx\t%s\n", c.name, tasks, perSecond(s.reference),
			perSecond(slices.Min(c.rates)), perSecond(slices.Max(c.rates)), s.ratio, s.least, s.most, t.judge(s))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return many{tasks: killTasks, run: run}.killed(ctx, p, composite, out)
}

// turn runs all tasks once and returns how many there were a second.
func (m many) turn(ctx context.Context) (float64, error) {
	numbers, counts := new(bytes.Buffer), new(bytes.Buffer)
	primes := countPrimes(mostNumber)
	for i := range m.tasks {
		fmt.Fprintln(numbers, i%mostNumber+1)
		fmt.Fprintln(counts, primes[i%mostNumber])
	}
	start := time.Now()
	wrote, err := m.run(ctx, numbers.Bytes())
	took := time.Since(start)
	if err != nil {
		return 0, err
	}
	if !slices.Equal(m.parts(wrote), m.parts(counts.Bytes())) {
		return 0, errors.New("its results are wrong")
	}
	return float64(m.tasks) / took.Seconds(), nil
}

// parts are the lines of what was written, sorted, or its bytes where even lines
// are not whole.
func (m many) parts(wrote []byte) []string {
	separator := "\n"
	if m.mixes {
		separator = ""
	}
	parts := strings.Split(string(wrote), separator)
	slices.Sort(parts)
	return parts
}

// countPrimes returns how many primes there are below each number from 1 to n.
func countPrimes(n int) []int {
	counts, composite := make([]int, n), make([]bool, n+1)
	for i, count := 2, 0; i < n; i++ {
		if !composite[i] {
			count++
			for j := i * i; j <= n; j += i {
				composite[j] = true
			}
		}
		counts[i] = count
	}
	return counts
}

// killed measures a job while one provider after another is killed, beside the
// composite before it and after it.
func (m many) killed(ctx context.Context, p *fleet, composite *contender, out io.Writer) error {
	before, err := composite.turn(ctx)
	if err != nil {
		return err
	}
	type ending struct {
		rate float64
		err  error
	}
	ended := make(chan ending, 1)
	go func() {
		rate, err := m.turn(ctx)
		ended <- ending{rate, err}
	}()
	tick := time.NewTicker(killEvery)
	defer tick.Stop()
	for kills := 0; ; kills++ {
		select {
		case <-tick.C:
			if err := p.kill(ctx, kills%len(p.providers)); err != nil {
				<-ended
				return err
			}
		case e := <-ended:
			if e.err != nil {
				return fmt.Errorf("while providers are killed: %w", e.err)
			}
			if kills == 0 {
				return errors.New("it ended before a provider was killed")
			}
			after, err := composite.turn(ctx)
			if err != nil {
				return err
			}
			s := compare([]float64{(before + after) / 2}, []float64{e.rate})
			_, err = fmt.Fprintf(out, "\nspare map, %d tasks, a provider killed and started again every %s (%d times): %s, %.2fx the composite before and after; %s\n\n",
				m.tasks, killEvery, kills, perSecond(e.rate), s.ratio, wantedOfComposite.judge(s))
			return err
		}
	}
}
