package jail

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// calls is a set of system calls that a process may make. Names that the
// architecture does not have are passed over.
type calls struct {
	always []string
	only   []seccomp.NameWithConditions // with these arguments; several of a name are alternatives
}

// runningCalls are what the Go runtime and a guest's host functions need while
// guests run: memory that is not executable, threads, time, and the files that
// are open already.
func runningCalls() calls {
	c := ownCalls()
	for _, name := range []string{"mmap", "mprotect"} {
		c.only = append(c.only, when(name, 2, seccomp.BitsNotSet, unix.PROT_EXEC))
	}
	return c
}

// loadingCalls are what a process needs beyond runningCalls to load or to
// compile a module: files, executable memory, and the stricter filter.
func loadingCalls() calls {
	c := ownCalls()
	c.always = append(c.always,
		"mmap", "mprotect",
		"openat", "fstat", "fstatat", "newfstatat", "statx", "getdents64", "lseek", "pread64", "pwrite64",
		"ftruncate", "fsync", "fdatasync", "mkdirat", "unlinkat", "renameat", "renameat2")
	c.only = append(c.only,
		when("seccomp", 0, seccomp.Equal, 1), // SECCOMP_SET_MODE_FILTER: a filter only takes away
		when("prctl", 0, seccomp.Equal, unix.PR_SET_NO_NEW_PRIVS),
		when("prlimit64", 0, seccomp.Equal, 0)) // its own limits
	return c
}

// ownCalls concern nothing but the process's own memory, threads and open files.
func ownCalls() calls {
	pid := uint64(os.Getpid())
	return calls{
		always: []string{
			"read", "write", "close", "munmap", "madvise", "mincore", "brk",
			"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
			"futex", "sched_yield", "nanosleep", "clock_nanosleep", "clock_gettime", "gettimeofday",
			"getpid", "gettid", "getrandom", "sched_getaffinity", "exit", "exit_group",
			"epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_wait", "eventfd2",
			"set_robust_list", "rseq", // of C threads, where the race detector brings some
		},
		only: []seccomp.NameWithConditions{
			// Go's threads, those of amd64, and C's; never a process or a namespace.
			when("clone", 0, seccomp.Equal, goThread),
			when("clone", 0, seccomp.Equal, goThread|unix.CLONE_SETTLS),
			when("clone", 0, seccomp.Equal, cThread),
			when("tgkill", 0, seccomp.Equal, pid), // the runtime interrupts goroutines
			when("kill", 0, seccomp.Equal, pid),   // and ends itself when it crashes
			// Signals at input or output, which might go to anybody, are left out.
			when("fcntl", 1, seccomp.Equal, unix.F_GETFD),
			when("fcntl", 1, seccomp.Equal, unix.F_SETFD),
			when("fcntl", 1, seccomp.Equal, unix.F_GETFL),
			when("fcntl", 1, seccomp.Equal, unix.F_DUPFD_CLOEXEC),
			{Name: "fcntl", Conditions: seccomp.ArgumentConditions{
				{Argument: 1, Operation: seccomp.Equal, Value: unix.F_SETFL},
				{Argument: 2, Operation: seccomp.BitsNotSet, Value: unix.O_ASYNC},
			}},
		},
	}
}

const (
	goThread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD
	cThread  = goThread | unix.CLONE_SETTLS | unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID
)

func when(name string, argument uint32, op seccomp.Operation, value uint64) seccomp.NameWithConditions {
	return seccomp.NameWithConditions{
		Name:       name,
		Conditions: seccomp.ArgumentConditions{{Argument: argument, Operation: op, Value: value}},
	}
}

// filterCalls denies all threads of this process, for good, every system call
// that is not among those given. They fail with EPERM, except for clone3, whose
// arguments no filter can read: C libraries fall back to clone when told that
// there is no such call.
func filterCalls(c calls) error {
	info, err := arch.GetInfo("")
	if err != nil {
		return fmt.Errorf("no filter for this architecture: %w", err)
	}
	allow := seccomp.SyscallGroup{Action: seccomp.ActionAllow}
	for _, name := range c.always {
		if _, known := info.SyscallNames[name]; known {
			allow.Names = append(allow.Names, name)
		}
	}
	for _, n := range c.only {
		if _, known := info.SyscallNames[n.Name]; known {
			allow.NamesWithCondtions = append(allow.NamesWithCondtions, n)
		}
	}
	filter := seccomp.Filter{
		NoNewPrivs: true, // of this thread; TSync brings it to all
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionErrno, // EPERM
			Syscalls: []seccomp.SyscallGroup{allow, {
				Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS),
				Names:  []string{"clone3"},
			}},
		},
	}
	// no_new_privs and the filter must be of one thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = seccomp.LoadFilter(filter)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return errors.New("the kernel was built without it")
	}
	return err
}
