//go:build unix

package sandbox

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// reserve takes address space for a linear memory without committing any. It
// is outside Go's heap, so that it neither delays nor provokes collections.
func reserve(size uint64) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, int(size), unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes: %w", size, err)
	}
	return b, nil
}

// commit makes reserved bytes usable; they are zero.
func commit(b []byte) error { return unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE) }

// wipe makes committed bytes zero again. What is large goes back to the system
// instead: most of it may never have been touched.
func wipe(b []byte) error {
	const small = 1 << 20
	if len(b) <= small || runtime.GOOS != "linux" { // elsewhere MADV_DONTNEED keeps the bytes
		clear(b)
		return nil
	}
	return unix.Madvise(b, unix.MADV_DONTNEED)
}
