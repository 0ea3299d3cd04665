//go:build e2e && unix

package testnet

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What a hostile guest must not make of its provider.
const (
	nodeMemory     = 150e6           // bytes, of a node's process
	workerMemory   = 512<<20 + 100e6 // bytes: a task's default limit, and what the worker has besides
	neighbourLimit = time.Second     // for a small task that runs meanwhile, the command line's own time included
	someGas        = "2G"            // of which a spinning guest takes a few seconds
)

// hostile is one guest that means harm, and how it ends.
type hostile struct {
	name   string
	wasm   []byte   // nil: the guest of the examples
	flags  []string // of spare run
	args   []string
	exit   int
	code   string // of spare's error; empty: the guest ends by itself
	says   string // in spare's line
	stdout string // all of it, unless a limit of output is what ends it
}

func hostiles() []hostile {
	return []hostile{
		{name: "grows its memory to 4 GiB", wasm: growing(), stdout: "\x00\x20\x00\x00"}, // 512 MiB
		{name: "starts with 4 GiB", wasm: startingWith(1 << 16), exit: 125, code: "E-MEMORY-LIMIT", says: "4 GiB"},
		{name: "starts with more memory than there can be", wasm: startingWith(1<<16 + 1), exit: 126, code: "E-BAD-MODULE"},
		{name: "grows a table 60 times by 10 million", wasm: tabling(), stdout: "\x00\x00\x00\x00"},
		{name: "spins", wasm: spinning(), flags: []string{"--gas", someGas}, exit: 125, code: "E-GAS-LIMIT"},
		{name: "spins until its time is over", wasm: spinning(), flags: []string{"--timeout", "2s"}, exit: 124, code: "E-TIMEOUT"},
		{name: "calls exponentially", wasm: exploding(), flags: []string{"--gas", someGas}, exit: 125, code: "E-GAS-LIMIT"},
		{name: "calls exponentially until its time is over", wasm: exploding(), flags: []string{"--timeout", "2s"}, exit: 124, code: "E-TIMEOUT"},
		{name: "recurses without end", wasm: recursing(), exit: 134, code: "E-DEPTH-LIMIT"},
		{name: "sleeps for 20 s", args: []string{"nap", "20"}, flags: []string{"--timeout", "5s"}, stdout: "20s\n"},
		{name: "asks for a GiB of randomness", wasm: guessing(), flags: []string{"--mem", "1GiB", "--gas", "10M"}, exit: 125, code: "E-GAS-LIMIT"},
		{name: "copies memory for ever", wasm: copying(), flags: []string{"--gas", someGas}, exit: 125, code: "E-GAS-LIMIT"},
		{name: "prints without end", args: []string{"flood"}, exit: 125, code: "E-OUTPUT-LIMIT", says: "64 MiB"},
		{name: "opens 100,000 files", args: []string{"open", "100000"}, stdout: "1020 open /tmp/1020: Too many open files\n"},
		{name: "looks for a way out of its files", args: []string{"escape"}, stdout: "6 ways tried\n"},
		{name: "has 40,000 locals that live across 20,000 branches", wasm: manyLocals(40_000), exit: 126, code: "E-BAD-MODULE", says: "locals"},
		{name: "has 20,000 locals that live across 10,000 branches", wasm: manyLocals(20_000), exit: 126, code: "E-BAD-MODULE", says: "too large"},
		{name: "has 5,000 locals that live across 2,500 branches", wasm: manyLocals(5_000), exit: 126, code: "E-BAD-MODULE", says: "branches of one function"},
		{name: "has 1,600 locals that live across 800 branches, as it may", wasm: manyLocals(1_600)},
		{name: "nests 50,000 blocks", wasm: deepBlocks(), exit: 126, code: "E-BAD-MODULE", says: "blocks within blocks"},
		{name: "has 1000 functions of 50,000 locals", wasm: manyFrames(), exit: 126, code: "E-BAD-MODULE", says: "locals"},
	}
}

// TestE2EHostileGuests gives each to a peer. It ends as documented; the peer
// stays within its limits, has a small task of somebody else done meanwhile, and
// is left with nothing.
func TestE2EHostileGuests(t *testing.T) {
	w := startWatch(t, 3)
	for _, n := range w.nodes { // so that the neighbour's program is warm everywhere
		for _, other := range w.nodes {
			if other != n {
				smallTask(t, n, other)
			}
		}
	}
	for _, h := range hostiles() {
		t.Run(h.name, func(t *testing.T) { h.check(t, w) })
	}
}

