package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"text/tabwriter"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/spare-network/spare/node/sandbox/meter"
)

// gasRounds is how many rounds of the guests there are for each round of the
// nodes: they are short, and what is looked for is small.
const gasRounds = 3

// guest is a program in C that runs as it is and metered, on the same engine
// with the same WASI.
type guest struct {
	name           string
	args           []string
	stdin          []byte
	counts         bool // in the mean that P4 is about
	plain, metered wazero.CompiledModule
	rounds         []round
}

// Each takes a tenth of a second or more.
func guests() []*guest {
	return []*guest{
		{name: "sha256", stdin: bytes.Repeat([]byte("some bytes to hash "), 1<<20), counts: true},
		{name: "mandelbrot", args: []string{"512"}, counts: true},
		{name: "nbody", args: []string{"1000000"}, counts: true},
		{name: "sort", args: []string{"1000000"}},
	}
}

// benchGas measures what metering costs the guests' CPU and prints it, and how
// fast a large module is rewritten.
func benchGas(ctx context.Context, o options, out io.Writer) (err error) {
	engine := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	defer func() { err = errors.Join(err, engine.Close(ctx)) }()
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, engine); err != nil {
		return err
	}
	list := guests()
	for _, g := range list {
		if err := g.compile(ctx, engine, filepath.Join(o.examples, g.name+"-c.wasm")); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
	}
	for n := range o.rounds*gasRounds + 1 {
		for _, g := range list {
			r, err := g.turn(ctx, engine, n%2 == 0)
			if err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
			if n > 0 { // the first warms up
				g.rounds = append(g.rounds, r)
			}
		}
	}
	fmt.Fprintf(out, "CPU time of guests with gas, beside plain wazero: medians over %d rounds.\n\n", len(list[0].rounds))
	if err := printGas(out, list); err != nil {
		return err
	}
	return benchRewriting(o, out)
}

func (g *guest) compile(ctx context.Context, engine wazero.Runtime, path string) error {
	wasm, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	rewritten, err := meter.Rewrite(wasm, meter.Default())
	if err != nil {
		return err
	}
	if g.plain, err = engine.CompileModule(ctx, wasm); err != nil {
		return err
	}
	g.metered, err = engine.CompileModule(ctx, rewritten.Wasm)
	return err
}

// turn runs both once; which is first changes with the rounds.
func (g *guest) turn(ctx context.Context, engine wazero.Runtime, meteredFirst bool) (r round, err error) {
	var printed [2][sha256.Size]byte
	for i := range printed {
		if meteredFirst == (i == 0) {
			r.spare, printed[i], err = g.run(ctx, engine, g.metered)
		} else {
			r.reference, printed[i], err = g.run(ctx, engine, g.plain)
		}
		if err != nil {
			return r, err
		}
	}
	if printed[0] != printed[1] {
		return r, errors.New("it prints something else when it is metered")
	}
	return r, nil
}

// run measures the CPU time of one run, without what it takes to make the
// instance.
func (g *guest) run(ctx context.Context, engine wazero.Runtime, code wazero.CompiledModule) (f figures, printed [sha256.Size]byte, err error) {
	stdout := sha256.New()
	instance, err := engine.InstantiateModule(ctx, code, wazero.NewModuleConfig().WithName("").WithStartFunctions().
		WithArgs(append([]string{g.name}, g.args...)...).WithStdin(bytes.NewReader(g.stdin)).WithStdout(stdout).WithStderr(os.Stderr))
	if err != nil {
		return f, printed, err
	}
	defer func() { err = errors.Join(err, instance.Close(ctx)) }()
	if gas, ok := instance.ExportedGlobal(meter.GasGlobal).(api.MutableGlobal); ok {
		gas.Set(math.MaxInt64)
	}
	runtime.GC() // not in the middle
	before := cpuTime()
	_, err = instance.ExportedFunction("_start").Call(ctx)
	f.wall = cpuTime() - before
	var exit *sys.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 0 {
		err = nil
	}
	return f, [sha256.Size]byte(stdout.Sum(nil)), err
}

func cpu(f figures) float64 { return f.wall.Seconds() }

func printGas(out io.Writer, list []*guest) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "guest (C, -O2)\tplain\twith gas\tratio\tleast\tmost\ttarget")
	var logs, counted float64
	for _, g := range list {
		s, t := summarise(g.rounds, cpu), target{}
		if g.counts {
			t = atMost("P4", 1.2)
			logs += math.Log(s.ratio)
			counted++
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.3fx\t%.3fx\t%.3fx\t%s\n", g.name, milliseconds(s.reference), milliseconds(s.spare), s.ratio, s.least, s.most, t.judge(s))
	}
	mean := summary{ratio: math.Exp(logs / counted)}
	fmt.Fprintf(w, "geometric mean of those with a target\t\t\t%.3fx\t\t\t%s\n\n", mean.ratio, atMost("P4", 1.08).judge(mean))
	return w.Flush()
}

// benchRewriting prints how fast a module is validated and rewritten.
func benchRewriting(o options, out io.Writer) error {
	wasm, err := os.ReadFile(o.large)
	if err != nil {
		return err
	}
	var took []float64
	for range o.rounds {
		start := time.Now()
		if _, err := meter.Rewrite(wasm, meter.Default()); err != nil {
			return fmt.Errorf("%s: %w", o.large, err)
		}
		took = append(took, time.Since(start).Seconds())
	}
	size := float64(len(wasm)) / 1e6
	_, err = fmt.Fprintf(out, "%s, %.1f MB, is rewritten in %s: %.0f MB/s\n\n", filepath.Base(o.large), size, milliseconds(median(took)), size/median(took))
	return err
}
