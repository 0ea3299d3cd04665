//go:build e2e && unix

package testnet

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestE2EProviderKilledInALongTask is the scenario of the checks, for a task of
// ten seconds.
func TestE2EProviderKilledInALongTask(t *testing.T) {
	nodes, _ := startNet(t, 4)
	loseProvider(t, nodes, 10*time.Second, syscall.SIGKILL)
}

// TestE2EProviderStopped: to its peers a stopped process is as good as dead.
func TestE2EProviderStopped(t *testing.T) {
	nodes, _ := startNet(t, 3)
	loseProvider(t, nodes, 4*time.Second, syscall.SIGSTOP)
}

// TestE2EPrograms gives the example programs to peers and compares with plain
// wazero, then looks at what show and peers tell.
func TestE2EPrograms(t *testing.T) {
	nodes, _ := startNet(t, 3)
	requester := nodes[0]
	for _, run := range exampleRuns {
		t.Run(run.name, func(t *testing.T) {
			path := module(t, run.program)
			want := underWazero(t, path, []byte(run.stdin), run.args...)
			got := requester.spare(t, []byte(run.stdin), slices.Concat([]string{"run", "--remote", path, "--"}, run.args)...)
			if got.code != want.code || !bytes.Equal(got.stdout, want.stdout) || !bytes.Equal(got.stderr, want.stderr) {
				t.Errorf("exits %d with %.80q and %.200q, under wazero %d with %.80q and %.200q", got.code, got.stdout, got.stderr, want.code, want.stdout, want.stderr)
			}
			checkShown(t, requester, got)
		})
	}
	t.Run("peers", func(t *testing.T) {
		peers := requester.peers(t)
		if len(peers) != 2 {
			t.Fatalf("%d peers, want 2: %+v", len(peers), peers)
		}
		for _, p := range peers {
			by(t, nodes[1:], p.Peer)
			if !p.Connected || p.RTT == nil || *p.RTT <= 0 || p.Slots != 2 || p.Speed <= 0 || p.OfferAge == nil || *p.OfferAge < 0 {
				t.Errorf("not what a peer is: %+v", p)
			}
			if end := requester.spare(t, nil, "ping", p.Peer); end.code != 0 {
				t.Errorf("ping exits %d: %s", end.code, end.stderr)
			}
		}
	})
}

// checkShown compares what show tells of the last task with how it ended.
func checkShown(t *testing.T, requester *node, end ending) {
	t.Helper()
	shown := requester.lastTask(t)
	if len(shown.ID) != 10 || shown.State != "done" || shown.ExitCode == nil || *shown.ExitCode != end.code || shown.ExitSource == nil || *shown.ExitSource != "guest" {
		t.Errorf("exit %d is shown as %+v", end.code, shown)
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(end.stdout)); shown.StdoutDigest == nil || *shown.StdoutDigest != sum {
		t.Errorf("stdout's digest is not %s: %+v", sum, shown)
	}
	if len(shown.Attempts) != 1 {
		t.Fatalf("%d attempts, want 1: %+v", len(shown.Attempts), shown.Attempts)
	}
	a := shown.Attempts[0]
	if a.State != "done" || a.Provider == requester.Peer || a.Reason == "" || a.RTT == nil {
		t.Errorf("not what a remote attempt is: %+v", a)
	}
	if err := a.checkTimes(); err != nil {
		t.Error(err)
	}
	logs := requester.spare(t, nil, "logs", shown.ID)
	if logs.code != 0 || !bytes.Equal(logs.stdout, end.stdout) {
		t.Errorf("logs exits %d with %.80q, the task wrote %.80q", logs.code, logs.stdout, end.stdout)
	}
}

