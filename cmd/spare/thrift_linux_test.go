package main

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestProgramIsReleased has the pages of this program leave memory, and the program
// go on.
func TestProgramIsReleased(t *testing.T) {
	if !inPlace() {
		t.Skip("a program that may be anywhere keeps its pages")
	}
	before := residentOfFiles(t)
	releaseProgram()
	if after := residentOfFiles(t); after > before/2 {
		t.Errorf("%d KiB of files were in memory, %d are", before, after)
	}
}

// residentOfFiles is how much of files is in this process's memory, in KiB.
func residentOfFiles(t *testing.T) (n int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "RssFile:"); ok {
			if n, err = strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB")); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n
}
