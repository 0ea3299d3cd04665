package jail

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// cgo reports whether this test binary was built with cgo, as for the race
// detector. Such a program cannot change all its threads.
func cgo() bool {
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0)
	return errno == unix.ENOTSUP
}

// capable are the layers that this machine has, as far as it can be known
// without what is to be tested.
var capable = sync.OnceValue(func() map[string]bool {
	set := map[string]bool{Process: true, RLimits: true, Seccomp: true}
	if !cgo() {
		set[NoNewPrivs], set[IdlePriority], set[IdleIO] = true, true, true
		_, err := landlockInfo(unix.LANDLOCK_CREATE_RULESET_VERSION)
		set[Landlock] = err == nil
	}
	everything := exec.Command("/proc/self/exe", "-test.run=^$")
	everything.Env = []string{"GORACE=atexit_sleep_ms=0"}
	everything.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWNS | unix.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if err := everything.Run(); err == nil {
		for _, n := range namespaces {
			set[n.name] = true
		}
	}
	return set
})

func TestLayersAreSeenFromOutside(t *testing.T) {
	b := newBox(t)
	in := inForce(b)
	for name, possible := range capable() {
		if possible && !in[name] {
			t.Errorf("%s is possible here and not in force: %+v", name, b.Layers())
		}
	}
	l := limits(t, b)
	l.CPUSeconds = 77
	w := start(t, b, "wait", "", l)
	pid := w.cmd.Process.Pid
	proc := fmt.Sprintf("/proc/%d/", pid)

	status := fields(t, proc+"status")
	filters, _ := strconv.Atoi(fields(t, "/proc/self/status")["Seccomp_filters"]) // old kernels do not tell
	want := map[string]string{}
	if in[NoNewPrivs] {
		maps.Copy(want, map[string]string{
			"NoNewPrivs": "1", "CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapInh": "0000000000000000", "CapAmb": "0000000000000000",
		})
	}
	if in[Seccomp] {
		want["Seccomp"], want["NoNewPrivs"], want["Seccomp_filters"] = "2", "1", strconv.Itoa(filters+2)
	}
	threads, err := filepath.Glob(proc + "task/*")
	if err != nil || len(threads) < 2 {
		t.Fatalf("threads %v, %v", threads, err)
	}
	for _, thread := range threads {
		status := fields(t, thread+"/status")
		for name, value := range want {
			if got, known := status[name]; known && got != value {
				t.Errorf("%s: %s is %s", thread, name, got)
			}
		}
		tid, err := strconv.Atoi(filepath.Base(thread))
		if err != nil {
			t.Fatal(err)
		}
		if in[IdlePriority] {
			a, err := unix.SchedGetAttr(tid, 0)
			if err != nil || a.Policy != unix.SCHED_IDLE {
				t.Errorf("thread %d: policy %+v, %v", tid, a, err)
			}
		}
		if in[IdleIO] {
			class, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, 1, uintptr(tid), 0)
			if errno != 0 || class>>13 != 3 {
				t.Errorf("thread %d: I/O class %d, %v", tid, class>>13, errno)
			}
		}
	}
	if in[PIDNamespace] && !strings.HasSuffix(status["NSpid"], "\t1") {
		t.Errorf("in its namespace it is %q", status["NSpid"])
	}
	for _, n := range namespaces {
		kind := map[string]string{
			UserNamespace: "user", PIDNamespace: "pid", NetNamespace: "net", IPCNamespace: "ipc", MountNamespace: "mnt", UTSNamespace: "uts",
		}[n.name]
		ours, err1 := os.Readlink("/proc/self/ns/" + kind)
		theirs, err2 := os.Readlink(proc + "ns/" + kind)
		if err1 != nil || err2 != nil || in[n.name] == (ours == theirs) {
			t.Errorf("%s: ours %s, theirs %s, %v, %v", n.name, ours, theirs, err1, err2)
		}
	}
	if in[MountNamespace] {
		checkMounts(t, proc, l.Dir)
	}
	if in[RLimits] {
		checkLimits(t, pid, map[int]uint64{
			unix.RLIMIT_FSIZE: l.FileSize, unix.RLIMIT_NOFILE: maxFiles, unix.RLIMIT_CORE: 0, unix.RLIMIT_CPU: 77,
		})
		if in[UserNamespace] && countsByNamespace() {
			checkLimits(t, pid, map[int]uint64{unix.RLIMIT_NPROC: maxTasks})
		}
	}
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("its session is %d, %v", sid, err)
	}
	if environ, err := os.ReadFile(proc + "environ"); err != nil || len(environ) > 0 {
		t.Errorf("environment %q, %v", environ, err)
	}
}

// checkMounts looks at the one mount of a process that may only read dir.
func checkMounts(t *testing.T, proc, dir string) {
	t.Helper()
	b, err := os.ReadFile(proc + "mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) != 1 {
		t.Fatalf("mounts:\n%s", b)
	}
	f := strings.Fields(lines[0])
	options := strings.Split(f[5], ",")
	for _, o := range []string{"ro", "nosuid", "nodev", "noexec"} {
		if !slices.Contains(options, o) {
			t.Errorf("its directory is not %s: %v", o, options)
		}
	}
	if f[4] != "/" || !strings.HasSuffix(dir, f[3]) {
		t.Errorf("mount %v of %s", f, dir)
	}
}

func checkLimits(t *testing.T, pid int, want map[int]uint64) {
	t.Helper()
	for which, most := range want {
		var got unix.Rlimit
		if err := unix.Prlimit(pid, which, nil, &got); err != nil || got.Cur != most || got.Max != most {
			t.Errorf("limit %d: %+v, %v", which, got, err)
		}
	}
}

// fields reads a file of "Name:\tvalue" lines.
func fields(t *testing.T, file string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		m[name] = strings.Trim(value, "\t\n ")
	}
	return m
}
