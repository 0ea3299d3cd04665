//go:build unix

package testnet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that must come.
const patience = 60 * time.Second

// node is one process of a testnet, as nodes.json names it.
type node struct {
	Name    string   `json:"name"`
	Home    string   `json:"home"`
	Peer    string   `json:"peer"`
	PID     int      `json:"pid"`
	Network string   `json:"network"`
	Addrs   []string `json:"addrs"`

	binary string
}

// What the command line prints with -o json, as far as the scenarios look.
type (
	status struct {
		Peer    string    `json:"peer"`
		Network string    `json:"network"`
		Addrs   []string  `json:"addrs"`
		PID     int       `json:"pid"`
		Running int       `json:"running"`
		Queued  int       `json:"queued"`
		Refused []refusal `json:"refused"`
		Sandbox struct {
			Tasks int `json:"tasks"` // run so far
		} `json:"sandbox"`
	}
	refusal struct {
		Peer    string `json:"peer"`
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	neighbour struct {
		Peer      string   `json:"peer"`
		RTT       *float64 `json:"rtt_ms"`
		Slots     int      `json:"slots"`
		Inflight  int      `json:"inflight"`
		Speed     float64  `json:"speed"`
		OfferAge  *float64 `json:"offer_age_ms"`
		Connected bool     `json:"connected"`
	}
	task struct {
		ID           string    `json:"id"`
		State        string    `json:"state"`
		ExitCode     *int      `json:"exit_code"`
		ExitSource   *string   `json:"exit_source"`
		StdoutDigest *string   `json:"stdout_digest"`
		Files        []file    `json:"files"`
		Gas          *uint64   `json:"gas"`
		Attempts     []attempt `json:"attempts"`
		WallMS       *float64  `json:"wall_ms"`
	}
	file struct {
		Path   string `json:"path"`
		Size   uint64 `json:"size"`
		Digest string `json:"digest"`
	}
	attempt struct {
		Attempt  int      `json:"attempt"`
		Provider string   `json:"provider"`
		State    string   `json:"state"`
		Reason   string   `json:"reason"`
		RTT      *float64 `json:"rtt_ms"`
		Started  *string  `json:"started"`
		Ended    *string  `json:"ended"`
	}
)

// startNet starts a testnet of n nodes with up.sh, and ends it with the test.
// It returns the nodes and what up.sh said.
func startNet(t *testing.T, n int, flags ...string) ([]*node, string) {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "net")
	if err != nil {
		t.Fatal(err)
	}
	binary := spareBinary(t)
	script := func(name string, args ...string) ending {
		cmd := exec.Command("./"+name, append(args, "--dir", dir)...)
		cmd.Env = append(os.Environ(), "SPARE_BIN="+binary)
		return finish(t, cmd)
	}
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, dir)
		}
		if end := script("down.sh"); end.code != 0 {
			t.Errorf("down.sh exits %d: %s%s", end.code, end.stdout, end.stderr)
			showLogs(t, dir)
		}
		checkLogs(t, dir)
	})
	up := script("up.sh", append([]string{"-n", strconv.Itoa(n)}, flags...)...)
	if up.code != 0 {
		t.Fatalf("up.sh exits %d: %s%s", up.code, up.stdout, up.stderr)
	}
	b, err := os.ReadFile(filepath.Join(dir, "nodes.json"))
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*node
	if err := json.Unmarshal(b, &nodes); err != nil {
		t.Fatalf("nodes.json: %v\n%s", err, b)
	}
	if len(nodes) != n {
		t.Fatalf("nodes.json names %d nodes, want %d", len(nodes), n)
	}
	for _, node := range nodes {
		node.binary = binary
	}
	said, _, _ := strings.Cut(string(up.stdout), "\n")
	return nodes, said
}

func showLogs(t *testing.T, dir string) {
	t.Helper()
	for path, b := range logs(t, dir) {
		b = bytes.TrimSpace(greeting.ReplaceAll(b, nil)) // which would hide why a test fails
		t.Logf("%s ends: %s", path, b[max(0, len(b)-4000):])
	}
}

// greeting is what spare up prints once its node runs.
var greeting = regexp.MustCompile(`(?m)^[a-z]+ {2,}.*\n`)

// checkLogs looks for panics that a server caught and went on after.
func checkLogs(t *testing.T, dir string) {
	t.Helper()
	for path, b := range logs(t, dir) {
		if i := bytes.Index(b, []byte("panic")); i >= 0 {
			t.Errorf("%s has a panic:\n%s", path, b[i:min(len(b), i+2000)])
		}
	}
}

// logs reads the logs of the nodes whose homes are in dir.
func logs(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*", "log"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, path := range paths {
		if all[path], err = os.ReadFile(path); err != nil {
			t.Error(err)
		}
	}
	return all
}

// startNode starts one more node, on its own, and ends it with the test. The
// secret is that of the network, 64 characters of hex; none: one is made.
func startNode(t *testing.T, network, secret string, flags ...string) *node {
	t.Helper()
	return startWithin(t, nil, network, secret, flags...)
}

