package testnet

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// scratch is where programs are built and homes are made; removed at the end.
// Its path is short, since sockets live below it.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "spare-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := os.RemoveAll(scratch); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	return m.Run()
}

// goBuild builds packages of this module into a folder of scratch.
func goBuild(folder string, env []string, args ...string) (string, error) {
	dir := filepath.Join(scratch, folder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	cmd := exec.Command("go", append([]string{"build", "-trimpath", "-o", dir + "/"}, args...)...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return dir, nil
}

var (
	buildWasm = sync.OnceValues(func() (string, error) {
		return goBuild("wasm", []string{"GOOS=wasip1", "GOARCH=wasm"}, "-ldflags=-s -w", "./testnet/examples/...")
	})
	buildNative = sync.OnceValues(func() (string, error) { return goBuild("native", []string{"CGO_ENABLED=0"}, "./testnet/examples/...") })
	buildWazero = sync.OnceValues(func() (string, error) {
		return goBuild("bin", []string{"CGO_ENABLED=0"}, "github.com/tetratelabs/wazero/cmd/wazero")
	})
	buildSpare = sync.OnceValues(func() (string, error) {
		if path := os.Getenv("SPARE_BIN"); path != "" {
			return filepath.Abs(path)
		}
		dir, err := goBuild("bin", []string{"CGO_ENABLED=0"}, "./cmd/spare")
		return filepath.Join(dir, "spare"), err
	})
)

// module is the path of an example program, compiled to WASI.
func module(t *testing.T, name string) string { return built(t, buildWasm, name) }

// native is the path of an example program, compiled for this machine.
func native(t *testing.T, name string) string { return built(t, buildNative, name) }

func built(t *testing.T, build func() (string, error), name string) string {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// spareBinary is the path of the program under test.
func spareBinary(t *testing.T) string {
	t.Helper()
	path, err := buildSpare()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// ending is what a program leaves behind.
type ending struct {
	stdout, stderr []byte
	code           int
}

// underWazero runs a module with plain wazero, without spare. It is a process of
// its own, since the race detector would slow its compiler down tenfold.
func underWazero(t *testing.T, path string, stdin []byte, args ...string) ending {
	t.Helper()
	cache := "-cachedir=" + filepath.Join(scratch, "wazero-cache")
	cmd := exec.Command(built(t, buildWazero, "wazero"), append([]string{"run", cache, path}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	return finish(t, cmd)
}

// finish runs a program to its end.
func finish(t *testing.T, cmd *exec.Cmd) ending {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", cmd, err)
	}
	return ending{stdout.Bytes(), stderr.Bytes(), cmd.ProcessState.ExitCode()}
}
