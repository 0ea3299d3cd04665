package jail

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ground is what processes are started with: their namespaces and, unless nil,
// their control group.
type ground struct {
	flags  uintptr
	cgroup *cgroup
}

// namespace is a layer with its flag of clone(2).
type namespace struct {
	name string
	flag uintptr
}

// namespaces begin with the one that gives the right to make the others to who
// is not root.
var namespaces = []namespace{
	{UserNamespace, unix.CLONE_NEWUSER},
	{PIDNamespace, unix.CLONE_NEWPID},
	{NetNamespace, unix.CLONE_NEWNET},
	{IPCNamespace, unix.CLONE_NEWIPC},
	{MountNamespace, unix.CLONE_NEWNS},
	{UTSNamespace, unix.CLONE_NEWUTS},
}

// survey decides b.ground. It notes in found which layers the ground gives and
// which it cannot, and returns those that a process in it puts in force itself.
func (b *Box) survey(ctx context.Context, cfg Config, plan []string, found map[string]Layer) ([]Layer, error) {
	found[Process] = layerOf(Process, nil)
	if slices.Contains(plan, Cgroup) {
		var err error
		b.ground.cgroup, err = newCgroup(cfg.Memory)
		found[Cgroup] = layerOf(Cgroup, err)
	}
	for _, n := range namespaces {
		if slices.Contains(plan, n.name) {
			b.ground.flags |= n.flag
			found[n.name] = layerOf(n.name, nil)
		}
	}
	r, err := b.probe(ctx, b.probePlan(plan), "")
	if isStartError(err) && (b.ground.flags != 0 || b.ground.cgroup != nil) {
		r, err = b.surveyEach(ctx, plan, found)
	}
	if err != nil {
		return nil, err
	}
	return r.Layers, nil
}

// surveyEach finds out whether the control group, and which namespaces, can be
// had when not all can.
func (b *Box) surveyEach(ctx context.Context, plan []string, found map[string]Layer) (report, error) {
	all := b.ground.flags
	b.ground.flags = 0
	if b.ground.cgroup != nil {
		if _, err := b.probe(ctx, b.probePlan(plan), ""); isStartError(err) {
			_ = b.ground.close() // what may be left of it is empty
			b.ground.cgroup = nil
			var why unix.Errno
			_ = errors.As(err, &why) // every refusal is one
			found[Cgroup] = layerOf(Cgroup, fmt.Errorf("the system starts no process in it: %w", why))
		} else if err != nil {
			return report{}, err
		}
	}
	for _, n := range namespaces {
		if all&n.flag == 0 {
			continue
		}
		if n.name == MountNamespace && b.ground.flags&unix.CLONE_NEWUSER == 0 {
			found[n.name] = layerOf(n.name, errNeedsUserNamespace)
			continue
		}
		b.ground.flags |= n.flag
		if _, err := b.probe(ctx, b.probePlan(plan), ""); isStartError(err) {
			b.ground.flags &^= n.flag
			found[n.name] = layerOf(n.name, errors.New(refusal(err)))
		} else if err != nil {
			return report{}, err
		}
	}
	return b.probe(ctx, b.probePlan(plan), "")
}

// probePlan is the part of the plan that the present ground has room for.
func (b *Box) probePlan(plan []string) string {
	names := slices.DeleteFunc(slices.Clone(plan), func(name string) bool {
		return slices.ContainsFunc(namespaces, func(n namespace) bool {
			return n.name == name && b.ground.flags&n.flag == 0
		})
	})
	return strings.Join(names, planSeparator)
}

// refusal says for people why the system makes no namespace.
func refusal(err error) string {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "the system does not permit it, as is usual in containers"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return "the system permits no more of them (see /proc/sys/user)"
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return "the kernel was built without it"
	}
	return err.Error()
}

// prepare makes cmd start on the ground, in its own session, and to be killed
// by the kernel with the thread that starts it.
func (g *ground) prepare(cmd *exec.Cmd) {
	a := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: g.flags}
	if g.flags&unix.CLONE_NEWUSER != 0 {
		// As root inside: only root keeps its rights over execve, to mount.
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if g.cgroup != nil {
		a.UseCgroupFD, a.CgroupFD = true, int(g.cgroup.file.Fd())
	}
	cmd.SysProcAttr = a
}

// adopt does nothing: the process was started as it has to be.
func (g *ground) adopt(*exec.Cmd) error { return nil }

func (g *ground) close() error {
	if g.cgroup == nil {
		return nil
	}
	return g.cgroup.close()
}

// onMainThread reports whether the caller's thread is the process's first.
func onMainThread() bool { return unix.Gettid() == os.Getpid() }

// Kill kills p and what it may have started in its session. It is called once,
// before p is waited for: its number may be another's then.
func Kill(p *os.Process) {
	_ = p.Kill()                              // it may have ended by itself
	_ = syscall.Kill(-p.Pid, syscall.SIGKILL) // mostly there is nobody
}

// Hold has p stand still until [GoOn].
func Hold(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

// GoOn has p run again.
func GoOn(p *os.Process) error { return p.Signal(syscall.SIGCONT) }

// openExecutable opens the file of this process's own program, which stays the
// same when an upgrade replaces it on disk.
func openExecutable() (*os.File, error) { return os.Open("/proc/self/exe") }

// keepFiles sees to it that no worker inherits a file that this process was
// itself given by whoever started it; those that Go opens are safe already.
func keepFiles() {
	// Before Linux 5.11 the call is not there, and such files are shared.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
}

// executablePath names the opened program for a child to execute.
func executablePath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
