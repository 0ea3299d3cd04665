//go:build e2e && unix

package testnet

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	restarts      = 20
	restartsTasks = 200
	// restartsSteps is some 100 ms of work.
	restartsSteps = 300_000
)

// TestE2ERequesterKilledAgainAndAgain kills the requester -9 at random moments
// of a run of tasks. What it had accepted ends, each with exactly one result.
func TestE2ERequesterKilledAgainAndAgain(t *testing.T) {
	nodes, said := startNet(t, 4)
	t.Log(said)
	requester, guest := nodes[0], module(t, "guest")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	// Submit meanwhile, with different output for each task. A submission that
	// is not confirmed may have been accepted; it is made once more, as another
	// task.
	ids := make([]string, restartsTasks)
	var submitting sync.WaitGroup
	submitting.Go(func() {
		for i := range ids {
			for ids[i] == "" {
				end := requester.spare(t, nil, "run", "-d", "--remote", guest, "--", "chain", strconv.Itoa(restartsSteps+10*i))
				if end.code == 0 {
					ids[i] = strings.TrimSpace(string(end.stdout))
				} else {
					time.Sleep(20 * time.Millisecond)
				}
			}
		}
	})
	for range restarts {
		time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
		requester.signal(t, syscall.SIGKILL)
		await(t, "the requester is gone", func() bool { return syscall.Kill(requester.PID, 0) != nil })
		requester.restart(t)
	}
	submitting.Wait()

	attempts, claimed := 0, 0
	for i, id := range ids {
		if end := requester.spare(t, nil, "wait", id); end.code != 0 {
			t.Errorf("task %d, %s: wait exits %d: %s", i, id, end.code, end.stderr)
			continue
		}
		shown := requester.show(t, id)
		want := fmt.Sprintf("%x", sha256.Sum256(chain(restartsSteps+10*i)))
		if shown.StdoutDigest == nil || *shown.StdoutDigest != want {
			t.Errorf("task %d, %s: its output is wrong: %+v", i, id, shown)
		}
		accepted := 0
		for _, a := range shown.Attempts {
			if a.State == "done" {
				accepted++
			}
		}
		if accepted != 1 {
			t.Errorf("task %d, %s: %d attempts are accepted: %+v", i, id, accepted, shown.Attempts)
		}
		attempts += len(shown.Attempts)
		if len(shown.Attempts) == 1 {
			claimed++
		}
	}
	t.Logf("%d tasks took %d attempts while their requester was killed %d times; %d of them needed but one", restartsTasks, attempts, restarts, claimed)
}
