//go:build e2e && unix

package testnet

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// process is one process, whatever becomes of its number.
type process struct {
	pid     int
	started uint64 // in ticks since the machine's start
}

// processStat is what is read of a process, see proc_pid_stat(5).
type processStat struct {
	process
	parent int
	state  string
	ticks  uint64 // of CPU time
}

// processTable holds the living processes by their number.
type processTable map[int]processStat

func readProcesses() (processTable, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := make(processTable, len(paths))
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// The second field, the name, may hold anything; no later one has a ')'.
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(fields) < 20 {
			return nil, fmt.Errorf("%s: %q", path, b)
		}
		var s processStat
		var user, system uint64
		if _, err := fmt.Sscan(strings.Join([]string{filepath.Base(filepath.Dir(path)), fields[0], fields[1], fields[11], fields[12], fields[19]}, " "),
			&s.pid, &s.state, &s.parent, &user, &system, &s.started); err != nil {
			return nil, fmt.Errorf("%s: %w in %q", path, err, b)
		}
		s.ticks = user + system
		if s.state != "Z" && s.state != "X" { // those have ended
			all[s.pid] = s
		}
	}
	return all, nil
}

// below lists the processes that a process has started, and those that they
// have.
func (all processTable) below(pid int) []processStat {
	var list []processStat
	for _, s := range all {
		for p := s.parent; p > 1; p = all[p].parent {
			if p == pid {
				list = append(list, s)
				break
			}
		}
	}
	return list
}

// workers are the processes below a node.
func (n *node) workers(t *testing.T) []processStat {
	t.Helper()
	all, err := readProcesses()
	if err != nil {
		t.Fatal(err)
	}
	return all.below(n.PID)
}

// alive counts which of the processes still live.
func alive[V any](t *testing.T, list map[process]V) int {
	t.Helper()
	all, err := readProcesses()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for p := range list {
		if all[p.pid].process == p {
			count++
		}
	}
	return count
}

// peakMemory is the most resident memory that a process ever had, in bytes; 0
// when it has ended.
func peakMemory(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.ParseUint(kib, 10, 64) // none when it is about to end
	return n << 10
}

// watch keeps looking at the processes of a net.
type watch struct {
	nodes []*node

	mu   sync.Mutex
	seen map[process]footprint // all that ever were
	err  error
}

// footprint is the most memory that a process has had, in bytes.
type footprint struct {
	node   bool // else a worker
	memory uint64
}

// startWatch starts a net that is looked at until its end, and checks that no
// process is left of it then.
func startWatch(t *testing.T, n int) *watch {
	t.Helper()
	w := &watch{seen: make(map[process]footprint)}
	t.Cleanup(func() { // after the net has been ended
		if left := alive(t, w.seen); left > 0 {
			t.Errorf("%d of %d processes are left", left, len(w.seen))
		}
		if w.err != nil {
			t.Error(w.err)
		}
	})
	w.nodes, _ = startNet(t, n)
	stop := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			w.look()
			select {
			case <-stop:
				return
			case <-time.After(30 * time.Millisecond):
			}
		}
	})
	t.Cleanup(func() { close(stop); looking.Wait() })
	return w
}

func (w *watch) look() {
	all, err := readProcesses()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.err = err
	}
	for _, n := range w.nodes {
		if s, ok := all[n.PID]; ok {
			w.saw(s.process, true)
		}
		for _, s := range all.below(n.PID) {
			w.saw(s.process, false)
		}
	}
}

func (w *watch) saw(p process, node bool) {
	w.seen[p] = footprint{node, max(w.seen[p].memory, peakMemory(p.pid))}
}

// worst returns the most memory that a node, and that a worker of the net has
// ever had, of those that lived since it was last asked.
func (w *watch) worst() (node, worker uint64) {
	w.look()
	w.mu.Lock()
	defer w.mu.Unlock()
	for p, f := range w.seen {
		if f.node {
			node = max(node, f.memory)
		} else {
			worker = max(worker, f.memory)
		}
		w.seen[p] = footprint{node: f.node}
	}
	return node, worker
}

// restart starts a node again that was killed.
func (w *watch) restart(t *testing.T, n *node) {
	t.Helper()
	w.mu.Lock() // it has another number then
	defer w.mu.Unlock()
	n.restart(t)
}

// awaitIdle waits until no worker of the net uses the CPU any more.
func (w *watch) awaitIdle(t *testing.T) {
	t.Helper()
	ticks := func() (sum uint64) {
		for _, n := range w.nodes {
			for _, s := range n.workers(t) {
				sum += s.ticks
			}
		}
		return sum
	}
	before := ticks()
	await(t, "no worker is busy", func() bool {
		time.Sleep(200 * time.Millisecond) // 20 ticks of a busy one
		now := ticks()
		idle := now <= before
		before = now
		return idle
	})
}
