package sandbox

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spare-network/spare/node/sandbox/meter"
	"github.com/spare-network/spare/protocol"
)

// lister is a Go program that copies what it finds below /in to /out, prints
// its stdin's length, and tries to leave its world.
const lister = `package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	in, err := io.ReadAll(os.Stdin)
	fmt.Println(len(in), err)
	err = filepath.WalkDir("/in", func(p string, d fs.DirEntry, err error) error {
		fmt.Println(p, err)
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		to := strings.Replace(p, "/in", "/out/copy", 1)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o644)
	})
	fmt.Println(err)
	_ = os.WriteFile("/tmp/scratch", []byte("not an output"), 0o644)
	fmt.Println(os.WriteFile("/in/a", nil, 0o644) != nil, os.Symlink("/etc/hostname", "/out/link"))
	_, err = os.ReadFile("/out/link")
	fmt.Println(err != nil)
	if len(os.Args) > 1 {
		if err := os.WriteFile("/out/"+os.Args[1], nil, 0o644); err != nil {
			panic(err)
		}
	}
}
`

func TestFilesGoInAndOut(t *testing.T) {
	if underRace {
		t.Skip("compiling 2 MB of WebAssembly takes a race-detecting worker too long")
	}
	small, large, input := []byte("small"), bytes.Repeat([]byte("large "), 50_000), make([]byte, 100_000)
	x := execution(t, "a", buildGo(t, lister), func(s *protocol.Spec) {
		named := func(b []byte) *protocol.Blob {
			blob := protocol.NewBlob(b)
			blob.Inline = nil
			return blob
		}
		s.Inputs = []*protocol.File{{Path: "/in/a", Blob: protocol.NewBlob(small)}, {Path: "/in/d/b", Blob: named(large)}}
		s.Stdin = named(input)
	})
	p := newPool(t, 1)
	for range 2 {
		x.Data = io.MultiReader(bytes.NewReader(large), bytes.NewReader(input))
		files := make(map[string]*bytes.Buffer)
		var order []string
		x.File = func(path string, size uint64) {
			files[path] = new(bytes.Buffer)
			order = append(order, fmt.Sprint(path, " ", size))
		}
		x.Output = func(fd uint32, data []byte) {
			if fd == 3 {
				path, _, _ := strings.Cut(order[len(order)-1], " ")
				files[path].Write(data)
			}
		}
		o := run(t, p, x)
		want := "100000 <nil>\n/in <nil>\n/in/a <nil>\n/in/d <nil>\n/in/d/b <nil>\n<nil>\ntrue <nil>\ntrue\n"
		if string(o.Stdout) != want || o.ExitCode != 0 || o.Gas == 0 {
			t.Fatalf("%+v\n%s%s", o, o.Stdout, o.Stderr)
		}
		if !slices.Equal(order, []string{"/out/copy/a 5", "/out/copy/d/b 300000"}) ||
			!bytes.Equal(files["/out/copy/a"].Bytes(), small) || !bytes.Equal(files["/out/copy/d/b"].Bytes(), large) {
			t.Errorf("output files %q", order)
		}
	}
	x = execution(t, "a", buildGo(t, lister), func(s *protocol.Spec) { s.Args = append(s.Args, "two\nlines") })
	x.File = func(path string, size uint64) { t.Errorf("%q was handed on", path) }
	if o := run(t, p, x); o.Code != protocol.CodeFileLimit || !strings.Contains(o.Message, "cannot be handed on") {
		t.Errorf("with a name of two lines: %+v", o)
	}
}

