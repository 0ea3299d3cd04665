package jail

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var (
	errNeedsUserNamespace = errors.New("it needs the user namespace")
	errCgo                = errors.New("a program built with cgo cannot change all its threads; 'make build' builds it without")
)

// maxFiles is how many files a process may have open: a worker needs the pipes
// to its node, one of compiled code, and the runtime's own.
const maxFiles = 32

// maxTasks is how many threads a process may have where they are counted for it
// alone. Workers were seen with 12.
const maxTasks = 64

// enter puts the layers of the plan in force that a process can put in force
// itself, and notes in the Cell how that went.
//
// The order matters: what is done first must not be denied by what comes later.
// What needs /proc is before the mounts, which need capabilities; and the
// priorities are late, lest a busy machine leaves a worker half confined.
func enter(l Limits) (*Cell, error) {
	plan, err := planned(l.Plan)
	if err != nil {
		return nil, err
	}
	_ = os.WriteFile("/proc/self/comm", []byte(os.Args[0]), 0) // it only looks better
	c := &Cell{Dir: l.Dir, writable: l.Writable}
	var group *os.File
	var noGroup error
	if plan[IdlePriority] {
		group, noGroup = os.OpenFile("/proc/self/autogroup", os.O_WRONLY, 0)
		if errors.Is(noGroup, os.ErrNotExist) { // the scheduler knows no groups
			noGroup = nil
		}
	}
	if plan[RLimits] {
		c.put(RLimits, setLimits(l, plan[UserNamespace] && countsByNamespace()))
	}
	if plan[MountNamespace] {
		err := moveInto(l.Dir, l.Writable)
		c.put(MountNamespace, err)
		if err == nil {
			c.Dir = "/"
		}
	}
	if plan[NoNewPrivs] {
		c.put(NoNewPrivs, dropPrivileges())
	}
	if plan[Landlock] {
		c.put(Landlock, landlock(c.Dir, l.Writable))
	}
	if plan[IdleIO] {
		c.put(IdleIO, idleIO())
	}
	switch {
	case noGroup != nil:
		c.put(IdlePriority, noGroup)
	case plan[IdlePriority]:
		c.put(IdlePriority, idlePriority(group))
	}
	if plan[Seccomp] {
		c.put(Seccomp, filterCalls(loadingCalls()))
	}
	return c, nil
}

// Seal denies this process what only the loading of a module needs: files, and
// memory that becomes executable. An executor calls it before its first guest;
// for who may write it does nothing.
func (c *Cell) Seal() error {
	if c.writable || !c.holds(Seccomp) {
		return nil
	}
	if err := filterCalls(runningCalls()); err != nil {
		return fmt.Errorf("seal jail: %w", err)
	}
	return nil
}

// countsByNamespace reports whether RLIMIT_NPROC counts the processes of a user
// in a user namespace apart from those outside, as it does since Linux 5.14
// (commit 21d1c5e386bc). Before, a worker of a user with many processes would
// get no threads. Seccomp keeps it from starting processes either way.
func countsByNamespace() bool {
	var name unix.Utsname
	return unix.Uname(&name) == nil && isSince(unix.ByteSliceToString(name.Release[:]), 5, 14)
}

// isSince reports whether the kernel's release, as "5.14.0-70.el9", is of that
// version or a later one.
func isSince(release string, major, minor int) bool {
	var x, y int
	if _, err := fmt.Sscanf(release, "%d.%d", &x, &y); err != nil {
		return false
	}
	return x > major || x == major && y >= minor
}

// setLimits bounds memory, files, processor time and, where those of this
// process alone count, threads.
func setLimits(l Limits, ownTasks bool) error {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	var pages uint64
	if _, err := fmt.Fscan(bytes.NewReader(b), &pages); err != nil {
		return fmt.Errorf("read /proc/self/statm: %w", err)
	}
	limits := map[int]uint64{
		unix.RLIMIT_AS:       pages*uint64(os.Getpagesize()) + l.AddressSpace,
		unix.RLIMIT_FSIZE:    l.FileSize,
		unix.RLIMIT_NOFILE:   maxFiles,
		unix.RLIMIT_CORE:     0,
		unix.RLIMIT_MSGQUEUE: 0,
		unix.RLIMIT_MEMLOCK:  0,
	}
	if l.CPUSeconds > 0 {
		limits[unix.RLIMIT_CPU] = l.CPUSeconds
	}
	if ownTasks {
		limits[unix.RLIMIT_NPROC] = maxTasks
	}
	for which, most := range limits {
		var now unix.Rlimit
		if err := unix.Getrlimit(which, &now); err != nil {
			return err
		}
		most = min(most, now.Max) // who started the node may have been stricter
		if err := unix.Setrlimit(which, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("limit %d to %d: %w", which, most, err)
		}
	}
	return nil
}

// onAllThreads makes a system call on every thread of this process.
//
//go:uintptrescapes
func onAllThreads(call string, trap, a, b, c uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall(trap, a, b, c)
	switch {
	case errno == unix.ENOTSUP:
		return errCgo
	case errno != 0:
		return fmt.Errorf("%s: %w", call, errno)
	}
	return nil
}

// idlePriority has this process run only when nobody else wants a processor.
// Group is the file of its autogroup, nil where there is none: the scheduler
// may group tasks by session, and compares their priorities only within a
// group; so the group gets the least of all.
func idlePriority(group *os.File) error {
	if group != nil {
		if err := lowerGroup(group); err != nil {
			return err
		}
	}
	const scheduleIdle = 5 // SCHED_IDLE of linux/sched.h
	var parameter int32    // the static priority, of which there is none
	return onAllThreads("sched_setscheduler", unix.SYS_SCHED_SETSCHEDULER, 0, scheduleIdle, uintptr(unsafe.Pointer(&parameter)))
}

// lowerGroup gives the session's group the priority 19, and closes its file.
// The kernel lets who is not root change one group in a tenth of a second, on
// the whole machine; what has to wait for that does so beside the work.
func lowerGroup(group *os.File) error {
	_, err := group.WriteString("19")
	if !errors.Is(err, unix.EAGAIN) {
		return errors.Join(err, group.Close())
	}
	go func() { // at most until the process ends
		for errors.Is(err, unix.EAGAIN) {
			time.Sleep(100 * time.Millisecond)
			_, err = group.WriteString("19")
		}
		_ = group.Close() // what was written, was
	}()
	return nil
}

// idleIO has this process use a disk only when nobody else does.
func idleIO() error {
	const (
		whoProcess = 1       // IOPRIO_WHO_PROCESS of linux/ioprio.h: a thread
		classIdle  = 3 << 13 // IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT
	)
	return onAllThreads("ioprio_set", unix.SYS_IOPRIO_SET, whoProcess, 0, classIdle)
}

// dropPrivileges gives up all capabilities, for good: with no_new_privs no
// program that is executed brings any back.
func dropPrivileges() error {
	if err := onAllThreads("no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return onAllThreads("capset", unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0)
}
