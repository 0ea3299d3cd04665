//go:build e2e && unix

package testnet

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What the scenarios look at of who runs what on a node.
type (
	guestList struct {
		Now     []guest      `json:"now"`
		Lately  []guest      `json:"lately"`
		Totals  []guestTotal `json:"totals"`
		Donated struct {
			Tasks  uint64 `json:"tasks"`
			SlotMS uint64 `json:"slot_ms"`
			Gas    uint64 `json:"gas"`
			Since  string `json:"since"`
		} `json:"donated"`
	}
	guest struct {
		Requester string   `json:"requester"`
		Name      string   `json:"name"`
		Task      string   `json:"task"`
		State     string   `json:"state"`
		Exit      *int     `json:"exit"`
		Code      string   `json:"code"`
		WallMS    *float64 `json:"wall_ms"`
		Gas       uint64   `json:"gas"`
	}
	offer struct {
		Provider string            `json:"provider"`
		Labels   map[string]string `json:"labels"`
	}
	guestTotal struct {
		Requester string `json:"requester"`
		Tasks     uint64 `json:"tasks"`
		WallMS    uint64 `json:"wall_ms"`
		Gas       uint64 `json:"gas"`
		Access    string `json:"access"`
	}
)

func (n *node) guests(t *testing.T) guestList { t.Helper(); return ask[guestList](t, n, "guests") }

// of is the total of a requester.
func (g guestList) of(n *node) guestTotal {
	for _, one := range g.Totals {
		if one.Requester == n.Peer {
			return one
		}
	}
	return guestTotal{}
}

// must runs a command that has to end well.
func (n *node) must(t *testing.T, args ...string) string {
	t.Helper()
	end := n.spare(t, nil, args...)
	if end.code != 0 {
		t.Fatalf("%s: spare %s exits %d: %s", n.Name, strings.Join(args, " "), end.code, end.stderr)
	}
	return string(end.stdout)
}

