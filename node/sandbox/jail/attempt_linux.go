package jail

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attempts tries what a guest that has broken out of the engine would, without
// doing harm where it succeeds. Executing a program comes last: where that
// succeeds though a process cannot be forked, the report is lost with us.
func (c *Cell) attempts(t target) []Attempt {
	list := []struct {
		what string
		try  func() error
	}{
		{"open /etc/passwd", func() error { return open("/etc/passwd") }},
		{"open a file of the node", func() error { return open(t.File) }},
		{"list /proc", func() error { return list("/proc") }},
		{"list the node's open files", func() error { return list(fmt.Sprintf("/proc/%d/fd", t.PID)) }},
		{"list /", func() error { return listOther("/", c.Dir) }},
		{"write into the directory", func() error { return create(c.Dir + "/new") }},
		{"signal the node", func() error { return signal(t.PID) }},
		{"read the node's memory", func() error { return peek(t.PID) }},
		{"trace the node", func() error { return trace(t.PID) }},
		{"limit the node", func() error { return limit(t.PID) }},
		{"direct signals of input to the node", func() error { return direct(t.PID) }},
		{"choose a signal of input", choose},
		{"create a socket", socket},
		{"connect to the node", func() error { return connect(t.Port) }},
		{"make memory executable", executable},
		{"make a file in memory", memoryFile},
		{"make a user namespace", userNamespace},
		{"mount a file system", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"rename the host", renameHost},
		{"raise a limit", raiseLimit},
		{"take the processor back", normalPriority},
		{"use io_uring", ioUring},
		{"fork a process", func() error { return fork(unix.SYS_GETPID, 0, 0, 0) }},
		{"execute a program", execute},
	}
	var all []Attempt
	for _, a := range list {
		err := a.try()
		r := Attempt{What: a.what, Succeeded: err == nil}
		if err != nil {
			r.How = err.Error()
		}
		all = append(all, r)
	}
	return all
}

func open(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return f.Close()
}

func list(dir string) error {
	_, err := os.ReadDir(dir)
	return err
}

// signal sends none, but asks whether it could.
func signal(pid int) error {
	if err := other(pid); err != nil {
		return err
	}
	return unix.Kill(pid, 0)
}

// other fails if the number is that of a thread of this process, which in a
// namespace of its own may have the one that the node has in its container.
func other(pid int) error {
	if unix.Tgkill(os.Getpid(), pid, 0) == nil {
		return errors.New("the node has no number here")
	}
	return nil
}

// limit gives the node the limit that it has.
func limit(pid int) error {
	if err := other(pid); err != nil {
		return err
	}
	var now unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_CORE, nil, &now); err != nil {
		return err
	}
	return unix.Prlimit(pid, unix.RLIMIT_CORE, &now, nil)
}

// direct has the kernel send the node the signals of a file, of which there are
// none, and takes that back.
func direct(pid int) error {
	if err := other(pid); err != nil {
		return err
	}
	if err := control(unix.F_SETOWN, pid); err != nil {
		return err
	}
	return control(unix.F_SETOWN, 0)
}

// choose has those signals kill, and takes that back.
func choose() error {
	if err := control(unix.F_SETSIG, int(unix.SIGKILL)); err != nil {
		return err
	}
	return control(unix.F_SETSIG, 0)
}

// control calls fcntl(2) for stdout.
func control(command, argument int) error {
	_, err := unix.FcntlInt(uintptr(unix.Stdout), command, argument)
	return err
}

// listOther fails too if dir is the only directory that may be listed.
func listOther(dir, mine string) error {
	a, err := os.Stat(dir)
	if err != nil {
		return err
	}
	b, err := os.Stat(mine)
	if err != nil {
		return err
	}
	if os.SameFile(a, b) {
		return errors.New("it is the directory itself")
	}
	return list(dir)
}

func create(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(name))
}

func peek(pid int) error {
	var b [1]byte
	local := unix.Iovec{Base: &b[0], Len: 1}
	remote := unix.RemoteIovec{Base: 0x400000, Len: 1} // where Go programs are loaded
	_, err := unix.ProcessVMReadv(pid, []unix.Iovec{local}, []unix.RemoteIovec{remote}, 0)
	if errors.Is(err, unix.EFAULT) {
		return nil // it may, there is only nothing
	}
	return err
}

// trace attaches, which stops nobody, and detaches by the end of its thread.
func trace(pid int) error {
	var err error
	onMortalThread(func() { err = unix.PtraceSeize(pid) })
	return err
}

func socket() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func connect(port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // it has no data
	return unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
}

func executable() error {
	b, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	return errors.Join(unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC), unix.Munmap(b))
}

func memoryFile() error {
	fd, err := unix.MemfdCreate("program", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// userNamespace forks, since a process with threads can make none of its own.
func userNamespace() error { return fork(unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0) }

func renameHost() error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	return unix.Sethostname([]byte(unix.ByteSliceToString(name.Nodename[:])))
}

func raiseLimit() error {
	var now unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_CORE, nil, &now); err != nil {
		return err
	}
	if now.Max == unix.RLIM_INFINITY {
		return nil // nothing is limited
	}
	now.Max++
	return unix.Prlimit(0, unix.RLIMIT_CORE, &now, nil)
}

func normalPriority() error {
	const scheduleOther = 0 // SCHED_OTHER of linux/sched.h
	var errno unix.Errno
	onMortalThread(func() {
		var parameter int32
		_, _, errno = unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, 0, scheduleOther, uintptr(unsafe.Pointer(&parameter)))
	})
	if errno != 0 {
		return errno
	}
	return nil
}

func ioUring() error {
	var parameters [120]byte
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&parameters)), 0)
	if errno != 0 {
		return errno
	}
	return unix.Close(int(fd))
}

// execute executes a program, in a process of its own where that can be.
func execute() error {
	path, err := unix.BytePtrFromString("/bin/sh")
	if err != nil {
		return err
	}
	flag, err := unix.BytePtrFromString("-c")
	if err != nil {
		return err
	}
	script, err := unix.BytePtrFromString("exit 0")
	if err != nil {
		return err
	}
	argv := [...]*byte{path, flag, script, nil}
	envp := argv[3:]
	if fork(unix.SYS_GETPID, 0, 0, 0) == nil {
		return fork(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&argv)), uintptr(unsafe.Pointer(&envp[0])))
	}
	_, _, errno := unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)),
		uintptr(unsafe.Pointer(&argv)), uintptr(unsafe.Pointer(&envp[0])))
	return errno
}

// fork makes a process that makes the system call, and waits for its end. It
// returns the error of either.
//
//go:uintptrescapes
func fork(trap, a, b, c uintptr) error {
	pid, errno := rawFork(trap, a, b, c)
	if errno != 0 {
		return errno
	}
	var status unix.WaitStatus
	var err error
	for {
		if _, err = unix.Wait4(pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	switch {
	case err != nil:
		return nil // it was there, and that is the point
	case status.Signaled():
		return fmt.Errorf("it ended by signal %d", status.Signal())
	case status.ExitStatus() != 0:
		return unix.Errno(status.ExitStatus())
	}
	return nil
}

// rawFork does without the runtime, since the process has none of its threads:
// nothing may grow the stack there, where the scheduler might step in.
//
//go:norace
//go:nosplit
func rawFork(trap, a, b, c uintptr) (int, unix.Errno) {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return int(pid), errno
	}
	_, _, errno = unix.RawSyscall(trap, a, b, c)
	for {
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
	}
}
