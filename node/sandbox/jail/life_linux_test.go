package jail

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestLoadsAndRuns(t *testing.T) {
	b := newBox(t, IdlePriority)
	for _, c := range []struct {
		name, role, argument string
		writable             bool
		want                 string
	}{
		{"an executor reads its code", "read", "code", false, "ready"},
		{"a compile worker reads too", "read", "code", true, "ready"},
		{"no more files than it may", "many", "", false, "ready"},
		{"the runtime needs nothing more", "runtime", "", false, "ready done"},
		{"nor when it may write", "runtime", "", true, "ready done"},
		{"a compile worker writes", "write", "new", true, "ready done"},
		{"an executor does not", "write", "new", false, "ready mkdir"},
		{"nor does it leave its directory", "read", "../secret", true, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := limits(t, b)
			l.Writable = c.writable
			for name, text := range map[string]string{"code": "code", "../secret": "code"} {
				if err := os.WriteFile(filepath.Join(l.Dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := play(t, b, c.role, c.argument, l); !strings.Contains(got, c.want) {
				if strings.Contains(got, "permission denied") && c.want == "no such file" {
					return // without a file system of its own, Landlock denies it
				}
				t.Errorf("the worker said %q", got)
			}
			if _, err := os.Stat(filepath.Join(l.Dir, "below", "new")); (err == nil) != strings.Contains(c.name, "compile worker writes") {
				t.Errorf("a file was written: %v", err == nil)
			}
		})
	}
}

func TestLimitsHold(t *testing.T) {
	b := newBox(t, IdlePriority)
	for _, c := range []struct {
		name, role string
		want       string
	}{
		{"memory", "allocate", "ready"}, // Go's words about it go to stderr
		{"a file", "large", "ready open"},
		{"processor time", "spin", "ready"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := limits(t, b)
			l.Writable = true
			l.CPUSeconds = 1
			got := play(t, b, c.role, "large", l)
			info, err := os.Stat(filepath.Join(l.Dir, "large"))
			if err == nil && uint64(info.Size()) > l.FileSize {
				t.Errorf("the file has %d bytes", info.Size())
			}
			if strings.Contains(got, "done") || strings.Contains(got, "allocated") || !strings.HasPrefix(got, "ready") {
				t.Errorf("the worker said %q", got)
			}
		})
	}
}

// play returns all that a worker says.
func play(t *testing.T, b *Box, role, argument string, l Limits) string {
	t.Helper()
	w, err := startWorker(b, role, argument, l)
	if err != nil {
		t.Fatal(err)
	}
	defer w.end()
	if err := w.in.Close(); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(w.out)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(said)), " ")
}

// A user with more tasks than a worker may have gets workers all the same.
func TestABusyUserHasWorkers(t *testing.T) {
	var ready, ended sync.WaitGroup
	end := make(chan struct{})
	for range 2 * maxTasks {
		ready.Add(1)
		ended.Go(func() {
			runtime.LockOSThread() // and never unlocked, so the thread ends
			ready.Done()
			<-end
		})
	}
	ready.Wait()
	defer ended.Wait()
	defer close(end)
	b := newBox(t, IdlePriority)
	if got := play(t, b, "runtime", "", limits(t, b)); got != "ready done" {
		t.Errorf("the worker said %q", got)
	}
}

func TestKernelVersions(t *testing.T) {
	for release, want := range map[string]bool{
		"5.14.0": true, "5.14.0-70.el9.x86_64": true, "5.15": true, "6.18.44-fc-v445": true, "10.0.0": true,
		"5.13.19": false, "5.4.0-150-generic": false, "4.19.0": false, "3.10.0-1160.el7": false, "": false, "linux": false, "6": false,
	} {
		if got := isSince(release, 5, 14); got != want {
			t.Errorf("%q is 5.14 or later: %t", release, got)
		}
	}
}

// A node that is stopped while it starts leaves no probe.
func TestStoppedWhileItLooks(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	cancel(stopped)
	dir := t.TempDir()
	if b, err := New(ctx, Config{Dir: dir}); !errors.Is(err, stopped) {
		t.Errorf("%+v, %v", b, err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		t.Errorf("left: %v, %v", list, err)
	}
}

func TestWithoutItsLayersAWorkerDoesNotRun(t *testing.T) {
	before := mounts(t)
	plan := strings.Join([]string{Process, UserNamespace, MountNamespace}, ",")
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{workerName, "wait", fmt.Sprintf(`{"Plan":%q,"Dir":%q}`, plan, t.TempDir()), ""}
	out, err := cmd.Output() // started in no namespace of its own
	if err == nil || !strings.Contains(string(out), "needs the user namespace") {
		t.Errorf("it said %q, %v", out, err)
	}
	if after := mounts(t); after != before {
		t.Errorf("mounts became\n%s", after)
	}
}

func TestWorkersDieWithTheirNode(t *testing.T) {
	node := exec.Command("/proc/self/exe")
	node.Env = append(os.Environ(), doomedNode+"="+t.TempDir())
	node.Stderr = os.Stderr
	out, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = node.Wait() }() // it was killed
	var pids []int
	for s := bufio.NewScanner(out); s.Scan() && s.Text() != "ready"; {
		pid, err := strconv.Atoi(s.Text())
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if len(pids) != 2 {
		t.Errorf("workers %v", pids)
	}
	if err := node.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		eventually(t, fmt.Sprintf("worker %d ends", pid), func() bool { return !alive(pid) })
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	leak := goleak.IgnoreCurrent()
	before, files := mounts(t), openFiles(t)
	dir := t.TempDir()
	b, err := New(t.Context(), Config{Dir: dir, Memory: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	w, err := startWorker(b, "spin", "", limits(t, b))
	if err != nil {
		t.Fatal(err)
	}
	if line := w.line(); line != "ready" {
		t.Fatal(line)
	}
	if inForce(b)[Cgroup] { // its group is removed once it is gone
		Kill(w.cmd.Process)
		_ = w.cmd.Wait() // it was killed
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	_ = w.cmd.Wait() // the kernel killed it with the thread of the Box
	if w.cmd.ProcessState.Success() {
		t.Error("the worker ended by itself")
	}
	if after := mounts(t); after != before {
		t.Errorf("mounts became\n%s", after)
	}
	// Of a refused start with a user namespace, of which New makes two, Go leaves
	// a pipe open (go.dev/src/syscall/exec_linux.go, forkAndExecInChild).
	if !inForce(b)[UserNamespace] {
		files += 4
	}
	if after := openFiles(t); after > files {
		t.Errorf("%d open files became %d", files, after)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		t.Errorf("left: %v, %v", list, err)
	}
	goleak.VerifyNone(t, leak)
}

// alive reports whether a process is there and no zombie.
func alive(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(b, []byte(") Z"))
}

func mounts(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