// A worker that was broken out of may say anything about files.
func TestImpossibleFiles(t *testing.T) {
	header := func(size uint64) *protocol.WorkerReply {
		return &protocol.WorkerReply{Id: 7, File: &protocol.FileHeader{Path: "/out/a", Size: size}}
	}
	data := func(n int) *protocol.WorkerReply { return &protocol.WorkerReply{Id: 7, FileData: make([]byte, n)} }
	end := &protocol.WorkerReply{Id: 7, End: true}
	for _, c := range []struct {
		name    string
		replies []*protocol.WorkerReply
		fits    bool
	}{
		{"as many bytes as it says", []*protocol.WorkerReply{header(5), data(3), data(2), header(0), end}, true},
		{"bytes without a file", []*protocol.WorkerReply{data(1)}, false},
		{"too many bytes", []*protocol.WorkerReply{header(5), data(6)}, false},
		{"a file before the last one's end", []*protocol.WorkerReply{header(5), data(4), header(1)}, false},
		{"the end before the last file's", []*protocol.WorkerReply{header(5), data(4), end}, false},
		{"a file of more bytes than allowed", []*protocol.WorkerReply{header(101)}, false},
		{"files of more bytes than allowed", []*protocol.WorkerReply{header(60), data(60), header(41)}, false},
		{"sizes that overflow", []*protocol.WorkerReply{header(1), data(1), header(1<<64 - 1)}, false},
		{"more files than allowed", []*protocol.WorkerReply{header(0), header(0), header(0), header(0)}, false},
		{"more gas than allowed", []*protocol.WorkerReply{{Id: 7, End: true, Gas: protocol.DefaultGas + 1}}, false},
	} {
		x := execution(t, "a", copier(), func(s *protocol.Spec) { s.Limits.Files, s.Limits.FileBytes = 3, 100 })
		call := &call{id: 7, x: &x}
		var err error
		for _, r := range c.replies {
			if err == nil {
				err = call.bound(r, time.Now())
			}
		}
		if (err == nil) != c.fits {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestGasIsTheSameEachTime(t *testing.T) {
	p, q := newPool(t, 1), newPool(t, 1)
	x := execution(t, "a", dice(), nil)
	first := run(t, p, x)
	if first.Gas == 0 || first.Gas > 1_000_000 {
		t.Fatalf("%+v", first)
	}
	if again, elsewhere := run(t, p, x), run(t, q, x); again.Gas != first.Gas || elsewhere.Gas != first.Gas {
		t.Errorf("%d, then %d, elsewhere %d", first.Gas, again.Gas, elsewhere.Gas)
	}
	x = execution(t, "a", dice(), func(s *protocol.Spec) { s.Limits.Gas = first.Gas - 1 })
	if o := run(t, p, x); o.Code != protocol.CodeGasLimit || o.Gas != first.Gas-1 || o.ExitCode != 125 {
		t.Errorf("with one gas less: %+v", o)
	}
}

func TestLowerCeilingsRefuse(t *testing.T) {
	low := meter.Default()
	low.Locals = 3
	p, err := New(t.Context(), Config{Dir: t.TempDir(), Slots: 1, Key: testKey, Ceilings: low})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	run(t, p, execution(t, "a", build{locals: 3}.wasm(), nil))
	_, err = p.Run(t.Context(), execution(t, "a", build{locals: 4}.wasm(), nil))
	if protocol.CodeOf(err) != protocol.CodeRefused || !strings.Contains(err.Error(), "this node takes no more than 3") {
		t.Errorf("%v", err)
	}
	o := run(t, p, execution(t, "a", build{locals: 1 << 20}.wasm(), nil))
	if o.Code != protocol.CodeBadModule || !strings.Contains(o.Message, "no sandbox takes") {
		t.Errorf("%+v", o)
	}
}

func TestFigures(t *testing.T) {
	p := newPool(t, 2)
	run(t, p, execution(t, "a", copier(), nil))
	run(t, p, execution(t, "a", copier(), nil))
	run(t, p, execution(t, "b", copier(), nil))
	run(t, p, execution(t, "a", spinIfAsked(), func(s *protocol.Spec) {
		s.Stdin, s.Limits.WallMs = protocol.NewBlob([]byte{1}), 50
	}))
	f := p.Figures()
	if f.Workers != 2 || f.Busy != 0 || f.Waiting != 0 || f.Started != 3 || f.Compiled != 2 || f.Tasks != 4 ||
		f.Killed != 1 || f.Crashed != 0 || f.Modules != 2 || f.CacheBytes == 0 || f.CacheHits != 1 || f.CacheMisses != 2 {
		t.Errorf("%+v", f)
	}
	if _, err := os.Stat("/proc/self/statm"); err == nil && f.Memory < 1<<20 {
		t.Errorf("workers of %d bytes", f.Memory)
	}
}

func TestIdleWorkersKeepToTheirMemory(t *testing.T) {
	if _, err := os.Stat("/proc/self/statm"); err != nil {
		t.Skip(err)
	}
	p := newPool(t, 2)
	for _, owner := range []string{"a", "b", "c"} {
		run(t, p, execution(t, owner, copier(), nil))
	}
	before := pids(p)
	p.idleMemory = resident(before[0]) * 3 / 2 // room for one
	p.sweep()
	eventually(t, "two are given up", func() bool { return len(pids(p)) == 1 })
	run(t, p, execution(t, "c", copier(), nil))
	if len(before) != 3 || p.Figures().Started != 3 {
		t.Errorf("workers %v, %+v", before, p.Figures())
	}
}

func TestDiagnosis(t *testing.T) {
	p := newPool(t, 1)
	d, err := p.Diagnose(t.Context(), p.cache.dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Layers) != len(LayerNames()) || len(d.Attempts) == 0 {
		t.Errorf("%+v", d)
	}
	for _, l := range d.Layers {
		if l.InForce != (l.Why == "") {
			t.Errorf("%+v", l)
		}
		if missing := p.Missing([]string{l.Name}); (len(missing) == 0) != l.InForce {
			t.Errorf("%+v, missing %v", l, missing)
		}
	}
}
