package jail

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// workerName is the first argument of this executable when it is a test's
// worker: its role, its Limits as JSON and an argument of the role's follow.
const workerName = "jail-worker"

// patient bounds what must happen, on however busy a machine.
const patient = 60 * time.Second

func TestMain(m *testing.M) {
	Main()
	if len(os.Args) == 4 && os.Args[0] == workerName {
		if err := workerMain(os.Args[1], os.Args[2], os.Args[3]); err != nil {
			fmt.Println(err)
			syscall.Exit(1)
		}
		syscall.Exit(0) // unlike os.Exit at once, with the race detector too
	}
	if dir := os.Getenv(doomedNode); dir != "" {
		runDoomedNode(dir)
	}
	if os.Getenv(refusing) != "" {
		if err := refuseUserNamespaces(); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// workerMain enters the jail, says "ready", and plays its role, which mostly
// says how that went in another line.
func workerMain(role, limits, argument string) error {
	var l Limits
	if err := json.Unmarshal([]byte(limits), &l); err != nil {
		return err
	}
	c, err := Enter(l)
	if err != nil {
		return err
	}
	if load := loads[role]; load != nil {
		if err := load(c, argument); err != nil {
			return err
		}
	}
	if err := c.Seal(); err != nil {
		return err
	}
	fmt.Println("ready")
	run := runs[role]
	if run == nil {
		run = wait
	}
	if err := run(c, argument); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}

func newBox(t testing.TB, without ...string) *Box {
	t.Helper()
	b, err := New(t.Context(), Config{Dir: t.TempDir(), Memory: 4 << 30, Without: without})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func limits(t testing.TB, b *Box) Limits {
	return Limits{Plan: b.Plan(), Dir: t.TempDir(), AddressSpace: probeRoom, FileSize: 1 << 20}
}

// worker is a test's worker as the node sees it.
type worker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// start starts a worker and waits until it is ready. It is killed at the end.
func start(t testing.TB, b *Box, role, argument string, l Limits) *worker {
	t.Helper()
	w, err := startWorker(b, role, argument, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.end)
	if line := w.line(); line != "ready" {
		t.Fatalf("the worker said %q", line)
	}
	return w
}

func startWorker(b *Box, role, argument string, l Limits) (*worker, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	w := &worker{cmd: b.Command(workerName, role, string(text), argument)}
	out, err1 := w.cmd.StdoutPipe()
	in, err2 := w.cmd.StdinPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	w.in, w.out = in, bufio.NewReader(out)
	if role != "allocate" { // of whose end Go tells at length
		w.cmd.Stderr = os.Stderr
	}
	return w, b.Start(w.cmd)
}

func (w *worker) line() string {
	s, err := w.out.ReadString('\n')
	if err != nil {
		s += " " + err.Error()
	}
	return strings.TrimSpace(s)
}

func (w *worker) end() {
	if w.cmd.ProcessState == nil {
		Kill(w.cmd.Process)
		_ = w.cmd.Wait() // it was killed
	}
}

// inForce are the names of the layers in force.
func inForce(b *Box) map[string]bool {
	set := make(map[string]bool)
	for _, l := range b.Layers() {
		if l.InForce {
			set[l.Name] = true
		}
	}
	return set
}

// eventually waits for something that must happen.
func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !happened(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// doomedNode is the environment variable that makes the test binary a node
// with a waiting and a spinning worker; its value is a directory.
const doomedNode = "SPARE_TEST_DOOMED_NODE"

func runDoomedNode(dir string) {
	b, err := New(context.Background(), Config{Dir: dir, Memory: 4 << 30})
	if err != nil {
		panic(err)
	}
	for _, role := range []string{"wait", "spin"} {
		w, err := startWorker(b, role, "", Limits{Plan: b.Plan(), Dir: dir, AddressSpace: probeRoom})
		if err != nil {
			panic(err)
		}
		if line := w.line(); line != "ready" {
			panic(line)
		}
		fmt.Println(w.cmd.Process.Pid)
	}
	fmt.Println("ready")
	for {
		time.Sleep(patient) // until it is killed
	}
}
