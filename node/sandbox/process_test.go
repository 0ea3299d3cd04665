//go:build unix

package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/spare-network/spare/protocol"
)

// alive reports whether a process is there and no zombie.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return runtime.GOOS != "linux"
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestCloseLeavesNothing(t *testing.T) {
	before := openFiles(t)
	leak := goleak.IgnoreCurrent()
	p, err := New(Config{Dir: t.TempDir(), Slots: 3, Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	run(t, p, execution(t, "idle", copier(), nil))
	var all sync.WaitGroup
	for i := range 4 { // one of them waits
		x := execution(t, string(rune('a'+i)), hello(1, "", spin()), nil)
		all.Go(func() {
			if _, err := p.Run(t.Context(), x); protocol.CodeOf(err) != protocol.CodeShutdown {
				t.Errorf("%v", err)
			}
		})
	}
	eventually(t, "all run or wait", func() bool { running, queued, _ := p.Load(); return running == 3 && queued == 1 })
	list := pids(p)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	all.Wait()
	if err := p.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if _, err := p.Run(t.Context(), execution(t, "a", copier(), nil)); protocol.CodeOf(err) != protocol.CodeShutdown {
		t.Errorf("after close: %v", err)
	}
	for _, pid := range list {
		if alive(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d open files became %d", before, after)
	}
	goleak.VerifyNone(t, leak)
}

func TestFilesAreNotLeaked(t *testing.T) {
	p := newPool(t, 1)
	round := func() {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		x := execution(t, "a", spinIfAsked(), stdin([]byte{1}))
		x.State = func(s protocol.State) {
			if s == protocol.StateRunning {
				cancel()
			}
		}
		if _, err := p.Run(ctx, x); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		run(t, p, execution(t, "b", []byte("no module"), nil))
		eventually(t, "the workers are gone", func() bool { return len(pids(p)) == 0 })
	}
	round()
	before := openFiles(t)
	for range 5 {
		round()
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d open files became %d", before, after)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(list)
}

func TestWorkerSeesNothingOfItsNode(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	t.Setenv("SECRET_OF_THE_NODE", "1")
	p := newPool(t, 1)
	run(t, p, execution(t, "a", copier(), nil))
	proc := fmt.Sprintf("/proc/%d/", pids(p)[0])
	environ, err := os.ReadFile(proc + "environ")
	if err != nil || len(environ) > 0 {
		t.Errorf("environment %q, %v", environ, err)
	}
	files, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		to, err := os.Readlink(proc + "fd/" + f.Name())
		if err == nil && !strings.HasPrefix(to, "pipe:") && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/sys/") {
			t.Errorf("file %s is %s", f.Name(), to)
		}
	}
}

func TestWorkersDieWithTheirNode(t *testing.T) {
	node := exec.Command(os.Args[0])
	node.Env = append(os.Environ(), doomedNode+"="+t.TempDir())
	node.Stderr = os.Stderr
	out, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	var list []int
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, pid)
	}
	if err := node.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = node.Wait() // killed
	if len(list) != 2 {
		t.Fatalf("workers %v", list)
	}
	for _, pid := range list {
		eventually(t, "the worker is gone", func() bool { return !alive(pid) })
	}
}
