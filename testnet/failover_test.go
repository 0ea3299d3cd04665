//go:build unix

package testnet

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestProviderKilledInTheMiddle is the scenario that every check runs: three
// real nodes, a task, and kill -9 of its provider while output streams.
func TestProviderKilledInTheMiddle(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real nodes")
	}
	nodes, said := startNet(t, 3)
	t.Log(said)
	loseProvider(t, nodes, 4*time.Second, syscall.SIGKILL)
}

// loseProvider runs a task of about the given length on a peer of the first
// node, kills or stops that peer when half of the output is there, and checks how
// the task ends.
func loseProvider(t *testing.T, nodes []*node, length time.Duration, how syscall.Signal) {
	t.Helper()
	requester, guest := nodes[0], module(t, "guest")

	// How fast is this machine? The answer also warms the guest up there.
	const sample = 200_000
	if end := requester.spare(t, nil, "run", "--remote", guest, "--", "chain", strconv.Itoa(sample)); end.code != 0 {
		t.Fatalf("the sample exits %d: %s", end.code, end.stderr)
	}
	wall := requester.lastTask(t).WallMS
	if wall == nil || *wall <= 0 {
		t.Fatal("the sample took no time")
	}
	steps := int(sample * float64(length.Milliseconds()) / *wall)
	steps = max(steps-steps%10, 1_000_000)

	cmd := requester.command("run", "--remote", guest, "--", "chain", strconv.Itoa(steps))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(out)
	var half []byte
	for range 5 { // of 10 lines
		line, err := reader.ReadBytes('\n')
		if err != nil {
			t.Fatalf("after %q: %v; %s", half, err, &stderr)
		}
		half = append(half, line...)
	}
	running := requester.lastTask(t)
	i := slices.IndexFunc(running.Attempts, func(a attempt) bool { return a.State == "running" })
	if i < 0 {
		t.Fatalf("half of the output came when no attempt ran any more, it does not stream: %+v", running)
	}
	killed := running.Attempts[i]
	killedAt := time.Now()
	victim := by(t, nodes, killed.Provider)
	victim.signal(t, how)
	if how == syscall.SIGSTOP {
		defer victim.signal(t, syscall.SIGCONT) // so that it can be ended
	}

	rest, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("the task fails: %v; %s", err, &stderr)
	}
	stdout := slices.Concat(half, rest)
	if want := chain(steps); !bytes.Equal(stdout, want) {
		t.Errorf("output\n%swant\n%s", stdout, want)
	}

	ended := requester.show(t, running.ID)
	if ended.State != "done" || ended.ExitCode == nil || *ended.ExitCode != 0 {
		t.Errorf("the task is %s: %+v", ended.State, ended)
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(stdout)); ended.StdoutDigest == nil || *ended.StdoutDigest != sum {
		t.Errorf("digest of stdout is not told as %s: %+v", sum, ended)
	}
	if len(ended.Attempts) < 2 {
		t.Fatalf("%d attempts, want at least 2: %+v", len(ended.Attempts), ended.Attempts)
	}
	for i, a := range ended.Attempts {
		t.Logf("attempt %d on %.12s: %s, %s", a.Attempt, a.Provider, a.State, a.Reason)
		if a.Attempt != i+1 || a.Reason == "" {
			t.Errorf("attempt %d has number %d and reason %q", i+1, a.Attempt, a.Reason)
		}
		if err := a.checkTimes(); err != nil {
			t.Errorf("attempt %d: %v", a.Attempt, err)
		}
	}
	if a := ended.Attempts[0]; a.State != "unreachable" || a.Provider != killed.Provider {
		t.Errorf("the first attempt is %s on %s, want unreachable on %s", a.State, a.Provider, killed.Provider)
	}
	last := ended.Attempts[len(ended.Attempts)-1]
	if last.State != "done" || last.Provider == killed.Provider || last.Provider == requester.Peer {
		t.Errorf("the last attempt is %s on %s, want done on another peer", last.State, last.Provider)
	}
	if last.Started != nil {
		if resumed, err := time.Parse(time.RFC3339, *last.Started); err == nil {
			t.Logf("work resumed %v after %v (target 1.5s)", resumed.Sub(killedAt).Round(time.Millisecond), how)
		}
	}
}

// chain is what "guest chain STEPS" prints.
func chain(steps int) []byte {
	var out bytes.Buffer
	sum := sha256.Sum256(nil)
	for i := 1; i <= steps; i++ {
		sum = sha256.Sum256(sum[:])
		if i%(steps/10) == 0 {
			fmt.Fprintf(&out, "%d %x\n", i, sum)
		}
	}
	return out.Bytes()
}
