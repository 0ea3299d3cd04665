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

// wanted is how many tasks a second there should be.
var wanted = target{"P7 >= 5000/s", func(s summary) bool { return s.spare >= 5000 }}

// mapper runs the program once for each of many numbers, and returns what it wrote,
// in any order.
type mapper struct {
	name  string
	tasks int
	mixes bool // what its processes write at the same time
	run   func(ctx context.Context, numbers []byte) ([]byte, error)
	rates []float64
}

// benchMap measures jobs of short tasks on five nodes beside GNU parallel and
// xargs, which start a WebAssembly runner for each, and prints it.
func benchMap(ctx context.Context, o options, p *fleet, out io.Writer) error {
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
	run := command(p.program, "--home", p.home, "map", program)
	spare := &mapper{name: "spare map, 5 nodes", tasks: mapTasks, run: run}
	short := &mapper{name: "the same, a short job", tasks: othersTasks, run: run} // as the others have it
	mappers := []*mapper{spare, short}
	if _, err := os.Stat(o.runner); err == nil {
		mappers = append(mappers,
			&mapper{name: "xargs -P " + jobs, tasks: othersTasks, mixes: true, run: command("xargs", "-P", jobs, "-n", "1", o.runner, "run", "-cachedir", cache, program)})
		if _, err := exec.LookPath("parallel"); err == nil {
			mappers = append(mappers,
				&mapper{name: "GNU parallel -j " + jobs, tasks: othersTasks, run: command("parallel", "-j", jobs, o.runner, "run", "-cachedir", cache, program, "{}")})
		}
	}
	for n := range o.rounds + 1 {
		for _, m := range mappers {
			rate, err := m.turn(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			if n > 0 { // the first warms up
				m.rates = append(m.rates, rate)
			}
		}
	}
	fmt.Fprintf(out, "\nOne short program (primes-c.wasm) for each of many numbers: medians over %d rounds.\n", o.rounds)
	fmt.Fprintf(out, "spare has %d nodes on this machine; the others start 'wazero run' for each, with its code cached. Load average %s.\n\n", mapNodes, loadAverage())
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "by\ttasks\trate\tleast\tmost\tspare's is\tits short job's\ttarget")
	for _, m := range mappers {
		least := summary{spare: median(m.rates)}
		t := target{}
		if m == spare {
			t = wanted
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%.1fx\t%.1fx\t%s\n", m.name, m.tasks, perSecond(median(m.rates)),
			perSecond(slices.Min(m.rates)), perSecond(slices.Max(m.rates)),
			median(spare.rates)/median(m.rates), median(short.rates)/median(m.rates), t.judge(least))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	spare.tasks = killTasks
	return spare.killed(ctx, p, out)
}

// turn runs all tasks once and returns how many there were a second.
func (m *mapper) turn(ctx context.Context) (float64, error) {
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
func (m *mapper) parts(wrote []byte) []string {
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

// killed measures a job while one provider after another is killed.
func (m *mapper) killed(ctx context.Context, p *fleet, out io.Writer) error {
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
	kills := 0
	for {
		select {
		case e := <-ended:
			if e.err != nil {
				return fmt.Errorf("while providers are killed: %w", e.err)
			}
			if kills == 0 {
				return errors.New("it ended before a provider was killed")
			}
			s := summary{spare: e.rate}
			_, err := fmt.Fprintf(out, "%s, %d tasks, a provider killed and started again every %s (%d times): %s; %s\n\n",
				m.name, m.tasks, killEvery, kills, perSecond(e.rate), wanted.judge(s))
			return err
		case <-tick.C:
			if err := p.kill(ctx, kills%len(p.providers)); err != nil {
				<-ended
				return err
			}
			kills++
		}
	}
}
