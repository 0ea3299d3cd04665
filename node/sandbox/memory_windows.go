package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

// reserve takes address space for a linear memory without committing any. It
// is outside Go's heap, so that it neither delays nor provokes collections.
func reserve(size uint64) ([]byte, error) {
	p, err := windows.VirtualAlloc(0, uintptr(size), windows.MEM_RESERVE, windows.PAGE_READWRITE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes: %w", size, err)
	}
	// The address is not Go's, so the conversion goes by a pointer to it.
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&p)), size), nil
}

// commit makes reserved bytes usable; they are zero.
func commit(b []byte) error {
	_, err := windows.VirtualAlloc(uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		windows.MEM_COMMIT, windows.PAGE_READWRITE)
	return err
}

// wipe makes committed bytes zero again.
func wipe(b []byte) error {
	clear(b)
	return nil
}
