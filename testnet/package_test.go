//go:build e2e && linux

package testnet

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// buildPackages builds what is handed out for this machine, unless SPARE_DIST names
// the folder where it is.
var buildPackages = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("SPARE_DIST"); dir != "" {
		return filepath.Abs(dir)
	}
	dir := filepath.Join(scratch, "dist")
	cmd := exec.Command("make", "dist", "PLATFORMS=linux/"+runtime.GOARCH, "DIST="+dir)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make dist: %w\n%s", err, out)
	}
	return dir, nil
})

// packaged is the path of this machine's package: a deb or an rpm.
func packaged(t *testing.T, kind string) string {
	t.Helper()
	dir, err := buildPackages()
	if err != nil {
		t.Fatal(err)
	}
	ending := runtime.GOARCH + "." + kind
	if kind == "rpm" {
		ending = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH] + ".rpm"
	}
	list, err := filepath.Glob(filepath.Join(dir, "*"+ending))
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: %q, %v", ending, list, err)
	}
	return list[0]
}

// wants skips a test where a program is not installed.
func wants(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
}

// TestE2EPackagesHoldTheSame compares the lists of files of both packages.
func TestE2EPackagesHoldTheSame(t *testing.T) {
	wants(t, "make", "zip", "dpkg-deb", "rpm")
	files := func(lines []byte, name func(string) string) (list []string) {
		for line := range strings.Lines(string(lines)) {
			path := name(strings.TrimSpace(line))
			if path != "" && !strings.HasSuffix(path, "/") {
				list = append(list, path)
			}
		}
		slices.Sort(list)
		return list
	}
	deb := finish(t, exec.Command("dpkg-deb", "--contents", packaged(t, "deb")))
	rpm := finish(t, exec.Command("rpm", "-qpl", packaged(t, "rpm")))
	if deb.code != 0 || rpm.code != 0 {
		t.Fatalf("%s%s", deb.stderr, rpm.stderr)
	}
	here := files(deb.stdout, func(line string) string {
		_, path, _ := strings.Cut(line, " ./")
		return "/" + path
	})
	// Where each of the two has a place of its own.
	there := files(rpm.stdout, func(path string) string {
		switch path {
		case "/usr/share/licenses/spare/LICENSE":
			return "/usr/share/doc/spare/copyright"
		case "/usr/share/zsh/site-functions/_spare":
			return "/usr/share/zsh/vendor-completions/_spare"
		}
		return path
	})
	if !slices.Equal(here, there) {
		t.Errorf("deb:\n%s\nrpm:\n%s", strings.Join(here, "\n"), strings.Join(there, "\n"))
	}
	for _, path := range []string{"/usr/bin/spare", "/usr/lib/systemd/system/spare.service", "/usr/share/man/man1/spare-run.1.gz"} {
		if !slices.Contains(here, path) {
			t.Errorf("there is no %s among\n%s", path, strings.Join(here, "\n"))
		}
	}
	sums := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	sums.Dir = filepath.Dir(packaged(t, "deb"))
	if end := finish(t, sums); end.code != 0 {
		t.Errorf("%s%s", end.stdout, end.stderr)
	}
}

// machine is a copy of this one, which its own systemd has booted: what happens in
// there is written to memory, and gone with it.
type machine struct {
	leader int // the number of its first process
}

// powerOff is SIGRTMIN+14 as C has it: see systemd(1).
const powerOff = syscall.Signal(34 + 14)

// bootMachine needs root, systemd and overlayfs. There is no network in it.
func bootMachine(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root boots a machine")
	}
	wants(t, "systemd-nspawn", "dbus-daemon", "unshare", "nsenter", "dpkg")
	dir := filepath.Join(scratch, "machine")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("spare-test-%d", os.Getpid())
	// nspawn's own filter of system calls, which no real machine has, denies Landlock.
	const script = `set -e
		mount -t tmpfs -o size=2g,mode=755 tmpfs "$1"
		mkdir "$1"/{up,work,root}
		mount -t overlay overlay -o lowerdir=/,upperdir="$1"/up,workdir="$1"/work "$1/root"
		rm -f "$1/root/usr/sbin/policy-rc.d"
		SYSTEMD_SECCOMP=0 exec systemd-nspawn --quiet --register=no --keep-unit --directory "$1/root" --machine "$2" \
			--private-network --console=pipe --boot systemd.unit=basic.target`
	var said bytes.Buffer
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "bash", "-c", script, "bash", dir, name)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // whose end would be the machine's
	t.Cleanup(runtime.UnlockOSThread)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	var how error // read when it has ended
	go func() {
		how = cmd.Wait()
		close(ended)
	}()
	m := new(machine)
	t.Cleanup(func() {
		if m.leader > 0 {
			_ = syscall.Kill(m.leader, powerOff)
		}
		select {
		case <-ended:
		default:
			_ = cmd.Process.Signal(syscall.SIGTERM)
			<-ended
		}
		_ = os.RemoveAll("/run/systemd/nspawn/propagate/" + name)
	})
	await(t, "the machine has booted", func() bool {
		select {
		case <-ended:
			t.Skipf("this machine cannot boot another: %v\n%s", how, said.Bytes())
		default:
		}
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid)) // not yet
		if _, err := fmt.Sscan(string(children), &m.leader); err != nil {
			return false
		}
		state := strings.TrimSpace(string(m.run(t, "systemctl", "is-system-running").stdout))
		return state == "running" || state == "degraded" // by what else is installed here
	})
	return m
}

