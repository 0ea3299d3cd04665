//go:build e2e && unix

package testnet

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestE2EDashboard looks at the dashboard of a node of six in a browser.
func TestE2EDashboard(t *testing.T) {
	chromium := browserTools(t)
	shots := os.Getenv("SPARE_SCREENSHOTS")
	if shots == "" {
		shots = filepath.Join(os.TempDir(), "spare-screenshots")
	}
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Log("screenshots:", shots)
	tools := installTools(t)
	t.Run("types", func(t *testing.T) { runTool(t, tools, "./node_modules/.bin/tsc", "-p", ".") })
	t.Run("lint", func(t *testing.T) { runTool(t, tools, "./node_modules/.bin/eslint", ".") })

	nodes, said := startNet(t, 6)
	t.Log(said)
	watched := nodes[0]
	withDashboard(t, watched)
	await(t, "all know the node again", func() bool { return watched.knows(t, nodes...) })
	must := func(n *node, stdin string, args ...string) string {
		t.Helper()
		end := n.spare(t, []byte(stdin), args...)
		if end.code != 0 {
			t.Fatalf("%v exits %d: %s", args, end.code, end.stderr)
		}
		return strings.TrimSpace(string(end.stdout))
	}
	// Its own tasks, one of a name that is markup, and what others have it run.
	// The programs are small, so that nobody waits for a compiler.
	dir := t.TempDir()
	program := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	greet := raw{imports: []wasiFunction{fdWrite()}, pages: 1, functions: []rawFunction{{code: print(number('h' | 'i'<<8 | '!'<<16 | '\n'<<24))}}}.wasm()
	odd := program("<b onclick=alert(1)>\u202egnp.wasm", greet)
	spin, trap := program("spin.wasm", spinning()), program("trap.wasm", []byte(trapping))
	task := must(watched, "", "run", "-d", "--remote", "--replicas", "3", "--quorum", "2", odd, "--", "an arg")
	must(watched, "", "wait", task)
	must(watched, "", "run", "-d", "--remote", spin)
	for _, other := range nodes[1:3] {
		must(other, "", "run", "--on", watched.Peer, odd)
		must(other, "", "run", "-d", "--on", watched.Peer, spin)
	}
	job := must(watched, "", "map", "-d", trap, ":::", "1", "2", "3", "4")
	await(t, "the job has ended", func() bool { return watched.spare(t, nil, "wait", "--timeout", "1s", job).code != 124 })
	var items strings.Builder
	for i := range 10_000 {
		fmt.Fprintln(&items, 1000+i)
	}
	big := must(watched, items.String(), "map", "-d", odd)
	lone := startNode(t, "lone", "", "--no-dashboard=false", "--dashboard", "127.0.0.1:0")

	cmd := exec.Command("node", "drive.mjs")
	cmd.Dir = tools
	cmd.Env = append(os.Environ(), "SPARE_TASK="+task, "SPARE_JOB="+job, "SPARE_BIG_JOB="+big,
		"SPARE_SHOTS="+shots, "SPARE_CHROMIUM="+chromium, "SPARE_ALONE="+must(lone, "", "dashboard", "--print"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		what, asked := strings.CutPrefix(lines.Text(), "do ")
		answer := "done"
		switch {
		case !asked:
			t.Log(lines.Text())
			continue
		case what == "link":
			answer = must(watched, "", "dashboard", "--print")
		case what == "ticks": // of CPU time, a hundred of which are a second
			all, err := readProcesses()
			if err != nil {
				t.Fatal(err)
			}
			if all[lone.PID].ticks == 0 {
				t.Fatalf("the lone node, %d, is not there", lone.PID)
			}
			answer = strconv.FormatUint(all[lone.PID].ticks, 10)
		case what == "kill":
			watched.signal(t, syscall.SIGKILL)
		case what == "start":
			watched.restart(t)
		}
		if _, err := io.WriteString(in, answer+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the dashboard is not as it should be (%v), see %s\n%s", err, shots, stderr.Bytes())
	}
}

// browserTools returns the path of Chromium, where that and npm are installed.
func browserTools(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err == nil {
		_, err = exec.LookPath("npm")
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%v (Debian: apt-get install chromium nodejs npm)", err)
		}
		t.Skipf("%v (Debian: apt-get install chromium nodejs npm)", err)
	}
	return path
}

// installTools makes a folder with what drives a browser, and with the page's
// modules below web.
func installTools(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(scratch, "browser")
	for from, to := range map[string]string{"../.browser": dir, "../node/api/web": filepath.Join(dir, "web")} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	runTool(t, dir, "npm", "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error")
	return dir
}

func runTool(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// withDashboard starts a node of up.sh again, with a dashboard that has the same
// address after every start.
func withDashboard(t *testing.T, n *node) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(n.Home, "command")
	script, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	script = bytes.Replace(script, []byte("--no-dashboard"), []byte("--dashboard "+addr), 1)
	if err := os.WriteFile(path, script, 0o700); err != nil {
		t.Fatal(err)
	}
	n.signal(t, syscall.SIGTERM)
	await(t, n.Name+" ends", func() bool { return syscall.Kill(n.PID, 0) != nil })
	n.restart(t)
}
