//go:build !linux

package jail

import (
	"context"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// surveyInside asks a probe what this system has.
func (b *Box) surveyInside(ctx context.Context, plan []string, found map[string]Layer) ([]Layer, error) {
	found[Process] = layerOf(Process, nil)
	r, err := b.probe(ctx, strings.Join(plan, planSeparator), "")
	return r.Layers, err
}

// Seal does nothing: what a process may do is decided when it enters.
func (c *Cell) Seal() error { return nil }

// attempts tries what a guest that has broken out of the engine would.
func (c *Cell) attempts(t target) []Attempt {
	var all []Attempt
	try := func(what string, err error) {
		a := Attempt{What: what, Succeeded: err == nil}
		if err != nil {
			a.How = err.Error()
		}
		all = append(all, a)
	}
	f, err := os.Open(t.File)
	if err == nil {
		err = f.Close()
	}
	try("open a file of the node", err)
	conn, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(t.Port)))
	if err == nil {
		err = conn.Close()
	}
	try("connect to the node", err)
	program := "/usr/bin/true"
	if runtime.GOOS == "windows" {
		program = "hostname.exe"
	}
	try("execute a program", exec.Command(program).Run())
	return all
}

// onMainThread reports false: no process here ends with a thread.
func onMainThread() bool { return false }

// openExecutable opens the file of this process's own program.
func openExecutable() (*os.File, error) {
	name, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return os.Open(name)
}

// executablePath names the opened program for a child to execute.
func executablePath(f *os.File) string { return f.Name() }
