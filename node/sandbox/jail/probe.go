package jail

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// probeName is the first argument of a probe: its directory, its plan and its
// target follow, the latter empty if it attempts nothing.
const probeName = "spare-probe"

// maxReport is the bytes of the longest report that is read.
const maxReport = 64 << 10

// probeRoom is the address space that a probe may take, in bytes.
const probeRoom = 1 << 30

// report is what a probe writes to stdout.
type report struct {
	Layers   []Layer   `json:"layers"`
	Attempts []Attempt `json:"attempts,omitempty"`
}

// target is what a probe aims at. A guest that has broken out could guess it.
type target struct {
	File string `json:"file"`
	PID  int    `json:"pid"`
	Port int    `json:"port"` // TCP, of 127.0.0.1
}

// Main runs this process as a probe, and never returns, if a [Box] started it
// as one; otherwise it returns at once. It is the first statement of main and
// of every TestMain of a program that makes a Box.
func Main() {
	if len(os.Args) != 4 || os.Args[0] != probeName {
		return
	}
	if err := probeMain(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, strings.ReplaceAll(err.Error(), "\n", "; ")) // there is nobody else to tell
		os.Exit(1)
	}
	os.Exit(0)
}

func probeMain(dir, plan, aim string) error {
	var t target
	if aim != "" {
		if err := json.Unmarshal([]byte(aim), &t); err != nil {
			return fmt.Errorf("read target: %w", err)
		}
	}
	c, err := enter(Limits{Plan: plan, Dir: dir, AddressSpace: probeRoom})
	if err != nil {
		return err
	}
	if err := c.Seal(); err != nil {
		for i := range c.layers {
			if c.layers[i].Name == Seccomp {
				c.layers[i] = Layer{Name: Seccomp, Why: err.Error()}
			}
		}
	}
	r := report{Layers: c.layers}
	if aim != "" {
		r.Attempts = c.attempts(t)
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
