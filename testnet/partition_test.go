//go:build e2e && unix

package testnet

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spare-network/spare/testnet/wire"
)

// TestE2EPartitionHeals splits a network into two halves, with tasks of both
// under way. Both go on and finish what they have and what comes; then they find
// together again, a newcomer included, and nothing that is finished runs again.
func TestE2EPartitionHeals(t *testing.T) {
	const half, steps = 3, 1_000_000 // a second or so, where all run at once
	w, err := wire.New(t.Context(), 2*half+1)
	if errors.Is(err, wire.ErrUnable) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	var nodes []*node
	begin := func(i int, secret string, joins ...string) *node {
		at := []string{"--listen", fmt.Sprintf("/ip4/%s/tcp/4001", wire.Address(i)), "--listen", fmt.Sprintf("/ip4/%s/udp/4001/quic-v1", wire.Address(i))}
		n := startWithin(t, w.Within(i), "parted", secret, slices.Concat(at, joins)...)
		nodes = append(nodes, n)
		return n
	}
	first := begin(0, "")
	for i := 1; i < 2*half; i++ {
		begin(i, first.secret(t), first.bootstrap()...)
	}
	await(t, "all know all", func() bool { return !slices.ContainsFunc(nodes, func(n *node) bool { return !n.knows(t, nodes...) }) })
	requesters := []*node{first, nodes[half]}
	guest := module(t, "guest")
	var submitted []submission
	submit := func(r *node, steps int) {
		t.Helper()
		end := r.spare(t, nil, "run", "-d", "--remote", guest, "--", "chain", strconv.Itoa(steps))
		if end.code != 0 {
			t.Fatalf("%s accepts no task: %s", r.Name, end.stderr)
		}
		submitted = append(submitted, submission{r, strings.TrimSpace(string(end.stdout)), steps})
	}
	for i := range 4 {
		submit(requesters[i%2], steps+10*i)
	}
	await(t, "they run", func() bool {
		return !slices.ContainsFunc(requesters, func(r *node) bool { return len(r.lastTask(t).Attempts) == 0 })
	})

	far := []int{half, half + 1, half + 2, 2 * half}
	if err := w.Part(far, true); err != nil {
		t.Fatal(err)
	}
	parted := time.Now()
	for i := range 12 {
		submit(requesters[i%2], steps/20+10*i)
	}
	newcomer := begin(2*half, first.secret(t), requesters[1].bootstrap()...)
	for _, s := range submitted {
		s.check(t)
	}
	t.Logf("both halves finished %d tasks within %.1f s of the partition", len(submitted), time.Since(parted).Seconds())
	if first.knows(t, newcomer) {
		t.Error("a newcomer is known beyond the partition")
	}
	await(t, "nothing runs any more", func() bool {
		return !slices.ContainsFunc(nodes, func(n *node) bool { s := n.status(t); return s.Running+s.Queued > 0 })
	})
	ran, attempts := runs(t, nodes), attemptsOf(t, submitted)

	if err := w.Part(far, false); err != nil {
		t.Fatal(err)
	}
	healed := time.Now()
	await(t, "all know all again, and the newcomer", func() bool {
		return !slices.ContainsFunc(nodes, func(n *node) bool { return !n.knows(t, nodes...) })
	})
	t.Logf("all knew all %.1f s after it had healed", time.Since(healed).Seconds())
	for i, r := range requesters {
		other := requesters[1-i]
		end := r.spare(t, nil, "run", "--on", other.Peer, guest, "--", "chain", "1000")
		if end.code != 0 {
			t.Errorf("a task of %s on %s exits %d: %s", r.Name, other.Name, end.code, end.stderr)
		}
		ran[slices.Index(nodes, other)]++
	}
	if got := runs(t, nodes); !slices.Equal(got, ran) {
		t.Errorf("the nodes have run %v tasks, want %v: something ran again", got, ran)
	}
	if got := attemptsOf(t, submitted); !slices.Equal(got, attempts) {
		t.Errorf("finished tasks have %v attempts, and had %v", got, attempts)
	}
}

// submission is a task that a node has accepted.
type submission struct {
	by    *node
	id    string
	steps int
}

// check waits for its end and checks that it has one result, the right one.
func (s submission) check(t *testing.T) {
	t.Helper()
	if end := s.by.spare(t, nil, "wait", s.id); end.code != 0 {
		t.Errorf("task %s of %s: wait exits %d: %s", s.id, s.by.Name, end.code, end.stderr)
	}
	shown := s.by.show(t, s.id)
	want := fmt.Sprintf("%x", sha256.Sum256(chain(s.steps)))
	if shown.StdoutDigest == nil || *shown.StdoutDigest != want {
		t.Errorf("task %s of %s: its output is wrong: %+v", s.id, s.by.Name, shown)
	}
	accepted := 0
	for _, a := range shown.Attempts {
		if a.State == "done" {
			accepted++
		}
	}
	if accepted != 1 {
		t.Errorf("task %s of %s: %d attempts are accepted: %+v", s.id, s.by.Name, accepted, shown.Attempts)
	}
}

// runs are the tasks that each node has run so far.
func runs(t *testing.T, nodes []*node) (list []int) {
	t.Helper()
	for _, n := range nodes {
		list = append(list, n.status(t).Sandbox.Tasks)
	}
	return list
}

// attemptsOf are the attempts of each task.
func attemptsOf(t *testing.T, submitted []submission) (list []int) {
	t.Helper()
	for _, s := range submitted {
		list = append(list, len(s.by.show(t, s.id).Attempts))
	}
	return list
}
