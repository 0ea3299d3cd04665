package sandbox

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spare-network/spare/node/sandbox/meter"
	"github.com/spare-network/spare/node/sandbox/wasi"
	"github.com/spare-network/spare/protocol"
)

// flood prints without end.
func flood() []byte {
	return build{code: [][]byte{vector(1024, 20_000), loop(
		drop(invoke(fdWrite, number(1), number(0), number(1), number(8))), again())}}.wasm()
}

// recursion calls itself without end. Its frames are large, since collecting
// many small ones takes long under the race detector.
func recursion() []byte {
	const values = 500
	var code []byte
	for i := range uint64(values) {
		code = append(code, set(i, load32(int64(4*i)))...)
	}
	code = append(code, invoke(startIndex)...)
	for i := range uint64(values) {
		code = append(code, store32(int64(4*i), get(i))...)
	}
	return build{locals: values, code: [][]byte{code}}.wasm()
}

// spinIfAsked spins when the first byte of its stdin is not zero.
func spinIfAsked() []byte {
	return build{code: [][]byte{
		vector(1024, 1), drop(invoke(fdRead, number(0), number(0), number(1), number(8))),
		ifElse(load32(1024), loop(again())),
	}}.wasm()
}

// prints32 stores v and prints it as four bytes.
func prints32(v []byte) []byte { return cat(store32(512, v), show(1, 512, 4)) }

func TestHowGuestsEnd(t *testing.T) {
	guest, system := protocol.FromGuest, protocol.FromSystem
	grow := func(pages int64) []byte { return cat(number(pages), []byte{0x40, 0}) }
	for _, c := range []struct {
		name   string
		wasm   []byte
		change func(*protocol.Spec)
		exit   int32
		source protocol.ExitSource
		code   protocol.Code
		says   string // part of the message
		stdout string
	}{
		{name: "returns", wasm: hello(1, "hi"), source: guest, stdout: "hi"},
		{name: "exits with 7", wasm: hello(1, "bye", exit(7)), exit: 7, source: guest, stdout: "bye"},
		{name: "exits with 0 early", wasm: hello(1, "bye", exit(0), []byte{0}), source: guest, stdout: "bye"},
		{name: "traps", wasm: hello(1, "hi", []byte{0}), exit: 134, source: system, code: protocol.CodeTrap, says: "unreachable", stdout: "hi"},
		{name: "reads beyond its memory", wasm: hello(1, "", drop(load32(-8))), exit: 134, source: system, code: protocol.CodeTrap, says: "out of bounds"},
		{name: "recurses without end", wasm: recursion(), exit: 134, source: system, code: protocol.CodeDepthLimit, says: "too deeply"},
		{
			name: "grows memory up to its limit", exit: 0, source: guest, stdout: "\x0f\x00\x00\x00\xff\xff\xff\xff",
			wasm:   build{code: [][]byte{drop(grow(14)), prints32([]byte{0x3f, 0}), prints32(grow(2))}}.wasm(),
			change: func(s *protocol.Spec) { s.Limits.MemoryBytes = 16 * protocol.PageSize },
		},
		{
			name: "grows memory to 4 GiB", source: guest, stdout: "\x00\x04\x00\x00",
			wasm: build{locals: 1, code: [][]byte{loop(ifElse(cat(grow(1), number(-1), []byte{0x47}), again1())), prints32([]byte{0x3f, 0})}}.wasm(),
		},
		{
			name: "spins until its gas is used", wasm: hello(1, "off", spin()), exit: 125, source: system, code: protocol.CodeGasLimit,
			says: "all of its gas, 1 M", stdout: "off", change: func(s *protocol.Spec) { s.Limits.Gas = 1_000_000 },
		},
		{name: "spins", wasm: hello(1, "", spin()), exit: 124, source: system, code: protocol.CodeTimeout, says: "longer than 300ms", change: func(s *protocol.Spec) { s.Limits.WallMs = 300 }},
		{
			name: "writes more than it may", wasm: flood(), exit: 125, source: system, code: protocol.CodeOutputLimit, says: "more than 100 B",
			change: func(s *protocol.Spec) { s.Limits.OutputBytes = 100 }, stdout: strings.Repeat("\x00", 100),
		},
		{name: "writes as much as it may", wasm: hello(1, "1234"), source: guest, change: func(s *protocol.Spec) { s.Limits.OutputBytes = 4 }, stdout: "1234"},
		{name: "is no module", wasm: []byte("#!/bin/sh\n"), exit: 126, source: system, code: protocol.CodeBadModule, says: "not a WebAssembly module"},
		{name: "ends in the middle", wasm: copier()[:60], exit: 126, source: system, code: protocol.CodeBadModule, says: "middle"},
		{name: "has invalid code", wasm: build{code: [][]byte{{0x6a}}}.wasm(), exit: 126, source: system, code: protocol.CodeBadModule, says: "not a valid"},
		{name: "imports what is not there", wasm: build{extra: [][2]string{{"env", "pthread_create"}}}.wasm(), exit: 126, source: system, code: protocol.CodeImport, says: "pthread_create from env"},
		{name: "imports an unknown host function", wasm: build{extra: [][2]string{{wasi.Module, "sock_connect"}}}.wasm(), exit: 126, source: system, code: protocol.CodeImport, says: "sock_connect"},
		{name: "imports with another signature", wasm: build{extra: [][2]string{{wasi.Module, "fd_close"}}}.wasm(), exit: 126, source: system, code: protocol.CodeImport, says: "signature"},
		{name: "has no entry", wasm: build{noStart: true}.wasm(), exit: 126, source: system, code: protocol.CodeBadModule, says: "_start"},
		{name: "starts with 4 GiB", wasm: build{minPages: 65536}.wasm(), exit: 125, source: system, code: protocol.CodeMemoryLimit, says: "4 GiB"},
		{name: "starts with more pages than there are", wasm: build{minPages: 70000}.wasm(), exit: 126, source: system, code: protocol.CodeBadModule, says: "65536 pages"},
		{
			name: "runs under the highest limit", wasm: hello(1, "roomy"), source: guest, stdout: "roomy",
			change: func(s *protocol.Spec) { s.Limits.MemoryBytes = protocol.MaxMemory },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPool(t, 1)
			x := execution(t, "a", c.wasm, c.change)
			for _, when := range []string{"first", "again"} {
				o := run(t, p, x)
				if o.ExitCode != c.exit || o.Source != c.source || o.Code != c.code || string(o.Stdout) != c.stdout ||
					!strings.Contains(o.Message, c.says) || strings.Contains(o.Message, "\n") {
					t.Errorf("%s: %+v", when, o)
				}
			}
		})
	}
}

