//go:build e2e && unix

package testnet

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// takes is what a node says of taking tasks of others.
type takes struct {
	Donate struct {
		State  string  `json:"state"`
		Reason string  `json:"reason"`
		Until  *string `json:"until"`
	} `json:"donate"`
}

// TestE2EOwnersDecide has the owner of a provider want the machine back while a
// task of somebody else runs there.
func TestE2EOwnersDecide(t *testing.T) {
	nodes, said := startNet(t, 3)
	t.Log(said)
	requester, guest := nodes[0], module(t, "guest")
	const sample = 200_000
	if end := requester.spare(t, nil, "run", "--remote", guest, "--", "chain", strconv.Itoa(sample)); end.code != 0 {
		t.Fatalf("the sample exits %d: %s", end.code, end.stderr)
	}
	wall := requester.lastTask(t).WallMS
	if wall == nil || *wall <= 0 {
		t.Fatal("the sample took no time")
	}
	steps := max(1_000_000, int(sample*3000 / *wall)/10*10)

	// begun starts a task that takes a few seconds, and returns who runs it.
	begun := func() (id string, provider *node) {
		t.Helper()
		end := requester.spare(t, nil, "run", "-d", "--remote", guest, "--", "chain", strconv.Itoa(steps))
		if end.code != 0 {
			t.Fatalf("run exits %d: %s", end.code, end.stderr)
		}
		id = strings.TrimSpace(string(end.stdout))
		await(t, "the task runs", func() bool {
			shown := requester.show(t, id)
			i := slices.IndexFunc(shown.Attempts, func(a attempt) bool { return a.State == "running" })
			if i < 0 {
				return false
			}
			provider = by(t, nodes, shown.Attempts[i].Provider)
			return true
		})
		return id, provider
	}
	ends := func(id string) task {
		t.Helper()
		if end := requester.spare(t, nil, "wait", id); end.code != 0 {
			t.Fatalf("wait exits %d: %s", end.code, end.stderr)
		}
		if out := requester.spare(t, nil, "logs", id); !bytes.Equal(out.stdout, chain(steps)) {
			t.Errorf("the output is\n%swant\n%s", out.stdout, chain(steps))
		}
		shown := requester.show(t, id)
		for _, a := range shown.Attempts {
			t.Logf("attempt %d on %.12s: %s, %s", a.Attempt, a.Provider, a.State, a.Reason)
		}
		return shown
	}
	must := func(n *node, args ...string) string {
		t.Helper()
		end := n.spare(t, nil, args...)
		if end.code != 0 {
			t.Fatalf("%v exits %d: %s", args, end.code, end.stderr)
		}
		return string(end.stdout)
	}

	// A pause: the task moves on at once, and ends as if nothing had been.
	id, owner := begun()
	pausedAt := time.Now()
	must(owner, "pause", "--for", "2h")
	var next attempt
	await(t, "another provider takes it", func() bool {
		shown := requester.show(t, id)
		next = shown.Attempts[len(shown.Attempts)-1]
		return next.Provider != owner.Peer && next.Started != nil
	})
	resumed, err := time.Parse(time.RFC3339, *next.Started)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("another provider began %v after the pause", resumed.Sub(pausedAt).Round(time.Millisecond))
	shown := ends(id)
	if a := shown.Attempts[0]; a.State != "refused" || !strings.Contains(a.Reason, "E-HANDED-OVER") || !strings.Contains(a.Reason, "paused by hand until ") {
		t.Errorf("the first attempt is %+v", a)
	}
	if n := len(shown.Attempts); n != 2 {
		t.Errorf("%d attempts, want 2", n)
	}

	// It holds through kill -9, and so does its deadline.
	before := ask[takes](t, owner, "status").Donate
	owner.signal(t, syscall.SIGKILL)
	await(t, "the provider is gone", func() bool { return syscall.Kill(owner.PID, 0) != nil })
	owner.restart(t)
	after := ask[takes](t, owner, "status").Donate
	if after.State != "paused" || after.Until == nil || before.Until == nil || *after.Until != *before.Until {
		t.Errorf("before the kill %+v, after it %+v", before, after)
	}
	must(owner, "resume")
	await(t, "everybody knows that it is back", func() bool {
		return !strings.Contains(must(requester, "offers"), "it is paused")
	})

	// With --finish the task ends where it is, and the next one runs elsewhere.
	id, owner = begun()
	must(owner, "pause", "--finish")
	second, other := begun()
	if other == owner {
		t.Errorf("a paused provider has taken a task")
	}
	if shown := ends(id); len(shown.Attempts) != 1 || shown.Attempts[0].State != "done" {
		t.Errorf("with --finish it moved: %+v", shown.Attempts)
	}
	ends(second)
	must(owner, "resume")

	// A schedule that closes hands over like a pause.
	id, owner = begun()
	said = must(owner, "donate", "set", "--when", closedNow())
	if !strings.Contains(said, "closed by its schedule") {
		t.Errorf("it says %s", said)
	}
	shown = ends(id)
	if a := shown.Attempts[0]; a.State != "refused" || !strings.Contains(a.Reason, "E-HANDED-OVER: closed by its schedule") {
		t.Errorf("the first attempt is %+v", a)
	}
	owner.signal(t, syscall.SIGKILL)
	await(t, "the provider is gone again", func() bool { return syscall.Kill(owner.PID, 0) != nil })
	owner.restart(t)
	if now := ask[takes](t, owner, "status").Donate; now.State != "paused" || !strings.Contains(now.Reason, "closed by its schedule") {
		t.Errorf("after a restart its schedule is %+v", now)
	}
	must(owner, "donate", "set", "--when", "default")
}

// closedNow is a schedule that is open for a minute in three days' time.
func closedNow() string {
	return strings.ToLower(time.Now().AddDate(0, 0, 3).Format("Mon")) + " 12:00-12:01"
}
