package jail

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

func TestOwnCgroup(t *testing.T) {
	const both = "9:memory:/old\n0::/user.slice/app.scope\n"
	const mount = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
	for _, c := range []struct {
		name, groups, mounts string
		want                 string // empty: an error
	}{
		{"version 2 alone", "0::/user.slice/app.scope\n", mount, "/sys/fs/cgroup/user.slice/app.scope"},
		{"both versions", both, "29 24 0:25 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" + mount, "/sys/fs/cgroup/user.slice/app.scope"},
		{"a part of it is mounted", both, "30 24 0:26 /user.slice /groups rw - cgroup2 none rw\n", "/groups/app.scope"},
		{"another part is mounted", both, "30 24 0:26 /system.slice /groups rw - cgroup2 none rw\n", ""},
		{"the root of a container", "0::/\n", mount, "/sys/fs/cgroup"},
		{"it is not mounted", both, "29 24 0:25 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", ""},
		{"version 1 alone", "9:memory:/old\n", mount, ""},
		{"nothing", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			groups, mounts := filepath.Join(dir, "groups"), filepath.Join(dir, "mounts")
			put(t, groups, c.groups)
			put(t, mounts, c.mounts)
			got, err := ownCgroup(groups, mounts)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestCPUIsBound(t *testing.T) {
	if new(ground).boundCPU(1) {
		t.Error("it is bound without a control group")
	}
	dir := t.TempDir()
	g := &ground{cgroup: &cgroup{workers: dir}}
	if g.boundCPU(1) {
		t.Error("it is bound without the controller")
	}
	for _, c := range []struct {
		processors float64
		want       string
	}{{1, "100000 100000"}, {0.5, "50000 100000"}, {2.5, "250000 100000"}, {0.001, "1000 100000"}, {0, "max 100000"}} {
		put(t, filepath.Join(dir, "cpu.max"), "")
		if ok := g.boundCPU(c.processors); !ok {
			t.Errorf("%v processors: it is not bound", c.processors)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "cpu.max")); string(got) != c.want {
			t.Errorf("%v processors: %q, want %q, %v", c.processors, got, c.want, err)
		}
	}
}

func TestCgroupIsExplained(t *testing.T) {
	self := strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		name, there, passed, members string
		want                         string
	}{
		{"no memory controller", "cpu pids", "", self, "memory controller is not there"},
		{"strangers in it", "cpu memory pids", "cpu", "1\n" + self, "other processes too"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, filepath.Join(dir, "cgroup.controllers"), c.there)
			put(t, filepath.Join(dir, "cgroup.subtree_control"), c.passed)
			put(t, filepath.Join(dir, "cgroup.procs"), c.members)
			_, err := newCgroupBelow(dir, controllers, 1<<30)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			if list, err := os.ReadDir(dir); err != nil || len(list) != 3 {
				t.Errorf("left: %v, %v", list, err)
			}
		})
	}
}

// A layer that bounds nothing is not in force.
func TestCgroupWithoutBoundsIsNone(t *testing.T) {
	if c, err := newCgroup(0); err == nil {
		t.Errorf("without a number: %+v", c)
	}
	t.Run("a kernel without the file", func(t *testing.T) {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "cgroup.controllers"), "memory pids")
		put(t, filepath.Join(dir, "cgroup.subtree_control"), "memory pids")
		_, err := newCgroupBelow(dir, controllers, 1<<30) // whose new directory stays empty
		if err == nil || !strings.Contains(err.Error(), "pids.max") {
			t.Errorf("%v", err)
		}
		if list, err := os.ReadDir(dir); err != nil || len(list) != 2 {
			t.Errorf("left: %v, %v", list, err)
		}
	})
	all := []string{"memory.max", "memory.swap.max", "pids.max", "cpu.idle"}
	for _, c := range []struct {
		name, lacks string // a file
		need        []string
		in          bool
	}{
		{"all there", "", controllers, true},
		{"no bound of memory", "memory.max", controllers, false},
		{"no bound of processes", "pids.max", controllers, false},
		{"no bound of memory, which nobody needs", "memory.max", []string{"pids"}, true},
		{"a kernel that does not account for swap", "memory.swap.max", controllers, true},
		{"a kernel without idle groups", "cpu.idle", controllers, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range all {
				if name != c.lacks {
					put(t, filepath.Join(dir, name), "")
				}
			}
			err := setBounds(dir, c.need, 1<<30)
			if (err == nil) != c.in || err != nil && !strings.Contains(err.Error(), c.lacks) {
				t.Errorf("%v", err)
			}
			if got, err := os.ReadFile(filepath.Join(dir, "memory.max")); c.in && c.lacks != "memory.max" && (err != nil || string(got) != "1073741824") {
				t.Errorf("memory.max is %q, %v", got, err)
			}
		})
	}
}

