//go:build unix && !linux

package jail

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ground is what processes are started with: nothing but their own session.
type ground struct{}

func (b *Box) survey(ctx context.Context, _ Config, plan []string, found map[string]Layer) ([]Layer, error) {
	return b.surveyInside(ctx, plan, found)
}

func (g *ground) prepare(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

func (g *ground) adopt(*exec.Cmd) error { return nil }

func (g *ground) boundCPU(float64) bool { return false }

func (g *ground) close() error { return nil }

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

// keepFiles does nothing: what Go opens is not inherited.
func keepFiles() {}

// errMemory says what is missing of [RLimits]. A node that requires the layer
// counts on a bound of memory, so it is not in force.
var errMemory = errors.New("files and processor time are bounded, but this system bounds no memory")

// enter puts in force what the plan says and this system has. It ends the
// process soon after its node, also when a guest computes and the end of the
// pipe goes unnoticed.
//
// The limits that there are hold whatever the plan says: they are too few to
// be the layer, and better than none.
func enter(l Limits) (*Cell, error) {
	plan, err := planned(l.Plan)
	if err != nil {
		return nil, err
	}
	c := &Cell{Dir: l.Dir, writable: l.Writable}
	parent := os.Getppid()
	go func() { // until the process ends
		for os.Getppid() == parent {
			time.Sleep(time.Second / 2)
		}
		os.Exit(1)
	}()
	if err := setLimits(l); err != nil {
		return nil, err
	}
	if plan[RLimits] {
		c.put(RLimits, errMemory)
	}
	if plan[IdlePriority] {
		c.put(IdlePriority, unix.Setpriority(unix.PRIO_PROCESS, 0, 19))
	}
	return c, nil
}

// setLimits bounds what this system can bound.
func setLimits(l Limits) error {
	limits := map[int]uint64{unix.RLIMIT_FSIZE: l.FileSize, unix.RLIMIT_CORE: 0}
	if l.CPUSeconds > 0 {
		limits[unix.RLIMIT_CPU] = l.CPUSeconds
	}
	for which, most := range limits {
		var now unix.Rlimit
		if err := unix.Getrlimit(which, &now); err != nil {
			return fmt.Errorf("read limit %d: %w", which, err)
		}
		most = min(most, now.Max) // who started the node may have been stricter
		if err := unix.Setrlimit(which, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("limit %d to %d: %w", which, most, err)
		}
	}
	return nil
}
