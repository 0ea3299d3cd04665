package sandbox

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

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

// detach gives a worker its own session and lets the kernel kill it with the
// thread that started it: see spawner.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// killSession kills what the process may have started in its own session.
func killSession(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) } // mostly there is nobody

// settleIn gives the worker a name for people; the kernel kills the worker of
// a dead node.
func settleIn() {
	_ = os.WriteFile("/proc/self/comm", []byte(workerName), 0) // it only looks better
}

// setLimits bounds the address space to room bytes more than now, and files to
// the largest size given.
func setLimits(room, largest uint64) error {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	var pages uint64
	if _, err := fmt.Fscan(bytes.NewReader(b), &pages); err != nil {
		return fmt.Errorf("read /proc/self/statm: %w", err)
	}
	most := pages*uint64(os.Getpagesize()) + room
	if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: most, Max: most}); err != nil {
		return err
	}
	return unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: largest, Max: largest})
}