// Modules of a few bytes, written by hand after the WebAssembly specification.
const (
	// _start is unreachable.
	trapping = "\x00asm\x01\x00\x00\x00" + "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" +
		"\x05\x03\x01\x00\x01" + "\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x00" + "\x0a\x05\x01\x03\x00\x00\x0b"
	// It imports mystery.door, a function without arguments.
	importing = "\x00asm\x01\x00\x00\x00" + "\x01\x04\x01\x60\x00\x00" + "\x02\x10\x01\x07mystery\x04door\x00\x00" + "\x03\x02\x01\x00" +
		"\x05\x03\x01\x00\x01" + "\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x01" + "\x0a\x04\x01\x02\x00\x0b"
)

// TestE2EEndings: each way to fail has its exit code, one clear line, a hint,
// and never a stack trace.
func TestE2EEndings(t *testing.T) {
	nodes, _ := startNet(t, 3)
	alone := startNode(t, "hermits", "")
	requester, guest := nodes[0], module(t, "guest")
	file := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, test := range []struct {
		name string
		node *node
		args []string
		exit int
		code string // of spare's error; empty: the program's own end
		says string // in spare's line
	}{
		{"a program that ends with 0", requester, []string{"run", "--remote", guest, "--", "exit", "0"}, 0, "", ""},
		{"a program that ends with 7", requester, []string{"run", "--remote", guest, "--", "exit", "7"}, 7, "", ""},
		{"a program that panics", requester, []string{"run", "--remote", guest, "--", "crash"}, 2, "", ""},
		{"a program that traps", requester, []string{"run", "--remote", file("trap.wasm", trapping)}, 134, "E-TRAP", "unreachable"},
		{"not a WASM file", requester, []string{"run", "--remote", file("text.wasm", "not a program")}, 126, "E-BAD-MODULE", ""},
		{"an unknown import", requester, []string{"run", "--remote", file("import.wasm", importing)}, 126, "E-UNKNOWN-IMPORT", "mystery"},
		{"a missing file", requester, []string{"run", "--remote", "no/such/program.wasm"}, 127, "E-NOT-FOUND", "no/such/program.wasm"},
		{"no peers", alone, []string{"run", "--remote", guest, "--", "exit", "0"}, 125, "E-NO-PEERS", ""},
		{"more memory than anybody offers", requester, []string{"run", "--remote", "--mem", "3GiB", guest, "--", "exit", "0"}, 125, "E-NO-OFFERS", ""},
		{"a spin with a timeout", requester, []string{"run", "--remote", "--timeout", "2s", guest, "--", "spin"}, 124, "E-TIMEOUT", ""},
		{"output without end", requester, []string{"run", "--remote", guest, "--", "flood"}, 125, "E-OUTPUT-LIMIT", ""},
		{"a home that is in use", requester, []string{"up", "--network", requester.Network, "--no-dashboard"}, 125, "E-HOME-IN-USE", fmt.Sprint(requester.PID)},
		{"an unknown task", requester, []string{"show", "zzzzzzzzzz"}, 127, "E-NOT-FOUND", ""},
		{"an unknown command", requester, []string{"dance"}, 2, "E-USAGE", "dance"},
	} {
		t.Run(test.name, func(t *testing.T) {
			end := test.node.spare(t, nil, test.args...)
			if end.code != test.exit {
				t.Errorf("exit %d, want %d; stderr:\n%.2000s", end.code, test.exit, end.stderr)
			}
			if test.code == "" {
				return // what stands on stderr is the program's
			}
			lines := strings.Split(strings.TrimSuffix(string(end.stderr), "\n"), "\n")
			if len(lines) != 2 || !strings.HasPrefix(lines[0], "spare: "+test.code+": ") || !strings.Contains(lines[0], test.says) || !strings.HasPrefix(lines[1], "  hint: ") {
				t.Errorf("want one line of %s that says %q, and a hint; stderr:\n%.2000s", test.code, test.says, end.stderr)
			}
			if bytes.Contains(end.stderr, []byte("goroutine ")) {
				t.Error("a stack trace")
			}
		})
	}
	t.Run("a program ends by itself elsewhere when here its timeout does not", func(t *testing.T) {
		if end := requester.spare(t, nil, "run", "--local", "--timeout", "1m", guest, "--", "exit", "3"); end.code != 3 {
			t.Errorf("exit %d, want 3: %s", end.code, end.stderr)
		}
	})
}

