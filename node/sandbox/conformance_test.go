package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/spare-network/spare/protocol"
)

// conformanceDir names the environment variable with the directory of the
// programs that TestConformance runs, and engineChoice that of the engine.
const (
	conformanceDir = "SPARE_CONFORMANCE_DIR"
	engineChoice   = "SPARE_ENGINE"
)

// sample is a program as DIR/programs.json names it.
type sample struct {
	Name   string            `json:"name"`
	Module string            `json:"module"` // file name in DIR
	Args   []string          `json:"args"`
	Env    []string          `json:"env"`
	Stdin  string            `json:"stdin"`
	Inputs map[string]string `json:"inputs"` // bytes by path
}

// observation is all of a run that must be the same everywhere.
type observation struct {
	Name   string `json:"name"`
	Exit   int32  `json:"exit"`
	Code   string `json:"code"`
	Stdout string `json:"stdout_sha256"`
	Files  string `json:"files_sha256"` // over paths and bytes
	Gas    uint64 `json:"gas"`
}

// observe runs wasm in this process.
func observe(t *testing.T, e engine, s sample, wasm []byte, gas uint64) observation {
	t.Helper()
	g, x := inProcess(t, e, wasm, func(spec *protocol.Spec) {
		spec.Args, spec.Env, spec.Stdin = s.Args, s.Env, protocol.NewBlob([]byte(s.Stdin))
		spec.Limits = protocol.DefaultLimits()
		spec.Limits.Gas = gas
		for _, p := range slices.Sorted(maps.Keys(s.Inputs)) {
			spec.Inputs = append(spec.Inputs, &protocol.File{Path: p, Blob: protocol.NewBlob([]byte(s.Inputs[p]))})
		}
	})
	var pipe bytes.Buffer
	g.out.w = &pipe
	g.out.begin(1, x.Spec.Limits)
	reply := g.run(&protocol.WorkerRequest{Id: 1, Spec: x.SpecBytes}, x.Spec)
	g.out.end(reply, false)
	stdout, files := sha256.New(), sha256.New()
	for frames := newFrameReader(&pipe); ; {
		r := new(protocol.WorkerReply)
		if frames.next(r) != nil {
			break
		}
		stdout.Write(r.Stdout)
	}
	for _, f := range g.outputs(reply, x.Spec) {
		fmt.Fprintf(files, "%s %d\n", f.Path, f.Size)
		if _, err := io.Copy(files, f.Open()); err != nil {
			t.Fatal(err)
		}
	}
	return observation{
		Name: s.Name, Exit: reply.ExitCode, Code: reply.Code, Gas: reply.Gas,
		Stdout: fmt.Sprintf("%x", stdout.Sum(nil)), Files: fmt.Sprintf("%x", files.Sum(nil)),
	}
}

// TestConformance runs the programs of a directory on one engine and writes
// what it observes beside them, to be compared with other engines and other
// processors by a test that starts this one.
func TestConformance(t *testing.T) {
	dir := os.Getenv(conformanceDir)
	if dir == "" {
		t.Skip(conformanceDir + " names no programs")
	}
	name := os.Getenv(engineChoice)
	e, ok := engines()[name]
	if !ok {
		t.Fatalf("%s is %q, no engine", engineChoice, name)
	}
	b, err := os.ReadFile(filepath.Join(dir, "programs.json"))
	if err != nil {
		t.Fatal(err)
	}
	var samples []sample
	if err := json.Unmarshal(b, &samples); err != nil {
		t.Fatal(err)
	}
	list := []observation{}
	for _, s := range samples {
		wasm, err := os.ReadFile(filepath.Join(dir, s.Module))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, observe(t, e, s, wasm, protocol.DefaultGas))
	}
	if b, err = json.MarshalIndent(list, "", "  "); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, fmt.Sprintf("results-%s-%s.json", name, runtime.GOARCH))
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Every engine must end every guest in the same way with the same gas.
func TestEnginesAgree(t *testing.T) {
	grow := func(pages int64) []byte { return cat(number(pages), []byte{0x40, 0}) }
	for name, wasm := range map[string][]byte{
		"says hello":     hello(1, "hello"),
		"exits":          hello(1, "bye", exit(7)),
		"traps":          hello(1, "bye", []byte{0}),
		"spins":          hello(1, "off", spin()),
		"copies stdin":   copier(),
		"throws dice":    dice(),
		"floods":         flood(),
		"grows memory":   build{code: [][]byte{prints32(grow(14)), prints32(grow(70000))}}.wasm(),
		"grows a table":  build{tables: [][]byte{openTable(1)}, code: [][]byte{prints32(tableGrow(100))}}.wasm(),
		"has no memory":  build{noMemory: true, code: [][]byte{drop(invoke(randomGet, number(0), number(8)))}}.wasm(),
		"reads too far":  hello(1, "", drop(load32(-8))),
		"recurses a bit": countdown(1000),
	} {
		s := sample{Name: name, Args: []string{"guest"}, Stdin: "some input"}
		want := observation{}
		for _, which := range slices.Sorted(maps.Keys(engines())) {
			got := observe(t, engines()[which], s, wasm, 1_000_000)
			if want == (observation{}) {
				want = got
			}
			if got != want || got.Gas == 0 {
				t.Errorf("%s: %s gives %+v, not %+v", name, which, got, want)
			}
		}
	}
}

// countdown nests n calls.
func countdown(n int64) []byte {
	add := []byte{0x6a}
	return build{code: [][]byte{
		store32(600, cat(load32(600), number(1), add)),
		ifElse(cat(load32(600), number(n), []byte{0x47}), invoke(startIndex)),
	}}.wasm()
}
