package jail

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// ground is what processes are started with: a job that ends them all when its
// last handle is closed, which is when this process ends, however it does.
type ground struct {
	job windows.Handle // 0: none yet
}

func (b *Box) survey(ctx context.Context, _ Config, plan []string, found map[string]Layer) ([]Layer, error) {
	job, err := newJob(windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE}, 0)
	if err != nil {
		return nil, err
	}
	b.ground.job = job
	return b.surveyInside(ctx, plan, found)
}

// prepare keeps a worker out of the node's console group.
func (g *ground) prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP, HideWindow: true}
}

// adopt puts the started process into the job. It is reading from the node
// meanwhile, so nothing hostile runs outside.
func (g *ground) adopt(cmd *exec.Cmd) error {
	err := g.assign(uint32(cmd.Process.Pid))
	if err != nil {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()         // it was killed
	}
	return err
}

func (g *ground) assign(pid uint32) error {
	h, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, pid)
	if err != nil {
		return fmt.Errorf("open worker: %w", err)
	}
	return errors.Join(windows.AssignProcessToJobObject(g.job, h), windows.CloseHandle(h))
}

func (g *ground) boundCPU(float64) bool { return false }

func (g *ground) close() error {
	if g.job == 0 {
		return nil
	}
	return windows.CloseHandle(g.job)
}

// Kill kills p. It can have started nothing.
func Kill(p *os.Process) { _ = p.Kill() } // it may have ended by itself

// Hold fails: there is no call for it that is told of.
func Hold(*os.Process) error { return errors.ErrUnsupported }

// GoOn fails as Hold does.
func GoOn(*os.Process) error { return errors.ErrUnsupported }

// keepFiles does nothing: what Go opens is not inherited.
func keepFiles() {}

// enter puts in force what the plan says and this system has.
func enter(l Limits) (*Cell, error) {
	plan, err := planned(l.Plan)
	if err != nil {
		return nil, err
	}
	c := &Cell{Dir: l.Dir, writable: l.Writable}
	if plan[RLimits] {
		c.put(RLimits, setLimits(l))
	}
	if plan[IdlePriority] {
		c.put(IdlePriority, windows.SetPriorityClass(windows.CurrentProcess(), windows.IDLE_PRIORITY_CLASS))
	}
	return c, nil
}

// setLimits puts this process into a job of its own, within its node's, that
// bounds its memory and processor time, and lets it start no other.
func setLimits(l Limits) error {
	basic := windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{
		LimitFlags: windows.JOB_OBJECT_LIMIT_PROCESS_MEMORY | windows.JOB_OBJECT_LIMIT_ACTIVE_PROCESS |
			windows.JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION,
		ActiveProcessLimit: 1,
	}
	if l.CPUSeconds > 0 {
		basic.LimitFlags |= windows.JOB_OBJECT_LIMIT_PROCESS_TIME
		basic.PerProcessUserTimeLimit = int64(l.CPUSeconds) * 1e7 // of 100 ns
	}
	job, err := newJob(basic, l.AddressSpace)
	if err != nil {
		return err
	}
	// The handle stays open: the job must outlive this function.
	return windows.AssignProcessToJobObject(job, windows.CurrentProcess())
}

// newJob makes a job with these limits. Memory is in bytes for each process.
func newJob(basic windows.JOBOBJECT_BASIC_LIMIT_INFORMATION, memory uint64) (windows.Handle, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return 0, fmt.Errorf("make job: %w", err)
	}
	limits := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{BasicLimitInformation: basic, ProcessMemoryLimit: uintptr(memory)}
	if _, err := windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits))); err != nil {
		return 0, errors.Join(fmt.Errorf("limit job: %w", err), windows.CloseHandle(job))
	}
	return job, nil
}
