package sandbox

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
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

// detach keeps a worker out of the node's console group.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP, HideWindow: true}
}

// killSession does nothing: only a job object could.
func killSession(int) {}

// settleIn ends the worker with its node, also when a guest computes and
// the end of the pipe goes unnoticed.
func settleIn() {
	parent, err := windows.OpenProcess(windows.SYNCHRONIZE, false, uint32(os.Getppid()))
	if err != nil {
		fatal(err) // it is gone already
	}
	go func() {
		if _, err := windows.WaitForSingleObject(parent, windows.INFINITE); err != nil {
			fatal(err)
		}
		os.Exit(1)
	}()
}

// setLimits does nothing: only a job object, set from outside, could; the cache
// refuses files that are too large.
func setLimits(room, largest uint64) error { return nil }
