package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is USER_HZ, which the kernel's interface has as 100 everywhere.
const clockTick = time.Second / 100

// usage is what a process has used, see proc(5).
type usage struct {
	cpu      time.Duration
	resident uint64 // bytes
	private  uint64 // of them without a file behind them
}

func usageOf(pid int) (u usage, err error) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	b, err := os.ReadFile(dir + "stat")
	if err != nil {
		return u, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	const user, system = 11, 12
	if len(fields) <= system {
		return u, fmt.Errorf("%sstat has %d fields", dir, len(fields))
	}
	for _, f := range fields[user : system+1] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(n) * clockTick
	}
	if b, err = os.ReadFile(dir + "status"); err != nil {
		return u, err
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		n, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64) // 0 for what is no number
		switch name {
		case "VmRSS":
			u.resident = n << 10
		case "RssAnon":
			u.private = n << 10
		}
	}
	return u, nil
}
