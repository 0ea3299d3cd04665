package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/spare-network/spare/node/sandbox/wasi"
	"github.com/spare-network/spare/protocol"
)

// entered makes calls that wait, and have the pool start nothing for them.
func entered(t *testing.T, p *Pool, owner string, n int) (list []*call) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for range n {
		x := execution(t, owner, copier(), nil)
		c, err := newCall(&x)
		if err == nil {
			err = p.enter(c)
		}
		if err != nil {
			t.Fatal(err)
		}
		p.waiting = p.waiting[:len(p.waiting)-1]
		list = append(list, c)
	}
	return list
}

// puppet makes a worker of a shell script that has been given a call.
func puppet(t *testing.T, p *Pool, c *call, script string) *worker {
	t.Helper()
	proc, err := newProcess(exec.Command("/bin/sh", "-c", script))
	if err == nil {
		err = proc.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{group: c.group, ready: true, proc: proc, calls: []*call{c}, bytes: len(c.frame)}
	p.mu.Lock()
	defer p.mu.Unlock()
	c.group.workers = append(c.group.workers, w)
	c.worker, c.sent = w, time.Now()
	p.busy++
	p.live[proc] = struct{}{}
	w.begin(p, c.sent)
	return w
}

// octal writes b as printf(1) wants it.
func octal(b []byte) string {
	var s strings.Builder
	for _, x := range b {
		fmt.Fprintf(&s, "\\%03o", x)
	}
	return s.String()
}

// What has been decided by a reply must be done also when the next one is cut
// off by the worker's end.
func TestWorkerThatDiesWithinAReply(t *testing.T) {
	p := newPool(t, 1)
	c := entered(t, p, "a", 1)[0]
	reply, err := appendFrame(nil, &protocol.WorkerReply{Id: c.id, End: true})
	if err != nil {
		t.Fatal(err)
	}
	w := puppet(t, p, c, "printf '"+octal(append(reply, 5))+"'")
	p.read(w)
	select {
	case <-c.wake:
	default:
		t.Error("nobody has been told of the first reply")
	}
}

// Of several guests in a worker that has crashed just now nobody knows whose
// fault it was. One that was alone is to blame.
func TestCrashBlamesNobodyWhoMayBeInnocent(t *testing.T) {
	p := newPool(t, 1)
	calls := entered(t, p, "a", 3)
	w := puppet(t, p, calls[0], "exit 1")
	p.mu.Lock()
	w.calls = calls
	p.busy = 2 // so that nobody is started
	p.mu.Unlock()
	w.proc.reap()
	p.bury(w, "it crashed")
	for i, c := range calls {
		if c.done || !c.lone || p.waiting[i] != c {
			t.Errorf("call %d: done %v (%v), lone %v", i, c.done, c.err, c.lone)
		}
	}
	p.mu.Lock()
	p.waiting = nil
	p.busy = 1
	p.mu.Unlock()
	w = puppet(t, p, calls[0], "exit 1")
	w.proc.reap()
	p.bury(w, "it crashed")
	if c := calls[0]; !c.done || protocol.CodeOf(c.err) != protocol.CodeWorker {
		t.Errorf("alone: done %v, %v", c.done, c.err)
	}
	p.mu.Lock()
	p.busy = 0
	p.mu.Unlock()
}

// The first one's reply may be held while the second, which is run for nobody
// by now, crashes the worker. That is so however long the first one took.
func TestCrashBehindALongGuest(t *testing.T) {
	for _, c := range []struct {
		name    string
		written uint64 // bytes of the first one's output that were handed on
		again   bool   // it is tried again
	}{
		{"nothing of it was handed on", 0, true},
		{"output of it was handed on", 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPool(t, 1)
			calls := entered(t, p, "a", 2)
			first, second := calls[0], calls[1]
			w := puppet(t, p, first, "exit 1")
			p.mu.Lock()
			w.calls = append(w.calls, second)
			second.worker = w
			first.started, first.written = time.Now().Add(-time.Hour), c.written
			p.busy = 2 // so that nobody is started
			p.evacuate(w, time.Now(), new(actions))
			p.mu.Unlock()
			w.proc.reap()
			p.bury(w, "it crashed")
			p.mu.Lock()
			defer p.mu.Unlock()
			if first.done == c.again || c.again && !slices.Contains(p.waiting, first) {
				t.Errorf("the first: done %v, %v", first.done, first.err)
			}
			if !first.lone || !second.lone || second.done || !slices.Contains(p.waiting, second) {
				t.Errorf("alone: %v, %v; the second: done %v, %v", first.lone, second.lone, second.done, second.err)
			}
			p.waiting, p.busy = nil, 0
		})
	}
}

