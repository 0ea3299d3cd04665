//go:build e2e && unix

package testnet

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// TestE2EMapOutlastsKills has 100,000 tasks run while the requester is killed -9
// twice, and two providers, each in mid-job. The same command again carries on, every
// task has ended exactly once, and neither disk nor memory grows with them.
func TestE2EMapOutlastsKills(t *testing.T) {
	const (
		tasks   = 100_000
		numbers = 1000
		most    = 100 << 20 // bytes of disk, and of memory
	)
	nodes, said := startNet(t, 5)
	t.Log(said)
	requester, program := nodes[0], cModule(t, "primes")
	list := filepath.Join(t.TempDir(), "list")
	var want, items strings.Builder
	for i, counts := 0, primesBelow(numbers); i < tasks; i++ {
		fmt.Fprintln(&items, i%numbers+1)
		fmt.Fprintln(&want, counts[i%numbers+1])
	}
	if err := os.WriteFile(list, []byte(items.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	deadline := time.Now().Add(10 * time.Minute) // for what hangs
	var end ending
	tries := 0
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for tries = 1; tries < 1000; tries++ {
			if end = requester.spare(t, nil, "map", "--resume", "-k", program, "-a", list); end.code == 0 {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	passed := func() uint64 {
		if jobs := requester.jobs(t); len(jobs) == 1 {
			return jobs[0].Passed
		}
		return 0
	}
	kill := func(n *node) {
		n.signal(t, syscall.SIGKILL)
		await(t, n.Name+" is gone", func() bool { return syscall.Kill(n.PID, 0) != nil })
		n.restart(t)
	}
	for i, until := range []uint64{tasks / 4, tasks / 2} {
		// A provider goes in the first half of each part, then the requester.
		for _, step := range []struct {
			until uint64
			node  *node
		}{{until - tasks/8, nodes[1+i]}, {until, requester}} {
			for passed() < step.until {
				if time.Now().After(deadline) {
					t.Fatalf("%d tasks have passed, want %d", passed(), step.until)
				}
				time.Sleep(50 * time.Millisecond)
			}
			if n := passed(); n >= tasks {
				t.Fatalf("%s is to be killed in mid-job, and all %d tasks have passed", step.node.Name, n)
			}
			kill(step.node)
		}
	}
	began := memory(t, requester.PID)
	<-ended
	if tries < 3 {
		t.Errorf("the command has outlasted a kill of its node: %d tries", tries)
	}
	if end.code != 0 || string(end.stdout) != want.String() {
		t.Errorf("after %d tries it exits %d with %d bytes, want %d: %.1000s", tries, end.code, len(end.stdout), want.Len(), end.stderr)
	}
	took := time.Since(start)
	jobs := requester.jobs(t)
	if len(jobs) != 1 || jobs[0] != (job{jobs[0].ID, "done", tasks, tasks, 0, tasks}) {
		t.Errorf("the jobs are %+v", jobs)
	}
	disk, uses := diskOf(t, requester.Home), memory(t, requester.PID)
	if disk > most || uses > most {
		t.Errorf("the requester's home has %d bytes, and its node uses %d", disk, uses)
	}
	t.Logf("%d tasks in %s, in %d tries; %d MB of disk; memory of the node's own: %d MB when it started last, %d MB at the end",
		tasks, took.Round(100*time.Millisecond), tries, disk>>20, began>>20, uses>>20)
}

// memory returns the resident bytes of a process that are its own.
func memory(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "RssAnon:")
	var kb int64
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		t.Fatalf("resident memory: %v", err)
	}
	return kb << 10
}

// diskOf returns how many bytes a directory takes.
func diskOf(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
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
