package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

// childVar makes this test binary a child process that does what it says, in
// the home given as its argument.
const childVar = "SPARE_STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	role := os.Getenv(childVar)
	if role == "" {
		os.Exit(m.Run())
	}
	roles := map[string]func(home string) error{"hold": holdHome, "write": writeForever, "full": fillDisk}
	if err := roles[role](os.Args[1]); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

// child is a process of ours, whose lines of output can be read one by one.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	stdin io.Closer
}

func command(role, home string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], home)
	cmd.Env = append(os.Environ(), childVar+"="+role, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	return cmd
}

func startChild(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, lines: bufio.NewScanner(stdout), stdin: stdin}
	t.Cleanup(func() { c.kill() })
	return c
}

// kill ends the process by SIGKILL and returns the lines that it still wrote.
func (c *child) kill() (rest []string) {
	_ = c.cmd.Process.Kill() // or it has ended already
	for c.lines.Scan() {
		rest = append(rest, c.lines.Text())
	}
	_ = c.cmd.Wait() // killed is what it was
	return rest
}

func holdHome(home string) error {
	s, err := Open(home, Config{})
	if err != nil {
		return err
	}
	fmt.Println("open")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return s.Close()
}

func TestSecondNodeInAHomeIsToldThePIDOfTheFirst(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	refused := func(pid int) {
		t.Helper()
		_, err := Open(home, Config{})
		wantCode(t, err, protocol.CodeHomeInUse)
		if !strings.Contains(err.Error(), "PID "+strconv.Itoa(pid)) || !strings.Contains(err.Error(), home) {
			t.Errorf("%v does not name PID %d and %s", err, pid, home)
		}
	}
	for _, end := range []struct {
		name string
		of   func(*child)
	}{
		{"killed", func(c *child) { c.kill() }},
		{"stopped", func(c *child) {
			c.stdin.Close()
			if err := c.cmd.Wait(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(home, pidFile)); err == nil {
				t.Error("the file with the PID is left")
			}
		}},
	} {
		t.Run(end.name, func(t *testing.T) {
			c := startChild(t, command("hold", home))
			if !c.lines.Scan() || c.lines.Text() != "open" {
				t.Fatalf("the child says %q", c.lines.Text())
			}
			refused(c.cmd.Process.Pid)
			refused(c.cmd.Process.Pid) // being refused changes nothing
			end.of(c)
			s, err := Open(home, Config{})
			if err != nil {
				t.Fatalf("the first node has ended: %v", err)
			}
			refused(os.Getpid())
			closeStore(t, s)
		})
	}
}

// limitsOf returns what a home in the test of kills keeps.
func limitsOf(home string) Config {
	if strings.HasSuffix(home, "tight") {
		return Config{KeepTasks: 20, KeepBlobs: 8 * minCost}
	}
	return Config{KeepTasks: 1_000_000}
}

