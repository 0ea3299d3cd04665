package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	golog "github.com/ipfs/go-log/v2"

	"github.com/spare-network/spare/node/sandbox"
)

// options are the program's flags.
type options struct {
	program, examples, large, runner string
	only                             string
	rounds                           int
	lasts                            time.Duration // each load
	peers                            int           // of an idle node
	idles                            time.Duration // for so long
}

func main() {
	sandbox.WorkerMain()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if os.Args[0] == referenceName {
		exit(serveReference(context.Background(), os.Args[1])) // not ctx: it ends with its client
	}
	if os.Args[0] == bareName {
		exit(serveBare(context.Background(), os.Args[1:]))
	}
	if os.Args[0] == burnerName {
		exit(burn(os.Args[1]))
	}
	var o options
	flag.StringVar(&o.program, "spare", "bin/spare", "`PROGRAM` to measure")
	flag.StringVar(&o.examples, "examples", "bin/examples", "`DIR` with the example programs")
	flag.StringVar(&o.large, "large", "bin/examples/tally.wasm", "`FILE` of the module that is rewritten for speed")
	flag.StringVar(&o.runner, "runner", "bin/wazero", "`PROGRAM` that runs WebAssembly by itself, for what jobs are compared with")
	flag.StringVar(&o.only, "only", "", "measure `WHAT` alone: gas, tasks, map, idle or donor")
	flag.IntVar(&o.rounds, "rounds", 7, "rounds, `N`")
	flag.DurationVar(&o.lasts, "duration", time.Second, "of each load in a round")
	flag.IntVar(&o.peers, "peers", 50, "peers of an idle node, `N`")
	flag.DurationVar(&o.idles, "idle", time.Minute, "for how long it is idle")
	flag.Parse()
	if !slices.Contains([]string{"", "gas", "tasks", "map", "idle", "donor"}, o.only) || o.rounds < 1 || o.peers < 1 || o.idles <= 0 || o.lasts <= 0 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	exit(run(ctx, o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, o options) (err error) {
	golog.SetAllLoggers(golog.LevelError)              // libp2p warns of a network that has one node yet
	module := filepath.Join(o.examples, "echo-c.wasm") // copies stdin to stdout
	for _, file := range []string{o.program, module, o.large} {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("%w; 'make bench' builds what is needed, where clang can build for WASI", err)
		}
	}
	if o.wants("gas") {
		if err := benchGas(ctx, o, os.Stdout); err != nil { // while this process does nothing else
			return fmt.Errorf("measure gas: %w", err)
		}
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.wants("idle") {
		if err := benchIdle(ctx, o, dir, os.Stdout); err != nil {
			return fmt.Errorf("measure an idle node: %w", err)
		}
	}
	if !o.wants("tasks") && !o.wants("map") && !o.wants("donor") {
		return nil
	}
	p, err := startFleet(ctx, dir, o.program, module)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if o.wants("tasks") {
		if err := benchTasks(ctx, o, p, module); err != nil {
			return fmt.Errorf("measure tasks: %w", err)
		}
	}
	if o.wants("donor") {
		if err := benchDonor(ctx, o, p, os.Stdout); err != nil {
			return fmt.Errorf("measure guests beside their owner: %w", err)
		}
	}
	if o.wants("map") {
		if err := benchMap(ctx, o, p, os.Stdout); err != nil {
			return fmt.Errorf("measure jobs: %w", err)
		}
	}
	return nil
}

func (o options) wants(what string) bool { return o.only == "" || o.only == what }

// benchTasks measures remote tasks beside the reference and prints it.
func benchTasks(ctx context.Context, o options, p *fleet, module string) (err error) {
	r, err := startReference(ctx, module)
	if err != nil {
		return fmt.Errorf("start the reference: %w", err)
	}
	defer func() { err = errors.Join(err, r.close()) }()
	b := &bench{options: o, cases: []*comparison{
		{name: "in the node", inFlight: 1, reference: r.echo, spare: p.echo, targets: targets{p50: atMost("P1", 1.3)}},
		{name: "in the node", inFlight: 16, reference: r.echo, spare: p.echo, targets: targets{rate: atLeast("P2", 1)}},
		{name: "in the node", inFlight: 64, reference: r.echo, spare: p.echo, targets: targets{rate: atLeast("P2", 1.5)}},
		{name: "by the socket", inFlight: 1, reference: r.echo, spare: p.echoBySocket},
		{name: "spare run", inFlight: 1, reference: runTrue, spare: p.echoByCommand, targets: targets{p50: within("P3", 20*time.Millisecond)}},
	}}
	if err := b.measure(ctx); err != nil {
		return err
	}
	return b.print(os.Stdout)
}