// TestCgroup runs itself in a control group of its own, since it moves.
func TestCgroup(t *testing.T) {
	const inside = "SPARE_TEST_CGROUP"
	if parent := os.Getenv(inside); parent != "" {
		useCgroup(t, parent)
		return
	}
	root, err := ownCgroup("/proc/self/cgroup", "/proc/self/mountinfo")
	if err != nil {
		t.Skip(err)
	}
	there, err := words(filepath.Join(root, "cgroup.controllers"))
	if err != nil || len(there) == 0 {
		t.Skipf("controllers %v, %v", there, err)
	}
	parent, err := os.MkdirTemp(root, "spare-test-")
	if err != nil {
		t.Skip(err)
	}
	defer func() {
		if err := os.Remove(parent); err != nil {
			t.Error(err)
		}
	}()
	f, err := os.Open(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // it has no data
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestCgroup$")
	cmd.Env = append(os.Environ(), inside+"="+parent)
	(&ground{cgroup: &cgroup{file: f}}).prepare(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// useCgroup makes the workers' group with whatever controllers there are.
func useCgroup(t *testing.T, parent string) {
	there, err := words(filepath.Join(parent, "cgroup.controllers"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := newCgroupBelow(parent, there, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{workerName, "wait", fmt.Sprintf(`{"Plan":%q}`, Process), ""} // until its stdin is closed
	(&ground{cgroup: c}).prepare(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/cgroup"); err != nil || !strings.Contains(string(b), filepath.Base(c.workers)) {
		t.Errorf("the worker is in\n%s%v", b, err)
	}
	if err := errors.Join(in.Close(), cmd.Wait(), c.close()); err != nil {
		t.Error(err)
	}
	if members, err := words(filepath.Join(parent, "cgroup.procs")); err != nil || len(members) != 1 {
		t.Errorf("back are %v, %v", members, err)
	}
	groups, err := filepath.Glob(filepath.Join(parent, "spare-*"))
	if err != nil || len(groups) > 0 {
		t.Errorf("left: %v, %v", groups, err)
	}
}

// TestCgroupThatTakesNobody runs itself where clone3(2) is denied, as by the
// filters of many containers: nothing can be started in a control group there.
func TestCgroupThatTakesNobody(t *testing.T) {
	const inside = "SPARE_TEST_DENY_CLONE3"
	if os.Getenv(inside) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestCgroupThatTakesNobody$")
		cmd.Env = append(os.Environ(), inside+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true, Flag: seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{DefaultAction: seccomp.ActionAllow, Syscalls: []seccomp.SyscallGroup{{
			Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"},
		}}},
	}); err != nil {
		t.Fatal(err)
	}
	without := newBox(t, Cgroup)
	b := newBox(t, Cgroup) // whose ground is surveyed once more
	dir := t.TempDir()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	b.ground = ground{cgroup: &cgroup{workers: dir, file: f}}
	var plan []string
	for _, name := range Names() {
		if inForce(without)[name] {
			plan = append(plan, name)
		}
	}
	found := make(map[string]Layer)
	if _, err := b.survey(t.Context(), Config{}, plan, found); err != nil {
		t.Fatal(err)
	}
	if l := found[Cgroup]; l.InForce || !strings.Contains(l.Why, "starts no process in it") || b.ground.cgroup != nil {
		t.Errorf("%+v, %+v", l, b.ground)
	}
	if b.ground.flags != without.ground.flags {
		t.Errorf("namespaces %x, without a control group %x: %+v", b.ground.flags, without.ground.flags, found)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the control group is left: %v", err)
	}
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