// writeForever writes all there is to write, and says on stdout what is
// acknowledged.
func writeForever(home string) error {
	s, err := Open(home, limitsOf(home))
	if err != nil {
		return err
	}
	key, err := s.Identity()
	if err != nil {
		return err
	}
	raw, err := key.Raw()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(what string, value any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(what, value)
	}
	say("identity", protocol.DigestOf(raw))
	failed := make(chan error)
	repeat := func(f func() error) {
		go func() {
			for {
				if err := f(); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	ctx := context.Background()
	repeat(func() error { return s.Run(ctx) })
	for range 3 {
		repeat(func() error {
			task := newTask()
			if err := s.SaveTaskNow(ctx, task); err != nil {
				return err
			}
			say("running", task.Id)
			if err := s.SaveTaskNow(ctx, conclude(task, protocol.NewBlob(noise(1, 1000)))); err != nil {
				return err
			}
			say("done", task.Id)
			return nil
		})
	}
	repeat(func() error {
		content := noise(rand.Uint64(), rand.IntN(300_000))
		d, _, err := s.Blobs().Put(bytes.NewReader(content), int64(len(content)))
		say("blob", d)
		return err
	})
	repeat(func() error {
		spool := s.Blobs().NewSpool(1 << 20)
		defer spool.Discard()
		for range 10 {
			if _, err := spool.Write(noise(rand.Uint64(), rand.IntN(30_000))); err != nil {
				return err
			}
		}
		blob, err := spool.Finish()
		if err != nil {
			return err
		}
		task := conclude(newTask(), blob)
		if !blob.IsInline() {
			say("blob", blob.Sum())
		}
		return s.SaveTask(task)
	})
	repeat(func() error {
		n, err := s.OfferSequence(time.Now())
		say("sequence", n)
		time.Sleep(time.Millisecond) // the others are to be heard too
		return err
	})
	return <-failed
}

// TestNothingAcknowledgedIsLostByKill kills a node that writes, again and
// again, and looks at its home each time.
func TestNothingAcknowledgedIsLostByKill(t *testing.T) {
	t.Parallel()
	for _, limits := range []struct {
		name  string
		kills int
	}{{"roomy", 20}, {"tight", 8}} {
		t.Run(limits.name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			home := filepath.Join(t.TempDir(), limits.name)
			acknowledged := make(map[string]string) // task -> state
			var identity string
			var sequence uint64
			for round := range limits.kills {
				c := startChild(t, command("write", home))
				var lines []string
				if round%4 == 3 { // perhaps before it has opened its home
					timer := time.AfterFunc(time.Duration(random.IntN(200))*time.Millisecond, func() { _ = c.cmd.Process.Kill() })
					for c.lines.Scan() {
						lines = append(lines, c.lines.Text())
					}
					timer.Stop()
				}
				for range random.IntN(250) {
					if c.lines.Scan() {
						lines = append(lines, c.lines.Text())
					}
				}
				lines = append(lines, c.kill()...)
				blobs := make(map[string]bool)
				for _, line := range lines {
					what, value, _ := strings.Cut(line, " ")
					switch what {
					case "running", "done":
						acknowledged[value] = what
					case "blob":
						blobs[value] = true
					case "sequence":
						n, err := strconv.ParseUint(value, 10, 64)
						if err != nil || n <= sequence {
							t.Fatalf("round %d: sequence %q after %d", round, value, sequence)
						}
						sequence = n
					case "identity":
						if identity != "" && identity != value {
							t.Fatalf("round %d: another identity", round)
						}
						identity = value
					default:
						t.Fatalf("round %d: the child says %q", round, line)
					}
				}
				wantHome(t, home, limits.name == "roomy", acknowledged, blobs)
			}
			t.Logf("%d tasks acknowledged", len(acknowledged))
			if len(acknowledged) == 0 || sequence == 0 {
				t.Error("nothing was ever acknowledged")
			}
		})
	}
}

// wantHome opens a home and finds nothing missing, when all is to be there, and
// nothing wrong. It removes the blobs, so that they do not pile up.
func wantHome(t *testing.T, home string, all bool, tasks map[string]string, blobs map[string]bool) {
	t.Helper()
	s, err := Open(home, limitsOf(home))
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	if left := files(t, home, tempDir); len(left) > 0 {
		t.Errorf("temporary files: %v", left)
	}
	for id, state := range tasks {
		task, err := s.Task(id)
		if err != nil {
			if all {
				t.Errorf("task %s, acknowledged as %s: %v", id, state, err)
			}
			continue
		}
		if state == "done" && task.State != protocol.StateDone {
			t.Errorf("task %s was acknowledged as done and is %s", id, task.State.Word())
		}
	}
	listed, err := s.Tasks(1_000_000, "")
	if err != nil {
		t.Error(err)
	}
	unfinished, err := s.Unfinished()
	if err != nil {
		t.Error(err)
	}
	if ended := len(listed) - len(unfinished); !all && ended > 20 {
		t.Errorf("%d ended tasks are kept of 20", ended)
	}
	for _, path := range files(t, home, blobDir) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		if d := protocol.DigestOf(content); d.String() != filepath.Base(path) {
			t.Errorf("the blob %s has the digest %s", path, d)
		}
		delete(blobs, filepath.Base(path))
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
	if all && len(blobs) > 0 {
		t.Errorf("acknowledged and not there: %v", blobs)
	}
	for _, secret := range files(t, home, ".") {
		if filepath.Base(secret) == identityFile {
			if _, err := s.Identity(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestDeleteKeepsTheHomeOfANodeThatRuns(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	s, err := Open(home, Config{})
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(home, "identity.key")
	if err := os.WriteFile(key, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	wantCode(t, Delete(soon, home), protocol.CodeHomeInUse)
	if _, err := os.Stat(key); err != nil {
		t.Error(err)
	}
	if err := errors.Join(s.Close(), Delete(t.Context(), home)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(home); err == nil {
		t.Error("the home is still there")
	}
}
