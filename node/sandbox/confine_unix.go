//go:build unix && !linux

package sandbox

import (
	"os"
	"os/exec"
	"syscall"
	"time"
)

// openExecutable opens the file of this process's own program.
func openExecutable() (*os.File, error) {
	name, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return os.Open(name)
}

// keepFiles does nothing: what Go opens is not inherited.
func keepFiles() {}

// executablePath names the opened program for a child to execute.
func executablePath(f *os.File) string { return f.Name() }

// detach gives a worker its own session.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
}

// killSession kills what the process may have started in its own session.
func killSession(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) } // mostly there is nobody

// settleIn ends the worker soon after its node, also when a guest computes
// and the end of the pipe goes unnoticed.
func settleIn() {
	parent := os.Getppid()
	go func() {
		for os.Getppid() == parent {
			time.Sleep(time.Second / 2)
		}
		os.Exit(1)
	}()
}

// setLimits does nothing: this system does not enforce RLIMIT_AS, and the cache
// refuses files that are too large.
func setLimits(room, largest uint64) error { return nil }