// labelled starts a node of up.sh again with labels.
func (n *node) labelled(t *testing.T, labels ...string) {
	t.Helper()
	config := "[labels]\n" + strings.Join(labels, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(n.Home, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	n.kill(t)
	n.restart(t)
}

func (n *node) kill(t *testing.T) {
	t.Helper()
	n.signal(t, syscall.SIGKILL)
	await(t, n.Name+" is gone", func() bool { return syscall.Kill(n.PID, 0) != nil })
}

// TestE2EOthers has labels steer a map, owners block and choose whose tasks they
// run while those run, and counts of guests outlast a kill -9.
func TestE2EOthers(t *testing.T) {
	nodes, said := startNet(t, 4)
	t.Log(said)
	requester, berlin, gpu, paris := nodes[0], nodes[1], nodes[2], nodes[3]
	berlin.labelled(t, `site = "berlin"`)
	gpu.labelled(t, `site = "berlin"`, `gpu = "yes"`)
	paris.labelled(t, `site = "paris"`)
	for _, n := range nodes {
		await(t, n.Name+" knows all labels", func() bool {
			known := make(map[string]string)
			for _, o := range ask[[]offer](t, n, "offers") {
				known[o.Provider] = fmt.Sprint(o.Labels)
			}
			return known[berlin.Peer] == "map[site:berlin]" && known[gpu.Peer] == "map[gpu:yes site:berlin]" && known[paris.Peer] == "map[site:paris]"
		})
	}
	t.Run("labels steer a map", func(t *testing.T) { steer(t, requester, berlin, gpu, paris) })
	t.Run("a block in the middle of a task", func(t *testing.T) { blockInTheMiddle(t, nodes) })
	t.Run("who is blocked gets no blobs", func(t *testing.T) { noBlobs(t, requester, paris) })
	t.Run("chosen ones", func(t *testing.T) { choose(t, requester, berlin, paris) })
	t.Run("counts outlast kill -9", func(t *testing.T) { countsOutlast(t, berlin, gpu, paris) })
}

func steer(t *testing.T, requester, berlin, gpu, paris *node) {
	const tasks = 60
	echo := cModule(t, "echo")
	before := paris.guests(t).of(requester).Tasks
	job := []string{"map", "--where", "site=berlin", "--where", "rack!=7", echo, ":::"}
	for i := range tasks {
		job = append(job, strconv.Itoa(i))
	}
	requester.must(t, job...)
	id := requester.jobs(t)[0].ID
	for _, one := range ask[[]task](t, requester, "show", fmt.Sprintf("%s/1-%d", id, tasks)) {
		for _, a := range one.Attempts {
			if a.Provider != berlin.Peer && a.Provider != gpu.Peer {
				t.Errorf("task %s was on %s: %s", one.ID, a.Provider, a.Reason)
			}
		}
	}
	ran := berlin.guests(t).of(requester).Tasks + gpu.guests(t).of(requester).Tasks
	if after := paris.guests(t).of(requester).Tasks; after != before || ran < tasks {
		t.Errorf("berlin has run %d of %d tasks, and paris %d", ran, tasks, after-before)
	}
	for range 3 {
		requester.must(t, "run", "--where", "gpu", echo)
		if a := requester.lastTask(t).Attempts; len(a) != 1 || a[0].Provider != gpu.Peer {
			t.Errorf("a task for a GPU went to %+v", a)
		}
	}
	end := requester.spare(t, nil, "run", "--where", "site=oslo", echo)
	if end.code != 125 || !strings.Contains(string(end.stderr), "E-NO-OFFERS: this node and 3 peers known, none has site=oslo: there are site=berlin (2), gpu=yes (1), site=paris (1)") {
		t.Errorf("a task for nobody exits %d: %s", end.code, end.stderr)
	}
	if end := requester.spare(t, nil, "run", "--local", "--where", "site=berlin", echo); end.code != 125 {
		t.Errorf("a task for berlin ran here: exit %d", end.code)
	}
}

// blockInTheMiddle has a provider's owner block the requester, and then the
// requester's owner a provider, each while a task runs there.
func blockInTheMiddle(t *testing.T, nodes []*node) {
	requester, program := nodes[0], cModule(t, "primes")
	// As many primes as take a few seconds, on this machine as it is now.
	requester.must(t, "run", "--remote", program, "--", "10000000")
	wall := requester.lastTask(t).WallMS
	if wall == nil || *wall <= 0 {
		t.Fatal("the sample took no time")
	}
	limit, want := "10000000", "664579\n"
	if *wall < 3000 {
		limit, want = "100000000", "5761455\n"
	}
	if *wall < 300 {
		limit, want = "1000000000", "50847534\n"
	}

	// moved has a task run at the site, does something once it runs, and returns the
	// task, which its user has seen nothing of.
	moved := func(then func(id string, at *node)) (task, *node) {
		t.Helper()
		cmd := requester.command("run", "--remote", "--where", "site=berlin", program, "--", limit)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		known := requester.lastTask(t).ID
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var id string
		var at *node
		await(t, "the task runs", func() bool {
			last := requester.lastTask(t)
			i := slices.IndexFunc(last.Attempts, func(a attempt) bool { return a.State == "running" })
			if last.ID == known || i < 0 {
				return false
			}
			id, at = last.ID, by(t, nodes, last.Attempts[i].Provider)
			return true
		})
		then(id, at)
		if err := cmd.Wait(); err != nil || stdout.String() != want {
			t.Errorf("its user sees %v: %q, want %q", err, stdout.String(), want)
		}
		if text := stderr.String(); strings.Contains(text, "BLOCKED") || strings.Contains(text, "fail") {
			t.Errorf("its user is told %s", text)
		}
		shown := requester.show(t, id)
		for _, a := range shown.Attempts {
			t.Logf("attempt %d on %.16s: %s, %s", a.Attempt, a.Provider, a.State, a.Reason)
		}
		if last := shown.Attempts[len(shown.Attempts)-1]; len(shown.Attempts) < 2 || last.Provider == at.Peer || last.State != "done" {
			t.Errorf("it has ended %+v", last)
		}
		return shown, at
	}
	none := func(what string, by *node) { // is asked for anything more
		t.Helper()
		before := by.guests(t).of(requester).Tasks
		asked := ask[struct {
			Asked struct {
				Refused uint64 `json:"refused"`
			} `json:"asked"`
		}](t, by, "donate", "show").Asked.Refused
		for range 5 {
			requester.must(t, "run", "--remote", "--where", "site=berlin", cModule(t, "echo"))
		}
		now := ask[struct {
			Asked struct {
				Refused uint64 `json:"refused"`
			} `json:"asked"`
		}](t, by, "donate", "show").Asked.Refused
		if after := by.guests(t).of(requester).Tasks; after != before || now != asked {
			t.Errorf("%s: it has run %d more, and refused %d more", what, after-before, now-asked)
		}
	}

	shown, owner := moved(func(id string, at *node) {
		await(t, "it is a guest there", func() bool {
			return slices.ContainsFunc(at.guests(t).Now, func(g guest) bool {
				return g.Requester == requester.Peer && g.Task == id && g.State == "running" && g.Gas > 0
			})
		})
		at.must(t, "block", requester.Peer[:20], "--why", "the night shift needs it")
	})
	if a := shown.Attempts[0]; a.State != "refused" || !strings.Contains(a.Reason, "E-BLOCKED: its owner has blocked the requester's node: the night shift needs it") {
		t.Errorf("the first attempt is %+v", a)
	}
	g := owner.guests(t)
	if i := slices.IndexFunc(g.Lately, func(one guest) bool { return one.Task == shown.ID }); i < 0 || g.Lately[i].Code != "E-BLOCKED" || g.Lately[i].State != "handed-over" {
		t.Errorf("its host has it as %+v", g.Lately)
	}
	if g.of(requester).Access != "blocked" || len(g.Now) > 0 {
		t.Errorf("the requester is %+v there, and runs %+v", g.of(requester), g.Now)
	}
	none("who has blocked this node", owner)
	if said := requester.must(t, "peers"); !strings.Contains(said, "runs nothing of this node: its owner has blocked the requester's node: the night shift needs it") {
		t.Errorf("peers says\n%s", said)
	}
	if said := requester.must(t, "offers"); !strings.Contains(said, "no: it runs nothing of this node: its owner has blocked") {
		t.Errorf("offers says\n%s", said)
	}
	// Its own tasks are not run by the requester either.
	if end := owner.spare(t, nil, "run", "--on", requester.Peer, cModule(t, "echo")); end.code != 125 || !strings.Contains(string(end.stderr), "E-BLOCKED") {
		t.Errorf("one that is blocked runs tasks of who has blocked it: exit %d, %s", end.code, end.stderr)
	}
	owner.must(t, "unblock", requester.Peer)
	// Asked by name it is found out at once that the block is over.
	requester.must(t, "run", "--on", owner.Peer, cModule(t, "echo"))

	_, blocked := moved(func(_ string, at *node) { requester.must(t, "block", at.Peer) })
	none("who is blocked here", blocked)
	await(t, "it is given up there", func() bool { return len(blocked.guests(t).Now) == 0 })
	requester.must(t, "unblock", "--all")
	requester.must(t, "run", "--on", blocked.Peer, cModule(t, "echo"))
}

func noBlobs(t *testing.T, keeper, reader *node) {
	file := filepath.Join(t.TempDir(), "kept")
	if err := os.WriteFile(file, bytes.Repeat([]byte("kept for members\n"), 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	keeper.must(t, "block", reader.Peer)
	cid := strings.TrimSpace(keeper.must(t, "add", file))
	await(t, "it is known who has it", func() bool {
		end := reader.spare(t, nil, "cat", cid)
		if end.code == 0 {
			t.Fatal("who is blocked was given the data")
		}
		return strings.Contains(string(end.stderr), "did not come from any of 1 members")
	})
	keeper.must(t, "unblock", reader.Peer)
	await(t, "it is given the data", func() bool { return reader.spare(t, nil, "cat", cid).code == 0 })
}

func choose(t *testing.T, requester, friend, host *node) {
	echo := cModule(t, "echo")
	host.must(t, "allow", friend.Peer)
	end := requester.spare(t, nil, "run", "--on", host.Peer, echo)
	if end.code != 125 || !strings.Contains(string(end.stderr), "its owner has it run tasks of chosen nodes only") {
		t.Errorf("one that is not chosen: exit %d, %s", end.code, end.stderr)
	}
	friend.must(t, "run", "--on", host.Peer, echo)
	host.must(t, "run", "--local", echo)                 // its own always run
	host.must(t, "run", "--on", requester.Peer, echo)    // wherever they may
	requester.must(t, "run", "--where", "site!=x", echo) // and others' elsewhere
	host.must(t, "disallow", friend.Peer)
	if end := friend.spare(t, nil, "run", "--on", host.Peer, echo); end.code != 125 {
		t.Errorf("with nobody chosen: exit %d, %s", end.code, end.stderr)
	}
	host.kill(t)
	host.restart(t)
	await(t, "it is known again", func() bool { return friend.knows(t, host) && host.knows(t, friend) })
	if end := friend.spare(t, nil, "run", "--on", host.Peer, echo); end.code != 125 {
		t.Errorf("with nobody chosen, after kill -9: exit %d, %s", end.code, end.stderr)
	}
	host.must(t, "allow", "--all")
	friend.must(t, "run", "--on", host.Peer, echo)
}

// countsOutlast kills providers some seconds after the last task, which is more
// than they need to store it.
func countsOutlast(t *testing.T, hosts ...*node) {
	time.Sleep(10 * time.Second)
	for _, host := range hosts {
		before := host.guests(t)
		if before.Donated.Tasks == 0 || before.Donated.Gas == 0 || len(before.Totals) == 0 || len(before.Lately) == 0 {
			t.Errorf("%s has run nothing: %+v", host.Name, before)
		}
		host.kill(t)
		host.restart(t)
		after := host.guests(t)
		if after.Donated != before.Donated || !slices.Equal(after.Totals, before.Totals) || len(after.Lately) != len(before.Lately) {
			t.Errorf("%s: before the kill\n%+v, after it\n%+v", host.Name, before, after)
		}
		if !strings.Contains(host.must(t, "status"), fmt.Sprintf(" to others, %d task", after.Donated.Tasks)) {
			t.Errorf("%s: the status does not tell what was donated", host.Name)
		}
	}
}
