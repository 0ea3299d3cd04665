package wasi

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// account is a gas account without an engine.
type account int64

func (a *account) Left() int64        { return int64(*a) }
func (a *account) SetLeft(left int64) { *a = account(left) }

// host makes the functions of w importable in rt. What ended the guest early is
// kept in *end.
func host(t *testing.T, rt wazero.Runtime, w *World, end *error) {
	t.Helper()
	b := rt.NewHostModuleBuilder(Module)
	for _, f := range Functions() {
		call := func(_ context.Context, m api.Module, stack []uint64) {
			errno, err := f.Call(w, m.Memory(), stack[:len(f.Params)])
			if err != nil {
				*end = err
				panic(err)
			}
			if len(f.Results) > 0 {
				stack[0] = uint64(errno)
			}
		}
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(call), f.Params, f.Results).Export(f.Name)
	}
	if _, err := b.Instantiate(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// ran is what a program did.
type ran struct {
	exit           uint32
	stdout, stderr string
	outputs        []Output
	gas            int64 // of its host calls, which is all that is charged here
}

// program runs wasm in the world of c, and fails the test when it ends in
// another way than by exiting.
func program(t *testing.T, wasm []byte, c Config) ran {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	c.GasLimit = 1 << 50
	ctx := t.Context()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCompilationCache(engineCache))
	defer func() { _ = rt.Close(ctx) }()
	w := NewWorld()
	w.Reset(c)
	gas := account(c.GasLimit)
	w.Start(&gas)
	var end error
	host(t, rt, w, &end)
	_, err := rt.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig())
	r := ran{stdout: stdout.String(), stderr: stderr.String(), outputs: w.Outputs(), gas: w.used()}
	exit := new(Exit)
	switch {
	case errors.As(end, &exit):
		r.exit = exit.Code
	case err != nil:
		t.Fatalf("the program failed: %v\n%s%s", err, r.stdout, r.stderr)
	}
	return r
}

// engineCache holds what the engine compiled, for all tests.
var engineCache = wazero.NewCompilationCache()

// goProgram builds a Go program.
func goProgram(t *testing.T, source string) []byte {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "main.go")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "main.wasm")
	return build(t, out, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS="),
		"go", "build", "-o", out, file)
}

// cProgram builds a C program, and skips the test where that cannot be done.
func cProgram(t *testing.T, source string) []byte {
	t.Helper()
	for _, tool := range []string{"clang", "wasm-ld"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no C compiler for WASI: %v", err)
		}
	}
	if _, err := os.Stat("/usr/lib/wasm32-wasi/libc.a"); err != nil {
		t.Skipf("no C library for WASI: %v", err)
	}
	dir := t.TempDir()
	file, out := filepath.Join(dir, "main.c"), filepath.Join(dir, "main.wasm")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	return build(t, out, os.Environ(), "clang", "--target=wasm32-wasi", "-O1", "-o", out, file)
}

func build(t *testing.T, out string, env []string, command string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command, args...)
	cmd.Env = env
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", command, strings.Join(args, " "), err, text)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}
