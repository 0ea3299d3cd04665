package donor

import "golang.org/x/sys/unix"

// totalMemory is the memory of the machine in bytes.
func totalMemory() (uint64, error) { return unix.SysctlUint64("hw.memsize") }
