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
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

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
	p, err := New(t.Context(), Config{Dir: t.TempDir(), Slots: 3, Key: testKey})
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
	eventually(t, "all run or wait", func() bool { running, queued := inUse(p); return running == 3 && queued == 1 })
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

// A worker that does not read must hold up nobody but those who feed it.
func TestWorkerThatDoesNotRead(t *testing.T) {
	p := newPool(t, 2)
	run(t, p, execution(t, "evil", copier(), nil))
	if err := syscall.Kill(pids(p)[0], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	large := execution(t, "evil", copier(), func(s *protocol.Spec) {
		for range 3 {
			s.Args = append(s.Args, strings.Repeat("a", 30<<10))
		}
		s.Stdin = protocol.NewBlob(make([]byte, 60<<10))
		s.Limits.WallMs = uint64(protocol.MaxWall.Milliseconds())
	})
	other, release := context.WithCancel(t.Context())
	defer release()
	var evil sync.WaitGroup
	defer evil.Wait()
	defer cancel()
	evil.Go(func() {
		if _, err := p.Run(other, execution(t, "other", hello(1, "", spin()), nil)); !errors.Is(err, context.Canceled) {
			t.Errorf("other: %v", err)
		}
	})
	eventually(t, "one slot is taken", func() bool { running, _ := inUse(p); return running == 1 })
	good := execution(t, "good", flood(), func(s *protocol.Spec) { s.Limits.OutputBytes = 200 << 10 })
	queued := sync.OnceFunc(func() {
		evil.Go(func() {
			if _, err := p.Run(ctx, large); !errors.Is(err, context.Canceled) {
				t.Errorf("evil: %v", err)
			}
		})
		eventually(t, "the large one waits for the slot", func() bool { _, queued := inUse(p); return queued == 1 })
	})
	good.Output = func(uint32, []byte) { queued() }
	run(t, p, good) // whose end hands its slot on
	eventually(t, "the large one has it", func() bool { running, queued := inUse(p); return running == 2 && queued == 0 })
	release()
	run(t, p, good) // by the worker that handed it on
}

// What a worker starts, once it is broken out of, must not keep the node
// waiting for the pipes that it has inherited.
func TestKillIsNotHeldUpByChildren(t *testing.T) {
	setsid, err := exec.LookPath("setsid")
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("/bin/sh", "-c", "exec 3<&0; "+setsid+" sleep 600 <&3 & echo $!; sleep 600 & echo $!; exec sleep 600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p, err := newProcess(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var fled, child int
	if _, err := fmt.Fscan(p.out, &fled, &child); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one child has its own session", func() bool { sid, err := unix.Getsid(fled); return err == nil && sid == fled })
	ended := make(chan error, 2)
	go func() { ended <- p.frames.next(new(protocol.WorkerReply)) }()
	go func() {
		_, err := p.in.Write(make([]byte, 1<<20)) // which nobody reads
		ended <- err
	}()
	p.kill()
	deadline := time.After(patient)
	for range 2 {
		select {
		case err := <-ended:
			if err == nil {
				t.Error("a dead worker answered or read")
			}
		case <-deadline:
			t.Fatal("the node still waits for the pipes")
		}
	}
	p.reap()
	eventually(t, "its session is gone", func() bool { return !alive(child) })
	if !alive(fled) {
		t.Error("nobody held the pipes, so nothing was tested")
	}
	kill(t, fled)
}

// What a guest made its worker's heap grow to must not stay.
func TestIdleWorkersAreSmall(t *testing.T) {
	if runtime.GOOS != "linux" || underRace {
		t.Skip("needs /proc, and a heap without the race detector's shadow")
	}
	p := newPool(t, 1)
	if o := run(t, p, execution(t, "a", recursion(), nil)); o.Code != protocol.CodeDepthLimit {
		t.Fatalf("%+v", o)
	}
	eventually(t, "the worker has given back its guest's stack", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pids(p)[0]))
		if err != nil {
			t.Fatal(err)
		}
		var all, resident int
		if _, err := fmt.Sscan(string(b), &all, &resident); err != nil {
			t.Fatal(err)
		}
		return resident*os.Getpagesize() < 64<<20
	})
}