func TestCompileBombIsStopped(t *testing.T) {
	p := newPool(t, 1)
	p.prepareTime = func(uint64) (limit time.Duration) { return 2 * time.Second }
	const all = 1 << 40
	p.ceilings = meter.Ceilings{
		Bytes: all, Functions: all, Parameters: all, Locals: all, AllLocals: all, Body: all,
		Nesting: all, Stack: all, Merges: all, AllMerges: all, Elements: all,
	}
	locals := cat(leb(1), leb(40_000), []byte{i32})
	for i := range uint64(20_000) { // each value lives across each branch
		locals = append(locals, cat(get(i), []byte{0x04, 0x40}, set(i+1, get(i)), []byte{0x0b})...)
	}
	x := execution(t, "a", build{body: append(locals, 0x0b)}.wasm(), nil)
	if _, err := p.Run(t.Context(), x); protocol.CodeOf(err) != protocol.CodeWorker {
		t.Errorf("it is not stopped by its processor time: %v", err)
	}
	if n := len(pids(p)); n != 0 {
		t.Errorf("%d processes are left", n)
	}
	opened := opens(&x)
	if _, err := p.Run(t.Context(), x); protocol.CodeOf(err) != protocol.CodeWorker || *opened != 0 {
		t.Errorf("again, opened %d times: %v", *opened, err)
	}
	run(t, p, execution(t, "a", copier(), nil))
}

func TestTablesAreBounded(t *testing.T) {
	elements := int64(meter.Default().Elements)
	const tooMany = "\xff\xff\xff\xff"
	for _, c := range []struct {
		name   string
		tables [][]byte
		grow   int64 // the first
		stdout string
		says   string
	}{
		{"grows without a maximum", [][]byte{openTable(5)}, elements - 5, "\x05\x00\x00\x00", ""},
		{"grows too far", [][]byte{openTable(5)}, elements - 4, tooMany, ""},
		{"grows to its maximum", [][]byte{boundedTable(5, 7)}, 2, "\x05\x00\x00\x00", ""},
		{"grows beyond its maximum", [][]byte{boundedTable(5, 7)}, 3, tooMany, ""},
		{"shares", [][]byte{openTable(0), openTable(2), boundedTable(0, 4)}, elements/2 - 3, "\x00\x00\x00\x00", ""},
		{"grows beyond its share", [][]byte{openTable(0), openTable(2), boundedTable(0, 4)}, elements/2 - 2, tooMany, ""},
		{"starts too large", [][]byte{openTable(uint64(elements) + 1)}, 0, "", "1,048,577"},
		{"may become too large", [][]byte{boundedTable(0, 1<<32-1)}, 0, "", "4,294,967,295"},
		{"is one of many", slices.Repeat([][]byte{boundedTable(0, 40_000)}, 27), 0, "", "1,080,000"},
	} {
		p := newPool(t, 1)
		o := run(t, p, execution(t, "a", build{tables: c.tables, code: [][]byte{prints32(tableGrow(c.grow))}}.wasm(), nil))
		if string(o.Stdout) != c.stdout || !strings.Contains(o.Message, c.says) || (c.says != "") != (o.Code == protocol.CodeBadModule) {
			t.Errorf("%s: %q, %+v", c.name, o.Stdout, o)
		}
	}
}

