package jail

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// refusing is the environment variable that makes the test binary run its tests
// where the system refuses user namespaces, as in many containers.
const refusing = "SPARE_TEST_REFUSE_USER_NAMESPACES"

// again marks a run of the tests by a test.
const again = "SPARE_TEST_AGAIN"

// refuseUserNamespaces has the kernel say EPERM to them from now on.
func refuseUserNamespaces() error {
	deny := seccomp.SyscallGroup{Action: seccomp.ActionErrno}
	for _, name := range []string{"clone", "unshare"} {
		deny.NamesWithCondtions = append(deny.NamesWithCondtions, when(name, 0, seccomp.BitsSet, unix.CLONE_NEWUSER))
	}
	return seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true, Flag: seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{DefaultAction: seccomp.ActionAllow, Syscalls: []seccomp.SyscallGroup{deny}},
	})
}

func TestWithoutUserNamespaces(t *testing.T) {
	if os.Getenv(refusing) == "" {
		t.Skip("the test below runs it")
	}
	b := newBox(t)
	in := inForce(b)
	if in[UserNamespace] || in[MountNamespace] {
		t.Errorf("plan %s", b.Plan())
	}
	if root := os.Getuid() == 0; in[PIDNamespace] != root || in[NetNamespace] != root {
		t.Errorf("as root: %t, plan %s", root, b.Plan())
	}
	for _, l := range b.Layers() {
		if l.Name == UserNamespace && !strings.Contains(l.Why, "not permit") {
			t.Errorf("%+v", l)
		}
	}
}

// TestElsewhere runs the tests as another user, where namespaces are refused,
// and built without cgo.
func TestElsewhere(t *testing.T) {
	if os.Getenv(again) != "" {
		t.Skip("this is elsewhere")
	}
	root := os.Getuid() == 0
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	for _, c := range []struct {
		name    string
		user    *syscall.Credential
		refused bool
		build   bool
	}{
		{"as another user", nobody, false, false},
		{"as another user, without namespaces", nobody, true, false},
		{"without namespaces", nil, true, false},
		{"without cgo", nil, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.user != nil && !root {
				t.Skip("only root can become another user")
			}
			if c.build != cgo() {
				t.Skip("the build without cgo goes there")
			}
			dir := openDir(t)
			binary := filepath.Join(dir, "jail.test")
			if c.build {
				build(t, binary)
			} else {
				copyFile(t, binary)
			}
			tmp := filepath.Join(dir, "tmp")
			if err := os.Mkdir(tmp, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Parallel() // only now: a process forked meanwhile would hold the copy open for writing
			cmd := exec.CommandContext(t.Context(), binary, "-test.timeout=100s")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
			if !c.build { // which goes elsewhere too
				cmd.Env = append(cmd.Env, again+"=1")
			}
			if c.refused {
				cmd.Args = append(cmd.Args, "-test.skip=^TestLimitsHold$") // nothing about them is different
				cmd.Env = append(cmd.Env, refusing+"=1")
			}
			if c.user != nil {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.user}
				if err := os.Chown(tmp, int(c.user.Uid), int(c.user.Gid)); err != nil {
					t.Fatal(err)
				}
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// openDir is a directory that everybody may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "jail-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func build(t *testing.T, binary string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
}

func copyFile(t *testing.T, to string) {
	t.Helper()
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }() // it was only read
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, from); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