// smallTask runs a small task of n at the provider and returns how long that
// took.
func smallTask(t *testing.T, n, provider *node) time.Duration {
	t.Helper()
	start := time.Now()
	end := n.spare(t, []byte("good neighbours\n"), "run", "--on", provider.Peer, module(t, "wordcount"))
	if end.code != 0 || string(end.stdout) != "1 2 16\n" {
		t.Errorf("the neighbour's task exits %d with %q: %s", end.code, end.stdout, end.stderr)
	}
	return time.Since(start)
}

// commandLine is how a requester gives the guest to a peer.
func (h hostile) commandLine(t *testing.T) []string {
	t.Helper()
	path := module(t, "guest")
	if h.wasm != nil {
		path = filepath.Join(t.TempDir(), "hostile.wasm")
		if err := os.WriteFile(path, h.wasm, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return slices.Concat([]string{"run", "--remote", "-n"}, h.flags, []string{path, "--"}, h.args)
}

func (h hostile) check(t *testing.T, w *watch) {
	t.Helper()
	requester := w.nodes[0]
	before := len(ask[[]task](t, requester, "ps"))
	cmd := requester.command(h.commandLine(t)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // its exit status is looked at
	}()
	over := func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	}
	defer func() { <-ended }()

	var shown task
	await(t, "a peer has the guest", func() bool {
		if len(ask[[]task](t, requester, "ps")) > before {
			shown = requester.lastTask(t)
		}
		return len(shown.Attempts) > 0 || over()
	})
	if len(shown.Attempts) == 0 {
		t.Fatalf("no peer ever had it: %s", &stderr)
	}
	provider := by(t, w.nodes[1:], shown.Attempts[0].Provider)
	other := w.nodes[3-slices.Index(w.nodes, provider)]

	var took []time.Duration
	for start := time.Now(); len(took) == 0 || !over(); {
		took = append(took, smallTask(t, other, provider))
		if time.Since(start) > patience {
			_ = cmd.Process.Kill() // it may have ended
			t.Fatalf("it has not ended after %v", patience)
		}
	}
	// Not the slowest: workers yield to everything else on this machine.
	slices.Sort(took)
	median := took[len(took)/2]
	t.Logf("%d tasks meanwhile took %v, the slowest %v", len(took), median.Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	if median > neighbourLimit {
		t.Errorf("that is more than %v", neighbourLimit)
	}
	h.checkEnd(t, ending{stdout.Bytes(), stderr.Bytes(), cmd.ProcessState.ExitCode()})
	// A spare may start for one that is slow, such as one that waits for its output to
	// be taken, and is cancelled when that ends: nobody runs it again after its end.
	all := requester.lastTask(t).Attempts
	again := func(a attempt) bool {
		return a.State != "cancelled" || !strings.Contains(all[0].Reason, "slower than its provider should be")
	}
	if len(all) == 0 || slices.ContainsFunc(all[1:], again) {
		t.Errorf("%d attempts, though every peer would say the same: %+v", len(all), all)
	}
	node, worker := w.worst()
	t.Logf("at most %d MB in a node, %d MB in a worker", node/1e6, worker/1e6)
	if node > nodeMemory || worker > workerMemory {
		t.Errorf("that is more than %.0f MB or %.0f MB", nodeMemory/1e6, workerMemory/1e6)
	}
	w.awaitIdle(t)
}

func (h hostile) checkEnd(t *testing.T, end ending) {
	t.Helper()
	if end.code != h.exit {
		t.Errorf("exit %d, want %d; stderr:\n%.1000s", end.code, h.exit, end.stderr)
	}
	if h.code != "E-OUTPUT-LIMIT" && string(end.stdout) != h.stdout {
		t.Errorf("stdout is %.200q, want %q", end.stdout, h.stdout)
	}
	if h.code == "" {
		return
	}
	line, _, _ := strings.Cut(string(end.stderr), "\n")
	if !strings.HasPrefix(line, "spare: "+h.code+": ") || !strings.Contains(line, h.says) {
		t.Errorf("want %s and %q; stderr:\n%.1000s", h.code, h.says, end.stderr)
	}
	t.Logf("%.500s", end.stderr)
}

// begin starts a detached task of the requester on a peer, and returns its ID
// and that peer when it runs.
func begin(t *testing.T, nodes []*node, args ...string) (id string, provider *node) {
	t.Helper()
	end := nodes[0].spare(t, nil, slices.Concat([]string{"run", "-d", "-n", "--remote"}, args)...)
	if end.code != 0 {
		t.Fatalf("exit %d: %s", end.code, end.stderr)
	}
	id = strings.TrimSpace(string(end.stdout))
	await(t, "the task runs", func() bool {
		shown := nodes[0].show(t, id)
		if i := slices.IndexFunc(shown.Attempts, func(a attempt) bool { return a.State == "running" }); i >= 0 {
			provider = by(t, nodes[1:], shown.Attempts[i].Provider)
		}
		return provider != nil
	})
	return id, provider
}

// TestE2EDonorOfAHostileGuestKilled: the workers die with their node, and the
// guest meets its end elsewhere.
func TestE2EDonorOfAHostileGuestKilled(t *testing.T) {
	w := startWatch(t, 3)
	path := filepath.Join(t.TempDir(), "spinning.wasm")
	if err := os.WriteFile(path, spinning(), 0o600); err != nil {
		t.Fatal(err)
	}
	id, provider := begin(t, w.nodes, "--gas", someGas, path)
	workers := make(map[process]bool)
	for _, s := range provider.workers(t) {
		workers[s.process] = true
	}
	if len(workers) == 0 {
		t.Fatal("a task runs, and its node has no worker")
	}
	provider.signal(t, syscall.SIGKILL)
	took := await(t, "the workers are gone", func() bool { return alive(t, workers) == 0 })
	t.Logf("%d processes were gone %v after kill -9 of their node", len(workers), took.Round(time.Millisecond))
	if took > time.Second {
		t.Errorf("that is more than a second")
	}
	end := w.nodes[0].spare(t, nil, "wait", id)
	if end.code != 125 || !strings.Contains(string(end.stderr), "E-GAS-LIMIT") {
		t.Errorf("the task exits %d: %s", end.code, end.stderr)
	}
	attempts := w.nodes[0].show(t, id).Attempts
	if last := attempts[len(attempts)-1]; len(attempts) != 2 || last.Provider == provider.Peer {
		t.Errorf("the attempts are %+v", attempts)
	}
	w.restart(t, provider) // so that down.sh finds all that it ends
}

// TestE2EWorkerKilled: a worker that is killed from outside costs its node
// nothing, and the task is done elsewhere.
func TestE2EWorkerKilled(t *testing.T) { loseWorker(t, syscall.SIGKILL) }

// TestE2EWorkerStopped: one that is stopped does not come along, while its node
// goes on to beat, and a spare takes over.
func TestE2EWorkerStopped(t *testing.T) { loseWorker(t, syscall.SIGSTOP) }

func loseWorker(t *testing.T, how syscall.Signal) {
	w := startWatch(t, 3)
	const steps = 2_000_000
	id, provider := begin(t, w.nodes, module(t, "guest"), "--", "chain", strconv.Itoa(steps))
	var workers []processStat
	await(t, "the worker works", func() bool {
		workers = provider.workers(t)
		return slices.ContainsFunc(workers, func(s processStat) bool { return s.ticks > 10 })
	})
	for _, s := range workers {
		_ = syscall.Kill(s.pid, how) // it may have ended with another
	}
	if end := w.nodes[0].spare(t, nil, "wait", id); end.code != 0 {
		t.Errorf("the task exits %d: %s", end.code, end.stderr)
	}
	if logs := w.nodes[0].spare(t, nil, "logs", id); !bytes.Equal(logs.stdout, chain(steps)) {
		t.Errorf("the task wrote %q", logs.stdout)
	}
	attempts := w.nodes[0].show(t, id).Attempts
	first, last := attempts[0], attempts[len(attempts)-1]
	if len(attempts) < 2 || first.Provider != provider.Peer || first.State == "done" || last.State != "done" || last.Provider == first.Provider {
		t.Errorf("the attempts are %+v", attempts)
	}
	t.Logf("first %s: %s; last %s: %s", first.State, first.Reason, last.State, last.Reason)
	if took := smallTask(t, w.nodes[0], provider); took > patience {
		t.Errorf("the node of the lost worker takes %v for a small task", took)
	}
}
