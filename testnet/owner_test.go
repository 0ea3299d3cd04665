//go:build e2e && linux

package testnet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// processTimes is the CPU time of a process so far, in ticks of which there are a
// hundred a second, and its parent.
func processTimes(pid int) (ticks, parent int, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	_, tail, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(tail)
	if len(fields) < 13 {
		return 0, 0, errors.New("too few fields")
	}
	parent, err = strconv.Atoi(fields[1])
	for _, f := range fields[11:13] {
		n, bad := strconv.Atoi(f)
		ticks, err = ticks+n, errors.Join(err, bad)
	}
	return ticks, parent, err
}

// workersOf are the processes that a node has started.
func workersOf(t *testing.T, n *node) (list []int) {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(filepath.Base(e))
		if err != nil {
			continue
		}
		if _, parent, err := processTimes(pid); err == nil && parent == n.PID {
			list = append(list, pid)
		}
	}
	return list
}

// usedBy is the CPU time of those processes that live, in ticks.
func usedBy(pids []int) (sum int) {
	for _, pid := range pids {
		if ticks, _, err := processTimes(pid); err == nil {
			sum += ticks
		}
	}
	return sum
}

// machineUse is the share of all CPUs that is used for a while.
func machineUse(t *testing.T, d time.Duration) float64 {
	t.Helper()
	read := func() (used, passed float64) {
		b, err := os.ReadFile("/proc/stat")
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(string(b), "\n")
		for i, f := range strings.Fields(line)[1:9] {
			n, err := strconv.ParseFloat(f, 64)
			if err != nil {
				t.Fatal(err)
			}
			if passed += n; i != 3 && i != 4 && i != 7 {
				used += n
			}
		}
		return used, passed
	}
	used, passed := read()
	time.Sleep(d)
	laterUsed, laterPassed := read()
	return (laterUsed - used) / (laterPassed - passed)
}

// awaitQuiet waits until nobody uses the machine, whom a donor takes for its
// owner, and skips the test where that is in vain.
func awaitQuiet(t *testing.T) {
	t.Helper()
	var use float64
	for range 20 {
		if use = machineUse(t, 2*time.Second); use < 0.15 {
			return
		}
	}
	t.Skipf("others use %.0f %% of this machine, who look like an owner at work", 100*use)
}

// awaitSeldom is [await] that looks but now and then: the commands that look use
// the CPU, too, and are no part of the node.
func awaitSeldom(t *testing.T, what string, done func() bool) {
	t.Helper()
	await(t, what, func() bool {
		time.Sleep(300 * time.Millisecond)
		return done()
	})
}

// TestE2EOwnerAtWork has the owner of a provider that donates when idle want all
// of its CPUs, from another session, while tasks of somebody else run there.
func TestE2EOwnerAtWork(t *testing.T) {
	nodes, said := startNet(t, 2)
	t.Log(said)
	requester, provider, guest := nodes[0], nodes[1], module(t, "guest")
	must := func(n *node, args ...string) string {
		t.Helper()
		end := n.spare(t, nil, args...)
		if end.code != 0 {
			t.Fatalf("%v exits %d: %s", args, end.code, end.stderr)
		}
		return string(end.stdout)
	}
	state := func() (string, string) {
		t.Helper()
		d := ask[takes](t, provider, "status").Donate
		return d.State, d.Reason
	}
	awaitQuiet(t)

	// Its flags say that it donates always, which would win over what is set.
	command := filepath.Join(provider.Home, "command")
	b, err := os.ReadFile(command)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(command, []byte(strings.Replace(string(b), " --donate always", "", 1)), 0o700); err != nil {
		t.Fatal(err)
	}
	provider.signal(t, syscall.SIGINT)
	await(t, "the provider is gone", func() bool { return syscall.Kill(provider.PID, 0) != nil })
	provider.restart(t)
	const idle = 3 * time.Second
	must(provider, "donate", "set", "--only-idle="+idle.String())

	var ids []string
	for range 2 {
		ids = append(ids, strings.TrimSpace(must(requester, "run", "-d", "--remote", "--gas", "1P", guest, "--", "spin")))
	}
	running := func() bool {
		return !slices.ContainsFunc(ids, func(id string) bool {
			return !slices.ContainsFunc(requester.show(t, id).Attempts, func(a attempt) bool { return a.State == "running" })
		})
	}
	awaitSeldom(t, "both tasks run", running)
	if state, why := state(); state != "open" {
		t.Errorf("beside its own guests it is %s: %s", state, why)
	}
	workers := workersOf(t, provider)

	var owners []*exec.Cmd
	defer func() {
		for _, o := range owners {
			_ = o.Process.Kill() // it does not end by itself
			_ = o.Wait()
		}
	}()
	begun, before := time.Now(), usedBy(workers)
	for range runtime.NumCPU() {
		cmd := exec.Command(native(t, "guest"), "spin")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		owners = append(owners, cmd)
	}
	var why string
	awaitSeldom(t, "it pauses", func() bool {
		now, reason := state()
		why = reason
		return now == "owner-busy"
	})
	t.Logf("with all CPUs busy it pauses after %v (target: 2 s): %s", time.Since(begun).Round(10*time.Millisecond), why)
	if !strings.Contains(why, "other programs use ") {
		t.Errorf("it says %s", why)
	}
	share := func(since time.Time, from int) float64 {
		return float64(usedBy(workers)-from) / 100 / time.Since(since).Seconds() / float64(runtime.NumCPU())
	}
	paused, from := time.Now(), usedBy(workers)
	time.Sleep(3 * time.Second) // they are handed over after ten
	since, sofar := share(paused, from), share(begun, before)
	t.Logf("guests take %.2f %% of the CPUs since (target: under 3 %%), %.2f %% since the owner is back", 100*since, 100*sofar)
	if since > 0.03 {
		t.Errorf("guests of a paused node take %.1f %% of the CPUs", 100*since)
	}
	awaitSeldom(t, "they are handed over", func() bool {
		return !slices.ContainsFunc(ids, func(id string) bool {
			a := requester.show(t, id).Attempts[0]
			return a.State != "refused" || !strings.Contains(a.Reason, "E-HANDED-OVER: paused, other programs use ")
		})
	})

	for _, o := range owners {
		if err := o.Process.Kill(); err != nil {
			t.Error(err)
		}
	}
	gone := time.Now()
	awaitQuiet(t)
	awaitSeldom(t, "it donates again", func() bool { now, _ := state(); return now == "open" })
	t.Logf("it donates again %v after the owner has gone, idle time %v", time.Since(gone).Round(10*time.Millisecond), idle)
	if took := time.Since(gone); took < idle {
		t.Errorf("it donates again %v after the owner has gone, before %v", took, idle)
	}
	awaitSeldom(t, "both tasks run again", running)
	for _, id := range ids {
		must(requester, "cancel", id)
	}
}
