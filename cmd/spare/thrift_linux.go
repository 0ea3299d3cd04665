package main

import (
	"bufio"
	"debug/elf"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// releaseProgram takes those pages of the program out of this process that only
// starting it has needed, some 20 MiB of 30: they are read again from the file, or
// from its cache, when they are. A program that may be anywhere in memory is left
// as it is: what it may only read has been written to when it was loaded.
func releaseProgram() {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil || !inPlace() {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		// address perms offset dev inode path, see proc_pid_maps(5)
		fields := strings.Fields(lines.Text())
		if len(fields) != 6 || fields[5] != program || fields[1] != "r-xp" && fields[1] != "r--p" {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		start, bad := strconv.ParseUint(from, 16, 64)
		end, worse := strconv.ParseUint(to, 16, 64)
		if bad == nil && worse == nil {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED) // else they stay
		}
	}
}

// inPlace reports whether this program has its place in memory, as Go links it by
// default, see elf(5).
func inPlace() bool {
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		return false
	}
	defer f.Close()
	return f.Type == elf.ET_EXEC
}
