//go:build e2e && unix

package testnet

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

type job struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Tasks   uint64 `json:"tasks"`
	Passed  uint64 `json:"passed"`
	Failed  uint64 `json:"failed"`
	Results uint64 `json:"results"`
}

func (n *node) jobs(t *testing.T) []job { t.Helper(); return ask[[]job](t, n, "ps", "--jobs") }

// primesBelow counts the primes below each number.
func primesBelow(most int) []int {
	counts, composite := make([]int, most+1), make([]bool, most+1)
	for i := 3; i <= most; i++ {
		counts[i] = counts[i-1]
		if composite[i-1] {
			continue
		}
		counts[i]++
		for k := 2 * (i - 1); k <= most; k += i - 1 {
			composite[k] = true
		}
	}
	return counts
}

// TestE2EMapOutlastsKills kills the requester and a provider -9 while a job runs.
// The same command again carries on, and every task has ended exactly once.
func TestE2EMapOutlastsKills(t *testing.T) {
	const tasks = 6000
	nodes, said := startNet(t, 5)
	t.Log(said)
	requester, program := nodes[0], cModule(t, "primes")
	list := filepath.Join(t.TempDir(), "list")
	var want, items strings.Builder
	for i, count := range primesBelow(tasks)[1:] {
		fmt.Fprintln(&items, i+1)
		fmt.Fprintln(&want, count)
	}
	if err := os.WriteFile(list, []byte(items.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	var end ending
	tries := 0
	var mapping sync.WaitGroup
	mapping.Go(func() {
		for tries = 1; tries < 100; tries++ {
			if end = requester.spare(t, nil, "map", "--resume", "-k", program, "-a", list); end.code == 0 {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	for _, victim := range []*node{nodes[0], nodes[2], nodes[0]} {
		time.Sleep(700 * time.Millisecond)
		victim.signal(t, syscall.SIGKILL)
		await(t, victim.Name+" is gone", func() bool { return syscall.Kill(victim.PID, 0) != nil })
		victim.restart(t)
	}
	mapping.Wait()
	if end.code != 0 || string(end.stdout) != want.String() {
		t.Errorf("after %d tries it exits %d with %d bytes, want %d: %s", tries, end.code, len(end.stdout), want.Len(), end.stderr)
	}
	jobs := requester.jobs(t)
	if len(jobs) != 1 || jobs[0] != (job{jobs[0].ID, "done", tasks, tasks, 0, tasks}) {
		t.Errorf("the jobs are %+v", jobs)
	}
	t.Logf("%d tasks in %s, in %d tries", tasks, time.Since(start).Round(100*time.Millisecond), tries)
}

const countWords = `
import sys
text = open("/in/text").read()
if "BAD" in text:
    sys.exit("this file is bad")
open("/out/upper.txt", "w").write(text.upper())
print(len(text.split()))
`

// TestE2EMapFiles runs CPython over files, of which one is bad and mended then.
func TestE2EMapFiles(t *testing.T) {
	const count = 24
	nodes, said := startNet(t, 3)
	t.Log(said)
	program, dir := python(t), t.TempDir()
	file := func(i int) string { return filepath.Join(dir, fmt.Sprintf("text%02d.txt", i)) }
	write := func(i int, text string) {
		if err := os.WriteFile(file(i), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range count {
		write(i, strings.Repeat("word ", i))
	}
	write(7, "BAD")
	results, joblog := filepath.Join(t.TempDir(), "results"), filepath.Join(t.TempDir(), "log")
	command := func(more ...string) ending {
		args := append([]string{"map", "-k", "--glob", filepath.Join(dir, "*.txt"), "-i", "{}:/in/text", "--results", results, "--joblog", joblog}, more...)
		return nodes[0].spare(t, nil, append(args, program, "--", "-c", countWords)...)
	}
	wantOut := func(bad string) (out string) {
		for i := range count {
			if i != 7 {
				out += strconv.Itoa(i) + "\n"
			} else {
				out += bad
			}
		}
		return out
	}
	start := time.Now()
	end := command()
	if end.code != 1 || string(end.stdout) != wantOut("") || !strings.Contains(string(end.stderr), "this file is bad") {
		t.Fatalf("it exits %d:\n%s%s", end.code, end.stdout, end.stderr)
	}
	first := time.Since(start)
	read := func(path string) string {
		b, err := os.ReadFile(filepath.Join(results, path))
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	if got := read("3/out/upper.txt"); got != "WORD WORD " {
		t.Errorf("the third has left %q", got)
	}
	if got := read("8/stderr"); !strings.Contains(got, "this file is bad") {
		t.Errorf("the bad one has said %q", got)
	}

	write(7, "good now")
	start = time.Now()
	if end = command("--retry-failed"); end.code != 0 || string(end.stdout) != wantOut("2\n") {
		t.Errorf("with the file mended it exits %d:\n%s%s", end.code, end.stdout, end.stderr)
	}
	t.Logf("%d files in %s; the one that was bad again in %s", count, first, time.Since(start))
	if b, err := os.ReadFile(joblog); err != nil || strings.Count(string(b), "\n") != count+1 {
		t.Errorf("the log has (%v)\n%s", err, b)
	}
	if got := read("8/out/upper.txt"); got != "GOOD NOW" {
		t.Errorf("mended, it has left %q", got)
	}
}
