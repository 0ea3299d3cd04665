package donor

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// readCPUTimes reads /proc, see proc(5), in clock ticks. With whole it looks
// at every process to find out what ours and its descendants have used.
func readCPUTimes(whole bool) (cpuTimes, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return cpuTimes{}, err
	}
	t, err := parseCPU(string(b))
	if err != nil || !whole {
		return t, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return cpuTimes{}, err
	}
	all := map[int]process{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // not a process
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended since, or is hidden from us
		}
		if p, err := parseStat(b); err == nil {
			all[pid] = p
		}
	}
	if _, ok := all[os.Getpid()]; !ok {
		return cpuTimes{}, fmt.Errorf("read own CPU time: %w", fs.ErrNotExist)
	}
	t.own, t.ownKnown = treeTicks(all, os.Getpid()), true
	return t, nil
}

// parseCPU reads the first line of /proc/stat. Time stolen by other guests of
// a hypervisor has passed, but was not used on this machine. Guest time is
// part of user time there.
func parseCPU(stat string) (cpuTimes, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 5 || fields[0] != "cpu" {
		return cpuTimes{}, errors.New("/proc/stat does not begin with the times of all CPUs")
	}
	const idle, iowait, steal, guest = 3, 4, 7, 8
	var t cpuTimes
	for i, f := range fields[1:] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return cpuTimes{}, fmt.Errorf("read /proc/stat: %w", err)
		}
		if i >= guest {
			break
		}
		t.passed += n
		if i != idle && i != iowait && i != steal {
			t.used += n
		}
	}
	return t, nil
}

// process is what /proc/PID/stat tells.
type process struct {
	parent int
	ticks  uint64 // user and system, its own and of children that it waited for
}

// parseStat reads /proc/PID/stat. The second field is the program's name in
// parentheses, which may itself hold anything.
func parseStat(b []byte) (process, error) {
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return process{}, errors.New("no name")
	}
	fields := strings.Fields(string(b[end+1:]))
	const parent, user, childrenSystem = 1, 11, 14
	if len(fields) <= childrenSystem {
		return process{}, errors.New("too few fields")
	}
	var p process
	var err error
	if p.parent, err = strconv.Atoi(fields[parent]); err != nil {
		return process{}, err
	}
	for _, f := range fields[user : childrenSystem+1] {
		n, err := strconv.ParseUint(f, 10, 63)
		if err != nil {
			return process{}, err
		}
		p.ticks += n
	}
	return p, nil
}

// treeTicks sums the ticks of root and all its descendants.
func treeTicks(all map[int]process, root int) uint64 {
	children := map[int][]int{}
	for pid, p := range all {
		children[p.parent] = append(children[p.parent], pid)
	}
	var sum uint64
	// Processes are read one after another, so that a pid that was used again
	// could close a circle: each is visited once.
	visited := map[int]bool{}
	for unread := []int{root}; len(unread) > 0; {
		pid := unread[len(unread)-1]
		unread = unread[:len(unread)-1]
		if !visited[pid] {
			visited[pid] = true
			sum += all[pid].ticks
			unread = append(unread, children[pid]...)
		}
	}
	return sum
}
