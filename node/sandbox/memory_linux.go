package sandbox

import (
	"fmt"
	"os"
)

// resident is how many bytes of memory a process has, or 0.
func resident(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	var size, pages uint64
	if err == nil {
		_, err = fmt.Sscan(string(b), &size, &pages)
	}
	if err != nil {
		return 0 // it has ended
	}
	return pages * uint64(os.Getpagesize())
}