// TestE2EWays: where a task runs, how often, and how one comes back to it.
func TestE2EWays(t *testing.T) {
	nodes, _ := startNet(t, 4)
	requester, guest := nodes[0], module(t, "guest")
	must := func(end ending, code int) ending {
		t.Helper()
		if end.code != code {
			t.Fatalf("exit %d, want %d: %s", end.code, code, end.stderr)
		}
		return end
	}
	t.Run("here", func(t *testing.T) {
		must(requester.spare(t, nil, "run", "--local", guest, "--", "exit", "0"), 0)
		if a := requester.lastTask(t).Attempts; len(a) != 1 || a[0].Provider != requester.Peer {
			t.Errorf("--local ran at %+v", a)
		}
	})
	t.Run("on each peer by name", func(t *testing.T) {
		for _, n := range nodes[1:] {
			must(requester.spare(t, nil, "run", "--on", n.Peer, guest, "--", "exit", "0"), 0)
			if a := requester.lastTask(t).Attempts; len(a) != 1 || a[0].Provider != n.Peer {
				t.Errorf("--on %s ran at %+v", n.Peer, a)
			}
		}
	})
	t.Run("on three peers", func(t *testing.T) {
		must(requester.spare(t, nil, "run", "--remote", "--replicas", "3", guest, "--", "chain", "1000"), 0)
		var providers []string
		for _, a := range requester.lastTask(t).Attempts {
			providers = append(providers, a.Provider)
		}
		slices.Sort(providers)
		if len(slices.Compact(slices.Clone(providers))) != 3 || len(providers) != 3 {
			t.Errorf("three replicas ran at %v", providers)
		}
	})
	t.Run("both ways at once", func(t *testing.T) {
		want := chain(100_000)
		var wg sync.WaitGroup
		for _, n := range nodes {
			for range 2 {
				wg.Go(func() {
					end := n.spare(t, nil, "run", "--remote", guest, "--", "chain", "100000")
					if end.code != 0 || !bytes.Equal(end.stdout, want) {
						t.Errorf("%s: exit %d with %q: %s", n.Name, end.code, end.stdout, end.stderr)
					}
				})
			}
		}
		wg.Wait()
	})
	t.Run("environment and seed", func(t *testing.T) {
		end := must(requester.spare(t, nil, "run", "--remote", "--env", "A=one", "--env", "B=two=2", guest, "--", "env", "A", "B", "HOME"), 0)
		if string(end.stdout) != "one\ntwo=2\n\n" {
			t.Errorf("the program sees %q", end.stdout)
		}
	})
	t.Run("detached", func(t *testing.T) {
		id := strings.TrimSpace(string(must(requester.spare(t, nil, "run", "--remote", "-d", "-n", guest, "--", "exit", "9"), 0).stdout))
		must(requester.spare(t, nil, "wait", id), 9)
		if got := requester.show(t, id[:6]); got.ID != id || got.ExitCode == nil || *got.ExitCode != 9 {
			t.Errorf("show by a prefix of %s: %+v", id, got)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		id := strings.TrimSpace(string(must(requester.spare(t, nil, "run", "--remote", "-d", "-n", guest, "--", "spin"), 0).stdout))
		must(requester.spare(t, nil, "wait", "--timeout", "200ms", id), 124)
		must(requester.spare(t, nil, "cancel", id), 0)
		await(t, "the task is cancelled", func() bool { return requester.show(t, id).State == "cancelled" })
		await(t, "no slot is taken", func() bool {
			return !slices.ContainsFunc(requester.peers(t), func(p neighbour) bool { return p.Inflight > 0 })
		})
	})
	t.Run("left by Ctrl-C", func(t *testing.T) {
		before := len(ask[[]task](t, requester, "ps"))
		cmd := requester.command("run", "--remote", guest, "--", "chain", "1000000")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		await(t, "the task runs", func() bool {
			if len(ask[[]task](t, requester, "ps")) == before {
				return false
			}
			return requester.lastTask(t).State == "running"
		})
		id := requester.lastTask(t).ID
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // its exit code is looked at
		if code := cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(stderr.String(), id) {
			t.Errorf("Ctrl-C exits %d and says %q, want 130 and the ID %s", code, &stderr, id)
		}
		must(requester.spare(t, nil, "wait", id), 0)
		if logs := requester.spare(t, nil, "logs", id); !bytes.Equal(logs.stdout, chain(1_000_000)) {
			t.Errorf("the task that was left wrote %q", logs.stdout)
		}
	})
	t.Run("into a closed pipe", func(t *testing.T) {
		cmd := requester.command("run", "--remote", "--output-limit", "1GiB", guest, "--", "flood")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		out.Close()
		_ = cmd.Wait() // it fails, as it should
		await(t, "the task is cancelled", func() bool { return requester.lastTask(t).State == "cancelled" })
	})
}

// TestE2EPython runs the real CPython, 26 MB, on one peer: where it was never
// seen, where its worker is warm, and where only its compiled code is left.
func TestE2EPython(t *testing.T) {
	python := python(t)
	w := startWatch(t, 3)
	requester, provider := w.nodes[0], w.nodes[1]
	args := []string{"-c", "print(sum(range(10**6)))"}
	const want = "499999500000\n"
	timed := func(what string, run func() ending) time.Duration {
		start := time.Now()
		end := run()
		took := time.Since(start)
		if end.code != 0 || string(end.stdout) != want {
			t.Fatalf("%s: exit %d with %q, want %q; %.500s", what, end.code, end.stdout, want, end.stderr)
		}
		t.Logf("%-28s %6.2f s", what, took.Seconds())
		return took
	}
	onPeer := func(what string) time.Duration {
		w.worst() // of what was before
		took := timed(what, func() ending {
			return requester.spare(t, nil, slices.Concat([]string{"run", "--on", provider.Peer, python, "--"}, args)...)
		})
		node, worker := w.worst()
		t.Logf("%-28s %6d MB in a node, %d MB in a worker at most", "", node/1e6, worker/1e6)
		if node > nodeMemory {
			t.Errorf("that is more than %.0f MB in a node", nodeMemory/1e6)
		}
		if a := requester.lastTask(t).Attempts; len(a) != 1 || a[0].Provider != provider.Peer {
			t.Errorf("the attempts are %+v", a)
		}
		return took
	}
	cold := onPeer("spare, first time on a peer")
	warm := onPeer("spare, second time there")
	provider.signal(t, syscall.SIGKILL)
	w.restart(t, provider)
	await(t, "the peer is known again", func() bool { return requester.knows(t, provider) && requester.connectedTo(t, provider) })
	cached := onPeer("spare, after its restart")
	script := filepath.Join(t.TempDir(), "sum.py")
	if err := os.WriteFile(script, []byte("import sys\nprint(sum(range(int(sys.argv[1]))))\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if end := requester.spare(t, nil, "runtime", "add", "python", python); end.code != 0 {
		t.Fatalf("no runtime is added: exit %d; %s", end.code, end.stderr)
	}
	timed("spare, as a script", func() ending {
		return requester.spare(t, nil, "run", "--on", provider.Peer, script, "--", "1000000")
	})
	timed("wazero directly, cold", func() ending { return underWazero(t, python, nil, args...) })
	timed("wazero directly, cached code", func() ending { return underWazero(t, python, nil, args...) })
	if warm > cold || cached > cold {
		t.Errorf("the first run, which sent and compiled 26 MB, took %v; a warm one %v, one from the cache %v", cold, warm, cached)
	}
}
