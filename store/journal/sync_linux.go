package journal

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes what was written to f, whose length has not changed, outlast
// a power cut.
func syncData(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for failed = unix.EINTR; failed == unix.EINTR; {
			failed = unix.Fdatasync(int(fd))
		}
	})
	if err != nil {
		return err
	}
	return failed
}
