//go:build unix

package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spare-network/spare/node/api/apitest"
	"github.com/spare-network/spare/protocol"
)

// running is a 'spare run' of a program that blocks, in a process of its own.
type running struct {
	*exec.Cmd
	node   *apitest.Node
	home   string
	stdout io.ReadCloser
	stderr *bufio.Reader
}

func startRun(t *testing.T, instruction string) *running {
	t.Helper()
	home := apitest.Home(t)
	node := apitest.New(t.TempDir())
	apitest.Serve(t, node, home)
	program := filepath.Join(t.TempDir(), "prog.wasm")
	if err := os.WriteFile(program, apitest.Module(instruction), 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, node, home, "run", program)
}

func start(t *testing.T, node *apitest.Node, home string, args ...string) *running {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Cmd: exec.CommandContext(t.Context(), self), node: node, home: home}
	r.Args = append([]string{"spare", "--home", home}, args...)
	if r.stdout, err = r.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	stderr, err := r.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.stderr = bufio.NewReader(stderr)
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// expect reads to what is wanted from r.
func expect(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q (%v), want %q", got, err, want)
	}
}

func (r *running) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := r.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// end returns the exit status and the rest of stderr.
func (r *running) end(t *testing.T) (int, string) {
	t.Helper()
	rest, err := io.ReadAll(r.stderr)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Wait() // the status tells
	return r.ProcessState.ExitCode(), string(rest)
}

func (r *running) state(t *testing.T) string {
	t.Helper()
	task, err := r.node.Task("aaaaaaaaaa")
	if err != nil {
		t.Fatal(err)
	}
	return task.State.Word()
}

func TestFirstSignalLeavesTheTaskAlone(t *testing.T) {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(s.String(), func(t *testing.T) {
			r := startRun(t, "block")
			expect(t, r.stdout, "started\n")
			r.signal(t, s)
			r.signal(t, s) // timeout(1) sends one signal twice
			code, stderr := r.end(t)
			if code != 130 || !strings.HasPrefix(stderr, "spare: task aaaaaaaaaa goes on; ") ||
				!strings.HasSuffix(stderr, "'spare --home "+r.home+" logs -f aaaaaaaaaa' goes back to it\n") ||
				strings.Contains(stderr, "Ctrl-C") != (s == os.Interrupt) {
				t.Errorf("status %d, stderr %q", code, stderr)
			}
			if got := r.state(t); got != "running" {
				t.Errorf("the task is %s", got)
			}
		})
	}
}

func TestSecondInterruptCancels(t *testing.T) {
	r := startRun(t, "block")
	expect(t, r.stdout, "started\n")
	r.signal(t, os.Interrupt)
	expect(t, r.stderr, "spare: task aaaaaaaaaa goes on; Ctrl-C again within a second cancels it; 'spare --home "+r.home+" logs -f aaaaaaaaaa' goes back to it\n")
	r.signal(t, os.Interrupt)
	code, stderr := r.end(t)
	if code != 130 || stderr != "spare: task aaaaaaaaaa is cancelled\n" {
		t.Errorf("status %d, stderr %q", code, stderr)
	}
	if got := r.state(t); got != "cancelled" {
		t.Errorf("the task is %s", got)
	}
}

func TestLogsFollowToTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		end   func(*running) error
		state string
	}{
		"of the task":     {func(r *running) error { return r.node.Cancel("aaaaaaaaaa") }, "cancelled"},
		"of the patience": {func(r *running) error { return r.Process.Signal(os.Interrupt) }, "running"},
	} {
		t.Run(name, func(t *testing.T) {
			first := startRun(t, "block")
			expect(t, first.stdout, "started\n")
			first.signal(t, syscall.SIGTERM)
			first.end(t)
			r := start(t, first.node, first.home, "logs", "-f", "aaaa")
			expect(t, r.stdout, "started\n")
			if err := c.end(r); err != nil {
				t.Fatal(err)
			}
			code, stderr := r.end(t)
			ended, says := c.state == "cancelled", ""
			if ended {
				says = "spare: task aaaaaaaaaa failed: E-CANCELLED: the user cancelled\n"
			}
			if (code == 0) != ended || stderr != says {
				t.Errorf("status %d, stderr %q", code, stderr)
			}
			if got := r.state(t); got != c.state {
				t.Errorf("the task is %s", got)
			}
		})
	}
}

func TestClosedStdoutCancels(t *testing.T) {
	r := startRun(t, "pour")
	expect(t, r.stdout, "0123456789abcde\n")
	if err := r.stdout.Close(); err != nil {
		t.Fatal(err)
	}
	code, stderr := r.end(t)
	if code != 141 || stderr != "" {
		t.Errorf("status %d, stderr %q", code, stderr)
	}
	if got := r.state(t); got != "cancelled" {
		t.Errorf("the task is %s", got)
	}
}

func TestStdinAsksForNoMoreThanItHas(t *testing.T) {
	home := apitest.Home(t)
	node := apitest.New(t.TempDir())
	apitest.Serve(t, node, home)
	program := filepath.Join(t.TempDir(), "cat.wasm")
	if err := os.WriteFile(program, apitest.Module("cat"), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string][]byte{
		"nothing":            nil,
		"what rides along":   bytes.Repeat([]byte("x"), 64<<10),
		"what is uploaded":   bytes.Repeat([]byte("x"), 64<<10+1),
		"far more than that": bytes.Repeat([]byte("0123456789abcdef"), 1<<18),
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), self)
			cmd.Args = []string{"spare", "run", "--home", home, program}
			cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
			cmd.Stdin = bytes.NewReader(in)
			if out, err := cmd.Output(); err != nil || !bytes.Equal(out, in) {
				t.Errorf("%d bytes came back of %d: %v", len(out), len(in), err)
			}
		})
	}
}

func TestStdinTooLargeIsNotRead(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1<<30 + 4096); err != nil {
		t.Fatal(err)
	}
	// Without a client: nothing is uploaded.
	_, err = spoolStdin(t.Context(), nil, f)
	if protocol.CodeOf(err) != protocol.CodeBadRequest || !strings.Contains(err.Error(), "stdin has 1073745920 bytes; it is limited to 1073741824 bytes") {
		t.Errorf("the error is %v", err)
	}
}