// A worker that reads nothing must not hold up the reader of another one, who
// may be the one to write to it.
func TestWorkerThatTakesNothingIsKilled(t *testing.T) {
	p := newPool(t, 1)
	c := entered(t, p, "a", 1)[0]
	w := puppet(t, p, c, "sleep 600")
	p.mu.Lock()
	w.pending, w.writing = make([]byte, 1<<20), true
	p.mu.Unlock()
	p.write(w)
	p.readers.Go(func() { p.read(w) })
	eventually(t, "it is dead", func() bool { return len(pids(p)) == 0 })
}

// A worker that has ended its guest must take what is still on its way to it.
func TestWorkerThatEndsAndTakesNothingIsKilled(t *testing.T) {
	p := newPool(t, 1)
	c := entered(t, p, "a", 1)[0]
	reply, err := appendFrame(nil, &protocol.WorkerReply{Id: c.id, End: true})
	if err != nil {
		t.Fatal(err)
	}
	c.alone, c.frame = true, make([]byte, 1<<20)
	w := puppet(t, p, c, "printf '"+octal(reply)+"'; exec sleep 600")
	c.fed = make(chan error, 1)
	go p.feed(c, w)
	p.readers.Go(func() { p.read(w) })
	eventually(t, "its guest has ended", c.ended.Load)
	p.leave(c)
	eventually(t, "it is dead, and its slot is free", func() bool { running, _ := inUse(p); return running == 0 && len(pids(p)) == 0 })
	if !c.done || c.err != nil || p.Figures().Crashed > 0 {
		t.Errorf("done %v, %v, %+v", c.done, c.err, p.Figures())
	}
}

// A worker that was taken and has died since an eviction looked at it.
func TestBuriedWorkersAreNotDiscarded(t *testing.T) {
	p := newPool(t, 1)
	c := entered(t, p, "a", 1)[0]
	w := puppet(t, p, c, "exit 0")
	w.proc.reap()
	p.bury(w, "it ended")
	if !w.discarded || len(w.calls) > 0 {
		t.Error("it looks like an idle one")
	}
}

func TestDataThatCannotBeReadIsNoEnd(t *testing.T) {
	p := newPool(t, 1)
	text := bytes.Repeat([]byte("0123456789"), 20_000)
	x := execution(t, "a", copier(), func(s *protocol.Spec) {
		s.Stdin = protocol.NewBlob(text)
		s.Stdin.Inline = nil
	})
	x.Data = io.MultiReader(bytes.NewReader(text[:1000]), iotest.ErrReader(errors.New("the disk is broken")))
	if _, err := p.Run(t.Context(), x); protocol.CodeOf(err) != protocol.CodeBlob || !strings.Contains(err.Error(), "the disk is broken") {
		t.Errorf("%v", err)
	}
	x.Data = bytes.NewReader(text)
	if o := run(t, p, x); !bytes.Equal(o.Stdout, text) {
		t.Errorf("afterwards: %+v", o)
	}
}

// A failure of the host to load code must not be the module's.
func TestCodeThatCannotBeLoadedIsNotTheModulesFault(t *testing.T) {
	dir := t.TempDir()
	compileInto(t, dir, copier())
	m, err := readMetered(dir)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.Truncate(files[0], 100); err != nil {
		t.Fatal(err)
	}
	_, err = defaultEngine().load(m.Wasm, dir, 1<<20, wasi.NewWorld())
	if err == nil || errors.As(err, new(*protocol.Error)) {
		t.Errorf("%v", err)
	}
}

// Links to one file must not take memory for each.
func TestFilesThatAreOneAreNotHeldOften(t *testing.T) {
	const links = `package main

import (
	"fmt"
	"os"
)

func main() {
	f, err := os.Create("/out/f")
	if err == nil {
		err = f.Truncate(32 << 20)
	}
	for i := 0; i < 80 && err == nil; i++ {
		err = os.Link("/out/f", fmt.Sprintf("/out/l%d", i))
	}
	if err != nil {
		panic(err)
	}
}
`
	if underRace {
		t.Skip("compiling 2 MB of WebAssembly takes a race-detecting worker too long")
	}
	p := newPool(t, 1)
	o := run(t, p, execution(t, "a", buildGo(t, links), func(s *protocol.Spec) { s.Limits.FileBytes = 32 << 20 }))
	if o.Code != protocol.CodeFileLimit || p.Figures().Memory > 400<<20 {
		t.Errorf("%+v, workers of %d bytes", o, p.Figures().Memory)
	}
}