// startWithin is startNode by a command that is the beginning of the node's own.
func startWithin(t *testing.T, within []string, network, secret string, flags ...string) *node {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "one")
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	n := &node{Name: filepath.Base(dir), Home: home, Network: network, binary: spareBinary(t)}
	if secret != "" {
		if err := os.Mkdir(filepath.Join(home, "networks"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(n.secretFile(), []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.Create(filepath.Join(home, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	command := slices.Concat(within, []string{n.binary, "up", "--home", home, "--network", network, "--donate", "always", "--slots", "2", "--mem", "1GiB", "--no-dashboard"}, flags)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.PID = cmd.Process.Pid
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // its end is what the scenario makes of it
	}()
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, dir)
		}
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(patience):
			t.Errorf("%s does not end on SIGTERM", n.Name)
			_ = cmd.Process.Kill()
			<-ended
		}
		checkLogs(t, dir)
	})
	await(t, n.Name+" answers", func() bool {
		select {
		case <-ended:
			t.Fatalf("%s has ended", n.Name)
		default:
		}
		return n.spare(t, nil, "status").code == 0
	})
	s := n.status(t)
	n.Peer, n.Addrs = s.Peer, s.Addrs
	return n
}

func (n *node) secretFile() string {
	return filepath.Join(n.Home, "networks", n.Network+".secret")
}

// secret reads the secret of the node's network.
func (n *node) secret(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(n.secretFile())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// bootstrap is the flags that make a node join at n.
func (n *node) bootstrap() []string {
	var flags []string
	for _, a := range n.Addrs {
		flags = append(flags, "--bootstrap", a)
	}
	return flags
}

// command makes a command line of spare against this node.
func (n *node) command(args ...string) *exec.Cmd {
	return exec.Command(n.binary, append([]string{"--home", n.Home}, args...)...)
}

// spare runs a command to its end.
func (n *node) spare(t *testing.T, stdin []byte, args ...string) ending {
	t.Helper()
	cmd := n.command(args...)
	cmd.Stdin = bytes.NewReader(stdin)
	return finish(t, cmd)
}

// ask runs a command with -o json and reads what it prints.
func ask[T any](t *testing.T, n *node, args ...string) T {
	t.Helper()
	end := n.spare(t, nil, append(args, "-o", "json")...)
	if end.code != 0 {
		t.Fatalf("%s: spare %s exits %d: %s", n.Name, strings.Join(args, " "), end.code, end.stderr)
	}
	var v T
	if err := json.Unmarshal(end.stdout, &v); err != nil {
		t.Fatalf("%s: spare %s: %v\n%s", n.Name, strings.Join(args, " "), err, end.stdout)
	}
	return v
}

func (n *node) status(t *testing.T) status        { t.Helper(); return ask[status](t, n, "status") }
func (n *node) peers(t *testing.T) []neighbour    { t.Helper(); return ask[[]neighbour](t, n, "peers") }
func (n *node) show(t *testing.T, id string) task { t.Helper(); return ask[task](t, n, "show", id) }

// lastTask is the task that was submitted last.
func (n *node) lastTask(t *testing.T) task {
	t.Helper()
	tasks := ask[[]task](t, n, "ps")
	if len(tasks) == 0 {
		t.Fatalf("%s has no task", n.Name)
	}
	return n.show(t, tasks[0].ID)
}

// knows reports whether n has a valid offer of each of the others.
func (n *node) knows(t *testing.T, others ...*node) bool {
	t.Helper()
	peers := n.peers(t)
	for _, other := range others {
		if other != n && !slices.ContainsFunc(peers, func(p neighbour) bool { return p.Peer == other.Peer && p.OfferAge != nil }) {
			return false
		}
	}
	return true
}

// connectedTo reports whether n has a connection with the other.
func (n *node) connectedTo(t *testing.T, other *node) bool {
	t.Helper()
	return slices.ContainsFunc(n.peers(t), func(p neighbour) bool { return p.Peer == other.Peer && p.Connected })
}

// signal sends a signal to the node's process.
func (n *node) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(n.PID, s); err != nil {
		t.Fatalf("signal %v to %s, process %d: %v", s, n.Name, n.PID, err)
	}
}

// restart starts a node of up.sh again, as its command file says.
func (n *node) restart(t *testing.T) {
	t.Helper()
	cmd := exec.Command(filepath.Join(n.Home, "command"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.PID = cmd.Process.Pid
	go func() { _ = cmd.Wait() }() // down.sh ends it; this reaps it
	await(t, n.Name+" answers again", func() bool { return n.spare(t, nil, "status").code == 0 })
}

// by finds the node of a peer ID.
func by(t *testing.T, nodes []*node, peer string) *node {
	t.Helper()
	i := slices.IndexFunc(nodes, func(n *node) bool { return n.Peer == peer })
	if i < 0 {
		t.Fatalf("%s is none of the nodes", peer)
	}
	return nodes[i]
}

// await polls until done, and returns how long that took.
func await(t *testing.T, what string, done func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !done() {
		if time.Since(start) > patience {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(start)
}

// processesOf counts the living processes that run a binary: nodes and their
// workers. It compares the files that /proc leads to, since the name of one
// differs where a process sees other mounts.
func processesOf(t *testing.T, binary string) int {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, link := range links {
		if got, err := os.Stat(link); err == nil && os.SameFile(got, want) {
			count++
		}
	}
	return count
}

// checkTimes checks that an attempt's times are RFC 3339 with milliseconds, and
// in order.
func (a attempt) checkTimes() error {
	const layout = "2006-01-02T15:04:05.000Z"
	var started, ended time.Time
	for _, f := range []struct {
		name string
		text *string
		to   *time.Time
	}{{"started", a.Started, &started}, {"ended", a.Ended, &ended}} {
		if f.text == nil {
			return fmt.Errorf("%s is null", f.name)
		}
		var err error
		if *f.to, err = time.Parse(layout, *f.text); err != nil {
			return err
		}
	}
	if ended.Before(started) {
		return fmt.Errorf("ended %v before it started %v", ended, started)
	}
	return nil
}