// run runs a program in the machine, as root.
func (m *machine) run(t *testing.T, args ...string) ending {
	t.Helper()
	cmd := exec.Command("nsenter", append([]string{"--target", fmt.Sprint(m.leader), "--all", "--"}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C"}
	return finish(t, cmd)
}

// must runs a program that has to end well, and returns what it writes.
func (m *machine) must(t *testing.T, args ...string) string {
	t.Helper()
	end := m.run(t, args...)
	if end.code != 0 {
		t.Fatalf("%q exits %d:\n%s%s", args, end.code, end.stdout, end.stderr)
	}
	return strings.TrimSpace(string(end.stdout))
}

// fails runs a program that has to end with a status other than 0.
func (m *machine) fails(t *testing.T, code int, args ...string) string {
	t.Helper()
	end := m.run(t, args...)
	if end.code != code {
		t.Errorf("%q exits %d, not %d:\n%s%s", args, end.code, code, end.stdout, end.stderr)
	}
	return string(end.stdout) + string(end.stderr)
}

// put copies a file into the machine, for everybody to read.
func (m *machine) put(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(filepath.Join("/proc", fmt.Sprint(m.leader), "root", to), b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// layersNotInForce are those of which 'spare doctor -o json' says so.
func layersNotInForce(t *testing.T, said []byte) (names []string) {
	t.Helper()
	var d struct {
		Layers []struct {
			Name    string `json:"name"`
			InForce bool   `json:"in_force"`
		} `json:"layers"`
	}
	if err := json.Unmarshal(said, &d); err != nil || len(d.Layers) == 0 {
		t.Fatalf("%v: %s", err, said)
	}
	for _, l := range d.Layers {
		if !l.InForce {
			names = append(names, l.Name)
		}
	}
	return names
}

// parrot is a small program, compiled in no time, that says what it reads:
//
//	(module (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
//	  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
//	  (memory (export "memory") 1) (data (i32.const 0) "\10\00\00\00\00\04\00\00")
//	  (func (export "_start")
//	    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
//	    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
const parrot = "AGFzbQEAAAABDAJgBH9/f38Bf2AAAAJEAhZ3YXNpX3NuYXBzaG90X3ByZXZpZXcxB2ZkX3JlYWQAABZ3YXNpX3NuYXBzaG90X3ByZXZpZXcxCGZk" +
	"X3dyaXRlAAADAgEBBQMBAAEHEwIGbWVtb3J5AgAGX3N0YXJ0AAIKGgEYAEEAQQBBAUEEEAAaQQFBAEEBQQgQARoLCw4BAEEACwgQAAAAAAQAAA=="

func TestE2EPackageInstalledUsedAndRemoved(t *testing.T) {
	wants(t, "make", "zip")
	deb, program := packaged(t, "deb"), filepath.Join(scratch, "parrot.wasm")
	bytecode, err := base64.StdEncoding.DecodeString(parrot)
	if err == nil {
		err = os.WriteFile(program, bytecode, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	m := bootMachine(t)
	m.put(t, deb, "/opt/spare.deb")
	m.put(t, program, "/opt/parrot.wasm")

	// Installed, it runs: with nobody's help, and as nobody in particular.
	t.Log(m.must(t, "dpkg", "--install", "/opt/spare.deb"))
	m.must(t, "systemctl", "is-active", "spare")
	m.must(t, "systemctl", "is-enabled", "spare")
	m.must(t, "systemd-analyze", "verify", "spare.service", "spare.slice")
	if said := m.must(t, "spare", "service", "status", "--system"); !strings.Contains(said, "/usr/lib/systemd/system/spare.service") && !strings.Contains(said, " /lib/systemd/system/spare.service") {
		t.Errorf("it says\n%s", said)
	}
	if who := m.must(t, "ps", "-o", "user=", "-p", m.must(t, "systemctl", "show", "--property=MainPID", "--value", "spare")); who != "spare" {
		t.Errorf("it runs as %s", who)
	}
	peer := func() string {
		var s struct{ Peer, Home string }
		said := m.must(t, "spare", "status", "-o", "json")
		if err := json.Unmarshal([]byte(said), &s); err != nil || s.Home != "/var/lib/spare" || s.Peer == "" {
			t.Fatalf("%v: %s", err, said)
		}
		return s.Peer
	}
	first := peer()

	// The unit costs no layer: what is missing is missing without it. A control group
	// a process of a user's shell does not get either.
	under := layersNotInForce(t, []byte(m.must(t, "spare", "doctor", "-o", "json")))
	alone := layersNotInForce(t, []byte(m.must(t, "spare", "--home", "/opt/alone", "doctor", "-o", "json")))
	t.Logf("layers not in force, under the unit: %q; without it: %q", under, alone)
	for _, name := range under {
		if !slices.Contains(alone, name) {
			t.Errorf("the unit takes the layer %s away", name)
		}
	}

	// Who is in the group uses it without a home; who is not is told what to do.
	m.must(t, "useradd", "--groups", "spare", "member")
	m.must(t, "useradd", "stranger")
	as := func(name string, args ...string) []string {
		return append([]string{"runuser", "-u", name, "--"}, args...)
	}
	run := []string{"bash", "-c", "echo to be | spare run /opt/parrot.wasm"}
	if said := m.must(t, as("member", run...)...); said != "to be" {
		t.Errorf("a member's program says %q", said)
	}
	said := m.fails(t, 125, as("stranger", run...)...)
	if !strings.Contains(said, "E-GROUP: the node at /var/lib/spare/api.sock is for members of the group spare, and you are none") ||
		!strings.Contains(said, "sudo usermod -aG spare stranger") {
		t.Errorf("a stranger is told %s", said)
	}
	for _, name := range []string{"member", "stranger"} {
		m.fails(t, 2, as(name, "ls", "/var/lib/spare")...)
		m.fails(t, 1, as(name, "cat", "/var/lib/spare/identity.key")...)
	}
	m.must(t, "usermod", "-aG", "spare", "stranger")
	if said := m.must(t, as("stranger", run...)...); said != "to be" {
		t.Errorf("who has joined the group is told %q", said)
	}

	// Removed, it leaves its home and no process; installed again it is the same peer.
	nobody := func() {
		t.Helper()
		if end := m.run(t, "ps", "-u", "spare", "-o", "pid=,args="); len(bytes.TrimSpace(end.stdout)) > 0 {
			t.Errorf("these are left: %s", end.stdout)
		}
	}
	m.must(t, "dpkg", "--remove", "spare")
	nobody()
	m.must(t, "test", "-s", "/var/lib/spare/identity.key")
	m.must(t, "test", "!", "-e", "/usr/bin/spare")
	m.must(t, "dpkg", "--install", "/opt/spare.deb")
	if again := peer(); again != first {
		t.Errorf("it was %s and is %s", first, again)
	}

	// Purged, it leaves nothing.
	uid := m.must(t, "id", "-u", "spare")
	m.must(t, "dpkg", "--purge", "spare")
	m.fails(t, 1, "id", "spare")
	m.fails(t, 2, "getent", "group", "spare")
	if end := m.run(t, "ps", "-u", uid, "-o", "pid=,args="); len(bytes.TrimSpace(end.stdout)) > 0 {
		t.Errorf("these are left: %s", end.stdout)
	}
	for _, path := range []string{"/var/lib/spare", "/etc/default/spare", "/usr/lib/systemd/system/spare.service", "/etc/systemd/system/multi-user.target.wants/spare.service"} {
		m.must(t, "test", "!", "-e", path)
	}

	// Without a package 'spare service install' does as much.
	m.put(t, spareBinary(t), "/usr/local/bin/spare")
	m.must(t, "/usr/local/bin/spare", "service", "install", "--", "--network", "lab")
	if said := m.must(t, "/usr/local/bin/spare", "status"); !strings.Contains(said, "lab (") {
		t.Errorf("it says %s", said)
	}
	m.must(t, "useradd", "--create-home", "own")
	m.must(t, "systemctl", "start", "user@"+m.must(t, "id", "-u", "own"))
	mine := append(as("own"), "env", "XDG_RUNTIME_DIR=/run/user/"+m.must(t, "id", "-u", "own"), "HOME=/home/own", "/usr/local/bin/spare")
	m.must(t, append(mine, "service", "install")...)
	if said := m.must(t, append(mine, "status")...); !strings.Contains(said, "/home/own/.local/share/spare") || !strings.Contains(said, "default (") {
		t.Errorf("a user's own says %s", said)
	}
	m.must(t, append(mine, "service", "status")...)
	m.must(t, append(mine, "service", "uninstall")...)
	m.must(t, "test", "-s", "/home/own/.local/share/spare/identity.key")
	m.fails(t, 1, append(mine, "service", "status")...)
	m.must(t, "/usr/local/bin/spare", "service", "uninstall", "--purge")
	m.must(t, "test", "!", "-e", "/var/lib/spare")
	m.fails(t, 1, "id", "spare")
	m.fails(t, 2, "getent", "group", "spare")
}
