package donor

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// totalMemory is the memory in bytes that this process may use: the machine's,
// or the limit of its cgroup when that is lower.
func totalMemory() (uint64, error) { return memoryIn(os.DirFS("/")) }

func memoryIn(root fs.FS) (uint64, error) {
	b, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0, err
	}
	var kib uint64
	if _, err := fmt.Sscanf(string(b), "MemTotal: %d kB", &kib); err != nil {
		return 0, fmt.Errorf("read MemTotal of /proc/meminfo: %w", err)
	}
	return min(kib<<10, cgroupLimit(root)), nil
}

// cgroupLimit is the lowest memory limit from this process's cgroup up to the
// root, for cgroup versions 1 and 2. What cannot be read limits nothing: a
// container may not see the cgroups above its own.
func cgroupLimit(root fs.FS) uint64 {
	limit := ^uint64(0)
	b, _ := fs.ReadFile(root, "proc/self/cgroup") // no file: no cgroups
	for line := range strings.Lines(string(b)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		base, file := "sys/fs/cgroup", "memory.max"
		if fields[1] == "memory" {
			base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if fields[1] != "" {
			continue
		}
		for dir := path.Join("/", fields[2]); ; dir = path.Dir(dir) {
			b, err := fs.ReadFile(root, path.Join(base, dir, file))
			if n, bad := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err == nil && bad == nil && n > 0 {
				limit = min(limit, n) // "max" is no number
			}
			if dir == "/" {
				break
			}
		}
	}
	return limit
}
