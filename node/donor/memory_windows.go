package donor

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// memoryStatus is MEMORYSTATUSEX of sysinfoapi.h: its own length and the
// physical memory, both in bytes, among what is of no use here.
type memoryStatus struct {
	length, _ uint32
	physical  uint64
	_         [6]uint64
}

// totalMemory is the memory of the machine in bytes.
func totalMemory() (uint64, error) {
	call := windows.NewLazySystemDLL("kernel32.dll").NewProc("GlobalMemoryStatusEx")
	if err := call.Find(); err != nil {
		return 0, err
	}
	s := memoryStatus{length: uint32(unsafe.Sizeof(memoryStatus{}))}
	if ok, _, err := call.Call(uintptr(unsafe.Pointer(&s))); ok == 0 {
		return 0, err
	}
	return s.physical, nil
}