func TestHugeModuleIsRefusedUnread(t *testing.T) {
	p := newPool(t, 1)
	x := execution(t, "a", copier(), func(s *protocol.Spec) { s.Module.Size = protocol.MaxModule + 1 })
	opened := opens(&x)
	if o := run(t, p, x); o.Code != protocol.CodeBadModule || o.ExitCode != 126 || *opened != 0 {
		t.Errorf("opened %d times, then %+v", *opened, o)
	}
}

func TestWorkerKilledFromOutside(t *testing.T) {
	p := newPool(t, 1)
	short := execution(t, "a", spinIfAsked(), stdin([]byte{0}))
	long := execution(t, "a", spinIfAsked(), stdin([]byte{1}))
	for range 20 {
		run(t, p, short)
	}
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := p.Run(t.Context(), long); protocol.CodeOf(err) != protocol.CodeWorker {
			t.Errorf("long: %v", err)
		}
	})
	eventually(t, "it runs", func() bool { running, _ := inUse(p); return running == 1 })
	for range 10 {
		all.Go(func() { run(t, p, short) })
	}
	eventually(t, "the others wait", func() bool { _, queued := inUse(p); return queued == 10 })
	first := pids(p)[0]
	kill(t, first) // a reply of another may be lost with it, so nobody is blamed
	eventually(t, "the long one runs again", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, g := range p.groups {
			if len(g.workers) == 1 && g.workers[0].ready && len(g.workers[0].calls) == 1 {
				return g.workers[0].proc.cmd.Process.Pid != first && len(p.live) == 1
			}
		}
		return false
	})
	kill(t, pids(p)[0]) // alone it is
	all.Wait()
}

func TestIdleWorkerKilledFromOutside(t *testing.T) {
	p := newPool(t, 1)
	x := execution(t, "a", copier(), stdin([]byte("still here")))
	run(t, p, x)
	kill(t, pids(p)[0])
	eventually(t, "it is noticed", func() bool { return len(pids(p)) == 0 })
	if o := run(t, p, x); string(o.Stdout) != "still here" {
		t.Errorf("%+v", o)
	}
}

// A guest that has broken out of the engine can say anything.
func TestImpossibleAnswers(t *testing.T) {
	p := newPool(t, 1)
	for _, c := range []struct {
		name  string
		reply *protocol.WorkerReply
	}{
		{"about another task", &protocol.WorkerReply{Id: 8, End: true}},
		{"more output than the limit", &protocol.WorkerReply{Id: 7, Stdout: make([]byte, 101)}},
		{"more output than the limit at the end", &protocol.WorkerReply{Id: 7, Stderr: make([]byte, 101), End: true}},
		{"a code that is the node's to give", &protocol.WorkerReply{Id: 7, Code: string(protocol.CodeShutdown), End: true}},
		{"nothing", &protocol.WorkerReply{Id: 7}},
		{"a code before the end", &protocol.WorkerReply{Id: 7, Code: string(protocol.CodeTrap)}},
		{"an unknown code", &protocol.WorkerReply{Id: 7, Code: "E-\x1b[2J", End: true}},
	} {
		x := execution(t, "a", copier(), func(s *protocol.Spec) { s.Limits.OutputBytes = 100 })
		w := &worker{group: new(group), ready: true, calls: []*call{{id: 7, x: &x}}}
		if err := p.receive(w, c.reply, new(actions)); !errors.Is(err, errImpossible) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if err := p.receive(&worker{}, new(protocol.WorkerReply), new(actions)); !errors.Is(err, errImpossible) {
		t.Errorf("without a task: %v", err)
	}
	for _, reply := range []*protocol.WorkerReply{{Code: "E-ANYTHING"}, {Code: string(protocol.CodeNoPeers)}} {
		if err := preparationError(reply); protocol.CodeOf(err) != protocol.CodeWorker {
			t.Errorf("%v: %v", reply, err)
		}
	}
}

func FuzzFrames(f *testing.F) {
	frame, err := appendFrame(nil, &protocol.WorkerReply{Id: 3, Stdout: []byte("out"), End: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frame)
	f.Add(append(frame, frame...))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newFrameReader(bytes.NewReader(b))
		for range b {
			m := new(protocol.WorkerReply)
			if err := r.next(m); err != nil {
				return
			}
			if len(m.Stdout)+len(m.Stderr)+len(m.Message)+len(m.Code) > len(b) {
				t.Error("more came out than went in")
			}
		}
	})
}
